//! Pauses requests when Microsoft asks for it. After a `Retry-After`, or a `Suggested Backoff Time`
//! of a mail server, no request is made for that mailbox until the time is over, because requests
//! in the meantime count against the limit (Microsoft, "Microsoft Graph throttling guidance").

use std::hash::Hash;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use gatepost_core::account::MailAddress;
use gatepost_core::bounded_map::BoundedMap;

/// Most mailboxes remembered. The one whose pause began first is evicted.
const REMEMBERED: usize = 16_384;

/// The end of the pause, by mailbox, or by what else `K` names.
#[derive(Debug)]
pub(crate) struct Throttle<K: Eq + Hash = MailAddress>(Mutex<BoundedMap<K, Instant>>);

impl<K: Eq + Hash> Default for Throttle<K> {
    fn default() -> Self {
        Self(Mutex::new(BoundedMap::new(REMEMBERED)))
    }
}

impl<K: Clone + Eq + Hash> Throttle<K> {
    /// Returns how much longer requests for `mailbox` must pause; zero when they need not.
    pub(crate) fn wait(&self, mailbox: &K) -> Duration {
        let mut mailboxes = self.mailboxes();
        let left = mailboxes.peek(mailbox).map_or(Duration::ZERO, |until| until.duration_since(Instant::now()));
        if left.is_zero() {
            mailboxes.remove(mailbox);
        }
        left
    }

    /// Pauses requests for `mailbox`, as Microsoft has asked.
    pub(crate) fn close(&self, mailbox: &K, wait: Duration) {
        let now = Instant::now();
        let mut mailboxes = self.mailboxes();
        // Removes ended pauses up to the first one that still lasts.
        mailboxes.remove_oldest_while(|_, until| *until <= now);
        let until = mailboxes.get_or_insert_with(mailbox.clone(), || now);
        *until = (*until).max(now + wait);
    }

    fn mailboxes(&self) -> MutexGuard<'_, BoundedMap<K, Instant>> {
        self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_mailbox_has_a_time_of_its_own() {
        let throttle = Throttle::default();
        let [anna, bert] = ["anna@contoso.com", "bert@contoso.com"].map(|text| MailAddress::parse(text).unwrap());
        throttle.close(&anna, Duration::from_secs(30));
        throttle.close(&anna, Duration::from_secs(10));
        assert_eq!((throttle.wait(&anna), throttle.wait(&bert)), (Duration::from_secs(30), Duration::ZERO));
        tokio::time::advance(Duration::from_secs(29)).await;
        assert_eq!(throttle.wait(&anna), Duration::from_secs(1));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(throttle.wait(&anna), Duration::ZERO);
        assert!(throttle.mailboxes().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_over_is_forgotten() {
        let throttle = Throttle::default();
        for number in 0..=REMEMBERED {
            throttle.close(&MailAddress::parse(&format!("{number}@x")).unwrap(), Duration::from_secs(1));
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        assert!(throttle.mailboxes().len() <= 11);
    }
}
