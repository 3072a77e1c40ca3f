//! The sandbox's time: one clock for token lifetimes and lock-outs, which a test may move by hand.

use std::time::Duration;

use tokio::sync::watch;

use gatepost_core::clock::{Clock, Moment, since_1970};

/// A [`Clock`] together with the wall-clock instant at which the sandbox started.
pub(super) struct Timekeeper {
    clock: Clock,
    started_at: Moment,
    started_unix: Duration,
    // Tells those that wait that the clock was moved.
    moved: watch::Sender<()>,
}

impl Timekeeper {
    pub(super) fn new(clock: Clock) -> Self {
        let started_unix = since_1970();
        Self { started_at: clock.now(), clock, started_unix, moved: watch::Sender::new(()) }
    }

    pub(super) fn now(&self) -> Moment {
        self.clock.now()
    }

    /// Time since 1970, as far as the sandbox is concerned.
    pub(super) fn unix(&self) -> Duration {
        self.started_unix.saturating_add(self.clock.now().since(self.started_at))
    }

    /// The time since 1970 in whole seconds.
    pub(super) fn unix_seconds(&self) -> i64 {
        i64::try_from(self.unix().as_secs()).unwrap_or(i64::MAX)
    }

    /// Moves a manual clock, and wakes those that wait for a time.
    pub(super) fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.moved.send_replace(());
    }

    /// Waits until the given time since 1970.
    pub(super) async fn until(&self, unix: Duration) {
        let mut moved = self.moved.subscribe();
        loop {
            let left = unix.saturating_sub(self.unix());
            if left.is_zero() {
                return;
            }
            // With a manual clock the sleep may end too early; the loop then looks at the clock
            // again.
            tokio::select! {
                () = tokio::time::sleep(left.min(Duration::from_secs(24 * 3_600))) => {}
                _ = moved.changed() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn advancing_wakes_the_waiting() {
        let time = Timekeeper::new(Clock::manual());
        let target = time.unix() + Duration::from_secs(3_600);
        let (reached, ()) = tokio::join!(
            async {
                time.until(target).await;
                time.unix()
            },
            async {
                tokio::task::yield_now().await;
                time.advance(Duration::from_secs(3_600));
            }
        );
        assert_eq!(reached, target);
    }
}
