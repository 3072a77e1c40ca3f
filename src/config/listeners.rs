//! The section `listeners`, and what follows from all listeners together.

use std::net::SocketAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::reader::{Node, Section};
use super::value::{self, wrong};
use super::{Account, Accounts, Cloud, Identity, Listener, ListenerTls, Upstream, UpstreamTls};
use crate::proto::Protocol;
use crate::tls::identity;

/// Longest listener name: it stands in every log line.
const NAME_OCTETS: usize = 64;

/// Words of the key `protocol`.
const PROTOCOLS: [(&str, Protocol); 3] = [("imap", Protocol::Imap), ("pop3", Protocol::Pop3), ("smtp", Protocol::Smtp)];

/// Further words of the key that later versions serve.
const LATER_PROTOCOLS: [&str; 2] = ["ews", "graph"];

#[derive(Clone, Copy)]
enum TlsMode {
    None,
    StartTls,
    Implicit,
}

/// Reads every listener. Those with mistakes are left out: the mistakes are reported.
pub(super) fn read(section: &Section<'_>, cloud: Cloud, accounts: &Accounts) -> Vec<Listener> {
    let mut listeners = Vec::new();
    let mut binds: Vec<(SocketAddr, Node<'_>)> = Vec::new();
    let mut upstreams: Vec<(Upstream, Option<Node<'_>>, Section<'_>)> = Vec::new();
    let entries = section.entries();
    if section.is_empty() {
        let hint = "add one, such as `listeners: {smtp: {bind: \"127.0.0.1:1587\"}}`";
        section.problem("there is no listener", hint);
    }
    for (name, node) in entries {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if name.is_empty() || name.len() > NAME_OCTETS || !name.bytes().all(allowed) {
            node.problem(
                "the name of a listener appears in the log and must be plain",
                "use up to 64 ASCII letters, digits, `-` and `_`",
            );
        }
        if let Some(listener) = read_one(name, &node.section(), cloud, &mut binds, &mut upstreams) {
            listeners.push(listener);
        }
    }
    report_conflicts(&binds);
    for (upstream, node, section) in &upstreams {
        report_loop(upstream, node.as_ref(), section, &binds);
        report_other_cloud(upstream, node.as_ref(), section, accounts);
    }
    listeners
}

fn read_one<'a>(
    name: &str,
    section: &Section<'a>,
    cloud: Cloud,
    binds: &mut Vec<(SocketAddr, Node<'a>)>,
    upstreams: &mut Vec<(Upstream, Option<Node<'a>>, Section<'a>)>,
) -> Option<Listener> {
    let protocol = read_protocol(name, section);
    let bind = read_bind(section, binds);
    let tls = read_tls(section);
    let networks = |key| section.get(key).map(|node| node.read_each(value::network));
    let allow_plaintext_from = networks("allow_plaintext_from").unwrap_or(Some(Vec::new()));
    let allow_from = match networks("allow_from") {
        Some(Some(networks)) if networks.is_empty() => {
            section.problem("`allow_from` is empty, so nobody could connect", "name the networks of the clients");
            None
        }
        Some(networks) => networks,
        None => default_allow_from(section, bind.as_deref()),
    };
    let bare_lf = section.get("bare_lf").map_or(Some(false), |node| node.read(value::truth));
    let upstream = protocol.and_then(|protocol| read_upstream(section, protocol, cloud, upstreams));
    read_later(section, protocol);
    section.finish();

    let (bind, tls) = (bind?, tls?);
    let allow_plaintext_from = allow_plaintext_from?;
    check_plaintext(section, &bind, &tls, &allow_plaintext_from);
    Some(Listener {
        name: Arc::from(name),
        protocol: protocol?,
        bind,
        tls,
        allow_from: allow_from?,
        allow_plaintext_from,
        bare_lf: bare_lf?,
        upstream: upstream?,
    })
}

fn read_protocol(name: &str, section: &Section<'_>) -> Option<Protocol> {
    let read = |text: &str| match LATER_PROTOCOLS.contains(&text) {
        true => wrong(format!("the protocol `{text}` is not available in this version"), "remove this listener"),
        false => value::choice(text, &PROTOCOLS),
    };
    if let Some(node) = section.get("protocol") {
        return node.read(read);
    }
    if !LATER_PROTOCOLS.contains(&name) && !PROTOCOLS.iter().any(|(word, _)| *word == name) {
        section.missing("protocol", "", "write `protocol: imap`, `pop3` or `smtp`, or name the listener so");
        return None;
    }
    read(name).map_err(|wrong| section.problem(wrong.reason, wrong.hint)).ok()
}

fn read_bind<'a>(section: &Section<'a>, binds: &mut Vec<(SocketAddr, Node<'a>)>) -> Option<Vec<SocketAddr>> {
    let Some(node) = section.get("bind") else {
        section.missing("bind", "", "write the address and port to listen on, such as `bind: 127.0.0.1:1143`");
        return None;
    };
    let items = node.items();
    if items.is_empty() {
        node.problem("no address is listed", "write an address and port, such as `127.0.0.1:1143`");
        return None;
    }
    let mut addresses = Vec::new();
    for item in &items {
        if let Some(address) = item.read(value::bind) {
            binds.push((address, item.clone()));
            addresses.push(address);
        }
    }
    (addresses.len() == items.len()).then_some(addresses)
}

fn read_tls(section: &Section<'_>) -> Option<ListenerTls> {
    let modes = [("none", TlsMode::None), ("starttls", TlsMode::StartTls), ("implicit", TlsMode::Implicit)];
    let node = section.get("tls");
    let mode = match &node {
        Some(node) => node.read(|text| value::choice(text, &modes)),
        None => Some(TlsMode::None),
    };
    let (certificate, private_key) = (section.get("certificate"), section.get("private_key"));
    let mode = mode?;
    if let TlsMode::None = mode {
        if let Some(given) = certificate.or(private_key) {
            given.problem(
                "a certificate is given, but `tls` is `none`",
                "write `tls: starttls` or `tls: implicit`, or remove the certificate",
            );
            return None;
        }
        return Some(ListenerTls::None);
    }
    for (key, given) in [("certificate", &certificate), ("private_key", &private_key)] {
        if given.is_none() {
            section.missing(key, ", which TLS needs", "name a PEM file; `gatepost cert` makes one for tests");
        }
    }
    let identity = read_identity(&certificate?, &private_key?)?;
    Some(match mode {
        TlsMode::Implicit => ListenerTls::Implicit(identity),
        _ => ListenerTls::StartTls(identity),
    })
}

fn read_identity(certificate: &Node<'_>, private_key: &Node<'_>) -> Option<Identity> {
    let context = certificate.context();
    let read = |node: &Node<'_>| {
        let path = context.path(node.text()?);
        match context.outside.read(&path) {
            Ok(bytes) => Some((path, bytes)),
            Err(error) => {
                node.problem(
                    format!("`{}` cannot be read: {error}", path.display()),
                    "name a PEM file that the user who runs Gatepost can read; `gatepost cert` makes one for tests",
                );
                None
            }
        }
    };
    let (certificate_file, key_file) = (read(certificate), read(private_key));
    let ((certificate_path, chain), (key_path, key)) = (certificate_file?, key_file?);
    if context.outside.world_readable(&key_path) {
        let shown = key_path.display();
        context.note(format!(
            "everybody on this machine can read the private key `{shown}`; take that right away with `chmod o-r {shown}`"
        ));
    }
    if let Err(error) = identity::from_pem(&chain, &key) {
        let node = if error.is_about_certificate() { certificate } else { private_key };
        node.problem(error.to_string(), error.remedy());
        return None;
    }
    Some(Identity { certificate: certificate_path, private_key: key_path })
}

