//! What the token endpoint decides: tenant, client, grant, scope and credentials, in the order in which Entra looks.

use std::collections::HashMap;
use std::time::Duration;

use super::id_token;
use super::lockout::PasswordVerdict;
use super::refusal::Refusal;
use super::sign_in::{Consent, Request};
use crate::sandbox::registration::{JWT_BEARER, Presented};
use crate::sandbox::state::Shared;
use crate::sandbox::token::{Claims, EXCHANGE_RESOURCES, GRAPH_RESOURCES};
use crate::secret::AccessToken;

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
    /// Only for a person who signed in, and only if asked for.
    pub(super) refresh_token: Option<String>,
    /// The same.
    pub(super) id_token: Option<String>,
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
    fn is_of_user(self) -> bool {
        self != Self::ClientCredentials
    }
}

/// A resource with the permissions asked of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    resource: String,
    permissions: Vec<String>,
    /// A refresh token is wanted.
    pub(super) offline_access: bool,
    /// An ID token is wanted.
    openid: bool,
}

impl TokenRequest {
    fn parameter(&self, name: &str) -> Result<&str, Refusal> {
        self.form.get(name).map(String::as_str).filter(|value| !value.is_empty()).ok_or_else(|| Refusal::missing(name))
    }

    fn grant(&self) -> Result<Grant, Refusal> {
        match self.parameter("grant_type")? {
            "password" => Ok(Grant::Password),
            "client_credentials" => Ok(Grant::ClientCredentials),
            "authorization_code" => Ok(Grant::AuthorizationCode),
            "urn:ietf:params:oauth:grant-type:device_code" => Ok(Grant::DeviceCode),
            // The name of the v1.0 endpoint.
            "device_code" if self.version == Version::V1 => Ok(Grant::DeviceCode),
            "refresh_token" => Ok(Grant::RefreshToken),
            _ => Err(Refusal::new(70003)),
        }
    }

    /// Judges the request, counts it, and issues the token.
    pub(super) fn judge(&self, shared: &Shared) -> Result<Issued, Failure> {
        let result = self.decide(shared);
        let client_id = || self.parameter("client_id").unwrap_or_default().to_owned();
        let (grant, account) = match self.grant() {
            Ok(Grant::Password) => ("password", self.parameter("username").unwrap_or_default().to_owned()),
            Ok(Grant::ClientCredentials) => ("client_credentials", client_id()),
            Ok(Grant::AuthorizationCode) => ("authorization_code", client_id()),
            Ok(Grant::DeviceCode) => ("device_code", client_id()),
            Ok(Grant::RefreshToken) => {
                let user = self.parameter("refresh_token").ok().and_then(|token| shared.sign_ins.user_of(token));
                ("refresh_token", user.unwrap_or_else(client_id))
            }
            Err(_) => ("(other)", client_id()),
        };
        shared.tally.token_request(grant, &account, result.is_ok());
        result
    }

    fn decide(&self, shared: &Shared) -> Result<Issued, Failure> {
        let grant = self.grant()?;
        check_tenant(shared, &self.tenant, grant)?;
        let client_id = self.check_client(shared, grant)?;
        let check_error = |who: &str| match shared.directory.sign_in_error(who) {
            Some(code) => Err(Refusal::new(code)),
            None => Ok(()),
        };
        let consent = match grant {
            Grant::Password => {
                let ask = self.ask(shared, grant)?;
                let user = self.check_user(shared)?;
                check_error(&user)?;
                return issue(shared, client_id, Some(user), ask).map_err(Failure::Broken);
            }
            Grant::ClientCredentials => {
                let ask = self.ask(shared, grant)?;
                check_error(&client_id)?;
                return issue(shared, client_id, None, ask).map_err(Failure::Broken);
            }
            Grant::AuthorizationCode => {
                let (code, redirect_uri) = (self.parameter("code")?, self.parameter("redirect_uri")?);
                let verifier = self.parameter("code_verifier")?;
                shared.sign_ins.redeem(code, &client_id, redirect_uri, verifier, shared.time.now())?
            }
            Grant::DeviceCode => {
                let name = if self.version == Version::V1 { "code" } else { "device_code" };
                shared.sign_ins.poll(self.parameter(name)?, &client_id, shared.time.now())?
            }
            Grant::RefreshToken => {
                let (token, ask) = (self.parameter("refresh_token")?, self.ask(shared, grant)?);
                if let Some(user) = shared.sign_ins.user_of(token) {
                    check_error(&user)?;
                }
                shared.sign_ins.refresh(token, &client_id, ask, shared.time.now())?
            }
        };
        self.issue_to(shared, client_id, consent).map_err(Failure::Broken)
    }

    /// Tokens for a person who signed in.
    fn issue_to(&self, shared: &Shared, client_id: String, consent: Consent) -> std::io::Result<Issued> {
        let Consent { user, ask, nonce, refresh_token } = consent;
        let id_token = match ask.openid {
            true => Some(id_token::issue(shared, self.version, &client_id, &user, nonce.as_deref())?),
            false => None,
        };
        let issued = issue(shared, client_id, Some(user), ask)?;
        Ok(Issued { refresh_token, id_token, ..issued })
    }

