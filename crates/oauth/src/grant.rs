//! A token request: its URL, the form body of each grant, and the key under which the token is
//! kept.
//!
//! Grants: resource owner password credentials (RFC 6749 §4.3), client credentials (§4.4),
//! authorization codes with PKCE (§4.1.3, RFC 7636), device codes (RFC 8628), refresh tokens
//! (RFC 6749 §6) and assertions of service accounts (RFC 7523 §2.1). The application proves itself by
//! a secret (RFC 6749 §2.3.1) or an assertion (RFC 7523 §2.2). Requests go to Entra's v2.0 endpoint with
//! `scope`, for 21Vianet to the v1.0 endpoint with `resource`, and to the endpoint of a provider.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use url::Url;
use url::form_urlencoded::{Serializer, byte_serialize};
use zeroize::Zeroizing;

use crate::server;
use crate::token_key;
use gatepost_config::{Application, Cloud};
use gatepost_core::account::MailAddress;
use gatepost_core::secret::{
    AuthorizationCode, ClientAssertion, ClientSecret, CodeVerifier, DeviceCode, Password, RefreshToken,
};
use gatepost_core::tuple_key::TupleKey;

/// One token to ask for.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    /// The Entra application that asks.
    pub application: Arc<Application>,
    /// The tenant that is asked: [`gatepost_config::Tenant::of`] the login.
    pub tenant: Arc<str>,
    /// Scope (v2.0) or resource (v1.0).
    pub scope: Arc<str>,
    /// The grant, with its password, code or token.
    pub grant: GrantRequest,
}

/// The grant of a [`TokenRequest`], with what it needs.
#[derive(Clone, Debug)]
pub enum GrantRequest {
    /// ROPC: the user's own name and password.
    Password {
        /// The user principal name.
        username: MailAddress,
        /// As the mail client presented it.
        password: Arc<Password>,
    },
    /// The application's own access, without a user.
    ClientCredentials,
    /// A service account that acts for a mailbox. Its assertion is the grant, and the proof of the
    /// application as well.
    ServiceAccount {
        /// The mailbox that the token opens, and no other.
        mailbox: MailAddress,
    },
    /// The code that a person's browser brought back from a sign-in.
    AuthorizationCode(Arc<Redemption>),
    /// A sign-in that the person finishes on another device.
    DeviceCode(Arc<DeviceCode>),
    /// The refresh token of a person's earlier sign-in.
    RefreshToken {
        /// The address whose mail client needs the token; not part of the request.
        login: MailAddress,
        /// The newest refresh token.
        refresh_token: Arc<RefreshToken>,
    },
}

/// An authorization code with what must accompany it (RFC 6749 §4.1.3, RFC 7636 §4.5).
#[derive(Debug)]
pub struct Redemption {
    /// The code; it can be redeemed once.
    pub code: AuthorizationCode,
    /// Exactly as in the authorization request.
    pub redirect_uri: String,
    /// The verifier whose challenge was in the authorization request.
    pub verifier: CodeVerifier,
}

/// What proves the application in one request.
#[derive(Debug)]
pub enum ClientProof {
    /// Nothing: a public client.
    None,
    /// Its secret.
    Secret(Arc<ClientSecret>),
    /// A JWT, signed by the application or by an issuer that it trusts.
    Assertion(ClientAssertion),
    /// A JWT that a service account has signed for one mailbox, with [`GrantRequest::ServiceAccount`].
    ServiceAccount(ClientAssertion),
}

impl ClientProof {
    /// The parameter of a form that carries it.
    fn parameter(&self) -> Option<(&'static str, &str)> {
        match self {
            Self::None => None,
            Self::Secret(secret) => Some(("client_secret", secret.expose())),
            Self::Assertion(assertion) => Some(("client_assertion", assertion.expose())),
            Self::ServiceAccount(assertion) => Some(("assertion", assertion.expose())),
        }
    }
}

/// RFC 7523 §2.1.
const JWT_BEARER_GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// RFC 7523 §2.2.
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

