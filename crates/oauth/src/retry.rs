//! When to try again: jittered back-off, `Retry-After`, a retry budget, and a circuit breaker for
//! each authority. Pure: time and chance are arguments.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use gatepost_core::clock::Moment;

/// First upper bound of the wait before a retry; doubles with each.
const BACKOFF_BASE: Duration = Duration::from_millis(200);
/// Upper bound of every wait before a retry.
const BACKOFF_CAP: Duration = Duration::from_secs(5);

/// The wait before retry number `retry` (0 is the first): full jitter below a bound that doubles.
pub fn backoff(retry: u32, chance: f64) -> Duration {
    BACKOFF_BASE.saturating_mul(2_u32.saturating_pow(retry)).min(BACKOFF_CAP).mul_f64(chance.clamp(0.0, 1.0))
}

/// Reads a `Retry-After` (RFC 9110 §10.2.3), seconds or date, as a wait of 1 to 3,600 seconds.
/// `None` when it is neither.
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    let wait = if !value.is_empty() && value.bytes().all(|octet| octet.is_ascii_digit()) {
        Duration::from_secs(value.parse().unwrap_or(u64::MAX))
    } else {
        httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default()
    };
    Some(wait.clamp(Duration::from_secs(1), Duration::from_secs(3600)))
}

/// Limits retries to a tenth of all requests, after a small initial allowance.
#[derive(Debug)]
pub struct RetryBudget {
    tenths: u32,
}

impl RetryBudget {
    /// Most retries that can be saved up: ten.
    const MOST_TENTHS: u32 = 100;

    /// Earns a tenth of a retry.
    pub fn earn(&mut self) {
        self.tenths = (self.tenths + 1).min(Self::MOST_TENTHS);
    }

    /// Spends one retry, if there is one.
    pub fn spend(&mut self) -> bool {
        let left = self.tenths.checked_sub(10);
        self.tenths = left.unwrap_or(self.tenths);
        left.is_some()
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { tenths: Self::MOST_TENTHS }
    }
}

/// A circuit breaker: stops requests to an authority that is out of order, except for a probe every
/// 5 to 30 seconds.
///
/// It opens after five transient failures in a row, or when half of at least twenty answers within
/// 30 seconds were transient failures. An answer that refuses a user is a working authority.
#[derive(Debug, Default)]
pub struct Breaker {
    failures_in_a_row: u32,
    recent: VecDeque<(Moment, bool)>,
    next_probe: Option<Moment>,
}

impl Breaker {
    const IN_A_ROW: u32 = 5;
    const WINDOW: Duration = Duration::from_secs(30);
    const WINDOW_ANSWERS: usize = 20;
    /// Most answers remembered; enough for a share.
    const REMEMBERED: usize = 256;

    /// Whether a request may go out now. While open, one caller per probe interval may.
    pub fn admits(&mut self, now: Moment, chance: f64) -> bool {
        match self.next_probe {
            None => true,
            Some(at) if now >= at => {
                self.next_probe = Some(now.after(probe_interval(chance)));
                true
            }
            Some(_) => false,
        }
    }

    /// How long until the next probe; zero while the breaker is closed.
    pub fn opens_in(&self, now: Moment) -> Duration {
        self.next_probe.map_or(Duration::ZERO, |at| at.since(now))
    }

    /// Records that the authority answered. Returns true when this closes the breaker.
    pub fn answered(&mut self, now: Moment) -> bool {
        self.failures_in_a_row = 0;
        if self.next_probe.take().is_some() {
            self.recent.clear();
            return true;
        }
        self.remember(now, false);
        false
    }

    /// Records that the authority did not answer, or is out of order. Returns true when this opens
    /// the breaker.
    pub fn failed(&mut self, now: Moment, chance: f64) -> bool {
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        self.remember(now, true);
        let failures = self.recent.iter().filter(|(_, failed)| *failed).count();
        let mostly = self.recent.len() >= Self::WINDOW_ANSWERS && 2 * failures >= self.recent.len();
        if self.next_probe.is_some() || !(self.failures_in_a_row >= Self::IN_A_ROW || mostly) {
            return false;
        }
        self.next_probe = Some(now.after(probe_interval(chance)));
        true
    }

