//! Limits the sessions (EWS, Graph: requests) of one mailbox to as many as Microsoft accepts at
//! once. A further login waits for a permit instead of being refused
//! (`432 4.3.2 Concurrent connections limit exceeded`; Microsoft, "Message storage and concurrent
//! connection throttling for SMTP Authenticated Submission").

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use gatepost_config::Limits;
use gatepost_core::account::MailAddress;
use gatepost_core::protocol::Protocol;
use gatepost_core::reloadable::Reloadable;

/// Grants the permits of all mailboxes, or of whatever else `K` names. A mailbox without a session
/// takes no memory.
pub struct MailboxLimiter<K: Eq + Hash = MailAddress> {
    limits: Reloadable<PerMailbox>,
    mailboxes: Mutex<HashMap<Key<K>, Arc<Semaphore>>>,
}

struct PerMailbox {
    imap: usize,
    pop3: usize,
    smtp: usize,
    ews: usize,
    graph: usize,
    wait: Duration,
}

impl PerMailbox {
    fn of(limits: &Limits) -> Self {
        Self {
            imap: limits.imap_sessions_per_mailbox,
            pop3: limits.pop3_sessions_per_mailbox,
            smtp: limits.smtp_sessions_per_mailbox,
            ews: limits.ews_requests_per_mailbox,
            graph: limits.graph_requests_per_mailbox,
            wait: limits.mailbox_wait,
        }
    }

    fn all(places: usize, wait: Duration) -> Self {
        Self { imap: places, pop3: places, smtp: places, ews: places, graph: places, wait }
    }

    fn places(&self, protocol: Protocol) -> usize {
        match protocol {
            Protocol::Imap => self.imap,
            Protocol::Pop3 => self.pop3,
            Protocol::Smtp => self.smtp,
            Protocol::Ews => self.ews,
            Protocol::Graph => self.graph,
        }
    }
}

/// Each protocol is counted separately, as Microsoft does.
type Key<K> = (Protocol, K);

/// The permit of one session. Dropping it admits the next one.
pub struct MailboxPermit<K: Eq + Hash = MailAddress> {
    places: Arc<MailboxLimiter<K>>,
    key: Key<K>,
    /// `None` once it is dropped.
    mailbox: Option<Arc<Semaphore>>,
    /// `None` while it waits.
    permit: Option<OwnedSemaphorePermit>,
}

/// No permit became free in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MailboxFull {
    /// How many permits there are.
    pub(super) places: usize,
    /// How long the login waited.
    pub(super) waited: Duration,
}

impl MailboxLimiter {
    /// Creates a limiter with all permits free.
    pub fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self { limits: Reloadable::new(PerMailbox::of(limits)), mailboxes: Mutex::default() })
    }
}

impl<K: Clone + Eq + Hash> MailboxLimiter<K> {
    /// Creates a limiter with the same number for each protocol, and limits that no configuration
    /// changes.
    pub fn fixed(places: usize, wait: Duration) -> Arc<Self> {
        Arc::new(Self { limits: Reloadable::new(PerMailbox::all(places, wait)), mailboxes: Mutex::default() })
    }

    /// Applies other limits from now on. Present sessions stay, even if they now exceed the limit.
    pub fn adjust(&self, limits: &Limits) {
        let former = self.limits.set(PerMailbox::of(limits));
        let now = self.limits.get();
        for ((protocol, _), mailbox) in self.mailboxes().iter() {
            let (before, after) = (former.places(*protocol), now.places(*protocol));
            mailbox.add_permits(after.saturating_sub(before));
            let taken_back = before.saturating_sub(after);
            // Permits in use cannot be taken back. They are few, and the mailbox gets a new
            // semaphore once it is empty.
            mailbox.forget_permits(taken_back);
        }
    }

