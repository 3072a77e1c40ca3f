//! Finds values that are well-formed and will not work, or may not: placeholders of the
//! documentation, misspelled hosts, scopes without a needed permission, certificates for other
//! names. Nothing here needs a network.

use std::collections::BTreeSet;
use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use url::Url;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use super::finding::Severity;
use super::model::account::{Account, Accounts};
use super::model::issuer::Cloud;
use super::model::listener::{Bind, Http, Listener, ListenerBackend, ListenerTls};
use super::model::server::{HIGH_VOLUME, Resource, Upstream};
use super::model::submission::Deliver;
use super::reader::{Node, Section};
use super::value;
use gatepost_core::protocol::{MailProtocol, Protocol};
use gatepost_core::server_name::ServerName;
use gatepost_proto::http::rules::HttpService;

/// The id in the documentation's examples. Entra gives it to no application and no tenant.
const PLACEHOLDER_ID: &str = "00000000-0000-0000-0000-000000000000";

/// The tenant in the documentation's examples, which is Microsoft's own.
const EXAMPLE_TENANT: &str = "contoso.com";

/// Domains that nobody can own (RFC 2606).
const RESERVED: [&str; 7] = ["example", "test", "invalid", "localhost", "example.com", "example.net", "example.org"];

/// Hosts for clients without TLS 1.2, which Microsoft closes (message MC1293480).
const LEGACY: [&str; 2] = ["imap-legacy.office365.com", "pop-legacy.office365.com"];

/// Hosts of Outlook.com, which have tokens of Entra as well.
const OUTLOOK_COM: [&str; 3] = ["imap-mail.outlook.com", "pop-mail.outlook.com", "smtp-mail.outlook.com"];

/// Scopes that belong to no resource, and the one that stands for all permissions.
const GENERAL: [&str; 5] = ["offline_access", "openid", "profile", "email", ".default"];

/// Reports the findings of the whole configuration.
pub(super) fn check(root: &Section<'_>, listeners: &[Listener], accounts: &Accounts, server_name: Option<&ServerName>) {
    let (microsoft, entries) = (root.section("microsoft"), entries(root));
    for section in std::iter::once(&microsoft).chain(&entries) {
        check_placeholders(section, &microsoft);
        check_authority(section);
    }
    for (name, node) in root.section("listeners").entries() {
        let Some(listener) = listeners.iter().find(|listener| &*listener.name == name) else { continue };
        let section = node.section();
        check_destination(&section, listener);
        if root.context().is_check() {
            check_certificate(&section, listener, server_name);
        }
    }
    check_scopes(&microsoft, &entries, listeners, accounts);
}

/// The entries of `accounts`.
fn entries<'a>(root: &Section<'a>) -> Vec<Section<'a>> {
    let items = root.get("accounts").map(|node| node.items()).unwrap_or_default();
    items.iter().filter(|item| item.is_table()).map(Node::section).collect()
}

/// Whether a text is a placeholder, such as `<client id>`.
pub(super) fn is_placeholder(text: &str) -> bool {
    text.starts_with('<') && text.ends_with('>')
}

