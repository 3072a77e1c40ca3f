//! Has devices noted and kept, as the configuration says at the start.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::running::Running;
use gatepost_core::clock::Clock;

/// Longest wait for the store at the end of the service.
const LAST_BATCH: Duration = Duration::from_secs(5);

/// Keeps devices in the store until it is dropped.
pub(crate) async fn keep(running: Arc<Running>) {
    let Some(life) = running.generation.get().config.devices else { return };
    let process = &running.process;
    process.journal.devices().keep(&*process.store, life).await;
}

/// Keeps what was noted since the last batch.
pub(crate) async fn finish(running: &Running) {
    let Some(life) = running.generation.get().config.devices else { return };
    let process = &running.process;
    let adding = process.journal.devices().add(&*process.store, life, Clock::system().unix_time());
    // The next process notes again what connects.
    let _late = timeout(LAST_BATCH, adding).await;
}
