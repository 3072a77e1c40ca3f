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

/// Reloads when a file has changed and then stayed the same from one check to the next. Certificate
/// and key are two files, and may be in the middle of being replaced. Never returns.
pub(crate) async fn watch(running: Arc<Running>) {
    let mut changed: Option<Files> = None;
    let mut took = Duration::ZERO;
    loop {
        let every = running.generation.get().config.limits.reload_check;
        sleep(if every.is_zero() { OFF } else { every.max(took * PART) }).await;
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
