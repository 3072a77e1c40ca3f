//! Limits the sessions (EWS, Graph: requests) of one mailbox to as many as Microsoft accepts at
//! once: as many as the configuration says, or as the server bore when it refused one more. A
//! further login waits for a permit instead of being refused
//! (`432 4.3.2 Concurrent connections limit exceeded`; Microsoft, "Message storage and concurrent
//! connection throttling for SMTP Authenticated Submission").
//!
//! While a login waits, a session that is at rest may yield its permit (`MailboxPermit::rests`).
//! So a client that keeps connections open for its next message does not shut out others.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use gatepost_config::Limits;
use gatepost_core::account::MailAddress;
use gatepost_core::protocol::Protocol;
use gatepost_core::reloadable::Reloadable;

/// How long it counts that the server refused a session as one too many. Then one more is tried.
const REFUSAL_MEMORY: Duration = Duration::from_secs(5 * 60);

/// Grants the permits of all mailboxes, or of whatever else `K` names. A mailbox without a session
/// takes no memory.
pub struct MailboxLimiter<K: Eq + Hash = MailAddress> {
    limits: Reloadable<PerMailbox>,
    mailboxes: Mutex<HashMap<Key<K>, Mailbox>>,
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
            imap: limits.imap_sessions_per_mailbox.unwrap_or(usize::MAX),
            pop3: limits.pop3_sessions_per_mailbox.unwrap_or(usize::MAX),
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

/// Who has a permit or waits for one.
#[derive(Default)]
struct Holder {
    /// Wakes it: it has its permit, is to look whom to ask, or is asked to yield.
    woken: Notify,
    /// Whether it is asked to yield. Written while the mailboxes are locked.
    asked: AtomicBool,
}

/// The permits of one mailbox and protocol.
#[derive(Default)]
struct Mailbox {
    /// How many permits are in use.
    held: usize,
    /// Who waits for a permit, in order.
    waiting: VecDeque<Arc<Holder>>,
    /// The sessions at rest, the longest first.
    resting: Vec<Resting>,
    /// How many sessions the server bore when it refused one more, and until when that counts.
    borne: Option<(usize, Instant)>,
}

/// A session that may yield.
struct Resting {
    session: Arc<Holder>,
    /// When it may be asked.
    from: Instant,
}

impl Mailbox {
    /// How many sessions there may be, and who says so.
    fn bound(&self, configured: usize) -> (usize, Bound) {
        match self.borne {
            Some((borne, until)) if borne < configured && Instant::now() < until => (borne, Bound::Server),
            _ => (configured, Bound::Configuration),
        }
    }

    /// Gives free permits to those who wait.
    fn serve(&mut self, configured: usize) {
        let (most, _) = self.bound(configured);
        while self.held < most
            && let Some(next) = self.waiting.pop_front()
        {
            self.held += 1;
            next.woken.notify_one();
        }
        self.look_again();
    }

    /// Lets the first who waits look whom to ask. It asks for all.
    fn look_again(&self) {
        if let Some(first) = self.waiting.front() {
            first.woken.notify_one();
        }
    }

    /// Asks sessions at rest to yield, one for each login that waits. Returns when the next one may
    /// be asked.
    fn ask(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let asked = |resting: &&Resting| resting.session.asked.load(Ordering::Relaxed);
        let more = self.waiting.len().saturating_sub(self.resting.iter().filter(asked).count());
        for next in self.resting.iter().filter(|resting| !asked(resting)).take(more) {
            if next.from > now {
                return Some(next.from);
            }
            next.session.asked.store(true, Ordering::Relaxed);
            next.session.woken.notify_one();
        }
        None
    }

    fn waits(&self, session: &Arc<Holder>) -> bool {
        self.waiting.iter().any(|waiting| Arc::ptr_eq(waiting, session))
    }

