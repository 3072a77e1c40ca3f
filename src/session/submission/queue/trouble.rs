//! What the log says while the disk or the index of the queue fails.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::session::journal::Journal;
use gatepost_core::cause::Cause;
use gatepost_store::queue::QueueError;

/// How often it is said.
const TOLD: Duration = Duration::from_secs(60);

/// Tells the log once in a while, and the status each time, that the queue cannot be read or written.
pub(super) struct Trouble {
    journal: Arc<Journal>,
    told: Option<Instant>,
}

impl Trouble {
    pub(super) fn new(journal: &Arc<Journal>) -> Self {
        Self { journal: Arc::clone(journal), told: None }
    }

    pub(super) fn tell(&mut self, error: &QueueError) {
        self.journal.queue_failed(error.to_string());
        if self.told.is_some_and(|told| told.elapsed() < TOLD) {
            return;
        }
        self.told = Some(Instant::now());
        let cause = Cause::QueueUnavailable;
        tracing::warn!(
            cause = cause.name(),
            action_by = cause.row().actor.name(),
            "the queue cannot be read or written, and messages wait: {error}. {}: {}.",
            cause.row().actor.label(),
            cause.row().remedy
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatepost_store::StoreError;

    #[tokio::test(start_paused = true)]
    async fn the_status_knows_of_trouble_that_lasts_and_forgets_what_is_over() {
        let journal = Journal::new(None);
        let mut trouble = Trouble::new(&journal);
        assert_eq!(journal.queue_failure(), None);
        let full: QueueError = StoreError::NotKept("the disk is full".into()).into();
        for _ in 0..10 {
            trouble.tell(&full);
            tokio::time::advance(TOLD / 4).await;
            assert_eq!(journal.queue_failure(), Some(full.to_string()));
        }
        tokio::time::advance(TOLD).await;
        assert_eq!(journal.queue_failure(), None);
    }
}
