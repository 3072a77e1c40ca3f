//! Time as an argument: the code that decides about lifetimes asks a [`Clock`], so that a test can set it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use self::system::Start;

/// A point in time, as the duration since the clock was made. Only differences mean anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(Duration);

impl Moment {
    /// The moment `after` later; saturates.
    pub fn after(self, after: Duration) -> Self {
        Self(self.0.saturating_add(after))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// The source of [`Moment`]s: a monotonic clock of the system, or one that a test sets by hand.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System(Start),
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The monotonic clock of the system that goes on while the machine is suspended: Entra counts a token's life by such
    /// a clock. (`std::time::Instant` and tokio's timers stand still meanwhile on Linux and macOS.)
    pub fn system() -> Self {
        Self(Source::System(Start::now()))
    }

    /// A clock that stands still until [`Clock::advance`] moves it.
    pub fn manual() -> Self {
        Self(Source::Manual(Arc::new(AtomicU64::new(0))))
    }

    /// The present moment.
    pub fn now(&self) -> Moment {
        match &self.0 {
            Source::System(start) => Moment(start.elapsed()),
            Source::Manual(nanos) => Moment(Duration::from_nanos(nanos.load(Ordering::Acquire))),
        }
    }

    /// Moves a manual clock forward; the system's clock is left alone.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(nanos) = &self.0 {
            nanos.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX), Ordering::AcqRel);
        }
    }
}

/// A clock that counts suspend, by system.
#[cfg(unix)]
mod system {
    use std::time::Duration;

    use rustix::time::{ClockId, Timespec, clock_gettime};

    // What the others call monotonic is what Linux calls boot time, as far as they have both.
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
            // It does not run backwards.
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
    }
}
