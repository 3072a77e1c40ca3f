//! The listening sockets, and the sessions that come in through them. A socket stays open while
//! some listener has its address, whatever else changes about that listener.

use std::io;
use std::net::SocketAddr;
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

use super::error::StartError;
use super::inherited::Inherited;
use crate::session::{ListenerState, SessionContext, accept};
use gatepost_core::protocol::Protocol;
use gatepost_net::listen;

/// What serves the connections of a bound listener.
#[derive(Clone)]
struct Handler {
    shared: Arc<SessionContext>,
    service: Arc<ListenerState>,
}

/// One listening socket.
struct BoundListener {
    listener: Arc<str>,
    /// The configured address; its port may be 0.
    configured: SocketAddr,
    socket: Arc<TcpListener>,
    handler: watch::Sender<Handler>,
    closing: CancellationToken,
}

impl BoundListener {
    fn is_for(&self, service: &ListenerState, address: SocketAddr) -> bool {
        // For port 0, the system chooses a different port for each socket.
        self.configured == address && (address.port() != 0 || self.listener == service.listener.name)
    }
}

/// All bound listeners.
pub(crate) struct Listeners {
    listeners: Mutex<Vec<BoundListener>>,
    /// Set when the service begins to accept.
    accepting: std::sync::OnceLock<()>,
    acceptors: TaskTracker,
    sessions: Arc<SessionCounts>,
    /// Cancelled when no new connection is to be accepted.
    draining: CancellationToken,
    /// Cancelled when the remaining sessions are to be cut.
    cut: CancellationToken,
}

/// Sockets for a new generation, bound and not yet used.
pub(crate) struct Prepared(Vec<(Arc<ListenerState>, SocketAddr, Option<Arc<TcpListener>>)>);

/// Running sessions, by protocol.
#[derive(Default)]
pub(crate) struct SessionCounts([AtomicUsize; Protocol::ALL.len()]);

/// One running session.
struct Counted {
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

