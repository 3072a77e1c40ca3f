//! Sign-in by authorization code with PKCE (RFC 6749 §4.1, RFC 7636, RFC 8252): builds the address
//! that a browser opens, and reads the redirect. No sockets.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::{constant_time, digest, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use url::{Url, form_urlencoded};

use crate::grant::{GrantRequest, Redemption};
use crate::response::OauthError;
use crate::server;
use crate::sign_in::signed_in::{Purpose, SignInError, SignedIn};
use crate::source::TokenSource;
use gatepost_core::account::MailAddress;
use gatepost_core::clock::Clock;
use gatepost_core::secret::{AuthorizationCode, CodeVerifier};

/// The longest redirect that is read, in octets. Entra's have about 2 KiB.
pub const REDIRECT_OCTETS: usize = 16 * 1024;

/// A sign-in that has begun. It can redeem one code, because redeeming consumes it.
pub struct CodeRequest {
    purpose: Purpose,
    authorize_url: Url,
    redirect_uri: String,
    state: String,
    nonce: String,
    verifier: CodeVerifier,
}

/// What the browser brought back.
#[derive(Debug)]
pub enum Redirect {
    /// A code to be redeemed.
    Code {
        /// The code.
        code: AuthorizationCode,
        /// The issuer that the redirect names (RFC 9207).
        issuer: Option<String>,
    },
    /// Entra refused, or the person declined.
    Refused(OauthError),
}

/// Why a redirect does not belong to this sign-in. The sign-in can still be finished afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOurs {
    /// Neither a code nor an error.
    #[error("it holds neither `code=` nor `error=`")]
    Nothing,
    /// Another `state`, or none.
    #[error("it belongs to another sign-in")]
    OtherState,
    /// RFC 6749 §3.1: no parameter may come twice.
    #[error("it holds a parameter twice")]
    Twice,
    /// Over [`REDIRECT_OCTETS`].
    #[error("it is longer than 16 KiB")]
    TooLong,
}

impl CodeRequest {
    /// Begins a sign-in that ends at `redirect_uri`: `state`, `nonce` and code verifier of 256
    /// random bits each.
    ///
    /// # Errors
    /// [`SignInError::NoRandomness`], [`SignInError::NoBrowser`].
    pub fn new(purpose: Purpose, redirect_uri: String) -> Result<Self, SignInError> {
        let authorize_url = server::of(&purpose.application).authorize_url(&purpose.tenant);
        let authorize_url = authorize_url.ok_or(SignInError::NoBrowser)?;
        let (state, nonce, verifier) = (random()?, random()?, CodeVerifier::new(random()?));
        Ok(Self { authorize_url, purpose, redirect_uri, state, nonce, verifier })
    }

    /// The address that a browser opens; `hint` fills in the user name. Somebody who reads it over
    /// the person's shoulder gains nothing, because its code is worthless without the verifier.
    pub fn address(&self, hint: &MailAddress) -> Url {
        let Purpose { application, scope, .. } = &self.purpose;
        let server = server::of(application);
        let mut url = self.authorize_url.clone();
        let mut query = url.query_pairs_mut();
        query
            .append_pair("client_id", &application.client_id)
            .append_pair("response_type", "code")
            .append_pair("redirect_uri", &self.redirect_uri)
            .extend_pairs(server.sign_in_scope(scope))
            .append_pair("state", &self.state)
            .append_pair("nonce", &self.nonce);
        if server.takes_challenge() {
            query
                .append_pair("code_challenge", &challenge(&self.verifier))
                .append_pair("code_challenge_method", "S256");
        }
        query.append_pair("login_hint", hint.as_str());
        drop(query);
        url
    }

