//! Guesses that were forwarded to Entra, counted where a restart and other replicas find the count; and the sources from
//! which logins succeeded, which a restart must not make strangers.
//!
//! A guess is in the store before it is forwarded, so that no crash makes a budget whole again. It stays there when Entra
//! refuses it, for [`WINDOW`] or until a login succeeds. When Entra does not judge it, its entry is left for the next guess,
//! so that an outage costs few writes, and taken off when none comes. While the store is away, the caller goes on with what
//! this process has counted.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_lc_rs::{hmac, rand};
use dashmap::DashMap;
use parking_lot::{Mutex, MutexGuard};
use tokio::time::timeout;

use gatepost_config::PasswordBudget;
use gatepost_core::clock::{Clock, UnixTime};
use gatepost_core::jitter;
use gatepost_core::source::Source;
use gatepost_oauth::tokens::User;
use gatepost_store::{Counts, Familiar, Guess, Person, Store, StoreError};

/// A guess counts this long, each by itself.
///
/// Entra locks an account after ten refused passwords (three in the US Government clouds), for a minute at first and longer
/// each time (Microsoft, "Smart lockout"). Its count ends with a right password; whether it shrinks by itself is not
/// documented. A client in use brings Entra a right password once an hour at least ([`CONFIRMATION`]). So no two of these
/// lie further apart than this window, within which Entra is asked about eight wrong ones (two) at most: its count never
/// gets as far as its threshold. At an account that nobody uses, strangers have five guesses in two hours.
///
/// [`CONFIRMATION`]: gatepost_oauth::cache::CONFIRMATION
pub(super) const WINDOW: Duration = Duration::from_secs(2 * 3600);

/// An entry that was not used is used as it is when it is not older.
const FRESH: Duration = Duration::from_secs(600);

/// A source is known for so long after its last login that was noted.
const FAMILIAR: Duration = Duration::from_secs(90 * 24 * 3600);

/// A further login from a source is noted after so long, and not before: a write a week for each.
pub(super) const NOTED_AGAIN: Duration = Duration::from_secs(7 * 24 * 3600);

/// Sources known of one account; the one that was not seen for longest is forgotten.
pub(super) const SOURCES: usize = 32;

/// No login waits longer for the store to count.
const WAIT: Duration = Duration::from_secs(2);

/// Somebody else's changes of the same record are followed so many times.
const TRIES: usize = 8;

/// Accounts with entries to spare that are remembered.
const SPARE: usize = 100_000;

/// Names whose person is remembered; of others the store is asked.
const PERSONS: usize = 100_000;

/// Most guesses in one record, which belong to some 1/4,096 of all accounts, and most sources. Beyond it this process counts
/// alone.
const RECORD: usize = 1_000;

/// Why a guess is not in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Uncounted {
    /// The budget is spent, by this process or another.
    Spent {
        /// Until a place in it is free again.
        wait: Duration,
    },
    /// The store is away.
    Away,
}

/// Counts guesses.
pub(super) struct AttemptLog {
    store: Arc<dyn Store>,
    clock: Clock,
    away: AtomicBool,
    here: Mutex<Here>,
    /// Persons by name, as far as they are known here. Names without success are not among them.
    persons: DashMap<User, User>,
}

/// What of the store's entries belongs to this process.
#[derive(Default)]
struct Here {
    /// Their verdict is out.
    out: HashSet<u64>,
    /// They were never judged; by account, with the time of the guess.
    spare: HashMap<User, Vec<(u64, UnixTime)>>,
}

impl AttemptLog {
    pub(super) fn new(store: Arc<dyn Store>, clock: Clock) -> Arc<Self> {
        Arc::new(Self { store, clock, away: AtomicBool::new(false), here: Mutex::default(), persons: DashMap::new() })
    }

    /// True while all replicas count together.
    pub(super) fn is_shared(&self) -> bool {
        self.store.is_shared() && !self.away.load(Ordering::Relaxed)
    }

    /// The time that [`Self::accepted`] wants.
    pub(super) fn time(&self) -> UnixTime {
        self.clock.unix_time()
    }

