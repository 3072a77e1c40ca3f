//! What the token endpoint decides: tenant, client, grant, scope and credentials, in the order in which Entra looks.

use std::collections::HashMap;
use std::time::Duration;

use super::refusal::Refusal;
use crate::sandbox::directory::PasswordVerdict;
use crate::sandbox::registration::{JWT_BEARER, Presented};
use crate::sandbox::token::Claims;
use crate::sandbox::{EXCHANGE_RESOURCES, Shared};
use crate::secret::AccessToken;

const GRAPH: &str = "https://graph.microsoft.com";
const DELEGATED: [&str; 4] = ["IMAP.AccessAsUser.All", "POP.AccessAsUser.All", "SMTP.Send", "EWS.AccessAsUser.All"];
const APPLICATION: [&str; 4] = ["IMAP.AccessAsApp", "POP.AccessAsApp", "SMTP.SendAsApp", "full_access_as_app"];
const DELEGATED_GRAPH: [&str; 4] = ["Mail.Read", "Mail.ReadWrite", "Mail.Send", "User.Read"];
const APPLICATION_GRAPH: [&str; 3] = ["Mail.Read", "Mail.ReadWrite", "Mail.Send"];
/// Scopes that belong to no resource and may stand beside any.
const OPENID: [&str; 4] = ["offline_access", "openid", "profile", "email"];

/// Which generation of the endpoint was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// `/{tenant}/oauth2/token`, with `resource`.
    V1,
    /// `/{tenant}/oauth2/v2.0/token`, with `scope`.
    V2,
}

/// A token request, taken apart but not judged.
pub(super) struct TokenRequest {
    pub(super) version: Version,
    pub(super) tenant: String,
    /// The address that it was posted to.
    pub(super) url: String,
    pub(super) form: HashMap<String, String>,
}

/// A token that was granted.
pub(in crate::sandbox) struct Issued {
    pub(in crate::sandbox) token: AccessToken,
    pub(in crate::sandbox) resource: String,
    /// Only for a user.
    pub(super) scope: Option<String>,
    pub(in crate::sandbox) lifetime: Duration,
}

/// Why there is no token.
pub(in crate::sandbox) enum Failure {
    Refused(Refusal),
    /// The sandbox itself failed.
    Broken(std::io::Error),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

#[derive(Clone, Copy)]
enum Grant {
    Password,
    ClientCredentials,
}

/// A resource with the permissions asked of it.
#[derive(Debug, PartialEq, Eq)]
struct Ask {
    resource: String,
    permissions: Vec<String>,
}

impl TokenRequest {
    fn parameter(&self, name: &str) -> Result<&str, Refusal> {
        self.form.get(name).map(String::as_str).filter(|value| !value.is_empty()).ok_or_else(|| Refusal::missing(name))
    }

    fn grant(&self) -> Result<Grant, Refusal> {
        match self.parameter("grant_type")? {
            "password" => Ok(Grant::Password),
            "client_credentials" => Ok(Grant::ClientCredentials),
            _ => Err(Refusal::new(70003)),
        }
    }

    /// Judges the request, counts it, and issues the token.
    pub(super) fn judge(&self, shared: &Shared) -> Result<Issued, Failure> {
        let result = self.decide(shared);
        let (grant, account) = match self.grant() {
            Ok(Grant::Password) => ("password", self.parameter("username")),
            Ok(Grant::ClientCredentials) => ("client_credentials", self.parameter("client_id")),
            Err(_) => ("(other)", self.parameter("client_id")),
        };
        shared.tally.token_request(grant, account.unwrap_or_default(), result.is_ok());
        result
    }

    fn decide(&self, shared: &Shared) -> Result<Issued, Failure> {
        let grant = self.grant()?;
        self.check_tenant(shared, grant)?;
        let client_id = self.check_client(shared, grant)?;
        let ask = self.ask(grant)?;
        let user = match grant {
            Grant::Password => Some(self.check_user(shared)?),
            Grant::ClientCredentials => None,
        };
        if let Some(code) = shared.directory.sign_in_error(user.as_deref().unwrap_or(&client_id)) {
            return Err(Refusal::new(code).into());
        }
        issue(shared, client_id, user, ask).map_err(Failure::Broken)
    }

