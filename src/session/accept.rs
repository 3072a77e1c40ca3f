//! The beginning of every connection: finds its client, decides whether it may connect, and selects
//! the backend that serves it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::net::TcpStream;

use super::journal::Watch;
use super::{http, mail, maildrop, submission};
use crate::session::backend::Backend;
use crate::session::context::SessionContext;
use crate::session::listener_state::ListenerState;
use gatepost_core::cause::Cause;
use gatepost_net::connection_limit::{ConnectionLimitReached, ConnectionPermit};
use gatepost_net::listen;
use gatepost_net::penalty::Closed;

impl ListenerState {
    /// Returns a permit for a connection from `peer`, or `None` if it is refused. A refused client
    /// is sent nothing, and the log says why. For a connection from a load balancer, the permit
    /// covers the time until its client is known.
    pub fn admit(&self, shared: &SessionContext, peer: SocketAddr) -> Option<ConnectionPermit> {
        if !self.is_balancer(peer.ip()) {
            return self.admit_client(shared, peer);
        }
        let place = shared.connections.enter_unknown();
        place.inspect_err(|reached| self.log_full(peer, *reached)).ok()
    }

    /// Returns a permit for a client at this address.
    pub(super) fn admit_client(&self, shared: &SessionContext, peer: SocketAddr) -> Option<ConnectionPermit> {
        if !self.allows(peer.ip()) {
            tracing::info!(
                listener = &*self.listener.name,
                %peer,
                outcome = "closed",
                cause = Cause::NotAllowed.name(),
                "connection closed: its address is not in `allow_from`. Gatepost admin: add it if it belongs to a \
                 client"
            );
            shared.journal.turned_away(Cause::NotAllowed);
            return None;
        }
        if let Some(closed) = shared.penalties.closed(peer.ip()) {
            self.log_closed(peer, closed);
            shared.journal.turned_away(Cause::Penalised);
            return None;
        }
        match shared.connections.acquire(peer.ip()) {
            Ok(place) => {
                if self.full.swap(0, Ordering::Relaxed) > 1 {
                    tracing::info!(listener = &*self.listener.name, "connections are taken again");
                }
                Some(place)
            }
            Err(reached) => {
                self.log_full(peer, reached);
                shared.journal.turned_away(Cause::TooManyConnections);
                None
            }
        }
    }

    /// Logs one line when the source becomes closed, not one per connection.
    pub(super) fn log_closed(&self, peer: SocketAddr, closed: Closed) {
        if closed.first {
            tracing::warn!(
                listener = &*self.listener.name,
                %peer,
                outcome = "closed",
                cause = Cause::Penalised.name(),
                "connections from this source are closed for the next {} s, and longer if it continues: it sent wrong \
                 passwords, garbage, or nothing in time. Gatepost admin: fix the device, or narrow `allow_from`",
                closed.wait.as_secs().max(1)
            );
        }
    }

    /// Logs one line when connections begin to be refused, not one per connection.
    fn log_full(&self, peer: SocketAddr, reached: ConnectionLimitReached) {
        if self.full.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(
                listener = &*self.listener.name,
                %peer,
                outcome = "closed",
                cause = Cause::TooManyConnections.name(),
                "connections are refused: `{}` is reached. Gatepost admin: find out who connects, or raise it",
                reached.limit()
            );
        }
    }
}

/// Serves one accepted connection until it ends.
pub async fn serve(
    shared: Arc<SessionContext>,
    service: Arc<ListenerState>,
    mut socket: TcpStream,
    mut peer: SocketAddr,
    mut place: ConnectionPermit,
) {
    if let Err(error) = listen::tune(&socket) {
        tracing::debug!(%peer, "the connection was gone before it began: {error}");
        return;
    }
    let journal = Arc::clone(&shared.journal);
    let _watch = Watch(&journal);
    if service.is_balancer(peer.ip()) {
        let conveyed = Box::pin(service.conveyed(&shared, &mut socket, peer, place)).await;
        let Some(client) = conveyed else { return };
        (peer, place) = client;
    }
    // Each kind but the relay has a box of its own. Most sessions are relayed, and they would
    // otherwise need the memory of the largest kind.
    match &service.serving {
        Backend::Relay(target) => {
            let target = Arc::clone(target);
            mail::serve(shared, service, target, socket, peer, place).await;
        }
        Backend::Submission(ways) => {
            let ways = Arc::clone(ways);
            Box::pin(submission::serve(shared, service, ways, socket, peer, place)).await;
        }
        Backend::Maildrop(graph) => {
            let graph = Arc::clone(graph);
            Box::pin(maildrop::serve(shared, service, graph, socket, peer, place)).await;
        }
        Backend::Http(gateway) => {
            let gateway = Arc::clone(gateway);
            Box::pin(http::serve(shared, service, gateway, socket, peer, place)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the size in octets of the future that a function with these parameters returns.
    fn size<A, B, C, D, E, F>(_: impl Fn(A, B, C, D, E) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_relayed_session_pays_for_no_other_kind() {
        let (all, relay) = (size(serve), size(|a, b, c, (d, e), f| mail::serve(a, b, c, d, e, f)));
        assert!(all <= relay + 512, "{all} octets, {relay} of them for the relay");
        assert!(relay <= 2_048, "{relay} octets");
    }
}
