//! Connections to the page and to the socket: few (`places`), each with deadlines, and none that costs a mail session anything.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
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
use tokio::task::{JoinSet, yield_now};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tower_service::Service as _;

use super::guard;
use super::places::{Place, Places};
use crate::net::listen;
use crate::net::source::Source;

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
    let mut connections = Connections::default();
    let acceptor = tls.map(TlsAcceptor::from);
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            connections.back_off().await;
            continue;
        };
        let place = connections.place(Some(Source::of(peer.ip())));
        let (acceptor, router, asking) = (acceptor.clone(), router.clone(), Arc::clone(&place));
        connections.serve(place, async move {
            if listen::tune(&stream).is_err() {
                return;
            }
            match acceptor {
                None => serve(stream, asking, router).await,
                Some(acceptor) => {
                    if let Ok(Ok(stream)) = timeout(HEAD, acceptor.accept(stream)).await {
                        serve(stream, asking, router).await;
                    }
                }
            }
        });
        // It is heard before the next one comes in, and perhaps takes its place.
        yield_now().await;
    }
}

/// The connections that are open. They are closed when it is dropped.
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

    fn serve(&mut self, place: Arc<Place>, connection: impl Future<Output = ()> + Send + 'static) {
        self.open.spawn(async move {
            tokio::select! {
                _late = timeout(CONNECTION, connection) => {}
                () = place.lost() => {}
            }
        });
    }

    /// Out of descriptors or memory, or the peer has left: waiting helps, a busy loop does not.
    async fn back_off(&self) {
        sleep(Duration::from_millis(100)).await;
    }
}

/// One connection. Each request carries its [`Place`].
async fn serve(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, place: Arc<Place>, router: Router) {
    let service = service_fn(move |request: Request<Incoming>| {
        let mut router = router.clone();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Arc::clone(&place));
        async move {
            let answer = timeout(ANSWER, router.call(request)).await;
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

/// A Unix socket that only its owner may use, and that is removed with the service.
#[cfg(unix)]
pub(super) struct Local {
    listener: tokio::net::UnixListener,
    path: PathBuf,
    /// Another process may have put its own in the place meanwhile.
    inode: u64,
}

#[cfg(unix)]
impl Local {
    /// Takes the place of whatever socket is there: one that a process left behind, or that of a process which is about to
    /// end. It appears with its mode, and at once.
    ///
    /// # Errors
    /// The directory cannot be written to, or something else than a socket is there.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
        use std::{fs, process};

        if fs::symlink_metadata(path).is_ok_and(|found| !found.file_type().is_socket()) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something that is no socket is there"));
        }
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}", process::id()));
        let made = PathBuf::from(name);
        let _left_behind = fs::remove_file(&made);
        let listener = tokio::net::UnixListener::bind(&made)?;
        let placed = fs::set_permissions(&made, fs::Permissions::from_mode(0o600))
            .and_then(|()| fs::symlink_metadata(&made))
            .and_then(|found| fs::rename(&made, path).map(|()| found.ino()));
        match placed {
            Ok(inode) => Ok(Self { listener, path: path.to_owned(), inode }),
            Err(error) => {
                let _gone = fs::remove_file(&made);
                Err(error)
            }
        }
    }

    /// Serves whoever connects and runs as the same user, or as root, until it is dropped.
    pub(super) async fn serve(self, router: Router) {
        let mut connections = Connections::default();
        let own = rustix::process::geteuid().as_raw();
        loop {
            let Ok((stream, _)) = self.listener.accept().await else {
                connections.back_off().await;
                continue;
            };
            // The mode says so already, where the system minds the mode of sockets.
            if stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0) {
                let place = connections.place(None);
                connections.serve(Arc::clone(&place), serve(stream, place, router.clone()));
            }
        }
    }
}

#[cfg(unix)]
impl Drop for Local {
    fn drop(&mut self) {
        use std::os::unix::fs::MetadataExt as _;

        if std::fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            let _gone = std::fs::remove_file(&self.path);
        }
    }
}
