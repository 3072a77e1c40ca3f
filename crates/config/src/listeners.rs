//! Reads the section `listeners`, and checks all listeners together.

use std::net::SocketAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::identity::read_identity;
use super::model::account::{Account, Accounts};
use super::model::issuer::Cloud;
use super::model::listener::{Bind, Listener, ListenerBackend, ListenerTls};
use super::model::sending::SenderRule;
use super::model::server::{Origin, Upstream, UpstreamTls};
use super::model::submission::{Deliver, Submission};
use super::reader::{Node, Section};
use super::value::{self, wrong};
use super::{http, mailboxes, other_servers, plausible, queue, sendmail, submission};
use gatepost_core::protocol::{MailProtocol, Protocol};
use gatepost_proto::http::rules::HttpService;
use gatepost_proto::mail::TokenExchange;
use gatepost_proto::sasl::ClientTokens;

/// Longest listener name, because it is in every log line.
const NAME_OCTETS: usize = 64;

/// What `upstream` of an SMTP listener says for the server of High Volume Email.
const HVE: &str = "hve";

/// Port of the HTTP services.
const HTTPS: u16 = 443;

/// The server that a listener connects to, and where it was written.
struct Destination<'a> {
    host: String,
    port: u16,
    name: String,
    /// A server of an account's cloud, for a hint.
    example: fn(Cloud) -> &'static str,
    node: Option<Node<'a>>,
    section: Section<'a>,
}

impl Destination<'_> {
    /// The clouds that it belongs to; none when it is not Microsoft's.
    fn clouds(&self) -> Vec<Cloud> {
        Cloud::of_host(&self.name)
    }

    fn problem(&self, reason: String, hint: impl Into<String>) {
        match &self.node {
            Some(node) => node.problem(reason, hint),
            None => self.section.problem(reason, hint),
        }
    }
}

#[derive(Clone, Copy)]
enum TlsMode {
    None,
    StartTls,
    Implicit,
}

