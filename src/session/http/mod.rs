//! A connection of an EWS or Graph client, with HTTP/1.1 or HTTP/2. Its requests go to Microsoft
//! with a bearer token in place of the password.
//!
//! `checked_io` validates what arrives before the HTTP library sees it. `exchange` handles one
//! request, `route` decides where it goes, and `passing` hands its answer on, of which `watch` notes
//! what Microsoft refuses. `gateway` has the connections to Microsoft, `body` streams bodies, and
//! `answer` builds the refusals.

use std::future::pending;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::{Mutex, MutexGuard};
use rustls::ProtocolVersion;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::attempt::Attempts;
use super::handshake::is_noted;
use super::incident::Ending;
use crate::login::AuthorizedLogin;
use crate::session::connection_info::{ConnectionInfo, SessionUser};
use crate::session::context::SessionContext;
use crate::session::listener_state::ListenerState;
use crate::session::registry::SessionGuard;
use checked_io::{ActivityTracker, CheckedIo};
use gatepost_core::cause::Cause;
use gatepost_core::failure::Failure;
use gatepost_core::protocol::Protocol;
use gatepost_net::connection_limit::ConnectionPermit;
use gatepost_net::penalty::{Misbehavior, PenaltyGuard};
use gatepost_net::tls::server::first_octets;
use gatepost_proto::http::head::{HeadLimits, HeadValidator};
use gatepost_proto::tls_hello::begins_tls;

mod answer;
mod body;
mod checked_io;
mod exchange;
mod failures;
pub(super) mod gateway;
mod passing;
mod prepare;
pub(crate) mod probe;
mod route;
mod watch;

pub use gateway::Gateway;
pub(super) use gateway::OriginError;

/// The first octets of every HTTP/2 client (RFC 9113 §3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Requests that a client may have under way on one connection.
const STREAMS: u32 = 32;

/// What a client may send of bodies before they are read, on one stream and on all together. A
/// connection without a login must cost no more. The library cannot change its windows later, so an
/// upload over HTTP/2 gets this much for each round trip. The number is the protocol's own (RFC
/// 9113 §6.9.2); the connection's window cannot be smaller.
const WINDOW: u32 = 65_535;

/// Most octets in the heads of all requests that wait for the first login of a connection.
const HEADS: usize = 64 * 1024;

/// Most accounts of one connection that the journal distinguishes. A program that serves many
/// accounts may use one connection for all.
const LOGINS: usize = 16;

/// How long a connection may continue after its password was revoked, before it is cut.
const FAREWELL: Duration = Duration::from_secs(5);

/// How long to wait for a client to take the final messages of TLS and HTTP/2.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Serves one connection from accept to end.
pub(super) async fn serve(
    shared: Arc<SessionContext>,
    service: Arc<ListenerState>,
    gateway: Arc<Gateway>,
    socket: TcpStream,
    peer: SocketAddr,
    place: ConnectionPermit,
) {
    let Ok(local) = socket.local_addr() else { return };
    let pulse = ActivityTracker::new();
    let connection = Arc::new(Connection {
        subject: ConnectionInfo::new(&service.listener.name, peer),
        visit: shared.penalties.visit(peer.ip()),
        place: Mutex::new(place),
        logins: Mutex::default(),
        logged_in: AtomicBool::new(false),
        failures: AtomicU32::new(0),
        attempts: Semaphore::new(usize::try_from(shared.limits.protocol.attempts).unwrap_or(Semaphore::MAX_PERMITS)),
        busy: AtomicUsize::new(0),
        heads: AtomicUsize::new(0),
        revoked: CancellationToken::new(),
        stopped: CancellationToken::new(),
        enough: CancellationToken::new(),
        over: CancellationToken::new(),
        local: local.ip(),
        started: Instant::now(),
        pulse,
        shared,
        service,
        gateway,
    });
    let _over = connection.over.clone().drop_guard();
    let cause = match &connection.service.tls {
        None => connection.serve_plain(socket).await,
        Some(tls) => {
            let mut first = Vec::new();
            let handshake = async {
                first = first_octets(&socket).await?;
                TlsAcceptor::from(Arc::clone(tls)).accept(socket).await
            };
            let outcome = timeout(connection.shared.limits.tls_handshake, handshake).await;
            match outcome {
                Ok(Ok(mut stream)) => {
                    let is_newest = stream.get_ref().1.protocol_version() == Some(ProtocolVersion::TLSv1_3);
                    let version = if is_newest { "TLS 1.3" } else { "TLS 1.2" };
                    connection.subject.note(|client| client.tls = version);
                    let version = match stream.get_ref().1.alpn_protocol() {
                        Some(b"h2") => Version::Http2,
                        _ => Version::Http1,
                    };
                    connection.run(&mut stream, version, &[]).await
                }
                Ok(Err(error)) => return connection.login_attempts().tls_failed(&error, &first),
                Err(_) => return connection.login_attempts().tls_timed_out(&first),
            }
        }
    };
    connection.finish(cause);
}

