//! Connections that are closed before anything is said: from a blocked source, or beyond a limit.

use std::net::SocketAddr;

use gatepost_core::cause::Cause;
use gatepost_core::failure::Failure;
use gatepost_net::connection_limit::ConnectionLimitReached;
use gatepost_net::penalty::Closed;

/// Returns the failure of a client whose address may not connect to the listener.
pub(super) fn not_allowed(listener: &str, peer: SocketAddr) -> Failure {
    let address = peer.ip().to_canonical();
    Failure::new(Cause::NotAllowed, format!("the address {address} is not in `allow_from` of listener `{listener}`"))
        .to_do(format!("add {address} to `allow_from` if it belongs to a client"))
}

/// Returns the failure of a connection from a source that is blocked for its penalties.
pub(super) fn penalised(peer: SocketAddr, closed: Closed) -> Failure {
    let (address, seconds) = (peer.ip().to_canonical(), closed.wait.as_secs().max(1));
    let message = format!(
        "connections from {address} are blocked for {seconds} s, because wrong passwords, timeouts or garbage came from there"
    );
    Failure::new(Cause::Penalised, message)
        .to_do("find out what connects from there, and correct it. If it is no client, narrow `allow_from`")
}

/// Returns the failure of a connection beyond a limit.
pub(super) fn full(reached: ConnectionLimitReached) -> Failure {
    let limit = reached.limit();
    Failure::new(Cause::TooManyConnections, format!("connections are refused, because `{limit}` is reached"))
        .to_do(format!("find out which clients keep connections open, or raise `{limit}`"))
}
