//! Limits how many of the clients' own tokens are judged at once.
//!
//! These permits serve no other purpose, because an unjudged token may be anybody's.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::session::mailbox_slots::{MailboxLimiter, MailboxPermit};
use gatepost_core::account::MailAddress;
use gatepost_core::cause::Cause;
use gatepost_core::failure::Failure;
use gatepost_core::protocol::Protocol;
use gatepost_core::source::Source;

/// How many tokens of one source are judged at once, for each protocol.
const OF_SOURCE: usize = 4;
/// How many are judged at once for one mailbox, so that one source alone does not block the others.
const OF_MAILBOX: usize = 8;
/// How long a further token waits for a permit of its source, and again for one of its mailbox.
const WAIT: Duration = Duration::from_secs(10);

/// The permits to have tokens judged.
pub struct Trials {
    sources: Arc<MailboxLimiter<Source>>,
    mailboxes: Arc<MailboxLimiter>,
}

/// A permit to have a token judged. Dropping it frees it.
pub(super) struct Turn {
    _of_source: Option<MailboxPermit<Source>>,
    _of_mailbox: MailboxPermit,
}

impl Default for Trials {
    fn default() -> Self {
        Self { sources: MailboxLimiter::fixed(OF_SOURCE, WAIT), mailboxes: MailboxLimiter::fixed(OF_MAILBOX, WAIT) }
    }
}

impl Trials {
    /// Returns a permit to judge a token of this mailbox from this source.
    ///
    /// # Errors
    /// A [`Failure`] when no permit became free in time.
    pub(super) async fn turn(
        &self,
        protocol: Protocol,
        source: IpAddr,
        mailbox: &MailAddress,
    ) -> Result<Turn, Failure> {
        // Loopback stands for every local client, so it has no limit per source.
        let of_source = match source.to_canonical().is_loopback() {
            true => None,
            false => {
                let place = self.sources.acquire(protocol, &Source::of(source)).await;
                Some(place.map_err(|_| crowded("from this address"))?)
            }
        };
        let of_mailbox = self.mailboxes.acquire(protocol, mailbox).await.map_err(|_| crowded("for this mailbox"))?;
        Ok(Turn { _of_source: of_source, _of_mailbox: of_mailbox })
    }
}

fn crowded(whose: &str) -> Failure {
    Failure::new(
        Cause::TooManyTokens,
        format!("too many tokens of clients {whose} are being checked, so this one had no turn in time"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatepost_core::failure::Refusal;

    #[tokio::test(start_paused = true)]
    async fn one_source_leaves_turns_to_others() {
        let trials = Trials::default();
        let alice = MailAddress::parse("alice@contoso.example").unwrap();
        let turn = async |source: &str| trials.turn(Protocol::Smtp, source.parse().unwrap(), &alice).await;
        let mut held = Vec::new();
        for _ in 0..OF_SOURCE {
            held.push(turn("192.0.2.1").await.unwrap());
        }
        let refused = turn("::ffff:192.0.2.1").await.map(drop).unwrap_err();
        assert_eq!((refused.refusal, refused.cause.name()), (Refusal::Unavailable, "too-many-tokens"));
        for _ in OF_SOURCE..OF_MAILBOX {
            held.push(turn("127.0.0.1").await.unwrap());
        }
        assert!(turn("192.0.2.2").await.is_err(), "the mailbox has no more");
        held.pop();
        assert!(turn("192.0.2.2").await.is_ok());
        held.clear();
        assert!(turn("192.0.2.1").await.is_ok());
    }
}
