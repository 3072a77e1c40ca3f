//! A connection during its login: plain, or with TLS in either role. After the login it becomes a [`Side`].

use std::io;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, Connection, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::records::Records;
use super::side::Side;

/// A connection during its login.
pub enum Stream {
    /// Without TLS.
    Plain(TcpStream),
    /// Gatepost is the TLS server: a mail client.
    Server(Box<server::TlsStream<Records>>),
    /// Gatepost is the TLS client: an upstream.
    Client(Box<client::TlsStream<Records>>),
}

impl Stream {
    /// Reads what there is, at least one octet; 0 is the end.
    ///
    /// # Errors
    /// The connection broke, or TLS failed.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(into).await,
            Self::Server(stream) => stream.read(into).await,
            Self::Client(stream) => stream.read(into).await,
        }
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// The connection broke, or TLS failed.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.write_all(bytes).await,
            Self::Server(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
            Self::Client(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
        }
    }

    /// Ends the connection in order, as far as the peer lets us.
    pub async fn end(&mut self) {
        // The peer may be gone; then there is nobody to be polite to.
        let _gone = match self {
            Self::Plain(socket) => socket.shutdown().await,
            Self::Server(stream) => stream.shutdown().await,
            Self::Client(stream) => stream.shutdown().await,
        };
    }

    /// Does the handshake with a mail client.
    ///
    /// # Errors
    /// The handshake failed; or TLS is on already, which a machine never asks for.
    pub async fn accept_tls(self, config: Arc<ServerConfig>) -> io::Result<Self> {
        match self {
            Self::Plain(socket) => {
                Ok(Self::Server(Box::new(TlsAcceptor::from(config).accept(Records::new(socket)).await?)))
            }
            _ => Err(already_on()),
        }
    }

    /// Does the handshake with an upstream, whose certificate must carry `name`.
    ///
    /// # Errors
    /// The handshake failed; or TLS is on already, which a machine never asks for.
    pub async fn connect_tls(self, config: Arc<ClientConfig>, name: ServerName<'static>) -> io::Result<Self> {
        match self {
            Self::Plain(socket) => {
                Ok(Self::Client(Box::new(TlsConnector::from(config).connect(name, Records::new(socket)).await?)))
            }
            _ => Err(already_on()),
        }
    }

    /// The connection for the relay.
    pub fn into_side(self) -> Side {
        match self {
            Self::Plain(socket) => Side::plain(socket),
            Self::Server(stream) => {
                let (records, connection) = stream.into_inner();
                let (socket, received) = records.into_parts();
                Side::tls(socket, Connection::Server(connection), received)
            }
            Self::Client(stream) => {
                let (records, connection) = stream.into_inner();
                let (socket, received) = records.into_parts();
                Side::tls(socket, Connection::Client(connection), received)
            }
        }
    }
}

fn already_on() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "TLS is on already")
}
