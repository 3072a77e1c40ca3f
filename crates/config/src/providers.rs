//! Reads the section `providers`, and the keys of accounts that belong to a provider.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::credential::{self, ServiceAccount};
use super::entra::{GrantKind, OPENID_SCOPES, grant};
use super::means::{EXPIRY_MARGIN, Means};
use super::model::account::{Application, LoginPattern};
use super::model::credential::Credential;
use super::model::issuer::{ClientAuthentication, Issuer, Provider};
use super::model::preset::{self, ProviderPreset};
use super::model::server::{Upstream, UpstreamTls};
use super::reader::Section;
use super::setting::Setting;
use super::value::{self, ValueError, choice, either, quoted, wrong};
use gatepost_core::account::MailAddress;
use gatepost_core::protocol::MailProtocol;
use gatepost_proto::mail::TokenExchange;
use gatepost_proto::sasl::Mechanism;

/// The keys of an account that only Microsoft has.
const OF_MICROSOFT: [&str; 6] =
    ["cloud", "authority", "tenant", "client_certificate", "federated_token_file", "managed_identity"];

/// What a provider and its accounts share.
#[derive(Clone)]
struct Shared {
    client_id: Setting<String>,
    credential: Setting<Arc<Credential>>,
    service_account: Setting<ServiceAccount>,
    grant: Setting<GrantKind>,
    scope: Setting<String>,
    token_expiry_margin: Setting<Duration>,
}

impl Shared {
    /// `grant` reads the words that the section takes.
    fn read(
        section: &Section<'_>,
        grant: fn(&str) -> Result<GrantKind, ValueError>,
        preset: Option<&ProviderPreset>,
        token_url: Option<&Url>,
    ) -> Self {
        if let Some(node) = section.get("service_account_key").filter(|_| !has_service_accounts(preset)) {
            node.problem("only the provider `google` has service accounts", "remove the key");
        }
        Self {
            client_id: Setting::read(section, "client_id", |node| node.read(client_id)),
            credential: credential::read_secret(section),
            service_account: match has_service_accounts(preset) {
                true => credential::read_service_account(section, token_url),
                false => Setting::Absent,
            },
            grant: Setting::read(section, "grant", |node| node.read(grant)),
            scope: Setting::read(section, "scope", |node| node.read(scope)),
            token_expiry_margin: Setting::read(section, "token_expiry_margin", |node| node.time()),
        }
    }

    fn inherit(self, from: &Self) -> Self {
        let credential = match self.client_id {
            Setting::Absent => self.credential.or(&from.credential),
            _ => self.credential,
        };
        Self {
            client_id: self.client_id.or(&from.client_id),
            credential,
            service_account: self.service_account.or(&from.service_account),
            grant: self.grant.or(&from.grant),
            scope: self.scope.or(&from.scope),
            token_expiry_margin: self.token_expiry_margin.or(&from.token_expiry_margin),
        }
    }
}

/// A provider of the configuration.
struct Known<'a> {
    section: Section<'a>,
    /// `None`: it has mistakes, which are reported.
    provider: Option<Arc<Provider>>,
    preset: Option<&'static ProviderPreset>,
    shared: Shared,
    domains: Vec<String>,
}

/// Every provider of the configuration.
#[derive(Default)]
pub(super) struct Providers<'a> {
    known: BTreeMap<String, Known<'a>>,
    applications: Vec<Arc<Application>>,
}

/// Reads the section `providers`.
pub(super) fn read<'a>(root: &Section<'a>) -> Providers<'a> {
    let mut providers = Providers::default();
    for (name, node) in root.section("providers").entries() {
        if name == "microsoft" {
            node.problem("Microsoft is no further provider", "write its keys under `microsoft`, and remove this");
            continue;
        }
        let known = read_one(name, node.section());
        known.section.finish();
        for domain in &known.domains {
            if let Some((other, _)) = providers.known.iter().find(|(_, other)| other.domains.contains(domain)) {
                node.problem(
                    format!("the domain {} belongs to the provider {} already", quoted(domain), quoted(other)),
                    "set `domains` so that each stands at one provider",
                );
            }
        }
        providers.known.insert(name.to_owned(), known);
    }
    providers
}

