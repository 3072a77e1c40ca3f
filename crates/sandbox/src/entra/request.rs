//! What is asked of Entra: token requests, the permissions that they name, and the consent of a
//! person to them.

use std::collections::HashMap;

use super::refusal::Refusal;
use crate::token::{EXCHANGE_RESOURCES, GRAPH_RESOURCES};

pub(super) const DELEGATED: [&str; 4] =
    ["IMAP.AccessAsUser.All", "POP.AccessAsUser.All", "SMTP.Send", "EWS.AccessAsUser.All"];
pub(super) const APPLICATION: [&str; 4] =
    ["IMAP.AccessAsApp", "POP.AccessAsApp", "SMTP.SendAsApp", "full_access_as_app"];
pub(super) const DELEGATED_GRAPH: [&str; 4] = ["Mail.Read", "Mail.ReadWrite", "Mail.Send", "User.Read"];
pub(super) const APPLICATION_GRAPH: [&str; 3] = ["Mail.Read", "Mail.ReadWrite", "Mail.Send"];
/// Scopes that belong to no resource and may stand beside any.
const OPENID: [&str; 4] = ["offline_access", "openid", "profile", "email"];

/// Which generation of the endpoint was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// The endpoint `/{tenant}/oauth2/token`, with `resource`.
    V1,
    /// The endpoint `/{tenant}/oauth2/v2.0/token`, with `scope`.
    V2,
}

/// The tenants that an address may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tenant {
    /// Accounts of every tenant, and personal ones.
    Common,
    /// Accounts of every tenant.
    Organizations,
    /// Personal accounts.
    Consumers,
    /// The one tenant of the sandbox.
    Own,
}

/// Microsoft's grants, as far as the sandbox knows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grant {
    Password,
    ClientCredentials,
    AuthorizationCode,
    DeviceCode,
    RefreshToken,
}

impl Grant {
    pub(super) fn is_of_user(self) -> bool {
        self != Self::ClientCredentials
    }
}

/// A token request, taken apart but not judged.
pub(super) struct TokenRequest {
    pub(super) version: Version,
    pub(super) tenant: String,
    /// The address that it was posted to.
    pub(super) url: String,
    pub(super) form: HashMap<String, String>,
}

/// A resource with the permissions asked of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RequestedScope {
    pub(super) resource: String,
    pub(super) permissions: Vec<String>,
    /// Whether a refresh token is wanted.
    pub(super) offline_access: bool,
    /// Whether an ID token is wanted.
    pub(super) openid: bool,
}

impl RequestedScope {
    /// What the parameters of a request ask for.
    pub(super) fn read(version: Version, parameters: &HashMap<String, String>, grant: Grant) -> Result<Self, Refusal> {
        let parameter = |name: &str| {
            parameters
                .get(name)
                .map(String::as_str)
                .filter(|value| !value.is_empty())
                .ok_or_else(|| Refusal::missing(name))
        };
        match version {
            Version::V1 => {
                let everything = Self::everything(parameter("resource")?.trim_end_matches('/'), grant)?;
                let openid = parameters.get("scope").is_some_and(|scope| scope.split(' ').any(|word| word == "openid"));
                Ok(Self { openid, offline_access: true, ..everything })
            }
            Version::V2 if parameters.contains_key("resource") => Err(Refusal::new(901_002)),
            Version::V2 => Self::parse(parameter("scope")?, grant),
        }
    }

    /// Whether `consented` covers all that is asked for. Who signed in may ask for the other of
    /// Exchange and Graph, too: a refresh token belongs to no resource, and for that one the
    /// administrator has consented.
    pub(super) fn is_within(&self, consented: &Self) -> bool {
        let is_graph = |ask: &Self| GRAPH_RESOURCES.contains(&ask.resource.as_str());
        is_graph(self) != is_graph(consented)
            || self.resource == consented.resource
                && self.permissions.iter().all(|permission| consented.permissions.contains(permission))
    }

    /// Drops what nobody has consented to; `None` is everything that the sandbox knows.
    pub(super) fn keep_consented(&mut self, consented: Option<&[String]>) {
        if let Some(consented) = consented {
            self.permissions.retain(|permission| consented.contains(permission));
        }
    }

