//! The penalties of one kind of source: bounded, and ordered by what is left of each penalty.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::time::Duration;

use gatepost_config::penalties::MOST_SPRAYING_ACCOUNTS;
use gatepost_core::clock::Moment;

/// Most guesses of one source that are recognised again, as when all clients of an office have an
/// old password.
pub(super) const GUESSES: usize = MOST_SPRAYING_ACCOUNTS + 1;

/// How long a guess is recognised after it was last presented.
const RECOGNISED: Duration = Duration::from_secs(24 * 3600);

/// How often entries with nothing left are removed.
const SWEEP: Duration = Duration::from_secs(60);

/// A wrong password, as a fingerprint of the account and one of account and password together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Guessed {
    pub(super) account: u32,
    pub(super) login: u32,
}

/// Seconds since the table was made, in four octets, because there may be many of these.
type Second = u32;

struct Guess {
    guessed: Guessed,
    first: Second,
    last: Second,
    /// The guess has been punished as part of spraying.
    punished: bool,
}

struct Entry {
    /// When the penalty has run down to nothing.
    until: Moment,
    /// The penalty has been above the threshold since it was last nothing.
    closed: bool,
    /// A connection has been closed because of it.
    told: bool,
    guesses: Vec<Guess>,
}

impl Guess {
    fn is_recognised(&self, now: Second) -> bool {
        u64::from(now.saturating_sub(self.last)) < RECOGNISED.as_secs()
    }
}

impl Entry {
    fn recognise(&mut self, guessed: Guessed, now: Second) -> Option<&mut Guess> {
        self.guesses.iter_mut().find(|guess| guess.guessed == guessed && guess.is_recognised(now))
    }
}

/// A source is closed for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// How long until nothing is left of the penalty.
    pub wait: Duration,
    /// Whether this is the first connection closed since the source was last accepted, which is
    /// worth a log line.
    pub first: bool,
}

/// A table with a maximum number of entries. A new entry replaces the one with the least penalty
/// left, which is the one that ends soonest.
pub(super) struct Table<K> {
    entries: HashMap<K, Entry>,
    by_end: BTreeSet<(Moment, K)>,
    most: usize,
    threshold: Duration,
    cap: Duration,
    start: Moment,
    swept: Moment,
}

impl<K: Copy + Ord + Hash> Table<K> {
    pub(super) fn new(most: usize, threshold: Duration, cap: Duration, now: Moment) -> Self {
        Self { entries: HashMap::new(), by_end: BTreeSet::new(), most, threshold, cap, start: now, swept: now }
    }

    /// Replaces the limits. Excess entries are removed as new ones come.
    pub(super) fn adjust(&mut self, most: usize, threshold: Duration, cap: Duration) {
        (self.most, self.threshold, self.cap) = (most, threshold, cap);
    }

    /// Whether a source is closed now.
    pub(super) fn closed(&mut self, key: K, now: Moment) -> Option<Closed> {
        let entry = self.entries.get_mut(&key).filter(|entry| entry.closed && now < entry.until)?;
        Some(Closed { wait: entry.until.since(now), first: !std::mem::replace(&mut entry.told, true) })
    }

    /// Adds to a penalty.
    pub(super) fn penalize(&mut self, key: K, cost: Duration, now: Moment) {
        if now.since(self.swept) >= SWEEP {
            self.sweep(now);
        }
        let entry =
            self.entries.entry(key).or_insert(Entry { until: now, closed: false, told: false, guesses: Vec::new() });
        self.by_end.remove(&(entry.until, key));
        if entry.until <= now {
            (entry.until, entry.closed, entry.told) = (now, false, false);
        }
        entry.until = entry.until.after(cost).min(now.after(self.cap));
        entry.closed |= entry.until.since(now) > self.threshold;
        self.by_end.insert((entry.until, key));
        while self.entries.len() > self.most
            && let Some((_, least)) = self.by_end.pop_first()
        {
            self.entries.remove(&least);
        }
    }

    /// Charges for a guess. `None` if the source has presented it before, which costs nothing.
    /// Otherwise the number of accounts at which the source failed within `window`, this one
    /// included, without those already punished.
    pub(super) fn guess(
        &mut self,
        key: K,
        guessed: Guessed,
        cost: Duration,
        window: Duration,
        now: Moment,
    ) -> Option<usize> {
        let second = self.second(now);
        let known = self.entries.get_mut(&key).and_then(|entry| entry.recognise(guessed, second));
        if let Some(known) = known {
            known.last = second;
            return None;
        }
        self.penalize(key, cost, now);
        // If all other sources had more left, the new entry was removed at once.
        let Some(Entry { guesses, .. }) = self.entries.get_mut(&key) else { return Some(1) };
        if guesses.len() >= GUESSES
            && let Some(oldest) = (0..guesses.len()).min_by_key(|at| guesses.get(*at).map(|guess| guess.last))
        {
            guesses.remove(oldest);
        }
        guesses.push(Guess { guessed, first: second, last: second, punished: false });
        let recent =
            |guess: &&Guess| !guess.punished && u64::from(second.saturating_sub(guess.first)) < window.as_secs();
        let mut accounts: Vec<u32> = guesses.iter().filter(recent).map(|guess| guess.guessed.account).collect();
        accounts.sort_unstable();
        accounts.dedup();
        Some(accounts.len())
    }

    /// Marks all guesses so far as punished.
    pub(super) fn begin_anew(&mut self, key: K) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.guesses.iter_mut().for_each(|guess| guess.punished = true);
        }
    }

    /// Removes sources with nothing left: no penalty, and no guess that could still be recognised.
    fn sweep(&mut self, now: Moment) {
        self.swept = now;
        let second = self.second(now);
        let by_end = &mut self.by_end;
        self.entries.retain(|key, entry| {
            let kept = now < entry.until || entry.guesses.iter().any(|guess| guess.is_recognised(second));
            if !kept {
                by_end.remove(&(entry.until, *key));
            }
            kept
        });
    }

    fn second(&self, now: Moment) -> Second {
        Second::try_from(now.since(self.start).as_secs()).unwrap_or(Second::MAX)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.entries.len(), self.by_end.len());
        self.entries.len()
    }

    #[cfg(test)]
    pub(super) fn left(&self, key: K, now: Moment) -> Duration {
        self.entries.get(&key).map_or(Duration::ZERO, |entry| entry.until.since(now))
    }

    #[cfg(test)]
    pub(super) fn most_guesses(&self) -> usize {
        self.entries.values().map(|entry| entry.guesses.len()).max().unwrap_or(0)
    }
}
