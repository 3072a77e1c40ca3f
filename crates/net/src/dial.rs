//! Connecting to an upstream: directly (`direct`) or through a forward proxy (`forward_proxy`).
//! (`ProxyPool`).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::direct::DirectDialer;
use super::error::DialError;
use super::socket::Socket;
use crate::forward_proxy::ProxyPool;
use crate::tls::client::UpstreamTrust;
use gatepost_config::{Config, ForwardProxy, Limits, ProxyChoice, ProxyServer};
use gatepost_proto::tunnel::connect::Scheme;

/// Opens connections, and remembers what it learns about names, addresses and proxies.
pub struct Dialer {
    proxy: Option<Arc<ForwardProxy>>,
    limits: Limits,
    proxies: ProxyPool,
    direct: DirectDialer,
}

/// A connection to an upstream, before TLS.
pub struct Dialed {
    /// Connected and tuned.
    pub socket: Socket,
    /// Octets that arrived after the proxy's reply: the first ones that the upstream sent.
    pub early: Vec<u8>,
    /// The time by which TCP and TLS together must be established.
    pub deadline: Instant,
}

/// The way of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// Without a forward proxy.
    Direct,
    /// Through the first of these proxies that opens a tunnel.
    Proxy {
        /// In the order in which they are tried.
        servers: Vec<ProxyServer>,
        /// The authentication as the configuration calls it; `None` without any.
        scheme: Option<&'static str>,
    },
    /// As a PAC script says for each connection.
    #[cfg(feature = "pac")]
    Script,
}

impl Dialer {
    /// Creates a dialer for mail and HTTP that uses the forward proxy and the deadlines of the
    /// configuration. `trust` verifies proxies that are reached with TLS.
    pub fn new(config: Arc<Config>, trust: Arc<UpstreamTrust>) -> Self {
        // Only these parts of the configuration are kept, because the dialer may outlive it.
        let (proxy, limits) = (config.forward_proxy.clone(), config.limits.clone());
        let direct = DirectDialer::new(&limits);
        Self { proxy, limits, proxies: ProxyPool::new(trust), direct }
    }

    /// Notes that the network may have changed, as after a suspend: names are looked up again, and
    /// no address counts as dead.
    pub fn network_changed(&self) {
        self.direct.network_changed();
    }

    /// Returns which way a connection to `host:port` takes.
    pub fn route(&self, host: &str, port: u16) -> Route {
        match &self.proxy {
            Some(proxy) if !proxy.no_proxy.covers(host, port) => match &proxy.choice {
                ProxyChoice::Servers(servers) => Route::Proxy {
                    servers: servers.clone(),
                    scheme: proxy.authentication.as_ref().and_then(Scheme::of).map(Scheme::key),
                },
                #[cfg(feature = "pac")]
                ProxyChoice::Script { .. } => Route::Script,
            },
            _ => Route::Direct,
        }
    }

    /// Connects to `host:port` within the configured time or `most`, whichever is less. It uses the
    /// forward proxy unless `no_proxy` covers the destination. A proxy resolves the name itself,
    /// because internal name servers may not know names of the Internet.
    ///
    /// # Errors
    /// See [`DialError`].
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub async fn dial(&self, host: &str, port: u16, most: Duration) -> Result<Dialed, DialError> {
        let (now, limits) = (Instant::now(), &self.limits);
        match &self.proxy {
            Some(proxy) if !proxy.no_proxy.covers(host, port) => {
                let deadline = now + limits.connect_via_proxy.min(most);
                let (socket, early) = self.proxies.via_proxy(&self.direct, proxy, host, port, deadline).await?;
                Ok(Dialed { socket, early, deadline })
            }
            _ => {
                let deadline = now + limits.connect.min(most);
                let socket = self.direct.direct(host, port, deadline).await?.into();
                Ok(Dialed { socket, early: Vec::new(), deadline })
            }
        }
    }
}
