//! Detects that the machine was suspended, after which earlier knowledge of the network may be
//! wrong.
//!
//! Connections need nothing: the keep-alive of [`gatepost_net::listen::tune`] finds those whose
//! peer has gone.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use gatepost_core::clock::{Clock, Moment};

/// How often the clocks are compared. A resume is noticed within this time.
const LOOK: Duration = Duration::from_secs(5);

/// A shorter suspend is ignored. It may come from reading two clocks one after the other.
const SHORTEST: Duration = Duration::from_secs(2);

/// Calls `resumed` with the time that the machine slept, soon after each resume. Never returns.
///
/// # Cancel safety
/// May be dropped at any time.
pub async fn watch(clock: Clock, resumed: impl Fn(Duration)) {
    let mut clocks = Clocks::new(clock);
    loop {
        sleep(LOOK).await;
        if let Some(slept) = clocks.slept() {
            resumed(slept);
        }
    }
}

/// Two clocks that differ by the time that the machine was suspended. If the system has no such
/// pair (Windows), a suspend is never noticed.
struct Clocks {
    /// Counts the time of a suspend.
    clock: Clock,
    at: Moment,
    /// Does not count it.
    waking: Instant,
}

impl Clocks {
    fn new(clock: Clock) -> Self {
        Self { at: clock.now(), clock, waking: Instant::now() }
    }

    /// Returns how long the machine slept since the last call.
    fn slept(&mut self) -> Option<Duration> {
        let (at, waking) = (self.clock.now(), Instant::now());
        let slept = at.since(self.at).saturating_sub(waking - self.waking);
        (self.at, self.waking) = (at, waking);
        (slept >= SHORTEST).then_some(slept)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    /// Behaves like the system's two clocks: tokio's stops during a suspend.
    #[tokio::test(start_paused = true)]
    async fn a_suspend_is_noticed_once_and_time_awake_is_none() {
        let clock = Clock::manual();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let watching = {
            let seen = Arc::clone(&seen);
            tokio::spawn(watch(clock.clone(), move |slept| seen.lock().push(slept)))
        };
        let awake = async |time: Duration| {
            for _ in 0..time.as_secs() {
                clock.advance(Duration::from_secs(1));
                sleep(Duration::from_secs(1)).await;
            }
        };
        awake(Duration::from_secs(60)).await;
        assert!(seen.lock().is_empty());
        clock.advance(Duration::from_secs(7_200));
        awake(LOOK + Duration::from_secs(1)).await;
        awake(Duration::from_secs(60)).await;
        let slept = seen.lock().clone();
        assert_eq!(slept.len(), 1, "{slept:?}");
        assert!(slept[0].abs_diff(Duration::from_secs(7_200)) <= Duration::from_secs(1), "{slept:?}");
        watching.abort();
    }
}
