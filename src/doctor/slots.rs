//! Limits what all examinations of the process ask at the same time.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Most questions at once. The services of Microsoft take more, and clients need their share.
const AT_ONCE: usize = 8;

/// The right to ask, shared by all examinations of the page and the socket.
#[derive(Clone, Debug)]
pub(crate) struct Slots(Arc<Semaphore>);

impl Slots {
    /// Waits for the right to ask one server. It ends when the result is dropped. Who has it must
    /// not wait for another one.
    pub(super) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        // Nobody closes the semaphore.
        Arc::clone(&self.0).acquire_owned().await.ok()
    }
}

impl Default for Slots {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_examinations_together_ask_eight_questions_at_once() {
        let one = Slots::default();
        let other = one.clone();
        let at_once = async |slots: &Slots| timeout(Duration::from_secs(1), slots.turn()).await.ok();
        let mut asking = Vec::new();
        for _ in 0..AT_ONCE {
            asking.extend(at_once(&one).await);
        }
        assert_eq!(asking.len(), AT_ONCE);
        assert!(at_once(&other).await.is_none());
        asking.pop();
        assert!(at_once(&other).await.is_some());
    }
}
