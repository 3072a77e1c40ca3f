//! What differs between authorization servers: Entra's are in [`crate::entra`], those of other
//! providers in [`crate::provider`]. All other code of this crate is the same for all.

use url::Url;

use crate::response::Dialect;
use crate::sign_in::identity::{Claims, IdTokenProblem, Identity};
use gatepost_config::{Application, Issuer};

/// An authorization server (RFC 6749 §1.1).
pub(crate) trait AuthorizationServer {
    /// The token endpoint. Only Entra has tenants.
    fn token_url(&self, tenant: &str) -> Url;

    /// The authorization endpoint, with the parameters that it needs besides those of RFC 6749.
    /// `None`: it has none.
    fn authorize_url(&self, tenant: &str) -> Option<Url>;

    /// The device authorization endpoint (RFC 8628 §3.1). `None`: it has none.
    fn device_url(&self, tenant: &str) -> Option<Url>;

    /// The revocation endpoint (RFC 7009 §2). `None`: it has none, as Entra.
    fn revoke_url(&self) -> Option<Url> {
        None
    }

    /// The parameters that say what a person consents to.
    fn sign_in_scope(&self, scope: &str) -> Vec<(&'static str, String)>;

    /// Which of the scopes that a person was asked for are not in `granted`, the scope of the answer
    /// (RFC 6749 §3.3, §5.1). None where they cannot be compared: Entra lists those of the resource
    /// in a spelling of its own.
    fn missing_scopes(&self, _asked: &str, _granted: &str) -> Vec<String> {
        Vec::new()
    }

    /// The parameters that say what a token request is for. `is_sign_in`: it belongs to a person's
    /// sign-in, a new or an earlier one.
    fn token_scope(&self, is_sign_in: bool, scope: &str) -> Vec<(&'static str, String)>;

    /// The `grant_type` of a device code, and the parameter that carries it.
    fn device_grant(&self) -> (&'static str, &'static str) {
        ("urn:ietf:params:oauth:grant-type:device_code", "device_code")
    }

    /// Whether the authorization endpoint takes a code challenge (RFC 7636).
    fn takes_challenge(&self) -> bool {
        true
    }

    /// Whether a sign-in of a native application must carry no credential, because the server takes it
    /// as one of a public client.
    fn has_public_clients(&self) -> bool;

    /// Whether a secret goes into an `Authorization` header (RFC 6749 §2.3.1).
    fn takes_basic(&self) -> bool {
        false
    }

    /// How it words its answers.
    fn dialect(&self) -> Dialect;

    /// Whether it says who signed in. If not, its mail server alone decides whose token it is.
    fn has_id_tokens(&self) -> bool {
        true
    }

    /// Reads who signed in. The caller has checked audience, time and nonce.
    fn identity(&self, claims: Claims, tenant: &str) -> Result<Identity, IdTokenProblem>;
}

/// The server that gives tokens to an application.
pub(crate) fn of(application: &Application) -> &dyn AuthorizationServer {
    match &application.issuer {
        Issuer::Entra(entra) => entra as &dyn AuthorizationServer,
        Issuer::Provider(provider) => &**provider as &dyn AuthorizationServer,
    }
}
