//! Connections that come through a load balancer, which says first for whom (PROXY protocol).

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

/// A balancer sends its header with the first packet.
const HEADER: Duration = Duration::from_secs(5);
/// Octets that are read at a time, of the longest header 16 times.
const READ_OCTETS: usize = 256;

impl ListenerState {
    /// Must connections from this address begin with a header?
    pub(super) fn is_balancer(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.listener.proxy_protocol_from.iter().any(|network| network.contains(&peer))
    }

    /// Reads the header of a connection that comes from a balancer. The result is where its client is, and the place of that
    /// client, unless the connection is over or the client may not come in. `waiting` is the place until then.
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
            // A client whose address nobody knows has no right of this machine's own.
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

    /// Health checks come every few seconds.
    fn log_probe(&self, balancer: SocketAddr, text: &str) {
        let listener = &*self.listener.name;
        tracing::debug!(listener, peer = %balancer, outcome = "closed", cause = Cause::Probe.name(), "connection closed: {text}");
    }

    /// One line: such a balancer is not set up as it should, and then each of its connections ends here.
    fn log_headerless(&self, balancer: SocketAddr, problem: &NoHeader) {
        let listener = &*self.listener.name;
        let text = format!(
            "connection from a load balancer closed: {problem}; whoever runs Gatepost: have it send the PROXY protocol to \
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

/// Why there is no header.
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
