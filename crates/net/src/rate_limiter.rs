//! Turns for what must not happen too often: new connections to upstreams, when all clients come back after an outage.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

/// Nobody waits longer for a turn; who would have to is told at once.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Turns that were not used are kept for so long, so that a few at once do not wait.
const SAVED: Duration = Duration::from_millis(100);

/// Gives turns in the order of asking, at an even pace.
pub struct RateLimiter {
    interval: Duration,
    /// When the next turn is.
    next: Mutex<Instant>,
}

/// So many wait already that there is no turn within 10 seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many wait for a turn")]
pub struct QueueFull;

impl RateLimiter {
    /// So many turns a second, at least one; a tenth of them at once, when the ones before were not used.
    pub fn new(per_second: u32) -> Self {
        Self { interval: Duration::from_secs(1) / per_second.max(1), next: Mutex::new(Instant::now()) }
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// [`QueueFull`], without waiting.
    ///
    /// # Cancel safety
    /// May be dropped; its turn goes unused.
    pub async fn acquire(&self) -> Result<(), QueueFull> {
        let at = self.reserve(Instant::now())?;
        sleep_until(at).await;
        Ok(())
    }

    fn reserve(&self, now: Instant) -> Result<Instant, QueueFull> {
        let mut next = self.next.lock();
        let at = now.checked_sub(SAVED).map_or(*next, |earliest| earliest.max(*next));
        if at > now + LONGEST_WAIT {
            return Err(QueueFull);
        }
        *next = at + self.interval;
        Ok(at)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Ten thousand come back at once: no second sees more than the limit and what was saved, those that are let in are
    /// let in within ten seconds, and the others know at once.
    #[tokio::test(start_paused = true)]
    async fn a_storm_is_spread() {
        let pace = Arc::new(RateLimiter::new(500));
        let start = Instant::now();
        let waiting: Vec<_> = (0..10_000)
            .map(|_| {
                let pace = Arc::clone(&pace);
                tokio::spawn(async move { pace.acquire().await.map(|()| start.elapsed()) })
            })
            .collect();
        let mut turns = Vec::new();
        for one in waiting {
            turns.extend(one.await.unwrap());
        }
        assert!((5_000..=5_051).contains(&turns.len()), "{}", turns.len());
        turns.sort();
        for (at, turn) in turns.iter().enumerate() {
            let within = turns[at..].iter().take_while(|later| **later < *turn + Duration::from_secs(1)).count();
            assert!(within <= 551, "{within} from {turn:?} on");
        }
        assert!(*turns.last().unwrap() <= LONGEST_WAIT);
        // It passes.
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(pace.acquire().await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_do_not_wait() {
        let pace = RateLimiter::new(500);
        tokio::time::advance(Duration::from_secs(60)).await;
        let start = Instant::now();
        for _ in 0..50 {
            pace.acquire().await.unwrap();
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