fn read_one<'a>(name: &str, section: Section<'a>) -> Known<'a> {
    let preset = ProviderPreset::named(name);
    let token_url = match section.get("token_url") {
        Some(node) => node.read(https).map(Some),
        None => Some(preset.and_then(|preset| Url::parse(preset.token_url).ok())),
    };
    let shared = Shared::read(&section, grant_of_provider, preset, token_url.as_ref().and_then(Option::as_ref));
    let domains = match section.get("domains") {
        Some(node) => node.read_each(domain).unwrap_or_default(),
        None => preset.map_or_else(Vec::new, |preset| preset.domains.iter().map(|&domain| domain.to_owned()).collect()),
    };
    let provider = provider(name, preset, token_url, &section, &shared, &domains).map(Arc::new);
    if let (Some(provider), Some(kind)) = (&provider, shared.grant.clone().or_default(GrantKind::AuthorizationCode)) {
        check_grant(&section, kind, provider, preset);
    }
    Known { section, provider, preset, shared, domains }
}

fn provider(
    name: &str,
    preset: Option<&ProviderPreset>,
    token_url: Option<Option<Url>>,
    section: &Section<'_>,
    shared: &Shared,
    domains: &[String],
) -> Option<Provider> {
    let url = |key, of_preset: Option<&str>| match section.get(key) {
        Some(node) => node.read(https).map(Some),
        None => Some(of_preset.and_then(|text| Url::parse(text).ok())),
    };
    let authorize_url = url("authorize_url", preset.map(|preset| preset.authorize_url));
    let device_url = url("device_url", None);
    let revoke_url = url("revoke_url", preset.and_then(|preset| preset.revoke_url));
    let issuers = match section.get("issuer") {
        Some(node) => node.read(https).map(|_| vec![node.as_text().unwrap_or_default().trim().to_owned()]),
        None => Some(preset.map_or_else(Vec::new, |preset| preset.issuers.iter().map(|&iss| iss.to_owned()).collect())),
    };
    let words = [("post", ClientAuthentication::Post), ("basic", ClientAuthentication::Basic)];
    let client_authentication = section
        .get("client_authentication")
        .map_or(Some(ClientAuthentication::Post), |node| node.read(|text| choice(text, &words)));
    let pkce = section.get("pkce").map_or(Some(true), |node| node.read(value::truth));
    let hosts = hosts(section, preset);
    if token_url == Some(None) {
        let known = preset::PRESETS.map(|preset| preset.name);
        section.missing(
            "token_url",
            &format!(", and {} is no provider whose addresses are known", quoted(name)),
            format!("write the token endpoint of the provider, or name it {}", either(&known)),
        );
    }
    // A service account is an application of its own.
    let may_lack_client = matches!(shared.grant, Setting::Value(GrantKind::ClientCredentials))
        || !matches!(shared.service_account, Setting::Absent);
    if let (Setting::Absent, false) = (&shared.client_id, may_lack_client) {
        section.missing("client_id", "", "write the ID of the application that you registered at the provider");
    }
    let scope = match &shared.scope {
        Setting::Value(scope) => Some(scope.clone()),
        Setting::Wrong => None,
        Setting::Absent => match preset {
            Some(preset) => Some(preset.scope.to_owned()),
            None => {
                section.missing("scope", "", "write what opens a mailbox at the provider");
                None
            }
        },
    };
    if hosts.as_ref().is_some_and(Vec::is_empty) {
        section.missing(
            "hosts",
            "",
            "write the mail servers of the provider, such as `hosts: {imap: \"imap.example.com:993\"}`",
        );
    }
    Some(Provider {
        name: name.to_owned(),
        title: preset.map_or(name, |preset| preset.title).to_owned(),
        authorize_url: authorize_url?,
        authorize_parameters: preset.map_or(&[], |preset| preset.authorize_parameters),
        token_url: token_url??,
        device_url: device_url?,
        revoke_url: revoke_url?,
        issuers: issuers?,
        scope: scope?,
        client_authentication: client_authentication?,
        pkce: pkce?,
        domains: domains.to_vec(),
        hosts: hosts?,
    })
}