#[derive(Clone, Copy)]
enum Version {
    Http1,
    Http2,
}

/// What the requests of one connection share.
struct Connection {
    shared: Arc<SessionContext>,
    service: Arc<ListenerState>,
    gateway: Arc<Gateway>,
    subject: ConnectionInfo,
    visit: PenaltyGuard,
    place: Mutex<ConnectionPermit>,
    logins: Mutex<Vec<Login>>,
    logged_in: AtomicBool,
    /// Number of refused credentials.
    failures: AtomicU32,
    /// How many more may be refused. A login under way holds one, and keeps it when it is refused.
    /// Closed after the last.
    attempts: Semaphore,
    /// Requests that are being decided or wait for the origin. Meanwhile the client may be silent.
    busy: AtomicUsize,
    /// Octets in the heads of requests that are not answered yet.
    heads: AtomicUsize,
    /// Cancelled when a device password of this connection has ended.
    revoked: CancellationToken,
    /// Cancelled when an operator ends it.
    stopped: CancellationToken,
    /// Cancelled when no further request is to be accepted.
    enough: CancellationToken,
    /// Cancelled when the connection is gone, with all tasks begun for it.
    over: CancellationToken,
    /// The local address that it was accepted on.
    local: IpAddr,
    started: Instant,
    pulse: Arc<ActivityTracker>,
}

/// Credentials that were accepted on this connection.
struct Login {
    whose: SessionUser,
    live: SessionGuard,
    traffic: Arc<Traffic>,
}

/// Octets of bodies, in both directions.
#[derive(Default)]
struct Traffic {
    sent: Arc<AtomicU64>,
    received: Arc<AtomicU64>,
}

/// Counts the head of a request as held while it lives.
struct HeldHead<'a>(&'a Connection, usize);

impl Drop for HeldHead<'_> {
    fn drop(&mut self) {
        self.0.heads.fetch_sub(self.1, Ordering::Relaxed);
    }
}

