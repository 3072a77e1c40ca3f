//! The sessions that have logged in and not ended: their accounts, their traffic, and the signal to
//! end one.

use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::login::device::KnownPassword;
use crate::session::connection_info::{ConnectionInfo, SessionUser};
use gatepost_core::clock::UnixTime;
use gatepost_core::protocol::Protocol;
use gatepost_telemetry::metrics::Metrics;

/// A session that has logged in. There may be tens of thousands, so it shares its texts with the
/// session itself.
#[derive(Debug)]
pub struct SessionEntry {
    /// Its id, as in the log.
    pub id: Arc<str>,
    /// The name of its listener.
    pub listener: Arc<str>,
    /// Its protocol.
    pub protocol: Protocol,
    /// The account that logged in.
    pub account: Arc<str>,
    /// The device password, if it was one.
    pub device: Option<Arc<KnownPassword>>,
    /// The time of the login.
    pub since: UnixTime,
    address: IpAddr,
    port: u16,
    sent: AtomicU64,
    received: AtomicU64,
    end: Notify,
}

impl SessionEntry {
    /// Returns the address of the client.
    pub fn peer(&self) -> SocketAddr {
        SocketAddr::new(self.address.to_canonical(), self.port)
    }

    /// Returns the octets so far: from the client to Microsoft, and back.
    pub fn traffic(&self) -> (u64, u64) {
        (self.sent.load(Ordering::Relaxed), self.received.load(Ordering::Relaxed))
    }

    fn moved(&self, sent: u64, received: u64) {
        self.sent.store(sent, Ordering::Relaxed);
        self.received.store(received, Ordering::Relaxed);
    }
}

/// Compares sessions by identity in the table: one connection may hold logins of several accounts
/// under one id.
#[derive(Debug)]
struct Itself(Arc<SessionEntry>);

impl PartialEq for Itself {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Itself {}

impl Hash for Itself {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

/// All live sessions.
#[derive(Debug)]
pub(super) struct SessionRegistry {
    metrics: Arc<Metrics>,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    live: HashSet<Itself>,
    /// Octets of ended sessions, in the order of [`Protocol::ALL`].
    ended: [(u64, u64); Protocol::ALL.len()],
}

impl Table {
    fn add(&mut self, protocol: Protocol, (sent, received): (u64, u64)) {
        let of_protocol = Protocol::ALL.iter().zip(&mut self.ended).find(|(other, _)| **other == protocol);
        if let Some((_, total)) = of_protocol {
            *total = (total.0.saturating_add(sent), total.1.saturating_add(received));
        }
    }
}

impl SessionRegistry {
    pub(super) fn new(metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { metrics, table: Mutex::default() })
    }

    /// Adds a session that has logged in.
    pub(super) fn begin(
        self: &Arc<Self>,
        protocol: Protocol,
        subject: &ConnectionInfo,
        whose: &SessionUser,
        now: UnixTime,
    ) -> SessionGuard {
        let session = Arc::new(SessionEntry {
            id: Arc::clone(&subject.session),
            listener: Arc::clone(&subject.listener),
            protocol,
            account: Arc::clone(&whose.account),
            device: whose.device.clone(),
            since: now,
            address: subject.peer.ip(),
            port: subject.peer.port(),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            end: Notify::new(),
        });
        self.table().live.insert(Itself(Arc::clone(&session)));
        self.metrics.session(protocol, true);
        SessionGuard { register: Arc::clone(self), session }
    }

    /// Returns all sessions, in no order.
    pub(super) fn all(&self) -> Vec<Arc<SessionEntry>> {
        self.table().live.iter().map(|session| Arc::clone(&session.0)).collect()
    }

    /// Tells the sessions of an id to end, and returns their accounts.
    pub(super) fn end(&self, id: &str) -> Vec<Arc<str>> {
        let table = self.table();
        let found = table.live.iter().filter(|session| &*session.0.id == id);
        found
            .map(|session| {
                session.0.end.notify_one();
                Arc::clone(&session.0.account)
            })
            .collect()
    }