    fn remember(&mut self, now: Moment, failed: bool) {
        self.recent.push_back((now, failed));
        while self.recent.len() > Self::REMEMBERED
            || self.recent.front().is_some_and(|(at, _)| now.since(*at) > Self::WINDOW)
        {
            self.recent.pop_front();
        }
    }
}

fn probe_interval(chance: f64) -> Duration {
    Duration::from_secs(5) + Duration::from_secs(25).mul_f64(chance.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatepost_core::clock::Clock;

    #[test]
    fn backoff_doubles_up_to_its_cap() {
        assert_eq!(backoff(0, 1.0), Duration::from_millis(200));
        assert_eq!(backoff(1, 1.0), Duration::from_millis(400));
        assert_eq!(backoff(9, 1.0), Duration::from_secs(5));
        assert_eq!(backoff(u32::MAX, 0.5), Duration::from_millis(2500));
        assert_eq!(backoff(3, 0.0), Duration::ZERO);
        let drawn: Vec<f64> = (0..64).map(|_| gatepost_core::jitter::fraction()).collect();
        assert!(drawn.iter().all(|c| (0.0..1.0).contains(c)) && drawn.iter().any(|c| *c != drawn[0]));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_within_reason() {
        let now = httpdate::parse_http_date("Sun, 22 Nov 2026 08:00:00 GMT").unwrap();
        for (value, seconds) in [
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("0", Some(1)),
            ("99999", Some(3600)),
            ("99999999999999999999999999", Some(3600)),
            ("Sun, 22 Nov 2026 08:02:00 GMT", Some(120)),
            ("Sun, 22 Nov 2026 07:00:00 GMT", Some(1)),
            ("Tue, 22 Nov 2050 08:00:00 GMT", Some(3600)),
            ("", None),
            ("-5", None),
            ("1.5", None),
            ("soon", None),
        ] {
            assert_eq!(retry_after(value, now).map(|wait| wait.as_secs()), seconds, "{value:?}");
        }
    }

    #[test]
    fn retries_are_a_tenth_of_the_requests() {
        let mut budget = RetryBudget::default();
        while budget.spend() {}
        let spent = (0..1000).filter(|_| {
            budget.earn();
            budget.spend()
        });
        assert_eq!(spent.count(), 100);
    }

    #[test]
    fn five_failures_in_a_row_open_it_and_one_answer_closes_it() {
        let clock = Clock::manual();
        let mut breaker = Breaker::default();
        for _ in 0..4 {
            assert!(!breaker.failed(clock.now(), 0.0));
        }
        assert!(breaker.admits(clock.now(), 0.0));
        assert!(breaker.failed(clock.now(), 0.0), "the fifth opens");
        assert!(!breaker.failed(clock.now(), 0.0), "an episode begins once");
        assert!(!breaker.admits(clock.now(), 0.0));
        clock.advance(Duration::from_secs(5));
        assert!(breaker.admits(clock.now(), 0.0), "a probe");
        assert!(!breaker.admits(clock.now(), 0.0), "one only");
        assert!(breaker.answered(clock.now()), "an episode ends once");
        assert!(!breaker.answered(clock.now()));
        assert!(breaker.admits(clock.now(), 0.0));
    }

    #[test]
    fn at_most_twelve_probes_go_out_in_a_minute() {
        let clock = Clock::manual();
        let mut breaker = Breaker::default();
        for _ in 0..5 {
            breaker.failed(clock.now(), 0.0);
        }
        let mut probes = 0;
        for _ in 0..600 {
            clock.advance(Duration::from_millis(100));
            if breaker.admits(clock.now(), 0.0) {
                probes += 1;
                breaker.failed(clock.now(), 0.0);
            }
        }
        assert_eq!(probes, 12);
    }

    #[test]
    fn half_of_twenty_within_half_a_minute_open_it() {
        let clock = Clock::manual();
        let mut breaker = Breaker::default();
        for round in 0..10 {
            assert!(!breaker.answered(clock.now()));
            assert_eq!(breaker.failed(clock.now(), 0.0), round == 9, "{round}");
        }
        let mut slow = Breaker::default();
        for _ in 0..30 {
            clock.advance(Duration::from_secs(4));
            assert!(!slow.answered(clock.now()));
            assert!(!slow.failed(clock.now(), 0.0));
        }
    }
}
