//! The beginning of every connection: finds its client, decides whether it may connect, and selects
//! the backend that serves it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::net::TcpStream;

use super::journal::Watch;
use super::mail::RelayedSession;
use super::{http, mail, maildrop, submission, turned_away};
use crate::session::backend::Backend;
use crate::session::connection_info::ConnectionInfo;
use crate::session::context::SessionContext;
use crate::session::listener_state::ListenerState;
use gatepost_net::connection_limit::{ConnectionLimitReached, ConnectionPermit};
use gatepost_net::listen;

impl ListenerState {
    /// Returns a permit for a connection from `peer`, or `None` if it is refused. A refused client
    /// is sent nothing, and the log says why. For a connection from a load balancer, the permit
    /// covers the time until its client is known.
    pub fn admit(&self, shared: &SessionContext, peer: SocketAddr) -> Option<ConnectionPermit> {
        if !self.is_balancer(peer.ip()) {
            return self.admit_client(shared, peer);
        }
        let place = shared.connections.enter_unknown();
        let note = |reached: &ConnectionLimitReached| {
            if self.begins_to_be_full() {
                let subject = ConnectionInfo::new(&self.listener.name, peer);
                shared.journal.tell_closed(&subject, &turned_away::full(*reached));
            }
        };
        place.inspect_err(note).ok()
    }

    /// Returns a permit for a client at this address.
    pub(super) fn admit_client(&self, shared: &SessionContext, peer: SocketAddr) -> Option<ConnectionPermit> {
        let journal = &shared.journal;
        let (protocol, name) = (self.listener.protocol, &self.listener.name);
        if !self.allows(peer.ip()) {
            journal.unfit(protocol, &ConnectionInfo::new(name, peer), &turned_away::not_allowed(name, peer));
            return None;
        }
        if let Some(closed) = shared.penalties.closed(peer.ip()) {
            let failure = turned_away::penalised(peer, closed);
            journal.turned_away(protocol, &ConnectionInfo::new(name, peer), &failure, closed.first);
            return None;
        }
        self.place(shared, peer)
    }

    /// Returns a permit if there is room for one more connection. The log says when there is none,
    /// and when there is again.
    pub(super) fn place(&self, shared: &SessionContext, peer: SocketAddr) -> Option<ConnectionPermit> {
        match shared.connections.acquire(peer.ip()) {
            Ok(place) => {
                if self.full.swap(0, Ordering::Relaxed) > 1 {
                    tracing::info!(listener = &*self.listener.name, "connections are taken again");
                }
                Some(place)
            }
            Err(reached) => {
                let (failure, news) = (turned_away::full(reached), self.begins_to_be_full());
                let subject = ConnectionInfo::new(&self.listener.name, peer);
                shared.journal.turned_away(self.listener.protocol, &subject, &failure, news);
                None
            }
        }
    }

    /// Notes that a connection found no free permit. Returns true for the first in a row, which is
    /// the one that the log has.
    fn begins_to_be_full(&self) -> bool {
        self.full.fetch_add(1, Ordering::Relaxed) == 0
    }
}

/// Serves one accepted connection until it ends, and keeps `counted` until then. Most sessions are
/// idle, so what is needed until the login is freed when the relay begins.
pub fn serve(
    shared: Arc<SessionContext>,
    service: Arc<ListenerState>,
    socket: TcpStream,
    peer: SocketAddr,
    place: ConnectionPermit,
    counted: impl Send,
) -> impl Future<Output = ()> + Send {
    let kept = (Watch(Arc::clone(&shared.journal)), counted);
    let arriving = Box::pin(arrive(shared, service, socket, peer, place));
    async move {
        // Not moved, which would take its place twice.
        let _kept = &kept;
        let Some(mut session) = arriving.await else { return };
        let end = session.until_its_end().await;
        session.note(end);
    }
}

/// Serves a connection until it is to be relayed. `None`: it is over.
async fn arrive(
    shared: Arc<SessionContext>,
    service: Arc<ListenerState>,
    mut socket: TcpStream,
    mut peer: SocketAddr,
    mut place: ConnectionPermit,
) -> Option<RelayedSession> {
    if let Err(error) = listen::tune(&socket, shared.limits.write_stall) {
        tracing::debug!(%peer, "the connection was gone before it began: {error}");
        return None;
    }
    if service.is_balancer(peer.ip()) {
        (peer, place) = Box::pin(service.conveyed(&shared, &mut socket, peer, place)).await?;
    }
    // Each kind has a box of its own, because a connection would otherwise need the memory of the
    // largest one.
    match &service.serving {
        Backend::Relay(target) => {
            let target = Arc::clone(target);
            return Box::pin(mail::enter(shared, service, target, socket, peer, place)).await;
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
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the size in octets of the future that a function with these parameters returns.
    fn size<A, B, C, D, E, F, G>(_: impl Fn(A, B, C, D, E, F) -> G) -> usize {
        size_of::<G>()
    }

    #[test]
    fn a_relayed_session_pays_for_no_other_kind_nor_for_its_login() {
        let (whole, relayed) =
            (size(|a, b, c, d, e, f: [usize; 2]| serve(a, b, c, d, e, f)), size_of::<RelayedSession>());
        assert!(whole <= relayed + 512, "{whole} octets, {relayed} of them for the session");
        // The task takes 104 more, and a multiple of 128 in all.
        assert!(whole <= 1_152 - 104, "{whole} octets");
        let arrival = size(|a, b, c, d, e, ()| arrive(a, b, c, d, e));
        assert!(arrival <= 512, "{arrival} octets");
    }
}