    fn check_tenant(&self, shared: &Shared, grant: Grant) -> Result<(), Refusal> {
        let tenant = self.tenant.to_lowercase();
        match (tenant.as_str(), grant) {
            ("common" | "consumers", _) => Err(Refusal::new(9_001_023)),
            ("organizations", Grant::Password) => Ok(()),
            ("organizations", Grant::ClientCredentials) => Err(Refusal::new(50059)),
            (tenant, _) if tenant == shared.directory.tenant_id || tenant == shared.directory.tenant_domain => Ok(()),
            _ => Err(Refusal::new(90002)),
        }
    }

    fn check_client(&self, shared: &Shared, grant: Grant) -> Result<String, Refusal> {
        let client_id = self.parameter("client_id")?.to_lowercase();
        let given = |name| self.form.get(name).filter(|value| !value.is_empty());
        let (secret, assertion) = (given("client_secret"), given("client_assertion"));
        let directory = &shared.directory;
        if client_id == directory.confidential_client_id {
            match (secret, assertion) {
                (None, None) => return Err(Refusal::new(7_000_218)),
                (Some(secret), None) => directory.registration.judge_secret(secret).map_err(Refusal::new)?,
                (None, Some(assertion)) if given("client_assertion_type").is_some_and(|kind| kind == JWT_BEARER) => {
                    let now = shared.time.unix_seconds();
                    let presented = Presented { assertion, client_id: &client_id, url: &self.url, now };
                    directory.registration.judge_assertion(&presented).map_err(Refusal::new)?;
                }
                (None, Some(_)) => return Err(Refusal::missing("client_assertion_type")),
                (Some(_), Some(_)) => return Err(Refusal::new(70002)),
            }
        } else if client_id == directory.public_client_id {
            if secret.is_some() || assertion.is_some() {
                return Err(Refusal::new(700_025));
            }
            if matches!(grant, Grant::ClientCredentials) {
                return Err(Refusal::new(7_000_218));
            }
        } else {
            return Err(Refusal::new(700_016));
        }
        Ok(client_id)
    }

    fn ask(&self, grant: Grant) -> Result<Ask, Refusal> {
        match self.version {
            Version::V1 => {
                let resource = self.parameter("resource")?.trim_end_matches('/');
                Ask::everything(resource, grant)
            }
            Version::V2 if self.form.contains_key("resource") => Err(Refusal::new(901_002)),
            Version::V2 => Ask::parse(self.parameter("scope")?, grant),
        }
    }

    fn check_user(&self, shared: &Shared) -> Result<String, Refusal> {
        let user = self.parameter("username")?.to_lowercase();
        let password = self.parameter("password")?;
        match shared.directory.check_password(&user, password, shared.time.now()) {
            PasswordVerdict::Right => Ok(user),
            PasswordVerdict::Wrong => Err(Refusal::new(50126)),
            PasswordVerdict::Locked => Err(Refusal::new(50053)),
            PasswordVerdict::UnknownUser => Err(Refusal::new(50034)),
        }
    }
}

impl Ask {
    /// All that was consented for a resource.
    fn everything(resource: &str, grant: Grant) -> Result<Self, Refusal> {
        let permissions: &[&str] = match (grant, EXCHANGE_RESOURCES.contains(&resource)) {
            (Grant::Password, true) => &DELEGATED,
            (Grant::ClientCredentials, true) => &APPLICATION,
            (Grant::Password, false) if resource == GRAPH => &DELEGATED_GRAPH,
            (Grant::ClientCredentials, false) if resource == GRAPH => &APPLICATION_GRAPH,
            _ => return Err(Refusal::new(500_011)),
        };
        Ok(Self {
            resource: resource.to_owned(),
            permissions: permissions.iter().map(|&permission| permission.to_owned()).collect(),
        })
    }