    /// Counts a guess before it is forwarded; durable when this returns, which it does within two seconds. `familiar`: the
    /// caller knows the source; else the store may.
    pub(super) async fn count(
        self: &Arc<Self>,
        user: User,
        source: Source,
        familiar: bool,
        budget: PasswordBudget,
    ) -> Result<Counted, Uncounted> {
        let spare = self.here().spare.get_mut(&user).and_then(Vec::pop);
        let (id, at) = (spare.map_or_else(jitter::random, |(id, _)| id), self.time());
        self.here().out.insert(id);
        // From here on it goes back to the spare ones when it is dropped, whether the store has it or not.
        let mut counted = Counted { attempts: Arc::clone(self), user, id, at, familiar };
        let add = self.edit(user.bucket(), |counts| {
            let familiar = familiar || knows(counts, user, source, at);
            add(counts, Guess { user: user.0, id, at, familiar }, budget)
        });
        let added = match timeout(WAIT, add).await {
            Ok(added) => added,
            Err(_) => Err(StoreError::Unavailable("it did not count a guess in 2 s".into())),
        };
        match added {
            Ok(Added::Counted { familiar }) => {
                self.note_away(None);
                counted.familiar = familiar;
                Ok(counted)
            }
            Ok(Added::Spent { wait }) => {
                self.note_away(None);
                counted.judged();
                Err(Uncounted::Spent { wait })
            }
            Ok(Added::NoRoom) => {
                let why = "too many passwords were refused for accounts like this one";
                self.note_away(Some(&StoreError::NotKept(why.into())));
                Err(Uncounted::Away)
            }
            Err(error) => {
                self.note_away(Some(&error));
                Err(Uncounted::Away)
            }
        }
    }

    /// What the store knows of an account and a source, within two seconds; `None`: it does not answer.
    pub(super) async fn recall(&self, user: User, source: Source) -> Option<Recalled> {
        let now = self.time();
        let (counts, _) = timeout(WAIT, self.store.counts(user.bucket())).await.ok()?.ok()?;
        let of_user = counts.guesses.iter().filter(|guess| guess.user == user.0);
        Some(Recalled {
            familiar: knows(&counts, user, source, now),
            // Who emptied a store has lifted nothing.
            guesses: (self.store.emptied() == 0).then(|| of_user.map(|guess| guess.id).collect()),
        })
    }

    /// Notes that a login for this account came from there. It is written when that is news, or was noted long ago.
    pub(super) async fn remember(&self, user: User, source: Source) -> Result<(), StoreError> {
        let now = self.time();
        self.edit(user.bucket(), |counts| ((), note(counts, user, source, now))).await
    }

    /// Whose guesses those at a name are: the person's, once Entra has named one. Within two seconds.
    pub(super) async fn person(&self, name: User) -> User {
        if let Some(person) = self.persons.get(&name) {
            return *person;
        }
        let Ok(Ok((counts, _))) = timeout(WAIT, self.store.counts(name.bucket())).await else { return name };
        let Some(known) = counts.persons.iter().find(|known| known.name == name.0) else { return name };
        let person = User(known.person);
        self.learn(name, person);
        person
    }

    /// The same, as far as it is known here.
    pub(super) fn known_person(&self, name: User) -> User {
        self.persons.get(&name).map_or(name, |person| *person)
    }

    /// Entra has named the person behind a name.
    pub(super) fn learn(&self, name: User, person: User) {
        if name != person && (self.persons.len() < PERSONS || self.persons.contains_key(&name)) {
            self.persons.insert(name, person);
        }
    }