fn hosts(section: &Section<'_>, preset: Option<&ProviderPreset>) -> Option<Vec<Upstream>> {
    let words = [("xoauth2", Mechanism::Xoauth2), ("oauthbearer", Mechanism::Oauthbearer)];
    let usual =
        if preset.is_some_and(|preset| preset.oauthbearer) { Mechanism::Oauthbearer } else { Mechanism::Xoauth2 };
    let mechanism = section.get("sasl").map_or(Some(usual), |node| node.read(|text| choice(text, &words)));
    let pop3_in_one_line = match section.get("pop3_lines") {
        Some(node) => node.count().map(|lines| lines == 1),
        None => Some(preset.is_some_and(|preset| preset.pop3_in_one_line)),
    };
    let exchange = TokenExchange { mechanism: mechanism?, pop3_in_one_line: pop3_in_one_line? };
    let of_hosts = section.section("hosts");
    let mut hosts = Vec::new();
    for (place, (protocol, key, tls_key)) in [
        (MailProtocol::Imap, "imap", "imap_tls"),
        (MailProtocol::Pop3, "pop3", "pop3_tls"),
        (MailProtocol::Smtp, "smtp", "smtp_tls"),
    ]
    .into_iter()
    .enumerate()
    {
        let of_preset =
            preset.and_then(|preset| preset.hosts.get(place)).map(|(host, port)| ((*host).to_owned(), *port));
        let server = match of_hosts.get(key) {
            Some(node) => Some(node.read(value::host_and_port)?),
            None => of_preset,
        };
        let words = [("implicit", UpstreamTls::Implicit), ("starttls", UpstreamTls::StartTls)];
        let tls = match of_hosts.get(tls_key) {
            Some(node) => Some(node.read(|text| choice(text, &words))?),
            None => None,
        };
        let Some((host, port)) = server else { continue };
        let by_port = if matches!(port, 25 | 110 | 143 | 587) { UpstreamTls::StartTls } else { UpstreamTls::Implicit };
        hosts.push(Upstream { protocol, name: host.clone(), host, port, tls: tls.unwrap_or(by_port), exchange });
    }
    of_hosts.finish();
    Some(hosts)
}

impl Providers<'_> {
    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The name of each provider with each of its mail domains, for a configuration without
    /// `accounts`. A provider without one is reported.
    pub(super) fn domains(&self) -> Vec<(String, String)> {
        for known in self.known.values().filter(|known| known.domains.is_empty() && !known.section.has("domains")) {
            known.section.missing(
                "domains",
                ", and no account is listed, so nobody could log in",
                "write the mail domains of the provider, or list `accounts`",
            );
        }
        let all = self.known.iter().flat_map(|(name, known)| known.domains.iter().map(move |domain| (name, domain)));
        all.filter(|(_, domain)| !domain.ends_with('.')).map(|(name, domain)| (name.clone(), domain.clone())).collect()
    }

    /// The provider of an account: the one that it names, or that its domain belongs to. `None`:
    /// Microsoft. `Some(None)`: a mistake, which is reported.
    pub(super) fn of_account(&self, section: &Section<'_>, pattern: Option<&LoginPattern>) -> Option<Option<String>> {
        if let Some(node) = section.get("provider") {
            let name = node.text()?;
            if name == "microsoft" {
                return None;
            }
            if self.known.contains_key(name) {
                return Some(Some(name.to_owned()));
            }
            let hint = match ProviderPreset::named(name) {
                Some(_) => format!("add `providers: {{{name}: {{client_id: …}}}}`"),
                None => "write the name of an entry of `providers`, or `microsoft`".to_owned(),
            };
            node.problem(format!("there is no provider {}", quoted(name)), hint);
            return Some(None);
        }
        let domain = match pattern? {
            LoginPattern::Address(address) => address.domain(),
            LoginPattern::Domain(domain) => domain,
            LoginPattern::Any => return None,
        };
        // A whole domain counts before the beginning of one.
        let is_own = |known: &Known<'_>| known.domains.iter().any(|own| own == domain);
        let begins = |known: &Known<'_>| known.domains.iter().any(|own| preset::is_in(domain, own));
        let whole = self.known.iter().find(|(_, known)| is_own(known));
        whole.or_else(|| self.known.iter().find(|(_, known)| begins(known))).map(|(name, _)| Some(name.clone()))
    }

    /// How an account of this provider gets its tokens. Without a section of its own, it is everybody
    /// in a domain.
    pub(super) fn means(&mut self, name: &str, section: Option<&Section<'_>>, pattern: Option<&LoginPattern>) -> Means {
        for (section, key) in section.iter().flat_map(|section| OF_MICROSOFT.map(|key| (section, key))) {
            if let Some(node) = section.get(key) {
                node.problem(
                    format!("`{key}` belongs to Microsoft, and the account to the provider {}", quoted(name)),
                    "remove the key, or write `provider: microsoft`",
                );
            }
        }
        let Some(known) = self.known.get(name) else { return Means::default() };
        let token_url = known.provider.as_ref().map(|provider| &provider.token_url);
        let shared = match section {
            Some(section) => Shared::read(section, grant, known.preset, token_url).inherit(&known.shared),
            None => known.shared.clone(),
        };
        let kind = shared.grant.clone().or_default(GrantKind::AuthorizationCode);
        let scope = match &shared.scope {
            Setting::Value(scope) => Some(Some(scope.clone())),
            Setting::Absent => Some(None),
            Setting::Wrong => None,
        };
        let token_expiry_margin = shared.token_expiry_margin.clone().or_default(EXPIRY_MARGIN);
        if kind == Some(GrantKind::ClientCredentials) && has_service_accounts(known.preset) {
            let (application, scope) = known.service_account(&shared, section, pattern);
            let application = application.map(|application| self.shared_application(application));
            return Means { kind, application, scope: scope.map(Some), token_expiry_margin };
        }
        if let Some(node) = section.and_then(|section| section.get("service_account_key")).filter(|_| kind.is_some()) {
            node.problem("the key is only for `grant: client_credentials`", "write this grant, or remove the key");
        }
        let credential = shared.credential.clone().or_default(Arc::default());
        let client_id = match &shared.client_id {
            Setting::Value(client_id) => Some(client_id.clone()),
            Setting::Absent => {
                let may_lack_client = !matches!(known.shared.service_account, Setting::Absent)
                    || matches!(known.shared.grant, Setting::Value(GrantKind::ClientCredentials));
                // If not, it is reported already.
                if may_lack_client && kind.is_some() {
                    known.section.missing(
                        "client_id",
                        ", which accounts for which a person signs in need",
                        "write the ID of the OAuth client, or use `grant: client_credentials`",
                    );
                }
                None
            }
            Setting::Wrong => None,
        };
        let (Some(provider), Some(credential), Some(client_id)) = (&known.provider, credential, client_id) else {
            return Means { kind, scope, token_expiry_margin, ..Means::default() };
        };
        let provider = Arc::clone(provider);
        // One that the provider passes on was checked there.
        let own = section.filter(|section| section.has("grant"));
        let kind = kind.filter(|kind| own.is_none_or(|section| check_grant(section, *kind, &provider, known.preset)));
        let application = Application { issuer: Issuer::Provider(provider), client_id, credential };
        Means { kind, application: Some(self.shared_application(application)), scope, token_expiry_margin }
    }

    /// The application, shared with the other accounts that have the same one.
    fn shared_application(&mut self, application: Application) -> Arc<Application> {
        let same = |known: &&Arc<Application>| {
            known.issuer == application.issuer
                && known.client_id == application.client_id
                && Arc::ptr_eq(&known.credential, &application.credential)
        };
        if let Some(known) = self.applications.iter().find(same) {
            return Arc::clone(known);
        }
        let application = Arc::new(application);
        self.applications.push(Arc::clone(&application));
        application
    }
}

