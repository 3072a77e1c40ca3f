//! Has a client's own token judged by the mail server or Microsoft Graph.
//!
//! Until the judge has answered, the token may be anybody's, so it takes no permit or lock of the
//! mailbox. It takes a permit of [`trial`](super::trial), which serves only this purpose.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;

use crate::graph::GraphClient;
use crate::login::own_token::Judge;
use crate::session::context::SessionContext;
use crate::session::upstream::{MailServers, Target};
use gatepost_config::Tenant;
use gatepost_core::failure::{Failure, Refusal};
use gatepost_core::protocol::Protocol;
use gatepost_oauth::TokenClaims;
use gatepost_proto::sasl::Bearer;

impl SessionContext {
    /// Has a client's own token judged, unless the answer is known. `ask` asks the judge, and is
    /// not polled otherwise. Its [`Refusal::InvalidCredentials`] is remembered.
    ///
    /// # Errors
    /// That of `ask`, or a [`Failure`] that says why the judge was not asked.
    ///
    /// # Cancel safety
    /// Dropping the future lets the next request have its turn.
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

    /// Returns the server that judges a client's own token: that of the account to which the mailbox
    /// belongs. A token of one provider is sent to no server of another.
    ///
    /// # Errors
    /// A [`Failure`] when no account fits, or its provider has no server for the protocol.
    pub(super) fn server_of_owner<'s>(
        &self,
        servers: &'s MailServers,
        bearer: &Bearer,
    ) -> Result<&'s Arc<Target>, Failure> {
        let owner = self.authenticator.owner(&bearer.user)?;
        let issuer = &owner.account.application.issuer;
        // Only tokens of personal accounts are opaque.
        let is_personal = issuer.entra().is_some_and(|entra| match entra.tenant {
            Tenant::Consumers => true,
            Tenant::Common => TokenClaims::of(&bearer.token).is_none(),
            _ => false,
        });
        servers.of(issuer, is_personal).map_err(|error| error.failure(&servers.own().upstream))
    }

    /// Has the token judged by Microsoft Graph.
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
