//! Counts the guesses forwarded to Entra in the store, where a restart and other replicas find
//! them. It also keeps the sources of successful logins, so that a restart does not make them
//! unfamiliar.
//!
//! A guess is in the store before it is forwarded, so that no crash restores a budget. If Entra
//! refuses it, it stays there for [`WINDOW`] or until a login succeeds. If Entra does not judge it,
//! the next guess reuses its entry, so that an outage costs few writes. If no next guess comes, the
//! entry is removed. While the store is unavailable, the caller continues with what this process
//! has counted.

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

/// How long each guess counts.
///
/// Entra locks an account after ten refused passwords (three in the US Government clouds), for a
/// minute at first and longer each time (Microsoft, "Smart lockout"). A right password resets its
/// count; whether the count decays by itself is not documented. A client in use presents a right
/// password to Entra at least once an hour ([`CONFIRMATION`]). So no two right passwords are
/// further apart than this window, within which Entra is asked about eight wrong ones (two) at
/// most. Its count therefore never reaches its threshold. At an account that nobody uses, strangers
/// have five guesses in two hours.
///
/// [`CONFIRMATION`]: gatepost_oauth::cache::CONFIRMATION
pub(super) const WINDOW: Duration = Duration::from_secs(2 * 3600);

/// An unused entry is reused unchanged while it is not older than this.
const FRESH: Duration = Duration::from_secs(600);

/// How long a source stays familiar after its last noted login.
const FAMILIAR: Duration = Duration::from_secs(90 * 24 * 3600);

/// A further login from a source is noted only after this time: one write a week for each source.
pub(super) const NOTED_AGAIN: Duration = Duration::from_secs(7 * 24 * 3600);

/// Most familiar sources of one account. The one not seen for longest is forgotten.
pub(super) const SOURCES: usize = 32;

/// Longest time that a login waits for the store to count.
const WAIT: Duration = Duration::from_secs(2);

/// How often a change is retried when others have changed the same record.
const TRIES: usize = 8;

/// Most accounts whose unused entries are remembered.
const SPARE: usize = 100_000;

/// Most names whose person is remembered. For other names the store is asked.
const PERSONS: usize = 100_000;

/// Most guesses in one record, and most sources. A record serves about 1/4,096 of all accounts.
/// Beyond this, the process counts alone.
const RECORD: usize = 1_000;

/// Why a guess is not in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Uncounted {
    /// The budget is spent, by this process or another.
    Spent {
        /// Time until the budget allows another guess.
        wait: Duration,
    },
    /// The store is unavailable.
    Away,
}

/// Counts guesses.
pub(super) struct AttemptLog {
    store: Arc<dyn Store>,
    clock: Clock,
    away: AtomicBool,
    here: Mutex<Here>,
    /// Persons by name, as far as they are known here. Names without a successful login are not
    /// among them.
    persons: DashMap<User, User>,
}

/// The store's entries that belong to this process.
#[derive(Default)]
struct Here {
    /// Entries that await a verdict.
    out: HashSet<u64>,
    /// Entries that were never judged, by account, with the time of the guess.
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

    /// Returns the time that [`Self::accepted`] takes as `asked_at`.
    pub(super) fn time(&self) -> UnixTime {
        self.clock.unix_time()
    }

    /// Counts a guess before it is forwarded. The count is durable when this returns, which is
    /// within two seconds. `familiar`: the caller knows the source; otherwise the store may.
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
        // From here on, dropping it returns the entry to the unused ones, whether the store has it
        // or not.
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

    /// Returns what the store knows of an account and a source, within two seconds; `None` if the
    /// store does not answer.
    pub(super) async fn recall(&self, user: User, source: Source) -> Option<Recalled> {
        let now = self.time();
        let (counts, _) = timeout(WAIT, self.store.counts(user.bucket())).await.ok()?.ok()?;
        let of_user = counts.guesses.iter().filter(|guess| guess.user == user.0);
        Some(Recalled {
            familiar: knows(&counts, user, source, now),
            // An emptied store does not mean that the guesses were lifted.
            guesses: (self.store.emptied() == 0).then(|| of_user.map(|guess| guess.id).collect()),
        })
    }

