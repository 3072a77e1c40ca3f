//! The purpose and the result of a person's sign-in.

use std::sync::Arc;

use crate::fetch_error::FetchError;
use crate::grant::{GrantRequest, TokenRequest};
use crate::response::OauthError;
use crate::server;
use crate::sign_in::id_token::{self, IdTokenProblem, Identity};
use crate::source::Issued;
use gatepost_config::Application;
use gatepost_core::clock::UnixTime;
use gatepost_core::secret::RefreshToken;

/// What a person signs in for.
#[derive(Clone, Debug)]
pub struct Purpose {
    /// The application that is consented to.
    pub application: Arc<Application>,
    /// The tenant in the addresses of the endpoints.
    pub tenant: Arc<str>,
    /// What is consented to: scope (v2.0) or resource (v1.0).
    pub scope: Arc<str>,
}

impl Purpose {
    pub(super) fn ask(self, grant: GrantRequest) -> TokenRequest {
        let Self { application, tenant, scope } = self;
        TokenRequest { application, tenant, scope, grant }
    }
}

/// A finished sign-in. The caller decides whether it was the right person.
#[derive(Debug)]
pub struct SignedIn {
    /// The refresh token, for access tokens from now on.
    pub refresh_token: RefreshToken,
    /// Who it was; `None`: the authorization server does not say, and the mail server decides.
    pub identity: Option<Identity>,
}

/// Why a sign-in failed.
#[derive(Debug)]
pub enum SignInError {
    /// The browser brought back a refusal instead of a code.
    Refused(OauthError),
    /// The token endpoint gave no token.
    Fetch(FetchError),
    /// The person declined.
    Declined,
    /// The sign-in took too long.
    Expired,
    /// The person did not consent to these scopes, or the server grants them to nobody.
    NotGranted(Vec<String>),
    /// Entra gave no refresh token, so the sign-in would end in an hour.
    NoRefreshToken,
    /// The ID token is missing, or does not fit the request.
    IdToken(IdTokenProblem),
    /// The authorization server has no sign-in in a browser on this machine.
    NoBrowser,
    /// The system gave no randomness.
    NoRandomness,
}

impl From<FetchError> for SignInError {
    fn from(error: FetchError) -> Self {
        Self::Fetch(error)
    }
}

impl SignedIn {
    /// Reads the result of a grant. `nonce` is that of the authorization request, `issuer` is the
    /// one that the redirect named (RFC 9207 §2.4).
    pub(super) fn of(
        issued: Issued,
        ask: &TokenRequest,
        nonce: Option<&str>,
        issuer: Option<&str>,
        now: UnixTime,
    ) -> Result<Self, SignInError> {
        let identity = match &issued.id_token {
            // What a server gives of which no issuer is known says nothing.
            _ if !server::of(&ask.application).has_id_tokens() => None,
            None => return Err(SignInError::IdToken(IdTokenProblem::Missing)),
            Some(token) => {
                Some(id_token::read(token, (&ask.application, &ask.tenant), nonce, now).map_err(SignInError::IdToken)?)
            }
        };
        if let (Some(named), Some(identity)) = (issuer, &identity)
            && named != identity.issuer
        {
            return Err(SignInError::IdToken(IdTokenProblem::Issuer));
        }
        let server = server::of(&ask.application);
        let missing =
            issued.scope.as_deref().map_or_else(Vec::new, |granted| server.missing_scopes(&ask.scope, granted));
        if !missing.is_empty() {
            return Err(SignInError::NotGranted(missing));
        }
        let refresh_token = issued.refresh_token.ok_or(SignInError::NoRefreshToken)?;
        Ok(Self { refresh_token, identity })
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::json;

    use super::*;
    use crate::token::Token;
    use crate::tokens::tests::application;
    use gatepost_core::clock::Clock;
    use gatepost_core::secret::{AccessToken, DeviceCode, IdToken};

    const TID: &str = "8b9d6c1e-52a4-4c0f-9d3e-0c6f7a1b2c3d";
    const OID: &str = "11111111-2222-3333-4444-555555555555";

    /// What a grant has brought, with the ID token of Alice.
    fn issued(clock: &Clock, refresh_token: Option<&str>) -> Issued {
        let claims = json!({
            "aud": "app", "exp": clock.unix_time().0 + 600, "tid": TID, "oid": OID,
            "iss": format!("https://login.example/{TID}/v2.0"), "preferred_username": "alice@contoso.example",
        });
        let (now, id_token) = (clock.now(), format!("e30.{}.s", URL_SAFE_NO_PAD.encode(claims.to_string())));
        Issued {
            token: Token { access_token: Arc::new(AccessToken::new("t".into())), requested_at: now, expires_at: now },
            refresh_token: refresh_token.map(|text| RefreshToken::new(text.to_owned())),
            id_token: Some(IdToken::new(id_token)),
            scope: None,
        }
    }

    #[test]
    fn the_issuer_that_the_browser_brought_must_be_that_of_the_id_token() {
        let clock = Clock::manual();
        let ask = Purpose { application: application(), tenant: "contoso.example".into(), scope: "s".into() }
            .ask(GrantRequest::DeviceCode(Arc::new(DeviceCode::new("d".into()))));
        let of = |issuer: Option<&str>, refresh_token| {
            SignedIn::of(issued(&clock, refresh_token), &ask, None, issuer, clock.unix_time())
        };
        let theirs = format!("https://login.example/{TID}/v2.0");
        for issuer in [None, Some(&*theirs)] {
            let signed_in = of(issuer, Some("r")).unwrap();
            assert_eq!(signed_in.refresh_token.expose(), "r");
            assert_eq!(signed_in.identity.unwrap().username(), "alice@contoso.example");
        }
        let other = of(Some("https://login.example/other/v2.0"), Some("r"));
        assert!(matches!(other, Err(SignInError::IdToken(IdTokenProblem::Issuer))), "{other:?}");
        assert!(matches!(of(None, None), Err(SignInError::NoRefreshToken)));
    }
}
