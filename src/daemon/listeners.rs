//! The listening sockets, and the sessions that come in through them. A socket stays open while
//! some listener has its address, whatever else changes about that listener. [`Inherited`] says
//! which of another process's sockets are used.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::error::StartError;
use super::inherited::{Inherited, UnitSocket};
use crate::session::{ListenerState, SessionContext, accept};
use gatepost_config::Bind;
use gatepost_core::protocol::Protocol;
use gatepost_net::listen;

/// Longest pause after a connection could not be accepted.
const ACCEPT_BACK_OFF: Duration = Duration::from_secs(1);

/// Longest wait for the sockets of listeners that were removed before.
const CLOSING: Duration = Duration::from_secs(2);

/// What serves the connections of a bound listener.
#[derive(Clone)]
struct Handler {
    shared: Arc<SessionContext>,
    service: Arc<ListenerState>,
}

/// Where a listener accepts connections.
#[derive(Clone)]
enum Endpoint {
    /// As configured; the port may be 0.
    Bind(Bind),
    /// At a socket of a socket unit, whose address is systemd's choice.
    Unit(Arc<TcpListener>),
}

/// A listener with the sockets of one of its endpoints.
struct BoundListener {
    listener: Arc<str>,
    endpoint: Endpoint,
    /// Two for `localhost`, unless the machine lacks one of the addresses.
    sockets: Vec<Arc<TcpListener>>,
    handler: watch::Sender<Handler>,
    closing: CancellationToken,
    /// Has a token for each acceptor that holds a socket.
    open: TaskTracker,
}

impl Endpoint {
    fn bind(&self) -> Option<Bind> {
        match self {
            Self::Bind(bind) => Some(*bind),
            Self::Unit(_) => None,
        }
    }
}

