//! Passwords that a person chose and that Gatepost proves itself, because Entra never sees the user: Argon2id, bounded in
//! number and off the async threads; once proved, a keyed hash suffices.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::login::attempt_log::AttemptLog;
use crate::login::throttle::Throttle;
use gatepost_config::{Config, Grant, Limits, password_hash as password};
use gatepost_core::bounded_map::SharedMap;
use gatepost_core::clock::{Clock, Moment};
use gatepost_core::reloadable::Reloadable;
use gatepost_core::secret::Password;
use gatepost_core::source::Source;
use gatepost_core::tuple_key::TupleKey;
use gatepost_oauth::password_digest::PasswordDigest;
use gatepost_oauth::single_flight::SingleFlight;
use gatepost_oauth::source::Place;
use gatepost_oauth::tokens::{RefusedPasswords, User};

/// A wrong password is answered from memory so long, while the hashes are the same.
const REFUSED: Duration = Duration::from_secs(15 * 60);

/// Most accepted passwords remembered. The one that was accepted first gives way: whoever comes back is asked for one more hash.
const ACCEPTED: usize = 100_000;

/// Parts that they are kept in, each behind a lock of its own.
const PARTS: usize = 16;

/// Why a password did not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotProved {
    /// It is wrong.
    Wrong,
    /// It is that one of [`Hashes::barred`], and as good as wrong.
    Outside(usize),
    /// Too many were tried.
    Throttled,
    /// Too many checks are waiting.
    Busy,
    /// The check itself broke.
    Broken,
}

/// What a name with fewer hashes than others is checked against besides. Whatever fits it is wrong.
const DECOY: &str = "$argon2id$v=19$m=32768,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A password to be proved.
pub(super) struct Claim<'a> {
    /// The account, or the unknown name: whose guesses are counted.
    pub(super) who: TupleKey,
    /// Of the password, for these very hashes.
    pub(super) proof: PasswordDigest,
    /// The password.
    pub(super) password: &'a Password,
    /// Who presents it.
    pub(super) source: Source,
}

/// What a password is tried against.
#[derive(Default)]
pub(super) struct Hashes {
    /// Whatever fits one of these passes.
    pub(super) usable: Vec<String>,
    /// Whatever fits one of these is refused, and told apart for the log only.
    pub(super) barred: Vec<String>,
}

/// Proves passwords.
pub(super) struct LocalPasswords {
    clock: Clock,
    settings: Reloadable<Settings>,
    /// When, and which of the hashes it was.
    accepted: SharedMap<PasswordDigest, (Moment, usize)>,
    refused: RefusedPasswords,
    throttle: Throttle,
    /// Knows sources from before this process began.
    attempts: Arc<AttemptLog>,
    flights: SingleFlight<PasswordDigest, Result<usize, NotProved>>,
    /// Argon2 hashes so far.
    #[cfg(test)]
    runs: Arc<AtomicUsize>,
}

/// What the configuration says about them.
struct Settings {
    memory: Duration,
    hashing: Arc<Semaphore>,
    waiting: AtomicUsize,
    queue: usize,
    wait: Duration,
    /// Most hashes of one account: every wrong password costs so many, so that no name is told from another by its time.
    /// `None` where Entra proves every password: there a known name takes its time at Entra.
    most_hashes: Option<usize>,
}

impl Settings {
    fn of(config: &Config) -> Self {
        let Limits { accepted_password_memory, password_hashes, password_hash_queue, password_hash_wait, .. } =
            config.limits;
        let local = config.accounts.entries().iter().filter(|entry| entry.grant != Grant::Password);
        let most_hashes = local.map(|entry| entry.passwords.len()).max();
        Self {
            memory: accepted_password_memory,
            hashing: Arc::new(Semaphore::new(password_hashes.clamp(1, Semaphore::MAX_PERMITS))),
            waiting: AtomicUsize::new(0),
            queue: password_hash_queue,
            wait: password_hash_wait,
            most_hashes,
        }
    }
}

impl LocalPasswords {
    pub(super) fn new(config: &Config, clock: Clock, attempts: Arc<AttemptLog>) -> Self {
        Self {
            clock,
            settings: Reloadable::new(Settings::of(config)),
            accepted: SharedMap::new(ACCEPTED, PARTS),
            refused: RefusedPasswords::new(REFUSED, REFUSED),
            throttle: Throttle::default(),
            attempts,
            flights: SingleFlight::default(),
            #[cfg(test)]
            runs: Arc::default(),
        }
    }

    /// Other bounds from now on.
    pub(super) fn adjust(&self, config: &Config) {
        self.settings.set(Settings::of(config));
    }

