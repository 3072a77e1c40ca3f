//! Reads the sections `microsoft`, `providers` and `accounts`: who may log in, and how their tokens are
//! obtained.

use std::collections::HashMap;
use std::sync::Arc;

use super::entra::GrantKind;
use super::means::Means;
use super::microsoft::Microsoft;
use super::model::account::{Account, AccountWithoutPassword, Accounts, Grant, LoginPattern};
use super::model::issuer::Cloud;
use super::model::mailboxes::Mailboxes;
use super::model::sending::Sending;
use super::password_hash::check_phc;
use super::problem::Problem;
use super::providers::{self, Providers};
use super::purpose::{Purpose, Secret};
use super::reader::{Node, Section};
use super::setting::Setting;
use super::value::{ValueError, quoted, wrong};
use super::{mailboxes, secrets};
use gatepost_core::account::{LoginName, MailAddress, NameError};

/// Most passwords of one account, because each wrong login costs a hash for each.
const PASSWORDS: usize = 64;

/// Most aliases of one account.
const ALIASES: usize = 256;

/// The content of these sections.
pub(super) struct Read {
    pub(super) accounts: Accounts,
    /// Accounts that need a device password.
    pub(super) unproved: Vec<AccountWithoutPassword>,
    /// The cloud, which decides the listeners' upstreams.
    pub(super) cloud: Cloud,
}

/// Reads these sections.
pub(super) fn read(root: &Section<'_>) -> Read {
    let section = root.section("microsoft");
    let microsoft = Microsoft::read(&section);
    let netbios_domains = netbios_domains(&section);
    section.finish();
    let cloud = microsoft.cloud();

    let mut reader = Reader {
        section: &section,
        microsoft,
        providers: providers::read(root),
        names: HashMap::new(),
        unproved: Vec::new(),
    };
    let mut entries = Vec::new();
    match root.get("accounts") {
        None => entries.extend(reader.everybody(root)),
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
    /// The section `microsoft`.
    section: &'r Section<'a>,
    microsoft: Microsoft<'r, 'a>,
    providers: Providers<'a>,
    /// Every pattern and alias so far, with the path of its entry.
    names: HashMap<String, String>,
    unproved: Vec<AccountWithoutPassword>,
}

impl Reader<'_, '_> {
    /// The entries of a configuration without `accounts`: everybody in the domains of the providers,
    /// and everybody whom Entra lets in.
    fn everybody(&mut self, root: &Section<'_>) -> Vec<Arc<Account>> {
        let mut entries = Vec::new();
        for (name, domain) in self.providers.domains() {
            let pattern = LoginPattern::Domain(domain);
            let means = self.providers.means(&name, None, Some(&pattern));
            entries.extend(self.finish(root, means, Entry::of(pattern)));
        }
        if self.providers.is_empty() || !self.section.is_empty() {
            let means = self.microsoft.means(None, &LoginPattern::Any);
            entries.extend(self.finish(self.section, means, Entry::of(LoginPattern::Any)));
        }
        entries
    }

    fn account(&mut self, section: &Section<'_>) -> Option<Arc<Account>> {
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
        let means = match self.providers.of_account(section, pattern.as_ref()) {
            Some(Some(provider)) => self.providers.means(&provider, Some(section), pattern.as_ref()),
            Some(None) => Means::default(),
            None => {
                if let Some(node) = section.get("service_account_key") {
                    node.problem(
                        "`service_account_key` belongs to Google, and the account to Microsoft",
                        "remove the key, or write `provider: google`",
                    );
                }
                self.microsoft.means(Some(section), pattern.as_ref().unwrap_or(&LoginPattern::Any))
            }
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
        self.finish(section, means, entry)
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

    fn finish(&mut self, section: &Section<'_>, means: Means, entry: Entry) -> Option<Arc<Account>> {
        let Entry { pattern, aliases, mailbox, mailboxes, sending, signs_in_as, passwords } = entry;
        let Means { kind, application, scope, token_expiry_margin } = means;
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
