//! Verifies passwords that a person chose and that Entra never sees. It uses Argon2id, limited in
//! number and on threads that yield to the sessions. For a password that was accepted once, a keyed
//! hash suffices.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::login::attempt_log::AttemptLog;
use crate::login::throttle::Throttle;
use crate::system::low_priority;
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

/// How long a wrong password is answered from memory while the hashes are unchanged.
const REFUSED: Duration = Duration::from_secs(15 * 60);

/// Most accepted passwords remembered. The one that was accepted first is evicted, which costs its
/// client one more hash.
const ACCEPTED: usize = 100_000;

/// Number of parts that the memory is split into, each with its own lock.
const PARTS: usize = 16;

/// Why a password did not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotProved {
    /// It is wrong.
    Wrong,
    /// It fits this one of [`Hashes::barred`], which counts as wrong.
    Outside(usize),
    /// Too many were tried.
    Throttled,
    /// Too many checks are waiting.
    Busy,
    /// The check itself failed.
    Broken,
}

/// A hash that a name with fewer hashes than others is also checked against. A password that fits
/// it is wrong.
const DECOY: &str = "$argon2id$v=19$m=32768,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A password to be verified.
pub(super) struct Claim<'a> {
    /// The account, or the unknown name, for which guesses are counted.
    pub(super) who: TupleKey,
    /// The digest of the password, for exactly these hashes.
    pub(super) proof: PasswordDigest,
    /// The password.
    pub(super) password: &'a Password,
    /// The address that presents it.
    pub(super) source: Source,
}

/// What a password is tried against.
#[derive(Default)]
pub(super) struct Hashes {
    /// Hashes of passwords that pass.
    pub(super) usable: Vec<String>,
    /// Hashes of passwords that are refused. They are told apart only for the log.
    pub(super) barred: Vec<String>,
}

/// Verifies passwords.
pub(super) struct LocalPasswords {
    clock: Clock,
    settings: Reloadable<Settings>,
    /// When each was accepted, and the index of its hash.
    accepted: SharedMap<PasswordDigest, (Moment, usize)>,
    refused: RefusedPasswords,
    throttle: Throttle,
    /// Knows familiar sources from before this process began.
    attempts: Arc<AttemptLog>,
    flights: SingleFlight<PasswordDigest, Result<usize, NotProved>>,
    /// Number of Argon2 hashes so far.
    #[cfg(test)]
    runs: Arc<AtomicUsize>,
}

/// The settings from the configuration.
struct Settings {
    memory: Duration,
    hashing: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    queue: usize,
    wait: Duration,
    /// Most hashes of one account. Every wrong password costs this many, so that response times do
    /// not tell names apart. `None` where Entra verifies every password, because there a known name
    /// takes its time at Entra.
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
            waiting: Arc::default(),
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

    /// Applies the limits of another configuration from now on.
    pub(super) fn adjust(&self, config: &Config) {
        self.settings.set(Settings::of(config));
    }

    /// Verifies that a password fits one of the usable `hashes`, and returns the index of that
    /// hash. Takes at most `limits.password_hash_wait` and the time of the hashes. A wrong password
    /// costs as many hashes as the account with the most has, of which `most_chosen` are not in the
    /// configuration.
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
        let mut flight = self.flights.join(proof, || {
            let (this, password) = (Arc::clone(self), Password::new(password.expose().to_owned()));
            async move { this.check(who, proof, password, hashes, runs, source).await }
        });
        flight.result().await.unwrap_or(Err(NotProved::Broken))
    }

    /// Returns what memory knows about the password, if anything.
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
        // Another check may have finished since the caller looked.
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
        let check = low_priority::run(move || {
            // Held until the work is really done, even when nobody waits for it any longer.
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
            // Tries every hash, whichever fits, so that every refused password costs the same.
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

    /// Whether the source may try a password now. If it may not and is not known to be familiar,
    /// the store is asked.
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

    /// Notes in the store, in the background, where a right password came from.
    fn note(&self, who: &TupleKey, source: Source) {
        let (attempts, user) = (Arc::clone(&self.attempts), User::of(who));
        tokio::spawn(async move {
            if let Err(error) = attempts.remember(user, source).await {
                tracing::debug!("where a right password came from could not be noted: {error}");
            }
        });
    }

    /// Forgets the refused passwords of this account and the number of attempts.
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
    use crate::login::tests::{LOCAL_PASSWORD, World, minutes};
    use gatepost_oauth::fake::FakeEndpoint;

    /// Otherwise it would be refused at once, and response times would reveal an unknown name.
    #[test]
    fn the_decoy_costs_what_a_hash_costs() {
        assert_eq!(password::check_phc(DECOY), Ok(()));
        let parameters = |phc: &str| phc.split('$').nth(3).map(str::to_owned);
        assert_eq!(parameters(DECOY), parameters(&password::hash(&Password::new("any".into())).unwrap()));
    }

    #[tokio::test(start_paused = true)]
    async fn an_accepted_password_is_forgotten_by_upkeep_when_its_time_is_over() {
        let world = World::new(FakeEndpoint::with_password("unused"));
        let upkeep = world.gate.spawn_upkeep();
        world.login("fax@contoso.example", LOCAL_PASSWORD).await.unwrap();
        let memory = Limits::default().accepted_password_memory;
        for (wait, kept) in [(memory - minutes(1), 1), (minutes(1), 0)] {
            world.clock.advance(wait);
            tokio::time::sleep(minutes(2)).await;
            assert_eq!(world.gate.local.accepted.len(), kept);
        }
        upkeep.abort();
    }
}
