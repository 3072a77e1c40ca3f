//! A connection below the TLS of mail and HTTP: a TCP connection, TLS to a proxy over TCP, or a
//! connection of a program on this machine.

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
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A connection to a client, to an upstream, or to a proxy.
///
/// Written octets may stay in a buffer until they are flushed.
pub enum Socket {
    /// TCP only.
    Tcp(TcpStream),
    /// TLS to a proxy, which can read everything that has no TLS of its own inside.
    Proxy(Box<TlsStream<TcpStream>>),
    /// A Unix socket. In a box, so that the many others are no larger.
    #[cfg(unix)]
    Local(Box<UnixStream>),
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
    /// The handshake failed. A [`rustls::Error`] is inside if TLS refused something.
    pub(super) async fn to_proxy(
        socket: TcpStream,
        tls: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Self> {
        Ok(Self::Proxy(Box::new(TlsConnector::from(tls).connect(name, socket).await?)))
    }

    /// Makes dropping the socket look like a broken connection (RST) and not like a clean end.
    pub(super) fn abort(&self) {
        let tcp = match self {
            Self::Tcp(socket) => socket,
            Self::Proxy(stream) => stream.get_ref().0,
            // It knows no such end.
            #[cfg(unix)]
            Self::Local(_) => return,
        };
        // An error means that the socket is closed already.
        let _gone = SockRef::from(tcp).set_linger(Some(Duration::ZERO));
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_read(cx, into),
            Self::Proxy(stream) => match Pin::new(stream).poll_read(cx, into) {
                // Many proxies close without close_notify. The inner TLS notices if something is
                // missing.
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
                read => read,
            },
            #[cfg(unix)]
            Self::Local(socket) => Pin::new(socket).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write(cx, octets),
            Self::Proxy(stream) => Pin::new(stream).poll_write(cx, octets),
            #[cfg(unix)]
            Self::Local(socket) => Pin::new(socket).poll_write(cx, octets),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_flush(cx),
            Self::Proxy(stream) => Pin::new(stream).poll_flush(cx),
            #[cfg(unix)]
            Self::Local(socket) => Pin::new(socket).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Proxy(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(unix)]
            Self::Local(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}
