//! Limits how often a password that Gatepost itself verifies may be guessed. Nobody is locked out,
//! because a right password that was accepted before does not come here.

use std::cmp::Ordering;
use std::hash::Hash;
use std::time::Duration;

use dashmap::DashMap;

use crate::login::attempt_log::NOTED_AGAIN;
use gatepost_core::clock::Moment;
use gatepost_core::source::Source;
use gatepost_core::tuple_key::TupleKey;

/// Attempts of one source at one account within [`WINDOW`] before the source has to wait.
const ATTEMPTS: u32 = 10;
const WINDOW: Duration = Duration::from_secs(600);
/// After that, one attempt is allowed in this time.
const SLOW: Duration = Duration::from_secs(60);
/// Attempts per hour of all sources together that never succeeded at this account.
const UNFAMILIAR_PER_HOUR: u32 = 100;
const HOUR: Duration = Duration::from_secs(3600);
/// Most pairs of account and source remembered, and most accounts.
const PAIRS: usize = 65_536;
/// How many are left after there were too many. Those with the fewest attempts are removed. They
/// are not removed by age, because a stranger could then push others out.
const KEPT: usize = PAIRS - PAIRS / 8;

#[derive(Debug)]
struct Pair {
    since: Moment,
    last: Moment,
    attempts: u32,
    /// When a success was noted in the store; the pair is familiar from then on.
    noted: Option<Moment>,
}

impl Pair {
    fn is_familiar(&self) -> bool {
        self.noted.is_some()
    }
}

#[derive(Debug)]
struct Unfamiliar {
    since: Moment,
    attempts: u32,
}

/// Counts attempts until they succeed.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    pairs: DashMap<(TupleKey, Source), Pair>,
    unfamiliar: DashMap<TupleKey, Unfamiliar>,
}

impl Throttle {
    /// Whether `source` may try a password for `account` now. An attempt counts from its start, so
    /// that parallel attempts are limited too.
    pub(super) fn admits(&self, account: &TupleKey, source: Source, now: Moment) -> bool {
        let key = (account.clone(), source);
        if self.pairs.len() >= PAIRS && !self.pairs.contains_key(&key) {
            self.make_room(now);
        }
        if self.unfamiliar.len() >= PAIRS && !self.unfamiliar.contains_key(account) {
            forget_least(&self.unfamiliar, |all| all.attempts);
        }
        let mut pair = self.pairs.entry(key).or_insert(Pair { since: now, last: now, attempts: 0, noted: None });
        if now.since(pair.since) >= WINDOW {
            (pair.since, pair.attempts) = (now, 0);
        }
        if pair.attempts >= ATTEMPTS && now.since(pair.last) < SLOW {
            return false;
        }
        if !pair.is_familiar() {
            let mut all = self.unfamiliar.entry(account.clone()).or_insert(Unfamiliar { since: now, attempts: 0 });
            if now.since(all.since) >= HOUR {
                *all = Unfamiliar { since: now, attempts: 0 };
            }
            if all.attempts >= UNFAMILIAR_PER_HOUR {
                return false;
            }
            all.attempts += 1;
        }
        pair.attempts += 1;
        pair.last = now;
        true
    }

    /// Notes that the attempt was right. Returns true when the store is to note that.
    pub(super) fn succeeded(&self, account: &TupleKey, source: Source, now: Moment) -> bool {
        let Some(mut pair) = self.pairs.get_mut(&(account.clone(), source)) else { return false };
        pair.attempts = 0;
        let is_noted = pair.noted.is_some_and(|at| now.since(at) < NOTED_AGAIN);
        if !pair.is_familiar()
            && let Some(mut all) = self.unfamiliar.get_mut(account)
        {
            all.attempts = all.attempts.saturating_sub(1);
        }
        if !is_noted {
            pair.noted = Some(now);
        }
        !is_noted
    }

    /// Whether an attempt of this source was right before.
    pub(super) fn is_familiar(&self, account: &TupleKey, source: Source) -> bool {
        self.pairs.get(&(account.clone(), source)).is_some_and(|pair| pair.is_familiar())
    }

    /// Notes that the store knows an earlier success. The next success is noted if that is long
    /// ago.
    pub(super) fn make_familiar(&self, account: &TupleKey, source: Source, now: Moment) {
        if let Some(mut pair) = self.pairs.get_mut(&(account.clone(), source)) {
            pair.noted = Some(now.before(NOTED_AGAIN));
        }
    }

    /// Forgets all attempts at this account. Familiar sources stay familiar.
    pub(super) fn forget(&self, account: &TupleKey) {
        self.pairs.retain(|(of, _), pair| {
            pair.attempts = if of == account { 0 } else { pair.attempts };
            of != account || pair.is_familiar()
        });
        self.unfamiliar.remove(account);
    }

