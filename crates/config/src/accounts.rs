//! Reads the sections `microsoft` and `accounts`: who may log in, and how their tokens are
//! obtained.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::entra::{GrantKind, authority, check_scope, client_id, cloud, default_authority, fit_tenant, grant, tenant};
use super::model::account::{
    Account, AccountWithoutPassword, Accounts, Application, Cloud, Grant, LoginPattern, Tenant,
};
use super::model::credential::Credential;
use super::model::mailboxes::Mailboxes;
use super::model::sending::Sending;
use super::password_hash::check_phc;
use super::problem::Problem;
use super::purpose::{Purpose, Secret};
use super::reader::{Node, Section};
use super::setting::Setting;
use super::value::{ValueError, quoted, wrong};
use super::{credential, mailboxes, plausible, secrets};
use gatepost_core::account::{LoginName, MailAddress, NameError};

/// A token with less remaining lifetime is not used for a new login, unless the configuration says
/// otherwise.
const EXPIRY_MARGIN: Duration = Duration::from_secs(300);

/// Most passwords of one account, because each wrong login costs a hash for each.
const PASSWORDS: usize = 64;

/// Most aliases of one account.
const ALIASES: usize = 256;

/// The keys that `microsoft` and each account share.
#[derive(Clone)]
struct Shared {
    cloud: Setting<Cloud>,
    authority: Setting<Url>,
    tenant: Setting<Tenant>,
    client_id: Setting<String>,
    grant: Setting<GrantKind>,
    credential: Setting<Arc<Credential>>,
    scope: Setting<String>,
    token_expiry_margin: Setting<Duration>,
}

impl Shared {
    fn read(section: &Section<'_>) -> Self {
        Self {
            cloud: Setting::read(section, "cloud", |node| node.read(cloud)),
            authority: Setting::read(section, "authority", |node| node.read(authority)),
            tenant: Setting::read(section, "tenant", |node| node.read(tenant)),
            client_id: Setting::read(section, "client_id", |node| node.read(client_id)),
            grant: Setting::read(section, "grant", |node| node.read(grant)),
            credential: credential::read(section),
            scope: Setting::read(section, "scope", |node| node.text().map(str::to_owned)),
            token_expiry_margin: Setting::read(section, "token_expiry_margin", |node| node.time()),
        }
    }

    /// These keys; where they are absent, those of `microsoft`.
    fn inherit(self, from: &Self) -> Self {
        // A credential belongs to its application: another application does not inherit it.
        let credential = match self.client_id {
            Setting::Absent => self.credential.or(&from.credential),
            _ => self.credential,
        };
        Self {
            cloud: self.cloud.or(&from.cloud),
            authority: self.authority.or(&from.authority),
            tenant: self.tenant.or(&from.tenant),
            client_id: self.client_id.or(&from.client_id),
            grant: self.grant.or(&from.grant),
            credential,
            scope: self.scope.or(&from.scope),
            token_expiry_margin: self.token_expiry_margin.or(&from.token_expiry_margin),
        }
    }

    /// With workload identity, takes keys that are not configured from the platform's variables
    /// (Azure Workload Identity, "Mutating Admission Webhook").
    fn complete_from_environment(&mut self, section: &Section<'_>) {
        let grant = self.grant.clone().or_default(GrantKind::Password);
        if let (Setting::Absent, Some(GrantKind::ClientCredentials)) = (&self.credential, grant)
            && let Some(credential) = credential::from_environment(section)
        {
            self.credential = Setting::Value(credential);
        }
        if !matches!(&self.credential, Setting::Value(found) if matches!(**found, Credential::FederatedTokenFile(_))) {
            return;
        }
        self.tenant.or_variable(section, "AZURE_TENANT_ID", tenant);
        self.client_id.or_variable(section, "AZURE_CLIENT_ID", client_id);
        self.authority.or_variable(section, "AZURE_AUTHORITY_HOST", authority);
    }

    /// True when the platform gives the token, so that neither tenant nor application is needed.
    fn is_managed_identity(&self) -> bool {
        matches!(&self.credential, Setting::Value(found) if matches!(**found, Credential::ManagedIdentity(_)))
    }
}

/// The content of both sections.
pub(super) struct Read {
    pub(super) accounts: Accounts,
    /// Accounts that need a device password.
    pub(super) unproved: Vec<AccountWithoutPassword>,
    /// The cloud, which decides the listeners' upstreams.
    pub(super) cloud: Cloud,
}

