//! Controls when credentials are sent to a forward proxy. They belong to a directory account, which
//! is locked after a few wrong passwords, and Gatepost opens hundreds of connections. Until the
//! proxy has accepted the credentials, only one connection at a time sends them. After a refusal,
//! none sends them for a while.

use std::time::Duration;

use parking_lot::Mutex as Lock;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

use gatepost_proto::tunnel::connect::{ConnectError, ConnectErrorKind};

/// How long refused credentials are not sent again. The time doubles with each refusal.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
/// The longest pause. After the account is unlocked, nobody waits longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(480);

/// What is known about the credentials at one proxy.
#[derive(Default)]
pub(super) struct CredentialGate {
    turn: Mutex<()>,
    verdict: Lock<Verdict>,
}

#[derive(Clone, Default)]
enum Verdict {
    #[default]
    Unknown,
    Good,
    Refused {
        kind: ConnectErrorKind,
        until: Instant,
        pause: Duration,
    },
}

/// The right to send the credentials once; it ends when dropped.
pub(super) struct Turn<'a> {
    standing: &'a CredentialGate,
    /// Held by the one connection that tries credentials that were not accepted yet.
    _alone: Option<MutexGuard<'a, ()>>,
}

impl CredentialGate {
    /// Waits until the credentials may be sent for a tunnel to `destination`.
    ///
    /// # Errors
    /// The proxy's refusal, if it is too recent to try again.
    ///
    /// # Cancel safety
    /// Only the position in the queue is lost.
    pub(super) async fn turn(&self, destination: &str) -> Result<Turn<'_>, ConnectError> {
        if let Verdict::Good = self.verdict() {
            return Ok(Turn { standing: self, _alone: None });
        }
        let alone = self.turn.lock().await;
        match self.verdict() {
            Verdict::Good => Ok(Turn { standing: self, _alone: None }),
            Verdict::Refused { kind, until, .. } if Instant::now() < until => {
                Err(ConnectError { destination: destination.to_owned(), kind })
            }
            Verdict::Refused { .. } | Verdict::Unknown => Ok(Turn { standing: self, _alone: Some(alone) }),
        }
    }

    fn verdict(&self) -> Verdict {
        self.verdict.lock().clone()
    }
}

impl Turn<'_> {
    /// Notes the outcome. If the proxy said nothing about the credentials, nothing changes.
    pub(super) fn ends(self, outcome: Result<(), &ConnectError>) {
        let mut verdict = self.standing.verdict.lock();
        *verdict = match outcome {
            Err(error) if error.credentials_refused() => {
                let pause = match &*verdict {
                    Verdict::Refused { pause, .. } => (*pause * 2).min(LONGEST_PAUSE),
                    Verdict::Unknown | Verdict::Good => FIRST_PAUSE,
                };
                Verdict::Refused { kind: error.kind.clone(), until: Instant::now() + pause, pause }
            }
            // A proxy that answers "forbidden" or "not reachable" has accepted the credentials.
            Ok(()) | Err(ConnectError { kind: ConnectErrorKind::Refused { status: 403 | 502..=504, .. }, .. }) => {
                Verdict::Good
            }
            Err(_) => return,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatepost_proto::tunnel::connect::Scheme;

    fn refused(status: u16, configured: Scheme) -> ConnectError {
        let schemes = vec!["NTLM".to_owned()];
        let kind = ConnectErrorKind::Refused { status, reason: String::new(), schemes, configured: Some(configured) };
        ConnectError { destination: "a:1".into(), kind }
    }

    #[tokio::test(start_paused = true)]
    async fn refused_credentials_rest_for_longer_each_time() {
        let standing = CredentialGate::default();
        let wrong = refused(407, Scheme::Ntlm);
        for pause in [30, 60, 120, 240, 480, 480] {
            standing.turn("a:1").await.ok().unwrap().ends(Err(&wrong));
            let again = standing.turn("b:2").await.err().unwrap();
            assert_eq!((again.destination.as_str(), again.kind), ("b:2", wrong.kind.clone()));
            tokio::time::advance(Duration::from_secs(pause - 1)).await;
            assert!(standing.turn("a:1").await.is_err());
            tokio::time::advance(Duration::from_secs(2)).await;
        }
        standing.turn("a:1").await.ok().unwrap().ends(Ok(()));
        standing.turn("a:1").await.ok().unwrap().ends(Err(&wrong));
        tokio::time::advance(Duration::from_secs(31)).await;
        assert!(standing.turn("a:1").await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn one_at_a_time_tries_what_has_not_proved_good() {
        let standing = CredentialGate::default();
        let first = standing.turn("a:1").await.ok().unwrap();
        let waits = async || tokio::time::timeout(Duration::from_secs(5), standing.turn("a:1")).await.is_err();
        assert!(waits().await);
        // A broken connection says nothing about the credentials, nor does a refusal for another
        // scheme than the configured one.
        drop(first);
        let closed = ConnectError { destination: "a:1".into(), kind: ConnectErrorKind::Closed };
        standing.turn("a:1").await.ok().unwrap().ends(Err(&closed));
        standing.turn("a:1").await.ok().unwrap().ends(Err(&refused(407, Scheme::Basic)));
        let second = standing.turn("a:1").await.ok().unwrap();
        assert!(waits().await);
        second.ends(Err(&refused(403, Scheme::Ntlm)));
        // Now any number may send them at once.
        let _one = standing.turn("a:1").await.ok().unwrap();
        assert!(!waits().await);
    }
}
