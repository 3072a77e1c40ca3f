//! Limits on connections: in total and by source, before and after the login.
//!
//! Connections before and after the login are counted separately, so that strangers cannot use up
//! the permits of clients that have logged in. Loopback is exempt from the limits by source and
//! before the login, because it is the address of every local client at once.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;

use gatepost_config::Limits;
use gatepost_core::jitter;
use gatepost_core::reloadable::Reloadable;
use gatepost_core::source::Source;

/// Counts connections and grants permits.
pub struct ConnectionLimiter {
    bounds: Reloadable<Bounds>,
    total: AtomicUsize,
    before_login: AtomicUsize,
    sources: DashMap<Source, Counts>,
}

struct Bounds {
    connections: usize,
    per_source: usize,
    pre_auth: usize,
    pre_auth_per_source: usize,
}

impl Bounds {
    fn of(limits: &Limits) -> Self {
        Self {
            connections: limits.connections,
            per_source: limits.connections_per_source,
            pre_auth: limits.pre_auth_connections,
            pre_auth_per_source: limits.pre_auth_connections_per_source,
        }
    }

    /// Whether to refuse a connection early. If half of the permits are in use, 30 % are refused at
    /// random, rising to all when none is left (as with OpenSSH's `MaxStartups`). A flood then
    /// cannot keep out a client that tries again.
    fn drops_early(&self, before_login: usize, percent: usize) -> bool {
        let start = self.pre_auth / 2;
        if before_login < start {
            return false;
        }
        let above = before_login.min(self.pre_auth) - start;
        let refused_percent = 30 + 70 * above / (self.pre_auth - start).max(1);
        percent < refused_percent
    }
}

#[derive(Default)]
struct Counts {
    total: usize,
    before_login: usize,
}

/// Why a connection gets no permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionLimitReached {
    /// `limits.connections` is reached.
    Total,
    /// `limits.connections_per_source` is reached.
    TotalOfSource,
    /// `limits.pre_auth_connections` is reached, or the random early drop below it refused the
    /// connection.
    BeforeLogin,
    /// `limits.pre_auth_connections_per_source` is reached.
    BeforeLoginOfSource,
}

impl ConnectionLimitReached {
    /// The configuration key that sets the limit.
    pub fn limit(self) -> &'static str {
        match self {
            Self::Total => "limits.connections",
            Self::TotalOfSource => "limits.connections_per_source",
            Self::BeforeLogin => "limits.pre_auth_connections",
            Self::BeforeLoginOfSource => "limits.pre_auth_connections_per_source",
        }
    }
}

impl ConnectionLimiter {
    /// Creates a limiter without any connection.
    pub fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            bounds: Reloadable::new(Bounds::of(limits)),
            total: AtomicUsize::new(0),
            before_login: AtomicUsize::new(0),
            sources: DashMap::new(),
        })
    }

    /// Replaces the limits. Existing connections are not closed.
    pub fn adjust(&self, limits: &Limits) {
        self.bounds.set(Bounds::of(limits));
    }

    /// Grants a permit for a connection from `peer` that has not logged in yet.
    ///
    /// # Errors
    /// [`ConnectionLimitReached`] names the limit that was reached.
    pub fn acquire(self: &Arc<Self>, peer: IpAddr) -> Result<ConnectionPermit, ConnectionLimitReached> {
        let bounds = self.bounds.get();
        if self.total.load(Ordering::Relaxed) >= bounds.connections {
            return Err(ConnectionLimitReached::Total);
        }
        let source = (!peer.to_canonical().is_loopback()).then(|| Source::of(peer));
        if let Some(source) = source {
            if bounds.drops_early(self.before_login.load(Ordering::Relaxed), (jitter::random() % 100) as usize) {
                return Err(ConnectionLimitReached::BeforeLogin);
            }
            let mut counts = self.sources.entry(source).or_default();
            if counts.total >= bounds.per_source {
                return Err(ConnectionLimitReached::TotalOfSource);
            }
            if counts.before_login >= bounds.pre_auth_per_source {
                return Err(ConnectionLimitReached::BeforeLoginOfSource);
            }
            counts.total += 1;
            counts.before_login += 1;
            self.before_login.fetch_add(1, Ordering::Relaxed);
        }
        self.total.fetch_add(1, Ordering::Relaxed);
        Ok(ConnectionPermit {
            connections: Arc::clone(self),
            whose: source.map_or(SlotOwner::Exempt, SlotOwner::Source),
            before_login: true,
        })
    }

    /// Grants a permit for a connection from a load balancer that has not announced its client's
    /// address yet. The balancer is not limited by source, only in total and before the login.
    ///
    /// # Errors
    /// [`ConnectionLimitReached`] names the limit that was reached.
    pub fn enter_unknown(self: &Arc<Self>) -> Result<ConnectionPermit, ConnectionLimitReached> {
        let bounds = self.bounds.get();
        if self.total.load(Ordering::Relaxed) >= bounds.connections {
            return Err(ConnectionLimitReached::Total);
        }
        if self.before_login.load(Ordering::Relaxed) >= bounds.pre_auth {
            return Err(ConnectionLimitReached::BeforeLogin);
        }
        self.before_login.fetch_add(1, Ordering::Relaxed);
        self.total.fetch_add(1, Ordering::Relaxed);
        Ok(ConnectionPermit { connections: Arc::clone(self), whose: SlotOwner::Unknown, before_login: true })
    }

    /// The number of connections.
    pub fn connections(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// True if more than four fifths of the permits before the login are in use. Deadlines before
    /// the login are shorter then.
    pub fn is_overloaded(&self) -> bool {
        self.before_login.load(Ordering::Relaxed) * 5 > self.bounds.get().pre_auth * 4
    }
}

