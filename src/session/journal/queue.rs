//! What last kept the queue from working.

use std::time::Duration;

use tokio::time::Instant;

use super::Journal;

/// How long a failure counts as present. One that lasts is met again every few seconds.
const PRESENT: Duration = Duration::from_secs(60);

impl Journal {
    /// Notes that the queue cannot be read or written now.
    pub(crate) fn queue_failed(&self, why: String) {
        *self.queue_failure.lock() = Some((Instant::now(), why));
    }

    /// Returns why the queue cannot be read or written, if that was so within the last minute.
    pub(crate) fn queue_failure(&self) -> Option<String> {
        let failure = self.queue_failure.lock();
        failure.as_ref().filter(|(at, _)| at.elapsed() < PRESENT).map(|(_, why)| why.clone())
    }
}