/// Reads both sections.
pub(super) fn read(root: &Section<'_>) -> Read {
    let microsoft = root.section("microsoft");
    let defaults = Shared::read(&microsoft);
    let netbios_domains = netbios_domains(&microsoft);
    microsoft.finish();
    let cloud = defaults.cloud.clone().or_default(Cloud::Worldwide).unwrap_or(Cloud::Worldwide);

    let mut reader = Reader {
        microsoft: &microsoft,
        defaults: &defaults,
        names: HashMap::new(),
        applications: Vec::new(),
        unproved: Vec::new(),
        public: Arc::default(),
    };
    let mut entries = Vec::new();
    match root.get("accounts") {
        None => entries.extend(reader.everybody()),
        Some(node) => {
            let items = node.list().unwrap_or_default();
            if items.is_empty() && node.list_is_empty() {
                node.problem(
                    "no account is listed, so nobody could log in",
                    "add an entry with `login`, or remove `accounts`",
                );
            }
            entries.extend(items.iter().filter_map(|item| reader.account(&item.section())));
        }
    }
    let accounts = Accounts::new(entries).with_netbios_domains(netbios_domains);
    Read { accounts, unproved: reader.unproved, cloud }
}

/// Reads the domains that the prefixes of down-level names stand for. A mistake leaves its entry
/// out.
fn netbios_domains(microsoft: &Section<'_>) -> HashMap<String, String> {
    let section = microsoft.section("netbios_domains");
    let mut domains = HashMap::new();
    for (name, node) in section.entries() {
        if name.contains(['\\', '@']) || LoginName::parse(name).is_err() {
            node.problem(
                format!("{} is not the prefix of a user name", quoted(name)),
                "write the part before the backslash of `CONTOSO\\anna`, such as `CONTOSO`",
            );
        } else if let Some(domain) = node.read(domain)
            && domains.insert(name.to_lowercase(), domain).is_some()
        {
            node.problem(
                format!("{} is listed twice. Names compare without regard to case", quoted(name)),
                "keep one of the two",
            );
        }
    }
    domains
}

/// The domain of an address, folded.
fn domain(text: &str) -> Result<String, ValueError> {
    match MailAddress::parse(&format!("x@{text}")) {
        Ok(address) => Ok(address.domain().to_owned()),
        Err(_) => wrong(
            format!("{} is not a domain", quoted(text)),
            "write the domain of the addresses, such as `contoso.com`",
        ),
    }
}

struct Reader<'r, 'a> {
    microsoft: &'r Section<'a>,
    defaults: &'r Shared,
    /// Every pattern and alias so far, with the path of its entry.
    names: HashMap<String, String>,
    applications: Vec<Arc<Application>>,
    unproved: Vec<AccountWithoutPassword>,
    /// The credential of applications that have none.
    public: Arc<Credential>,
}

impl Reader<'_, '_> {
    /// The only entry of a configuration without `accounts`.
    fn everybody(&mut self) -> Option<Arc<Account>> {
        self.finish(self.microsoft, &self.defaults.clone(), Entry::of(LoginPattern::Any))
    }

    fn account(&mut self, section: &Section<'_>) -> Option<Arc<Account>> {
        let shared = Shared::read(section).inherit(self.defaults);
        let pattern = match section.get("login") {
            Some(node) => node.read(pattern).filter(|pattern| self.take(&node, &pattern.to_string())),
            None => {
                section.missing("login", "", "write an address, `*@domain`, or `*` for everybody else");
                None
            }
        };
        let aliases = self.aliases(section, pattern.as_ref());
        let address =
            |key| Setting::read(section, key, |node| node.read(|text| MailAddress::parse(text).or_else(name_error)));
        let mailbox = address("mailbox");
        let signs_in_as = address("signs_in_as");
        let (mailboxes, sending) = (mailboxes::read(section), mailboxes::read_sending(section));
        let passwords = match section.get("passwords") {
            Some(node) => passwords(&node),
            None => Some(Vec::new()),
        };
        section.finish();
        let entry = Entry {
            pattern: pattern?,
            aliases: aliases?,
            mailbox: mailbox.optional()?,
            mailboxes: mailboxes?,
            sending: sending?,
            signs_in_as: signs_in_as.optional()?,
            passwords,
        };
        self.finish(section, &shared, entry)
    }

