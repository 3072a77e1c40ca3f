//! A limit on how often something happens: new connections to upstreams, when all clients reconnect
//! after an outage.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

/// The longest wait for a turn. A caller that would wait longer gets an error at once.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How long unused turns are kept, so that a few callers at once do not wait.
const SAVED: Duration = Duration::from_millis(100);

/// Grants turns at an even pace, in the order of the requests.
pub struct RateLimiter {
    interval: Duration,
    /// The time of the next turn.
    next: Mutex<Instant>,
}

/// So many callers are waiting that there is no turn within 10 seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many wait for a turn")]
pub struct QueueFull;

impl RateLimiter {
    /// Creates a pace of `per_second` turns a second, at least one. If earlier turns were not used,
    /// a tenth of them may be used at once.
    pub fn new(per_second: u32) -> Self {
        Self { interval: Duration::from_secs(1) / per_second.max(1), next: Mutex::new(Instant::now()) }
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// [`QueueFull`], at once.
    ///
    /// # Cancel safety
    /// The future may be dropped; its turn then goes unused.
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

    /// Ten thousand come back at once: no second has more turns than the limit and the saved ones.
    /// Callers that get a turn get it within ten seconds, and the others get the error at once.
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
        // The storm passes.
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