impl Known<'_> {
    /// The service account that acts for an account, and the scope of its tokens. `None`: there is a
    /// mistake, which is reported.
    fn service_account(
        &self,
        shared: &Shared,
        section: Option<&Section<'_>>,
        pattern: Option<&LoginPattern>,
    ) -> (Option<Application>, Option<String>) {
        // What the provider passes on is reported there, once for all accounts.
        let own = section.filter(|section| section.has("grant"));
        let Some(provider) = &self.provider else { return (None, None) };
        if !self.check_addresses(section, pattern) {
            return (None, None);
        }
        let application = match &shared.service_account {
            Setting::Value(ServiceAccount { email, credential }) => Some(Application {
                issuer: Issuer::Provider(Arc::clone(provider)),
                client_id: email.clone(),
                credential: Arc::clone(credential),
            }),
            Setting::Wrong => None,
            Setting::Absent => {
                own.unwrap_or(&self.section).missing(
                    "service_account_key",
                    ", which `grant: client_credentials` needs",
                    format!("write the path of the JSON key file, here or under `providers.{}`", provider.name),
                );
                None
            }
        };
        let scope = match &shared.scope {
            Setting::Value(scope) => Some(of_mail(scope)),
            Setting::Absent => Some(of_mail(&provider.scope)),
            Setting::Wrong => None,
        };
        if scope.as_deref() == Some("") {
            let place = section.filter(|section| section.has("scope")).unwrap_or(&self.section);
            place.problem("the scope opens no mailbox", "write `scope: https://mail.google.com/`, or remove the key");
            return (application, None);
        }
        (application, scope)
    }

    /// Whether somebody can delegate the addresses to a service account. If not, that is reported.
    fn check_addresses(&self, section: Option<&Section<'_>>, pattern: Option<&LoginPattern>) -> bool {
        let domain = match pattern {
            Some(LoginPattern::Address(address)) => address.domain(),
            Some(LoginPattern::Domain(domain)) => domain,
            Some(LoginPattern::Any) | None => return true,
        };
        let is_of_preset = self.preset.is_some_and(|preset| preset.domains.contains(&domain));
        if !is_of_preset || section.is_some_and(|section| section.has("mailbox")) {
            return true;
        }
        let reason = "no service account acts for addresses of Gmail, which have no administrator";
        match section {
            Some(section) => section.problem(reason, "use `grant: authorization_code`, or an address of your domain"),
            None => self.section.problem(reason, "set `domains` to the domains of your Google Workspace"),
        }
        false
    }
}

