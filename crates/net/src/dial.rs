//! Connecting to an upstream: straight (`direct`), or through a forward proxy (`via`).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::direct::DirectDialer;
use super::error::DialError;
use super::socket::Socket;
use crate::forward_proxy::ProxyPool;
use crate::tls::client::UpstreamTrust;
use gatepost_config::{Config, ForwardProxy, Limits};

/// Opens connections, and remembers what it learns about names and addresses.
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
    /// What arrived behind the proxy's reply: the beginning of what the upstream says.
    pub early: Vec<u8>,
    /// The moment by which TCP and TLS together must be up.
    pub deadline: Instant,
}

impl Dialer {
    /// A dialer for mail and HTTP alike; uses the configuration's forward proxy and deadlines. `trust` verifies proxies
    /// that are reached by TLS.
    pub fn new(config: Arc<Config>, trust: Arc<UpstreamTrust>) -> Self {
        // The rest of the configuration is not kept: this may outlive it.
        let (proxy, limits) = (config.forward_proxy.clone(), config.limits.clone());
        let direct = DirectDialer::new(&limits);
        Self { proxy, limits, proxies: ProxyPool::new(trust), direct }
    }

    /// The network may have changed, as after a suspend: names are looked up anew, and no address counts as dead.
    pub fn network_changed(&self) {
        self.direct.network_changed();
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