    fn aliases(&mut self, section: &Section<'_>, pattern: Option<&LoginPattern>) -> Option<Vec<LoginName>> {
        let Some(node) = section.get("aliases") else { return Some(Vec::new()) };
        if matches!(pattern, Some(LoginPattern::Domain(_) | LoginPattern::Any)) {
            node.problem(
                "an alias stands for one address, but `login` is a pattern",
                "give the address an entry of its own, and the alias there",
            );
            return None;
        }
        let items = node.items();
        if items.len() > ALIASES {
            node.problem(format!("there are more than {ALIASES} aliases"), "remove some");
            return None;
        }
        let read = |item: &Node<'_>| {
            let alias = item.read(|text| LoginName::parse(text).or_else(name_error))?;
            self.take(item, alias.as_str()).then_some(alias)
        };
        let aliases: Vec<Option<LoginName>> = items.iter().map(read).collect();
        aliases.into_iter().collect()
    }

    /// Records that a name is in use. A name that is in use already is reported.
    fn take(&mut self, node: &Node<'_>, name: &str) -> bool {
        if let Some(first) = self.names.get(name) {
            node.problem(
                format!("{} is listed twice. Names compare without regard to case", quoted(name)),
                format!("keep one. The other stands at {first}"),
            );
            return false;
        }
        self.names.insert(name.to_owned(), node.path().to_owned());
        true
    }

    fn finish(&mut self, section: &Section<'_>, shared: &Shared, entry: Entry) -> Option<Arc<Account>> {
        let Entry { pattern, aliases, mailbox, mailboxes, sending, signs_in_as, passwords } = entry;
        let kind = shared.grant.clone().or_default(GrantKind::Password);
        let mut shared = shared.clone();
        shared.complete_from_environment(section);
        let shared = &shared;
        let application = self.application(section, shared, kind, &pattern);
        let credential = match &shared.credential {
            Setting::Value(credential) => Some(&**credential),
            Setting::Absent => Some(&*self.public),
            Setting::Wrong => None,
        };
        let has_none = credential == Some(&Credential::None);
        if kind.is_some_and(|kind| matches!(kind, GrantKind::AuthorizationCode | GrantKind::DeviceCode))
            && credential.is_some_and(|credential| !has_none && !matches!(credential, Credential::ManagedIdentity(_)))
        {
            section.context().note(
                "an application with a credential has accounts whose users sign in, and Entra takes no credential there. If the \
                 application is public, set `client_secret: none` on the accounts. If not, register `http://localhost` as a \
                 redirect of the type mobile and desktop, and allow public client flows"
                    .to_owned(),
            );
        }
        if kind == Some(GrantKind::ClientCredentials) && has_none {
            section.missing(
                "client_secret",
                ", which `grant: client_credentials` needs",
                "write `client_secret: {env: GATEPOST_CLIENT_SECRET}`, here or under `microsoft`, or one of \
                 `client_certificate`, `federated_token_file` and `managed_identity`",
            );
        }
        if kind.is_some_and(|kind| kind != GrantKind::ClientCredentials) && shared.is_managed_identity() {
            section.problem(
                "a managed identity gives a token of its own and none for a user",
                "write `grant: client_credentials`, or another credential than `managed_identity`",
            );
        }
        let scope = match (&shared.scope, kind) {
            (Setting::Value(scope), Some(kind)) => {
                let cloud = shared.cloud.clone().or_default(Cloud::Worldwide).unwrap_or(Cloud::Worldwide);
                match check_scope(scope, kind, cloud) {
                    Ok(unknown) => {
                        if let Some(resource) = unknown {
                            section.context().note(format!(
                                "the scope asks for {}, which is not Exchange Online. Its token may open no mailbox",
                                quoted(&resource)
                            ));
                        }
                        Some(Some(scope.clone()))
                    }
                    Err(wrong) => {
                        let node = section.get("scope").or_else(|| self.microsoft.get("scope"));
                        node.inspect(|node| node.wrong(wrong));
                        None
                    }
                }
            }
            (Setting::Absent, _) => Some(None),
            _ => None,
        };
        let (kind, passwords) = (kind?, passwords?);
        let grant = match kind {
            GrantKind::Password if !passwords.is_empty() => {
                section.problem(
                    "`passwords` are given, but with `grant: password` it is Entra that knows the password",
                    "remove `passwords`, or write `grant: client_credentials`",
                );
                None
            }
            GrantKind::Password => Some(Grant::Password),
            GrantKind::ClientCredentials => Some(Grant::ClientCredentials),
            GrantKind::AuthorizationCode => Some(Grant::AuthorizationCode),
            GrantKind::DeviceCode => Some(Grant::DeviceCode),
        };
        if grant == Some(Grant::ClientCredentials) && mailboxes == Mailboxes::Any {
            let node = section.get("mailboxes");
            node.inspect(|node| {
                node.problem(
                    "with `client_credentials` this login could open every mailbox of the application",
                    "list the mailboxes, such as `[office@contoso.com]`",
                );
            });
        }
        let signs_in_as = check_signs_in_as(section, signs_in_as, grant, &pattern);
        if grant == Some(Grant::ClientCredentials) && passwords.is_empty() {
            self.unproved
                .push(AccountWithoutPassword { pattern: pattern.clone(), problem: no_password(section, &pattern) });
        }
        if !passwords.is_empty() && matches!(pattern, LoginPattern::Any | LoginPattern::Domain(_)) {
            section.context().note(format!(
                "everybody who knows one of the `passwords` of the account `{pattern}` can open every mailbox that it stands for"
            ));
        }
        mailboxes::note_send_as(section, &pattern, grant?, &sending.send_as);
        let token_expiry_margin = shared.token_expiry_margin.clone().or_default(EXPIRY_MARGIN);
        Some(Arc::new(Account {
            pattern,
            aliases,
            grant: grant?,
            passwords: passwords.into_iter().filter_map(Secret::read).collect(),
            application: application?,
            scope: scope?,
            mailbox,
            mailboxes,
            sending,
            signs_in_as: signs_in_as?,
            token_expiry_margin: token_expiry_margin?,
        }))
    }

    /// The application of an entry, shared with other entries that name the same one.
    fn application(
        &mut self,
        section: &Section<'_>,
        shared: &Shared,
        kind: Option<GrantKind>,
        pattern: &LoginPattern,
    ) -> Option<Arc<Application>> {
        let cloud = shared.cloud.clone().or_default(Cloud::Worldwide);
        let credential = match &shared.credential {
            Setting::Wrong => None,
            Setting::Absent => Some(Arc::clone(&self.public)),
            Setting::Value(credential) => Some(Arc::clone(credential)),
        };
        let (tenant, client_id) = match credential.as_deref() {
            Some(Credential::ManagedIdentity(identity)) => {
                (Some("".into()), Some(identity.client_id.clone().unwrap_or_else(|| "system".to_owned())))
            }
            _ => (
                self.needed(&shared.tenant, "tenant", "write the directory id or a verified domain of the tenant"),
                self.needed(&shared.client_id, "client_id", "write the application (client) id that Entra shows"),
            ),
        };
        let tenant = tenant.and_then(|tenant| match fit_tenant(tenant, kind, pattern) {
            Ok(tenant) => Some(tenant),
            Err(wrong) => {
                let node = section.get("tenant").or_else(|| self.microsoft.get("tenant"));
                node.inspect(|node| node.wrong(wrong));
                None
            }
        });
        let authority = match &shared.authority {
            Setting::Value(authority) => Some(authority.clone()),
            Setting::Wrong => None,
            Setting::Absent => default_authority(cloud?),
        };
        let (cloud, tenant, client_id, authority, credential) = (cloud?, tenant?, client_id?, authority?, credential?);
        self.check_authority(&authority, cloud);

        let application = Application { authority, tenant, client_id, credential, cloud };
        let same = |known: &&Arc<Application>| {
            known.authority == application.authority
                && known.tenant == application.tenant
                && known.client_id == application.client_id
                && known.cloud == application.cloud
                && Arc::ptr_eq(&known.credential, &application.credential)
        };
        if let Some(known) = self.applications.iter().find(same) {
            return Some(Arc::clone(known));
        }
        let application = Arc::new(application);
        self.applications.push(Arc::clone(&application));
        Some(application)
    }

    fn needed<T: Clone>(&self, setting: &Setting<T>, key: &str, hint: &str) -> Option<T> {
        match setting {
            Setting::Value(value) => Some(value.clone()),
            Setting::Wrong => None,
            Setting::Absent => {
                // Reported once, however many accounts would inherit it.
                self.microsoft.missing(key, "", hint);
                None
            }
        }
    }

    fn check_authority(&self, authority: &Url, cloud: Cloud) {
        let context = self.microsoft.context();
        let host = authority.host_str().unwrap_or_default();
        let clouds = Cloud::of_authority(host);
        match clouds.first() {
            // A misspelled host is a finding.
            None if plausible::meant_authority(host).is_some() => {}
            None => context.note(format!(
                "the authority `{authority}` is not one of Microsoft's, and will receive passwords and secrets"
            )),
            Some(theirs) if !clouds.contains(&cloud) => {
                self.microsoft.problem(
                    format!("the authority `{authority}` belongs to another cloud than the one configured"),
                    format!("write `cloud: {}`, or remove `authority`", theirs.preset().name),
                );
            }
            Some(_) => {}
        }
    }
}