/// Reads every listener. Those with mistakes are reported and left out.
pub(super) fn read(section: &Section<'_>, cloud: Cloud, accounts: &Accounts) -> Vec<Listener> {
    let mut listeners = Vec::new();
    let mut binds: Vec<(SocketAddr, Node<'_>)> = Vec::new();
    let mut destinations: Vec<Destination<'_>> = Vec::new();
    let entries = section.entries();
    if section.is_empty() {
        let hint = "add one, such as `listeners: {smtp: {bind: \"localhost:1587\"}}`";
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
        if let Some(listener) = read_one(name, &node.section(), cloud, accounts, &mut binds, &mut destinations) {
            listeners.push(listener);
        }
    }
    let has_rules = accounts.entries().iter().any(|account| account.sending.needs_submission());
    if has_rules && !listeners.iter().any(|listener| listener.protocol == Protocol::Smtp) {
        section.context().note("`sender` and `send_as` of accounts have no effect without an SMTP listener".to_owned());
    }
    report_conflicts(&binds);
    for destination in &destinations {
        report_loop(destination, &binds);
        report_other_cloud(destination, accounts);
    }
    listeners
}

fn read_one<'a>(
    name: &str,
    section: &Section<'a>,
    cloud: Cloud,
    accounts: &Accounts,
    binds: &mut Vec<(SocketAddr, Node<'a>)>,
    destinations: &mut Vec<Destination<'a>>,
) -> Option<Listener> {
    let protocol = read_protocol(name, section);
    let bind = read_bind(section, binds);
    let tls = read_tls(section);
    let networks = |key| section.get(key).map(|node| node.read_each(value::network));
    // With STARTTLS, what comes from loopback may be a program that forwards for other machines.
    let allow_plaintext_from = networks("allow_plaintext_from")
        .unwrap_or_else(|| tls.as_ref().map(|tls| if *tls == ListenerTls::None { loopback() } else { Vec::new() }));
    let allow_from = match networks("allow_from") {
        Some(Some(networks)) if networks.is_empty() => {
            section.problem("`allow_from` is empty, so nobody could connect", "name the networks of the clients");
            None
        }
        Some(networks) => networks,
        None if section.has("proxy_protocol_from") => {
            section.missing(
                "allow_from",
                ", which a listener behind a load balancer needs",
                "name the networks of the clients behind it: their addresses count, not the balancer's",
            );
            None
        }
        None => default_allow_from(section, bind.as_deref()),
    };
    let proxy_protocol_from = match section.get("proxy_protocol_from") {
        Some(node) => node.read_each(balancers),
        None => Some(Vec::new()),
    };
    let switch = |key| section.get(key).map_or(Some(false), |node| node.read(value::truth));
    let (bare_lf, legacy) = (switch("bare_lf"), switch("legacy"));
    let client_tokens = read_client_tokens(section, protocol);
    let serves = protocol.and_then(|protocol| read_serves(section, protocol, cloud, accounts, destinations));
    section.finish();

    let (bind, tls) = (bind?, tls?);
    let (allow_plaintext_from, proxy_protocol_from) = (allow_plaintext_from?, proxy_protocol_from?);
    let mode = match &serves {
        Some(ListenerBackend::Http(_)) => {
            http::check_tls(section, &tls);
            "implicit"
        }
        _ => "starttls",
    };
    let rules = match &serves {
        Some(ListenerBackend::Submission(submission)) => submission.trusted_senders.as_slice(),
        _ => &[],
    };
    let off_loopback = !proxy_protocol_from.is_empty() || !is_loopback(&bind);
    let trusts = section.has("trusted_senders");
    check_plaintext(section, (&tls, mode), off_loopback, &allow_plaintext_from, trusts);
    if let Some(allow_from) = &allow_from {
        submission::check_reach(section, rules, allow_from);
    }
    let others = serves.as_ref().map_or_else(Vec::new, |serves| other_servers::of(section, serves, accounts));
    Some(Listener {
        name: Arc::from(name),
        protocol: protocol?,
        bind,
        tls,
        allow_from: allow_from?,
        allow_plaintext_from,
        proxy_protocol_from,
        bare_lf: bare_lf? || legacy?,
        legacy: legacy?,
        client_tokens: client_tokens?,
        serves: other_servers::adopt(section, serves?, &others, accounts),
        others,
    })
}

fn read_protocol(name: &str, section: &Section<'_>) -> Option<Protocol> {
    let words = Protocol::ALL.map(|protocol| (protocol.name(), protocol));
    if let Some(node) = section.get("protocol") {
        return node.read(|text| value::choice(text, &words));
    }
    let of_name = words.iter().find(|(word, _)| *word == name).map(|(_, protocol)| *protocol);
    if of_name.is_none() {
        section.missing(
            "protocol",
            "",
            "write `protocol: imap`, `pop3`, `smtp`, `ews` or `graph`, or name the listener so",
        );
    }
    of_name
}

fn read_client_tokens(section: &Section<'_>, protocol: Option<Protocol>) -> Option<ClientTokens> {
    const WORDS: [(&str, ClientTokens); 3] =
        [("refuse", ClientTokens::Refuse), ("accept", ClientTokens::Accept), ("announce", ClientTokens::Announce)];
    let Some(node) = section.get("client_tokens") else { return Some(ClientTokens::default()) };
    if matches!(protocol, Some(Protocol::Ews | Protocol::Graph)) {
        node.problem("EWS and Graph listeners take HTTP Basic only, never a client's own token", "remove the key");
        return None;
    }
    node.read(|text| value::choice(text, &WORDS))
}

fn read_bind<'a>(section: &Section<'a>, binds: &mut Vec<(SocketAddr, Node<'a>)>) -> Option<Vec<Bind>> {
    let Some(node) = section.get("bind") else {
        section.missing("bind", "", "write the address and port to listen on, such as `bind: localhost:1143`");
        return None;
    };
    let items = node.items();
    if items.is_empty() {
        node.problem("no address is listed", "write an address and port, such as `localhost:1143`");
        return None;
    }
    let mut read = Vec::new();
    for item in &items {
        if let Some(bind) = item.read(value::bind) {
            binds.extend(bind.addresses().map(|address| (address, item.clone())));
            read.push(bind);
        }
    }
    (read.len() == items.len()).then_some(read)
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
            section.missing(key, ", which TLS needs", "name a PEM file. `gatepost cert` makes one for tests");
        }
    }
    let identity = read_identity(&certificate?, &private_key?)?;
    Some(match mode {
        TlsMode::Implicit => ListenerTls::Implicit(identity),
        _ => ListenerTls::StartTls(identity),
    })
}

