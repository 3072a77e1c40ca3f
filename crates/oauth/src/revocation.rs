//! Revokes the refresh token of a sign-in (RFC 7009), so that a copy of it opens nothing any more.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::fetch_error::FetchError;
use crate::grant::{self, TokenRequest};
use crate::response;
use crate::source::{TokenSource, Turn};
use gatepost_config::Application;
use gatepost_core::secret::RefreshToken;

/// The name of the request in metrics.
const REVOCATION: &str = "revocation";

/// How long to wait for a server that failed and gives no time, before the second try.
const PAUSE: Duration = Duration::from_secs(1);

impl TokenSource {
    /// Revokes a refresh token of the application. A token that the server does not know counts as
    /// revoked (RFC 7009 §2.2). After a failure that may pass, it waits as the server asks and tries
    /// once more (§2.2.1), all within `limits.token_total`.
    ///
    /// # Errors
    /// [`FetchError`]; the token may still be valid.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the token is revoked. It can be revoked again.
    pub async fn revoke(&self, application: &Arc<Application>, token: &RefreshToken) -> Result<(), FetchError> {
        let turn = Turn { probe: false, deadline: Instant::now() + self.total() };
        let ask = TokenRequest::of_application(application, "", "");
        match self.revoke_once(&ask, token, turn).await {
            Err(error) if error.may_pass() => {
                let wait = self.hold(&ask).err().map_or(PAUSE, |held| held.wait);
                if Instant::now() + wait >= turn.deadline {
                    return Err(error);
                }
                sleep(wait).await;
                self.revoke_once(&ask, token, turn).await
            }
            revoked => revoked,
        }
    }

