//! The state of a running listener, for all its connections.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use rustls::ServerConfig;

use crate::session::backend::Backend;
use gatepost_config::Listener;

/// A running listener.
pub struct ListenerState {
    /// Its configuration.
    pub listener: Listener,
    /// Certificate and key, unless the listener is plain.
    pub tls: Option<Arc<ServerConfig>>,
    /// The backend for logged-in clients.
    pub serving: Backend,
    /// Number of connections in a row that found no free permit.
    pub full: AtomicU64,
    /// True once the log says that a load balancer sent no header.
    pub headerless: AtomicBool,
}

impl ListenerState {
    /// Whether this address may connect.
    pub fn allows(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.listener.allow_from.iter().any(|network| network.contains(&peer))
    }

    /// Whether this address may log in without TLS.
    pub(crate) fn allows_plaintext(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.listener.allow_plaintext_from.iter().any(|network| network.contains(&peer))
    }
}
