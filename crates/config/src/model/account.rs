//! The accounts that may log in, and the applications that ask for their tokens.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::super::problem::Problem;
use super::credential::Credential;
use super::issuer::{Issuer, Tenant, is_domain};
use super::mailboxes::{self, Mailboxes};
use super::sending::Sending;
use gatepost_core::account::{LoginName, MailAddress};

/// The characters that divide a user name from the mailbox that it asks for, as Exchange took them.
const SEPARATORS: [char; 2] = ['\\', '/'];

/// The accounts that may log in. The most specific entry wins (address or alias, then domain, then
/// `*`).
#[derive(Debug, Default, PartialEq)]
pub struct Accounts {
    entries: Vec<Arc<Account>>,
    /// Indices into `entries` by address and alias, and by domain, so that a lookup stays fast with
    /// thousands of entries.
    by_name: HashMap<LoginName, usize>,
    by_domain: HashMap<String, usize>,
    any: Option<usize>,
    /// The domain for each folded prefix of a down-level name (`CONTOSO\anna`).
    netbios_domains: HashMap<String, String>,
}

impl Accounts {
    /// Takes the entries in the order of the configuration. The check makes sure that patterns and
    /// aliases are unique. If two are equal, the first one counts.
    pub fn new(entries: Vec<Arc<Account>>) -> Self {
        let (mut by_name, mut by_domain, mut any) = (HashMap::new(), HashMap::new(), None);
        for (place, entry) in entries.iter().enumerate() {
            match &entry.pattern {
                LoginPattern::Address(address) => {
                    for name in std::iter::once(address.as_login()).chain(&entry.aliases) {
                        by_name.entry(name.clone()).or_insert(place);
                    }
                }
                LoginPattern::Domain(domain) => {
                    by_domain.entry(domain.clone()).or_insert(place);
                }
                LoginPattern::Any => {
                    any.get_or_insert(place);
                }
            }
        }
        Self { entries, by_name, by_domain, any, netbios_domains: HashMap::new() }
    }

    /// Also finds down-level names with these folded prefixes, each with its domain.
    #[must_use]
    pub fn with_netbios_domains(self, netbios_domains: HashMap<String, String>) -> Self {
        Self { netbios_domains, ..self }
    }

    /// All entries, in the order of the configuration.
    pub fn entries(&self) -> &[Arc<Account>] {
        &self.entries
    }

    /// Whether an entry gets its tokens by this application.
    pub fn has_application(&self, application: &Application) -> bool {
        self.entries.iter().any(|entry| *entry.application == *application)
    }

    /// The entry for a login, and the address that signs in with it: for an alias that of its
    /// entry, for a down-level name the address that it stands for, else the login. `None` when no
    /// entry fits, or when a short name fits only `*`. Also `None` when Entra checks the password
    /// and the name is not ASCII, or when the login's part that names the tenant is not a domain.
    pub fn find(&self, login: &LoginName) -> Option<(Arc<Account>, MailAddress)> {
        self.find_as_written(login).or_else(|| self.find_as_written(self.of_down_level(login)?.as_login()))
    }

    /// Whether a user name is one of an account, or an address in the domain of one. `*` alone
    /// stands for every address, and recognizes those whose domain has a dot.
    pub fn recognizes(&self, name: &LoginName) -> bool {
        let is_of = |domain: &str| {
            self.entries.iter().any(|entry| match &entry.pattern {
                LoginPattern::Address(address) => address.domain() == domain,
                LoginPattern::Domain(of_pattern) => of_pattern == domain,
                LoginPattern::Any => false,
            })
        };
        match self.find_with_mailbox(name) {
            Some(Found { login, .. }) => login.domain().contains('.') || is_of(login.domain()),
            None => MailAddress::try_from(name.clone()).is_ok_and(|address| is_of(address.domain())),
        }
    }

    /// The address that a down-level name (`CONTOSO\anna`) stands for. Some clients write the whole
    /// address behind the prefix. A slash is in none of these names, but may divide one from a
    /// mailbox.
    fn of_down_level(&self, login: &LoginName) -> Option<MailAddress> {
        let (prefix, user) = login.as_str().split_once('\\').filter(|(_, user)| !user.contains('/'))?;
        let domain = self.netbios_domains.get(prefix)?;
        if user.contains('@') {
            MailAddress::parse(user).ok()
        } else {
            MailAddress::parse(&format!("{user}@{domain}")).ok()
        }
    }

    /// Like [`Accounts::find`], and also finds a user name with a mailbox behind it:
    /// `anna@contoso.com\office`. A name that is one of the accounts as a whole asks for none.
    pub fn find_with_mailbox(&self, name: &LoginName) -> Option<Found> {
        if let Some((account, login)) = self.find(name) {
            return Some(Found { account, login, mailbox: None });
        }
        // The login may hold a separator as well (`CONTOSO\anna\office`), so the longest counts.
        name.as_str().rmatch_indices(SEPARATORS).find_map(|(at, separator)| {
            let (login, mailbox) = name.as_str().split_at_checked(at)?;
            let mailbox = LoginName::parse(mailbox.strip_prefix(separator)?).ok()?;
            let (account, login) = self.find(&LoginName::parse(login).ok()?)?;
            Some(Found { account, login, mailbox: Some(mailbox) })
        })
    }

