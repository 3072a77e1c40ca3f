//! Time as an argument: code that decides about lifetimes asks a [`Clock`], so that a test can set
//! the time.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use self::system::Start;

use serde::{Deserialize, Serialize};
use time::{Date, Month, OffsetDateTime};

/// A point in time, as the duration since [`PAST`] before the clock was made. Only differences mean
/// anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(Duration);

impl Moment {
    /// The moment `after` later; saturates.
    pub fn after(self, after: Duration) -> Self {
        Self(self.0.saturating_add(after))
    }

    /// The moment `before` earlier, at most [`PAST`] before the clock was made.
    pub fn before(self, before: Duration) -> Self {
        Self(self.0.saturating_sub(before))
    }

    /// How long after `earlier` this is, or zero if it is not later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// How far before the creation of the clock moments can be, because a token that another process
/// fetched may be older than this process.
pub const PAST: Duration = Duration::from_secs(7 * 24 * 3_600);

/// Seconds since 1970-01-01 00:00 UTC, for times that are stored or that others read. It may jump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UnixTime(pub u64);

impl UnixTime {
    /// The time `after` later; saturates.
    pub fn after(self, after: Duration) -> Self {
        Self(self.0.saturating_add(after.as_secs()))
    }

    /// The time `before` earlier; saturates.
    pub fn before(self, before: Duration) -> Self {
        Self(self.0.saturating_sub(before.as_secs()))
    }

    /// How long after `earlier` this is, or zero if it is not later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }

    /// The beginning of a day (UTC), from text such as `2027-01-31`. `None` if that is no day, or
    /// is before 1970.
    pub fn parse_day(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
        let digits = |part: &str, count| part.len() == count && part.bytes().all(|octet| octet.is_ascii_digit());
        if parts.next().is_some() || !digits(year, 4) || !digits(month, 2) || !digits(day, 2) {
            return None;
        }
        let month = Month::try_from(month.parse::<u8>().ok()?).ok()?;
        let date = Date::from_calendar_date(year.parse().ok()?, month, day.parse().ok()?).ok()?;
        date.midnight().assume_utc().unix_timestamp().try_into().ok().map(Self)
    }

    /// As RFC 3339 writes it, such as `2027-01-31T00:00:00Z`.
    pub fn rfc3339(self) -> String {
        let at = self.calendar();
        let (date, (hour, minute, second)) = (at.date(), at.to_hms());
        format!("{date}T{hour:02}:{minute:02}:{second:02}Z")
    }

    /// As RFC 5322 §3.3 writes it, such as `Sun, 31 Jan 2027 00:00:00 +0000`.
    pub fn rfc5322(self) -> String {
        let at = self.calendar();
        let (hour, minute, second) = at.to_hms();
        // The names are in English, with at least three letters.
        let short = |name: String| name.chars().take(3).collect::<String>();
        let (weekday, month) = (short(at.weekday().to_string()), short(at.month().to_string()));
        format!("{weekday}, {:02} {month} {} {hour:02}:{minute:02}:{second:02} +0000", at.day(), at.year())
    }

    fn calendar(self) -> OffsetDateTime {
        let seconds = i64::try_from(self.0).ok();
        // All times after the year 9999 are shown as its last day.
        seconds
            .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
            .unwrap_or_else(|| Date::MAX.midnight().assume_utc())
    }
}

impl fmt::Display for UnixTime {
    /// To the minute, such as `2027-01-31 00:00 UTC`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.calendar();
        write!(f, "{} {:02}:{:02} UTC", at.date(), at.hour(), at.minute())
    }
}

/// Where a manual clock begins: 2026-01-01 00:00 UTC.
const MANUAL_START: UnixTime = UnixTime(1_767_225_600);

