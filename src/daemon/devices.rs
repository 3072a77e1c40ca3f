//! Has devices noted and kept, as the configuration says at the start.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::running::Running;

/// Longest wait for the store at the end of the service.
const LAST_BATCH: Duration = Duration::from_secs(5);

/// Keeps devices in the store, and after `end` what was noted since the last batch.
pub(crate) async fn keep(running: Arc<Running>, end: CancellationToken) {
    let Some(life) = running.generation.get().config.devices else { return };
    let process = &running.process;
    process.journal.devices().keep(&*process.store, life, end.cancelled()).await;
}

/// Waits for the last batch, a few seconds at most.
pub(crate) async fn finish(keeping: JoinHandle<()>, end: &CancellationToken) {
    end.cancel();
    let abort = keeping.abort_handle();
    if timeout(LAST_BATCH, keeping).await.is_err() {
        // The next process notes again what connects.
        abort.abort();
    }
}