impl BoundListener {
    fn is_for(&self, service: &ListenerState, endpoint: &Endpoint) -> bool {
        match (&self.endpoint, endpoint) {
            // For port 0, the system chooses a different port for each socket.
            (Endpoint::Bind(one), Endpoint::Bind(other)) => {
                one == other && (one.port() != 0 || self.listener == service.listener.name)
            }
            (Endpoint::Unit(one), Endpoint::Unit(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    fn is_unit(&self) -> bool {
        matches!(self.endpoint, Endpoint::Unit(_))
    }
}

/// All bound listeners.
pub(crate) struct Listeners {
    listeners: Mutex<Vec<BoundListener>>,
    /// The sockets of socket units, whether a listener uses them or not.
    units: Vec<UnitSocket>,
    /// Ends the refusals at the sockets of units that no listener uses.
    refusing: Mutex<CancellationToken>,
    /// Set when the service begins to accept.
    accepting: std::sync::OnceLock<()>,
    acceptors: TaskTracker,
    /// Of listeners that were removed: their sockets may still be open.
    closing: Mutex<Vec<TaskTracker>>,
    sessions: Arc<SessionCounts>,
    /// Cancelled when no new connection is to be accepted.
    draining: CancellationToken,
    /// Cancelled when the remaining sessions are to be cut.
    cut: CancellationToken,
}

/// Sockets for a new generation, bound and not yet used. An endpoint without any is bound already.
pub(crate) struct Prepared(Vec<(Arc<ListenerState>, Endpoint, Vec<Arc<TcpListener>>)>);

/// Running sessions, by protocol.
#[derive(Default)]
pub(crate) struct SessionCounts([AtomicUsize; Protocol::ALL.len()]);

/// One running session.
pub(super) struct Counted {
    sessions: Arc<SessionCounts>,
    protocol: Protocol,
}

impl SessionCounts {
    fn of(&self, protocol: Protocol) -> &AtomicUsize {
        let [imap, pop3, smtp, ews, graph] = &self.0;
        match protocol {
            Protocol::Imap => imap,
            Protocol::Pop3 => pop3,
            Protocol::Smtp => smtp,
            Protocol::Ews => ews,
            Protocol::Graph => graph,
        }
    }

    /// Counts a session until the result is dropped.
    pub(super) fn enter(self: &Arc<Self>, protocol: Protocol) -> Counted {
        self.of(protocol).fetch_add(1, Ordering::Relaxed);
        Counted { sessions: Arc::clone(self), protocol }
    }

    /// Returns the number of sessions by protocol.
    pub(super) fn by_protocol(&self) -> [(Protocol, usize); Protocol::ALL.len()] {
        Protocol::ALL.map(|protocol| (protocol, self.of(protocol).load(Ordering::Relaxed)))
    }

    /// Returns the number of all sessions.
    pub(super) fn total(&self) -> usize {
        self.by_protocol().iter().map(|(_, count)| count).sum()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.sessions.of(self.protocol).fetch_sub(1, Ordering::Relaxed);
    }
}

impl Listeners {
    /// Creates the set with none open. Listeners are going to use the sockets of socket units in
    /// `inherited`. Cancelling `draining` closes all of them; cancelling `cut` ends their sessions.
    pub(crate) fn new(inherited: &Inherited, draining: CancellationToken, cut: CancellationToken) -> Self {
        let (listeners, refusing, sessions) = (Mutex::default(), Mutex::default(), Arc::default());
        Self {
            listeners,
            units: inherited.units().to_vec(),
            refusing,
            accepting: std::sync::OnceLock::new(),
            acceptors: TaskTracker::new(),
            closing: Mutex::default(),
            sessions,
            draining,
            cut,
        }
    }

    /// Binds what `services` need and is not bound yet, unless it is among the kept sockets of
    /// `inherited`.
    pub(crate) fn prepare(
        &self,
        services: &[Arc<ListenerState>],
        inherited: &mut Inherited,
    ) -> Result<Prepared, StartError> {
        let listeners = self.listeners();
        let mut prepared = Vec::new();
        for service in services {
            for endpoint in self.endpoints(service) {
                let sockets = match &endpoint {
                    _ if listeners.iter().any(|bound| bound.is_for(service, &endpoint)) => Vec::new(),
                    Endpoint::Unit(socket) => vec![Arc::clone(socket)],
                    Endpoint::Bind(bind) => bind.addresses().filter_map(|at| inherited.at(at)).map(Arc::new).collect(),
                };
                prepared.push((Arc::clone(service), endpoint, sockets));
            }
        }
        let is_wanted = |bound: &BoundListener| prepared.iter().any(|(service, at, _)| bound.is_for(service, at));
        let closing = listeners.iter().filter(|bound| !bound.is_unit() && !is_wanted(bound));
        let closing = closing.flat_map(|bound| &bound.sockets).map(|socket| &**socket);
        let closing: Vec<&TcpListener> = closing.chain(inherited.left()).collect();
        let binds = prepared.iter().filter_map(|(_, endpoint, _)| endpoint.bind());
        let addresses: Vec<SocketAddr> = binds.flat_map(Bind::addresses).collect();
        for (service, endpoint, sockets) in &mut prepared {
            let Some(bind) = endpoint.bind() else { continue };
            if !listeners.iter().any(|bound| bound.is_for(service, endpoint)) {
                let name = &service.listener.name;
                let bound = open(name, bind, std::mem::take(sockets), &closing);
                *sockets = bound.map_err(|(address, source)| StartError::Bind {
                    listener: Arc::clone(name),
                    address,
                    source,
                    // Itself is one of them.
                    ours: addresses.iter().filter(|other| overlap(**other, address)).count() > 1,
                    unit: self.unit_at(address),
                })?;
            }
        }
        Ok(Prepared(prepared))
    }

    /// Returns where this listener accepts connections.
    fn endpoints(&self, service: &ListenerState) -> Vec<Endpoint> {
        let listener = &service.listener;
        let of_units = self.units.iter().filter(|unit| unit.name == listener.name);
        let of_units: Vec<Endpoint> = of_units.map(|unit| Endpoint::Unit(Arc::clone(&unit.socket))).collect();
        match of_units.is_empty() {
            true => listener.bind.iter().copied().map(Endpoint::Bind).collect(),
            false => of_units,
        }
    }

    /// Returns the name of the unit socket that occupies this address.
    fn unit_at(&self, address: SocketAddr) -> Option<Arc<str>> {
        let occupies = |unit: &&UnitSocket| unit.socket.local_addr().is_ok_and(|bound| reaches(bound, address));
        self.units.iter().find(occupies).map(|unit| Arc::clone(&unit.name))
    }

    /// Serves through `prepared` from now on, with what its generation shares. Listeners that are
    /// no longer needed close. Sessions that came in through them stay.
    pub(crate) fn swap(&self, prepared: Prepared, shared: &Arc<SessionContext>) {
        let mut listeners = self.listeners();
        if self.draining.is_cancelled() {
            // Nothing is accepted any more while the service drains.
            return;
        }
        let mut former = std::mem::take(&mut *listeners);
        for (service, endpoint, sockets) in prepared.0 {
            let handler = Handler { shared: Arc::clone(shared), service };
            let at = former.iter().position(|bound| bound.is_for(&handler.service, &endpoint));
            match at {
                Some(at) => {
                    let mut bound = former.swap_remove(at);
                    bound.listener = Arc::clone(&handler.service.listener.name);
                    bound.handler.send_replace(handler);
                    listeners.push(bound);
                }
                None => {
                    let closing = self.draining.child_token();
                    let listener = Arc::clone(&handler.service.listener.name);
                    let (handler, _) = watch::channel(handler);
                    let bound =
                        BoundListener { listener, endpoint, sockets, handler, closing, open: TaskTracker::new() };
                    if self.accepting.get().is_some() {
                        self.spawn_acceptors(&bound);
                    }
                    listeners.push(bound);
                }
            }
        }
        for bound in former {
            bound.closing.cancel();
            bound.open.close();
            self.closing.lock().push(bound.open);
        }
        if self.accepting.get().is_some() {
            self.refuse_at_unused(&listeners);
        }
    }

    /// Waits until the sockets of listeners that were removed are closed, so that their addresses can
    /// be bound again.
    pub(super) async fn closed(&self) {
        let closing = std::mem::take(&mut *self.closing.lock());
        let all = async {
            for open in closing {
                open.wait().await;
            }
        };
        let _binding_says_which_is_not = timeout(CLOSING, all).await;
    }

    /// Accepts connections from now on.
    pub(crate) fn open(&self) {
        let listeners = self.listeners();
        if self.accepting.set(()).is_ok() {
            listeners.iter().for_each(|bound| self.spawn_acceptors(bound));
            self.refuse_at_unused(&listeners);
        }
    }

    /// Sends away who connects to a unit socket that no listener uses. systemd keeps it open, so
    /// its clients would wait until they give up.
    fn refuse_at_unused(&self, listeners: &[BoundListener]) {
        let mut refusing = self.refusing.lock();
        refusing.cancel();
        *refusing = self.draining.child_token();
        for unit in self.units.iter().filter(|unit| !is_used(unit, listeners)) {
            tokio::spawn(refuse(Arc::clone(&unit.socket), refusing.clone()));
        }
    }

    /// Returns name and address of the unit sockets that no listener uses.
    pub(super) fn unused_units(&self) -> Vec<(Arc<str>, SocketAddr)> {
        let listeners = self.listeners();
        let told = |unit: &UnitSocket| Some((Arc::clone(&unit.name), unit.socket.local_addr().ok()?));
        self.units.iter().filter(|unit| !is_used(unit, &listeners)).filter_map(told).collect()
    }

    fn spawn_acceptors(&self, bound: &BoundListener) {
        for socket in &bound.sockets {
            let acceptor = Acceptor {
                socket: Arc::clone(socket),
                handler: bound.handler.subscribe(),
                closing: bound.closing.clone(),
                draining: self.draining.clone(),
                sessions: Arc::clone(&self.sessions),
                open: bound.open.token(),
            };
            self.acceptors.spawn(acceptor.run(self.cut.clone()));
        }
    }

    /// Returns name, protocol and address of every listening socket, in the order of the
    /// configuration.
    pub(crate) fn addresses(&self) -> Vec<(Arc<ListenerState>, SocketAddr)> {
        let addresses = |bound: &BoundListener| {
            let service = Arc::clone(&bound.handler.borrow().service);
            let addresses = bound.sockets.iter().filter_map(|socket| socket.local_addr().ok());
            addresses.map(|address| (Arc::clone(&service), address)).collect::<Vec<_>>()
        };
        self.listeners().iter().flat_map(addresses).collect()
    }

    /// Returns every socket that is not systemd's, with the name of its listener, for the next
    /// process.
    pub(super) fn sockets(&self) -> Vec<(Arc<str>, Arc<TcpListener>)> {
        let listeners = self.listeners();
        let own = listeners.iter().filter(|bound| !bound.is_unit());
        let sockets = |bound: &BoundListener| {
            bound.sockets.iter().map(|socket| (Arc::clone(&bound.listener), Arc::clone(socket))).collect::<Vec<_>>()
        };
        own.flat_map(sockets).collect()
    }

    /// Returns the names of the socket units' sockets.
    pub(super) fn unit_names(&self) -> Vec<Arc<str>> {
        self.units.iter().map(|unit| Arc::clone(&unit.name)).collect()
    }

    /// Closes all of them, and drops their sockets. If no process comes after this one, who
    /// connects to a socket of systemd is sent away until the end of the process. Otherwise such a
    /// connection waits for the next process.
    pub(super) fn close(&self, is_last: bool) {
        self.draining.cancel();
        self.listeners().clear();
        self.acceptors.close();
        if is_last {
            for unit in &self.units {
                tokio::spawn(refuse(Arc::clone(&unit.socket), CancellationToken::new()));
            }
        }
    }

    /// Runs an acceptor of another kind of connection, which a shutdown waits for.
    #[cfg(unix)]
    pub(crate) fn accept_beside(&self, acceptor: impl Future<Output = ()> + Send + 'static) {
        self.acceptors.spawn(acceptor);
    }

    /// Returns the counts of running sessions.
    pub(super) fn sessions(&self) -> &Arc<SessionCounts> {
        &self.sessions
    }

    /// Waits until no session is left. Call it after [`Listeners::close`].
    pub(super) async fn empty(&self) {
        self.acceptors.wait().await;
    }

    fn listeners(&self) -> MutexGuard<'_, Vec<BoundListener>> {
        self.listeners.lock()
    }
}

/// Binds the addresses of `bind` that are not among `kept`. Of `localhost`, an address that the
/// machine lacks is left out.
fn open(
    listener: &str,
    bind: Bind,
    mut kept: Vec<Arc<TcpListener>>,
    closing: &[&TcpListener],
) -> Result<Vec<Arc<TcpListener>>, (SocketAddr, io::Error)> {
    match bind {
        Bind::Address(_) if !kept.is_empty() => Ok(kept),
        Bind::Address(address) => {
            let bound = listen::bind_early(address, closing).map_err(|error| (address, error))?;
            if bound.is_address_missing {
                tracing::warn!(
                    listener,
                    %address,
                    "this machine does not have the address {} yet: clients can connect when it does. If it never \
                     will, correct `bind`",
                    address.ip()
                );
            }
            Ok(vec![Arc::new(bound.socket)])
        }
        Bind::Localhost(port) => {
            let sockets = listen::bind_localhost(port, |address| {
                let at = kept.iter().position(|socket| socket.local_addr().is_ok_and(|bound| bound == address));
                match at {
                    Some(at) => Ok(kept.swap_remove(at)),
                    None => listen::bind_beside(address, closing).map(Arc::new),
                }
            })?;
            if let [alone] = sockets.as_slice()
                && let Ok(address) = alone.local_addr()
            {
                tracing::info!(listener, "`localhost` is `{address}` alone: this machine lacks the other address");
            }
            Ok(sockets)
        }
    }
}

/// Whether a listener uses the socket of a socket unit.
fn is_used(unit: &UnitSocket, listeners: &[BoundListener]) -> bool {
    listeners.iter().flat_map(|bound| &bound.sockets).any(|socket| Arc::ptr_eq(socket, &unit.socket))
}

/// Returns the IPv4 form of a peer's address that came in through a socket of both families.
fn canonical(peer: SocketAddr) -> SocketAddr {
    match peer.ip().to_canonical() {
        IpAddr::V4(address) => SocketAddr::from((address, peer.port())),
        IpAddr::V6(_) => peer,
    }
}

/// Whether two addresses cannot be bound at the same time.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port()
        && one.is_ipv4() == other.is_ipv4()
        && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
}

/// Whether a socket unit's socket occupies `address`. systemd opens `[::]` for IPv4 as well, unless
/// configured otherwise (`BindIPv6Only=`).
fn reaches(unit: SocketAddr, address: SocketAddr) -> bool {
    overlap(unit, address) || (unit.port() == address.port() && unit.is_ipv6() && unit.ip().is_unspecified())
}

/// Closes every connection at once, until `end`.
async fn refuse(socket: Arc<TcpListener>, end: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = end.cancelled() => return,
        };
        if accepted.is_err() {
            sleep(ACCEPT_BACK_OFF).await;
        }
    }
}

