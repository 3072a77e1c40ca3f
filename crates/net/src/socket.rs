//! A connection below the TLS of mail and HTTP: a TCP connection, or TLS to a proxy on one.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A connection to a client, to an upstream, or to a proxy in between.
///
/// What was written to it may wait inside until it is flushed.
pub enum Socket {
    /// TCP alone.
    Tcp(TcpStream),
    /// TLS to a proxy, which reads whatever is not protected once more inside.
    Proxy(Box<TlsStream<TcpStream>>),
}

impl From<TcpStream> for Socket {
    fn from(socket: TcpStream) -> Self {
        Self::Tcp(socket)
    }
}

impl Socket {
    /// Does the handshake with a proxy, whose certificate must carry `name`.
    ///
    /// # Errors
    /// The handshake failed; with the [`rustls::Error`] inside when TLS refused something.
    pub(super) async fn to_proxy(
        socket: TcpStream,
        tls: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Self> {
        Ok(Self::Proxy(Box::new(TlsConnector::from(tls).connect(name, socket).await?)))
    }

    /// Makes dropping it look like a broken connection (RST), not like a clean end.
    pub(super) fn abort(&self) {
        let tcp = match self {
            Self::Tcp(socket) => socket,
            Self::Proxy(stream) => stream.get_ref().0,
        };
        // Failing here means that the socket is gone already.
        let _gone = SockRef::from(tcp).set_linger(Some(Duration::ZERO));
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_read(cx, into),
            Self::Proxy(stream) => match Pin::new(stream).poll_read(cx, into) {
                // Many proxies leave without close_notify. The TLS inside notices by itself when something is missing.
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
                read => read,
            },
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write(cx, octets),
            Self::Proxy(stream) => Pin::new(stream).poll_write(cx, octets),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_flush(cx),
            Self::Proxy(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Proxy(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