    /// Replaces what is known of the rest of `session`. If it had been asked, that is void.
    fn rests(&mut self, session: &Arc<Holder>, from: Option<Instant>) {
        session.asked.store(false, Ordering::Relaxed);
        self.resting.retain(|resting| !Arc::ptr_eq(&resting.session, session));
        if let Some(from) = from {
            let at = self.resting.partition_point(|resting| resting.from <= from);
            self.resting.insert(at, Resting { session: Arc::clone(session), from });
        }
        self.look_again();
    }
}

/// The permit of one session. Dropping it admits the next one.
pub struct MailboxPermit<K: Clone + Eq + Hash = MailAddress> {
    limiter: Arc<MailboxLimiter<K>>,
    key: Key<K>,
    itself: Arc<Holder>,
    /// What it last said about its rest.
    rests: Option<Instant>,
}

/// Who limits the sessions of a mailbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Bound {
    /// The section `limits`.
    #[default]
    Configuration,
    /// The server, which refused one more.
    Server,
}

/// No permit became free in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MailboxFull {
    /// How many permits there are.
    pub(super) places: usize,
    /// Why there are no more.
    pub(super) bound: Bound,
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
        self.limits.set(PerMailbox::of(limits));
        let now = self.limits.get();
        for ((protocol, _), mailbox) in self.mailboxes().iter_mut() {
            mailbox.serve(now.places(*protocol));
        }
    }

    /// Returns a permit for a session of `mailbox`. Requests are served in order, and each waits at
    /// most `limits.mailbox_wait`. Sessions at rest are asked to yield meanwhile, the longest at
    /// rest first.
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
        let deadline = Instant::now() + limits.wait;
        // Created before the wait, so that a login cancelled during it leaves nothing behind.
        let permit = MailboxPermit {
            limiter: Arc::clone(self),
            key: (protocol, mailbox.clone()),
            itself: Arc::default(),
            rests: None,
        };
        {
            let mut mailboxes = self.mailboxes();
            let mailbox = mailboxes.entry(permit.key.clone()).or_default();
            mailbox.waiting.push_back(Arc::clone(&permit.itself));
            mailbox.serve(limits.places(protocol));
        }
        while permit.with(|mailbox| mailbox.waits(&permit.itself)) == Some(true) {
            if Instant::now() >= deadline {
                let configured = limits.places(protocol);
                let (places, bound) = permit.with(|mailbox| mailbox.bound(configured)).unwrap_or_default();
                return Err(MailboxFull { places, bound, waited: limits.wait });
            }
            let again = permit.with(|mailbox| mailbox.ask()).flatten();
            tokio::select! {
                () = permit.itself.woken.notified() => {}
                () = sleep_until(again.map_or(deadline, |again| again.min(deadline))) => {}
            }
        }
        Ok(permit)
    }

    /// Returns a permit if one is free and nobody waits for one. No session is asked to yield.
    pub(super) fn try_acquire(self: &Arc<Self>, protocol: Protocol, mailbox: &K) -> Option<MailboxPermit<K>> {
        let configured = self.limits.get().places(protocol);
        let key = (protocol, mailbox.clone());
        let mut mailboxes = self.mailboxes();
        let known = mailboxes.entry(key.clone()).or_default();
        let (most, _) = known.bound(configured);
        if known.held >= most || !known.waiting.is_empty() {
            return None;
        }
        known.held += 1;
        Some(MailboxPermit { limiter: Arc::clone(self), key, itself: Arc::default(), rests: None })
    }

    fn mailboxes(&self) -> MutexGuard<'_, HashMap<Key<K>, Mailbox>> {
        self.mailboxes.lock()
    }
}

impl<K: Clone + Eq + Hash> MailboxPermit<K> {
    /// Returns the mailbox.
    pub(super) fn mailbox(&self) -> &K {
        &self.key.1
    }

    /// Notes from when on the session may yield, because it is at rest; `None`: it is busy. Call it
    /// on each change.
    pub(super) fn rests(&mut self, from: Option<Instant>) {
        if self.rests != from {
            self.rests = from;
            self.with(|mailbox| mailbox.rests(&self.itself, from));
        }
    }

    /// Waits until the session is asked to yield. It must then end, or say with
    /// [`MailboxPermit::rests`] that it is busy.
    ///
    /// # Cancel safety
    /// May be dropped and called again.
    pub(super) fn asked_to_yield(&self) -> impl Future<Output = ()> + Send + use<K> {
        let itself = Arc::clone(&self.itself);
        async move {
            // A notification may be one from before.
            while !itself.asked.load(Ordering::Relaxed) {
                itself.woken.notified().await;
            }
        }
    }