/// Whether service accounts act for mailboxes of a provider.
fn has_service_accounts(preset: Option<&ProviderPreset>) -> bool {
    preset.is_some_and(|preset| preset.has_service_accounts)
}

/// The scopes that open mailboxes, without those that say who a person is.
fn of_mail(scope: &str) -> String {
    let scopes: Vec<&str> = scope.split_ascii_whitespace().filter(|scope| !OPENID_SCOPES.contains(scope)).collect();
    scopes.join(" ")
}

/// Whether the provider has the grant. If not, that is reported where the grant is written.
fn check_grant(section: &Section<'_>, kind: GrantKind, provider: &Provider, preset: Option<&ProviderPreset>) -> bool {
    let (why, remedy) = match kind {
        GrantKind::AuthorizationCode if provider.authorize_url.is_some() => return true,
        GrantKind::DeviceCode if provider.device_url.is_some() => return true,
        GrantKind::ClientCredentials if has_service_accounts(preset) => return true,
        GrantKind::AuthorizationCode => ("no `authorize_url` is known", "write it, or use `grant: device_code`"),
        GrantKind::DeviceCode => {
            ("no `device_url` is known that gives codes for mail", "write it, or use `grant: authorization_code`")
        }
        GrantKind::Password => (
            "passwords cannot be exchanged for tokens there",
            "use `grant: authorization_code`, and `gatepost password add` for the client",
        ),
        GrantKind::ClientCredentials => ("no mailbox opens without a person there", "use `grant: authorization_code`"),
    };
    match section.get("grant") {
        Some(node) => {
            node.problem(format!("the provider {} does not have this grant: {why}", quoted(&provider.title)), remedy)
        }
        // The default of a provider.
        None => section.missing("authorize_url", ", which the browser of a person opens", remedy),
    }
    false
}

/// A provider passes no password on.
fn grant_of_provider(text: &str) -> Result<GrantKind, ValueError> {
    choice(
        text,
        &[
            ("authorization_code", GrantKind::AuthorizationCode),
            ("device_code", GrantKind::DeviceCode),
            ("client_credentials", GrantKind::ClientCredentials),
        ],
    )
}

fn https(text: &str) -> Result<Url, ValueError> {
    let hint = "write the whole address, such as `https://login.example.com/oauth/token`";
    let Ok(url) = Url::parse(text) else { return wrong("this is not a URL", hint) };
    if url.scheme() != "https" || !url.has_host() {
        return wrong(format!("the address must use `https`, not {}", quoted(url.scheme())), hint);
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return wrong("the address holds a user name or a fragment", "leave these parts out");
    }
    Ok(url)
}

fn client_id(text: &str) -> Result<String, ValueError> {
    let text = text.trim();
    if text.is_empty() || text.len() > 512 || !text.bytes().all(|octet| octet.is_ascii_graphic()) {
        return wrong(
            "a client ID is up to 512 printable characters without a space",
            "copy it from the provider's console",
        );
    }
    Ok(text.to_owned())
}

fn scope(text: &str) -> Result<String, ValueError> {
    if !text.bytes().all(|b| b == b' ' || (b.is_ascii_graphic() && b != b'"' && b != b'\\')) {
        return wrong("the scope holds a character that no scope has", "write scopes with a space between them");
    }
    Ok(text.trim().to_owned())
}

fn domain(text: &str) -> Result<String, ValueError> {
    match MailAddress::parse(&format!("x@{text}")) {
        Ok(address) => Ok(address.domain().to_owned()),
        Err(_) => {
            wrong(format!("{} is not a domain", quoted(text)), "write the part behind the `@`, such as `gmail.com`")
        }
    }
}
