//! Sign-in by device code (RFC 8628): polls until the person is done. [`Polling`] is pure;
//! [`finish`] sends the requests.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::fetch_error::FetchError;
use crate::grant::GrantRequest;
use crate::response::DeviceAuthorization;
use crate::sign_in::signed_in::{Purpose, SignInError, SignedIn};
use crate::source::TokenSource;
use gatepost_core::clock::{Clock, Moment};

/// RFC 8628 §3.5: what `slow_down` adds to the interval, for this and all later polls.
const SLOW_DOWN: Duration = Duration::from_secs(5);

/// Upper bound of every wait between two polls, however often the network failed.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// When to poll.
#[derive(Debug)]
pub struct Polling {
    interval: Duration,
    /// Polls in a row that brought no answer.
    unanswered: u32,
    expires_at: Moment,
}

impl Polling {
    /// Creates the schedule of a sign-in whose codes were asked for at `asked_at`.
    pub fn new(authorization: &DeviceAuthorization, asked_at: Moment) -> Self {
        Self { interval: authorization.interval, unanswered: 0, expires_at: asked_at.after(authorization.lifetime) }
    }

    /// When the codes expire.
    pub fn expires_at(&self) -> Moment {
        self.expires_at
    }

    /// How long to wait before the next poll; `None` when the codes expire before.
    pub fn wait(&self, now: Moment) -> Option<Duration> {
        // RFC 8628 §3.5 asks for exponential back-off where no answer comes.
        let wait = self.interval.saturating_mul(1 << self.unanswered.min(6)).min(LONGEST_WAIT.max(self.interval));
        (now.after(wait) < self.expires_at).then_some(wait)
    }

    /// Takes the answer to a poll that brought no token.
    ///
    /// # Errors
    /// When further polls are useless.
    pub fn not_granted(&mut self, error: FetchError) -> Result<(), SignInError> {
        match &error {
            FetchError::Refused(refused) => {
                self.unanswered = 0;
                match refused.error.as_str() {
                    "authorization_pending" => Ok(()),
                    "slow_down" => {
                        self.interval = self.interval.saturating_add(SLOW_DOWN);
                        Ok(())
                    }
                    "expired_token" => Err(SignInError::Expired),
                    "authorization_declined" | "access_denied" => Err(SignInError::Declined),
                    _ => Err(SignInError::Fetch(error)),
                }
            }
            FetchError::Transport(transport) if !transport.fault.may_pass() => Err(SignInError::Fetch(error)),
            _ => {
                self.unanswered = self.unanswered.saturating_add(1);
                Ok(())
            }
        }
    }
}

/// Polls until the person has signed in, or the codes expire.
///
/// # Errors
/// [`SignInError`].
///
/// # Cancel safety
/// Dropping the future ends the polling. A token that is on its way then is lost.
pub async fn finish(
    authorization: DeviceAuthorization,
    asked_at: Moment,
    purpose: Purpose,
    source: &TokenSource,
    clock: &Clock,
) -> Result<SignedIn, SignInError> {
    let mut polling = Polling::new(&authorization, asked_at);
    let ask = purpose.ask(GrantRequest::DeviceCode(Arc::new(authorization.device_code)));
    loop {
        sleep(polling.wait(clock.now()).ok_or(SignInError::Expired)?).await;
        match source.issue(&ask, true).await {
            // There is no nonce in this grant: the device code itself ties the answer to the
            // request.
            Ok(issued) => return SignedIn::of(issued, &ask, None, None, clock.unix_time()),
            Err(error) => polling.not_granted(error)?,
        }
    }
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;
    use crate::aadsts::Class;
    use crate::endpoint::{TransportError, TransportFault};
    use crate::response::OauthError;
    use gatepost_core::secret::DeviceCode;

    fn polling(clock: &Clock) -> Polling {
        let authorization = DeviceAuthorization {
            device_code: DeviceCode::new("d".into()),
            user_code: "U".into(),
            verification_uri: Url::parse("https://login.example/").unwrap(),
            lifetime: Duration::from_secs(900),
            interval: Duration::from_secs(5),
        };
        Polling::new(&authorization, clock.now())
    }

    fn refused(error: &str) -> FetchError {
        FetchError::Refused(OauthError {
            class: Class::Polling,
            error: error.into(),
            code: None,
            sentence: None,
            trace_id: None,
            presented: None,
        })
    }

    fn broke(fault: TransportFault) -> FetchError {
        FetchError::Transport(TransportError::new(fault, ""))
    }

    #[test]
    fn slow_down_lasts_and_silence_backs_off_until_an_answer_comes() {
        let clock = Clock::manual();
        let mut polling = polling(&clock);
        let mut seconds = Vec::new();
        let answers = [
            None,
            Some(refused("authorization_pending")),
            Some(refused("slow_down")),
            Some(refused("authorization_pending")),
            Some(refused("slow_down")),
            Some(broke(TransportFault::Timeout)),
            Some(FetchError::Busy { status: 503, code: None }),
            Some(FetchError::Paused { wait: Duration::from_secs(60) }),
            Some(refused("authorization_pending")),
        ];
        for answer in answers {
            if let Some(answer) = answer {
                polling.not_granted(answer).unwrap();
            }
            seconds.push(polling.wait(clock.now()).unwrap().as_secs());
        }
        assert_eq!(seconds, [5, 5, 10, 10, 15, 30, 60, 60, 15]);
    }

    #[test]
    fn polling_ends_with_the_codes_and_with_every_final_answer() {
        let clock = Clock::manual();
        let mut polling = polling(&clock);
        assert!(matches!(polling.not_granted(refused("expired_token")), Err(SignInError::Expired)));
        assert!(matches!(polling.not_granted(refused("authorization_declined")), Err(SignInError::Declined)));
        assert!(matches!(polling.not_granted(refused("access_denied")), Err(SignInError::Declined)));
        for error in [refused("bad_verification_code"), refused("invalid_grant"), broke(TransportFault::Certificate)] {
            assert!(matches!(polling.not_granted(error), Err(SignInError::Fetch(_))));
        }
        clock.advance(Duration::from_secs(894));
        assert!(polling.wait(clock.now()).is_some());
        clock.advance(Duration::from_secs(1));
        assert_eq!(polling.wait(clock.now()), None);
    }
}
