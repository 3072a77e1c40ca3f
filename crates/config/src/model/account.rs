//! Who may log in, and which application of Entra asks for their tokens.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::super::problem::Problem;
use super::super::value;
use super::credential::Credential;
use gatepost_core::account::{LoginName, MailAddress};

/// Who may log in: the most specific entry wins (address or alias, then domain, then `*`).
#[derive(Debug, Default, PartialEq)]
pub struct Accounts {
    entries: Vec<Arc<Account>>,
    /// Places in `entries` by address and alias, and by domain: a login is found as fast among thousands as among few.
    by_name: HashMap<LoginName, usize>,
    by_domain: HashMap<String, usize>,
    any: Option<usize>,
}

impl Accounts {
    /// In the order of the configuration. The patterns and aliases are unique (the check sees to it); of two that are
    /// not, the first one counts.
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
        Self { entries, by_name, by_domain, any }
    }

    /// All entries, in the order of the configuration.
    pub fn entries(&self) -> &[Arc<Account>] {
        &self.entries
    }

    /// Whether some entry asks for its tokens as this application.
    pub fn has_application(&self, application: &Application) -> bool {
        self.entries.iter().any(|entry| *entry.application == *application)
    }

    /// The entry for a login, and the address that signs in with it: for an alias that of its entry, else the login.
    /// `None` when no entry fits, when a short name fits only `*`, when a name that Entra is to judge is not ASCII, or when the
    /// domain, which is to name the tenant, is none.
    pub fn find(&self, login: &LoginName) -> Option<(Arc<Account>, MailAddress)> {
        let entry = |place: &usize| self.entries.get(*place);
        if let Some(entry) = self.by_name.get(login).and_then(entry)
            && let LoginPattern::Address(address) = &entry.pattern
        {
            return Some((Arc::clone(entry), address.clone()));
        }
        let address = MailAddress::try_from(login.clone()).ok()?;
        let entry = self.by_domain.get(address.domain()).or(self.any.as_ref()).and_then(entry)?;
        // Entra's user names are ASCII, and what it folds into one (full-width letters, accents) has no budget of its own.
        if entry.grant == Grant::Password && !address.as_str().is_ascii() {
            return None;
        }
        // The domain gets into a URL and into the names of tokens.
        let names_tenant = entry.application.tenant != Tenant::OfLogin || is_domain(address.domain());
        names_tenant.then(|| (Arc::clone(entry), address))
    }
}

/// Whom an [`Account`] is for.
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
    /// Whom it is for.
    pub pattern: LoginPattern,
    /// Short names for devices; only with [`LoginPattern::Address`].
    pub aliases: Vec<LoginName>,
    /// How a token is had.
    pub grant: Grant,
    /// Argon2id PHC strings of the passwords that Gatepost itself proves, besides the device passwords of the store;
    /// checked for form and for strength. None with [`Grant::Password`].
    pub passwords: Vec<String>,
    /// The Entra application that asks for it.
    pub application: Arc<Application>,
    /// The configured scope (v1.0: resource); `None` means the default of cloud and grant.
    pub scope: Option<String>,
    /// The XOAUTH2 user, when it is not the login.
    pub mailbox: Option<MailAddress>,
    /// Who signs in for it, when it is not the login: a shared mailbox has no sign-in of its own. Only with
    /// [`LoginPattern::Address`] and a grant that [`Grant::is_sign_in`].
    pub signs_in_as: Option<MailAddress>,
    /// A token with less life left is not used for a new login.
    pub token_expiry_margin: Duration,
}

impl Account {
    /// Who must sign in for `login`.
    pub fn person<'a>(&'a self, login: &'a MailAddress) -> &'a MailAddress {
        self.signs_in_as.as_ref().unwrap_or(login)
    }
}

/// An account without passwords whose clients Entra does not prove. Without a device password everybody who reaches the
/// port would own its mailbox.
#[derive(Debug, PartialEq)]
pub struct AccountWithoutPassword {
    /// The account's.
    pub pattern: LoginPattern,
    /// What is wrong with it should it have no device password.
    pub problem: Problem,
}

/// How an account gets its token, and with it what proves the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// ROPC (RFC 6749 §4.3): Entra proves the password.
    Password,
    /// RFC 6749 §4.4: the application signs in as itself, and Gatepost proves the client's password.
    ClientCredentials,
    /// RFC 6749 §4.1: a person signs in once, in a browser, and Gatepost proves the client's password.
    AuthorizationCode,
    /// RFC 8628: the same, with a browser on another device.
    DeviceCode,
}

impl Grant {
    /// The token is a user's, not the application's own.
    pub fn is_of_user(self) -> bool {
        !matches!(self, Self::ClientCredentials)
    }

    /// A person signs in once with `gatepost login`, and from then on a refresh token stands for it.
    pub fn is_sign_in(self) -> bool {
        matches!(self, Self::AuthorizationCode | Self::DeviceCode)
    }
}

/// An Entra application in a tenant, or a managed identity.
#[derive(Debug, PartialEq)]
pub struct Application {
    /// Base of the token endpoint, with `https` and a trailing slash.
    pub authority: Url,
    /// Where it signs in, or lets users sign in; empty with a managed identity.
    pub tenant: Tenant,
    /// Application (client) id; of a managed identity its own, or `system`.
    pub client_id: String,
    /// How it proves itself.
    pub credential: Arc<Credential>,
    /// Which national cloud: decides the default scopes and the endpoint version.
    pub cloud: Cloud,
}

/// The tenant of a token request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tenant {
    /// A directory id or a verified domain, folded.
    Named(String),
    /// `organizations`: whichever the user belongs to. Not for an application that signs in as itself.
    Organizations,
    /// `auto`: the domain of the login. Only with [`LoginPattern::Any`]; elsewhere the domain is known.
    OfLogin,
}

impl From<&str> for Tenant {
    /// A directory id or a domain, folded and checked.
    fn from(name: &str) -> Self {
        Self::Named(name.to_owned())
    }
}

impl Tenant {
    /// What stands for it in URLs and in the names of tokens when `login` signs in.
    pub fn of<'a>(&'a self, login: &'a MailAddress) -> &'a str {
        match self {
            Self::Named(name) => name,
            Self::Organizations => "organizations",
            Self::OfLogin => login.domain(),
        }
    }
}

/// A name that can be a tenant's verified domain.
pub(crate) fn is_domain(text: &str) -> bool {
    text.contains('.') && value::host_name(text).is_ok() && text.parse::<std::net::IpAddr>().is_err()
}

/// Microsoft's clouds (Microsoft, "National clouds").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cloud {
    /// Also GCC.
    Worldwide,
    /// GCC High.
    UsGovGccHigh,
    /// Department of Defense.
    UsGovDod,
    /// 21Vianet; tokens come from the v1.0 endpoint with `resource`.
    China,
}
