//! When to try again: jittered back-off, `Retry-After`, and a circuit breaker for each authority.
//! Pure: time and chance are arguments.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use gatepost_core::clock::Moment;

/// First upper bound of the wait before a retry; doubles with each.
const BACKOFF_BASE: Duration = Duration::from_millis(200);
/// Upper bound of every wait before a retry. A login notices the end of an outage within it.
const BACKOFF_CAP: Duration = Duration::from_secs(1);

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

/// A circuit breaker: stops requests to an authority that is out of order, except for a probe about
/// once a second. Probes are the requests of logins that wait, so a shorter interval would only
/// burden Entra, and a longer one would keep logins waiting that Entra could serve.
///
/// It opens after five transient failures in a row, or when half of at least twenty answers within
/// 30 seconds were transient failures. An answer that refuses a user is a working authority.
#[derive(Debug, Default)]
pub struct Breaker {
    failures_in_a_row: u32,
    recent: VecDeque<(Moment, bool)>,
    open: Option<Open>,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    since: Moment,
    next_probe: Moment,
    /// Whether the last failure may pass by itself.
    may_pass: bool,
}

/// Whether a request may go out now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The authority works.
    Well,
    /// The authority is out of order, and this request finds out whether it still is.
    Probe,
    /// Not now.
    Held {
        /// Time until the next probe.
        wait: Duration,
        /// Whether the outage may pass by itself.
        may_pass: bool,
    },
}

impl Breaker {
    const IN_A_ROW: u32 = 5;
    const WINDOW: Duration = Duration::from_secs(30);
    const WINDOW_ANSWERS: usize = 20;
    /// Most answers remembered; enough for a share.
    const REMEMBERED: usize = 256;

    /// Whether a request may go out now. While open, one caller per probe interval may.
    pub fn admits(&mut self, now: Moment, chance: f64) -> Admission {
        match &mut self.open {
            None => Admission::Well,
            Some(open) if now >= open.next_probe => {
                open.next_probe = now.after(probe_interval(chance));
                Admission::Probe
            }
            Some(open) => Admission::Held { wait: open.next_probe.since(now), may_pass: open.may_pass },
        }
    }

    /// How long the breaker has been open.
    pub fn open_for(&self, now: Moment) -> Duration {
        self.open.map_or(Duration::ZERO, |open| now.since(open.since))
    }

    /// Records that the authority answered. Returns true when this closes the breaker.
    pub fn answered(&mut self, now: Moment) -> bool {
        self.failures_in_a_row = 0;
        if self.open.take().is_some() {
            self.recent.clear();
            return true;
        }
        self.remember(now, false);
        false
    }

    /// Records that the authority did not answer, or is out of order, and whether that may pass by
    /// itself. Returns true when this opens the breaker.
    pub fn failed(&mut self, now: Moment, may_pass: bool, chance: f64) -> bool {
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        self.remember(now, true);
        if let Some(open) = &mut self.open {
            open.may_pass = may_pass;
            return false;
        }
        let failures = self.recent.iter().filter(|(_, failed)| *failed).count();
        let mostly = self.recent.len() >= Self::WINDOW_ANSWERS && 2 * failures >= self.recent.len();
        if self.failures_in_a_row < Self::IN_A_ROW && !mostly {
            return false;
        }
        self.open = Some(Open { since: now, next_probe: now.after(probe_interval(chance)), may_pass });
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

/// Between 0.75 and 1.25 s.
fn probe_interval(chance: f64) -> Duration {
    Duration::from_millis(750) + Duration::from_millis(500).mul_f64(chance.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatepost_core::clock::Clock;

    #[test]
    fn backoff_doubles_up_to_its_cap() {
        assert_eq!(backoff(0, 1.0), Duration::from_millis(200));
        assert_eq!(backoff(1, 1.0), Duration::from_millis(400));
        assert_eq!(backoff(9, 1.0), Duration::from_secs(1));
        assert_eq!(backoff(u32::MAX, 0.5), Duration::from_millis(500));
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
    fn five_failures_in_a_row_open_it_and_one_answer_closes_it() {
        let clock = Clock::manual();
        let mut breaker = Breaker::default();
        for _ in 0..4 {
            assert!(!breaker.failed(clock.now(), true, 0.0));
        }
        assert_eq!(breaker.admits(clock.now(), 0.0), Admission::Well);
        assert!(breaker.failed(clock.now(), true, 0.0), "the fifth opens");
        assert!(!breaker.failed(clock.now(), false, 0.0), "an episode begins once");
        let wait = Duration::from_millis(750);
        assert_eq!(breaker.admits(clock.now(), 0.0), Admission::Held { wait, may_pass: false });
        clock.advance(wait);
        assert_eq!(breaker.admits(clock.now(), 0.0), Admission::Probe);
        assert!(matches!(breaker.admits(clock.now(), 0.0), Admission::Held { .. }), "one only");
        assert_eq!(breaker.open_for(clock.now()), wait);
        assert!(breaker.answered(clock.now()), "an episode ends once");
        assert!(!breaker.answered(clock.now()));
        assert_eq!(breaker.admits(clock.now(), 0.0), Admission::Well);
    }

    #[test]
    fn about_one_probe_goes_out_in_a_second() {
        let clock = Clock::manual();
        let mut breaker = Breaker::default();
        for _ in 0..5 {
            breaker.failed(clock.now(), true, 0.0);
        }
        let mut probes = 0;
        for _ in 0..6000 {
            clock.advance(Duration::from_millis(10));
            if breaker.admits(clock.now(), 0.0) == Admission::Probe {
                probes += 1;
                breaker.failed(clock.now(), true, 0.0);
            }
        }
        assert_eq!(probes, 80);
    }

    #[test]
    fn half_of_twenty_within_half_a_minute_open_it() {
        let clock = Clock::manual();
        let mut breaker = Breaker::default();
        for round in 0..10 {
            assert!(!breaker.answered(clock.now()));
            assert_eq!(breaker.failed(clock.now(), true, 0.0), round == 9, "{round}");
        }
        let mut slow = Breaker::default();
        for _ in 0..30 {
            clock.advance(Duration::from_secs(4));
            assert!(!slow.answered(clock.now()));
            assert!(!slow.failed(clock.now(), true, 0.0));
        }
    }

    #[test]
    fn answers_count_for_half_a_minute_and_only_the_latest_256() {
        let (clock, mut breaker) = (Clock::manual(), Breaker::default());
        for number in 1..=300 {
            breaker.remember(clock.now(), false);
            assert_eq!(breaker.recent.len(), number.min(256));
        }
        clock.advance(Duration::from_secs(30));
        breaker.remember(clock.now(), false);
        assert_eq!(breaker.recent.len(), 256);
        clock.advance(Duration::from_millis(1));
        breaker.remember(clock.now(), true);
        assert_eq!(breaker.recent.len(), 2);
    }

    #[test]
    fn probes_are_spread_around_a_second() {
        assert_eq!([0.0, 0.5, 1.0, 2.0].map(|chance| probe_interval(chance).as_millis()), [750, 1000, 1250, 1250]);
    }
}
