//! What a proxy thinks of the credentials that it is shown. Behind them is an account of a directory that locks it after a
//! few wrong passwords, and Gatepost opens connections by the hundred: so until the credentials have proved good one
//! connection at a time shows them, and once they were refused none does for a while.

use std::time::Duration;

use parking_lot::Mutex as Lock;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

use gatepost_proto::tunnel::connect::{ConnectError, ConnectErrorKind};

/// So long refused credentials are not shown again; doubles with each refusal.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
/// The longest pause. Whoever has unlocked the account does not wait longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(480);

/// The credentials' standing with one proxy.
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

/// The right to show the credentials once; ends with the value.
pub(super) struct Turn<'a> {
    standing: &'a CredentialGate,
    /// Held by the one connection that tries out what has not proved good.
    _alone: Option<MutexGuard<'a, ()>>,
}

impl CredentialGate {
    /// Waits until the credentials may be shown for a tunnel to `destination`.
    ///
    /// # Errors
    /// The proxy's refusal, when it is too recent to ask again.
    ///
    /// # Cancel safety
    /// Nothing is lost but the place in the queue.
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
    /// What came of it. An end without a word of the proxy about the credentials changes nothing.
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
            // Whoever says "forbidden" or "not reachable" knows who asks.
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
        // A connection that breaks has learned nothing, nor has one of another scheme than the configured one.
        drop(first);
        let closed = ConnectError { destination: "a:1".into(), kind: ConnectErrorKind::Closed };
        standing.turn("a:1").await.ok().unwrap().ends(Err(&closed));
        standing.turn("a:1").await.ok().unwrap().ends(Err(&refused(407, Scheme::Basic)));
        let second = standing.turn("a:1").await.ok().unwrap();
        assert!(waits().await);
        second.ends(Err(&refused(403, Scheme::Ntlm)));
        // Now as many as like.
        let _one = standing.turn("a:1").await.ok().unwrap();
        assert!(!waits().await);
    }
}
