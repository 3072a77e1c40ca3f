//! One client connection from accept to end: where protocol machines, tokens and sockets meet.
//!
//! [`enter`] is where each begins, and `balancer` finds out whose it is; `login` drives it until its login is decided;
//! [`mail`] then relays, [`submission`] takes messages itself, and [`maildrop`] serves POP3 out of Graph; [`http`] serves EWS
//! and Graph; [`upstream`] opens and signs in to the other side; [`places`] bounds the sessions of a mailbox, and [`trial`] the
//! tokens of clients that are being judged; [`announce`]
//! learns what the upstreams can do; [`farewell`] spreads the goodbyes of a service that stops; [`journal`] is told what
//! happens, and [`live`] knows who is there. Every line about one connection carries its session id.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::chance;
use crate::config::{Limits, Listener};
use crate::graph::GraphClient;
use crate::login::Gatekeeper;
use crate::login::device::KnownPassword;
use crate::net::census::Census;
use crate::net::penalty::Penalties;
use crate::protocol::Protocol;
use farewell::Farewells;
use http::Gateway;
use journal::Journal;
use places::Places;
use submission::SubmissionWays;
use trial::Trials;
use upstream::{Opener, Target};

pub mod announce;
mod balancer;
pub mod enter;
mod explain;
pub mod farewell;
pub mod http;
pub mod journal;
pub mod live;
mod login;
pub mod mail;
pub mod maildrop;
pub mod places;
pub mod submission;
pub mod trial;
pub mod upstream;

/// What all sessions share.
pub struct Shared {
    /// Decides about logins.
    pub gatekeeper: Arc<Gatekeeper>,
    /// Connects to upstreams.
    pub opener: Arc<Opener>,
    /// Every bound and deadline.
    pub limits: Limits,
    /// Places for connections.
    pub census: Arc<Census>,
    /// What sources have to pay for.
    pub penalties: Arc<Penalties>,
    /// Places for sessions, by mailbox.
    pub places: Arc<Places>,
    /// The one place of each maildrop that Gatepost serves itself.
    pub maildrops: Arc<Places>,
    /// Turns of clients' own tokens at those who judge them.
    pub trials: Arc<Trials>,
    /// Places for refusals that are held back.
    pub delays: Arc<Semaphore>,
    /// What is told of every decision.
    pub journal: Arc<Journal>,
    /// Cancelled when the service stops taking logins.
    pub draining: CancellationToken,
    /// When sessions that wait are told goodbye.
    pub farewells: Arc<Farewells>,
    /// The name in SMTP greetings.
    pub server_name: Arc<str>,
}

/// A listener at work.
pub struct Service {
    /// Its configuration.
    pub listener: Listener,
    /// Certificate and key, unless the listener is plain.
    pub tls: Option<Arc<ServerConfig>>,
    /// What becomes of those who log in.
    pub serving: Serving,
    /// Connections in a row for which there was no place.
    pub full: AtomicU64,
    /// A load balancer has not said for whom it connects, and the log has it.
    pub headerless: AtomicBool,
}

/// What [`crate::config::Serves`] says, ready for use.
pub enum Serving {
    /// Logins go to a mail server, then bytes are relayed.
    Relay(Arc<Target>),
    /// Gatepost takes messages itself.
    Submission(Box<SubmissionWays>),
    /// The mailbox is read through Microsoft Graph.
    Maildrop(Arc<GraphClient>),
    /// EWS or Microsoft Graph.
    Http(Arc<Gateway>),
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

impl Subject {
    fn new(service: &Service, peer: SocketAddr) -> Self {
        Self { session: session_id(), listener: Arc::clone(&service.listener.name), peer }
    }
}

/// Who logged in, and with which device password, if it was one.
struct Whose {
    account: Arc<str>,
    device: Option<Arc<KnownPassword>>,
}

impl Whose {
    /// The device password for a log line, which leaves it out when there is none.
    fn device(&self) -> Option<tracing::field::DisplayValue<&KnownPassword>> {
        self.device.as_deref().map(tracing::field::display)
    }
}

/// How much life a token should have left at login. Exchange Online ends an IMAP session when its token expires, so IMAP
/// gets one that still lasts a while; the others are short.
fn want_life(protocol: Protocol) -> Duration {
    match protocol {
        Protocol::Imap => Duration::from_secs(30 * 60),
        Protocol::Pop3 | Protocol::Smtp | Protocol::Ews | Protocol::Graph => Duration::from_secs(5 * 60),
    }
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