    /// Entra accepted a password of this name, of which it was asked at `asked_at` and which was counted as a guess of
    /// `counted`: what was refused before is void, as it is in Entra's own count. The source is noted as [`Self::remember`]
    /// does, and the person behind the name, whose guesses are counted from now on.
    pub(super) async fn accepted(
        &self,
        [name, counted, person]: [User; 3],
        source: Source,
        asked_at: UnixTime,
    ) -> Result<(), StoreError> {
        let now = self.time();
        for user in HashSet::from([name, counted, person]) {
            let void =
                |guess: &Guess| guess.user == user.0 && guess.at <= asked_at && !self.here().out.contains(&guess.id);
            let change = |counts: &mut Counts| {
                let removed = remove(counts, void) > 0;
                let named = user == name && is_named(counts, name, person);
                let noted = user == person && note(counts, person, source, now);
                ((), removed || named || noted)
            };
            self.edit(user.bucket(), change).await?;
        }
        Ok(())
    }

    /// Takes every guess at this name and its person off the count whose verdict is not out; how many they were.
    pub(super) async fn lift(&self, name: User) -> Result<usize, StoreError> {
        let mut all = 0;
        for user in HashSet::from([name, self.person(name).await]) {
            let void = |guess: &Guess| guess.user == user.0 && !self.here().out.contains(&guess.id);
            let lifted = self.edit(user.bucket(), |counts| {
                let lifted = remove(counts, void);
                (lifted, lifted > 0)
            });
            all += lifted.await?;
        }
        Ok(all)
    }

    /// Takes entries off the store that nobody has used for so long. Those that cannot be taken off count for [`WINDOW`].
    pub(super) async fn release(&self, unused: Duration) {
        let now = self.time();
        let mut released: HashMap<u16, HashSet<u64>> = HashMap::new();
        self.here().spare.retain(|user, spare| {
            let kept = |at: &UnixTime| now.since(*at) < unused;
            let ids = spare.iter().filter(|(_, at)| !kept(at)).map(|(id, _)| *id);
            released.entry(user.bucket()).or_default().extend(ids);
            spare.retain(|(_, at)| kept(at));
            !spare.is_empty()
        });
        for (bucket, ids) in released {
            let removed = self.edit(bucket, |counts| ((), remove(counts, |guess| ids.contains(&guess.id)) > 0));
            if let Err(error) = removed.await {
                tracing::debug!("passwords that were never judged could not be taken off the count: {error}");
                return;
            }
        }
    }

    /// Changes a record, and writes it when `change` says that it did; again when somebody else was faster.
    async fn edit<T>(&self, bucket: u16, change: impl Fn(&mut Counts) -> (T, bool)) -> Result<T, StoreError> {
        for _ in 0..TRIES {
            let (mut counts, version) = self.store.counts(bucket).await?;
            let (result, changed) = change(&mut counts);
            if !changed {
                return Ok(result);
            }
            match self.store.put_counts(bucket, &counts, version).await {
                Ok(_) => return Ok(result),
                Err(StoreError::Changed) => {}
                Err(error) => return Err(error),
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
        // Every change is one insertion or removal, so a panic elsewhere leaves it whole.
        self.here.lock()
    }
}

impl std::fmt::Debug for AttemptLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AttemptLog").finish_non_exhaustive()
    }
}

/// What the store knows of an account.
#[derive(Debug)]
pub(super) struct Recalled {
    /// A login came from that source before.
    pub(super) familiar: bool,
    /// The guesses that count; `None`: it was emptied, and does not know any longer.
    pub(super) guesses: Option<HashSet<u64>>,
}

enum Added {
    Counted { familiar: bool },
    Spent { wait: Duration },
    NoRoom,
}

/// Adds a guess if the budget allows it; the second value says whether the record has changed.
fn add(counts: &mut Counts, guess: Guess, budget: PasswordBudget) -> (Added, bool) {
    let guesses = &mut counts.guesses;
    // A clock that was set back makes nothing count for ever.
    guesses.retain(|other| guess.at.since(other.at) < WINDOW && other.at.since(guess.at) < WINDOW);
    let known = guesses.iter().position(|other| other.user == guess.user && other.id == guess.id);
    if let Some(known) = known {
        let spare = guesses.swap_remove(known);
        if spare.familiar == guess.familiar && guess.at.since(spare.at) < FRESH {
            return (Added::Counted { familiar: guess.familiar }, false);
        }
    }
    let of_user = guesses.iter().filter(|other| other.user == guess.user);
    let held = of_user.map(|other| (other.familiar, WINDOW.saturating_sub(guess.at.since(other.at))));
    if let Some(wait) = budget.wait(guess.familiar, held) {
        return (Added::Spent { wait }, false);
    }
    if guesses.len() >= RECORD {
        return (Added::NoRoom, false);
    }
    guesses.push(guess);
    (Added::Counted { familiar: guess.familiar }, true)
}

