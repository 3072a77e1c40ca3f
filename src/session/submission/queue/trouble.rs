//! What the log says while the disk or the index of the queue fails.

use std::time::Duration;

use tokio::time::Instant;

use gatepost_core::cause::Cause;
use gatepost_store::queue::QueueError;

/// How often it is said.
const TOLD: Duration = Duration::from_secs(60);

/// Tells the log that the queue cannot be read or written, once in a while.
#[derive(Default)]
pub(super) struct Trouble(Option<Instant>);

impl Trouble {
    pub(super) fn tell(&mut self, error: &QueueError) {
        if self.0.is_some_and(|told| told.elapsed() < TOLD) {
            return;
        }
        self.0 = Some(Instant::now());
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
