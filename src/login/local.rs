//! Passwords that Gatepost proves itself, because Entra never sees the user: Argon2id, bounded in number and off the
//! async threads; once proved, a keyed hash suffices.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::clock::{Clock, Moment};
use crate::config::{Account, Config, Limits};
use crate::login::forwarding::Source;
use crate::login::password;
use crate::login::refused::RefusedPasswords;
use crate::login::throttle::Throttle;
use crate::oauth::flight::Flights;
use crate::oauth::grant::TokenKey;
use crate::oauth::proof::Proof;
use crate::oauth::source::Place;
use crate::secret::Password;

/// A wrong password is answered from memory so long: the hashes do not change while the process runs.
const REFUSED: Duration = Duration::from_secs(15 * 60);

/// Most accepted passwords remembered.
const ACCEPTED: usize = 100_000;

/// Why a password did not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotProved {
    /// It is wrong.
    Wrong,
    /// Too many were tried.
    Throttled,
    /// Too many checks are waiting.
    Busy,
    /// The check itself broke.
    Broken,
}

/// A password to be proved.
pub(super) struct Claim<'a> {
    /// The account, or the unknown name.
    pub(super) who: TokenKey,
    /// Of the password, for `who`.
    pub(super) proof: Proof,
    /// The password.
    pub(super) password: &'a Password,
    /// Whose hashes it must fit; `None` for an unknown name, whose password is always wrong.
    pub(super) account: Option<&'a Arc<Account>>,
    /// Who presents it.
    pub(super) source: Source,
}

/// Proves passwords.
pub(super) struct LocalPasswords {
    clock: Clock,
    memory: Duration,
    accepted: DashMap<Proof, Moment>,
    refused: RefusedPasswords,
    throttle: Throttle,
    flights: Flights<Proof, Result<(), NotProved>>,
    hashing: Arc<Semaphore>,
    waiting: AtomicUsize,
    queue: usize,
    wait: Duration,
    /// What an unknown name is checked against, so that it takes as long as a known one.
    decoy: Option<Arc<Account>>,
}

impl LocalPasswords {
    pub(super) fn new(config: &Config, clock: Clock) -> Self {
        let Limits { accepted_password_memory, password_hashes, password_hash_queue, password_hash_wait, .. } =
            config.limits;
        let decoy = config.accounts.entries().iter().find(|entry| !hashes(entry).is_empty());
        Self {
            clock,
            memory: accepted_password_memory,
            accepted: DashMap::new(),
            refused: RefusedPasswords::new(REFUSED, REFUSED),
            throttle: Throttle::default(),
            flights: Flights::default(),
            hashing: Arc::new(Semaphore::new(password_hashes.clamp(1, Semaphore::MAX_PERMITS))),
            waiting: AtomicUsize::new(0),
            queue: password_hash_queue,
            wait: password_hash_wait,
            decoy: decoy.cloned(),
        }
    }

    /// Proves a password, within `limits.password_hash_wait` and the time of the hashes.
    pub(super) async fn prove(self: &Arc<Self>, claim: Claim<'_>) -> Result<(), NotProved> {
        if let Some(known) = self.known(&claim.proof) {
            return known;
        }
        let (against, counts) = match (claim.account, &self.decoy) {
            (Some(account), _) => (Arc::clone(account), true),
            (None, Some(decoy)) => (Arc::clone(decoy), false),
            (None, None) => return Err(NotProved::Wrong),
        };
        let Claim { who, proof, password, source, .. } = claim;
        let flight = self.flights.join(proof, || {
            let (this, password) = (Arc::clone(self), Password::new(password.expose().to_owned()));
            async move { this.check(who, proof, password, against, counts, source).await }
        });
        flight.result().await.unwrap_or(Err(NotProved::Broken))
    }

    /// What memory says, if anything.
    fn known(&self, proof: &Proof) -> Option<Result<(), NotProved>> {
        let now = self.clock.now();
        if self.accepted.get(proof).is_some_and(|at| now.since(*at) < self.memory) {
            return Some(Ok(()));
        }
        self.refused.answers(proof, now).then_some(Err(NotProved::Wrong))
    }

    async fn check(
        &self,
        who: TokenKey,
        proof: Proof,
        password: Password,
        against: Arc<Account>,
        counts: bool,
        source: Source,
    ) -> Result<(), NotProved> {
        // Another flight may have landed since the caller looked.
        if let Some(known) = self.known(&proof) {
            return known;
        }
        if !self.throttle.admits(&who, source, self.clock.now()) {
            return Err(NotProved::Throttled);
        }
        let turn = {
            let _place = Place::take(&self.waiting, self.queue).ok_or(NotProved::Busy)?;
            timeout(self.wait, Arc::clone(&self.hashing).acquire_owned()).await
        };
        let Ok(Ok(turn)) = turn else { return Err(NotProved::Busy) };
        let check = tokio::task::spawn_blocking(move || {
            // Held until the work is really done, also when nobody waits for it any longer.
            let _turn = turn;
            hashes(&against).iter().any(|hash| password::verify(&password, hash))
        });
        let right = check.await.map_err(|_| NotProved::Broken)? && counts;
        let now = self.clock.now();
        if !right {
            self.refused.add(proof, now);
            return Err(NotProved::Wrong);
        }
        self.throttle.succeeded(&who, source);
        if self.accepted.len() >= ACCEPTED {
            self.forget_accepted(now);
        }
        self.accepted.insert(proof, now);
        Ok(())
    }

    fn forget_accepted(&self, now: Moment) {
        self.accepted.retain(|_, at| now.since(*at) < self.memory);
        if self.accepted.len() >= ACCEPTED {
            // Whoever comes back is asked for one more hash.
            self.accepted.clear();
        }
    }

    /// Forgets what is out of date.
    pub(super) fn sweep(&self, now: Moment) {
        self.accepted.retain(|_, at| now.since(*at) < self.memory);
        self.refused.sweep(now);
        self.throttle.sweep(now);
    }
}

fn hashes(account: &Account) -> &[String] {
    &account.passwords
}