/// Removes guesses; how many they were.
fn remove(counts: &mut Counts, void: impl Fn(&Guess) -> bool) -> usize {
    let before = counts.guesses.len();
    counts.guesses.retain(|guess| !void(guess));
    before - counts.guesses.len()
}

fn knows(counts: &Counts, user: User, source: Source, now: UnixTime) -> bool {
    let source = hash(&counts.key, user, source);
    counts.familiar.iter().any(|of| of.user == user.0 && of.source == source && now.since(of.seen) < FAMILIAR)
}

/// Notes a source; false when it was noted lately.
fn note(counts: &mut Counts, user: User, source: Source, now: UnixTime) -> bool {
    if counts.familiar.is_empty() && rand::fill(&mut counts.key).is_err() {
        return false;
    }
    let source = hash(&counts.key, user, source);
    let is_it = |of: &Familiar| of.user == user.0 && of.source == source;
    let lately = |of: &Familiar| now.since(of.seen) < NOTED_AGAIN && of.seen.since(now) < NOTED_AGAIN;
    if counts.familiar.iter().any(|of| is_it(of) && lately(of)) {
        return false;
    }
    let familiar = &mut counts.familiar;
    familiar.retain(|of| !is_it(of) && now.since(of.seen) < FAMILIAR);
    let of_user = familiar.iter().filter(|of| of.user == user.0).count();
    if of_user >= SOURCES || familiar.len() >= RECORD {
        let oldest = familiar.iter().filter(|of| of_user < SOURCES || of.user == user.0).map(|of| of.seen).min();
        let place = familiar.iter().position(|of| Some(of.seen) == oldest && (of_user < SOURCES || of.user == user.0));
        if let Some(place) = place {
            familiar.swap_remove(place);
        }
    }
    familiar.push(Familiar { user: user.0, source, seen: now });
    true
}

/// Notes the person behind a name; false when that is no news.
fn is_named(counts: &mut Counts, name: User, person: User) -> bool {
    let named = Person { name: name.0, person: person.0 };
    if name == person || counts.persons.contains(&named) {
        return false;
    }
    counts.persons.retain(|known| known.name != name.0);
    if counts.persons.len() >= RECORD {
        counts.persons.remove(0);
    }
    counts.persons.push(named);
    true
}

fn hash(key: &[u8], user: User, source: Source) -> u64 {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    context.update(&user.0);
    match source {
        Source::Ipv4(address) => context.update(&address.to_be_bytes()),
        Source::Ipv6(subnet) => context.update(&subnet.to_be_bytes()),
    }
    // HMAC-SHA-256 gives 32 octets.
    u64::from_be_bytes(context.sign().as_ref().first_chunk().copied().unwrap_or_default())
}

/// A guess that is counted and whose verdict is out. Dropping it without a verdict leaves its entry for the next guess.
#[derive(Debug)]
pub(super) struct Counted {
    attempts: Arc<AttemptLog>,
    user: User,
    id: u64,
    at: UnixTime,
    familiar: bool,
}

impl Counted {
    /// Entra judged it: its entry counts, until [`AttemptLog::accepted`] takes it off. The result is its id.
    pub(super) fn judged(self) -> u64 {
        self.attempts.here().out.remove(&self.id);
        self.id
    }

    /// It came from a source where a login for this account had succeeded.
    pub(super) fn is_familiar(&self) -> bool {
        self.familiar
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut here = self.attempts.here();
        // Gone when there was a verdict.
        if here.out.remove(&self.id) && here.spare.len() < SPARE {
            here.spare.entry(self.user).or_default().push((self.id, self.at));
        }
    }
}

#[cfg(test)]
mod tests;