/// Reports ids and domains of the documentation. Other token services may take them.
fn check_placeholders(section: &Section<'_>, microsoft: &Section<'_>) {
    let authority = section.get("authority").or_else(|| microsoft.get("authority"));
    let is_microsofts = |host: String| !Cloud::of_authority(&host).is_empty() || meant_authority(&host).is_some();
    let of_microsoft = authority.is_none_or(|node| host_of(&node).is_some_and(is_microsofts));
    if !of_microsoft {
        return;
    }
    let is_placeholder_id = |node: &Node<'_>| node.as_text() == Some(PLACEHOLDER_ID);
    let client_id = section.get("client_id").filter(is_placeholder_id);
    if let Some(node) = &client_id {
        node.find(
            Severity::Problem,
            format!("`{PLACEHOLDER_ID}` is the placeholder of the documentation"),
            "copy the application (client) id from Entra: App registrations, your application, Overview",
        );
    }
    let Some(tenant) = section.get("tenant") else { return };
    let text = tenant.as_text().unwrap_or_default().to_ascii_lowercase();
    let is_reserved = RESERVED
        .iter()
        .any(|reserved| text.strip_suffix(reserved).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')));
    let reason = if text == PLACEHOLDER_ID || (text == EXAMPLE_TENANT && client_id.is_some()) {
        format!("`{text}` is the placeholder of the documentation")
    } else if is_reserved {
        format!("`{text}` is a domain that nobody can own, so it is no tenant")
    } else {
        return;
    };
    tenant.find(Severity::Problem, reason, "write the directory (tenant) id, or a verified domain of your tenant");
}

fn host_of(authority: &Node<'_>) -> Option<String> {
    Url::parse(authority.as_text()?).ok()?.host_str().map(str::to_owned)
}

/// The host that a misspelled one was meant to be, out of those that are known. One letter is a
/// mistake, two may be another host.
fn meant<'k>(host: &str, known: impl IntoIterator<Item = &'k str>) -> Option<(&'k str, Severity)> {
    // The cost is the product of the lengths.
    if host.len() > 64 || host.parse::<IpAddr>().is_ok() {
        return None;
    }
    // No word is nearer to another than their lengths are.
    let near = known.into_iter().filter(|name| name.len().abs_diff(host.len()) <= 2);
    let distances = near.map(|name| (strsim::damerau_levenshtein(host, name), name));
    match distances.min_by_key(|(distance, _)| *distance)? {
        (1, name) => Some((name, Severity::Problem)),
        (2, name) => Some((name, Severity::Warning)),
        _ => None,
    }
}

/// The token service of Microsoft's that a misspelled host was meant to be.
pub(super) fn meant_authority(host: &str) -> Option<(&'static str, Severity)> {
    meant(host, Cloud::ALL.iter().flat_map(|cloud| cloud.preset().authorities).copied())
}

fn check_authority(section: &Section<'_>) {
    let Some(node) = section.get("authority") else { return };
    let Some(host) = host_of(&node) else { return };
    if let Some((name, severity)) = meant_authority(&host) {
        node.find(
            severity,
            format!("`{host}` is not one of Microsoft's hosts, and would get passwords and secrets"),
            format!("did you mean `{name}`?"),
        );
    }
}

/// The host of Microsoft's that a misspelled upstream was meant to be.
pub(super) fn meant_upstream(host: &str) -> Option<(&'static str, Severity)> {
    meant(host, known_hosts(None))
}

/// The hosts to which a listener of this protocol may connect; all hosts without one.
fn known_hosts(protocol: Option<Protocol>) -> Vec<&'static str> {
    let is = |wanted| protocol.is_none_or(|protocol| protocol == wanted);
    let mut known = Vec::new();
    for cloud in Cloud::ALL {
        let preset = cloud.preset();
        if is(Protocol::Imap) || is(Protocol::Pop3) {
            known.push(preset.upstream(MailProtocol::Imap).0);
        }
        if is(Protocol::Smtp) {
            known.push(preset.upstream(MailProtocol::Smtp).0);
        }
        if is(Protocol::Ews) {
            known.push(preset.origin(HttpService::Ews));
        }
        known.push(preset.origin(HttpService::Graph));
    }
    known.extend(OUTLOOK_COM);
    known.extend(HIGH_VOLUME);
    known.extend(LEGACY);
    known
}

fn check_destination(section: &Section<'_>, listener: &Listener) {
    for key in ["upstream", "graph"] {
        let Some(node) = section.get(key) else { continue };
        let Some(Ok((host, _))) = node.as_text().map(value::host_and_port) else { continue };
        if let Some((name, severity)) = meant(&host, known_hosts(Some(listener.protocol))) {
            node.find(
                severity,
                format!("`{host}` is not one of Microsoft's hosts, and would get access tokens"),
                format!("did you mean `{name}`?"),
            );
        }
        if LEGACY.contains(&host.as_str()) {
            node.find(
                Severity::Warning,
                format!("Microsoft closes `{host}` on 31 December 2026"),
                "remove the key: clients without TLS 1.2 can stay, because Gatepost speaks a newer version to Microsoft",
            );
        }
    }
    if listener.mail_server().is_some_and(Upstream::is_high_volume) {
        check_high_volume(section, listener);
    }
}