/// The permit of one connection; dropping it gives it back.
pub struct ConnectionPermit {
    connections: Arc<ConnectionLimiter>,
    whose: SlotOwner,
    before_login: bool,
}

/// The holder of a permit.
#[derive(Clone, Copy)]
enum SlotOwner {
    Source(Source),
    /// Loopback, which is counted in the total only.
    Exempt,
    /// A client whose address is not known yet.
    Unknown,
}

impl ConnectionPermit {
    /// Notes that the connection has logged in: it no longer counts as one before the login.
    pub fn logged_in(&mut self) {
        if !std::mem::take(&mut self.before_login) {
            return;
        }
        match self.whose {
            SlotOwner::Exempt => {}
            SlotOwner::Unknown => {
                self.connections.before_login.fetch_sub(1, Ordering::Relaxed);
            }
            SlotOwner::Source(source) => {
                self.connections.before_login.fetch_sub(1, Ordering::Relaxed);
                if let Some(mut counts) = self.connections.sources.get_mut(&source) {
                    counts.before_login -= 1;
                }
            }
        }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.logged_in();
        self.connections.total.fetch_sub(1, Ordering::Relaxed);
        if let SlotOwner::Source(source) = self.whose {
            if let Some(mut counts) = self.connections.sources.get_mut(&source) {
                counts.total -= 1;
            }
            self.connections.sources.remove_if(&source, |_, counts| counts.total == 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(
        connections: usize,
        per_source: usize,
        pre_auth: usize,
        pre_auth_per_source: usize,
    ) -> Arc<ConnectionLimiter> {
        ConnectionLimiter::new(&Limits {
            connections,
            connections_per_source: per_source,
            pre_auth_connections: pre_auth,
            pre_auth_connections_per_source: pre_auth_per_source,
            ..Limits::default()
        })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn places_are_given_back() {
        let connections = connections(3, 2, 100, 1);
        let peer = ip("192.0.2.1");
        let mut first = connections.acquire(peer).unwrap();
        assert_eq!(connections.acquire(peer).err(), Some(ConnectionLimitReached::BeforeLoginOfSource));
        first.logged_in();
        let second = connections.acquire(peer).unwrap();
        drop(second);
        let mut second = connections.acquire(peer).unwrap();
        second.logged_in();
        assert_eq!(connections.acquire(peer).err(), Some(ConnectionLimitReached::TotalOfSource));
        let third = connections.acquire(ip("192.0.2.2")).unwrap();
        assert_eq!(connections.acquire(ip("192.0.2.3")).err(), Some(ConnectionLimitReached::Total));
        drop((first, second, third));
        assert_eq!(connections.connections(), 0);
        assert!(connections.sources.is_empty());
        assert_eq!(connections.before_login.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn lower_bounds_send_nobody_away_who_is_there() {
        let connections = connections(3, 3, 100, 3);
        let peer = ip("192.0.2.1");
        let there: Vec<_> = (0..3).map(|_| connections.acquire(peer).unwrap()).collect();
        connections.adjust(&Limits { connections: 2, ..Limits::default() });
        assert_eq!(connections.acquire(peer).err(), Some(ConnectionLimitReached::Total));
        drop(there);
        let _places = (connections.acquire(peer).unwrap(), connections.acquire(peer).unwrap());
        assert_eq!(connections.acquire(peer).err(), Some(ConnectionLimitReached::Total));
    }

    #[test]
    fn an_ipv6_network_of_64_bits_is_one_source() {
        let connections = connections(10, 1, 100, 1);
        let _one = connections.acquire(ip("2001:db8::1")).unwrap();
        assert!(connections.acquire(ip("2001:db8::2")).is_err());
        assert!(connections.acquire(ip("2001:db8:0:1::1")).is_ok());
        // The same host by its IPv4-mapped address.
        let _four = connections.acquire(ip("192.0.2.1")).unwrap();
        assert!(connections.acquire(ip("::ffff:192.0.2.1")).is_err());
    }

    #[test]
    fn loopback_is_bounded_in_all_only() {
        let connections = connections(5, 1, 2, 1);
        let places: Vec<_> = (0..5).map(|_| connections.acquire(ip("127.0.0.1")).unwrap()).collect();
        assert_eq!(connections.acquire(ip("::1")).err(), Some(ConnectionLimitReached::Total));
        drop(places);
    }

    #[test]
    fn a_client_that_is_not_known_yet_counts_before_the_login_only() {
        let connections = connections(3, 1, 2, 1);
        let places: Vec<_> = (0..2).map(|_| connections.enter_unknown().unwrap()).collect();
        assert_eq!(connections.enter_unknown().err(), Some(ConnectionLimitReached::BeforeLogin));
        assert_eq!(connections.acquire(ip("192.0.2.1")).err(), Some(ConnectionLimitReached::BeforeLogin));
        drop(places);
        let _loopback: Vec<_> = (0..3).map(|_| connections.acquire(ip("127.0.0.1")).unwrap()).collect();
        assert_eq!(connections.enter_unknown().err(), Some(ConnectionLimitReached::Total));
        assert_eq!(connections.before_login.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn refusals_rise_from_half_of_the_places() {
        let connections = connections(1_000, 1_000, 100, 1_000).bounds.get();
        assert!(!connections.drops_early(49, 0));
        assert!(connections.drops_early(50, 29) && !connections.drops_early(50, 30));
        assert!(connections.drops_early(75, 64) && !connections.drops_early(75, 65));
        assert!(connections.drops_early(100, 99));
        assert!(connections.drops_early(200, 99));
    }
}