    /// Reads the query of the redirect: what follows the `?`, at most [`REDIRECT_OCTETS`].
    ///
    /// # Errors
    /// [`NotOurs`].
    pub fn read(&self, query: &str) -> Result<Redirect, NotOurs> {
        if query.len() > REDIRECT_OCTETS {
            return Err(NotOurs::TooLong);
        }
        let [mut state, mut code, mut error, mut description, mut issuer] = [const { None }; 5];
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let place = match &*name {
                "state" => &mut state,
                "code" => &mut code,
                "error" => &mut error,
                "error_description" => &mut description,
                "iss" => &mut issuer,
                _ => continue,
            };
            if place.replace(value.into_owned()).is_some() {
                return Err(NotOurs::Twice);
            }
        }
        if code.is_none() && error.is_none() {
            return Err(NotOurs::Nothing);
        }
        let ours =
            |state: String| constant_time::verify_slices_are_equal(state.as_bytes(), self.state.as_bytes()).is_ok();
        if !state.is_some_and(ours) {
            return Err(NotOurs::OtherState);
        }
        match (code, error) {
            (_, Some(error)) => {
                let dialect = server::of(&self.purpose.application).dialect();
                Ok(Redirect::Refused(OauthError::of_redirect(&error, description.as_deref(), dialect)))
            }
            (Some(code), None) => Ok(Redirect::Code { code: AuthorizationCode::new(code), issuer }),
            (None, None) => Err(NotOurs::Nothing),
        }
    }

    /// Finishes the sign-in: redeems the code, once, and reads who signed in.
    ///
    /// # Errors
    /// [`SignInError`].
    pub async fn finish(
        self,
        redirect: Redirect,
        source: &TokenSource,
        clock: &Clock,
    ) -> Result<SignedIn, SignInError> {
        let (code, issuer) = match redirect {
            Redirect::Code { code, issuer } => (code, issuer),
            Redirect::Refused(error) => return Err(SignInError::Refused(error)),
        };
        let Self { purpose, redirect_uri, nonce, verifier, .. } = self;
        let grant = GrantRequest::AuthorizationCode(Arc::new(Redemption { code, redirect_uri, verifier }));
        let ask = purpose.ask(grant);
        let issued = source.issue(&ask, true).await?;
        SignedIn::of(issued, &ask, Some(&nonce), issuer.as_deref(), clock.unix_time())
    }
}

impl fmt::Debug for CodeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodeRequest").field("redirect_uri", &self.redirect_uri).finish_non_exhaustive()
    }
}

/// The query in text that a person copied from the address bar: the whole address, or only what
/// follows the `?`.
pub fn pasted_query(text: &str) -> &str {
    let text = text.trim();
    let query = text.split_once('?').map_or(text, |(_, query)| query);
    query.split_once('#').map_or(query, |(query, _)| query)
}

/// RFC 7636 §4.2: the SHA-256 of the verifier.
fn challenge(verifier: &CodeVerifier) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.expose().as_bytes()))
}