    /// Proves that a password fits one of the usable `hashes`, within `limits.password_hash_wait` and the time of the hashes;
    /// the result is the place of that one. A wrong one costs as many as the account with the most has, of which
    /// `most_chosen` are not in the configuration.
    pub(super) async fn prove(
        self: &Arc<Self>,
        claim: Claim<'_>,
        hashes: impl FnOnce() -> Hashes,
        most_chosen: usize,
    ) -> Result<usize, NotProved> {
        if let Some(known) = self.known(&claim.proof) {
            return known;
        }
        let Claim { who, proof, password, source } = claim;
        let Some(most_hashes) = self.settings.get().most_hashes else { return Err(NotProved::Wrong) };
        let (hashes, runs) = (hashes(), (most_hashes + most_chosen).max(1));
        let flight = self.flights.join(proof, || {
            let (this, password) = (Arc::clone(self), Password::new(password.expose().to_owned()));
            async move { this.check(who, proof, password, hashes, runs, source).await }
        });
        flight.result().await.unwrap_or(Err(NotProved::Broken))
    }

    /// What memory says, if anything.
    fn known(&self, proof: &PasswordDigest) -> Option<Result<usize, NotProved>> {
        let now = self.clock.now();
        let accepted = self.accepted.part(proof).peek(proof).copied();
        if let Some((at, place)) = accepted
            && now.since(at) < self.settings.get().memory
        {
            return Some(Ok(place));
        }
        let refused = self.refused.note(proof, now)?;
        Some(Err(refused.map_or(NotProved::Wrong, NotProved::Outside)))
    }

    async fn check(
        &self,
        who: TupleKey,
        proof: PasswordDigest,
        password: Password,
        hashes: Hashes,
        runs: usize,
        source: Source,
    ) -> Result<usize, NotProved> {
        // Another flight may have landed since the caller looked.
        if let Some(known) = self.known(&proof) {
            return known;
        }
        if !self.admits(&who, source).await {
            return Err(NotProved::Throttled);
        }
        let settings = self.settings.get();
        let turn = {
            let _place = Place::take(&settings.waiting, settings.queue).ok_or(NotProved::Busy)?;
            timeout(settings.wait, Arc::clone(&settings.hashing).acquire_owned()).await
        };
        let Ok(Ok(turn)) = turn else { return Err(NotProved::Busy) };
        #[cfg(test)]
        let counted = Arc::clone(&self.runs);
        let check = tokio::task::spawn_blocking(move || {
            // Held until the work is really done, also when nobody waits for it any longer.
            let _turn = turn;
            let fits = |hash: &str| {
                #[cfg(test)]
                counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                password::verify(&password, hash)
            };
            let Hashes { usable, barred } = hashes;
            if let Some(place) = usable.iter().position(|hash| fits(hash)) {
                return Ok(place);
            }
            // Each of them, whatever fits: what is refused costs the same.
            let fitting: Vec<usize> =
                barred.iter().enumerate().filter(|(_, hash)| fits(hash)).map(|(place, _)| place).collect();
            for _ in usable.len() + barred.len()..runs {
                fits(DECOY);
            }
            Err(fitting.first().copied())
        });
        let now = self.clock.now();
        let place = match check.await.map_err(|_| NotProved::Broken)? {
            Ok(place) => place,
            Err(outside) => {
                self.refused.add_noting(proof, User::of(&who), outside, now);
                return Err(outside.map_or(NotProved::Wrong, NotProved::Outside));
            }
        };
        if self.throttle.succeeded(&who, source, now) {
            self.note(&who, source);
        }
        self.accepted.part(&proof).insert(proof, (now, place));
        Ok(place)
    }

    /// Whether the source may try a password now; the store is asked when it may not, and is none that is known.
    async fn admits(&self, who: &TupleKey, source: Source) -> bool {
        let now = self.clock.now();
        if self.throttle.admits(who, source, now) {
            return true;
        }
        if self.throttle.is_familiar(who, source)
            || !self.attempts.recall(User::of(who), source).await.is_some_and(|recalled| recalled.familiar)
        {
            return false;
        }
        self.throttle.make_familiar(who, source, now);
        self.throttle.admits(who, source, now)
    }

    /// Notes in the store where a right password came from. Nobody waits for that.
    fn note(&self, who: &TupleKey, source: Source) {
        let (attempts, user) = (Arc::clone(&self.attempts), User::of(who));
        tokio::spawn(async move {
            if let Err(error) = attempts.remember(user, source).await {
                tracing::debug!("where a right password came from could not be noted: {error}");
            }
        });
    }

    /// Forgets what was refused for this account, and how often.
    pub(super) fn unlock(&self, who: &TupleKey) {
        self.refused.forget_all(User::of(who));
        self.throttle.forget(who);
    }

    #[cfg(test)]
    pub(super) fn runs(&self) -> usize {
        self.runs.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Forgets what is out of date.
    pub(super) fn sweep(&self, now: Moment) {
        let memory = self.settings.get().memory;
        self.accepted.parts().for_each(|mut part| part.remove_oldest_while(|_, (at, _)| now.since(*at) >= memory));
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
