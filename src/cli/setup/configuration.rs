//! The configuration of this machine for the answers.

use std::path::Path;

use ipnet::IpNet;

use super::answers::{Answers, PLACEHOLDER};
use super::identity::{CERTIFICATE, CERTS, KEY};
use super::recommendation::grant;
use crate::cli::draft::origin::{Found, Origin};
use crate::cli::draft::plan::{Account, Application, Credential, Label, Listener, Plan, Tls};
use crate::cli::draft::{verify, yaml};
use crate::cli::setup_options::{ClientTls, SignInBy};
use gatepost_config::Cloud;
use gatepost_config::problem::Problems;
use gatepost_core::account::is_guid;
use gatepost_core::protocol::Protocol;

/// Some application, for a check before the id is known.
const SOME_ID: &str = "2f5c7e10-7d0a-4c1e-9f6b-0d4a5b6c7d8e";

/// The addresses of this machine alone.
const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1"];

const HEAD: &str = "Created by `gatepost setup`.\nproxy.example.yaml has every key with its default.";

/// Returns the text of the configuration.
pub(super) fn text(answers: &Answers) -> String {
    with_id(answers, answers.client_id.as_deref().unwrap_or(PLACEHOLDER))
}

fn with_id(answers: &Answers, client_id: &str) -> String {
    yaml::write(&plan(answers, client_id), HEAD, None)
}

/// Checks what will be at `path`, as `gatepost check` does.
///
/// # Errors
/// Every mistake.
pub(super) fn check(answers: &Answers, path: &Path) -> Result<(), Problems> {
    let plan = plan(answers, answers.client_id.as_deref().unwrap_or(SOME_ID));
    verify::verify(&yaml::write(&plan, HEAD, None), path, &plan.secrets, None)
}

/// The application in a text that [`text`] wrote for the same answers, or the placeholder; `None` for
/// any other text.
pub(super) fn client_id_of(written: &str, answers: &Answers) -> Option<String> {
    id_in(written).filter(|id| with_id(answers, id) == written).map(str::to_owned)
}

/// The application in a text that was written for other mailboxes, protocols and the like, if tenant
/// and grant are the same.
pub(super) fn client_id_for(written: &str, answers: &Answers) -> Option<String> {
    let wanted = text(answers);
    let value = |text: &str, key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_whitespace().next().map(str::to_owned)
    };
    let is_same = |key: &str| value(written, key).is_some_and(|found| value(&wanted, key) == Some(found));
    let id = id_in(written).filter(|id| *id != PLACEHOLDER)?;
    ["  tenant: ", "  grant: "].into_iter().all(is_same).then(|| id.to_owned())
}

fn id_in(written: &str) -> Option<&str> {
    let (_, behind) = written.split_once("\n  client_id: ")?;
    behind.split_whitespace().next().filter(|id| is_guid(id))
}

fn plan(answers: &Answers, client_id: &str) -> Plan {
    let flag = Origin::flag;
    let mut plan = Plan::default();
    for protocol in &answers.protocols {
        plan.listeners.push(listener(answers, *protocol));
    }
    let application = Application {
        cloud: (answers.cloud != Cloud::Worldwide).then(|| Found::new(answers.cloud, &flag("--cloud"))),
        tenant: Some(Found::new(answers.tenant.clone(), &flag("--tenant"))),
        client_id: Some(Found::new(client_id.to_owned(), &flag("Entra"))),
        grant: Found::new(grant(answers), &flag("--sign-in")),
        credential: (answers.sign_in == SignInBy::Nobody).then(|| {
            Found::new(Credential::Certificate(CERTIFICATE.to_owned(), KEY.to_owned()), &flag("gatepost setup"))
        }),
        scope: None,
        token_expiry_margin: None,
    };
    for mailbox in &answers.mailboxes {
        plan.accounts.push(Account {
            login: Found::new(mailbox.to_string(), &flag("--mailbox")),
            aliases: None,
            send_as: None,
            application: application.clone(),
        });
    }
    plan.state = Some(Found::new(answers.state.to_string_lossy().into_owned(), &flag("--state")));
    if answers.allow_from.is_empty() {
        let text =
            "only this machine can connect. For others, add their network, such as `--allow-from 192.168.7.0/24`";
        plan.remark(Label::Note, None, text);
    } else if answers.tls == ClientTls::None {
        plan.remark(
            Label::Note,
            None,
            "passwords cross the network in the clear, because `--allow-from` is without `--tls`. If the programs know TLS, \
             add `--tls implicit` or `--tls starttls`",
        );
    }
    plan
}

/// Returns what is to be known of the configuration.
pub(super) fn remarks(answers: &Answers) -> String {
    crate::cli::draft::remarks::remarks(&plan(answers, PLACEHOLDER))
}

fn listener(answers: &Answers, protocol: Protocol) -> Listener {
    let port = port(protocol);
    let from_network = Origin::flag("--allow-from");
    let networks = &answers.allow_from;
    let allowed = || {
        let all = LOOPBACK.map(str::to_owned).into_iter().chain(networks.iter().map(IpNet::to_string));
        Found::new(all.collect::<Vec<_>>(), &from_network)
    };
    let (bind, allow_from) = match networks.is_empty() {
        true => (Found::new(vec![format!("localhost:{port}")], &Origin::flag("the usual port of Gatepost")), None),
        false => (Found::new(vec![format!("0.0.0.0:{port}"), format!("[::]:{port}")], &from_network), Some(allowed())),
    };
    let mode = match answers.tls {
        ClientTls::None => None,
        ClientTls::Implicit => Some("implicit"),
        ClientTls::Starttls => Some("starttls"),
    };
    let of_tls = Origin::flag("--tls");
    Listener {
        name: Found::new(protocol.name().to_owned(), &Origin::flag("--protocol")),
        protocol: protocol.name(),
        allow_plaintext_from: (mode.is_none() && !networks.is_empty()).then(allowed),
        bind,
        allow_from,
        tls: mode.map(|mode| Tls {
            mode: Found::new(mode, &of_tls),
            certificate: Found::new(format!("{CERTS}/server.pem"), &of_tls),
            private_key: Found::new(format!("{CERTS}/server.key"), &of_tls),
        }),
        upstream: None,
        upstream_tls: None,
        deliver: None,
    }
}

/// The port of a protocol in Gatepost's examples.
fn port(protocol: Protocol) -> u16 {
    match protocol {
        Protocol::Imap => 1143,
        Protocol::Pop3 => 1995,
        Protocol::Smtp => 1587,
        Protocol::Graph => 8443,
        Protocol::Ews => 8444,
    }
}