    async fn revoke_once(&self, ask: &TokenRequest, token: &RefreshToken, turn: Turn) -> Result<(), FetchError> {
        let mut choosing = self.choose(ask);
        while let Some(choice) = choosing.next() {
            let result = match self.proof(ask, choice, turn.deadline).await {
                Ok(proof) => {
                    let request = grant::revocation_request(&ask.application, token, &proof);
                    let request = request.ok_or(FetchError::NoRevocation)?;
                    self.attempt(&request, REVOCATION, ask, turn, true, response::parse_revocation).await
                }
                Err(error) => Err(error),
            };
            if let Some(result) = choosing.settle(result) {
                return result.map(|(_, revoked)| revoked);
            }
        }
        Err(choosing.failure())
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use url::Url;

    use super::*;
    use crate::endpoint::TokenEndpoint;
    use crate::fake::{AUTHORIZATION, FakeEndpoint, Fields, PATH, Reply, provider_application};
    use gatepost_config::{ClientAuthentication, Cloud, Entra, Issuer, Limits};
    use gatepost_core::clock::Clock;

    async fn revoke(endpoint: &Arc<FakeEndpoint>, application: &Arc<Application>) -> Result<(), FetchError> {
        let endpoint = Arc::clone(endpoint) as Arc<dyn TokenEndpoint>;
        let source = TokenSource::new(endpoint, Clock::manual(), &Limits::default());
        source.revoke(application, &RefreshToken::new("r &1".to_owned())).await
    }

    fn form(pairs: &[(&str, &str)]) -> Fields {
        pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_token_goes_to_the_revocation_endpoint_with_the_proof_of_the_application() {
        let token = [(PATH, "/revoke"), ("token", "r &1"), ("token_type_hint", "refresh_token"), ("client_id", "app")];
        let basic = format!("Basic {}", STANDARD.encode("app:hush"));
        for (authentication, secrets, further) in [
            (ClientAuthentication::Post, &[][..], None),
            (ClientAuthentication::Post, &["hush"], Some(("client_secret", "hush"))),
            (ClientAuthentication::Basic, &["hush"], Some((AUTHORIZATION, basic.as_str()))),
        ] {
            let endpoint = FakeEndpoint::new(|_| Reply::Raw(200, None, ""));
            assert_eq!(revoke(&endpoint, &provider_application(authentication, secrets)).await, Ok(()));
            let expected: Vec<_> = token.into_iter().chain(further).collect();
            assert_eq!(endpoint.asked(), [form(&expected)]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_answer_says_whether_the_token_may_still_be_valid() {
        for (status, body, is_revoked) in [
            (200, "", true),
            (200, "{}", true),
            (200, "OK", true),
            (200, "<html>the terms of use", false),
            (200, r#"{"error":"invalid_client"}"#, false),
            (302, "", false),
            (400, r#"{"error":"invalid_token","error_description":"Token expired or revoked"}"#, true),
            (400, r#"{"error":"unsupported_token_type"}"#, false),
            (400, r#"{"error":"invalid_request"}"#, false),
            (401, r#"{"error":"invalid_client"}"#, false),
            (403, "<html>blocked", false),
            (404, "", false),
            (503, "", false),
        ] {
            let endpoint = FakeEndpoint::new(move |_| Reply::Raw(status, None, body));
            let revoked = revoke(&endpoint, &provider_application(ClientAuthentication::Post, &["hush"])).await;
            assert_eq!(revoked.is_ok(), is_revoked, "{status} {body}: {revoked:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_pass_is_tried_once_more_when_the_server_says() {
        let began = Instant::now();
        for (first, waits) in [
            (Reply::Raw(503, Some("7"), ""), Some(7)),
            (Reply::Raw(503, None, ""), Some(1)),
            (Reply::Raw(429, Some("9"), ""), Some(9)),
            // Longer than all tries may take together.
            (Reply::Raw(429, Some("3000"), ""), None),
            (Reply::Unreachable, Some(1)),
        ] {
            let turn = std::sync::atomic::AtomicBool::new(true);
            let reply = first.clone();
            let endpoint = FakeEndpoint::new(move |_| match turn.swap(false, std::sync::atomic::Ordering::Relaxed) {
                true => reply.clone(),
                false => Reply::Raw(200, None, ""),
            });
            let clock = Clock::manual();
            let source =
                TokenSource::new(Arc::clone(&endpoint) as Arc<dyn TokenEndpoint>, clock.clone(), &Limits::default());
            // During the wait the manual clock goes on as tokio's does.
            tokio::spawn(async move {
                sleep(Duration::from_millis(500)).await;
                clock.advance(Duration::from_secs(10));
            });
            let (began, app) = (Instant::now(), provider_application(ClientAuthentication::Post, &[]));
            let revoked = source.revoke(&app, &RefreshToken::new("r".to_owned())).await;
            assert_eq!(revoked.is_ok(), waits.is_some(), "{first:?}: {revoked:?}");
            assert_eq!(began.elapsed().as_secs(), waits.unwrap_or(0), "{first:?}");
            assert_eq!(endpoint.count(), if waits.is_some() { 2 } else { 1 }, "{first:?}");
        }
        let endpoint = FakeEndpoint::new(|_| Reply::Silence);
        assert!(revoke(&endpoint, &provider_application(ClientAuthentication::Post, &[])).await.is_err());
        assert!(began.elapsed() < Duration::from_secs(600), "there is a deadline");
    }

    #[tokio::test(start_paused = true)]
    async fn the_second_secret_serves_where_the_first_is_refused() {
        let endpoint = FakeEndpoint::new(|form| match form["client_secret"].as_str() {
            "new" => Reply::Raw(200, None, ""),
            _ => Reply::Raw(401, None, r#"{"error":"invalid_client"}"#),
        });
        assert_eq!(revoke(&endpoint, &provider_application(ClientAuthentication::Post, &["old", "new"])).await, Ok(()));
        let refused = revoke(&endpoint, &provider_application(ClientAuthentication::Post, &["old", "older"])).await;
        assert!(matches!(&refused, Err(FetchError::Refused(_))), "{refused:?}");
        assert_eq!(endpoint.count(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn entra_takes_no_token_back_and_is_not_asked() {
        let issuer = Issuer::Entra(Entra {
            authority: Url::parse("https://login.example/").unwrap(),
            tenant: "t".into(),
            cloud: Cloud::Worldwide,
        });
        let application = Application { issuer, client_id: "app".into(), credential: Arc::default() };
        let endpoint = FakeEndpoint::new(|_| Reply::Raw(200, None, ""));
        assert_eq!(revoke(&endpoint, &Arc::new(application)).await, Err(FetchError::NoRevocation));
        assert_eq!(endpoint.count(), 0);
    }
}