/// Accepts connections at one bound listener, and owns their sessions.
struct Acceptor {
    socket: Arc<TcpListener>,
    handler: watch::Receiver<Handler>,
    closing: CancellationToken,
    draining: CancellationToken,
    sessions: Arc<SessionCounts>,
    open: TaskTrackerToken,
}

impl Acceptor {
    /// Ends when the bound listener is closed and its last session has ended, or at once with
    /// `cut`.
    async fn run(self, cut: CancellationToken) {
        let mut running = JoinSet::new();
        self.accept(&mut running).await;
        if !self.draining.is_cancelled() {
            // The listener was removed from the configuration, but clients that connected before
            // are still served.
            while let Ok(Ok((connection, peer))) = timeout(Duration::ZERO, self.socket.accept()).await {
                self.spawn_session(connection, peer, &mut running);
            }
        }
        drop(self.socket);
        drop(self.open);
        tokio::select! {
            () = async { while running.join_next().await.is_some() {} } => {}
            () = cut.cancelled() => running.shutdown().await,
        }
    }

    /// Accepts connections until the bound listener closes. Nothing that one connection does ends
    /// this loop.
    async fn accept(&self, running: &mut JoinSet<()>) {
        let mut back_off = Duration::from_millis(5);
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                Some(_ended) = running.join_next() => continue,
                () = self.closing.cancelled() => return,
            };
            match accepted {
                Ok((connection, peer)) => {
                    back_off = Duration::from_millis(5);
                    self.spawn_session(connection, peer, running);
                }
                // The peer left while its connection was in the backlog.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    // There are no descriptors or memory. Waiting helps, a busy loop does not.
                    tracing::warn!(
                        listener = &*self.handler.borrow().service.listener.name,
                        "cannot accept connections for now: {error}. Gatepost admin: raise the limit of open files if this lasts"
                    );
                    sleep(back_off).await;
                    back_off = (back_off * 2).min(ACCEPT_BACK_OFF);
                }
            }
        }
    }

    fn spawn_session(&self, connection: TcpStream, peer: SocketAddr, running: &mut JoinSet<()>) {
        let peer = canonical(peer);
        let Handler { shared, service } = self.handler.borrow().clone();
        if let Some(place) = service.admit(&shared, peer) {
            let counted = self.sessions.enter(service.listener.protocol);
            running.spawn(accept::serve(shared, service, connection, peer, place, counted));
        }
    }
}
