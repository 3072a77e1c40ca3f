//! Ends waiting sessions when the service stops: each at its own moment, spread over the available
//! time.

use std::pin::pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

/// The last sessions are told to end after this part of the time. They, and those that are busy
/// then, need the rest.
const SPREAD: f64 = 0.9;

/// A session that was silent for this long is idle. If a 25th of the whole time is less, that
/// counts instead.
const QUIET: Duration = Duration::from_secs(5);
const QUIET_PART: u32 = 25;

/// Shortest time between two checks of a session.
const SHORTEST: Duration = Duration::from_millis(20);

/// A client that has not logged in and is silent for this long will not log in soon.
const LAST_WORD: Duration = Duration::from_secs(1);

/// The schedule by which waiting sessions are told to end, each at its own moment. All of them
/// reconnect elsewhere, and should not do so at once.
#[derive(Debug, Default)]
pub struct DrainSchedule {
    plan: OnceLock<Plan>,
    begun: Notify,
    turns: AtomicU64,
}

#[derive(Clone, Copy, Debug)]
struct Plan {
    end: Instant,
    quiet: Duration,
}

impl DrainSchedule {
    /// Starts the drain, which takes this long.
    pub fn begin(&self, drain: Duration) {
        let plan = Plan { end: Instant::now() + drain.mul_f64(SPREAD), quiet: QUIET.min(drain / QUIET_PART) };
        // The first drain counts.
        let _ = self.plan.set(plan);
        self.begun.notify_waiters();
    }

    /// Waits until the service drains, and then for the turn of one session. Returns how long the
    /// session must have been silent to be ended. A session that was not silent long enough gets
    /// another turn in the remaining time. Otherwise all sessions that a message to their mailbox
    /// wakes would end at once.
    pub(super) async fn next_slot(&self) -> Duration {
        let Plan { end, quiet } = loop {
            let begun = pin!(self.begun.notified());
            if let Some(plan) = self.plan.get() {
                break *plan;
            }
            begun.await;
        };
        let number = self.turns.fetch_add(1, Ordering::Relaxed);
        let first = Instant::now() + quiet.max(SHORTEST);
        let spread = end.saturating_duration_since(first).mul_f64(place(number));
        // The boxed timer takes no memory in sessions before the drain.
        Box::pin(sleep_until(first + spread)).await;
        quiet
    }
}

/// Waits until the service drains, and then as long as a client needs that is in the middle of a
/// login. A client that connects just before the end should get more than a greeting and a goodbye.
pub(super) async fn drain_grace(draining: &CancellationToken) {
    draining.cancelled().await;
    sleep(LAST_WORD).await;
}

/// Returns the position of turn `number` in the window (0 to 1). Multiples of the golden ratio,
/// less their whole part, spread evenly for any number of turns.
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
            // So many fit into Kubernetes' 30 seconds.
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
        // None comes before a client can have been idle.
        assert_eq!(turns.join_next().await.unwrap().unwrap(), QUIET);
        assert_eq!(begin.elapsed().as_secs(), QUIET.as_secs());
        while let Some(turn) = turns.join_next().await {
            assert_eq!(turn.unwrap(), QUIET);
        }
        assert!(begin.elapsed() > Duration::from_secs(200) && begin.elapsed() <= Duration::from_secs(270));
        // A session that was active at the very end is checked again and again.
        tokio::time::sleep_until(begin + Duration::from_secs(280)).await;
        drain.next_slot().await;
        assert!(begin.elapsed() < Duration::from_secs(290));
    }
}