    /// Returns the octets since the start by protocol, including live sessions.
    pub(super) fn traffic(&self) -> [(Protocol, (u64, u64)); Protocol::ALL.len()] {
        let table = self.table();
        let mut totals = Table { ended: table.ended, ..Table::default() };
        for session in &table.live {
            totals.add(session.0.protocol, session.0.traffic());
        }
        let mut ended = totals.ended.into_iter();
        Protocol::ALL.map(|protocol| (protocol, ended.next().unwrap_or_default()))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // A panic while it was locked left the table consistent.
        self.table.lock()
    }
}

/// Keeps a session live until it is dropped.
#[derive(Debug)]
pub struct SessionGuard {
    register: Arc<SessionRegistry>,
    session: Arc<SessionEntry>,
}

impl SessionGuard {
    /// Sets the octets since its beginning, from the client to Microsoft and back.
    pub(super) fn moved(&self, sent: u64, received: u64) {
        self.session.moved(sent, received);
    }

    /// Returns the octets so far.
    pub(super) fn traffic(&self) -> (u64, u64) {
        self.session.traffic()
    }

    /// Waits until an operator ends the session. Only one task may wait.
    ///
    /// # Cancel safety
    /// May be dropped and called again.
    pub(super) fn told_to_end(&self) -> impl Future<Output = ()> + Send + use<> {
        let session = Arc::clone(&self.session);
        async move { session.end.notified().await }
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        let Self { register, session } = self;
        register.metrics.session(session.protocol, false);
        let mut table = register.table();
        if table.live.remove(&Itself(Arc::clone(session))) {
            // Removed and added under one lock, so that a total never falls.
            let traffic = session.traffic();
            table.add(session.protocol, traffic);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn begin(register: &Arc<SessionRegistry>, id: &str) -> SessionGuard {
        let peer = "[::ffff:192.0.2.1]:4000".parse().unwrap();
        let subject = ConnectionInfo { session: id.into(), ..ConnectionInfo::new(&"imap".into(), peer) };
        let whose = SessionUser::named("alice@contoso.example");
        register.begin(Protocol::Imap, &subject, &whose, UnixTime(7))
    }

    fn imap(register: &SessionRegistry) -> (u64, u64) {
        register.traffic()[0].1
    }

    #[test]
    fn a_session_is_listed_while_its_guard_lives_and_its_octets_never_get_lost() {
        let register = SessionRegistry::new(Arc::default());
        let (first, second) = (begin(&register, "FIRST222"), begin(&register, "SECOND22"));
        first.moved(10, 100);
        second.moved(1, 2);
        assert_eq!(imap(&register), (11, 102));
        assert_eq!(register.metrics.sessions(Protocol::Imap), 2);
        drop(second);
        assert_eq!(imap(&register), (11, 102));
        first.moved(20, 200);
        assert_eq!(first.traffic(), (20, 200));
        let all = register.all();
        assert_eq!(all.len(), 1);
        assert_eq!((&*all[0].id, all[0].peer().to_string()), ("FIRST222", "192.0.2.1:4000".to_owned()));
        drop(first);
        assert_eq!(imap(&register), (21, 202));
        assert!(register.all().is_empty());
        assert_eq!(register.metrics.sessions(Protocol::Imap), 0);
    }

    #[test]
    fn the_logins_of_one_connection_are_sessions_of_their_own_however_many_there_are() {
        let register = SessionRegistry::new(Arc::default());
        let mut all: Vec<_> = (0..2_000).map(|_| begin(&register, "FIRST222")).collect();
        all.iter().for_each(|session| session.moved(1, 2));
        assert_eq!((register.all().len(), imap(&register)), (2_000, (2_000, 4_000)));
        all.truncate(500);
        assert_eq!((register.all().len(), imap(&register)), (500, (2_000, 4_000)));
        assert_eq!(register.end("FIRST222").len(), 500);
    }

    #[tokio::test]
    async fn an_operator_ends_one_session_and_no_other() {
        let register = SessionRegistry::new(Arc::default());
        let (first, second) = (begin(&register, "FIRST222"), begin(&register, "SECOND22"));
        let again = begin(&register, "FIRST222");
        assert!(register.end("THIRD222").is_empty());
        // This also works before anything waits for it, and for all sessions of one connection.
        assert_eq!(register.end("FIRST222").len(), 2);
        again.told_to_end().await;
        first.told_to_end().await;
        assert!(tokio::time::timeout(Duration::from_millis(1), second.told_to_end()).await.is_err());
    }

    #[test]
    fn a_session_costs_less_than_two_hundred_octets_more() {
        // Two reference counts, its entry in a half-full table, and what the session keeps of it.
        let octets = size_of::<SessionEntry>() + 16 + 2 * (size_of::<Itself>() + 1) + size_of::<SessionGuard>();
        assert!(octets <= 200, "{octets}");
    }
}