impl GrantRequest {
    /// The `grant_type` of RFC 6749 §4, RFC 7523 §2.1 and RFC 8628 §3.4.
    pub fn grant_type(&self) -> &'static str {
        match self {
            Self::Password { .. } => "password",
            Self::ClientCredentials => "client_credentials",
            Self::ServiceAccount { .. } => JWT_BEARER_GRANT,
            Self::AuthorizationCode(_) => "authorization_code",
            Self::DeviceCode(_) => "urn:ietf:params:oauth:grant-type:device_code",
            Self::RefreshToken { .. } => "refresh_token",
        }
    }

    /// The grant's name for people and metrics: the configuration's, or the closest one.
    pub fn name(&self) -> &'static str {
        match self {
            Self::DeviceCode(_) => "device_code",
            Self::ServiceAccount { .. } => "client_credentials",
            _ => self.grant_type(),
        }
    }

    /// Whether the same request may be sent again when its answer was lost. A code is good once:
    /// redeemed twice, it is refused, and the tokens that it gave are revoked (RFC 6749 §4.1.2).
    pub fn is_repeatable(&self) -> bool {
        !matches!(self, Self::AuthorizationCode(_))
    }

    /// Whether the grant is one of a native application: with a native redirect address, a device code,
    /// or a refresh token that came with either. (A refresh token does not tell what it came with.)
    pub fn is_native(&self) -> bool {
        match self {
            Self::AuthorizationCode(redemption) => redemption.redirect_uri.starts_with("http://localhost"),
            Self::DeviceCode(_) | Self::RefreshToken { .. } => true,
            Self::Password { .. } | Self::ClientCredentials | Self::ServiceAccount { .. } => false,
        }
    }

    /// Whether the grant belongs to a person's sign-in, a new or an earlier one.
    fn is_sign_in(&self) -> bool {
        matches!(self, Self::AuthorizationCode(_) | Self::DeviceCode(_) | Self::RefreshToken { .. })
    }

    /// Length of the secrets in the form, of which no copies may stay in memory.
    fn secret_octets(&self) -> usize {
        match self {
            Self::Password { password, .. } => password.expose().len(),
            Self::ClientCredentials | Self::ServiceAccount { .. } => 0,
            Self::AuthorizationCode(redemption) => {
                redemption.code.expose().len() + redemption.verifier.expose().len() + redemption.redirect_uri.len()
            }
            Self::DeviceCode(device_code) => device_code.expose().len(),
            Self::RefreshToken { refresh_token, .. } => refresh_token.expose().len(),
        }
    }
}

/// The scope (v1.0: resource) that gives access to IMAP, POP3 and SMTP when none is configured.
pub fn default_scope(cloud: Cloud, password_grant: bool) -> &'static str {
    let preset = cloud.preset();
    if password_grant { preset.user_scope } else { preset.application_scope }
}

/// A request ready to be posted as `application/x-www-form-urlencoded`.
#[derive(Debug)]
pub struct TokenHttpRequest {
    /// The token endpoint of the tenant.
    pub url: Url,
    /// The form. It holds passwords and secrets.
    pub form: Form,
    /// The `Authorization` header, where the server takes the application's secret there.
    pub authorization: Option<Form>,
}

/// An encoded form that cannot be printed.
pub struct Form(SecretString);

impl Form {
    /// The encoded form itself. Never format it, log it or put it into an error.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl std::fmt::Debug for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Form(…)")
    }
}

impl TokenRequest {
    /// A request of the application for itself, which stands for it where it proves itself at another
    /// endpoint than the one for tokens.
    pub(super) fn of_application(application: &Arc<Application>, tenant: &str, scope: &str) -> Self {
        let (application, grant) = (Arc::clone(application), GrantRequest::ClientCredentials);
        Self { application, tenant: tenant.into(), scope: scope.into(), grant }
    }

    /// Builds the request for this token, with the proof of the application.
    pub fn request(&self, proof: &ClientProof) -> TokenHttpRequest {
        let (app, server) = (&self.application, server::of(&self.application));
        // Reserves room for everything at once, because a buffer that grows leaves copies of the
        // password behind.
        let secrets = self.grant.secret_octets() + proof.parameter().map_or(0, |(_, secret)| secret.len());
        let mut form = Serializer::new(String::with_capacity(2048 + 3 * secrets));
        let (device_grant, device_code_key) = server.device_grant();
        let is_device = matches!(self.grant, GrantRequest::DeviceCode(_));
        form.append_pair("grant_type", if is_device { device_grant } else { self.grant.grant_type() });
        // An assertion says who asks, and for which scope.
        if !matches!(self.grant, GrantRequest::ServiceAccount { .. }) {
            form.append_pair("client_id", &app.client_id);
            form.extend_pairs(server.token_scope(self.grant.is_sign_in(), &self.scope));
        }
        match &self.grant {
            GrantRequest::Password { username, password } => {
                form.append_pair("username", username.as_str());
                form.append_pair("password", password.expose());
            }
            GrantRequest::ClientCredentials | GrantRequest::ServiceAccount { .. } => {}
            GrantRequest::AuthorizationCode(redemption) => {
                form.append_pair("code", redemption.code.expose());
                form.append_pair("redirect_uri", &redemption.redirect_uri);
                if server.takes_challenge() {
                    form.append_pair("code_verifier", redemption.verifier.expose());
                }
            }
            GrantRequest::DeviceCode(device_code) => {
                form.append_pair(device_code_key, device_code.expose());
            }
            GrantRequest::RefreshToken { refresh_token, .. } => {
                form.append_pair("refresh_token", refresh_token.expose());
            }
        }
        let authorization = authenticate(&mut form, app, proof);
        TokenHttpRequest { url: self.token_url(), form: Form(SecretString::from(form.finish())), authorization }
    }

