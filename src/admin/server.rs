//! Connections to the page and to the socket: few (`places`), each with deadlines, and none at the
//! cost of a mail session.

use std::convert::Infallible;
#[cfg(unix)]
use std::fmt;
use std::future::Future;
use std::io;
#[cfg(unix)]
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

#[cfg(unix)]
use axum::Extension;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tower_service::Service as _;

use super::answer::plain;
use super::places::{Place, Places};
#[cfg(unix)]
use crate::system::local_socket::LocalSocket;
use gatepost_core::source::Source;
use gatepost_net::listen;

/// Time limit for a TLS handshake, and for the head of each request.
const HEAD: Duration = Duration::from_secs(10);
/// Time limit for an answer. None of them waits for Entra longer than a login does.
const ANSWER: Duration = Duration::from_secs(60);
/// Time limit for an answer on the socket. A reload may run commands for secrets.
#[cfg(unix)]
const COMMAND: Duration = Duration::from_secs(120);
/// Longest life of a connection, even an active one.
const CONNECTION: Duration = Duration::from_secs(600);
/// The same on the socket. `gatepost doctor` reads as long as hundreds of mailboxes take.
#[cfg(unix)]
const LOCAL_CONNECTION: Duration = Duration::from_secs(3600);
/// Most octets of a head. Entra's redirects have about 2 KiB.
const HEAD_OCTETS: usize = 32 * 1024;

/// Serves the page to every client, until it is dropped.
pub(super) async fn serve_tcp(listener: Arc<TcpListener>, tls: Option<Arc<ServerConfig>>, router: Router) {
    let mut connections = Connections::default();
    let acceptor = tls.map(TlsAcceptor::from);
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            connections.back_off().await;
            continue;
        };
        let place = connections.place(Some(Source::of(peer.ip())));
        let (acceptor, router, asking) = (acceptor.clone(), router.clone(), Arc::clone(&place));
        connections.serve(place, CONNECTION, async move {
            if listen::tune(&stream, ANSWER).is_err() {
                return;
            }
            match acceptor {
                None => serve(stream, asking, ANSWER, router).await,
                Some(acceptor) => {
                    if let Ok(Ok(stream)) = timeout(HEAD, acceptor.accept(stream)).await {
                        serve(stream, asking, ANSWER, router).await;
                    }
                }
            }
        });
        // The task runs before the next connection is accepted, which may evict this one.
        yield_now().await;
    }
}

/// The open connections. They are closed when it is dropped.
#[derive(Default)]
struct Connections {
    places: Places,
    open: JoinSet<()>,
}

impl Connections {
    fn place(&mut self, source: Option<Source>) -> Arc<Place> {
        while self.open.try_join_next().is_some() {}
        Arc::new(self.places.take(source))
    }

    fn serve(&mut self, place: Arc<Place>, longest: Duration, connection: impl Future<Output = ()> + Send + 'static) {
        self.open.spawn(async move {
            tokio::select! {
                _late = timeout(longest, connection) => {}
                () = place.lost() => {}
            }
        });
    }

    /// Waits when descriptors or memory are exhausted, or the peer has left, because a busy loop
    /// does not help.
    async fn back_off(&self) {
        sleep(Duration::from_millis(100)).await;
    }
}

/// Serves one connection, on which each answer may take `longest`. Each request carries its
/// [`Place`]. If an answer ends HTTP, its route has the bare stream from then on.
async fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    place: Arc<Place>,
    longest: Duration,
    router: Router,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let mut router = router.clone();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Arc::clone(&place));
        async move {
            let answer = timeout(longest, router.call(request)).await;
            let response = match answer {
                Ok(Ok(response)) => response,
                Err(_) => plain(StatusCode::SERVICE_UNAVAILABLE, "That took too long. Try again.\n"),
            };
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_OCTETS)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    // A client that breaks the connection off needs no answer.
    let _broken = connection.await;
}

/// The number of the user whose process has connected to the socket.
#[cfg(unix)]
#[derive(Clone, Copy)]
pub(super) struct UserId(u32);

#[cfg(unix)]
impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command-line (uid {})", self.0)
    }
}

/// The socket for `gatepost status` and the commands.
#[cfg(unix)]
pub(super) struct Local(LocalSocket);

#[cfg(unix)]
impl Local {
    /// See [`LocalSocket::bind`].
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        LocalSocket::bind(path).map(Self)
    }

    /// Serves every process that runs as the same user or as root, until it is dropped.
    pub(super) async fn serve(self, router: Router) {
        let mut connections = Connections::default();
        loop {
            match self.0.accept().await {
                Ok(Some((stream, user))) => {
                    let place = connections.place(None);
                    let router = router.clone().layer(Extension(UserId(user)));
                    let connection = serve(stream, Arc::clone(&place), COMMAND, router);
                    connections.serve(place, LOCAL_CONNECTION, connection);
                    // As for TCP: the task runs before the next connection is accepted.
                    yield_now().await;
                }
                Ok(None) => tracing::warn!("another user of this machine tried to give Gatepost a command"),
                Err(error) => {
                    tracing::warn!("cannot hear commands for now: {error}");
                    sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}
