//! Turns the raw configuration into [`Config`], and collects every mistake.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::environment::Environment;
use super::model::Config;
use super::model::log::{AuditLog, Confine, Log, LogFormat};
use super::model::state::State;
use super::model::trust::{DestinationTrust, Trust};
use super::problem::{Problem, Problems};
use super::purpose::{Purpose, Secret};
use super::reader::{Context, Document, Node, Section};
use super::value::{self, choice};
use super::{
    accounts, admin, forward_proxy, limits, listeners, machine, mismatch, plausible, queue, renewal, secrets, sendmail,
    state, submission,
};

const LEVELS: [(&str, tracing::Level); 5] = [
    ("error", tracing::Level::ERROR),
    ("warn", tracing::Level::WARN),
    ("info", tracing::Level::INFO),
    ("debug", tracing::Level::DEBUG),
    ("trace", tracing::Level::TRACE),
];

/// Checks a document. `early` are mistakes that were found before.
pub(super) fn check(
    document: &Document,
    outside: &dyn Environment,
    purpose: Purpose,
    early: Vec<Problem>,
) -> Result<Config, Problems> {
    let context = Context::new(document, outside, purpose);
    for (path, place, first) in &document.merged.duplicates {
        context.problem(
            place.clone(),
            path,
            "the key is written twice",
            format!("keep one of them. The first stands at line {first}"),
        );
    }
    for (path, place) in &document.merged.tagged {
        context.problem(
            place.clone(),
            path,
            "what begins with `!` is a tag of YAML, and no part of the value",
            "write the whole value in quotes if it is text, and take the tag away if it is not".to_owned(),
        );
    }
    let root = context.root();
    let accounts::Read { accounts, mut unproved, cloud } = accounts::read(&root);
    let listeners = listeners::read(&root.section("listeners"), cloud, &accounts);
    let sendmail = sendmail::read(&root, &listeners, &accounts);
    // A device that is trusted by its address needs no password, and nobody else can log in without
    // one.
    let local = sendmail.as_ref().and_then(Option::as_ref);
    unproved.retain(|unproved| !submission::sends_only(&unproved.pattern, &listeners, local, &accounts));
    let forward_proxy = forward_proxy::read(&root).map(Arc::new);
    let trust = read_trust(&root.section("trust"));
    let (state, devices) = state::read(&root, trust.as_ref());
    let queue = queue::read(&root, state.as_ref(), &listeners);
    let spool = submission::read_spool(&root, state.as_ref(), &listeners);
    let limits = limits::read(&root.section("limits"));
    let clouds = accounts.entries().iter().filter_map(|account| account.application.issuer.cloud());
    let counts_together = matches!(state, Some(State::Redis { .. } | State::NotRead));
    limits::check_replicas(&root.section("limits"), &limits, counts_together, clouds);
    let log = read_log(&root.section("log"));
    let admin = admin::read(&root);
    let words = [("try", Confine::Try), ("require", Confine::Require), ("off", Confine::Off)];
    let confinement = root.get("confinement").map_or(Some(Confine::Try), |node| node.read(|text| choice(text, &words)));
    let server_name = root.get("server_name").and_then(|node| node.read(value::server_name));
    plausible::check(&root, &listeners, &accounts, server_name.as_ref());
    mismatch::check(&root, &accounts);
    renewal::check(&root, &accounts, state.as_ref());
    if let (Some(state), Some(admin)) = (&state, &admin) {
        machine::check(&root, state, admin);
    }
    root.finish();
    drop(root);

    let (mut problems, notes, findings) = context.finish();
    problems.extend(early);
    match (Problems::new(problems), trust, state, log, admin.zip(confinement).zip(sendmail)) {
        (None, Some(trust), Some(state), Some(log), Some(((admin, confinement), sendmail))) => Ok(Config {
            listeners,
            accounts,
            unproved,
            forward_proxy,
            trust,
            state,
            devices,
            queue,
            spool,
            limits,
            log,
            admin,
            sendmail,
            server_name,
            confinement,
            files: Vec::new(),
            runs_commands: false,
            notes,
            findings,
        }),
        (Some(problems), ..) => Err(problems),
        // Nothing is left out without a problem. If it happens all the same, not starting is better
        // than starting without it.
        (None, ..) => Err(Problem {
            file: document.file.as_ref().map(|(name, _)| name.clone()),
            place: super::problem::Place::Nowhere,
            key: String::new(),
            reason: "a part of the configuration was not understood".into(),
            hint: "report this as a fault of Gatepost".into(),
            excerpt: None,
        }
        .into()),
    }
}

