//! A connection during its login: plain, or with TLS in either role. After the login it becomes a
//! [`RelayEndpoint`].

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::handshake::{Established, Handshake, handshake};
use super::socket::Socket;
use crate::relay_endpoint::{RelayEndpoint, cut_off, invalid};
use crate::tls::MOST_OVERHEAD;
use crate::tls::record::MOST_PLAIN;
use crate::tls::server::first_octets;
use crate::tls::session::Session;

/// Size of a read.
const READ_OCTETS: usize = 4 * 1024;

/// The longest wait for a peer to take the end of a connection.
const LAST_WORD: Duration = Duration::from_secs(1);

/// A connection during its login.
pub enum Stream {
    /// Without TLS.
    Plain(Socket),
    /// With TLS, in either role.
    Tls(Box<TlsStream>),
}

/// A connection with TLS.
pub struct TlsStream {
    socket: Socket,
    session: Session,
    /// Received, but not decrypted.
    wire: Vec<u8>,
    /// Decrypted, but not read.
    plain: Vec<u8>,
    /// Encrypted, but not yet accepted by the socket.
    sealed: Vec<u8>,
    /// Nothing more is sent.
    stopped: bool,
}

impl Stream {
    /// Reads available data, at least one octet; 0 is the end. If TLS owes the peer something (an
    /// answer, an alert), it is sent before more is read. So a peer that takes nothing is not read
    /// from either, and the caller's deadline for reading ends that too.
    ///
    /// # Errors
    /// The connection broke, or TLS failed.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(into).await,
            Self::Tls(stream) => stream.read(into).await,
        }
    }

    /// Writes all octets.
    ///
    /// # Errors
    /// The connection broke, or TLS failed.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(socket) => {
                socket.write_all(bytes).await?;
                socket.flush().await
            }
            Self::Tls(stream) => stream.write(bytes).await,
        }
    }

    /// Gives up what the peer has not taken. What it has said can then be read, although it takes
    /// nothing more. With TLS, which alone holds something back, every later write fails.
    pub fn stop_writing(&mut self) {
        if let Self::Tls(stream) = self {
            stream.sealed.clear();
            stream.stopped = true;
        }
    }

    /// Ends the connection cleanly, with `close_notify`, waiting for the peer one second at most.
    pub async fn end(&mut self) {
        let ending = async {
            match self {
                Self::Plain(socket) => socket.shutdown().await,
                Self::Tls(stream) => stream.end().await,
            }
        };
        // The peer may have closed the connection already.
        let _gone = timeout(LAST_WORD, ending).await;
    }

    /// Waits for the first octets of a mail client's handshake, and leaves them in the socket. None
    /// if the connection ended.
    ///
    /// # Errors
    /// The connection broke, or is not plain TCP.
    pub async fn first_octets(&self) -> io::Result<Vec<u8>> {
        match self {
            Self::Plain(Socket::Tcp(socket)) => first_octets(socket).await,
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// Does the handshake with a mail client.
    ///
    /// # Errors
    /// The handshake failed; or TLS is on already, which no protocol machine asks for.
    pub async fn accept_tls(self, config: Arc<ServerConfig>) -> io::Result<Self> {
        self.with_tls(UnbufferedServerConnection::new(config).map_err(invalid)?).await
    }

    /// Does the handshake with an upstream, whose certificate must carry `name`.
    ///
    /// # Errors
    /// The handshake failed; or TLS is on already, which no protocol machine asks for.
    pub async fn connect_tls(self, config: Arc<ClientConfig>, name: ServerName<'static>) -> io::Result<Self> {
        self.with_tls(UnbufferedClientConnection::new(config, name).map_err(invalid)?).await
    }

    async fn with_tls(self, tls: impl Handshake) -> io::Result<Self> {
        let Self::Plain(mut socket) = self else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "TLS is on already"));
        };
        let Established { session, wire, plain } = handshake(&mut socket, tls).await?;
        Ok(Self::Tls(Box::new(TlsStream { socket, session, wire, plain, sealed: Vec::new(), stopped: false })))
    }

    /// The version of TLS; `None` without TLS.
    pub fn tls_version(&self) -> Option<&'static str> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => Some(stream.session.version()),
        }
    }

    /// Turns the connection into one for the relay.
    pub fn into_side(self) -> RelayEndpoint {
        match self {
            Self::Plain(socket) => RelayEndpoint::plain(socket),
            Self::Tls(stream) => {
                let TlsStream { socket, session, mut wire, mut plain, sealed, .. } = *stream;
                // Usually empty, and kept as long as the connection.
                wire.shrink_to_fit();
                plain.shrink_to_fit();
                RelayEndpoint::tls(socket, session, wire, plain, sealed)
            }
        }
    }
}

impl TlsStream {
    async fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.plain.is_empty() {
                let length = self.plain.len().min(into.len());
                into[..length].copy_from_slice(&self.plain[..length]);
                self.plain.drain(..length);
                return Ok(length);
            }
            if self.session.ended() {
                return Ok(0);
            }
            if self.stopped {
                let owed = self.session.outbox().len();
                self.session.sent(owed);
            } else if !self.sealed.is_empty() || !self.session.outbox().is_empty() {
                self.flush().await?;
            }
            if let Some(length) = self.session.first_record(&self.wire) {
                self.plain.resize(length, 0);
                let opened = self.session.open(&self.wire[..length], &mut self.plain);
                self.plain.truncate(*opened.as_ref().unwrap_or(&0));
                self.wire.drain(..length);
                if let Err(error) = opened {
                    // Tells the peer the reason, if it still reads.
                    let _gone = self.flush().await;
                    return Err(invalid(error));
                }
                continue;
            }
            self.wire.reserve(READ_OCTETS);
            if self.socket.read_buf(&mut self.wire).await? == 0 {
                return Err(cut_off());
            }
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            self.flush().await?;
            self.sealed.resize(rest.len().min(MOST_PLAIN) + MOST_OVERHEAD, 0);
            let sealed = self.session.seal(rest, &mut self.sealed);
            let (taken, written) = *sealed.as_ref().unwrap_or(&(0, 0));
            self.sealed.truncate(written);
            sealed.map_err(invalid)?;
            rest = &rest[taken..];
        }
        self.flush().await
    }

    /// Sends encrypted data, then what the session has to send. Nothing is lost when the future is
    /// dropped.
    async fn flush(&mut self) -> io::Result<()> {
        if self.stopped {
            // A record may have been cut in its middle.
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        while !self.sealed.is_empty() {
            let written = self.socket.write(&self.sealed).await?;
            self.sealed.drain(..written);
        }
        while !self.session.outbox().is_empty() {
            let written = self.socket.write(self.session.outbox()).await?;
            self.session.sent(written);
        }
        self.socket.flush().await
    }

    async fn end(&mut self) -> io::Result<()> {
        self.session.close();
        self.flush().await?;
        self.socket.shutdown().await
    }
}

#[cfg(test)]
pub(super) mod tests;
