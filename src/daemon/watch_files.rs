//! Notices changed files of the configuration. Certificates are renewed and secrets are replaced
//! without a signal to the process.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::running::Running;
use gatepost_config::Files;

/// A check takes at most one part in this many of the time between two checks, however slow the
/// disk is.
const PART: u32 = 50;

/// How often the setting is read while checks are switched off by the configuration.
const OFF: Duration = Duration::from_secs(5);

/// How long a changed file must stay the same. Certificate and key are two files, and may be in the
/// middle of being replaced.
const SETTLE: Duration = Duration::from_secs(1);

/// Reloads when a file has changed and then stayed the same for [`SETTLE`]. Never returns.
pub(crate) async fn watch(running: Arc<Running>) {
    let mut changed: Option<Files> = None;
    let mut took = Duration::ZERO;
    loop {
        let every = running.generation.get().config.limits.reload_check;
        sleep(pause(every, took, changed.is_some())).await;
        if every.is_zero() {
            continue;
        }
        let (before, begin) = (running.files.get(), Instant::now());
        let looked = {
            let before = Arc::clone(&before);
            spawn_blocking(move || before.now()).await
        };
        took = begin.elapsed();
        let Ok(now) = looked else { continue };
        if now == *before {
            changed = None;
        } else if changed.as_ref() == Some(&now) {
            changed = None;
            // The outcome was logged, and is available as the latest reload.
            let _outcome = running.reload().await;
        } else {
            changed = Some(now);
        }
    }
}

/// Returns how long to wait before the next check. `took` is the time of the one before.
fn pause(every: Duration, took: Duration, has_changed: bool) -> Duration {
    match (every.is_zero(), has_changed) {
        (true, _) => OFF,
        (false, false) => every.max(took * PART),
        // Soon, so that what the status shows is not long out of date.
        (false, true) => every.min(SETTLE).max(took * PART),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_is_taken_within_a_second_of_being_noticed() {
        let (default, fast, none) = (Duration::from_secs(5), Duration::from_millis(2), Duration::ZERO);
        assert_eq!(pause(default, fast, false), default);
        assert_eq!(pause(default, fast, true), SETTLE);
        assert_eq!(pause(Duration::from_millis(100), none, true), Duration::from_millis(100));
        assert_eq!(pause(none, none, true), OFF);
        // A slow disk is left alone for longer.
        assert_eq!(pause(default, Duration::from_secs(1), true), Duration::from_secs(50));
    }
}
