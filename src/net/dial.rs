//! Connecting to an upstream: straight with Happy Eyeballs (RFC 8305), or through a forward proxy (`via`).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::connect::ConnectError;
use super::listen;
#[cfg(feature = "pac")]
use super::pac::PacError;
use super::socket::Socket;
use super::socks::SocksError;
use super::via::Gateways;
use crate::config::{Config, ProxyServer};
use crate::tls::client::{TrustError, UpstreamTrust};

/// The next address is tried so long after the one before, if that one has not answered (RFC 8305 §5).
const STAGGER: Duration = Duration::from_millis(250);

/// Most addresses tried of one name.
const ADDRESSES: usize = 6;

/// Opens connections.
pub struct Dialer {
    config: Arc<Config>,
    gateways: Gateways,
}

/// A connection to an upstream, before TLS.
pub struct Dialed {
    /// Connected and tuned.
    pub socket: Socket,
    /// What arrived behind the proxy's reply: the beginning of what the upstream says.
    pub early: Vec<u8>,
    /// The moment by which TCP and TLS together must be up.
    pub deadline: Instant,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name has no address, or nobody could say in time.
    #[error("resolve `{host}`")]
    Resolve {
        /// The name.
        host: String,
        /// The resolver's words.
        source: io::Error,
    },
    /// No address answered. The last error stands for all.
    #[error("connect to `{host}:{port}` ({tried} tried)")]
    Connect {
        /// The name.
        host: String,
        /// TCP port.
        port: u16,
        /// How many addresses.
        tried: usize,
        /// The last error.
        source: io::Error,
    },
    /// The forward proxy cannot be reached.
    #[error("connect to the forward proxy `{proxy}`")]
    ProxyUnreachable {
        /// Which.
        proxy: ProxyServer,
        /// Why.
        source: Box<DialError>,
    },
    /// The roots that would verify the proxy's certificate cannot be read.
    #[error("read the trusted certificates for the forward proxy")]
    ProxyTrust(#[source] TrustError),
    /// TLS with the forward proxy could not be set up.
    #[error("set up TLS with the forward proxy `{proxy}`")]
    ProxyTls {
        /// Which.
        proxy: ProxyServer,
        /// With the [`rustls::Error`] inside, when TLS refused something.
        source: io::Error,
    },
    /// The forward proxy was reached, and would not or could not connect.
    #[error(transparent)]
    Proxy(ConnectError),
    /// Nobody knows which proxy to take.
    #[cfg(feature = "pac")]
    #[error(transparent)]
    Pac(#[from] PacError),
    /// The same of a SOCKS proxy.
    #[error(transparent)]
    Socks(SocksError),
    /// The connection to the forward proxy broke before the tunnel stood, or it did not answer in time.
    #[error("wait for the answer of the forward proxy `{proxy}` for `{target}`")]
    ProxyBroke {
        /// Which.
        proxy: ProxyServer,
        /// Host and port that were asked for.
        target: String,
        /// How.
        source: io::Error,
    },
}

impl Dialer {
    /// A dialer for mail and HTTP alike; uses the configuration's forward proxy and deadlines. `trust` verifies proxies
    /// that are reached by TLS.
    pub fn new(config: Arc<Config>, trust: Arc<UpstreamTrust>) -> Self {
        Self { config, gateways: Gateways::new(trust) }
    }

    /// Connects to `host:port` within the configured time or `most`, whichever is less, through the forward proxy unless
    /// `no_proxy` covers it. A proxy resolves the name itself, since names of the Internet may be unknown inside.
    ///
    /// # Errors
    /// See [`DialError`].
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub async fn dial(&self, host: &str, port: u16, most: Duration) -> Result<Dialed, DialError> {
        let (now, limits) = (Instant::now(), &self.config.limits);
        match &self.config.forward_proxy {
            Some(proxy) if !proxy.no_proxy.covers(host, port) => {
                let deadline = now + limits.connect_via_proxy.min(most);
                let (socket, early) = self.through(&self.gateways, proxy, host, port, deadline).await?;
                Ok(Dialed { socket, early, deadline })
            }
            _ => {
                let deadline = now + limits.connect.min(most);
                let socket = self.straight(host, port, deadline).await?.into();
                Ok(Dialed { socket, early: Vec::new(), deadline })
            }
        }
    }

    pub(super) async fn straight(&self, host: &str, port: u16, deadline: Instant) -> Result<TcpStream, DialError> {
        let addresses = self.resolve(host, port).await?;
        let tried = addresses.len();
        let fail = |source| DialError::Connect { host: host.to_owned(), port, tried, source };
        let race = race(addresses, self.config.limits.connect_attempt);
        let socket = timeout_at(deadline, race).await.unwrap_or_else(|_| Err(timed_out())).map_err(fail)?;
        listen::tune(&socket).map_err(fail)?;
        Ok(socket)
    }

    async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, DialError> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let fail = |source| DialError::Resolve { host: host.to_owned(), source };
        let found =
            timeout(self.config.limits.resolve, lookup_host((host, port))).await.unwrap_or_else(|_| Err(timed_out()));
        let addresses = interleave(found.map_err(fail)?);
        if addresses.is_empty() {
            return Err(fail(io::Error::new(io::ErrorKind::NotFound, "the name has no address")));
        }
        Ok(addresses)
    }
}

/// The families in turn, beginning with the one that the system prefers, at most [`ADDRESSES`].
fn interleave(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let all: Vec<_> = addresses.collect();
    let preferred_v6 = all.first().is_some_and(SocketAddr::is_ipv6);
    let (mut first, mut second): (Vec<_>, Vec<_>) = all.into_iter().partition(|a| a.is_ipv6() == preferred_v6);
    first.dedup();
    second.dedup();
    let mut second = second.into_iter();
    let mut in_turn = Vec::new();
    for address in first {
        in_turn.push(address);
        in_turn.extend(second.next());
    }
    in_turn.extend(second);
    in_turn.truncate(ADDRESSES);
    in_turn
}

/// The first address that connects wins; each further one starts when the one before has failed or has been silent for
/// [`STAGGER`].
async fn race(addresses: Vec<SocketAddr>, attempt: Duration) -> io::Result<TcpStream> {
    let mut waiting = addresses.into_iter();
    // One address is the usual case, and needs no task.
    if waiting.len() == 1
        && let Some(only) = waiting.next()
    {
        return connect(only, attempt).await;
    }
    let mut running = JoinSet::new();
    let mut last_error = timed_out();
    let mut next_start = Instant::now();
    loop {
        if waiting.len() > 0 && (running.is_empty() || Instant::now() >= next_start) {
            if let Some(address) = waiting.next() {
                running.spawn(connect(address, attempt));
            }
            next_start = Instant::now() + STAGGER;
        }
        tokio::select! {
            finished = running.join_next() => match finished {
                Some(Ok(Ok(socket))) => return Ok(socket),
                Some(Ok(Err(error))) => {
                    last_error = error;
                    next_start = Instant::now();
                }
                Some(Err(aborted)) => last_error = io::Error::other(aborted),
                None => return Err(last_error),
            },
            () = sleep_until(next_start), if waiting.len() > 0 => {}
        }
    }
}

async fn connect(address: SocketAddr, attempt: Duration) -> io::Result<TcpStream> {
    timeout(attempt, TcpStream::connect(address)).await.unwrap_or_else(|_| Err(timed_out()))
}

pub(super) fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer in time")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns() {
        let found = addresses(&["[2001:db8::1]:1", "[2001:db8::2]:1", "192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1"]);
        let expected = addresses(&["[2001:db8::1]:1", "192.0.2.1:1", "[2001:db8::2]:1", "192.0.2.2:1", "192.0.2.3:1"]);
        assert_eq!(interleave(found.into_iter()), expected);
    }

    #[tokio::test]
    async fn a_dead_address_does_not_keep_from_the_living() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let living = listener.local_addr().unwrap();
        let dead = {
            let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            closed.local_addr().unwrap()
        };
        let socket = race(vec![dead, living], Duration::from_secs(5)).await.unwrap();
        assert_eq!(socket.peer_addr().unwrap(), living);
        assert!(race(vec![dead, dead], Duration::from_secs(5)).await.is_err());
    }
}