fn default_allow_from(section: &Section<'_>, bind: Option<&[SocketAddr]>) -> Option<Vec<IpNet>> {
    let bind = bind?;
    if bind.iter().all(|address| address.ip().is_loopback()) {
        return Some(loopback());
    }
    section.missing(
        "allow_from",
        ", which an address other than loopback needs",
        "name the networks of the clients, such as `allow_from: [192.168.7.0/24]`",
    );
    None
}

/// 127.0.0.0/8 and ::1.
pub(super) fn loopback() -> Vec<IpNet> {
    let v4 = ipnet::Ipv4Net::new_assert(std::net::Ipv4Addr::new(127, 0, 0, 0), 8);
    vec![v4.into(), IpNet::from(std::net::IpAddr::from(std::net::Ipv6Addr::LOCALHOST))]
}

fn check_plaintext(section: &Section<'_>, bind: &[SocketAddr], tls: &ListenerTls, allowed: &[IpNet]) {
    let off_loopback = bind.iter().any(|address| !address.ip().is_loopback());
    if *tls == ListenerTls::None && off_loopback && allowed.is_empty() {
        section.problem(
            "without TLS passwords would cross the network in the clear, so nobody could log in",
            "write `tls: starttls` with a certificate, or name the networks that you trust in `allow_plaintext_from`",
        );
    }
    if off_loopback && !allowed.is_empty() {
        section.context().note(format!(
            "listener `{}` accepts logins without TLS from other machines; whoever can listen on those networks learns the passwords",
            section.path().trim_start_matches("listeners.")
        ));
    }
}

