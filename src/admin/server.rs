//! Connections to the page and to the socket: few, each with deadlines, and none that costs a mail session anything.

use std::convert::Infallible;
use std::future::Future;
use std::io;
#[cfg(unix)]
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

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
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tower_service::Service as _;

use super::guard;
#[cfg(unix)]
use crate::local_socket::LocalSocket;
use crate::net::listen;

/// Connections at once; a browser opens six.
const CONNECTIONS: usize = 64;
/// For a TLS handshake, and for the head of a request, also of the next one on the same connection.
const HEAD: Duration = Duration::from_secs(10);
/// For an answer; none of them waits for Entra longer than a login does.
const ANSWER: Duration = Duration::from_secs(60);
/// A connection is closed after so long, whatever is said on it.
const CONNECTION: Duration = Duration::from_secs(600);
/// Octets of a head. Entra's redirects have some 2 KiB.
const HEAD_OCTETS: usize = 32 * 1024;

/// Serves the page to whoever connects, until it is dropped.
pub(super) async fn serve_tcp(listener: Arc<TcpListener>, tls: Option<Arc<ServerConfig>>, router: Router) {
    let mut connections = Connections::new();
    let acceptor = tls.map(TlsAcceptor::from);
    loop {
        let place = connections.place().await;
        let Ok((stream, _)) = listener.accept().await else {
            connections.back_off().await;
            continue;
        };
        let (acceptor, router) = (acceptor.clone(), router.clone());
        connections.serve(place, async move {
            if listen::tune(&stream).is_err() {
                return;
            }
            match acceptor {
                None => serve(stream, router).await,
                Some(acceptor) => {
                    if let Ok(Ok(stream)) = timeout(HEAD, acceptor.accept(stream)).await {
                        serve(stream, router).await;
                    }
                }
            }
        });
    }
}

/// The connections that are open. They are closed when it is dropped.
struct Connections {
    places: Arc<Semaphore>,
    open: JoinSet<()>,
}

impl Connections {
    fn new() -> Self {
        Self { places: Arc::new(Semaphore::new(CONNECTIONS)), open: JoinSet::new() }
    }

    /// A place for one more; it may have to wait for one to close.
    async fn place(&mut self) -> Option<OwnedSemaphorePermit> {
        while self.open.try_join_next().is_some() {}
        // A semaphore of this module is never closed.
        Arc::clone(&self.places).acquire_owned().await.ok()
    }

    fn serve(&mut self, place: Option<OwnedSemaphorePermit>, connection: impl Future<Output = ()> + Send + 'static) {
        self.open.spawn(async move {
            let _late = timeout(CONNECTION, connection).await;
            drop(place);
        });
    }

    /// Out of descriptors or memory, or the peer has left: waiting helps, a busy loop does not.
    async fn back_off(&self) {
        sleep(Duration::from_millis(100)).await;
    }
}

/// One connection.
async fn serve(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, router: Router) {
    let service = service_fn(move |request: Request<Incoming>| {
        let mut router = router.clone();
        async move {
            let answer = timeout(ANSWER, router.call(request.map(Body::new))).await;
            let response = match answer {
                Ok(Ok(response)) => response,
                Err(_) => guard::plain(StatusCode::SERVICE_UNAVAILABLE, "That took too long. Try again.\n"),
            };
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_OCTETS)
        .serve_connection(TokioIo::new(stream), service);
    // Whoever breaks it off has no use for an answer.
    let _broken = connection.await;
}

/// The socket that `gatepost status` asks.
#[cfg(unix)]
pub(super) struct Local(LocalSocket);

#[cfg(unix)]
impl Local {
    /// See [`LocalSocket::bind`].
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        LocalSocket::bind(path).map(Self)
    }

    /// Serves whoever connects and runs as the same user, or as root, until it is dropped.
    pub(super) async fn serve(self, router: Router) {
        let mut connections = Connections::new();
        loop {
            let place = connections.place().await;
            match self.0.accept().await {
                Ok(Some(stream)) => connections.serve(place, serve(stream, router.clone())),
                Ok(None) => {}
                Err(_) => connections.back_off().await,
            }
        }
    }
}