/// Whether only this machine reaches all of them.
fn is_loopback(bind: &[Bind]) -> bool {
    bind.iter().flat_map(|bind| bind.addresses()).all(|address| address.ip().is_loopback())
}

fn default_allow_from(section: &Section<'_>, bind: Option<&[Bind]>) -> Option<Vec<IpNet>> {
    if is_loopback(bind?) {
        return Some(loopback());
    }
    section.missing(
        "allow_from",
        ", which an address other than loopback needs",
        "name the networks of the clients, such as `allow_from: [192.168.7.0/24]`",
    );
    None
}

/// Reads a network of load balancers. A host in it can claim any client address.
fn balancers(text: &str) -> Result<IpNet, value::ValueError> {
    let network = value::network(text)?;
    if network.prefix_len() == 0 {
        return wrong(
            "this is everybody, and every address listed here is believed",
            "name the addresses of the load balancers",
        );
    }
    Ok(network)
}

/// 127.0.0.0/8 and ::1.
pub(super) fn loopback() -> Vec<IpNet> {
    let v4 = ipnet::Ipv4Net::new_assert(std::net::Ipv4Addr::new(127, 0, 0, 0), 8);
    vec![v4.into(), IpNet::from(std::net::IpAddr::from(std::net::Ipv6Addr::LOCALHOST))]
}

fn check_plaintext(
    section: &Section<'_>,
    (tls, mode): (&ListenerTls, &str),
    off_loopback: bool,
    allowed: &[IpNet],
    trusts: bool,
) {
    // The default lets in nobody from another machine, which the operator may also want.
    let is_default = !section.has("allow_plaintext_from");
    if *tls == ListenerTls::None && (allowed.is_empty() || off_loopback && is_default) && !trusts {
        section.problem(
            "without TLS passwords would cross the network in the clear, so nobody could log in",
            format!(
                "write `tls: {mode}` with a certificate, or name the networks that you trust in `allow_plaintext_from`"
            ),
        );
    }
    if off_loopback && allowed.iter().any(|network| !network.network().is_loopback()) {
        section.context().note(format!(
            "listener `{}` accepts logins without TLS from other machines. Anybody who can listen on those networks \
             learns the passwords",
            section.path().trim_start_matches("listeners.")
        ));
    }
}

fn read_serves<'a>(
    section: &Section<'a>,
    protocol: Protocol,
    cloud: Cloud,
    accounts: &Accounts,
    destinations: &mut Vec<Destination<'a>>,
) -> Option<ListenerBackend> {
    let http = |service, destinations: &mut Vec<Destination<'a>>| {
        let origin = read_origin(section, "upstream", service, cloud, destinations)?;
        http::read(section, service, origin, accounts).map(ListenerBackend::Http)
    };
    match protocol {
        Protocol::Imap => read_upstream(section, MailProtocol::Imap, cloud, destinations).map(ListenerBackend::Relay),
        Protocol::Pop3 if section.get("upstream").is_some_and(|node| node.as_text() == Some("graph")) => {
            read_origin(section, "graph", HttpService::Graph, cloud, destinations).map(ListenerBackend::Maildrop)
        }
        Protocol::Pop3 => read_upstream(section, MailProtocol::Pop3, cloud, destinations).map(ListenerBackend::Relay),
        Protocol::Smtp => read_smtp(section, cloud, accounts, destinations),
        Protocol::Ews => http(HttpService::Ews, destinations),
        Protocol::Graph => http(HttpService::Graph, destinations),
    }
}

