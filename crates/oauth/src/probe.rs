//! Asks Entra whether it knows an application whose tokens need a user, without any user: it begins
//! a sign-in by device code, looks at it once, and drops it.

use std::sync::Arc;

use tokio::time::Instant;

use crate::aadsts::Class;
use crate::fetch_error::FetchError;
use crate::grant::{GrantRequest, TokenRequest};
use crate::source::{TokenSource, Turn};
use gatepost_config::Application;

impl TokenSource {
    /// Checks tenant, client id, scope and the application's credential. An application without a
    /// credential must allow public client flows. Nobody learns the code, so nobody can use it.
    ///
    /// # Errors
    /// [`FetchError`], as for a token request.
    pub async fn probe_application(
        &self,
        application: &Arc<Application>,
        tenant: &str,
        scope: &str,
    ) -> Result<(), FetchError> {
        let (_, begun) = self.authorize_device(application, tenant, scope).await?;
        let ask = TokenRequest {
            application: Arc::clone(application),
            tenant: tenant.into(),
            scope: scope.into(),
            grant: GrantRequest::DeviceCode(Arc::new(begun.device_code)),
        };
        let turn = Turn { probe: false, deadline: Instant::now() + self.total() };
        match self.send(&ask, turn).await {
            Ok(_) => Ok(()),
            // The application was accepted before Entra looked for the person.
            Err(FetchError::Refused(refused)) if refused.class == Class::Polling => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::{Exchange, TokenEndpoint};
    use crate::fake::{FakeEndpoint, PATH, Reply};
    use crate::grant::TokenHttpRequest;
    use crate::tokens::tests::application;
    use gatepost_config::Limits;
    use gatepost_core::clock::Clock;

    /// Answers a moment later.
    struct Slow(Arc<FakeEndpoint>);

    impl TokenEndpoint for Slow {
        fn exchange<'a>(&'a self, request: &'a TokenHttpRequest) -> Exchange<'a> {
            Box::pin(async {
                tokio::task::yield_now().await;
                self.0.exchange(request).await
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_application_is_known_when_entra_waits_for_a_person() {
        const BEGUN: Reply = Reply::Raw(
            200,
            None,
            r#"{"device_code":"d","user_code":"U","verification_uri":"https://login.example/d","expires_in":900}"#,
        );
        const PENDING: Reply = Reply::Raw(400, None, r#"{"error":"authorization_pending"}"#);
        const UNKNOWN: Reply = Reply::Raw(401, None, r#"{"error":"invalid_client","error_codes":[7000218]}"#);
        // What the device endpoint says, what the token endpoint says, and the class of a refusal.
        for (begun, polled, refused) in [
            (BEGUN, PENDING, None),
            (BEGUN, Reply::Rotated(3600), None),
            (BEGUN, UNKNOWN, Some(Class::Administrator)),
            (UNKNOWN, PENDING, Some(Class::Administrator)),
        ] {
            let case = format!("{begun:?} {polled:?}");
            let endpoint =
                FakeEndpoint::new(
                    move |form| {
                        if form[PATH].ends_with("/devicecode") { begun.clone() } else { polled.clone() }
                    },
                );
            let slow = Arc::new(Slow(Arc::clone(&endpoint)));
            let source = TokenSource::new(slow, Clock::manual(), &Limits::default());
            match source.probe_application(&application(), "t", "s").await {
                Ok(()) => assert_eq!(refused, None, "{case}"),
                Err(FetchError::Refused(error)) => assert_eq!(Some(error.class), refused, "{case}"),
                Err(error) => panic!("{case}: {error:?}"),
            }
            assert!(endpoint.count() > 0, "{case}");
        }
    }
}
