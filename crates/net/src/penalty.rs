//! Penalties for sources that misbehave before a login, in seconds that run down by themselves. The
//! idea and the order of magnitude are those of OpenSSH's `PerSourcePenalties` (sshd_config(5)).
//!
//! If a source has more than [`Rules::threshold`], its connections are closed without a greeting
//! until nothing is left. An IPv6 /48, which may be one customer with 65,536 sources, has a penalty
//! of its own as well, with eight times the threshold. If a source presents the same wrong password
//! again, it costs nothing: it is a client that nobody has corrected, and a block would affect the
//! whole household or office. Loopback is never penalized, because it is every local client at
//! once.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use gatepost_config::penalties::Rules;
use gatepost_core::clock::{Clock, Moment};
use gatepost_core::reloadable::Reloadable;
use gatepost_core::source::Source;
pub use table::Closed;
use table::{Guessed, Table};

mod table;

/// The threshold of an IPv6 /48, as a multiple of that of a source.
const NETWORK_FACTOR: u32 = 8;

/// The time over which the accounts at which a source failed are counted.
const SPRAYING_WINDOW: Duration = Duration::from_secs(600);

/// What a client did before a login, other than presenting a wrong password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misbehavior {
    /// It closed the connection without trying to log in.
    NoLogin,
    /// It took too long.
    Timeout,
    /// It sent something that is no command of a mail client.
    Garbage,
    /// It sent an HTTP request.
    Http,
    /// The session panicked inside Gatepost.
    Panic,
}

/// The penalties of all sources.
pub struct Penalties {
    rules: Reloadable<Rules>,
    clock: Clock,
    ipv4: Mutex<Table<u32>>,
    ipv6: Mutex<Table<u64>>,
    networks: Mutex<Table<u64>>,
    /// Keys the fingerprints of accounts and passwords. The key is random and stays in memory.
    fingerprints: RandomState,
    loopback_too: AtomicBool,
    /// Load balancers that have made health checks, which they repeat all the time.
    balancers: Mutex<HashSet<Source>>,
}

/// Most load balancers remembered.
const BALANCERS: usize = 1_024;

impl Penalties {
    /// Creates it without any penalties.
    pub fn new(rules: &Rules, clock: Clock) -> Arc<Self> {
        let network_threshold = network_threshold(rules);
        Arc::new(Self {
            ipv4: Mutex::new(Table::new(rules.sources, rules.threshold, rules.cap, clock.now())),
            ipv6: Mutex::new(Table::new(rules.sources, rules.threshold, rules.cap, clock.now())),
            networks: Mutex::new(Table::new(rules.sources, network_threshold, rules.cap, clock.now())),
            rules: Reloadable::new(rules.clone()),
            clock,
            fingerprints: RandomState::new(),
            loopback_too: AtomicBool::new(false),
            balancers: Mutex::default(),
        })
    }

    /// Replaces the rules. Penalties so far remain.
    pub fn adjust(&self, rules: &Rules) {
        locked(&self.ipv4).adjust(rules.sources, rules.threshold, rules.cap);
        locked(&self.ipv6).adjust(rules.sources, rules.threshold, rules.cap);
        locked(&self.networks).adjust(rules.sources, network_threshold(rules), rules.cap);
        self.rules.set(rules.clone());
    }

    /// Makes loopback a source like any other. Only for tests, whose clients are all on loopback;
    /// no configuration does this.
    #[doc(hidden)]
    pub fn include_loopback(&self) {
        self.loopback_too.store(true, Ordering::Relaxed);
    }

    /// Remembers a trusted load balancer that connected for itself. If it closes a connection
    /// without a login, that costs nothing.
    pub fn know_balancer(&self, peer: IpAddr) {
        let mut balancers = self.balancers();
        if balancers.len() < BALANCERS {
            balancers.insert(Source::of(peer));
        }
    }

    /// Whether a connection from `peer` is to be closed without a greeting.
    pub fn closed(&self, peer: IpAddr) -> Option<Closed> {
        let now = self.clock.now();
        match self.source(peer)? {
            Source::Ipv4(address) => locked(&self.ipv4).closed(address, now),
            Source::Ipv6(subnet) => {
                let of_source = locked(&self.ipv6).closed(subnet, now);
                of_source.or_else(|| locked(&self.networks).closed(network(subnet), now))
            }
        }
    }

    /// Creates the guard of one connection from `peer`, which is kept until its login is decided.
    pub fn visit(self: &Arc<Self>, peer: IpAddr) -> PenaltyGuard {
        PenaltyGuard { penalties: Arc::clone(self), peer, settled: AtomicBool::new(false) }
    }

