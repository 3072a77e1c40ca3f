//! Who gives tokens: Microsoft Entra ID, or another provider of mail.

use std::sync::Arc;

use url::Url;

use super::super::value;
use super::server::Upstream;
use gatepost_core::account::MailAddress;
use gatepost_core::protocol::MailProtocol;

/// The authorization server of an application (RFC 6749 §1.1).
#[derive(Clone, Debug, PartialEq)]
pub enum Issuer {
    /// Microsoft Entra ID.
    Entra(Entra),
    /// Another provider.
    Provider(Arc<Provider>),
}

/// A tenant of Microsoft Entra ID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entra {
    /// Base of the token endpoint, with `https` and a trailing slash.
    pub authority: Url,
    /// The tenant where the application signs in, or lets users sign in; empty with a managed
    /// identity.
    pub tenant: Tenant,
    /// The national cloud. It decides the default scopes and the endpoint version.
    pub cloud: Cloud,
}

/// A provider of mail other than Microsoft.
#[derive(Debug, PartialEq)]
pub struct Provider {
    /// The name in the configuration.
    pub name: String,
    /// The name for people, such as `Google`.
    pub title: String,
    /// The authorization endpoint (RFC 6749 §3.1); `None`: no sign-in in a browser on this machine.
    pub authorize_url: Option<Url>,
    /// Parameters that the authorization endpoint needs besides those of RFC 6749.
    pub authorize_parameters: &'static [(&'static str, &'static str)],
    /// The token endpoint (RFC 6749 §3.2).
    pub token_url: Url,
    /// The device authorization endpoint (RFC 8628 §3.1); `None`: no sign-in on another device.
    pub device_url: Option<Url>,
    /// The revocation endpoint (RFC 7009).
    pub revoke_url: Option<Url>,
    /// Possible issuers of ID tokens; empty: it gives none, and the mail server alone decides whose
    /// token it is.
    pub issuers: Vec<String>,
    /// What a person consents to.
    pub scope: String,
    /// How an application with a secret proves itself.
    pub client_authentication: ClientAuthentication,
    /// Whether the authorization endpoint takes a code challenge (RFC 7636).
    pub pkce: bool,
    /// Domains whose addresses belong to it, folded.
    pub domains: Vec<String>,
    /// Its mail servers, one of a protocol.
    pub hosts: Vec<Upstream>,
}

/// How the application proves itself at the token endpoint (RFC 6749 §2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// Parameters of the form (`client_secret_post`).
    Post,
    /// HTTP Basic (`client_secret_basic`).
    Basic,
}

impl Entra {
    /// The directory id (`tid`) of all personal Microsoft accounts (Microsoft, "ID token claims
    /// reference").
    pub const PERSONAL_ACCOUNTS: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";
}

impl Provider {
    /// The mail server for a protocol, if it has one.
    pub fn mail_server(&self, protocol: MailProtocol) -> Option<&Upstream> {
        self.hosts.iter().find(|upstream| upstream.protocol == protocol)
    }
}

impl Issuer {
    /// The tenant of Entra; `None` for another provider.
    pub fn entra(&self) -> Option<&Entra> {
        match self {
            Self::Entra(entra) => Some(entra),
            Self::Provider(_) => None,
        }
    }

    /// The provider; `None` for Entra.
    pub fn provider(&self) -> Option<&Arc<Provider>> {
        match self {
            Self::Entra(_) => None,
            Self::Provider(provider) => Some(provider),
        }
    }

    /// The cloud of Entra; `None` for another provider.
    pub fn cloud(&self) -> Option<Cloud> {
        self.entra().map(|entra| entra.cloud)
    }

    /// What tells it apart from others in keys of tokens and in the store: Entra's authority, or the
    /// token endpoint.
    pub fn authority(&self) -> &Url {
        match self {
            Self::Entra(entra) => &entra.authority,
            Self::Provider(provider) => &provider.token_url,
        }
    }

    /// The tenant's name in URLs and keys when `login` signs in; empty for a provider, which has
    /// none.
    pub fn tenant_of<'a>(&'a self, login: &'a MailAddress) -> &'a str {
        match self {
            Self::Entra(entra) => entra.tenant.of(login),
            Self::Provider(_) => "",
        }
    }

    /// The name for people.
    pub fn title(&self) -> &str {
        match self {
            Self::Entra(_) => "Entra",
            Self::Provider(provider) => &provider.title,
        }
    }
}

/// The tenant of a token request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tenant {
    /// A directory id or a verified domain, folded.
    Named(String),
    /// `organizations`: the tenant of each user. Not for an application that signs in as itself.
    Organizations,
    /// `consumers`: personal Microsoft accounts. Only for sign-ins of persons.
    Consumers,
    /// `common`: personal accounts, and those of every tenant. Only for sign-ins of persons.
    Common,
    /// `auto`: the domain of the login. Only with `LoginPattern::Any`, because for other patterns
    /// the domain is known.
    OfLogin,
}

impl From<&str> for Tenant {
    /// Takes a directory id or a domain that is already folded and checked.
    fn from(name: &str) -> Self {
        Self::Named(name.to_owned())
    }
}

impl Tenant {
    /// Whether personal Microsoft accounts can sign in.
    pub fn takes_personal_accounts(&self) -> bool {
        matches!(self, Self::Consumers | Self::Common)
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        match self {
            Self::Named(name) => name,
            Self::Organizations => "organizations",
            Self::Consumers => "consumers",
            Self::Common => "common",
            Self::OfLogin => "auto",
        }
    }

    /// The tenant's name in URLs and token keys when `login` signs in.
    pub fn of<'a>(&'a self, login: &'a MailAddress) -> &'a str {
        if let Self::OfLogin = self { login.domain() } else { self.name() }
    }
}

/// Whether the text can be a tenant's verified domain.
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
