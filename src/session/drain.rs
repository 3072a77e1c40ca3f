//! The goodbyes of a service that stops: who waits hears one at a moment of its own, spread over the time that there is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::SetOnce;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

/// The last goodbyes are said when this part of the time is over: they, and whoever is busy then, need the rest.
const SPREAD: f64 = 0.9;

/// Whoever has been silent for so long, or for a 25th of the whole time where that is less, does not work.
const QUIET: Duration = Duration::from_secs(5);
const QUIET_PART: u32 = 25;

/// Nobody is looked at more often than this.
const SHORTEST: Duration = Duration::from_millis(20);

/// Whoever has not logged in and is silent for so long is not about to.
const LAST_WORD: Duration = Duration::from_secs(1);

/// When the sessions that wait are told goodbye, each at a moment of its own: all of them come back somewhere else, and
/// not at once.
#[derive(Debug, Default)]
pub struct DrainSchedule {
    plan: SetOnce<Plan>,
    turns: AtomicU64,
}

#[derive(Clone, Copy, Debug)]
struct Plan {
    end: Instant,
    quiet: Duration,
}

impl DrainSchedule {
    /// The service drains from now on, for so long.
    pub fn begin(&self, drain: Duration) {
        let plan = Plan { end: Instant::now() + drain.mul_f64(SPREAD), quiet: QUIET.min(drain / QUIET_PART) };
        // The first word stands.
        let _ = self.plan.set(plan);
    }

    /// Waits until the service drains, and then for the turn of one session; the result is how long it must have been silent
    /// to be told goodbye. Whoever has not been silent enough gets another turn, in the time that is left: otherwise all
    /// those who are disturbed at once, by a message that comes to their mailbox, would be told goodbye at once.
    pub(super) async fn next_slot(&self) -> Duration {
        let Plan { end, quiet } = *self.plan.wait().await;
        let number = self.turns.fetch_add(1, Ordering::Relaxed);
        let first = Instant::now() + quiet.max(SHORTEST);
        let spread = end.saturating_duration_since(first).mul_f64(place(number));
        // Its timer takes no memory of sessions before.
        Box::pin(sleep_until(first + spread)).await;
        quiet
    }
}

/// Waits until the service drains, and then for as long as somebody needs who is in the middle of a login: whoever came
/// just before the end should not hear nothing but a greeting and a goodbye.
pub(super) async fn drain_grace(draining: &CancellationToken) {
    draining.cancelled().await;
    sleep(LAST_WORD).await;
}

/// Where in the window (0 to 1) the turn of this number is. However many turns there will be, they are spread evenly:
/// multiples of the golden ratio, less their whole part.
fn place(number: u64) -> f64 {
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    // As a fraction of 2⁶⁴; rounding to fewer digits does no harm.
    number.wrapping_mul(GOLDEN) as f64 / 2_f64.powi(64)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn goodbyes_are_spread_evenly_however_many_there_are() {
        for sessions in [40_u64, 500, 10_000] {
            // In Kubernetes' 30 seconds there is room for so many.
            let window = 25.0 * (SPREAD - 1.0 / f64::from(QUIET_PART));
            let mut seconds = [0_u64; 25];
            for number in 0..sessions {
                seconds[(place(number) * window) as usize] += 1;
            }
            let most = *seconds.iter().max().unwrap();
            assert!(most * 20 <= sessions.max(80), "{sessions}: {seconds:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_session_has_its_turn_within_the_time() {
        let drain = Arc::new(DrainSchedule::default());
        let mut turns = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let drain = Arc::clone(&drain);
            turns.spawn(async move { drain.next_slot().await });
        }
        tokio::time::sleep(Duration::from_secs(1_000)).await;
        assert!(turns.try_join_next().is_none(), "nobody has to leave yet");
        drain.begin(Duration::from_secs(300));
        let begin = Instant::now();
        while let Some(turn) = turns.join_next().await {
            assert_eq!(turn.unwrap(), QUIET);
        }
        assert!(begin.elapsed() > Duration::from_secs(200) && begin.elapsed() <= Duration::from_secs(270));
        // Whoever was disturbed at the very end is looked at again and again.
        tokio::time::sleep_until(begin + Duration::from_secs(280)).await;
        drain.next_slot().await;
        assert!(begin.elapsed() < Duration::from_secs(290));
    }
}
