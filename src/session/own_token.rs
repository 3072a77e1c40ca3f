//! A client's own token on its way to the one who judges it: the mail server, or Microsoft Graph.
//!
//! Before the word is there nothing of the mailbox is taken, neither a place nor a lock: anybody may have brought
//! the token. What is taken is a turn, of a stock that is there for nothing else.

use std::future::Future;
use std::net::IpAddr;

use crate::graph::GraphClient;
use crate::login::own_token::Judge;
use crate::session::context::SessionContext;
use gatepost_core::failure::{Failure, Refusal};
use gatepost_core::protocol::Protocol;
use gatepost_proto::sasl::Bearer;

impl SessionContext {
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
        self.authenticator.own_token(bearer, judge)?;
        let _turn = self.trials.turn(judge.protocol, source, &bearer.user).await?;
        // The same token may have been refused while this one waited.
        let token = self.authenticator.own_token(bearer, judge)?;
        ask.await.inspect_err(|failure| {
            if failure.refusal == Refusal::InvalidCredentials {
                self.authenticator.own_token_refused(&token);
            }
        })
    }

    /// The same by Microsoft Graph.
    ///
    /// # Errors
    /// See [`SessionContext::judge`] and [`GraphClient::judge`].
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