    /// Begins a sign-in by device code.
    pub(super) fn device_request(&self, shared: &Shared) -> Result<Request, Refusal> {
        check_tenant(shared, &self.tenant, Grant::DeviceCode)?;
        let client_id = self.parameter("client_id")?.to_lowercase();
        let directory = &shared.directory;
        if client_id != directory.public_client_id && client_id != directory.confidential_client_id {
            return Err(Refusal::new(700_016));
        }
        Ok(Request { client_id, ask: self.ask(shared, Grant::DeviceCode)?, nonce: None })
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

    fn ask(&self, shared: &Shared, grant: Grant) -> Result<Ask, Refusal> {
        let mut ask = Ask::read(self.version, &self.form, grant)?;
        ask.keep_consented(shared);
        // An application gets a token without any permission, and learns it later.
        if ask.permissions.is_empty() && grant.is_of_user() {
            return Err(Refusal::new(65001));
        }
        Ok(ask)
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

/// Whether a grant may be used at a tenant.
pub(super) fn check_tenant(shared: &Shared, tenant: &str, grant: Grant) -> Result<(), Refusal> {
    let tenant = tenant.to_lowercase();
    match (tenant.as_str(), grant) {
        ("common" | "consumers", _) => Err(Refusal::new(9_001_023)),
        ("organizations", Grant::ClientCredentials) => Err(Refusal::new(50059)),
        ("organizations", _) => Ok(()),
        (tenant, _) if tenant == shared.directory.tenant_id || tenant == shared.directory.tenant_domain => Ok(()),
        _ => Err(Refusal::new(90002)),
    }
}

impl Ask {
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

    /// Whether `consented` covers all that is asked for. Who signed in may ask for the other of Exchange and Graph, too: a
    /// refresh token belongs to no resource, and for that one the administrator has consented.
    pub(super) fn is_within(&self, consented: &Self) -> bool {
        let is_graph = |ask: &Self| GRAPH_RESOURCES.contains(&ask.resource.as_str());
        is_graph(self) != is_graph(consented)
            || self.resource == consented.resource
                && self.permissions.iter().all(|permission| consented.permissions.contains(permission))
    }

    /// Drops what nobody has consented to ([`crate::sandbox::Sandbox::set_graph_consent`]).
    fn keep_consented(&mut self, shared: &Shared) {
        if GRAPH_RESOURCES.contains(&self.resource.as_str())
            && let Some(consented) = shared.graph_consent()
        {
            self.permissions.retain(|permission| consented.contains(permission));
        }
    }

    /// All that was consented for a resource.
    fn everything(resource: &str, grant: Grant) -> Result<Self, Refusal> {
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

    /// A `scope`: either `{resource}/.default` or named permissions of one resource. An app may use the former only.
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

fn issue(shared: &Shared, client_id: String, user: Option<String>, mut ask: Ask) -> std::io::Result<Issued> {
    ask.keep_consented(shared);
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
    Ok(Issued { token, scope, resource: ask.resource, lifetime, refresh_token: None, id_token: None })
}

/// A token for `user` without a request: everything that was consented for Exchange Online.
pub(crate) fn issue_for_user(shared: &Shared, user: &str) -> std::io::Result<AccessToken> {
    let client_id = shared.directory.public_client_id.clone();
    issue(shared, client_id, Some(user.to_lowercase()), everything_of_exchange()).map(|issued| issued.token)
}

/// The same for Graph; without a user, for the application with a secret.
pub(crate) fn issue_for_graph(shared: &Shared, user: Option<&str>) -> std::io::Result<AccessToken> {
    let (client_id, permissions) = match user {
        Some(_) => (&shared.directory.public_client_id, &DELEGATED_GRAPH[..]),
        None => (&shared.directory.confidential_client_id, &APPLICATION_GRAPH[..]),
    };
    let permissions = permissions.iter().map(|&permission| permission.to_owned()).collect();
    let ask = Ask { resource: GRAPH_RESOURCES[0].to_owned(), permissions, offline_access: false, openid: false };
    issue(shared, client_id.clone(), user.map(str::to_lowercase), ask).map(|issued| issued.token)
}

/// A token of the application with a secret without a request: everything that was consented for Exchange Online.
pub(crate) fn issue_for_app(shared: &Shared) -> std::io::Result<AccessToken> {
    let permissions = APPLICATION.iter().map(|&permission| permission.to_owned()).collect();
    let client_id = shared.directory.confidential_client_id.clone();
    issue(shared, client_id, None, Ask { permissions, ..everything_of_exchange() }).map(|issued| issued.token)
}

/// A refresh token for `user` without a sign-in: everything of Exchange Online was consented to.
pub(crate) fn sign_in_user(shared: &Shared, user: &str) -> std::io::Result<Option<String>> {
    let ask = Ask { offline_access: true, ..everything_of_exchange() };
    let request = Request { client_id: shared.directory.public_client_id.clone(), ask, nonce: None };
    shared.sign_ins.issue(request, user.to_lowercase(), shared.time.now())
}

fn everything_of_exchange() -> Ask {
    let permissions = DELEGATED.iter().map(|&permission| permission.to_owned()).collect();
    Ask { resource: EXCHANGE_RESOURCES[0].to_owned(), permissions, offline_access: false, openid: false }
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
