//! Accepts connections, puts TLS on them, and hands them to the protocol; the faults that lie below
//! the protocol ([`UpstreamMode`]) happen here.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::server::TlsStream;

use super::connection::{Connection, handshake};
use super::mode::{Service, UpstreamMode};
use super::provider::Provider;
use super::state::SandboxState;
use super::{entra, http, identity, imap, pop3, smtp};

/// Connections open at once, per listener. Further ones wait in the operating system's queue.
const CONNECTIONS: usize = 16_384;
/// How long to wait after a failed `accept`, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves the token endpoint until the sandbox stops.
pub(super) fn spawn_entra(shared: &Arc<SandboxState>, listener: TcpListener) {
    spawn(shared, listener, |shared, tcp| async move {
        if let Err(error) = entra::serve(shared, tcp).await {
            tracing::debug!(%error, "sandbox token endpoint: connection ended");
        }
    });
}

/// Serves the endpoints of managed identities until the sandbox stops.
pub(super) fn spawn_identity(shared: &Arc<SandboxState>, listener: TcpListener) {
    spawn(shared, listener, |shared, tcp| async move {
        if let Err(error) = identity::serve(shared, tcp).await {
            tracing::debug!(%error, "sandbox identity endpoint: connection ended");
        }
    });
}

/// One port of one provider that gives access to mail.
#[derive(Clone, Copy, Debug)]
pub(super) struct Door {
    pub(super) provider: Provider,
    pub(super) service: Service,
    /// Whether TLS begins on request (STARTTLS) rather than at once.
    pub(super) starts_tls: bool,
}

/// Serves one service that gives access to mail until the sandbox stops.
pub(super) fn spawn_mail(shared: &Arc<SandboxState>, door: Door, listener: TcpListener) {
    spawn(shared, listener, move |shared, tcp| async move {
        let _open = Open::new(Arc::clone(&shared), door);
        if let Err(error) = serve(&shared, door, tcp).await {
            tracing::debug!(?door, %error, "sandbox mail service: connection ended");
        }
    });
}

/// Hands the connections of a listener to `serve` until the sandbox stops.
pub(super) fn spawn<F, W>(shared: &Arc<SandboxState>, listener: TcpListener, serve: F)
where
    F: Fn(Arc<SandboxState>, TcpStream) -> W + Send + 'static,
    W: Future<Output = ()> + Send + 'static,
{
    let shared = Arc::clone(shared);
    let tasks = shared.tasks.clone();
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    tasks.clone().spawn(async move {
        loop {
            let accepted = tokio::select! {
                () = shared.stop.cancelled() => return,
                accepted = async {
                    // The semaphore is never closed, so a permit always comes.
                    let permit = Arc::clone(&permits).acquire_owned().await.ok();
                    listener.accept().await.map(|(tcp, _)| (permit, tcp))
                } => accepted,
            };
            match accepted {
                Ok((permit, tcp)) => {
                    // Replies are gathered before they are sent; waiting for more would only add
                    // delay.
                    let _ = tcp.set_nodelay(true);
                    let work = serve(Arc::clone(&shared), tcp);
                    let stop = shared.stop.clone();
                    tasks.spawn(async move {
                        let _permit = permit;
                        stop.run_until_cancelled(work).await;
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "sandbox: accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    });
}

/// Counts a connection for as long as it is open.
struct Open {
    shared: Arc<SandboxState>,
    door: Door,
}

impl Open {
    fn new(shared: Arc<SandboxState>, door: Door) -> Self {
        shared.tally_of(door.provider).connection_opened(door.service);
        Self { shared, door }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.shared.tally_of(self.door.provider).connection_closed(self.door.service);
    }
}

async fn serve(shared: &Arc<SandboxState>, door: Door, tcp: TcpStream) -> io::Result<()> {
    let Door { provider, service, starts_tls } = door;
    let mode = shared.modes_of(provider).upstream(service);
    match mode {
        UpstreamMode::Refuse => return tcp.set_zero_linger(),
        UpstreamMode::Hang => return Connection::new(tcp).drain().await,
        _ => {}
    }
    if starts_tls {
        return smtp::serve(Arc::clone(shared), provider, tcp, mode).await;
    }
    let stream = implicit_tls(shared, door, tcp, mode).await?;
    let shared = Arc::clone(shared);
    match service {
        Service::Imap => imap::serve(shared, provider, stream, mode).await,
        Service::Pop3 => pop3::serve(shared, provider, stream, mode).await,
        Service::Smtp => smtp::serve_secure(shared, provider, stream, mode).await,
        Service::Ews | Service::Graph => http::serve(shared, service, stream, mode).await,
    }
}

async fn implicit_tls(
    shared: &SandboxState,
    door: Door,
    mut tcp: TcpStream,
    mode: UpstreamMode,
) -> io::Result<TlsStream<TcpStream>> {
    if mode == UpstreamMode::SpeaksBeforeTls {
        let greeting = match door.service {
            Service::Imap => door.provider.imap().greeting,
            Service::Pop3 => door.provider.pop3().greeting,
            Service::Smtp => "220 said before TLS\r\n",
            _ => "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        };
        tcp.write_all(greeting.as_bytes()).await?;
    }
    handshake(shared, tcp, mode).await
}
