//! Reads the credential of an application: `client_secret`, `client_certificate`,
//! `federated_token_file` or `managed_identity`, and the key of a service account. An application
//! has at most one. The first two may hold two entries, so that one can be replaced while the other
//! is used.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use url::{Host, Url};
use zeroize::Zeroizing;

use super::certificate::{SigningAlgorithm, SigningKey, is_pem};
use super::entra::client_id;
use super::finding::Severity;
use super::model::credential::{
    ClientCertificate, Credential, IdentityEndpoint, ManagedIdentity, NotedSecret, Renewable, Renewal,
};
use super::model::issuer::Cloud;
use super::problem::Place;
use super::purpose::{Purpose, Secret};
use super::reader::{Node, Section};
use super::secrets;
use super::service_account::ServiceAccountKey;
use super::setting::Setting;
use super::value::{self, ValueError, choice, quoted, wrong};
use gatepost_core::account::is_guid;
use gatepost_core::clock::{Clock, UnixTime};
use gatepost_core::secret::{CertificatePassword, ClientSecret, IdentityKey};

/// The keys of this section, each for one kind of credential.
const KEYS: [&str; 4] = ["client_secret", "client_certificate", "federated_token_file", "managed_identity"];

/// Most entries: one in use, and one that replaces it.
const MOST: usize = 2;

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// How long before its end a certificate can be renewed. A new one is valid for a year.
const RENEW: std::ops::RangeInclusive<Duration> = DAY..=DAY.saturating_mul(180);

/// Reads the secret of an application of a provider, which has no other credential. Unlike Entra, a
/// provider asks for it at a sign-in too.
pub(super) fn read_secret(section: &Section<'_>) -> Setting<Arc<Credential>> {
    let read = |node: &Node<'_>| match node.as_text() {
        Some("none") => Some(Credential::None),
        _ => one_or_two(node, secret, Credential::Secrets),
    };
    Setting::read(section, "client_secret", |node| read(&node).map(Arc::new))
}

/// A service account, as its key file names it.
#[derive(Clone)]
pub(super) struct ServiceAccount {
    /// Its address; empty if the purpose needs no key.
    pub(super) email: String,
    pub(super) credential: Arc<Credential>,
}

/// Reads the key file of a service account. `token_url`: where the provider gives tokens; `None` if
/// that has a mistake, which is reported.
pub(super) fn read_service_account(section: &Section<'_>, token_url: Option<&Url>) -> Setting<ServiceAccount> {
    Setting::read(section, "service_account_key", |node| service_account(&node, token_url?))
}

fn service_account(node: &Node<'_>, token_url: &Url) -> Option<ServiceAccount> {
    // As a path it would be shown.
    if node.as_text().is_some_and(|text| text.contains("PRIVATE KEY") || text.trim_start().starts_with('{')) {
        node.problem("the key itself does not belong here", "write the path of its file");
        return None;
    }
    let path = secrets::path(node)?;
    let hint = "name the JSON key file of the service account, which the user who runs Gatepost can read";
    let content = match node.content(&path, Purpose::Check, hint)? {
        Secret::Read(content) => Zeroizing::new(content),
        Secret::NotRead => {
            return Some(ServiceAccount { email: String::new(), credential: Arc::new(Credential::NotRead) });
        }
    };
    let (context, shown) = (node.context(), path.display());
    if context.outside.world_readable(&path) {
        context
            .note(format!("every user of this machine can read the private key in `{shown}`. Run `chmod o-r {shown}`"));
    }
    match ServiceAccountKey::read(&content, token_url) {
        Ok(key) => {
            let credential = Arc::new(Credential::ServiceAccountKey(path));
            Some(ServiceAccount { email: key.email, credential })
        }
        Err(error) => {
            node.problem(format!("`{shown}` is not usable: {error}"), error.remedy());
            None
        }
    }
}

fn client_secret(node: &Node<'_>) -> Option<Credential> {
    match node.as_text() {
        Some("none") => Some(Credential::None),
        _ => if_needed(node, || one_or_two(node, secret, Credential::Secrets)),
    }
}

