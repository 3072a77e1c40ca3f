//! A client's own token on its way to the one who judges it: the mail server, or Microsoft Graph.
//!
//! Before the word is there nothing of the mailbox is taken, neither a place nor a lock: anybody may have brought
//! the token. What is taken is a turn, of a stock that is there for nothing else.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::places::{MailboxPlace, Places};
use super::shared::Shared;
use crate::account::MailAddress;
use crate::failure::{Actor, Failure};
use crate::graph::GraphClient;
use crate::login::own_token::Judge;
use crate::net::source::Source;
use crate::proto::Refusal;
use crate::protocol::Protocol;
use crate::sasl::Bearer;

/// So many tokens of one source are judged at once, of each protocol.
const OF_SOURCE: usize = 4;
/// And so many for one mailbox: one source alone does not keep the others from it.
const OF_MAILBOX: usize = 8;
/// A further one waits so long for a turn of its source, and so long for one of its mailbox.
const WAIT: Duration = Duration::from_secs(10);

/// The turns.
pub struct Trials {
    sources: Arc<Places<Source>>,
    mailboxes: Arc<Places>,
}

/// It ends when this is dropped.
struct Turn {
    _of_source: Option<MailboxPlace<Source>>,
    _of_mailbox: MailboxPlace,
}

impl Default for Trials {
    fn default() -> Self {
        Self { sources: Places::fixed(OF_SOURCE, WAIT), mailboxes: Places::fixed(OF_MAILBOX, WAIT) }
    }
}

impl Trials {
    async fn turn(&self, protocol: Protocol, source: IpAddr, mailbox: &MailAddress) -> Result<Turn, Failure> {
        // Loopback is every local client at once.
        let of_source = match source.to_canonical().is_loopback() {
            true => None,
            false => {
                let place = self.sources.enter(protocol, &Source::of(source)).await;
                Some(place.map_err(|_| crowded("from this address"))?)
            }
        };
        let of_mailbox = self.mailboxes.enter(protocol, mailbox).await.map_err(|_| crowded("for this mailbox"))?;
        Ok(Turn { _of_source: of_source, _of_mailbox: of_mailbox })
    }
}

impl Shared {
    /// Has a client's own token judged, unless the answer is known. `ask` asks the judge, and is not begun otherwise; its
    /// [`Refusal::InvalidCredentials`] is remembered.
    ///
    /// # Errors
    /// That of `ask`, or a [`Failure`] that says why nobody was asked.
    ///
    /// # Cancel safety
    /// Dropping the future gives its turn to the next.
    pub(super) async fn judge<T>(
        &self,
        bearer: &Bearer,
        source: IpAddr,
        judge: Judge<'_>,
        ask: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        self.gatekeeper.own_token(bearer, judge)?;
        let _turn = self.trials.turn(judge.protocol, source, &bearer.user).await?;
        // The same token may have been refused while this one waited.
        let token = self.gatekeeper.own_token(bearer, judge)?;
        ask.await.inspect_err(|failure| {
            if failure.refusal == Refusal::InvalidCredentials {
                self.gatekeeper.own_token_refused(&token);
            }
        })
    }

    /// The same by Microsoft Graph.
    ///
    /// # Errors
    /// See [`Shared::judge`] and [`GraphClient::judge`].
    pub(super) async fn judge_at_graph(
        &self,
        graph: &GraphClient,
        bearer: &Bearer,
        source: IpAddr,
    ) -> Result<(), Failure> {
        let judge = Judge { protocol: Protocol::Graph, name: &graph.origin().name };
        self.judge(bearer, source, judge, graph.judge(bearer)).await
    }
}

fn crowded(whose: &str) -> Failure {
    Failure {
        refusal: Refusal::Unavailable,
        actor: Actor::Client,
        cause: "too-many-tokens",
        message: format!("so many tokens of clients' own {whose} are being judged that this one had no turn in time"),
        remedy: "the client tries again; should it last, find out who tries tokens, and narrow `allow_from`".into(),
        delay: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!((refused.refusal, refused.cause), (Refusal::Unavailable, "too-many-tokens"));
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