    /// Returns a permit for a session of `mailbox`. Requests are served in order, and each waits at
    /// most `limits.mailbox_wait`.
    ///
    /// # Errors
    /// [`MailboxFull`].
    ///
    /// # Cancel safety
    /// Dropping the future lets the next request have its turn.
    pub(super) async fn acquire(
        self: &Arc<Self>,
        protocol: Protocol,
        mailbox: &K,
    ) -> Result<MailboxPermit<K>, MailboxFull> {
        let limits = self.limits.get();
        let (places, wait) = (limits.places(protocol), limits.wait);
        let key = (protocol, mailbox.clone());
        let semaphore =
            Arc::clone(self.mailboxes().entry(key.clone()).or_insert_with(|| Arc::new(Semaphore::new(places))));
        // Created before the wait, so that a login cancelled during it leaves nothing behind.
        let permit = Arc::clone(&semaphore).acquire_owned();
        let mut place = MailboxPermit { places: Arc::clone(self), key, mailbox: Some(semaphore), permit: None };
        // A semaphore of this module is never closed.
        place.permit = timeout(wait, permit).await.ok().and_then(Result::ok);
        if place.permit.is_some() { Ok(place) } else { Err(MailboxFull { places, waited: wait }) }
    }
}

impl<K: Eq + Hash> MailboxLimiter<K> {
    fn mailboxes(&self) -> MutexGuard<'_, HashMap<Key<K>, Arc<Semaphore>>> {
        self.mailboxes.lock()
    }
}

impl<K: Eq + Hash> Drop for MailboxPermit<K> {
    fn drop(&mut self) {
        self.permit = None;
        let mut mailboxes = self.places.mailboxes();
        // Dropped while the table is locked: of several that leave at once, the last one sees that
        // no other is left.
        self.mailbox = None;
        if mailboxes.get(&self.key).is_some_and(|mailbox| Arc::strong_count(mailbox) == 1) {
            mailboxes.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Arc<MailboxLimiter> {
        MailboxLimiter::new(&Limits::default())
    }

    fn mailbox(name: &str) -> MailAddress {
        MailAddress::parse(name).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn the_fourth_smtp_session_waits_for_one_of_the_three_and_nobody_else_does() {
        let places = places();
        let alice = mailbox("alice@contoso.example");
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(places.acquire(Protocol::Smtp, &alice).await.unwrap());
        }
        let fourth = tokio::spawn({
            let (places, alice) = (Arc::clone(&places), alice.clone());
            async move { places.acquire(Protocol::Smtp, &alice).await }
        });
        // Another protocol and another mailbox are not concerned; the case of the name makes no
        // difference.
        let _imap = places.acquire(Protocol::Imap, &alice).await.unwrap();
        let _bob = places.acquire(Protocol::Smtp, &mailbox("bob@contoso.example")).await.unwrap();
        tokio::time::sleep(Duration::from_secs(29)).await;
        assert!(!fourth.is_finished());
        held.pop();
        assert!(fourth.await.unwrap().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_first_is_served_first() {
        let places = places();
        let alice = mailbox("alice@contoso.example");
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(places.acquire(Protocol::Smtp, &alice).await.unwrap());
        }
        let (served, mut order) = tokio::sync::mpsc::unbounded_channel();
        for number in 0..5 {
            let (places, alice, served) = (Arc::clone(&places), mailbox("Alice@Contoso.example"), served.clone());
            tokio::spawn(async move {
                let place = places.acquire(Protocol::Smtp, &alice).await;
                served.send((number, place)).unwrap();
            });
            tokio::task::yield_now().await;
        }
        assert_eq!(places.mailboxes().get(&(Protocol::Smtp, alice)).unwrap().available_permits(), 0);
        for number in 0..5 {
            held.pop();
            let (served, place) = order.recv().await.unwrap();
            assert_eq!(served, number);
            held.push(place.unwrap());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_is_bounded_and_nothing_is_left_behind() {
        let places = places();
        let alice = mailbox("alice@contoso.example");
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(places.acquire(Protocol::Smtp, &alice).await.unwrap());
        }
        let started = tokio::time::Instant::now();
        let occupied = places.acquire(Protocol::Smtp, &alice).await.err();
        assert_eq!(occupied, Some(MailboxFull { places: 3, waited: Duration::from_secs(30) }));
        assert_eq!(started.elapsed(), Duration::from_secs(30));
        // A login that is given up while it waits, the last to leave of all.
        let given_up = timeout(Duration::from_secs(1), places.acquire(Protocol::Smtp, &alice)).await;
        assert!(given_up.is_err());
        drop(held);
        assert!(places.mailboxes().is_empty());
        // Ten thousand mailboxes that came and went.
        for number in 0..10_000 {
            drop(places.acquire(Protocol::Imap, &mailbox(&format!("m{number}@contoso.example"))).await);
        }
        assert!(places.mailboxes().is_empty());
    }
}