fn read_smtp<'a>(
    section: &Section<'a>,
    cloud: Cloud,
    accounts: &Accounts,
    destinations: &mut Vec<Destination<'a>>,
) -> Option<ListenerBackend> {
    let deliver = submission::read_deliver(section);
    let trusted_senders = submission::read_trusted_senders(section, accounts);
    let sender = mailboxes::read_sender(section).or_default(SenderRule::Free);
    let is_free = sender == Some(SenderRule::Free)
        && !accounts.entries().iter().any(|account| account.sending.needs_submission());
    // Mistakes of an old device after its login can only be corrected where Gatepost itself takes
    // the message.
    let legacy =
        section.get("legacy").is_some_and(|node| node.as_text().is_some_and(|text| value::truth(text) == Ok(true)));
    let queue = queue::read_switch(section, accounts);
    let deliver = deliver?;
    let graph_large = submission::read_graph_large(section, deliver, cloud);
    let smtp = match deliver {
        Deliver::Graph => None,
        Deliver::Smtp | Deliver::Auto => Some(read_upstream(section, MailProtocol::Smtp, cloud, destinations)?),
    };
    if deliver == Deliver::Auto && smtp.as_ref().is_some_and(Upstream::is_high_volume) {
        section.problem(
            "accounts of High Volume Email (HVE) have no mailbox, so Graph cannot send for them",
            "remove `deliver: auto`",
        );
    }
    if deliver == Deliver::Smtp {
        // The key has no use here, but is not wrong: an operator who tries `deliver: smtp` for a
        // while need not remove it.
        let _ = section.get("graph").and_then(|node| node.read(value::host_and_port));
    }
    let is_plain = is_free && !legacy && queue == Some(false) && !takes_local_mail(section);
    if deliver == Deliver::Smtp && is_plain && trusted_senders.as_ref().is_some_and(Vec::is_empty) {
        return smtp.map(ListenerBackend::Relay);
    }
    let graph = match deliver {
        // Sent Items are searched through Graph, however messages leave.
        Deliver::Smtp if queue == Some(true) => read_origin(section, "graph", HttpService::Graph, cloud, destinations)?,
        Deliver::Smtp => {
            let name = cloud.preset().origin(HttpService::Graph).to_owned();
            Origin { host: name.clone(), port: HTTPS, name }
        }
        Deliver::Graph | Deliver::Auto => {
            submission::note_lost_fields(section);
            read_origin(section, "graph", HttpService::Graph, cloud, destinations)?
        }
    };
    let (sender, trusted_senders, queue) = (sender?, trusted_senders?, queue?);
    let graph_large = graph_large?;
    Some(ListenerBackend::Submission(Submission { deliver, smtp, graph, sender, trusted_senders, graph_large, queue }))
}

/// Whether `gatepost sendmail` sends through this listener.
fn takes_local_mail(section: &Section<'_>) -> bool {
    let root = section.context().root();
    let listeners = root.section("listeners").entries();
    let is_smtp = |name: &str, section: &Section<'_>| {
        let protocol = section.get("protocol");
        protocol.as_ref().map_or(Some(name), |node| node.as_text()) == Some(Protocol::Smtp.name())
    };
    let smtp = listeners.iter().filter(|(name, node)| node.is_table() && is_smtp(name, &node.section()));
    sendmail::names(&root, section.path().trim_start_matches("listeners."), smtp.count() == 1)
}

fn read_origin<'a>(
    section: &Section<'a>,
    key: &'static str,
    service: HttpService,
    cloud: Cloud,
    destinations: &mut Vec<Destination<'a>>,
) -> Option<Origin> {
    let node = section.get(key);
    let (host, port) = match &node {
        Some(node) => node.read(value::host_and_port)?,
        None => (cloud.preset().origin(service).to_owned(), HTTPS),
    };
    let name = section.get("upstream_name").map(|node| node.read(value::host_name));
    let origin = Origin { name: name.unwrap_or_else(|| Some(host.clone()))?, host, port };
    let example = match service {
        HttpService::Ews => |cloud: Cloud| cloud.preset().origin(HttpService::Ews),
        HttpService::Graph => |cloud: Cloud| cloud.preset().origin(HttpService::Graph),
    };
    let Origin { host, port, name } = origin.clone();
    let destination = Destination { host, port, name, example, node, section: section.clone() };
    note_foreign(&destination);
    destinations.push(destination);
    Some(origin)
}

fn note_foreign(destination: &Destination<'_>) {
    // A misspelled host is a finding.
    if destination.clouds().is_empty() && plausible::meant_upstream(&destination.name).is_none() {
        let Destination { host, port, section, .. } = destination;
        section.context().note(format!(
            "upstream `{host}:{port}` of {} is not one of Microsoft's servers, and will receive access tokens",
            section.path()
        ));
    }
}

