//! What the token endpoint decides: tenant, client, grant, scope and credentials, in the order in
//! which Entra looks.

use std::time::Duration;

use super::id_token;
use super::lockout::PasswordVerdict;
use super::refusal::Refusal;
use super::request::{
    APPLICATION, APPLICATION_GRAPH, Consent, DELEGATED, DELEGATED_GRAPH, Grant, Person, Request, RequestedScope,
    Tenant, TokenFailure, TokenRequest, Version,
};
use super::tenant::{check_audience, check_grant, check_tenant};
use crate::applications::Client;
use crate::provider::{Provider, note_foreign};
use crate::registration::{self, JWT_BEARER, PresentedAssertion};
use crate::state::SandboxState;
use crate::token::{Claims, EXCHANGE_RESOURCES, GRAPH_RESOURCES, issuer};
use gatepost_core::secret::AccessToken;

/// The name of the registrations.
pub(super) const APPLICATION_NAME: &str = "Gatepost";

/// A token that was granted.
pub(crate) struct Issued {
    pub(crate) token: AccessToken,
    pub(crate) resource: String,
    /// The permissions granted, for a user only.
    pub(super) scope: Option<String>,
    pub(crate) lifetime: Duration,
    /// A refresh token, only for a person who signed in, and only if asked for.
    pub(super) refresh_token: Option<String>,
    /// An ID token, only for a person who signed in, and only if asked for.
    pub(super) id_token: Option<String>,
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
            // The v1.0 endpoint calls it so.
            "device_code" if self.version == Version::V1 => Ok(Grant::DeviceCode),
            "refresh_token" => Ok(Grant::RefreshToken),
            _ => Err(Refusal::new(70003)),
        }
    }

    /// Judges the request, counts it, and issues the token.
    pub(super) fn judge(&self, shared: &SandboxState) -> Result<Issued, TokenFailure> {
        let refresh_token = self.parameter("refresh_token").unwrap_or_default();
        note_foreign(shared, Provider::Microsoft, None, "", refresh_token);
        let result = self.decide(shared).map_err(|failure| match failure {
            TokenFailure::Refused(refusal) => TokenFailure::Refused(self.named(shared, refusal)),
            broken => broken,
        });
        let client_id = || self.parameter("client_id").unwrap_or_default().to_owned();
        let (grant, account) = match self.grant() {
            Ok(Grant::Password) => ("password", self.parameter("username").unwrap_or_default().to_owned()),
            Ok(Grant::ClientCredentials) => ("client_credentials", client_id()),
            Ok(Grant::AuthorizationCode) => ("authorization_code", client_id()),
            Ok(Grant::DeviceCode) => ("device_code", client_id()),
            Ok(Grant::RefreshToken) => {
                let person = self.parameter("refresh_token").ok().and_then(|token| shared.sign_ins.person_of(token));
                ("refresh_token", person.map_or_else(client_id, |person| person.address))
            }
            Err(_) => ("(other)", client_id()),
        };
        shared.tally.token_request(grant, &account, result.is_ok());
        result
    }

    /// Fills in the names that a refusal's sentence has.
    fn named(&self, shared: &SandboxState, refusal: Refusal) -> Refusal {
        let assertion = self.form.get("client_assertion");
        let thumbprint = assertion.and_then(|assertion| registration::thumbprint(assertion)).unwrap_or_default();
        refusal.about(&[
            ("app", self.parameter("client_id").unwrap_or_default()),
            ("name", APPLICATION_NAME),
            ("tenant", &shared.directory.tenant_id),
            ("thumbprint", &thumbprint),
        ])
    }

    fn decide(&self, shared: &SandboxState) -> Result<Issued, TokenFailure> {
        let grant = self.grant()?;
        let tenant = check_tenant(shared, &self.tenant, grant)?;
        let client_id = self.check_client(shared, grant)?;
        check_audience(shared, tenant, &client_id)?;
        let check_error = |who: &str| match shared.directory.sign_in_error(who) {
            Some(code) => Err(Refusal::new(code)),
            None => Ok(()),
        };
        let consent = match grant {
            Grant::Password => {
                let ask = self.ask(shared, grant)?;
                let user = self.check_user(shared)?;
                check_error(&user)?;
                return issue(shared, client_id, Some(user), ask).map_err(TokenFailure::Broken);
            }
            Grant::ClientCredentials => {
                let ask = self.ask(shared, grant)?;
                check_error(&client_id)?;
                return issue(shared, client_id, None, ask).map_err(TokenFailure::Broken);
            }
            Grant::AuthorizationCode => {
                let (code, redirect_uri) = (self.parameter("code")?, self.parameter("redirect_uri")?);
                let verifier = self.parameter("code_verifier")?;
                if let Some(person) = shared.sign_ins.person_of_code(code) {
                    check_grant(tenant, person.is_personal)?;
                }
                shared.sign_ins.redeem(code, &client_id, redirect_uri, verifier, shared.time.now())?
            }
            Grant::DeviceCode => {
                let name = if self.version == Version::V1 { "code" } else { "device_code" };
                shared.sign_ins.poll(self.parameter(name)?, &client_id, shared.time.now())?
            }
            Grant::RefreshToken => {
                let (token, ask) = (self.parameter("refresh_token")?, self.ask(shared, grant)?);
                if let Some(person) = shared.sign_ins.person_of(token) {
                    check_grant(tenant, person.is_personal)?;
                    check_error(&person.address)?;
                }
                shared.sign_ins.refresh(token, &client_id, ask, shared.time.now())?
            }
        };
        self.issue_to(shared, client_id, consent).map_err(TokenFailure::Broken)
    }

    /// Tokens for a person who signed in.
    fn issue_to(&self, shared: &SandboxState, client_id: String, consent: Consent) -> std::io::Result<Issued> {
        let Consent { user, ask, nonce, refresh_token } = consent;
        let id_token = match ask.openid {
            true => Some(id_token::issue(shared, (self.version, &ask.resource), &client_id, &user, nonce.as_deref())?),
            false => None,
        };
        let issued = issue(shared, client_id, Some(user), ask)?;
        Ok(Issued { refresh_token, id_token, ..issued })
    }

    /// Begins a sign-in by device code.
    pub(super) fn device_request(&self, shared: &SandboxState) -> Result<Request, Refusal> {
        let tenant = check_tenant(shared, &self.tenant, Grant::DeviceCode)?;
        let client_id = self.parameter("client_id")?.to_lowercase();
        let directory = &shared.directory;
        let is_known = client_id == directory.public_client_id || client_id == directory.confidential_client_id;
        if !is_known && shared.applications.client(&client_id).is_none() {
            return Err(self.named(shared, Refusal::new(700_016)));
        }
        check_audience(shared, tenant, &client_id).map_err(|refusal| self.named(shared, refusal))?;
        let ask = self.ask(shared, Grant::DeviceCode)?;
        Ok(Request { client_id, ask, nonce: None, tenant, version: self.version })
    }

    fn check_client(&self, shared: &SandboxState, grant: Grant) -> Result<String, Refusal> {
        let client_id = self.parameter("client_id")?.to_lowercase();
        let given = |name| self.form.get(name).filter(|value| !value.is_empty());
        let (secret, assertion) = (given("client_secret"), given("client_assertion"));
        let directory = &shared.directory;
        let registered = shared.applications.client(&client_id);
        let confidential = match &registered {
            Some(Client::Confidential(registration)) => Some(&**registration),
            Some(Client::Public) => None,
            None => (client_id == directory.confidential_client_id).then_some(&directory.registration),
        };
        if let Some(registration) = confidential {
            match (secret, assertion) {
                (None, None) => return Err(Refusal::new(7_000_218)),
                (Some(secret), None) => registration.judge_secret(secret).map_err(Refusal::new)?,
                (None, Some(assertion)) if given("client_assertion_type").is_some_and(|kind| kind == JWT_BEARER) => {
                    let now = shared.time.unix_seconds();
                    let presented = PresentedAssertion { assertion, client_id: &client_id, url: &self.url, now };
                    registration.judge_assertion(&presented).map_err(Refusal::new)?;
                }
                (None, Some(_)) => return Err(Refusal::missing("client_assertion_type")),
                (Some(_), Some(_)) => return Err(Refusal::new(70002)),
            }
        } else if registered.is_some() || client_id == directory.public_client_id {
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

    fn ask(&self, shared: &SandboxState, grant: Grant) -> Result<RequestedScope, Refusal> {
        let mut ask = RequestedScope::read(self.version, &self.form, grant)?;
        let client_id = self.parameter("client_id")?.to_lowercase();
        ask.keep_consented(shared.consent(&client_id, &ask.resource, grant.is_of_user()).as_deref());
        // An application gets a token without any permission, and learns it later.
        if ask.permissions.is_empty() && grant.is_of_user() {
            return Err(Refusal::new(65001));
        }
        Ok(ask)
    }

    fn check_user(&self, shared: &SandboxState) -> Result<String, Refusal> {
        let user = self.parameter("username")?.to_lowercase();
        let password = self.parameter("password")?;
        // No tenant has the passwords of personal accounts.
        if shared.directory.is_personal(&user) {
            return Err(Refusal::new(50034));
        }
        match shared.directory.check_password(&user, password, shared.time.now()) {
            PasswordVerdict::Right => Ok(user),
            PasswordVerdict::Wrong => Err(Refusal::new(50126)),
            PasswordVerdict::Locked => Err(Refusal::new(50053)),
            PasswordVerdict::UnknownUser => Err(Refusal::new(50034)),
        }
    }
}

fn issue(
    shared: &SandboxState,
    client_id: String,
    user: Option<String>,
    mut ask: RequestedScope,
) -> std::io::Result<Issued> {
    ask.keep_consented(shared.consent(&client_id, &ask.resource, user.is_some()).as_deref());
    let lifetime = shared.token_lifetime();
    let now = shared.time.unix();
    let expires_at = now.saturating_add(lifetime);
    let scope = user.is_some().then(|| ask.permissions.join(" "));
    let is_personal = user.as_deref().is_some_and(|user| shared.directory.is_personal(user));
    let claims = Claims {
        audience: ask.resource.clone(),
        issuer: issuer(&ask.resource, &shared.directory.tenant_id),
        object_id: shared.directory.object_id(user.as_deref().unwrap_or(&client_id)),
        tenant_id: shared.directory.tenant_id.clone(),
        application_name: APPLICATION_NAME.to_owned(),
        kind: if user.is_none() { "app" } else { "user" }.to_owned(),
        client_id,
        roles: if user.is_none() { ask.permissions.clone() } else { Vec::new() },
        user,
        scope: scope.clone(),
        issued_at: now.as_secs(),
        expires_at: expires_at.as_secs(),
        expires_at_millis: u64::try_from(expires_at.as_millis()).unwrap_or(u64::MAX),
    };
    let token = if is_personal { shared.mint.issue_opaque(&claims) } else { shared.mint.issue(&claims) }?;
    let resource = &ask.resource;
    let scope = scope.map(|scope| scope.split(' ').map(|s| format!("{resource}/{s}")).collect::<Vec<_>>().join(" "));
    Ok(Issued { token, scope, resource: ask.resource, lifetime, refresh_token: None, id_token: None })
}

/// A token for `user` without a request: everything that was consented for Exchange Online.
pub(crate) fn issue_for_user(shared: &SandboxState, user: &str) -> std::io::Result<AccessToken> {
    let client_id = shared.directory.public_client_id.clone();
    issue(shared, client_id, Some(user.to_lowercase()), everything_of_exchange()).map(|issued| issued.token)
}

/// A Graph token without a request; without a user, it is for the application with a secret.
pub(crate) fn issue_for_graph(shared: &SandboxState, user: Option<&str>) -> std::io::Result<AccessToken> {
    let (client_id, permissions) = match user {
        Some(_) => (&shared.directory.public_client_id, &DELEGATED_GRAPH[..]),
        None => (&shared.directory.confidential_client_id, &APPLICATION_GRAPH[..]),
    };
    let permissions = permissions.iter().map(|&permission| permission.to_owned()).collect();
    let ask =
        RequestedScope { resource: GRAPH_RESOURCES[0].to_owned(), permissions, offline_access: false, openid: false };
    issue(shared, client_id.clone(), user.map(str::to_lowercase), ask).map(|issued| issued.token)
}

/// A Graph token for somebody who has signed in with a tool for administrators.
pub(crate) fn issue_for_administrator(shared: &SandboxState, permissions: &[&str]) -> std::io::Result<AccessToken> {
    let now = shared.time.unix();
    let expires_at = now.saturating_add(shared.token_lifetime());
    shared.mint.issue(&Claims {
        audience: GRAPH_RESOURCES[0].to_owned(),
        issuer: format!("https://sts.windows.net/{}/", shared.directory.tenant_id),
        client_id: "04b07795-8ddb-461a-bbee-02f9e1bf7b46".to_owned(),
        user: Some(format!("admin@{}", shared.directory.tenant_domain)),
        scope: Some(permissions.join(" ")),
        roles: Vec::new(),
        issued_at: now.as_secs(),
        expires_at: expires_at.as_secs(),
        object_id: shared.directory.object_id("admin"),
        tenant_id: shared.directory.tenant_id.clone(),
        application_name: "Microsoft Azure CLI".to_owned(),
        kind: "user".to_owned(),
        expires_at_millis: u64::try_from(expires_at.as_millis()).unwrap_or(u64::MAX),
    })
}

/// A token of the application with a secret without a request: everything that was consented for
/// Exchange Online.
pub(crate) fn issue_for_app(shared: &SandboxState) -> std::io::Result<AccessToken> {
    let permissions = APPLICATION.iter().map(|&permission| permission.to_owned()).collect();
    let client_id = shared.directory.confidential_client_id.clone();
    issue(shared, client_id, None, RequestedScope { permissions, ..everything_of_exchange() })
        .map(|issued| issued.token)
}

/// A refresh token for `user` without a sign-in: everything of Exchange Online was consented to.
pub(crate) fn sign_in_user(shared: &SandboxState, user: &str) -> std::io::Result<Option<String>> {
    let ask = RequestedScope { offline_access: true, ..everything_of_exchange() };
    let is_personal = shared.directory.is_personal(user);
    let tenant = if is_personal { Tenant::Consumers } else { Tenant::Own };
    let client_id = shared.directory.public_client_id.clone();
    let request = Request { client_id, ask, nonce: None, tenant, version: Version::V2 };
    shared.sign_ins.issue(request, Person { address: user.to_lowercase(), is_personal }, shared.time.now())
}

fn everything_of_exchange() -> RequestedScope {
    let permissions = DELEGATED.iter().map(|&permission| permission.to_owned()).collect();
    RequestedScope { resource: EXCHANGE_RESOURCES[0].to_owned(), permissions, offline_access: false, openid: false }
}

/// A token for a managed identity: everything that was consented for `resource`.
pub(crate) fn issue_for_identity(
    shared: &SandboxState,
    client_id: &str,
    resource: &str,
) -> Result<Issued, TokenFailure> {
    let ask = RequestedScope::everything(resource, Grant::ClientCredentials)?;
    issue(shared, client_id.to_owned(), None, ask).map_err(TokenFailure::Broken)
}