/// The source of [`Moment`]s: a monotonic clock of the system, or a clock that a test sets by hand.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System(Start),
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The system's monotonic clock that also counts the time while the machine is suspended,
    /// because Entra counts a token's life that way. (`std::time::Instant` and tokio's timers do
    /// not count that time on Linux and macOS.)
    pub fn system() -> Self {
        Self(Source::System(Start::now()))
    }

    /// A clock that changes only with [`Clock::advance`].
    pub fn manual() -> Self {
        Self(Source::Manual(Arc::new(AtomicU64::new(0))))
    }

    /// The present moment.
    pub fn now(&self) -> Moment {
        match &self.0 {
            Source::System(start) => Moment(PAST + start.elapsed()),
            Source::Manual(nanos) => Moment(PAST + Duration::from_nanos(nanos.load(Ordering::Acquire))),
        }
    }

    /// The time of day.
    pub fn unix_time(&self) -> UnixTime {
        match &self.0 {
            Source::System(_) => UnixTime(since_1970().as_secs()),
            Source::Manual(_) => MANUAL_START.after(self.now().since(Moment(PAST))),
        }
    }

    /// Moves a manual clock forward. A system clock does not change.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(nanos) = &self.0 {
            nanos.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX), Ordering::AcqRel);
        }
    }
}

/// The system's time of day, for comparison with times of others: a file's, a certificate's, a
/// header's.
#[expect(clippy::disallowed_methods, reason = "everybody else asks here")]
pub fn system_time() -> SystemTime {
    SystemTime::now()
}

/// The time since 1970; zero where the system's clock shows less.
pub fn since_1970() -> Duration {
    system_time().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// A clock that counts suspend, by system.
#[cfg(unix)]
mod system {
    use std::time::Duration;

    use rustix::time::{ClockId, Timespec, clock_gettime};

    // Linux calls this clock boot time. The other systems call it monotonic, if they have both.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const COUNTS_SUSPEND: ClockId = ClockId::Boottime;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const COUNTS_SUSPEND: ClockId = ClockId::Monotonic;

    #[derive(Clone, Copy, Debug)]
    pub(super) struct Start(Timespec);

    impl Start {
        pub(super) fn now() -> Self {
            Self(clock_gettime(COUNTS_SUSPEND))
        }

        pub(super) fn elapsed(self) -> Duration {
            let since = clock_gettime(COUNTS_SUSPEND) - self.0;
            // The clock does not run backwards.
            since.try_into().unwrap_or_default()
        }
    }
}

/// On Windows the monotonic clock of the standard library counts suspend.
#[cfg(not(unix))]
mod system {
    use std::time::{Duration, Instant};

    #[derive(Clone, Copy, Debug)]
    pub(super) struct Start(Instant);

    impl Start {
        #[expect(clippy::disallowed_methods, reason = "this is the clock")]
        pub(super) fn now() -> Self {
            Self(Instant::now())
        }

        pub(super) fn elapsed(self) -> Duration {
            self.0.elapsed()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_read_and_shown() {
        let day = UnixTime::parse_day("2027-01-31").unwrap();
        assert_eq!(day, UnixTime(1_801_353_600));
        assert_eq!(day.to_string(), "2027-01-31 00:00 UTC");
        assert_eq!(day.after(Duration::from_secs(3_661)).rfc3339(), "2027-01-31T01:01:01Z");
        assert_eq!(UnixTime(u64::MAX).to_string(), "9999-12-31 00:00 UTC");
        for text in ["", "2027", "2027-02-29", "2027-1-31", "31.01.2027", "2027-01-31-", "1969-12-31", "+027-01-31"] {
            assert_eq!(UnixTime::parse_day(text), None, "{text}");
        }
    }

    #[test]
    fn the_systems_clock_moves_forward_by_itself() {
        let clock = Clock::system();
        let (start, watch) = (clock.now(), std::time::Instant::now());
        std::thread::sleep(Duration::from_millis(20));
        let passed = clock.now().since(start);
        assert!(
            passed >= Duration::from_millis(20) && passed <= watch.elapsed() + Duration::from_millis(1),
            "{passed:?}"
        );
    }

    #[test]
    fn a_manual_clock_moves_only_by_hand() {
        let clock = Clock::manual();
        let start = clock.now();
        assert_eq!(clock.now(), start);
        clock.advance(Duration::from_secs(90));
        assert_eq!(clock.now().since(start), Duration::from_secs(90));
        assert_eq!(start.since(clock.now()), Duration::ZERO);
        assert_eq!(start.since(start.before(Duration::from_secs(3_600))), Duration::from_secs(3_600));
    }
}