    /// Notes that a login for this account came from `source`. Writes only when that is new or was
    /// noted long ago.
    pub(super) async fn remember(&self, user: User, source: Source) -> Result<(), StoreError> {
        let now = self.time();
        self.edit(user.bucket(), |counts| ((), note(counts, user, source, now))).await
    }

    /// Returns the user whose guesses those at a name are: the person, once Entra has named one.
    /// Takes two seconds at most.
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

    /// Like [`Self::person`], from this process's memory alone.
    pub(super) fn known_person(&self, name: User) -> User {
        self.persons.get(&name).map_or(name, |person| *person)
    }

    /// Notes that Entra has named the person behind a name.
    pub(super) fn learn(&self, name: User, person: User) {
        if name != person && (self.persons.len() < PERSONS || self.persons.contains_key(&name)) {
            self.persons.insert(name, person);
        }
    }

    /// Notes that Entra accepted a password of this name. Entra was asked at `asked_at`, and the
    /// password was counted as a guess of `counted`. Earlier refusals are void, as they are in
    /// Entra's own count. The source is noted as by [`Self::remember`]. The person behind the name
    /// is noted too, because guesses are counted for the person from now on.
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

    /// Removes every guess at this name and its person from the count, except those that await a
    /// verdict. Returns how many they were.
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

    /// Removes entries from the store that have been unused for `unused`. Those that cannot be
    /// removed count for [`WINDOW`].
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

    /// Changes a record, and writes it if `change` says that it changed. Tries again when another
    /// process was faster.
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

    /// Logs one line when the store becomes unavailable, and one when it is available again.
    fn note_away(&self, error: Option<&StoreError>) {
        match (error, self.away.swap(error.is_some(), Ordering::Relaxed)) {
            (Some(error), false) => tracing::warn!(
                "refused passwords cannot be counted in the store, this process counts for itself meanwhile: {error}. Gatepost admin: put the store right (`state` in the configuration), and until then avoid restarts, which forget the count"
            ),
            (None, true) => tracing::info!("refused passwords are counted in the store again"),
            _ => {}
        }
    }

    fn here(&self) -> MutexGuard<'_, Here> {
        // Every change is one insertion or removal, so the content is consistent after any panic.
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
    /// Whether a login came from that source before.
    pub(super) familiar: bool,
    /// The guesses that count; `None` if the store was emptied and no longer knows.
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
    // The second condition matters when a clock was set back: without it such guesses would count
    // for ever.
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

/// Removes guesses and returns how many they were.
fn remove(counts: &mut Counts, void: impl Fn(&Guess) -> bool) -> usize {
    let before = counts.guesses.len();
    counts.guesses.retain(|guess| !void(guess));
    before - counts.guesses.len()
}

fn knows(counts: &Counts, user: User, source: Source, now: UnixTime) -> bool {
    let source = hash(&counts.key, user, source);
    counts.familiar.iter().any(|of| of.user == user.0 && of.source == source && now.since(of.seen) < FAMILIAR)
}

/// Notes a source. Returns false when it was noted recently.
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

/// Notes the person behind a name. Returns false when that is already known.
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

/// A counted guess that awaits its verdict. Dropping it without a verdict leaves its entry for the
/// next guess.
#[derive(Debug)]
pub(super) struct Counted {
    attempts: Arc<AttemptLog>,
    user: User,
    id: u64,
    at: UnixTime,
    familiar: bool,
}

impl Counted {
    /// Notes that Entra judged the guess: its entry counts until [`AttemptLog::accepted`] removes
    /// it. Returns its id.
    pub(super) fn judged(self) -> u64 {
        self.attempts.here().out.remove(&self.id);
        self.id
    }

    /// Whether the guess came from a source where a login for this account had succeeded.
    pub(super) fn is_familiar(&self) -> bool {
        self.familiar
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut here = self.attempts.here();
        // The entry is no longer there when there was a verdict.
        if here.out.remove(&self.id) && here.spare.len() < SPARE {
            here.spare.entry(self.user).or_default().push((self.id, self.at));
        }
    }
}

#[cfg(test)]
mod tests;
