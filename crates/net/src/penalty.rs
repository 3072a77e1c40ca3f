//! Penalties of sources that misbehave before a login, in seconds that run down by themselves: the idea, and the order of
//! magnitude, of OpenSSH's `PerSourcePenalties` (sshd_config(5)).
//!
//! Once a source has more than [`Rules::threshold`], its connections are closed without a greeting until nothing is left.
//! An IPv6 /48, which may be one customer with 65,536 sources of its own, has an account as well, of eight times the
//! threshold. A wrong password that the same source presents again costs nothing: it is a program that nobody has
//! corrected, and shutting it out would take the household or office with it. Loopback is every local client at once and
//! is never penalised.

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

/// An IPv6 /48 is closed above so many times the threshold of a source.
const NETWORK_FACTOR: u32 = 8;

/// Accounts at which a source may fail are counted over this time.
const SPRAYING_WINDOW: Duration = Duration::from_secs(600);

/// What a client did before a login, other than present a wrong password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misbehavior {
    /// It left without having tried to log in.
    NoLogin,
    /// It took too long.
    Timeout,
    /// It sent what is no command of a mail program.
    Garbage,
    /// It sent an HTTP request.
    Http,
    /// The session broke off inside of Gatepost.
    Panic,
}

/// The accounts of all sources.
pub struct Penalties {
    rules: Reloadable<Rules>,
    clock: Clock,
    ipv4: Mutex<Table<u32>>,
    ipv6: Mutex<Table<u64>>,
    networks: Mutex<Table<u64>>,
    /// Keys the fingerprints of accounts and passwords. It is random and stays in memory.
    fingerprints: RandomState,
    loopback_too: AtomicBool,
    /// Load balancers that have looked whether this service is well, as they do all the time.
    balancers: Mutex<HashSet<Source>>,
}

/// Most balancers that are remembered.
const BALANCERS: usize = 1_024;

impl Penalties {
    /// Nobody has one yet.
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

    /// Other rules from now on. What was charged stays charged.
    pub fn adjust(&self, rules: &Rules) {
        locked(&self.ipv4).adjust(rules.sources, rules.threshold, rules.cap);
        locked(&self.ipv6).adjust(rules.sources, rules.threshold, rules.cap);
        locked(&self.networks).adjust(rules.sources, network_threshold(rules), rules.cap);
        self.rules.set(rules.clone());
    }

    /// From now on loopback is a source as any other. For tests, whose clients are all there; no configuration leads here.
    #[doc(hidden)]
    pub fn include_loopback(&self) {
        self.loopback_too.store(true, Ordering::Relaxed);
    }

    /// A load balancer that may be believed connects on its own behalf: that it then leaves without a login costs nothing.
    pub fn know_balancer(&self, peer: IpAddr) {
        let mut balancers = self.balancers();
        if balancers.len() < BALANCERS {
            balancers.insert(Source::of(peer));
        }
    }

    /// Whether a connection from `peer` is to be closed without a word.
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

    /// The account of one connection from `peer`, until its login is decided.
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
                // That one source sprays closes the source; its network pays for the password only.
                if is_new {
                    locked(&self.networks).penalize(network(subnet), self.rules.get().wrong_password, now);
                }
            }
            None => {}
        }
    }

    /// True when it was a new guess.
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

    /// 32 bits: enough to tell a repeated password from another, too few to find one by.
    fn fingerprint(&self, what: impl Hash) -> u32 {
        let [_, _, _, _, a, b, c, d] = self.fingerprints.hash_one(what).to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }

    fn balancers(&self) -> MutexGuard<'_, HashSet<Source>> {
        self.balancers.lock()
    }

    /// `None` for whoever is exempt.
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
    // A table in which an entry is missing is still one.
    table.lock()
}

/// One connection that has not logged in. When it is dropped without anything having been presented or charged, it costs
/// what a connection without a login costs; when that happens in a panic, what a panic costs.
pub struct PenaltyGuard {
    penalties: Arc<Penalties>,
    peer: IpAddr,
    settled: AtomicBool,
}

impl PenaltyGuard {
    /// Whatever comes of it, the client has done nothing that would cost something: it tried to log in, or it was sent away.
    pub fn forgive(&self) {
        self.settled.store(true, Ordering::Relaxed);
    }

    /// The client did something that costs.
    pub fn penalize(&self, offence: Misbehavior) {
        self.forgive();
        self.penalties.penalize(self.peer, offence);
    }

    /// The client presented a wrong password, or one for an account that does not exist.
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