fn read_upstream<'a>(
    section: &Section<'a>,
    protocol: Protocol,
    cloud: Cloud,
    upstreams: &mut Vec<(Upstream, Option<Node<'a>>, Section<'a>)>,
) -> Option<Upstream> {
    let node = section.get("upstream");
    let address = match &node {
        Some(node) => node.read(value::host_and_port),
        None => {
            let (host, port) = cloud.preset().upstream(protocol);
            Some((host.to_owned(), port))
        }
    };
    let words = [("implicit", UpstreamTls::Implicit), ("starttls", UpstreamTls::StartTls)];
    let tls_node = section.get("upstream_tls");
    let tls = match &tls_node {
        Some(node) => node.read(|text| match text {
            "none" => wrong("towards the upstream TLS cannot be switched off", "write `implicit` or `starttls`"),
            _ => value::choice(text, &words),
        }),
        None if protocol == Protocol::Smtp => Some(UpstreamTls::StartTls),
        None => Some(UpstreamTls::Implicit),
    };
    let name = section.get("upstream_name").map(|node| node.read(value::host_name));
    let (host, port) = address?;
    let upstream = Upstream { protocol, name: name.unwrap_or_else(|| Some(host.clone()))?, host, port, tls: tls? };

    let context = section.context();
    if Cloud::of_mail_host(&upstream.name).is_empty() {
        context.note(format!(
            "upstream `{}:{}` of {} is not one of Microsoft's servers; it will receive access tokens",
            upstream.host,
            upstream.port,
            section.path()
        ));
    }
    let expected = match upstream.port {
        993 | 995 | 465 => Some(UpstreamTls::Implicit),
        143 | 110 | 587 | 25 => Some(UpstreamTls::StartTls),
        _ => None,
    };
    if expected.is_some_and(|expected| expected != upstream.tls) {
        let word = if upstream.tls == UpstreamTls::Implicit { "starttls" } else { "implicit" };
        let reason = format!("port {} does not go with this kind of TLS", upstream.port);
        let hint = format!("write `upstream_tls: {word}`, or name another port");
        match tls_node.as_ref().or(node.as_ref()) {
            Some(node) => node.problem(reason, hint),
            None => section.problem(reason, hint),
        }
    }
    upstreams.push((upstream.clone(), node, section.clone()));
    Some(upstream)
}

/// Keys of the contract that come with later versions.
fn read_later(section: &Section<'_>, protocol: Option<Protocol>) {
    section.unavailable(&["proxy_protocol_from", "trusted_senders"]);
    let Some(node) = section.get("deliver") else { return };
    if node.as_text() == Some("smtp") && protocol.is_none_or(|protocol| protocol == Protocol::Smtp) {
        return;
    }
    node.problem("`deliver` other than `smtp` is not available in this version", "remove it");
}

fn report_conflicts(binds: &[(SocketAddr, Node<'_>)]) {
    for (index, (address, node)) in binds.iter().enumerate() {
        let same = |(other, _): &&(SocketAddr, Node<'_>)| {
            let everywhere = other.ip().is_unspecified() || address.ip().is_unspecified();
            other.port() == address.port()
                && address.port() != 0
                && other.is_ipv4() == address.is_ipv4()
                && (other.ip() == address.ip() || everywhere)
        };
        if let Some((other, first)) = binds.get(..index).unwrap_or_default().iter().find(same) {
            node.problem(
                format!("`{address}` is taken already by `{other}` of {}", first.path()),
                "give each listener a port of its own",
            );
        }
    }
}

fn report_loop(upstream: &Upstream, node: Option<&Node<'_>>, section: &Section<'_>, binds: &[(SocketAddr, Node<'_>)]) {
    let local = |bind: &SocketAddr| match upstream.host.parse::<std::net::IpAddr>() {
        Ok(host) => host == bind.ip() || (bind.ip().is_unspecified() && host.is_loopback()) || host.is_unspecified(),
        Err(_) => upstream.host == "localhost" && (bind.ip().is_loopback() || bind.ip().is_unspecified()),
    };
    if let Some((bind, _)) = binds.iter().find(|(bind, _)| bind.port() == upstream.port && local(bind)) {
        let reason = format!("this upstream is Gatepost itself, which listens on `{bind}`");
        let hint = "name the mail server of Microsoft, or remove `upstream`";
        match node {
            Some(node) => node.problem(reason, hint),
            None => section.problem(reason, hint),
        }
    }
}

/// Every account may log in at every listener, and a token of one cloud must not go to a host of another.
fn report_other_cloud(upstream: &Upstream, node: Option<&Node<'_>>, section: &Section<'_>, accounts: &Accounts) {
    let clouds = Cloud::of_mail_host(&upstream.name);
    let fits = |account: &Account| clouds.is_empty() || clouds.contains(&account.application.cloud);
    let Some(account) = accounts.entries().iter().find(|account| !fits(account)) else { return };
    let cloud = account.application.cloud.preset();
    let reason = format!(
        "tokens of the account `{}` are for the cloud `{}`, to which `{}` does not belong",
        account.pattern, cloud.name, upstream.name
    );
    let hint = format!(
        "name an upstream of that cloud, such as `{}`, or correct `cloud`; accounts of two clouds need a Gatepost each",
        cloud.upstream(upstream.protocol).0
    );
    match node {
        Some(node) => node.problem(reason, hint),
        None => section.problem(reason, hint),
    }
}
