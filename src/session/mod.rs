//! One client connection from accept to end: where protocol machines, tokens and sockets meet.
//!
//! [`mail`] drives a login and then relays; [`upstream`] opens and signs in to the other side; [`announce`] learns what
//! the upstreams can do. Every line about one connection carries its session id.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use rustls::ServerConfig;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::chance;
use crate::config::{Limits, Listener};
use crate::login::Gatekeeper;
use crate::net::census::Census;
use crate::net::penalty::Penalties;
use upstream::{Opener, Target};

pub mod announce;
mod explain;
pub mod mail;
pub mod upstream;

/// What all sessions share.
pub struct Shared {
    /// Decides about logins.
    pub gatekeeper: Arc<Gatekeeper>,
    /// Connects to upstreams.
    pub opener: Opener,
    /// Every bound and deadline.
    pub limits: Limits,
    /// Places for connections.
    pub census: Arc<Census>,
    /// What sources have to pay for.
    pub penalties: Arc<Penalties>,
    /// Places for refusals that are held back.
    pub delays: Semaphore,
    /// Cancelled when the service stops taking logins.
    pub draining: CancellationToken,
    /// The name in SMTP greetings.
    pub server_name: Arc<str>,
}

/// A listener at work.
pub struct Service {
    /// Its configuration.
    pub listener: Listener,
    /// Certificate and key, unless the listener is plain.
    pub tls: Option<Arc<ServerConfig>>,
    /// Where its logins go.
    pub target: Arc<Target>,
}

impl Service {
    /// May this address connect?
    pub fn allows(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.listener.allow_from.iter().any(|network| network.contains(&peer))
    }

    /// May this address log in without TLS?
    fn allows_plaintext(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        peer.is_loopback() || self.listener.allow_plaintext_from.iter().any(|network| network.contains(&peer))
    }
}

/// Who a log line is about.
#[derive(Clone)]
struct Subject {
    session: Arc<str>,
    listener: Arc<str>,
    peer: SocketAddr,
}

/// A short name for a session, for log lines and for what the client is told: eight characters without look-alikes,
/// different for each session of a process, and from another start in each process.
fn session_id() -> Arc<str> {
    const ALPHABET: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";
    static START: OnceLock<u64> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let start = START.get_or_init(chance::number);
    let count = start.wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed));
    // Multiplying by an odd number keeps different counts different in the low 40 bits.
    let mixed = count.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (0..8).map(|at| char::from(ALPHABET[(mixed >> (5 * at) & 31) as usize])).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    #[test]
    fn session_ids_do_not_repeat() {
        let ids: HashSet<_> = (0..10_000).map(|_| super::session_id()).collect();
        assert_eq!(ids.len(), 10_000);
        assert!(ids.iter().all(|id| id.len() == 8));
    }
}