    fn enter(self: &Arc<Self>, protocol: Protocol) -> Counted {
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
    /// Creates the set with none open. Cancelling `draining` closes all of them; cancelling `cut`
    /// ends their sessions.
    pub(crate) fn new(draining: CancellationToken, cut: CancellationToken) -> Self {
        let (listeners, sessions) = (Mutex::default(), Arc::default());
        Self {
            listeners,
            accepting: std::sync::OnceLock::new(),
            acceptors: TaskTracker::new(),
            sessions,
            draining,
            cut,
        }
    }

    /// Binds what `services` need and is not bound yet. Sockets that another process handed over
    /// are used first.
    pub(crate) fn prepare(
        &self,
        services: &[Arc<ListenerState>],
        inherited: &mut Inherited,
    ) -> Result<Prepared, StartError> {
        let listeners = self.listeners();
        let mut prepared: Vec<(Arc<ListenerState>, SocketAddr, Option<Arc<TcpListener>>)> = Vec::new();
        // Exact addresses are matched before names, because a socket found by its name may have
        // exactly the address of another listener.
        let mut at_address = Vec::new();
        for service in services {
            for &address in &service.listener.bind {
                let known = listeners.iter().any(|bound| bound.is_for(service, address));
                at_address.push((service, address, known, if known { None } else { inherited.at(address) }));
            }
        }
        for (service, address, known, socket) in at_address {
            let name = &service.listener.name;
            let socket = match socket.or_else(|| if known { None } else { inherited.named(name) }) {
                _ if known => None,
                Some(socket) => Some(Arc::new(socket)),
                None => match listen::bind(address) {
                    Ok(socket) => Some(Arc::new(socket)),
                    Err(error) => {
                        let own = prepared.iter().filter(|(other, ..)| other.listener.name == *name);
                        let of_doors =
                            listeners.iter().filter(|bound| bound.listener == *name).map(|bound| &bound.socket);
                        let mut own = own.filter_map(|(_, _, socket)| socket.as_ref()).chain(of_doors);
                        if own.any(|socket| takes_both(socket, address)) {
                            continue;
                        }
                        let ours = listeners.iter().any(|bound| overlap(bound.configured, address));
                        return Err(StartError::Bind { listener: Arc::clone(name), address, source: error, ours });
                    }
                },
            };
            prepared.push((Arc::clone(service), address, socket));
        }
        Ok(Prepared(prepared))
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
        for (service, address, socket) in prepared.0 {
            let handler = Handler { shared: Arc::clone(shared), service };
            let at = former.iter().position(|bound| bound.is_for(&handler.service, address));
            match (at, socket) {
                (Some(at), _) => {
                    let mut bound = former.swap_remove(at);
                    bound.listener = Arc::clone(&handler.service.listener.name);
                    bound.handler.send_replace(handler);
                    listeners.push(bound);
                }
                (None, Some(socket)) => {
                    let closing = self.draining.child_token();
                    let listener = Arc::clone(&handler.service.listener.name);
                    let (handler, _) = watch::channel(handler);
                    let bound = BoundListener { listener, configured: address, socket, handler, closing };
                    if self.accepting.get().is_some() {
                        self.spawn_acceptor(&bound);
                    }
                    listeners.push(bound);
                }
                // It was bound when it was checked, and only a swap closes listeners.
                (None, None) => {}
            }
        }
        for bound in former {
            bound.closing.cancel();
        }
    }

    /// Accepts connections from now on.
    pub(crate) fn open(&self) {
        let listeners = self.listeners();
        if self.accepting.set(()).is_ok() {
            listeners.iter().for_each(|bound| self.spawn_acceptor(bound));
        }
    }

    fn spawn_acceptor(&self, bound: &BoundListener) {
        let acceptor = Acceptor {
            socket: Arc::clone(&bound.socket),
            handler: bound.handler.subscribe(),
            closing: bound.closing.clone(),
            draining: self.draining.clone(),
            sessions: Arc::clone(&self.sessions),
        };
        self.acceptors.spawn(acceptor.run(self.cut.clone()));
    }

    /// Returns name, protocol and address of every listening socket, in the order of the
    /// configuration.
    pub(crate) fn addresses(&self) -> Vec<(Arc<ListenerState>, SocketAddr)> {
        let address = |bound: &BoundListener| {
            Some((Arc::clone(&bound.handler.borrow().service), bound.socket.local_addr().ok()?))
        };
        self.listeners().iter().filter_map(address).collect()
    }

    /// Returns every socket with the name of its listener, for the next process.
    pub(super) fn sockets(&self) -> Vec<(Arc<str>, Arc<TcpListener>)> {
        self.listeners().iter().map(|bound| (Arc::clone(&bound.listener), Arc::clone(&bound.socket))).collect()
    }

    /// Closes all of them for good, and drops their sockets.
    pub(super) fn close(&self) {
        self.draining.cancel();
        self.listeners().clear();
        self.acceptors.close();
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

/// Whether this socket also serves `address`. systemd opens `[::]` for IPv4 as well, unless
/// configured otherwise (`BindIPv6Only=`).
fn takes_both(socket: &TcpListener, address: SocketAddr) -> bool {
    socket.local_addr().is_ok_and(|local| {
        local.port() == address.port() && local.is_ipv6() && local.ip().is_unspecified() && address.is_ipv4()
    })
}

/// Whether two addresses cannot be bound at the same time.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port()
        && one.is_ipv4() == other.is_ipv4()
        && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
}

/// Accepts connections at one bound listener, and owns their sessions.
struct Acceptor {
    socket: Arc<TcpListener>,
    handler: watch::Receiver<Handler>,
    closing: CancellationToken,
    draining: CancellationToken,
    sessions: Arc<SessionCounts>,
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
                        "cannot accept connections for now: {error}; whoever runs Gatepost: raise the limit of open files if this lasts"
                    );
                    sleep(back_off).await;
                    back_off = (back_off * 2).min(Duration::from_secs(1));
                }
            }
        }
    }

    fn spawn_session(&self, connection: TcpStream, peer: SocketAddr, running: &mut JoinSet<()>) {
        let Handler { shared, service } = self.handler.borrow().clone();
        if let Some(place) = service.admit(&shared, peer) {
            let counted = self.sessions.enter(service.listener.protocol);
            running.spawn(async move {
                accept::serve(shared, service, connection, peer, place).await;
                drop(counted);
            });
        }
    }
}