/// The keys of an entry that `microsoft` does not have.
struct Entry {
    pattern: LoginPattern,
    aliases: Vec<LoginName>,
    mailbox: Option<MailAddress>,
    mailboxes: Mailboxes,
    sending: Sending,
    signs_in_as: Option<MailAddress>,
    passwords: Option<Vec<Secret<String>>>,
}

impl Entry {
    fn of(pattern: LoginPattern) -> Self {
        Self {
            pattern,
            aliases: Vec::new(),
            mailbox: None,
            mailboxes: Mailboxes::default(),
            sending: Sending::default(),
            signs_in_as: None,
            passwords: Some(Vec::new()),
        }
    }
}

/// Checks `signs_in_as`, which only applies to one address whose person signs in. If it names the
/// login itself, it is left out.
fn check_signs_in_as(
    section: &Section<'_>,
    signs_in_as: Option<MailAddress>,
    grant: Option<Grant>,
    pattern: &LoginPattern,
) -> Option<Option<MailAddress>> {
    let Some(person) = signs_in_as else { return Some(None) };
    let node = section.get("signs_in_as")?;
    if grant.is_some_and(|grant| !grant.is_sign_in()) {
        node.problem(
            "nobody signs in with this grant",
            "remove `signs_in_as`, or write `grant: authorization_code` or `grant: device_code`",
        );
        return None;
    }
    let LoginPattern::Address(login) = pattern else {
        node.problem(
            "one person would sign in for every mailbox that the pattern stands for",
            "give each shared mailbox an entry of its own, and `signs_in_as` there",
        );
        return None;
    };
    Some((person != *login).then_some(person))
}

