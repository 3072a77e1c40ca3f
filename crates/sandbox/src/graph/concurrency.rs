//! How many calls are under way for an application and a mailbox together.

use std::collections::HashMap;

use parking_lot::Mutex;

/// The calls under way, by application and mailbox.
#[derive(Default)]
pub(crate) struct ConcurrentCalls(Mutex<HashMap<(String, String), u64>>);

/// One call under way. Dropping it ends the call.
pub(super) struct CallPermit<'a> {
    concurrent_calls: &'a ConcurrentCalls,
    key: (String, String),
}

impl ConcurrentCalls {
    /// Counts a call, and returns it with the number of calls then under way.
    pub(super) fn take(&self, client_id: &str, mailbox: &str) -> (CallPermit<'_>, u64) {
        let key = (client_id.to_owned(), mailbox.to_owned());
        let taken = self.with(|calls| {
            let taken = calls.entry(key.clone()).or_default();
            *taken += 1;
            *taken
        });
        (CallPermit { concurrent_calls: self, key }, taken)
    }

    fn with<R>(&self, work: impl FnOnce(&mut HashMap<(String, String), u64>) -> R) -> R {
        work(&mut self.0.lock())
    }
}

impl Drop for CallPermit<'_> {
    fn drop(&mut self) {
        self.concurrent_calls.with(|calls| {
            if let Some(taken) = calls.get_mut(&self.key) {
                *taken -= 1;
                if *taken == 0 {
                    calls.remove(&self.key);
                }
            }
        });
    }
}