/// Counts a request among the busy ones while it lives.
struct Busy<'a>(&'a Connection);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.pulse.touch();
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connection {
    /// Serves a connection without TLS, whose first octets tell the HTTP version.
    async fn serve_plain(self: &Arc<Self>, mut socket: TcpStream) -> Cause {
        let mut early = [0; PREFACE.len()];
        let mut length = 0;
        let end = self.started + self.shared.limits.http_head;
        let is_clear = |early: &[u8]| !PREFACE.starts_with(early) && begins_tls(early).is_some();
        while length < early.len() && !is_clear(&early[..length]) {
            let read = tokio::select! {
                read = timeout_at(end, socket.read(&mut early[length..])) => read,
                () = self.shared.draining.cancelled() => {
                    self.visit.forgive();
                    return Cause::Draining;
                }
            };
            match read {
                Ok(Ok(0) | Err(_)) => return Cause::ClientLeft,
                Ok(Ok(read)) => length += read,
                Err(_) => {
                    self.visit.penalize(Misbehavior::Timeout);
                    return Cause::Timeout;
                }
            }
        }
        if begins_tls(&early[..length]) == Some(true) {
            self.login_attempts().tls_on_plain_port();
            return Cause::TlsOnPlainPort;
        }
        let version = if early == *PREFACE { Version::Http2 } else { Version::Http1 };
        self.run(&mut socket, version, &early[..length]).await
    }

    /// Serves requests until the connection ends, and returns the cause of the end.
    async fn run<S>(self: &Arc<Self>, stream: &mut S, version: Version, early: &[u8]) -> Cause
    where
        S: AsyncRead + AsyncWrite + Send + Unpin,
    {
        let limits = &self.shared.limits;
        let judge = match version {
            Version::Http1 => {
                Some(HeadValidator::new(HeadLimits { octets: limits.http_head_bytes, fields: limits.http_fields }))
            }
            Version::Http2 => None,
        };
        let io = TokioIo::new(CheckedIo::new(&mut *stream, judge, early, limits.http_head, Arc::clone(&self.pulse)));
        let each = Arc::clone(self);
        let service = service_fn(move |request| Arc::clone(&each).handle(request));
        let cause = match version {
            Version::Http1 => {
                // The validator enforces the deadlines and limits of the head. The library's own
                // must only not be narrower.
                let connection = http1::Builder::new()
                    .header_read_timeout(None)
                    .max_headers(limits.http_fields + 1)
                    .max_buf_size(limits.http_head_bytes.max(16 * 1024) + 1024)
                    .serve_connection(io, service);
                self.attend(connection).await
            }
            Version::Http2 => {
                let connection = http2::Builder::new(Tasks(self.over.clone()))
                    .timer(TokioTimer::new())
                    .max_concurrent_streams(STREAMS)
                    .initial_stream_window_size(WINDOW)
                    .initial_connection_window_size(WINDOW)
                    .max_header_list_size(u32::try_from(limits.http_head_bytes).unwrap_or(u32::MAX))
                    .serve_connection(io, service);
                self.attend(connection).await
            }
        };
        // Before a login the stream is always ended in order, however the library left it. No
        // answer of the origin can have broken off yet, which an orderly end would make look
        // complete.
        if !self.logged_in.load(Ordering::Relaxed) {
            let _gone = timeout(LAST_WORD, stream.shutdown()).await;
        }
        cause
    }

    /// Drives the connection until it ends, and returns the cause of the end.
    async fn attend<C: Graceful>(&self, connection: C) -> Cause {
        let mut connection = pin!(connection);
        let limits = &self.shared.limits;
        let crowded = self.shared.connections.is_overloaded();
        let login_time = if crowded { limits.pre_auth / 3 } else { limits.pre_auth };
        let mut login_end = self.started + login_time;
        let (mut leaving, mut cut_at) = (None, None);
        loop {
            let idle_end = self.pulse.last() + limits.http_idle;
            let logged_in = self.logged_in.load(Ordering::Relaxed);
            let mut check = if logged_in { idle_end } else { idle_end.min(login_end) };
            if let Some(cut_at) = cut_at {
                check = check.min(cut_at);
            }
            tokio::select! {
                result = connection.as_mut() => return match (leaving, result) {
                    (Some(cause), _) => cause,
                    (None, Ok(())) => Cause::Closed,
                    (None, Err(error)) => {
                        let rejected = if logged_in { None } else { self.login_attempts().rejected_later(&error) };
                        rejected.unwrap_or(Cause::ClientBroke)
                    }
                },
                () = self.shared.draining.cancelled(), if leaving.is_none() => {
                    self.visit.forgive();
                    leaving = Some(Cause::Draining);
                    connection.as_mut().leave();
                }
                () = self.revoked.cancelled(), if cut_at.is_none() => {
                    leaving = Some(Cause::PasswordEnded);
                    cut_at = Some(Instant::now() + FAREWELL);
                    connection.as_mut().leave();
                }
                () = self.stopped.cancelled(), if cut_at.is_none() => {
                    leaving = Some(Cause::EndedByOperator);
                    cut_at = Some(Instant::now() + FAREWELL);
                    connection.as_mut().leave();
                }
                () = self.enough.cancelled(), if leaving.is_none() => {
                    leaving = Some(Cause::Refused);
                    connection.as_mut().leave();
                }
                () = sleep_until(check) => {
                    let now = Instant::now();
                    // A login may have succeeded meanwhile.
                    let logged_in = self.logged_in.load(Ordering::Relaxed);
                    if cut_at.is_some_and(|cut_at| now >= cut_at) {
                        return leaving.unwrap_or(Cause::PasswordEnded);
                    }
                    if self.busy.load(Ordering::Relaxed) > 0 {
                        // The time that Entra and Microsoft take is not the client's.
                        self.pulse.touch();
                        login_end = login_end.max(now + login_time);
                        continue;
                    }
                    let cause = if !logged_in && now >= login_end {
                        self.visit.penalize(Misbehavior::Timeout);
                        Cause::Timeout
                    } else if now >= self.pulse.last() + limits.http_idle {
                        Cause::Idle
                    } else {
                        continue;
                    };
                    connection.as_mut().leave();
                    // Sends the final messages of TLS and HTTP/2, if the client takes them.
                    let _late = timeout(LAST_WORD, connection.as_mut()).await;
                    return cause;
                }
            }
        }
    }

    fn protocol(&self) -> Protocol {
        self.service.listener.protocol
    }

    fn busy(&self) -> Busy<'_> {
        self.busy.fetch_add(1, Ordering::Relaxed);
        Busy(self)
    }

    /// Counts a head of `octets` as held. Returns `None` when there is no room for it before a
    /// login. A single head always has room.
    fn hold_head(&self, octets: usize) -> Option<HeldHead<'_>> {
        let others = self.heads.fetch_add(octets, Ordering::Relaxed);
        let held = HeldHead(self, octets);
        let has_room = others == 0 || others.saturating_add(octets) <= HEADS;
        (has_room || self.logged_in.load(Ordering::Relaxed)).then_some(held)
    }

    /// Notes that credentials were accepted. The first time on this connection, its connection
    /// permit and the journal are told too.
    fn logged_in(&self, admission: &AuthorizedLogin, token: &'static str) -> Arc<Traffic> {
        self.visit.forgive();
        if !self.logged_in.swap(true, Ordering::Relaxed) {
            self.place.lock().logged_in();
        }
        let whose = SessionUser::from(admission);
        let same = |login: &Login| {
            let device = match (&login.whose.device, &admission.device) {
                (Some(known), Some(device)) => Arc::ptr_eq(known, device),
                (None, None) => true,
                _ => false,
            };
            device && login.whose.account == whose.account && login.whose.mailbox == whose.mailbox
        };
        let mut logins = self.logins();
        if let Some(login) = logins.iter().find(|login| same(login)) {
            login
                .live
                .moved(login.traffic.sent.load(Ordering::Relaxed), login.traffic.received.load(Ordering::Relaxed));
            return Arc::clone(&login.traffic);
        }
        let live = self.shared.journal.accepted(self.protocol(), &self.subject, &whose, token);
        let (told_to_end, device) = (live.told_to_end(), admission.device.clone());
        let (revoked, stopped, over) = (self.revoked.clone(), self.stopped.clone(), self.over.clone());
        tokio::spawn(over.run_until_cancelled_owned(async move {
            let ended = async {
                match device {
                    Some(device) => drop(device.ended().await),
                    None => pending().await,
                }
            };
            tokio::select! {
                () = ended => revoked.cancel(),
                () = told_to_end => stopped.cancel(),
            }
        }));
        if logins.len() >= LOGINS {
            let oldest = logins.remove(0);
            self.log_end(oldest, Cause::AnotherAccount);
        }
        let traffic = Arc::default();
        logins.push(Login { whose, live, traffic: Arc::clone(&traffic) });
        traffic
    }

    fn finish(&self, cause: Cause) {
        let logins = std::mem::take(&mut *self.logins());
        if logins.is_empty() {
            let text = match cause {
                // The log says already what to do.
                cause if is_noted(cause) => return,
                Cause::Timeout => "the client took too long to log in",
                Cause::Refused => "a request was not of a form that is served, or too many logins failed",
                Cause::ClientBroke => "the client's connection broke",
                Cause::Draining => "the service is stopping",
                _ => "the client left without a login",
            };
            self.log_over(cause, text);
        }
        for login in logins {
            self.log_end(login, cause);
        }
    }

    fn log_end(&self, login: Login, cause: Cause) {
        let ending = Ending {
            cause,
            duration: self.started.elapsed(),
            sent: login.traffic.sent.load(Ordering::Relaxed),
            received: login.traffic.received.load(Ordering::Relaxed),
        };
        self.shared.journal.ended(self.protocol(), &self.subject, &login.whose, login.live, ending);
    }

    fn log_refused(&self, account: &str, failure: &Failure) {
        self.login_attempts().log(account, failure);
    }

    fn login_attempts(&self) -> Attempts<'_> {
        let Self { shared, service, subject, visit, .. } = self;
        Attempts { shared, service, subject, visit }
    }

    fn log_over(&self, cause: Cause, text: &str) {
        self.shared.journal.closed(&self.subject, cause, text);
    }

    fn logins(&self) -> MutexGuard<'_, Vec<Login>> {
        self.logins.lock()
    }
}

/// A connection of the HTTP library that can be told to end once the requests under way are
/// answered.
trait Graceful: Future<Output = hyper::Result<()>> {
    fn leave(self: Pin<&mut Self>);
}

impl<I, S, B> Graceful for http1::Connection<I, S>
where
    http1::Connection<I, S>: Future<Output = hyper::Result<()>>,
    S: hyper::service::HttpService<hyper::body::Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    B: hyper::body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn leave(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<I, S, B> Graceful for http2::Connection<I, S, Tasks>
where
    http2::Connection<I, S, Tasks>: Future<Output = hyper::Result<()>>,
    S: hyper::service::HttpService<hyper::body::Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    B: hyper::body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    Tasks: hyper::rt::bounds::Http2ServerConnExec<S::Future, B>,
{
    fn leave(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Runs the streams of an HTTP/2 connection, and ends them with it.
#[derive(Clone)]
struct Tasks(CancellationToken);

impl<F> Executor<F> for Tasks
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        tokio::spawn(self.0.clone().run_until_cancelled_owned(future));
    }
}