/// Reports that the server takes other accounts than Exchange Online, and its old name.
fn check_high_volume(section: &Section<'_>, listener: &Listener) {
    let Some(node) = section.get("upstream") else { return };
    let Some(Ok((host, _))) = node.as_text().map(value::host_and_port) else {
        // `hve`, which nobody writes by accident.
        return section.context().note(format!(
            "listener `{}` leads to High Volume Email (HVE), which accepts only HVE accounts, and recipients of the tenant",
            listener.name
        ));
    };
    let mut hint = "if an account here is a normal mailbox, write `upstream: smtp.office365.com:587`".to_owned();
    if HIGH_VOLUME.get(1) == Some(&host.as_str()) {
        hint.push_str(". Otherwise write `upstream: hve`, because Microsoft will close this host");
    }
    node.find(Severity::Warning, format!("`{host}` accepts only accounts of High Volume Email (HVE)"), hint);
}

/// The permission that a user's token for Exchange Online needs at a listener.
fn permission(listener: &Listener) -> Option<&'static str> {
    if listener.mail_server().is_some_and(Upstream::is_high_volume) {
        return Some("Mail.Send");
    }
    match &listener.serves {
        ListenerBackend::Relay(upstream) => Some(match upstream.protocol {
            MailProtocol::Imap => "IMAP.AccessAsUser.All",
            MailProtocol::Pop3 => "POP.AccessAsUser.All",
            MailProtocol::Smtp => "SMTP.Send",
        }),
        ListenerBackend::Submission(submission) if submission.deliver != Deliver::Graph => Some("SMTP.Send"),
        ListenerBackend::Http(Http { service: HttpService::Ews, .. }) => Some("EWS.AccessAsUser.All"),
        _ => None,
    }
}

/// Whether the account's scope gives tokens without this permission. A scope without names of
/// permissions gives all of them.
fn lacks(account: &Account, permission: &str) -> bool {
    let Some(scope) = &account.scope else { return false };
    let mut names = scope.split(' ').map(|scope| scope.rsplit_once('/').map_or(scope, |(_, name)| name));
    // A resource of the v1.0 endpoint, and a scope of another provider, name no permission of these.
    let is_explicit = account.application.issuer.cloud().is_some_and(|cloud| cloud != Cloud::China)
        && account.grant.is_of_user()
        && names.clone().any(|name| !name.is_empty() && !GENERAL.contains(&name))
        && !names.clone().any(|name| name == ".default");
    is_explicit && !names.any(|name| name.eq_ignore_ascii_case(permission))
}

/// Reports scopes that lack the permission of a listener. If no account has it, nobody can log in
/// there.
fn check_scopes(microsoft: &Section<'_>, entries: &[Section<'_>], listeners: &[Listener], accounts: &Accounts) {
    let accounts = accounts.entries();
    // Entries with a mistake are left out, which has been reported.
    if !entries.is_empty() && entries.len() != accounts.len() {
        return;
    }
    for listener in listeners.iter().filter(|listener| listener.resources().contains(&Resource::Exchange)) {
        let Some(permission) = permission(listener) else { continue };
        let is_of_all = accounts.iter().all(|account| lacks(account, permission));
        let severity = if is_of_all { Severity::Problem } else { Severity::Warning };
        for (index, account) in accounts.iter().enumerate().filter(|(_, account)| lacks(account, permission)) {
            let own = entries.get(index).and_then(|section| section.get("scope"));
            let Some(node) = own.or_else(|| microsoft.get("scope")) else { continue };
            let scope = account.scope.as_deref().unwrap_or_default();
            let resource =
                scope.split(' ').find_map(|scope| scope.rsplit_once('/')).map_or("", |(resource, _)| resource);
            node.find(
                severity,
                format!("the scope lacks `{permission}`, which listener `{}` needs", listener.name),
                format!("add `{resource}/{permission}`, or remove the key"),
            );
        }
    }
}