    /// A `scope`: either `{resource}/.default` or named permissions of one resource. An app may use the former only.
    fn parse(scope: &str, grant: Grant) -> Result<Self, Refusal> {
        let bad = || Refusal::new(70011);
        let mut named: Vec<&str> = Vec::new();
        let mut resource = None;
        for word in scope.split_ascii_whitespace() {
            if OPENID.contains(&word) && matches!(grant, Grant::Password) {
                continue;
            }
            let (of, permission) = word.rsplit_once('/').ok_or_else(bad)?;
            if *resource.get_or_insert(of) != of {
                return Err(bad());
            }
            named.push(permission);
        }
        let everything = Self::everything(resource.ok_or_else(bad)?, grant)?;
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

fn issue(shared: &Shared, client_id: String, user: Option<String>, ask: Ask) -> std::io::Result<Issued> {
    let lifetime = shared.token_lifetime();
    let now = shared.time.unix();
    let expires_at = now.saturating_add(lifetime);
    let scope = user.is_some().then(|| ask.permissions.join(" "));
    let claims = Claims {
        audience: ask.resource.clone(),
        issuer: format!("https://sts.windows.net/{}/", shared.directory.tenant_id),
        client_id,
        roles: if user.is_none() { ask.permissions.clone() } else { Vec::new() },
        user,
        scope: scope.clone(),
        issued_at: now.as_secs(),
        expires_at: expires_at.as_secs(),
        expires_at_millis: u64::try_from(expires_at.as_millis()).unwrap_or(u64::MAX),
    };
    let token = shared.mint.issue(&claims)?;
    let resource = &ask.resource;
    let scope = scope.map(|scope| scope.split(' ').map(|s| format!("{resource}/{s}")).collect::<Vec<_>>().join(" "));
    Ok(Issued { token, scope, resource: ask.resource, lifetime })
}

/// A token for `user` without a request: everything that was consented for Exchange Online.
pub(crate) fn issue_for_user(shared: &Shared, user: &str) -> std::io::Result<AccessToken> {
    let permissions = DELEGATED.iter().map(|&permission| permission.to_owned()).collect();
    let ask = Ask { resource: EXCHANGE_RESOURCES[0].to_owned(), permissions };
    let client_id = shared.directory.public_client_id.clone();
    issue(shared, client_id, Some(user.to_lowercase()), ask).map(|issued| issued.token)
}

/// A token for a managed identity: everything that was consented for `resource`.
pub(in crate::sandbox) fn issue_for_identity(
    shared: &Shared,
    client_id: &str,
    resource: &str,
) -> Result<Issued, Failure> {
    let ask = Ask::everything(resource, Grant::ClientCredentials)?;
    issue(shared, client_id.to_owned(), None, ask).map_err(Failure::Broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(scope: &str, grant: Grant) -> u32 {
        Ask::parse(scope, grant).unwrap_err().code
    }

    #[test]
    fn a_scope_names_permissions_of_one_resource() {
        let ask = Ask::parse("https://outlook.office.com/.default offline_access", Grant::Password).unwrap();
        assert_eq!(ask.resource, "https://outlook.office.com");
        assert_eq!(ask.permissions, DELEGATED);
        let two = "https://outlook.office.com/SMTP.Send https://outlook.office.com/IMAP.AccessAsUser.All";
        assert_eq!(Ask::parse(two, Grant::Password).unwrap().permissions, ["SMTP.Send", "IMAP.AccessAsUser.All"]);
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
        let ask = Ask::parse("https://outlook.office365.com/.default", Grant::ClientCredentials).unwrap();
        assert_eq!(ask.permissions, APPLICATION);
        assert_eq!(refused("https://outlook.office365.com/SMTP.SendAsApp", Grant::ClientCredentials), 70011);
        assert_eq!(refused("https://outlook.office365.com/.default offline_access", Grant::ClientCredentials), 70011);
    }
}