/// 256 random bits as 43 characters, which RFC 7636 §4.1 recommends for the verifier.
fn random() -> Result<String, SignInError> {
    let mut octets = [0_u8; 32];
    rand::fill(&mut octets).map_err(|_| SignInError::NoRandomness)?;
    Ok(URL_SAFE_NO_PAD.encode(octets))
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::HashMap;

    use super::*;
    use gatepost_config::{Application, Cloud};

    pub(crate) fn request() -> CodeRequest {
        let application = Arc::new(Application {
            issuer: gatepost_config::Issuer::Entra(gatepost_config::Entra {
                authority: Url::parse("https://login.example/").unwrap(),
                tenant: "contoso.example".into(),
                cloud: Cloud::Worldwide,
            }),
            client_id: "app".into(),
            credential: Arc::default(),
        });
        let scope = "https://outlook.office.com/SMTP.Send".into();
        let purpose = Purpose { application, tenant: "contoso.example".into(), scope };
        CodeRequest::new(purpose, "http://localhost:1234".into()).unwrap()
    }

    pub(crate) fn parameters(request: &CodeRequest) -> HashMap<String, String> {
        request.address(&MailAddress::parse("Anna@contoso.example").unwrap()).query_pairs().into_owned().collect()
    }

    #[test]
    fn the_challenge_is_that_of_rfc_7636_appendix_b() {
        let verifier = CodeVerifier::new("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".into());
        assert_eq!(challenge(&verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[test]
    fn the_address_asks_for_a_code_with_pkce_and_no_two_are_alike() {
        let (one, other) = (request(), request());
        let address = one.address(&MailAddress::parse("anna@contoso.example").unwrap());
        assert_eq!(address.path(), "/contoso.example/oauth2/v2.0/authorize");
        let (sent, others) = (parameters(&one), parameters(&other));
        for (name, value) in [
            ("client_id", "app"),
            ("response_type", "code"),
            ("response_mode", "query"),
            ("redirect_uri", "http://localhost:1234"),
            ("scope", "https://outlook.office.com/SMTP.Send offline_access openid profile"),
            ("code_challenge_method", "S256"),
            ("login_hint", "anna@contoso.example"),
        ] {
            assert_eq!(sent[name], value, "{name}");
        }
        for name in ["state", "nonce", "code_challenge"] {
            assert_eq!(sent[name].len(), 43, "{name}");
            assert_ne!(sent[name], others[name], "{name}");
        }
        assert!(!address.as_str().contains(one.verifier.expose()));
        assert!(!format!("{one:?}").contains(one.verifier.expose()));
    }

    #[test]
    fn a_redirect_is_taken_with_its_own_state_only() {
        let request = request();
        let state = request.state.clone();
        let read = |query: String| match request.read(&query) {
            Ok(Redirect::Code { code, issuer }) => Ok((code.expose().to_owned(), issuer)),
            Ok(Redirect::Refused(error)) => Ok((format!("{} {:?}", error.error, error.code), None)),
            Err(problem) => Err(problem),
        };
        assert_eq!(read(format!("code=0.A%2Bb&state={state}&session_state=x")), Ok(("0.A+b".into(), None)));
        assert_eq!(
            read(format!("state={state}&iss=https%3A%2F%2Fi&code=c")),
            Ok(("c".into(), Some("https://i".into())))
        );
        assert_eq!(
            read(format!("error=access_denied&error_description=AADSTS65004%3A+no.&state={state}")),
            Ok(("access_denied Some(65004)".into(), None))
        );
        for (query, problem) in [
            (String::new(), NotOurs::Nothing),
            (format!("state={state}"), NotOurs::Nothing),
            ("code=c".into(), NotOurs::OtherState),
            ("code=c&state=".into(), NotOurs::OtherState),
            (format!("code=c&state={}", self::request().state), NotOurs::OtherState),
            (format!("code=c&state={}", &state[1..]), NotOurs::OtherState),
            (format!("error=access_denied&state={state}x"), NotOurs::OtherState),
            (format!("code=c&code=d&state={state}"), NotOurs::Twice),
            (format!("code=c&state={state}&state=x"), NotOurs::Twice),
            (format!("code={}&state={state}", "c".repeat(REDIRECT_OCTETS)), NotOurs::TooLong),
        ] {
            assert_eq!(read(query.chars().take(20_000).collect()), Err(problem), "{}", &query[..query.len().min(60)]);
        }
    }

    #[test]
    fn what_a_person_pastes_is_found() {
        for text in [
            "http://localhost/?code=c&state=s",
            "  http://localhost/?code=c&state=s#fragment\r\n",
            "localhost?code=c&state=s",
            "code=c&state=s",
        ] {
            assert_eq!(pasted_query(text), "code=c&state=s", "{text}");
        }
        assert_eq!(pasted_query(""), "");
    }

    #[test]
    fn a_redirect_of_the_greatest_length_is_read_and_a_longer_one_is_not() {
        let request = request();
        let start = format!("state={}&code=", request.state);
        let of_length = |length: usize| request.read(&format!("{start}{}", "c".repeat(length - start.len())));
        assert!(matches!(of_length(REDIRECT_OCTETS), Ok(Redirect::Code { .. })));
        assert_eq!(of_length(REDIRECT_OCTETS + 1).unwrap_err(), NotOurs::TooLong);
    }
}