fn read_trust(section: &Section<'_>) -> Option<Trust> {
    let system_roots = section.get("system_roots").map_or(Some(true), |node| node.read(value::truth));
    let additional_ca = section.get("additional_ca").map(|node| certificates(&node));
    let destinations = section.get("destinations").map(|node| read_destinations(&node));
    section.finish();
    if system_roots == Some(false) && additional_ca.is_none() && destinations.is_none() {
        section.problem("nobody would be trusted", "write `system_roots: true`, or name an `additional_ca`");
        return None;
    }
    let additional_ca = match additional_ca {
        Some(read) => Some(read?),
        None => None,
    };
    let destinations = match destinations {
        Some(read) => read?,
        None => Vec::new(),
    };
    Some(Trust { system_roots: system_roots?, additional_ca, destinations })
}

fn read_destinations(node: &Node<'_>) -> Option<Vec<DestinationTrust>> {
    let mut read: Vec<Option<DestinationTrust>> = Vec::new();
    for item in node.list()? {
        let section = item.section();
        let host = match section.get("host") {
            Some(node) => {
                let host = node.read(value::host_name);
                if let Some(host) = &host
                    && read.iter().flatten().any(|other| other.host == *host)
                {
                    node.problem(
                        format!("`{host}` has an entry already"),
                        "put all its certificates into one file, and remove one of the entries",
                    );
                }
                host
            }
            None => {
                section.missing("host", "", "write the name in the server's certificate, or use `trust.additional_ca`");
                None
            }
        };
        let additional_ca = match section.get("additional_ca") {
            Some(node) => certificates(&node),
            None => {
                section.missing(
                    "additional_ca",
                    "",
                    "name a PEM file with the certificates of the authorities to trust",
                );
                None
            }
        };
        section.finish();
        read.push(host.zip(additional_ca).map(|(host, additional_ca)| DestinationTrust { host, additional_ca }));
    }
    read.into_iter().collect()
}

/// A PEM file with at least one certificate; without any if it was not read.
fn certificates(node: &Node<'_>) -> Option<(PathBuf, Vec<u8>)> {
    let path = secrets::path(node)?;
    let hint = "name a PEM file with the certificates of the authorities to trust";
    let context = node.context();
    // A store may be reached by them, but a command that does not sign in rather does without.
    let is_out_of_reach = context.is_elsewhere(&path) && context.outside.read(&path).is_err();
    let needed_for = if is_out_of_reach { Purpose::SignIn } else { Purpose::Store };
    let Secret::Read(content) = node.content(&path, needed_for, hint)? else { return Some((path, Vec::new())) };
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content).collect();
    if certificates.is_ok_and(|found| !found.is_empty()) {
        return Some((path, content));
    }
    node.problem(
        format!("`{}` holds no certificate in PEM form", path.display()),
        "the file has lines `-----BEGIN CERTIFICATE-----`. Convert DER with `openssl x509 -inform der`",
    );
    None
}

fn read_log(section: &Section<'_>) -> Option<Log> {
    let format = section.get("format").map_or(Some(LogFormat::Text), |node| {
        let formats = [("text", LogFormat::Text), ("json", LogFormat::Json), ("journal", LogFormat::Journal)];
        node.read(|text| choice(text, &formats))
    });
    let level = section.get("level").map_or(Some(tracing::Level::INFO), |node| node.read(|text| choice(text, &LEVELS)));
    let audit = match section.get("audit") {
        Some(node) => read_audit(&node),
        None => Some(None),
    };
    section.finish();
    Some(Log { format: format?, level: level?, audit: audit? })
}

/// Reads `journal`, or a section with `file`.
fn read_audit(node: &Node<'_>) -> Option<Option<AuditLog>> {
    match node.as_text() {
        Some("journal") => return Some(Some(AuditLog::Journal)),
        Some("none") => return Some(None),
        Some(_) => {
            node.problem("this is no place for the audit log", "write `audit: journal` or `audit: {file: PATH}`");
            return None;
        }
        None => {}
    }
    let section = node.section();
    let file = section.get("file").map(|node| node.text().map(|text| node.context().path(text)));
    section.finish();
    match file {
        Some(path) => Some(Some(AuditLog::File(path?))),
        None => {
            section.missing("file", "", "name the file, such as `audit: {file: /var/log/gatepost/audit.jsonl}`");
            None
        }
    }
}