fn no_password(section: &Section<'_>, pattern: &LoginPattern) -> Problem {
    let login = match pattern {
        LoginPattern::Address(address) => address.to_string(),
        LoginPattern::Domain(domain) => format!("someone@{domain}"),
        LoginPattern::Any => "LOGIN".to_owned(),
    };
    section.as_problem(
        format!(
            "{} has no password: with `client_credentials` anybody who reaches the port would own the mailbox",
            quoted(&pattern.to_string())
        ),
        format!("make a device password with `gatepost password add {login} --name …`"),
    )
}

fn name_error<T>(error: NameError) -> Result<T, ValueError> {
    wrong(error.to_string(), "write an address such as `scanner@contoso.com`")
}

fn pattern(text: &str) -> Result<LoginPattern, ValueError> {
    if text == "*" {
        return Ok(LoginPattern::Any);
    }
    if let Some(text) = text.strip_prefix("*@") {
        return domain(text).map(LoginPattern::Domain);
    }
    if text.contains('*') {
        return wrong(
            format!("{} is not a pattern that is known", quoted(text)),
            "write an address, `*@contoso.com`, or `*` for everybody else",
        );
    }
    MailAddress::parse(text).map(LoginPattern::Address).or_else(|error| match error {
        NameError::NotAnAddress => {
            let hint = "write the whole address here, and short names under `aliases`";
            wrong(format!("{} is not an address", quoted(text)), hint)
        }
        other => name_error(other),
    })
}

fn passwords(node: &Node<'_>) -> Option<Vec<Secret<String>>> {
    let items = node.items();
    if items.len() > PASSWORDS {
        node.problem(
            format!("there are more than {PASSWORDS} passwords"),
            "give the mailbox a second entry, or remove some",
        );
        return None;
    }
    let read = |item: &Node<'_>| {
        let hash = secrets::read(item, Purpose::Check)?;
        if let Secret::Read(hash) = &hash
            && let Err(problem) = check_phc(hash)
        {
            item.problem(problem.to_string(), problem.hint());
            return None;
        }
        Some(hash)
    };
    let hashes: Vec<Option<Secret<String>>> = items.iter().map(read).collect();
    hashes.into_iter().collect()
}