    fn penalize(&self, peer: IpAddr, offence: Misbehavior) {
        if offence == Misbehavior::NoLogin && self.balancers().contains(&Source::of(peer)) {
            return;
        }
        let rules = self.rules.get();
        let cost = match offence {
            Misbehavior::NoLogin => rules.no_login,
            Misbehavior::Timeout => rules.timeout,
            Misbehavior::Garbage => rules.garbage,
            Misbehavior::Http => rules.http,
            Misbehavior::Panic => rules.panic,
        };
        let now = self.clock.now();
        match self.source(peer) {
            Some(Source::Ipv4(address)) => locked(&self.ipv4).penalize(address, cost, now),
            Some(Source::Ipv6(subnet)) => {
                locked(&self.ipv6).penalize(subnet, cost, now);
                locked(&self.networks).penalize(network(subnet), cost, now);
            }
            None => {}
        }
    }

    fn charge_guess(&self, peer: IpAddr, account: &str, secret: &str) {
        let now = self.clock.now();
        let guessed = Guessed { account: self.fingerprint(account), login: self.fingerprint((account, secret)) };
        match self.source(peer) {
            Some(Source::Ipv4(address)) => {
                self.judge(&mut locked(&self.ipv4), address, guessed, now);
            }
            Some(Source::Ipv6(subnet)) => {
                let is_new = self.judge(&mut locked(&self.ipv6), subnet, guessed, now);
                // Spraying closes only the source itself. Its network is charged only for the wrong
                // password.
                if is_new {
                    locked(&self.networks).penalize(network(subnet), self.rules.get().wrong_password, now);
                }
            }
            None => {}
        }
    }

    /// Charges a table for a guess. True if the guess was new.
    fn judge<K: Copy + Ord + Hash>(&self, table: &mut Table<K>, key: K, guessed: Guessed, now: Moment) -> bool {
        let rules = self.rules.get();
        let accounts = table.guess(key, guessed, rules.wrong_password, SPRAYING_WINDOW, now);
        let Some(accounts) = accounts else { return false };
        if accounts > rules.spraying_accounts {
            table.penalize(key, rules.spraying, now);
            table.begin_anew(key);
        }
        true
    }

    /// A fingerprint of 32 bits: enough to recognise a repeated password, too few to find the
    /// password from it.
    fn fingerprint(&self, what: impl Hash) -> u32 {
        let [_, _, _, _, a, b, c, d] = self.fingerprints.hash_one(what).to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }

    fn balancers(&self) -> MutexGuard<'_, HashSet<Source>> {
        self.balancers.lock()
    }

    /// The source of an address; `None` if it is exempt.
    fn source(&self, peer: IpAddr) -> Option<Source> {
        let exempt = peer.to_canonical().is_loopback() && !self.loopback_too.load(Ordering::Relaxed);
        (!exempt).then(|| Source::of(peer))
    }
}

fn network_threshold(rules: &Rules) -> Duration {
    rules.threshold.saturating_mul(NETWORK_FACTOR)
}

fn network(subnet: u64) -> u64 {
    subnet >> 16
}

fn locked<K>(table: &Mutex<Table<K>>) -> MutexGuard<'_, Table<K>> {
    // A table is usable even if a panic left an entry out.
    table.lock()
}

/// Guards one connection that has not logged in. If nothing was presented or charged when it is
/// dropped, it charges for a connection without a login. If it is dropped in a panic, it charges
/// for the panic.
pub struct PenaltyGuard {
    penalties: Arc<Penalties>,
    peer: IpAddr,
    settled: AtomicBool,
}

impl PenaltyGuard {
    /// Makes the connection free of charge, whatever happens later: the client tried to log in, or
    /// was turned away.
    pub fn forgive(&self) {
        self.settled.store(true, Ordering::Relaxed);
    }

    /// Charges for misbehavior of the client.
    pub fn penalize(&self, offence: Misbehavior) {
        self.forgive();
        self.penalties.penalize(self.peer, offence);
    }

    /// Charges for a wrong password, or for a password for an account that does not exist.
    pub fn charge_guess(&self, account: &str, secret: &str) {
        self.forgive();
        self.penalties.charge_guess(self.peer, account, secret);
    }
}

impl Drop for PenaltyGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.penalties.penalize(self.peer, Misbehavior::Panic);
        } else if !*self.settled.get_mut() {
            self.penalties.penalize(self.peer, Misbehavior::NoLogin);
        }
    }
}

#[cfg(test)]
mod tests;
