//! HTTP/1.1 over the connections of the [`Dialer`]: requests are sent like mail, through the
//! forward proxy if there is one.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper::body::Body;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::time::timeout_at;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower_service::Service;

use gatepost_config::Origin;

use super::dial::Dialer;
use super::error::{DialError, timed_out};
use super::socket::Socket;

/// How long idle connections are kept, and how many.
const IDLE: Duration = Duration::from_secs(60);
const IDLE_CONNECTIONS: usize = 4;

/// Most octets of the head of a response.
const HEAD_OCTETS: usize = 64 * 1_024;

/// An HTTP client with a connection pool. It follows no redirects.
pub type Client<B> = hyper_util::client::legacy::Client<Connector, B>;

/// Creates a client whose connections are opened by `connector`.
pub fn client<B>(connector: Connector) -> Client<B>
where
    B: Body + Send,
    B::Data: Send,
{
    hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .http1_max_buf_size(HEAD_OCTETS)
        .build(connector)
}

/// Opens connections for a [`Client`].
#[derive(Clone)]
pub struct Connector {
    dialer: Arc<Dialer>,
    tls: Arc<ClientConfig>,
    most: Duration,
    /// The server to connect to, if it is not the host of the URL.
    to: Option<(Arc<str>, u16)>,
}

/// Why there is no connection for a request. It is among the sources of the client's error.
#[derive(Debug, thiserror::Error)]
pub enum ConnectorError {
    /// The URL is not `https`, or has no host.
    #[error("the address is not an `https` one")]
    Address,
    /// The connection could not be opened.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// Octets arrived before our ClientHello.
    #[error("the other end spoke before TLS")]
    EarlyBytes,
    /// TLS could not be set up. A [`rustls::Error`] is inside if TLS refused something.
    #[error("set up TLS")]
    Tls(#[source] io::Error),
}

impl Connector {
    /// Creates a connector for `https` to any server. A connection must be established within
    /// `most`. The server is verified as `tls` says.
    pub fn new(dialer: Arc<Dialer>, tls: Arc<ClientConfig>, most: Duration) -> Self {
        Self { dialer, tls, most, to: None }
    }

    /// Creates a connector for one server only. Its certificate must carry the host name of the URL
    /// ([`Origin::name`]).
    pub fn to_origin(dialer: Arc<Dialer>, tls: Arc<ClientConfig>, most: Duration, origin: &Origin) -> Self {
        Self { dialer, tls, most, to: Some((origin.host.as_str().into(), origin.port)) }
    }

    async fn connect(self, uri: Uri) -> Result<HttpsStream, ConnectorError> {
        let host = uri.host().filter(|_| uri.scheme_str() == Some("https")).ok_or(ConnectorError::Address)?;
        let host = host.trim_matches(['[', ']']);
        let name = ServerName::try_from(host.to_owned()).map_err(|_| ConnectorError::Address)?;
        let (to, port) = match &self.to {
            Some((to, port)) => (&**to, *port),
            None => (host, uri.port_u16().unwrap_or(443)),
        };
        let dialed = self.dialer.dial(to, port, self.most).await?;
        if !dialed.early.is_empty() {
            return Err(ConnectorError::EarlyBytes);
        }
        let handshake = TlsConnector::from(self.tls).connect(name, dialed.socket);
        let stream = timeout_at(dialed.deadline, handshake).await.unwrap_or_else(|_| Err(timed_out()));
        stream.map(|stream| HttpsStream(TokioIo::new(Box::new(stream)))).map_err(ConnectorError::Tls)
    }
}

impl Service<Uri> for Connector {
    type Response = HttpsStream;
    type Error = ConnectorError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpsStream, ConnectorError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectorError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// A connection of a [`Client`].
pub struct HttpsStream(TokioIo<Box<TlsStream<Socket>>>);

impl Connection for HttpsStream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for HttpsStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl Write for HttpsStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, octets)
    }

    /// Without vectored writes hyper copies the body next to the head, and the copy, which holds a
    /// password, would stay in memory.
    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