/// Reports names by which clients know the listener, and that its certificate does not have.
fn check_certificate(section: &Section<'_>, listener: &Listener, server_name: Option<&ServerName>) {
    let (ListenerTls::StartTls(identity) | ListenerTls::Implicit(identity)) = &listener.tls else { return };
    let Some(node) = section.get("certificate") else { return };
    // Only the running service may have the file.
    let Ok(chain) = section.context().outside.read(&identity.certificate) else { return };
    let Some(names) = Names::of(&chain) else { return };
    let missing: Vec<String> = known_as(listener, server_name).into_iter().filter(|host| !names.cover(host)).collect();
    if missing.is_empty() {
        return;
    }
    let hosts: String = missing.iter().map(|host| format!(" --host {host}")).collect();
    node.find(
        Severity::Warning,
        format!(
            "the certificate in `{}` is not for `{}`, to which clients of listener `{}` connect",
            identity.certificate.display(),
            missing.join("` or `"),
            listener.name
        ),
        match names.first_name() {
            Some(name) => {
                format!(
                    "tell clients to connect to `{name}`, or create a certificate with `gatepost cert --force{hosts}`"
                )
            }
            None => format!("create a certificate with `gatepost cert --force{hosts}`"),
        },
    );
}

/// The names by which clients know a listener, as device passwords print them: those of its
/// addresses, `hosts`, and `server_name` where it can be reached from other machines.
fn known_as(listener: &Listener, server_name: Option<&ServerName>) -> BTreeSet<String> {
    let mut hosts = BTreeSet::new();
    let mut is_local = true;
    for bind in &listener.bind {
        match bind {
            Bind::Localhost(_) => {
                hosts.insert("localhost".to_owned());
            }
            Bind::Address(address) => {
                is_local &= address.ip().is_loopback();
                // At any address, clients are given a name.
                if !address.ip().is_unspecified() {
                    hosts.insert(address.ip().to_string());
                }
            }
        }
    }
    if let Some(name) = server_name.filter(|_| !is_local) {
        hosts.insert(name.as_str().trim_matches(['[', ']']).to_ascii_lowercase());
    }
    if let ListenerBackend::Http(http) = &listener.serves {
        hosts.extend(http.hosts.iter().cloned());
    }
    hosts
}

/// The subject alternative names of a certificate.
struct Names {
    dns: Vec<String>,
    addresses: Vec<IpAddr>,
}

impl Names {
    /// Reads those of the first certificate of a chain in PEM.
    fn of(chain: &[u8]) -> Option<Self> {
        let certificate = CertificateDer::pem_slice_iter(chain).next()?.ok()?;
        let (_, certificate) = parse_x509_certificate(&certificate).ok()?;
        let mut names = Self { dns: Vec::new(), addresses: Vec::new() };
        let alternative = certificate.subject_alternative_name().ok()?;
        for name in alternative.map(|found| found.value.general_names.as_slice()).unwrap_or_default() {
            match name {
                GeneralName::DNSName(name) => names.dns.push(name.to_ascii_lowercase()),
                GeneralName::IPAddress(octets) => names.addresses.extend(address(octets)),
                _ => {}
            }
        }
        Some(names)
    }

    /// Whether a client that connects to the host accepts the certificate (RFC 6125 §6.4).
    fn cover(&self, host: &str) -> bool {
        if let Ok(address) = host.parse() {
            return self.addresses.contains(&address);
        }
        let covers = |name: &String| match name.strip_prefix("*.") {
            Some(domain) => host.split_once('.').is_some_and(|(_, rest)| rest == domain),
            None => name == host,
        };
        self.dns.iter().any(covers)
    }

    /// A name that other machines can connect to.
    fn first_name(&self) -> Option<&str> {
        self.dns.iter().map(String::as_str).find(|name| *name != "localhost" && !name.starts_with('*'))
    }
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}