/// Reads the one credential of a section.
pub(super) fn read(section: &Section<'_>) -> Setting<Arc<Credential>> {
    let given: Vec<(&str, Node<'_>)> = KEYS.into_iter().filter_map(|key| Some((key, section.get(key)?))).collect();
    let (key, node) = match given.as_slice() {
        [] => return Setting::Absent,
        [(key, node)] => (*key, node),
        [(first, _), (second, node), ..] => {
            node.problem(
                format!("`{first}` and `{second}` are both given, but an application proves itself in one way"),
                "keep one of them. To replace one, list two under the same key",
            );
            return Setting::Wrong;
        }
    };
    let credential = match key {
        "client_secret" => client_secret(node),
        "client_certificate" => if_needed(node, || one_or_two(node, certificate, Credential::Certificates)),
        "federated_token_file" => node.text().map(|path| federated_token_file(node, &node.context().path(path))),
        _ => managed_identity(node).map(Credential::ManagedIdentity),
    };
    credential.map_or(Setting::Wrong, |credential| Setting::Value(Arc::new(credential)))
}

/// Reads a credential, without which a person can sign in: Entra takes none from a public client. So
/// a sign-in on the command line goes without one that this shell does not have.
fn if_needed(node: &Node<'_>, read: impl FnOnce() -> Option<Credential>) -> Option<Credential> {
    node.context().unless_sign_in(read).unwrap_or(Some(Credential::NotRead))
}

/// The federated token that the platform's variables name (Azure Workload Identity, "Mutating
/// Admission Webhook").
pub(super) fn from_environment(section: &Section<'_>) -> Option<Arc<Credential>> {
    let file = section.context().outside.variable("AZURE_FEDERATED_TOKEN_FILE").filter(|file| !file.is_empty())?;
    Some(Arc::new(Credential::FederatedTokenFile(file.into())))
}

/// Reads one or two credentials of a kind. If one was not read, none is used.
fn one_or_two<T>(
    node: &Node<'_>,
    read: impl Fn(&Node<'_>) -> Option<Secret<T>>,
    kind: impl FnOnce(Vec<T>) -> Credential,
) -> Option<Credential> {
    let items = node.items();
    if items.is_empty() || items.len() > MOST {
        node.problem(
            format!("{} entries are listed, but one serves and one more may replace it", items.len()),
            "list one or two",
        );
        return None;
    }
    let read: Vec<Option<Secret<T>>> = items.iter().map(read).collect();
    let read: Vec<Secret<T>> = read.into_iter().collect::<Option<_>>()?;
    let read: Option<Vec<T>> = read.into_iter().map(Secret::read).collect();
    Some(read.map_or(Credential::NotRead, kind))
}

fn secret(node: &Node<'_>) -> Option<Secret<NotedSecret>> {
    let secret = secrets::read_source(node, &["expires"], Purpose::SignIn)?;
    let expires = if node.is_table() { node.section().get("expires") } else { None };
    let expires = match expires {
        Some(node) => Some(node.read(date)?),
        None => None,
    };
    Some(secret.map(|(text, file)| {
        if is_guid(&text) {
            node.context().note(format!(
                "{} has the form of a secret's id. Entra wants the secret's value, which it shows only once",
                node.path()
            ));
        }
        NotedSecret { secret: Renewable { value: Arc::new(ClientSecret::new(text)), file }, expires }
    }))
}

/// A day, as its first second in UTC, so that it is rather too early than too late.
fn date(text: &str) -> Result<UnixTime, ValueError> {
    UnixTime::parse_day(text).map_or_else(
        || wrong(format!("{} is not a date", quoted(text)), "write year, month and day, such as `2027-01-31`"),
        Ok,
    )
}

fn certificate(node: &Node<'_>) -> Option<Secret<ClientCertificate>> {
    let section = node.section();
    let path = |key| section.get(key).map(|node| secrets::path(&node));
    let (certificate, private_key) = (path("certificate"), path("private_key"));
    if certificate.is_none() {
        section.missing("certificate", "", "name a PEM file, or a PKCS#12 file with the key in it");
    }
    let password = section.get("password").map(|node| {
        let secret = secrets::read_source(&node, &[], Purpose::SignIn)?;
        Some(secret.map(|(text, file)| Renewable { value: Arc::new(CertificatePassword::new(text)), file }))
    });
    let algorithm = section.get("algorithm").map(|node| {
        node.read(|text| choice(text, &[("PS256", SigningAlgorithm::Ps256), ("RS256", SigningAlgorithm::Rs256)]))
    });
    let renewal = renewal(&section);
    section.finish();
    let password = match given(password)? {
        Some(Secret::NotRead) => return Some(Secret::NotRead),
        password => password.and_then(Secret::read),
    };
    let found = ClientCertificate {
        certificate: certificate??,
        private_key: given(private_key)?,
        password,
        algorithm: algorithm.unwrap_or(Some(SigningAlgorithm::default()))?,
        renewal: renewal?,
    };
    check_directories(&section, &found);
    Some(check(&section, &found)?.map(|()| found))
}

/// Reads how the certificate is renewed, and the keys that belong to it.
fn renewal(section: &Section<'_>) -> Option<Option<Renewal>> {
    let before = section.get("renew").map(|node| node.read(|text| value::duration(text, &RENEW)));
    let object_id = section.get("object_id").map(|node| node.read(object_id));
    let graph = section.get("graph").map(|node| node.read(graph));
    let Some(before) = before else {
        for key in ["object_id", "graph"] {
            if let Some(node) = section.get(key) {
                node.problem(format!("`{key}` is only for `renew`"), "add `renew: 30d`, or remove this key");
                return None;
            }
        }
        return Some(None);
    };
    let graph = given(graph)?;
    if let Some(host) = graph.as_ref().and_then(Url::host_str).filter(|host| Cloud::of_host(host).is_empty()) {
        section.context().note(format!(
            "`graph` of {} names `{host}`, which is not one of Microsoft's servers, and will receive access tokens",
            section.path()
        ));
    }
    Some(Some(Renewal { before: before?, object_id: given(object_id)?, graph }))
}

fn object_id(text: &str) -> Result<String, ValueError> {
    if is_guid(text) {
        return Ok(text.to_ascii_lowercase());
    }
    wrong(
        format!("{} is not an object id", quoted(text)),
        "copy the Object ID from Entra: App registrations, your application, Overview",
    )
}

fn graph(text: &str) -> Result<Url, ValueError> {
    let base = Url::parse(text).ok().filter(|url| {
        let bare = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        url.scheme() == "https" && url.path() == "/" && bare && url.password().is_none()
    });
    let hint = "write it as `https://graph.microsoft.com/`, or remove the key";
    base.map_or_else(|| wrong(format!("{} is not an `https` address without a path", quoted(text)), hint), Ok)
}

/// Reports directories in which the files of a certificate cannot be replaced.
fn check_directories(section: &Section<'_>, found: &ClientCertificate) {
    let Some(node) = section.get("renew").filter(|_| found.renewal.is_some()) else { return };
    let files = std::iter::once(&found.certificate).chain(&found.private_key);
    let mut directories: Vec<&Path> = files.filter_map(|file| file.parent()).collect();
    directories.dedup();
    for directory in directories {
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        if !node.context().outside.is_writable_directory(directory) {
            node.find(
                Severity::Problem,
                format!("Gatepost cannot write into `{}`, so it cannot renew the certificate", directory.display()),
                "move both files into a directory of the user that runs Gatepost, such as `/var/lib/gatepost`",
            );
        }
    }
}

/// Turns an optional value inside out. An absent one is no mistake, and a wrong one has been
/// reported.
fn given<T>(value: Option<Option<T>>) -> Option<Option<T>> {
    match value {
        None => Some(None),
        Some(read) => read.map(Some),
    }
}

/// Checks a certificate. One that cannot be used is a mistake. One that is out of date may be
/// replaced while the program runs.
fn check(section: &Section<'_>, found: &ClientCertificate) -> Option<Secret<()>> {
    let context = section.context();
    let key_node = section.get("private_key").or_else(|| section.get("certificate"))?;
    let read = |key: &'static str, path: &Path| {
        let hint = "name a file that the user who runs Gatepost can read";
        section.get(key)?.content(path, Purpose::SignIn, hint)
    };
    let certificate = read("certificate", &found.certificate)?;
    let private_key = given(found.private_key.as_deref().map(|path| read("private_key", path)))?;
    let (certificate, private_key) = match (certificate, private_key) {
        (Secret::NotRead, _) | (_, Some(Secret::NotRead)) => return Some(Secret::NotRead),
        (Secret::Read(certificate), private_key) => (certificate, private_key.and_then(Secret::read)),
    };
    if let Some(node) = section.get("renew")
        && (found.password.is_some() || !is_pem(&certificate))
    {
        node.problem(
            "a renewed key is written as PEM without a password, and these files are not of that form",
            "convert them to PEM without a password (mode 0600), or remove `renew`",
        );
        return None;
    }
    let key_file = found.private_key.as_ref().unwrap_or(&found.certificate);
    if context.outside.world_readable(key_file) {
        let shown = key_file.display();
        context
            .note(format!("every user of this machine can read the private key in `{shown}`. Run `chmod o-r {shown}`"));
    }
    let password = found.password.as_ref().map(|password| &*password.value);
    let key = match SigningKey::read(&certificate, private_key.as_deref(), password) {
        Ok(key) => key,
        Err(error) => {
            let node = if error.is_about_key() { Some(key_node) } else { section.get("certificate") }?;
            let path = if error.is_about_key() { key_file } else { &found.certificate };
            node.problem(format!("`{}` is not usable: {error}", path.display()), error.remedy());
            return None;
        }
    };
    let (now, shown) = (Clock::system().unix_time(), found.certificate.display());
    let replace = "replace the file, which needs no restart";
    if now > key.not_after {
        context.note(format!("the certificate in `{shown}` expired on {}. {replace}", key.not_after));
    } else if now < key.not_before {
        context.note(format!("the certificate in `{shown}` is not valid before {}. {replace}", key.not_before));
    }
    Some(Secret::Read(()))
}

fn federated_token_file(node: &Node<'_>, path: &Path) -> Credential {
    // The platform may write the file after Gatepost has started.
    if let Err(error) = node.context().outside.read(path) {
        node.context().note(format!(
            "`{}` cannot be read: {error}. No login with it works until the platform writes it",
            path.display()
        ));
    }
    Credential::FederatedTokenFile(path.to_owned())
}

fn managed_identity(node: &Node<'_>) -> Option<ManagedIdentity> {
    let identity = node.read(|text| match text {
        "system" => Ok(None),
        id => client_id(id).map(Some).or_else(|_| {
            let hint = "write `system`, or the client id of a user-assigned identity";
            wrong(format!("{} is not a managed identity", quoted(text)), hint)
        }),
    })?;
    let endpoint = identity_endpoint(node)?;
    if let (IdentityEndpoint::Arc { .. }, Some(_)) = (&endpoint, &identity) {
        node.problem("Azure Arc knows no identity but the system's", "write `managed_identity: system`");
        return None;
    }
    Some(ManagedIdentity { client_id: identity, endpoint })
}

/// Detects the platform by the variables that it sets. They come from outside, so they may only
/// name local addresses.
fn identity_endpoint(node: &Node<'_>) -> Option<IdentityEndpoint> {
    const ENDPOINT: &str = "IDENTITY_ENDPOINT";
    let context = node.context();
    let variable = |name| context.outside.variable(name).filter(|value| !value.is_empty());
    let Some(url) = variable(ENDPOINT) else { return Some(IdentityEndpoint::Imds) };
    let refuse = |reason: &str| {
        context.problem(
            Place::Environment(ENDPOINT.to_owned()),
            "",
            format!("{} {reason}", quoted(&url)),
            "leave the variable as the platform sets it, or remove it where there is none",
        );
    };
    let Some(parsed) = Url::parse(&url).ok().filter(|url| url.scheme() == "http") else {
        refuse("is not an `http` address");
        return None;
    };
    let (on_this_machine, nearby) = match parsed.host() {
        Some(Host::Domain(name)) => (name == "localhost", name == "localhost"),
        Some(Host::Ipv4(ip)) => (ip.is_loopback(), ip.is_loopback() || ip.is_private() || ip.is_link_local()),
        Some(Host::Ipv6(ip)) => (ip.is_loopback(), IpAddr::V6(ip).is_loopback() || ip.is_unique_local()),
        None => (false, false),
    };
    match (variable("IDENTITY_HEADER"), variable("IMDS_ENDPOINT")) {
        (Some(_), _) if !nearby => refuse("does not lead to this machine or a private network"),
        (Some(key), _) => {
            return Some(IdentityEndpoint::AppService { url: parsed, key: Arc::new(IdentityKey::new(key)) });
        }
        (None, Some(_)) if !on_this_machine => refuse("does not lead to this machine"),
        (None, Some(_)) => return Some(IdentityEndpoint::Arc { url: parsed }),
        (None, None) => refuse("comes without `IDENTITY_HEADER` (App Service) or `IMDS_ENDPOINT` (Azure Arc)"),
    }
    None
}