    /// Forgets sources without recent attempts.
    pub(super) fn sweep(&self, now: Moment) {
        self.pairs.retain(|_, pair| pair.is_familiar() || now.since(pair.last) < WINDOW);
        self.unfamiliar.retain(|_, all| now.since(all.since) < HOUR);
    }

    /// Makes room when there are too many pairs. Sources without an attempt in the last minute are
    /// forgotten, and familiar ones only if nothing else is left. It visits all pairs, so it makes
    /// room for an eighth at once.
    fn make_room(&self, now: Moment) {
        self.pairs.retain(|_, pair| pair.is_familiar() || now.since(pair.last) < SLOW);
        if self.pairs.len() > KEPT {
            forget_least(&self.pairs, |pair| if pair.is_familiar() { u32::MAX } else { pair.attempts });
        }
    }
}

/// Forgets all but [`KEPT`], those with the fewest attempts first. Names that were tried once make
/// room, and an account under attack keeps its count.
fn forget_least<K: Eq + Hash, V>(entries: &DashMap<K, V>, attempts: impl Fn(&V) -> u32) {
    let mut all: Vec<u32> = entries.iter().map(|entry| attempts(&entry)).collect();
    all.sort_unstable();
    let mut surplus = all.len().saturating_sub(KEPT);
    let Some(most) = surplus.checked_sub(1).and_then(|last| all.get(last).copied()) else { return };
    // All below `most` are removed; of those equal to it, only as many as are still too many.
    surplus -= all.partition_point(|attempts| *attempts < most);
    entries.retain(|_, entry| match attempts(entry).cmp(&most) {
        Ordering::Less => false,
        Ordering::Equal if surplus > 0 => {
            surplus -= 1;
            false
        }
        _ => true,
    });
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use gatepost_core::clock::Clock;

    fn source(n: u8) -> Source {
        Source::of(IpAddr::from([192, 0, 2, n]))
    }

    #[test]
    fn after_ten_attempts_a_source_gets_one_a_minute_and_a_right_one_makes_up_for_it() {
        let (clock, throttle, account) = (Clock::manual(), Throttle::default(), TupleKey::encode(["a"]));
        for _ in 0..10 {
            assert!(throttle.admits(&account, source(1), clock.now()));
        }
        assert!(!throttle.admits(&account, source(1), clock.now()));
        assert!(throttle.admits(&account, source(2), clock.now()), "another source");
        assert!(throttle.admits(&TupleKey::encode(["b"]), source(1), clock.now()), "another account");
        clock.advance(SLOW);
        assert!(throttle.admits(&account, source(1), clock.now()));
        assert!(!throttle.admits(&account, source(1), clock.now()));
        throttle.succeeded(&account, source(1), clock.now());
        assert!(throttle.admits(&account, source(1), clock.now()));
    }

    #[test]
    fn all_unfamiliar_sources_together_get_a_hundred_an_hour() {
        let (clock, throttle, account) = (Clock::manual(), Throttle::default(), TupleKey::encode(["a"]));
        assert!(throttle.admits(&account, source(255), clock.now()));
        throttle.succeeded(&account, source(255), clock.now());
        let admitted = (0..200).filter(|n| throttle.admits(&account, source(*n), clock.now())).count();
        assert_eq!(admitted, 100);
        assert!(throttle.admits(&account, source(255), clock.now()), "a familiar one goes on");
        clock.advance(HOUR);
        throttle.sweep(clock.now());
        assert!(throttle.admits(&account, source(201), clock.now()));
    }

    #[test]
    fn names_without_end_take_bounded_room_and_give_nobody_new_attempts_at_an_account() {
        let (clock, throttle, account) = (Clock::manual(), Throttle::default(), TupleKey::encode(["a"]));
        for n in 0..10 {
            (0..10).for_each(|_| assert!(throttle.admits(&account, source(n), clock.now())));
        }
        throttle.admits(&TupleKey::encode(["b"]), source(99), clock.now());
        throttle.succeeded(&TupleKey::encode(["b"]), source(99), clock.now());
        for n in 0..3 * PAIRS {
            clock.advance(Duration::from_millis(1));
            let name = TupleKey::encode(["unknown", &n.to_string()]);
            assert!(throttle.admits(&name, source(50), clock.now()), "{n}");
            assert!(throttle.pairs.len() <= PAIRS && throttle.unfamiliar.len() <= PAIRS, "{n}");
        }
        assert!(!throttle.admits(&account, source(200), clock.now()), "what was counted still counts");
        assert!(throttle.pairs.get(&(TupleKey::encode(["b"]), source(99))).is_some_and(|pair| pair.is_familiar()));
    }

    /// Otherwise each new name would make room only for itself, and visit all pairs to do so.
    #[test]
    fn when_there_are_too_many_there_is_room_for_an_eighth_afterwards() {
        let (clock, throttle) = (Clock::manual(), Throttle::default());
        for n in 0..PAIRS {
            assert!(throttle.admits(&TupleKey::encode(["unknown", &n.to_string()]), source(50), clock.now()));
            if n == 0 {
                // A minute later this one may go, and no other.
                clock.advance(SLOW);
            }
        }
        assert_eq!(throttle.pairs.len(), PAIRS);
        throttle.admits(&TupleKey::encode(["another"]), source(50), clock.now());
        assert_eq!(throttle.pairs.len(), KEPT + 1);
    }

    #[test]
    fn a_success_makes_a_source_familiar_and_is_noted_once_a_week() {
        let (clock, throttle, account) = (Clock::manual(), Throttle::default(), TupleKey::encode(["a"]));
        let second = Duration::from_secs(1);
        let succeeded = || throttle.succeeded(&account, source(1), clock.now());
        assert!(!succeeded(), "nobody has tried");
        assert!(throttle.admits(&account, source(1), clock.now()));
        assert!(!throttle.is_familiar(&account, source(1)));
        assert!(succeeded());
        assert!(throttle.is_familiar(&account, source(1)));
        assert!(!throttle.is_familiar(&account, source(2)));
        clock.advance(NOTED_AGAIN - second);
        assert!(!succeeded());
        clock.advance(second);
        assert!(succeeded());
        // One that the store knows is noted with its next success.
        assert!(throttle.admits(&account, source(2), clock.now()));
        throttle.make_familiar(&account, source(2), clock.now());
        assert!(throttle.is_familiar(&account, source(2)));
        assert!(throttle.succeeded(&account, source(2), clock.now()));
    }

    #[test]
    fn an_account_that_is_unlocked_has_new_attempts_and_no_other_has() {
        let (clock, throttle) = (Clock::manual(), Throttle::default());
        let accounts = ["a", "b"].map(|name| TupleKey::encode([name]));
        let spend = |account: &TupleKey, n| {
            (0..ATTEMPTS).for_each(|_| assert!(throttle.admits(account, source(n), clock.now())))
        };
        throttle.admits(&accounts[0], source(1), clock.now());
        throttle.succeeded(&accounts[0], source(1), clock.now());
        for n in [1, 2] {
            spend(&accounts[0], n);
        }
        spend(&accounts[1], 3);
        throttle.forget(&accounts[0]);
        assert!(throttle.is_familiar(&accounts[0], source(1)));
        for n in [1, 2] {
            assert!(throttle.admits(&accounts[0], source(n), clock.now()), "{n}");
        }
        assert!(!throttle.admits(&accounts[1], source(3), clock.now()));
    }

    #[test]
    fn what_is_old_is_forgotten_but_for_familiar_sources() {
        let (clock, throttle) = (Clock::manual(), Throttle::default());
        let [account, other] = ["a", "b"].map(|name| TupleKey::encode([name]));
        let second = Duration::from_secs(1);
        let kept = |n| throttle.pairs.contains_key(&(account.clone(), source(n)));
        throttle.admits(&account, source(1), clock.now());
        throttle.succeeded(&account, source(1), clock.now());
        throttle.admits(&account, source(2), clock.now());
        clock.advance(second);
        throttle.admits(&account, source(3), clock.now());
        throttle.admits(&other, source(3), clock.now());
        clock.advance(WINDOW - second);
        throttle.sweep(clock.now());
        assert_eq!([1, 2, 3].map(kept), [true, false, true]);
        clock.advance(HOUR - WINDOW);
        throttle.sweep(clock.now());
        assert_eq!([&account, &other].map(|of| throttle.unfamiliar.contains_key(of)), [false, true]);
        assert!(kept(1));
        // When there are too many, a minute counts.
        throttle.admits(&account, source(4), clock.now());
        clock.advance(second);
        throttle.admits(&account, source(5), clock.now());
        clock.advance(SLOW - second);
        throttle.make_room(clock.now());
        assert_eq!([1, 4, 5].map(kept), [true, false, true]);
    }

    #[test]
    fn those_with_the_fewest_attempts_go_and_no_more_than_are_too_many() {
        let attempts = |n: usize| match n {
            0..2 => 0,
            2..6 => 1,
            _ => 5,
        };
        let entries: DashMap<usize, u32> = (0..KEPT + 3).map(|n| (n, attempts(n))).collect();
        forget_least(&entries, |attempts| *attempts);
        let left = |attempts: u32| entries.iter().filter(|entry| **entry == attempts).count();
        assert_eq!((left(0), left(1), entries.len()), (0, 3, KEPT));
        forget_least(&entries, |attempts| *attempts);
        assert_eq!(entries.len(), KEPT);
    }
}
