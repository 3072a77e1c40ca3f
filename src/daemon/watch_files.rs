//! Noticing that the files of the configuration say something else: certificates are renewed and secrets are replaced
//! without anybody sending a signal.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::running::Running;
use gatepost_config::Files;

/// A look takes no more than this part of the time between two of them, whatever the disk.
const PART: u32 = 50;

/// While nothing is looked at, because the configuration says so.
const OFF: Duration = Duration::from_secs(5);

/// Reloads when a file has changed and has then stayed the same from one look to the next: certificate and key are two
/// files, and whoever replaces them may be in the middle of it. Never returns.
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
            // It has been logged, and whoever asks for the latest reload is told.
            let _outcome = running.reload().await;
        } else {
            changed = Some(now);
        }
    }
}