    fn find_as_written(&self, login: &LoginName) -> Option<(Arc<Account>, MailAddress)> {
        let entry = |place: &usize| self.entries.get(*place);
        if let Some(entry) = self.by_name.get(login).and_then(entry)
            && let LoginPattern::Address(address) = &entry.pattern
        {
            return Some((Arc::clone(entry), address.clone()));
        }
        let address = MailAddress::try_from(login.clone()).ok()?;
        let entry = self.by_domain.get(address.domain()).or(self.any.as_ref()).and_then(entry)?;
        // Entra's user names are ASCII. Names that Entra folds into one (full-width letters,
        // accents) have no budget of their own.
        if entry.grant == Grant::Password && !address.as_str().is_ascii() {
            return None;
        }
        // The domain becomes part of a URL and of token keys.
        let tenant = entry.application.issuer.entra().map(|entra| &entra.tenant);
        let names_tenant = tenant != Some(&Tenant::OfLogin) || is_domain(address.domain());
        names_tenant.then(|| (Arc::clone(entry), address))
    }
}

/// What a user name stands for.
#[derive(Debug)]
pub struct Found {
    /// The entry.
    pub account: Arc<Account>,
    /// The address that signs in.
    pub login: MailAddress,
    /// The mailbox that the name asks for. Whether it may be opened is decided after the password.
    pub mailbox: Option<LoginName>,
}

/// The logins that an [`Account`] is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginPattern {
    /// One address.
    Address(MailAddress),
    /// `*@domain`; the domain, folded.
    Domain(String),
    /// `*`.
    Any,
}

impl fmt::Display for LoginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Domain(domain) => write!(f, "*@{domain}"),
            Self::Any => f.write_str("*"),
        }
    }
}

/// A configured mailbox, or a set of them, with grant and policy.
#[derive(Debug, PartialEq)]
pub struct Account {
    /// The logins that it is for.
    pub pattern: LoginPattern,
    /// Short names for devices; only with [`LoginPattern::Address`].
    pub aliases: Vec<LoginName>,
    /// How a token is obtained.
    pub grant: Grant,
    /// Argon2id PHC strings of the passwords that Gatepost itself checks, in addition to the device
    /// passwords of the store. Their form and strength are checked. None with [`Grant::Password`].
    /// For a command, only those that stand in the configuration itself.
    pub passwords: Vec<String>,
    /// The application that asks for the token.
    pub application: Arc<Application>,
    /// The configured scope (v1.0: resource); `None` means the default of cloud and grant.
    pub scope: Option<String>,
    /// The XOAUTH2 user, when it is not the login.
    pub mailbox: Option<MailAddress>,
    /// The mailboxes that the login may open besides, when the client asks for one.
    pub mailboxes: Mailboxes,
    /// What it may send as.
    pub sending: Sending,
    /// The user who signs in for it, when that is not the login: a shared mailbox has no sign-in of
    /// its own. Only with [`LoginPattern::Address`] and a grant that [`Grant::is_sign_in`].
    pub signs_in_as: Option<MailAddress>,
    /// A token with less remaining lifetime is not used for a new login.
    pub token_expiry_margin: Duration,
}

impl Account {
    /// The mailbox that `login` opens by itself.
    pub fn own_mailbox<'a>(&'a self, login: &'a MailAddress) -> &'a MailAddress {
        self.mailbox.as_ref().unwrap_or(login)
    }

    /// The mailbox that `login` opens when the client asks for it by this name; `None` when it may
    /// not. The login itself stands for its own mailbox.
    pub fn mailbox_named(&self, login: &MailAddress, name: &LoginName) -> Option<MailAddress> {
        let own = self.own_mailbox(login);
        match mailboxes::address(login, name) {
            Some(address) if address == *login || address == *own => Some(own.clone()),
            _ => self.mailboxes.find(login, name),
        }
    }

    /// The user who must sign in for `login`.
    pub fn person<'a>(&'a self, login: &'a MailAddress) -> &'a MailAddress {
        self.signs_in_as.as_ref().unwrap_or(login)
    }
}

/// An account without a password in the configuration whose clients Entra does not check. Without a
/// device password everybody who reaches the port would own its mailbox.
#[derive(Debug, PartialEq)]
pub struct AccountWithoutPassword {
    /// The account's pattern.
    pub pattern: LoginPattern,
    /// The problem to report if it has no device password.
    pub problem: Problem,
}

/// How an account gets its token, and thereby who checks the client's password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// ROPC (RFC 6749 §4.3): Entra checks the password.
    Password,
    /// RFC 6749 §4.4: the application signs in as itself, and Gatepost checks the client's
    /// password. At another provider than Microsoft a service account acts for the mailbox (RFC 7523
    /// §2.1).
    ClientCredentials,
    /// RFC 6749 §4.1: a person signs in once, in a browser, and Gatepost checks the client's
    /// password.
    AuthorizationCode,
    /// RFC 8628: like [`Grant::AuthorizationCode`], with a browser on another device.
    DeviceCode,
}

impl Grant {
    /// Whether the token is a user's, not the application's own.
    pub fn is_of_user(self) -> bool {
        !matches!(self, Self::ClientCredentials)
    }

    /// Whether a person signs in once with `gatepost login`, which gives a refresh token.
    pub fn is_sign_in(self) -> bool {
        matches!(self, Self::AuthorizationCode | Self::DeviceCode)
    }
}

/// An application (OAuth client) of Entra or of another provider, or a managed identity.
#[derive(Debug, PartialEq)]
pub struct Application {
    /// Who gives its tokens.
    pub issuer: Issuer,
    /// Application (client) id. For a managed identity its own id, or `system`. For a service account
    /// its address, or nothing if its key was not read.
    pub client_id: String,
    /// Its credential.
    pub credential: Arc<Credential>,
}