fn read_upstream<'a>(
    section: &Section<'a>,
    protocol: MailProtocol,
    cloud: Cloud,
    destinations: &mut Vec<Destination<'a>>,
) -> Option<Upstream> {
    let node = section.get("upstream");
    let address = match &node {
        Some(node) if node.as_text() == Some(HVE) => node.read(|_| high_volume(protocol, cloud)),
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
        None if protocol == MailProtocol::Smtp => Some(UpstreamTls::StartTls),
        None => Some(UpstreamTls::Implicit),
    };
    let name = section.get("upstream_name").map(|node| node.read(value::host_name));
    let (host, port) = address?;
    let upstream = Upstream {
        protocol,
        name: name.unwrap_or_else(|| Some(host.clone()))?,
        host,
        port,
        tls: tls?,
        exchange: TokenExchange::EXCHANGE_ONLINE,
    };

    let expected = match upstream.port {
        993 | 995 | 465 => Some(UpstreamTls::Implicit),
        143 | 110 | 587 | 25 => Some(UpstreamTls::StartTls),
        _ => None,
    };
    if expected.is_some_and(|expected| expected != upstream.tls) {
        let (word, given) = match upstream.tls {
            UpstreamTls::Implicit => ("starttls", "implicit"),
            UpstreamTls::StartTls => ("implicit", "starttls"),
        };
        let reason = match upstream.tls {
            UpstreamTls::Implicit => format!("port {} greets in plain text, so `{given}` cannot work", upstream.port),
            UpstreamTls::StartTls => format!("port {} expects TLS at once, so `{given}` cannot work", upstream.port),
        };
        let hint = format!("write `upstream_tls: {word}`, or name another port");
        match tls_node.as_ref().or(node.as_ref()) {
            Some(node) => node.problem(reason, hint),
            None => section.problem(reason, hint),
        }
    }
    let example = match protocol {
        MailProtocol::Imap => |cloud: Cloud| cloud.preset().upstream(MailProtocol::Imap).0,
        MailProtocol::Pop3 => |cloud: Cloud| cloud.preset().upstream(MailProtocol::Pop3).0,
        MailProtocol::Smtp => |cloud: Cloud| cloud.preset().upstream(MailProtocol::Smtp).0,
    };
    let (host, name) = (upstream.host.clone(), upstream.name.clone());
    let destination = Destination { host, port: upstream.port, name, example, node, section: section.clone() };
    note_foreign(&destination);
    destinations.push(destination);
    Some(upstream)
}

/// The server of High Volume Email.
fn high_volume(protocol: MailProtocol, cloud: Cloud) -> Result<(String, u16), value::ValueError> {
    if protocol != MailProtocol::Smtp {
        return wrong("High Volume Email (`hve`) only sends, so only SMTP listeners can lead to it", "remove the key");
    }
    let Some((host, port)) = cloud.preset().high_volume() else {
        let reason = format!("the cloud `{}` has no High Volume Email (`hve`)", cloud.preset().name);
        return wrong(reason, "remove the key. Only the cloud `worldwide` has it");
    };
    Ok((host.to_owned(), port))
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

fn report_loop(destination: &Destination<'_>, binds: &[(SocketAddr, Node<'_>)]) {
    let host = destination.host.as_str();
    let local = |bind: &SocketAddr| match host.parse::<std::net::IpAddr>() {
        Ok(host) => host == bind.ip() || (bind.ip().is_unspecified() && host.is_loopback()) || host.is_unspecified(),
        Err(_) => host == "localhost" && (bind.ip().is_loopback() || bind.ip().is_unspecified()),
    };
    if let Some((bind, _)) = binds.iter().find(|(bind, _)| bind.port() == destination.port && local(bind)) {
        destination.problem(
            format!("this upstream is Gatepost itself, which listens on `{bind}`"),
            "name the server of Microsoft, or remove `upstream`",
        );
    }
}

/// Reports an account of another cloud. Every account may log in at every listener, and a token of
/// one cloud must not be sent to a host of another.
fn report_other_cloud(destination: &Destination<'_>, accounts: &Accounts) {
    let clouds = destination.clouds();
    let misfit = |account: &Account| account.application.issuer.cloud().filter(|cloud| !clouds.contains(cloud));
    let found = accounts.entries().iter().find_map(|account| Some((account, misfit(account)?)));
    let Some((account, cloud)) = found.filter(|_| !clouds.is_empty()) else { return };
    destination.problem(
        format!(
            "tokens of the account `{}` are for the cloud `{}`, to which `{}` does not belong",
            account.pattern,
            cloud.preset().name,
            destination.name
        ),
        format!(
            "name an upstream of that cloud, such as `{}`, or correct `cloud`. Accounts of two clouds need a Gatepost \
             each",
            (destination.example)(cloud)
        ),
    );
}
