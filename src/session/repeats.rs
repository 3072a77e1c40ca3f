//! Remembers what the log was told lately, so that a client that fails again and again, or a scan
//! of ports, does not fill it.

use std::hash::Hash;
use std::time::Duration;

use parking_lot::Mutex;

use gatepost_core::bounded_map::BoundedMap;
use gatepost_core::clock::Moment;

/// Most facts remembered. While so many are recent, a further one counts as told.
const FACTS: usize = 4_096;

/// The facts that were told within a period.
#[derive(Debug)]
pub(super) struct Repeats<K> {
    told: Mutex<BoundedMap<K, Moment>>,
    period: Duration,
}

impl<K: Eq + Hash + Clone> Repeats<K> {
    /// Creates an empty memory of the facts of the last `period`.
    pub(super) fn new(period: Duration) -> Self {
        Self { told: Mutex::new(BoundedMap::new(FACTS)), period }
    }

    /// Returns true if the fact was not told within the period, and remembers that it is told now.
    pub(super) fn is_news(&self, fact: K, now: Moment) -> bool {
        let mut told = self.told.lock();
        told.remove_oldest_while(|_, at| now.since(*at) >= self.period);
        if told.peek(&fact).is_some_and(|at| now.since(*at) < self.period) {
            return false;
        }
        told.remove(&fact);
        told.insert_if_room(fact, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatepost_core::clock::Clock;

    #[test]
    fn a_fact_is_told_once_in_a_period_and_many_take_a_bounded_room() {
        let (clock, repeats) = (Clock::manual(), Repeats::new(Duration::from_secs(3_600)));
        assert!(repeats.is_news(0, clock.now()) && !repeats.is_news(0, clock.now()));
        clock.advance(Duration::from_secs(3_599));
        assert!(!repeats.is_news(0, clock.now()) && repeats.is_news(1, clock.now()));
        clock.advance(Duration::from_secs(1));
        assert!(repeats.is_news(0, clock.now()) && !repeats.is_news(1, clock.now()));
        let told = (2..10_000).filter(|fact| repeats.is_news(*fact, clock.now())).count();
        assert_eq!(told, FACTS - 2);
        clock.advance(Duration::from_secs(3_600));
        assert!(repeats.is_news(20_000, clock.now()));
    }
}
