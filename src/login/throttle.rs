//! How often a password that Gatepost itself proves may be guessed. Nobody is locked out: whoever knows the password
//! and was right before does not come here.

use std::time::Duration;

use dashmap::DashMap;

use crate::clock::Moment;
use crate::login::forwarding::Source;
use crate::oauth::grant::TokenKey;

/// Attempts of one source at one account within [`WINDOW`] before it has to wait.
const ATTEMPTS: u32 = 10;
const WINDOW: Duration = Duration::from_secs(600);
/// From then on one attempt in this time.
const SLOW: Duration = Duration::from_secs(60);
/// Attempts of all sources together that never succeeded at this account, per hour.
const UNFAMILIAR_PER_HOUR: u32 = 100;
const HOUR: Duration = Duration::from_secs(3600);
/// Most pairs of account and source remembered.
const PAIRS: usize = 65_536;

#[derive(Debug)]
struct Pair {
    since: Moment,
    last: Moment,
    attempts: u32,
    familiar: bool,
}

#[derive(Debug)]
struct Unfamiliar {
    since: Moment,
    attempts: u32,
}

/// Counts attempts until they succeed.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    pairs: DashMap<(TokenKey, Source), Pair>,
    unfamiliar: DashMap<TokenKey, Unfamiliar>,
}

impl Throttle {
    /// Whether `source` may try a password for `account` now. An attempt counts from its beginning, so that parallel
    /// ones do not slip through.
    pub(super) fn admits(&self, account: &TokenKey, source: Source, now: Moment) -> bool {
        let key = (account.clone(), source);
        if self.pairs.len() >= PAIRS && !self.pairs.contains_key(&key) && !self.make_room(now) {
            return false;
        }
        let mut pair = self.pairs.entry(key).or_insert(Pair { since: now, last: now, attempts: 0, familiar: false });
        if now.since(pair.since) >= WINDOW {
            (pair.since, pair.attempts) = (now, 0);
        }
        if pair.attempts >= ATTEMPTS && now.since(pair.last) < SLOW {
            return false;
        }
        if !pair.familiar {
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

    /// The attempt was right.
    pub(super) fn succeeded(&self, account: &TokenKey, source: Source) {
        if let Some(mut pair) = self.pairs.get_mut(&(account.clone(), source)) {
            pair.attempts = 0;
            if !pair.familiar {
                pair.familiar = true;
                if let Some(mut all) = self.unfamiliar.get_mut(account) {
                    all.attempts = all.attempts.saturating_sub(1);
                }
            }
        }
    }

    /// Nothing was tried for this account. Sources that are familiar stay so.
    pub(super) fn forget(&self, account: &TokenKey) {
        self.pairs.retain(|(of, _), pair| {
            pair.attempts = if of == account { 0 } else { pair.attempts };
            of != account || pair.familiar
        });
        self.unfamiliar.remove(account);
    }

    /// Forgets sources that have been quiet.
    pub(super) fn sweep(&self, now: Moment) {
        self.pairs.retain(|_, pair| pair.familiar || now.since(pair.last) < WINDOW);
        self.unfamiliar.retain(|_, all| now.since(all.since) < HOUR);
    }

    /// Only when there are too many: then a minute's quiet is enough to be forgotten, and success long ago as well.
    fn make_room(&self, now: Moment) -> bool {
        self.pairs.retain(|_, pair| now.since(pair.last) < SLOW);
        self.pairs.len() < PAIRS
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::clock::Clock;

    fn source(n: u8) -> Source {
        Source::of(IpAddr::from([192, 0, 2, n]))
    }

    #[test]
    fn after_ten_attempts_a_source_gets_one_a_minute_and_a_right_one_makes_up_for_it() {
        let (clock, throttle, account) = (Clock::manual(), Throttle::default(), TokenKey::encode(["a"]));
        for _ in 0..10 {
            assert!(throttle.admits(&account, source(1), clock.now()));
        }
        assert!(!throttle.admits(&account, source(1), clock.now()));
        assert!(throttle.admits(&account, source(2), clock.now()), "another source");
        assert!(throttle.admits(&TokenKey::encode(["b"]), source(1), clock.now()), "another account");
        clock.advance(SLOW);
        assert!(throttle.admits(&account, source(1), clock.now()));
        assert!(!throttle.admits(&account, source(1), clock.now()));
        throttle.succeeded(&account, source(1));
        assert!(throttle.admits(&account, source(1), clock.now()));
    }

    #[test]
    fn all_unfamiliar_sources_together_get_a_hundred_an_hour() {
        let (clock, throttle, account) = (Clock::manual(), Throttle::default(), TokenKey::encode(["a"]));
        assert!(throttle.admits(&account, source(255), clock.now()));
        throttle.succeeded(&account, source(255));
        let admitted = (0..200).filter(|n| throttle.admits(&account, source(*n), clock.now())).count();
        assert_eq!(admitted, 100);
        assert!(throttle.admits(&account, source(255), clock.now()), "a familiar one goes on");
        clock.advance(HOUR);
        throttle.sweep(clock.now());
        assert!(throttle.admits(&account, source(201), clock.now()));
    }
}
