//! Passwords that a person chose and that Gatepost proves itself, because Entra never sees the user: Argon2id, bounded in
//! number and off the async threads; once proved, a keyed hash suffices.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::clock::{Clock, Moment};
use crate::config::{Config, Grant, Limits};
use crate::live::Live;
use crate::login::forwarding::Source;
use crate::login::password;
use crate::login::refused::RefusedPasswords;
use crate::login::throttle::Throttle;
use crate::oauth::flight::Flights;
use crate::oauth::grant::TokenKey;
use crate::oauth::proof::Proof;
use crate::oauth::source::Place;
use crate::secret::Password;

/// A wrong password is answered from memory so long, while the hashes are the same.
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

/// What an unknown name is checked against where no account has a hash to take instead. Whatever fits it is wrong.
const DECOY: &str = "$argon2id$v=19$m=32768,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A password to be proved.
pub(super) struct Claim<'a> {
    /// The account, or the unknown name: whose guesses are counted.
    pub(super) who: TokenKey,
    /// Of the password, for these very hashes.
    pub(super) proof: Proof,
    /// The password.
    pub(super) password: &'a Password,
    /// Who presents it.
    pub(super) source: Source,
}

/// Proves passwords.
pub(super) struct LocalPasswords {
    clock: Clock,
    settings: Live<Settings>,
    /// When, and which of the hashes it was.
    accepted: DashMap<Proof, (Moment, usize)>,
    refused: RefusedPasswords,
    throttle: Throttle,
    flights: Flights<Proof, Result<usize, NotProved>>,
}

/// What the configuration says about them.
struct Settings {
    memory: Duration,
    hashing: Arc<Semaphore>,
    waiting: AtomicUsize,
    queue: usize,
    wait: Duration,
    /// What a name without hashes is checked against, so that it takes as long as one that has some. Empty where Entra
    /// proves every password: there a known name takes its time at Entra.
    decoy: Vec<String>,
}

impl Settings {
    fn of(config: &Config) -> Self {
        let Limits { accepted_password_memory, password_hashes, password_hash_queue, password_hash_wait, .. } =
            config.limits;
        let local = || config.accounts.entries().iter().filter(|entry| entry.grant != Grant::Password);
        let decoy = match local().find(|entry| !entry.passwords.is_empty()) {
            Some(entry) => entry.passwords.clone(),
            None => local().next().map(|_| DECOY.to_owned()).into_iter().collect(),
        };
        Self {
            memory: accepted_password_memory,
            hashing: Arc::new(Semaphore::new(password_hashes.clamp(1, Semaphore::MAX_PERMITS))),
            waiting: AtomicUsize::new(0),
            queue: password_hash_queue,
            wait: password_hash_wait,
            decoy,
        }
    }
}

impl LocalPasswords {
    pub(super) fn new(config: &Config, clock: Clock) -> Self {
        Self {
            clock,
            settings: Live::new(Settings::of(config)),
            accepted: DashMap::new(),
            refused: RefusedPasswords::new(REFUSED, REFUSED),
            throttle: Throttle::default(),
            flights: Flights::default(),
        }
    }

    /// Other bounds, and another decoy, from now on.
    pub(super) fn adjust(&self, config: &Config) {
        self.settings.set(Settings::of(config));
    }

    /// Proves that a password fits one of `hashes`, within `limits.password_hash_wait` and the time of the hashes; the
    /// result is the place of that one. Without hashes it is wrong, and that takes as long.
    pub(super) async fn prove(
        self: &Arc<Self>,
        claim: Claim<'_>,
        hashes: impl FnOnce() -> Vec<String>,
    ) -> Result<usize, NotProved> {
        if let Some(known) = self.known(&claim.proof) {
            return known;
        }
        let Claim { who, proof, password, source } = claim;
        let (hashes, counts) = match hashes() {
            none if none.is_empty() => (self.settings.get().decoy.clone(), false),
            some => (some, true),
        };
        if hashes.is_empty() {
            return Err(NotProved::Wrong);
        }
        let flight = self.flights.join(proof, || {
            let (this, password) = (Arc::clone(self), Password::new(password.expose().to_owned()));
            async move { this.check(who, proof, password, hashes, counts, source).await }
        });
        flight.result().await.unwrap_or(Err(NotProved::Broken))
    }

    /// What memory says, if anything.
    fn known(&self, proof: &Proof) -> Option<Result<usize, NotProved>> {
        let now = self.clock.now();
        let accepted = self.accepted.get(proof).map(|accepted| *accepted);
        if let Some((at, place)) = accepted
            && now.since(at) < self.settings.get().memory
        {
            return Some(Ok(place));
        }
        self.refused.answers(proof, now).then_some(Err(NotProved::Wrong))
    }

    async fn check(
        &self,
        who: TokenKey,
        proof: Proof,
        password: Password,
        hashes: Vec<String>,
        counts: bool,
        source: Source,
    ) -> Result<usize, NotProved> {
        // Another flight may have landed since the caller looked.
        if let Some(known) = self.known(&proof) {
            return known;
        }
        if !self.throttle.admits(&who, source, self.clock.now()) {
            return Err(NotProved::Throttled);
        }
        let settings = self.settings.get();
        let turn = {
            let _place = Place::take(&settings.waiting, settings.queue).ok_or(NotProved::Busy)?;
            timeout(settings.wait, Arc::clone(&settings.hashing).acquire_owned()).await
        };
        let Ok(Ok(turn)) = turn else { return Err(NotProved::Busy) };
        let check = tokio::task::spawn_blocking(move || {
            // Held until the work is really done, also when nobody waits for it any longer.
            let _turn = turn;
            hashes.iter().position(|hash| password::verify(&password, hash))
        });
        let right = check.await.map_err(|_| NotProved::Broken)?.filter(|_| counts);
        let now = self.clock.now();
        let Some(place) = right else {
            self.refused.add(proof, who, now);
            return Err(NotProved::Wrong);
        };
        self.throttle.succeeded(&who, source);
        if self.accepted.len() >= ACCEPTED {
            self.forget_accepted(now);
        }
        self.accepted.insert(proof, (now, place));
        Ok(place)
    }

    fn forget_accepted(&self, now: Moment) {
        let memory = self.settings.get().memory;
        self.accepted.retain(|_, (at, _)| now.since(*at) < memory);
        if self.accepted.len() >= ACCEPTED {
            // Whoever comes back is asked for one more hash.
            self.accepted.clear();
        }
    }

    /// Forgets what was refused for this account, and how often.
    pub(super) fn unlock(&self, who: &TokenKey) {
        self.refused.forget_all(who);
        self.throttle.forget(who);
    }

    /// Forgets what is out of date.
    pub(super) fn sweep(&self, now: Moment) {
        let memory = self.settings.get().memory;
        self.accepted.retain(|_, (at, _)| now.since(*at) < memory);
        self.refused.sweep(now);
        self.throttle.sweep(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise it would be refused at once, and an unknown name be told by that.
    #[test]
    fn the_decoy_costs_what_a_hash_costs() {
        assert_eq!(password::check_phc(DECOY), Ok(()));
        let parameters = |phc: &str| phc.split('$').nth(3).map(str::to_owned);
        assert_eq!(parameters(DECOY), parameters(&password::hash(&Password::new("any".into())).unwrap()));
    }
}
