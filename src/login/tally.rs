//! Guesses that were forwarded to Entra, counted where a restart and other replicas find the count.
//!
//! A guess is in the store before it is forwarded, so that no crash makes a budget whole again. It stays there when Entra
//! refuses it, for a day or until a login succeeds. When Entra does not judge it, its entry is left for the next guess, so
//! that an outage costs few writes, and taken off when none comes. While the store is away, the caller goes on with what this process has counted.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest;
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::chance;
use crate::clock::{Clock, UnixTime};
use crate::config::PasswordBudget;
use crate::oauth::grant::TokenKey;
use crate::store::{BUCKETS, Guess, Store, StoreError};

/// Guesses count this long.
pub(super) const WINDOW: Duration = Duration::from_secs(24 * 3600);

/// An entry that was not used is used as it is when it is not older.
const FRESH: Duration = Duration::from_secs(3600);

/// No login waits longer for the store to count.
const WAIT: Duration = Duration::from_secs(2);

/// Somebody else's changes of the same record are followed so many times.
const TRIES: usize = 8;

/// Accounts with entries to spare that are remembered.
const SPARE: usize = 100_000;

/// Most guesses in one record, which belong to some 1/4,096 of all accounts. Beyond it this process counts alone.
const RECORD: usize = 1_000;

/// Why a guess is not in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Uncounted {
    /// The budget is spent, by this process or another.
    Spent,
    /// The store is away.
    Away,
}

/// Counts guesses.
pub(super) struct Tally {
    store: Arc<dyn Store>,
    clock: Clock,
    away: AtomicBool,
    here: Mutex<Here>,
}

/// What of the store's entries belongs to this process.
#[derive(Default)]
struct Here {
    /// Their verdict is out.
    out: HashSet<u64>,
    /// They were never judged; by account, with the time of the guess.
    spare: HashMap<[u8; 16], Vec<(u64, UnixTime)>>,
}

/// An account, as the store knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Name {
    user: [u8; 16],
    bucket: u16,
}

impl Name {
    fn of(user: &TokenKey) -> Self {
        let hash = digest::digest(&digest::SHA256, user.as_bytes());
        // SHA-256 gives 32 octets.
        Self::new(hash.as_ref().first_chunk().copied().unwrap_or_default())
    }

    fn new(user: [u8; 16]) -> Self {
        let [high, low, ..] = user;
        Self { user, bucket: u16::from_be_bytes([high, low]) % BUCKETS }
    }
}

/// Whether the replica with this index, of so many, is the one that an account belongs to. Every replica says the same.
pub(super) fn owns(user: &TokenKey, index: u32, replicas: u32) -> bool {
    let [.., a, b, c, d] = Name::of(user).user;
    u32::from_be_bytes([a, b, c, d]) % replicas.max(1) == index
}

impl Tally {
    pub(super) fn new(store: Arc<dyn Store>, clock: Clock) -> Arc<Self> {
        Arc::new(Self { store, clock, away: AtomicBool::new(false), here: Mutex::default() })
    }

    /// True while all replicas count together.
    pub(super) fn is_shared(&self) -> bool {
        self.store.is_shared() && !self.away.load(Ordering::Relaxed)
    }

    /// The time that [`Self::accepted`] wants.
    pub(super) fn time(&self) -> UnixTime {
        self.clock.unix_time()
    }

    /// Counts a guess before it is forwarded; durable when this returns, which it does within two seconds.
    pub(super) async fn count(
        self: &Arc<Self>,
        user: &TokenKey,
        familiar: bool,
        budget: PasswordBudget,
    ) -> Result<Counted, Uncounted> {
        let name = Name::of(user);
        let spare = self.here().spare.get_mut(&name.user).and_then(Vec::pop);
        let (id, at) = (spare.map_or_else(chance::number, |(id, _)| id), self.time());
        self.here().out.insert(id);
        // From here on it goes back to the spare ones when it is dropped, whether the store has it or not.
        let counted = Counted { tally: Arc::clone(self), name, id, at };
        let guess = Guess { user: name.user, id, at, familiar };
        let added = match timeout(WAIT, self.add(name, guess, budget)).await {
            Ok(added) => added,
            Err(_) => Err(StoreError::Unavailable("it did not count a guess in 2 s".into())),
        };
        match added {
            Ok(true) => {
                self.note_away(None);
                Ok(counted)
            }
            Ok(false) => {
                self.note_away(None);
                counted.judged();
                Err(Uncounted::Spent)
            }
            Err(error) => {
                self.note_away(Some(&error));
                Err(Uncounted::Away)
            }
        }
    }

    /// Entra accepted a password of this account, of which it was asked at `asked_at`: what was refused before is void, as
    /// it is in Entra's own count. Nobody waits for that.
    pub(super) fn accepted(self: &Arc<Self>, user: &TokenKey, asked_at: UnixTime) {
        self.forget(Name::of(user), asked_at);
    }

