//! Connections from a load balancer, which sends the client's address first (PROXY protocol).

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::session::context::SessionContext;
use crate::session::listener_state::ListenerState;
use gatepost_core::cause::Cause;
use gatepost_net::connection_limit::ConnectionPermit;
use gatepost_proto::proxy_protocol::{Conveyed, HeaderError, HeaderReader};

/// Time for the header. A balancer sends it with the first packet.
const HEADER: Duration = Duration::from_secs(5);
/// Octets read at a time. The longest header takes 16 reads.
const READ_OCTETS: usize = 256;

impl ListenerState {
    /// Whether connections from this address must begin with a header.
    pub(super) fn is_balancer(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.listener.proxy_protocol_from.iter().any(|network| network.contains(&peer))
    }

    /// Reads the header of a connection from a balancer. Returns the client's address and the
    /// client's permit, unless the connection is over or the client may not connect. `waiting` is
    /// the permit until then.
    pub(super) async fn conveyed(
        &self,
        shared: &SessionContext,
        socket: &mut TcpStream,
        balancer: SocketAddr,
        waiting: ConnectionPermit,
    ) -> Option<(SocketAddr, ConnectionPermit)> {
        let header = tokio::select! {
            header = timeout(HEADER, read(socket)) => header.unwrap_or(Err(NoHeader::Late)),
            () = shared.draining.cancelled() => return None,
        };
        let peer = match header {
            Ok(Conveyed::Client(peer)) => {
                tracing::debug!(listener = &*self.listener.name, %balancer, %peer, "a balancer conveys a client");
                peer
            }
            // A client with an unknown address must not get the rights of this machine.
            Ok(Conveyed::Unknown) if balancer.ip().to_canonical().is_loopback() => {
                self.log_probe(balancer, "a load balancer on this machine does not say for whom it connects");
                return None;
            }
            Ok(Conveyed::Itself | Conveyed::Unknown) if !self.allows(balancer.ip()) => {
                self.log_probe(
                    balancer,
                    "a load balancer, which is not in `allow_from`, has looked whether the port is open",
                );
                return None;
            }
            Ok(Conveyed::Itself | Conveyed::Unknown) => {
                shared.penalties.know_balancer(balancer.ip());
                balancer
            }
            Err(NoHeader::Probe) => {
                self.log_probe(balancer, "a load balancer has looked whether the port is open");
                return None;
            }
            Err(problem) => {
                self.log_headerless(balancer, &problem);
                return None;
            }
        };
        drop(waiting);
        Some((peer, self.admit_client(shared, peer)?))
    }

    /// Logs a health check at a low level, because they come every few seconds.
    fn log_probe(&self, balancer: SocketAddr, text: &str) {
        let listener = &*self.listener.name;
        tracing::debug!(listener, peer = %balancer, outcome = "closed", cause = Cause::Probe.name(), "connection closed: {text}");
    }

    /// Logs one line only. Such a balancer is misconfigured, and each of its connections ends here.
    fn log_headerless(&self, balancer: SocketAddr, problem: &NoHeader) {
        let listener = &*self.listener.name;
        let text = format!(
            "connection from a load balancer closed: {problem}. Gatepost admin: have it send the PROXY protocol to \
             this listener (HAProxy: `send-proxy-v2`), or take its address out of `proxy_protocol_from`"
        );
        let (outcome, cause) = ("closed", Cause::NoProxyHeader.name());
        if self.headerless.swap(true, Ordering::Relaxed) {
            tracing::debug!(listener, peer = %balancer, outcome, cause, "{text}");
        } else {
            tracing::warn!(listener, peer = %balancer, outcome, cause, "{text}");
        }
    }
}

/// Why a connection has no header.
#[derive(Debug, thiserror::Error)]
enum NoHeader {
    /// It was closed without an octet.
    #[error("nothing came")]
    Probe,
    #[error("it ended within the PROXY header")]
    CutOff,
    #[error("no whole PROXY header came within {HEADER:?}")]
    Late,
    #[error(transparent)]
    Wrong(#[from] HeaderError),
}

async fn read(socket: &mut TcpStream) -> Result<Conveyed, NoHeader> {
    let (mut reader, mut buffer) = (HeaderReader::default(), [0; READ_OCTETS]);
    loop {
        let most = reader.wants().min(READ_OCTETS);
        let octets = match socket.read(&mut buffer[..most]).await {
            Ok(0) | Err(_) if reader.is_empty() => return Err(NoHeader::Probe),
            Ok(0) | Err(_) => return Err(NoHeader::CutOff),
            Ok(octets) => octets,
        };
        if let Some(conveyed) = reader.take(&buffer[..octets])? {
            return Ok(conveyed);
        }
    }
}