    /// All that was consented for a resource.
    pub(super) fn everything(resource: &str, grant: Grant) -> Result<Self, Refusal> {
        let permissions: &[&str] = match (grant.is_of_user(), EXCHANGE_RESOURCES.contains(&resource)) {
            (true, true) => &DELEGATED,
            (false, true) => &APPLICATION,
            (true, false) if GRAPH_RESOURCES.contains(&resource) => &DELEGATED_GRAPH,
            (false, false) if GRAPH_RESOURCES.contains(&resource) => &APPLICATION_GRAPH,
            _ => return Err(Refusal::new(500_011)),
        };
        Ok(Self {
            resource: resource.to_owned(),
            permissions: permissions.iter().map(|&permission| permission.to_owned()).collect(),
            offline_access: false,
            openid: false,
        })
    }

    /// A `scope`: either `{resource}/.default` or named permissions of one resource. An app may use
    /// the former only.
    fn parse(scope: &str, grant: Grant) -> Result<Self, Refusal> {
        let bad = || Refusal::new(70011);
        let mut named: Vec<&str> = Vec::new();
        let mut resource = None;
        let (mut offline_access, mut openid) = (false, false);
        for word in scope.split_ascii_whitespace() {
            if OPENID.contains(&word) && grant.is_of_user() {
                offline_access |= word == "offline_access";
                openid |= word == "openid";
                continue;
            }
            let (of, permission) = match word.rsplit_once('/') {
                Some(named) => named,
                // Without a resource, Graph is meant.
                None if DELEGATED_GRAPH.contains(&word) => (GRAPH_RESOURCES[0], word),
                None => return Err(bad()),
            };
            if *resource.get_or_insert(of) != of {
                return Err(bad());
            }
            named.push(permission);
        }
        let everything = Self::everything(resource.ok_or_else(bad)?, grant)?;
        let everything = Self { offline_access, openid, ..everything };
        if named == [".default"] {
            return Ok(everything);
        }
        let known = |name: &&str| everything.permissions.iter().any(|permission| permission == name);
        if matches!(grant, Grant::ClientCredentials) || !named.iter().all(known) {
            return Err(bad());
        }
        Ok(Self { permissions: named.into_iter().map(str::to_owned).collect(), ..everything })
    }
}

/// What an application asked a person for.
#[derive(Clone)]
pub(super) struct Request {
    pub(super) client_id: String,
    pub(super) ask: RequestedScope,
    pub(super) nonce: Option<String>,
    /// Where it was asked.
    pub(super) tenant: Tenant,
    pub(super) version: Version,
}

/// Somebody who has signed in.
#[derive(Clone)]
pub(super) struct Person {
    /// The address, folded.
    pub(super) address: String,
    /// Whether it is a personal account.
    pub(super) is_personal: bool,
}

/// A person's consent to a request, about to become tokens.
pub(super) struct Consent {
    pub(super) user: String,
    pub(super) ask: RequestedScope,
    pub(super) nonce: Option<String>,
    /// The refresh token, if one was asked for.
    pub(super) refresh_token: Option<String>,
}

/// Why there is no token.
pub(crate) enum TokenFailure {
    Refused(Refusal),
    /// The sandbox itself failed.
    Broken(std::io::Error),
}

impl From<Refusal> for TokenFailure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(scope: &str, grant: Grant) -> u32 {
        RequestedScope::parse(scope, grant).unwrap_err().code
    }

    #[test]
    fn a_scope_names_permissions_of_one_resource() {
        let ask = RequestedScope::parse("https://outlook.office.com/.default offline_access", Grant::Password).unwrap();
        assert_eq!(ask.resource, "https://outlook.office.com");
        assert_eq!(ask.permissions, DELEGATED);
        let two = "https://outlook.office.com/SMTP.Send https://outlook.office.com/IMAP.AccessAsUser.All";
        assert_eq!(
            RequestedScope::parse(two, Grant::Password).unwrap().permissions,
            ["SMTP.Send", "IMAP.AccessAsUser.All"]
        );
        for scope in [
            "SMTP.Send",
            "offline_access",
            "https://outlook.office.com/Nonsense",
            "https://outlook.office.com/.default https://outlook.office.com/SMTP.Send",
            "https://outlook.office.com/SMTP.Send https://graph.microsoft.com/Mail.Send",
        ] {
            assert_eq!(refused(scope, Grant::Password), 70011, "{scope}");
        }
        assert_eq!(refused("https://elsewhere.example/.default", Grant::Password), 500_011);
    }

    #[test]
    fn an_app_asks_for_default_only() {
        let ask = RequestedScope::parse("https://outlook.office365.com/.default", Grant::ClientCredentials).unwrap();
        assert_eq!(ask.permissions, APPLICATION);
        assert_eq!(refused("https://outlook.office365.com/SMTP.SendAsApp", Grant::ClientCredentials), 70011);
        assert_eq!(refused("https://outlook.office365.com/.default offline_access", Grant::ClientCredentials), 70011);
    }
}