    /// Notes that the server refused this session, because the mailbox has too many. For a while
    /// there are no more than without it, but one at least.
    pub(super) fn refused_as_too_many(&self) {
        self.with(|mailbox| {
            let borne = mailbox.held.saturating_sub(1).max(1);
            mailbox.borne = Some((borne, Instant::now() + REFUSAL_MEMORY));
        });
    }

    fn with<T>(&self, look: impl FnOnce(&mut Mailbox) -> T) -> Option<T> {
        // While there is a permit, its mailbox is in the table.
        self.limiter.mailboxes().get_mut(&self.key).map(look)
    }
}

impl<K: Clone + Eq + Hash> Drop for MailboxPermit<K> {
    fn drop(&mut self) {
        let most = self.limiter.limits.get().places(self.key.0);
        let mut mailboxes = self.limiter.mailboxes();
        let Some(mailbox) = mailboxes.get_mut(&self.key) else { return };
        match mailbox.waiting.iter().position(|waiting| Arc::ptr_eq(waiting, &self.itself)) {
            Some(at) => drop(mailbox.waiting.remove(at)),
            None => mailbox.held = mailbox.held.saturating_sub(1),
        }
        mailbox.resting.retain(|resting| !Arc::ptr_eq(&resting.session, &self.itself));
        mailbox.serve(most);
        if mailbox.held == 0 && mailbox.waiting.is_empty() {
            mailboxes.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

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
        assert_eq!(places.mailboxes().get(&(Protocol::Smtp, alice)).unwrap().waiting.len(), 5);
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
        assert_eq!(
            occupied,
            Some(MailboxFull { places: 3, bound: Bound::Configuration, waited: Duration::from_secs(30) })
        );
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

    type Waiting = tokio::task::JoinHandle<Result<MailboxPermit, MailboxFull>>;

    /// Three sessions at rest from these seconds on, and so many logins that wait.
    async fn resting(
        places: &Arc<MailboxLimiter>,
        from: [Option<u64>; 3],
        waiting: usize,
    ) -> (Vec<MailboxPermit>, Vec<Waiting>) {
        let alice = mailbox("alice@contoso.example");
        let begin = Instant::now();
        let mut held = Vec::new();
        for from in from {
            let mut permit = places.acquire(Protocol::Smtp, &alice).await.unwrap();
            permit.rests(from.map(|seconds| begin + Duration::from_secs(seconds)));
            held.push(permit);
        }
        (held, self::waiting(places, waiting).await)
    }

    async fn waiting(places: &Arc<MailboxLimiter>, number: usize) -> Vec<Waiting> {
        let mut logins = Vec::new();
        for _ in 0..number {
            let (places, alice) = (Arc::clone(places), mailbox("alice@contoso.example"));
            logins.push(tokio::spawn(async move { places.acquire(Protocol::Smtp, &alice).await }));
            tokio::task::yield_now().await;
        }
        logins
    }

    /// Which of the sessions have been asked.
    async fn asked(held: &[MailboxPermit]) -> Vec<bool> {
        let mut asked = Vec::new();
        for permit in held {
            asked.push(timeout(Duration::ZERO, permit.asked_to_yield()).await.is_ok());
        }
        asked
    }

    async fn second(number: u64, begin: Instant) {
        tokio::time::sleep_until(begin + Duration::from_secs(number) + Duration::from_millis(10)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_session_at_rest_for_longest_yields_and_no_more_than_logins_wait() {
        let (places, begin) = (places(), Instant::now());
        let (mut held, _) = resting(&places, [Some(5), Some(3), Some(4)], 0).await;
        second(9, begin).await;
        assert_eq!(asked(&held).await, [false, false, false], "nobody waits");
        let mut logins = waiting(&places, 1).await;
        second(10, begin).await;
        assert_eq!(asked(&held).await, [false, true, false]);
        drop(held.remove(1));
        assert!(logins.remove(0).await.unwrap().is_ok());
        assert_eq!(asked(&held).await, [false, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_became_busy_is_passed_over() {
        let (places, begin) = (places(), Instant::now());
        let (mut held, mut logins) = resting(&places, [Some(2), Some(4), None], 1).await;
        second(1, begin).await;
        assert_eq!(asked(&held).await, [false, false, false], "none is at rest for long enough");
        second(2, begin).await;
        assert_eq!(asked(&held).await, [true, false, false]);
        // Its client has just sent a command.
        held[0].rests(None);
        second(3, begin).await;
        assert_eq!(asked(&held).await, [false, false, false]);
        second(4, begin).await;
        assert_eq!(asked(&held).await, [false, true, false]);
        drop(held.remove(1));
        assert!(logins.remove(0).await.unwrap().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn one_session_yields_for_each_login_that_waits_although_one_of_these_leaves() {
        let (places, begin) = (places(), Instant::now());
        let (mut held, mut logins) = resting(&places, [None, None, None], 3).await;
        second(1, begin).await;
        held.iter_mut()
            .enumerate()
            .for_each(|(at, permit)| permit.rests(Some(begin + Duration::from_secs(at as u64 + 2))));
        second(2, begin).await;
        assert_eq!(asked(&held).await, [true, false, false]);
        // The login that asked gives up.
        let first = logins.remove(0);
        first.abort();
        assert!(first.await.is_err());
        second(4, begin).await;
        assert_eq!(asked(&held).await, [true, true, false], "two are left");
        held.clear();
        for login in logins {
            assert!(login.await.unwrap().is_ok());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_server_bears_counts_for_a_while() {
        let places = places();
        let alice = mailbox("alice@contoso.example");
        let mut held = Vec::new();
        for _ in 0..40 {
            held.push(places.acquire(Protocol::Imap, &alice).await.unwrap());
        }
        let one_too_many = places.acquire(Protocol::Imap, &alice).await.unwrap();
        one_too_many.refused_as_too_many();
        drop(one_too_many);
        let full = places.acquire(Protocol::Imap, &alice).await.err().unwrap();
        assert_eq!((full.places, full.bound), (40, Bound::Server));
        // As few as that are the configuration's own doing.
        places.adjust(&Limits { imap_sessions_per_mailbox: Some(40), ..Limits::default() });
        let full = places.acquire(Protocol::Imap, &alice).await.err().unwrap();
        assert_eq!((full.places, full.bound), (40, Bound::Configuration));
        places.adjust(&Limits::default());
        held.pop();
        held.push(places.acquire(Protocol::Imap, &alice).await.unwrap());
        tokio::time::advance(REFUSAL_MEMORY).await;
        held.push(places.acquire(Protocol::Imap, &alice).await.unwrap());
        // One that is refused although no other is open leaves room for one.
        drop(held);
        let lonely = places.acquire(Protocol::Imap, &alice).await.unwrap();
        lonely.refused_as_too_many();
        assert!(places.acquire(Protocol::Imap, &alice).await.is_err());
        drop(lonely);
        assert!(places.mailboxes().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn other_limits_apply_at_once() {
        let places = places();
        let (mut held, logins) = resting(&places, [None, None, None], 2).await;
        places.adjust(&Limits { smtp_sessions_per_mailbox: 4, ..Limits::default() });
        let alice = mailbox("alice@contoso.example");
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(logins.iter().filter(|login| login.is_finished()).count(), 1);
        places.adjust(&Limits { smtp_sessions_per_mailbox: 2, ..Limits::default() });
        held.pop();
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(logins.iter().filter(|login| login.is_finished()).count(), 1, "three of two are left");
        assert!(places.acquire(Protocol::Smtp, &alice).await.is_err());
    }

    #[tokio::test]
    async fn a_probe_gets_a_permit_that_nobody_else_wants() {
        let places = places();
        let alice = mailbox("alice@contoso.example");
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(places.try_acquire(Protocol::Smtp, &alice).unwrap());
        }
        assert!(places.try_acquire(Protocol::Smtp, &alice).is_none());
        held.pop();
        drop(places.try_acquire(Protocol::Smtp, &alice).unwrap());
        held.clear();
        assert!(places.mailboxes().is_empty());
    }
}