    /// The token endpoint of the tenant: the URL of the request, and the audience of a client
    /// assertion.
    pub fn token_url(&self) -> Url {
        server::of(&self.application).token_url(&self.tenant)
    }

    /// Scheme, host and port of the token endpoint. The circuit breaker and the clock skew are kept
    /// for each authority.
    pub fn authority(&self) -> String {
        self.application.issuer.authority().origin().ascii_serialization()
    }

    /// The key under which the token is kept. It holds everything that distinguishes this token
    /// from others.
    pub fn key(&self) -> TupleKey {
        match &self.grant {
            GrantRequest::Password { username, .. } => {
                token_key::of_user(&self.application, &self.tenant, &self.scope, username)
            }
            GrantRequest::ClientCredentials => token_key::of_application(&self.application, &self.tenant, &self.scope),
            GrantRequest::ServiceAccount { mailbox } => {
                token_key::of_mailbox(&self.application, &self.tenant, &self.scope, mailbox)
            }
            GrantRequest::RefreshToken { login, .. } => {
                token_key::of_sign_in(&self.application, &self.tenant, &self.scope, login)
            }
            // The owner of that token is known only afterwards.
            GrantRequest::AuthorizationCode(_) | GrantRequest::DeviceCode(_) => {
                token_key::of(&self.application, &self.tenant, &self.scope, self.grant.grant_type(), "")
            }
        }
    }

    /// What a `Retry-After` applies to.
    pub fn throttle_key(&self) -> TupleKey {
        token_key::of_throttle(&self.application, &self.tenant, &self.scope)
    }
}

/// The request that begins a sign-in by device code (RFC 8628 §3.1); `None` if the server has no such
/// sign-in.
pub fn device_authorization_request(
    application: &Application,
    tenant: &str,
    scope: &str,
    proof: &ClientProof,
) -> Option<TokenHttpRequest> {
    let server = server::of(application);
    let url = server.device_url(tenant)?;
    // One that grows leaves copies of the secret behind.
    let secret = proof.parameter().map_or(0, |(_, secret)| secret.len());
    let mut form = Serializer::new(String::with_capacity(2048 + 3 * (scope.len() + secret)));
    form.append_pair("client_id", &application.client_id);
    form.extend_pairs(server.sign_in_scope(scope));
    let authorization = authenticate(&mut form, application, proof);
    Some(TokenHttpRequest { url, form: Form(SecretString::from(form.finish())), authorization })
}

/// The request that revokes a refresh token (RFC 7009 §2.1); `None` if the server takes none back.
pub fn revocation_request(
    application: &Application,
    refresh_token: &RefreshToken,
    proof: &ClientProof,
) -> Option<TokenHttpRequest> {
    let url = server::of(application).revoke_url()?;
    // One that grows leaves copies of the secrets behind.
    let secret = proof.parameter().map_or(0, |(_, secret)| secret.len());
    let mut form = Serializer::new(String::with_capacity(2048 + 3 * (refresh_token.expose().len() + secret)));
    form.append_pair("token", refresh_token.expose());
    form.append_pair("token_type_hint", "refresh_token");
    form.append_pair("client_id", &application.client_id);
    let authorization = authenticate(&mut form, application, proof);
    Some(TokenHttpRequest { url, form: Form(SecretString::from(form.finish())), authorization })
}

/// Adds the proof of the application to a form, or returns it as the `Authorization` header.
fn authenticate(form: &mut Serializer<'_, String>, application: &Application, proof: &ClientProof) -> Option<Form> {
    let (key, secret) = proof.parameter()?;
    if key == "client_secret" && server::of(application).takes_basic() {
        return Some(basic(&application.client_id, secret));
    }
    form.append_pair(key, secret);
    if key == "client_assertion" {
        form.append_pair("client_assertion_type", JWT_BEARER);
    }
    None
}

/// The `Authorization` header of a client with a secret (RFC 6749 §2.3.1): both parts are
/// form-encoded before they are put together.
fn basic(client_id: &str, secret: &str) -> Form {
    let encoded = |text: &str| Zeroizing::new(byte_serialize(text.as_bytes()).collect::<String>());
    let pair = Zeroizing::new([&encoded(client_id), ":", &encoded(secret)].concat());
    let value = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
    Form(SecretString::from(["Basic ", &value].concat()))
}

#[cfg(test)]
mod tests;
