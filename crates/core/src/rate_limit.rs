//! Counts how often something happened within a window of time. Each event is remembered with its
//! time, so the count is exact wherever the window begins.
//!
//! The caller refuses what would be too much, or notes it for the time when it may happen, so no
//! more events are remembered than are allowed.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Moment;

/// A point in time, of any clock.
pub trait Time: Copy {
    /// How long after `earlier` this is, or zero if it is not later.
    fn since(self, earlier: Self) -> Duration;
}

impl Time for Moment {
    fn since(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

impl Time for tokio::time::Instant {
    fn since(self, earlier: Self) -> Duration {
        self.saturating_duration_since(earlier)
    }
}

/// The times of events, as far back as the longest window.
#[derive(Clone, Debug)]
pub struct SlidingWindow<T = Moment> {
    /// The times, earliest first.
    times: VecDeque<T>,
}

impl<T> Default for SlidingWindow<T> {
    fn default() -> Self {
        Self { times: VecDeque::new() }
    }
}

impl<T: Time> SlidingWindow<T> {
    /// Notes an event at `at`. Events that wait for a time to come may be noted already.
    pub fn note(&mut self, at: T) {
        let later = self.times.iter().rev().take_while(|noted| noted.since(at) > Duration::ZERO).count();
        self.times.insert(self.times.len() - later, at);
    }

    /// The event that must be `window` old before another may happen, if there may be at most `most`
    /// within it; `None` if another may happen now. Events to come count as well. `window` must be
    /// the longest window ever asked about.
    pub fn in_the_way(&mut self, window: Duration, now: T, most: usize) -> Option<T> {
        let count = self.count(window, now);
        self.times.get(count.checked_sub(most)?).copied()
    }

    /// How many events happened within `window`. It must be the longest window ever asked about,
    /// because older events are forgotten.
    pub fn count(&mut self, window: Duration, now: T) -> usize {
        while self.times.front().is_some_and(|first| now.since(*first) >= window) {
            self.times.pop_front();
        }
        self.times.len()
    }

    /// How many events happened within a shorter window.
    pub fn count_latest(&self, window: Duration, now: T) -> usize {
        self.times.iter().rev().take_while(|at| now.since(**at) < window).count()
    }

    /// True if no event happened within `window`.
    pub fn is_over(&self, window: Duration, now: T) -> bool {
        self.times.back().is_none_or(|last| now.since(*last) >= window)
    }

    /// Forgets all but the latest `most` events.
    pub fn keep_latest(&mut self, most: usize) {
        self.times.drain(..self.times.len().saturating_sub(most));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    const MINUTE: Duration = Duration::from_secs(60);
    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn no_minute_has_more_than_are_allowed_wherever_it_begins() {
        let (clock, mut window, mut admitted) = (Clock::manual(), SlidingWindow::default(), Vec::new());
        for second in 0_u64..600 {
            if window.count(MINUTE, clock.now()) < 7 {
                window.note(clock.now());
                admitted.push(second);
            }
            clock.advance(Duration::from_secs(1));
        }
        assert_eq!(admitted.len(), 70);
        assert!(admitted.windows(8).all(|eight| eight[7] - eight[0] >= 60));
    }

    #[test]
    fn who_waits_for_a_turn_has_one_and_no_minute_has_too_many() {
        let clock = Clock::manual();
        let (start, mut window) = (clock.now(), SlidingWindow::default());
        let at = |second: u64| start.after(Duration::from_secs(second));
        window.note(at(50));
        window.note(at(10));
        assert_eq!(window.times, [at(10), at(50)]);
        assert_eq!(window.in_the_way(MINUTE, at(20), 3), None);
        window.note(at(20));
        // The next one may happen a minute after the first of these, and the one behind it a minute
        // after the second.
        assert_eq!(window.in_the_way(MINUTE, at(21), 3), Some(at(10)));
        window.note(at(70));
        assert_eq!(window.in_the_way(MINUTE, at(21), 3), Some(at(20)));
        assert_eq!(window.in_the_way(MINUTE, at(80), 3), None);
    }

    #[test]
    fn two_windows_count_the_same_events() {
        let (clock, mut window) = (Clock::manual(), SlidingWindow::default());
        assert!(window.is_over(HOUR, clock.now()));
        for _ in 0..10 {
            window.note(clock.now());
            clock.advance(Duration::from_secs(20));
        }
        assert_eq!((window.count_latest(MINUTE, clock.now()), window.count(HOUR, clock.now())), (2, 10));
        assert!(!window.is_over(MINUTE, clock.now()));
        window.keep_latest(3);
        assert_eq!(window.count(HOUR, clock.now()), 3);
        window.keep_latest(3);
        clock.advance(HOUR - MINUTE);
        assert_eq!((window.is_over(MINUTE, clock.now()), window.count(HOUR, clock.now())), (true, 2));
        clock.advance(MINUTE);
        assert_eq!((window.is_over(HOUR, clock.now()), window.count(HOUR, clock.now())), (true, 0));
    }
}