    /// Takes entries off the store that nobody has used for so long. Those that cannot be taken off count for a day.
    pub(super) async fn release(&self, unused: Duration) {
        let now = self.time();
        let mut released: HashMap<u16, HashSet<u64>> = HashMap::new();
        self.here().spare.retain(|user, spare| {
            let kept = |at: &UnixTime| now.since(*at) < unused;
            let ids = spare.iter().filter(|(_, at)| !kept(at)).map(|(id, _)| *id);
            released.entry(Name::new(*user).bucket).or_default().extend(ids);
            spare.retain(|(_, at)| kept(at));
            !spare.is_empty()
        });
        for (bucket, ids) in released {
            if let Err(error) = self.remove(bucket, |guess| ids.contains(&guess.id)).await {
                tracing::debug!("passwords that were never judged could not be taken off the count: {error}");
                return;
            }
        }
    }

    /// False when the budget does not allow another one.
    async fn add(&self, name: Name, guess: Guess, budget: PasswordBudget) -> Result<bool, StoreError> {
        for _ in 0..TRIES {
            let (mut guesses, version) = self.store.guesses(name.bucket).await?;
            // A clock that was set back makes nothing count for ever.
            let counts = |other: &Guess| guess.at.since(other.at) < WINDOW && other.at.since(guess.at) < WINDOW;
            guesses.retain(counts);
            let known = guesses.iter().position(|other| other.user == name.user && other.id == guess.id);
            if let Some(known) = known {
                let spare = guesses.swap_remove(known);
                if spare.familiar == guess.familiar && guess.at.since(spare.at) < FRESH {
                    return Ok(true);
                }
            }
            let spent = |familiar: bool| {
                let count =
                    guesses.iter().filter(|other| other.user == name.user && other.familiar == familiar).count();
                u32::try_from(count).unwrap_or(u32::MAX)
            };
            let unfamiliar = spent(false);
            if unfamiliar.saturating_add(spent(true)) >= budget.total
                || (!guess.familiar && unfamiliar >= budget.unfamiliar)
            {
                return Ok(false);
            }
            if guesses.len() >= RECORD {
                return Err(StoreError::NotKept("too many passwords were refused for accounts like this one".into()));
            }
            guesses.push(guess);
            match self.store.put_guesses(name.bucket, &guesses, version).await {
                Ok(_) => return Ok(true),
                Err(StoreError::Changed) => {}
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Changed)
    }

    fn forget(self: &Arc<Self>, name: Name, asked_at: UnixTime) {
        // Without a runtime the process ends; the entries count for a day then.
        let Ok(runtime) = Handle::try_current() else { return };
        let this = Arc::clone(self);
        runtime.spawn(async move {
            let void =
                |guess: &Guess| guess.user == name.user && guess.at <= asked_at && !this.here().out.contains(&guess.id);
            if let Err(error) = this.remove(name.bucket, void).await {
                tracing::debug!("refused passwords that do not count any longer could not be taken off: {error}");
            }
        });
    }

    async fn remove(&self, bucket: u16, void: impl Fn(&Guess) -> bool) -> Result<(), StoreError> {
        for _ in 0..TRIES {
            let (mut guesses, version) = self.store.guesses(bucket).await?;
            let before = guesses.len();
            guesses.retain(|guess| !void(guess));
            if guesses.len() == before {
                return Ok(());
            }
            match self.store.put_guesses(bucket, &guesses, version).await {
                Err(StoreError::Changed) => {}
                written => return written.map(|_| ()),
            }
        }
        Err(StoreError::Changed)
    }

    /// One line when it begins and one when it is over.
    fn note_away(&self, error: Option<&StoreError>) {
        match (error, self.away.swap(error.is_some(), Ordering::Relaxed)) {
            (Some(error), false) => tracing::warn!(
                "refused passwords cannot be counted in the store, this process counts for itself meanwhile: {error}; whoever runs Gatepost: put the store right (`state` in the configuration), and until then avoid restarts, which forget the count"
            ),
            (None, true) => tracing::info!("refused passwords are counted in the store again"),
            _ => {}
        }
    }

    fn here(&self) -> MutexGuard<'_, Here> {
        // Every change is one insertion or removal: whatever panicked, the content is whole.
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tally").finish_non_exhaustive()
    }
}

/// A guess that is counted and whose verdict is out. Dropping it without a verdict leaves its entry for the next guess.
#[derive(Debug)]
pub(super) struct Counted {
    tally: Arc<Tally>,
    name: Name,
    id: u64,
    at: UnixTime,
}

impl Counted {
    /// Entra judged it: its entry counts, until [`Tally::accepted`] takes it off.
    pub(super) fn judged(self) {
        self.tally.here().out.remove(&self.id);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut here = self.tally.here();
        // Gone when there was a verdict.
        if here.out.remove(&self.id) && here.spare.len() < SPARE {
            here.spare.entry(self.name.user).or_default().push((self.id, self.at));
        }
    }
}

#[cfg(test)]
mod tests;
