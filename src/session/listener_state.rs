//! A listener at work, for all connections that come in there.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use rustls::ServerConfig;

use crate::session::backend::Backend;
use gatepost_config::Listener;

/// A listener at work.
pub struct ListenerState {
    /// Its configuration.
    pub listener: Listener,
    /// Certificate and key, unless the listener is plain.
    pub tls: Option<Arc<ServerConfig>>,
    /// What becomes of those who log in.
    pub serving: Backend,
    /// Connections in a row for which there was no place.
    pub full: AtomicU64,
    /// A load balancer has not said for whom it connects, and the log has it.
    pub headerless: AtomicBool,
}

impl ListenerState {
    /// May this address connect?
    pub fn allows(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.listener.allow_from.iter().any(|network| network.contains(&peer))
    }

    /// May this address log in without TLS?
    pub(super) fn allows_plaintext(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        peer.is_loopback() || self.listener.allow_plaintext_from.iter().any(|network| network.contains(&peer))
    }
}
