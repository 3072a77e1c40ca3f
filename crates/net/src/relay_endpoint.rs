//! One connection of a relay: a socket, with TLS if there is any.
//!
//! With TLS, the socket is read in large pieces, which are decrypted directly into the buffer of
//! the relay. A large piece to be sent is encrypted into another buffer as many records, which are
//! sent in one system call.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::socket::Socket;
use crate::buffer_pool::{Buffer, Chunk};
use crate::tls::session::Session;

/// A connection after its login.
pub struct RelayEndpoint {
    socket: Socket,
    tls: Option<Box<Tls>>,
    /// Octets that the socket has accepted.
    sent: u64,
}

/// What TLS needs besides its socket.
struct Tls {
    session: Session,
    /// Encrypted octets that arrived together with the end of the login: whole records, and the
    /// beginning of an incomplete one.
    wire: Vec<u8>,
    /// Octets decrypted during the login, but not read then.
    plain: Vec<u8>,
    /// Encrypted octets that the socket has not accepted yet.
    sealed: Option<Chunk>,
    /// An error found after data that must be delivered first.
    broke: Option<io::Error>,
}

impl RelayEndpoint {
    /// A connection without TLS.
    pub fn plain(socket: Socket) -> Self {
        Self { socket, tls: None, sent: 0 }
    }

    /// A connection with TLS. `wire` was received but not decrypted, `plain` was decrypted but not
    /// used, and `sealed` was not sent.
    pub fn tls(socket: Socket, session: Session, wire: Vec<u8>, plain: Vec<u8>, sealed: Vec<u8>) -> Self {
        let tls = Tls { session, wire, plain, sealed: Chunk::own(sealed), broke: None };
        Self { socket, tls: Some(Box::new(tls)), sent: 0 }
    }

    /// Octets that the socket has accepted. With TLS they are more than the data.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Receives decrypted octets into `plain`; 0 is a clean end.
    pub(super) fn poll_receive(&mut self, cx: &mut Context<'_>, plain: &mut Buffer) -> Poll<io::Result<usize>> {
        let Some(mut tls) = self.tls.take() else {
            let bytes = plain.bytes();
            return poll_read(&mut self.socket, cx, &mut plain[..bytes]);
        };
        let received = self.poll_receive_tls(cx, &mut tls, plain);
        if !tls.session.outbox().is_empty() {
            // Sends an answer to a key update, or an alert. If the socket is full, the next send
            // includes it.
            let _full_or_broken = self.flush_tls(cx, &mut tls);
        }
        self.tls = Some(tls);
        received
    }

    fn poll_receive_tls(&mut self, cx: &mut Context<'_>, tls: &mut Tls, plain: &mut Buffer) -> Poll<io::Result<usize>> {
        if !tls.plain.is_empty() {
            let length = tls.plain.len().min(plain.len());
            plain[..length].copy_from_slice(&tls.plain[..length]);
            tls.plain.drain(..length);
            return Poll::Ready(Ok(length));
        }
        if let Some(error) = tls.broke.take() {
            return Poll::Ready(Err(error));
        }
        while !tls.session.ended() {
            let held = std::mem::take(&mut tls.wire);
            let filled = if tls.session.first_record(&held).is_some() {
                tls.open(&held, plain)?
            } else {
                let mut wire = Buffer::take(plain.bytes());
                let end = held.len() + plain.bytes().min(wire.bytes());
                match poll_read(&mut self.socket, cx, &mut wire[held.len()..end]) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(cut_off())),
                    Poll::Ready(Ok(received)) => {
                        wire[..held.len()].copy_from_slice(&held);
                        tls.open(&wire[..held.len() + received], plain)?
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {
                        tls.wire = held;
                        return Poll::Pending;
                    }
                }
            };
            if filled > 0 {
                return Poll::Ready(Ok(filled));
            }
        }
        Poll::Ready(Ok(0))
    }

    /// Sends `buffer[*start..end]` and advances `start`. True if the socket accepted all of it.
    /// `buffer_bytes` is how much is encrypted at a time.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &[u8],
        start: &mut usize,
        end: usize,
        buffer_bytes: usize,
    ) -> io::Result<bool> {
        while self.poll_flush(cx)? {
            if *start == end {
                return Ok(true);
            }
            let Some(tls) = &mut self.tls else {
                match self.poll_write(cx, &buffer[*start..end])? {
                    Some(written) => *start += written,
                    None => return Ok(false),
                }
                continue;
            };
            let mut wire = Buffer::take(buffer_bytes);
            let (taken, sealed) = tls.session.seal(&buffer[*start..end], &mut wire).map_err(invalid)?;
            *start += taken;
            tls.sealed = Some(Chunk { buffer: wire, start: 0, end: sealed });
        }
        Ok(false)
    }

    /// True if no data is left in here to be sent.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        if let Some(mut tls) = self.tls.take() {
            let flushed = self.flush_tls(cx, &mut tls);
            self.tls = Some(tls);
            if !flushed? {
                return Ok(false);
            }
        }
        match Pin::new(&mut self.socket).poll_flush(cx) {
            Poll::Ready(flushed) => flushed.map(|()| true),
            Poll::Pending => Ok(false),
        }
    }

    fn flush_tls(&mut self, cx: &mut Context<'_>, tls: &mut Tls) -> io::Result<bool> {
        if let Some(chunk) = &mut tls.sealed {
            while chunk.start < chunk.end {
                match self.poll_write(cx, &chunk.buffer[chunk.start..chunk.end])? {
                    Some(written) => chunk.start += written,
                    None => return Ok(false),
                }
            }
            tls.sealed = None;
        }
        // Encrypted after the chunk, so sent after it.
        while !tls.session.outbox().is_empty() {
            match self.poll_write(cx, tls.session.outbox())? {
                Some(written) => tls.session.sent(written),
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Tells the peer that no more data follows: `close_notify`, then FIN.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(tls) = &mut self.tls {
            tls.session.close();
        }
        if !self.poll_flush(cx)? {
            return Poll::Pending;
        }
        match ready!(Pin::new(&mut self.socket).poll_shutdown(cx)) {
            // The peer has already closed both directions, so there is nothing to tell it.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            result => Poll::Ready(result),
        }
    }

    /// Makes dropping the socket look like a broken connection (RST) and not like a clean end.
    pub(super) fn abort(&mut self) {
        self.socket.abort();
    }

    /// Octets that the socket accepted; `None` if it accepts nothing for now.
    fn poll_write(&mut self, cx: &mut Context<'_>, octets: &[u8]) -> io::Result<Option<usize>> {
        match Pin::new(&mut self.socket).poll_write(cx, octets) {
            Poll::Ready(Ok(0)) => Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(written)) => {
                self.sent += written as u64;
                Ok(Some(written))
            }
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => Ok(None),
        }
    }
}

impl Tls {
    /// Decrypts the whole records of `received` into `plain`, as far as there is room, and keeps
    /// the rest. There is room for at least one.
    fn open(&mut self, received: &[u8], plain: &mut [u8]) -> io::Result<usize> {
        let (mut filled, mut rest) = (0, received);
        while let Some(length) = self.session.first_record(rest) {
            if plain.len() - filled < length {
                break;
            }
            let (record, behind) = rest.split_at(length);
            match self.session.open(record, &mut plain[filled..]) {
                Ok(opened) => filled += opened,
                Err(error) if filled > 0 => {
                    self.broke = Some(invalid(error));
                    return Ok(filled);
                }
                Err(error) => return Err(invalid(error)),
            }
            rest = behind;
        }
        self.wire.extend_from_slice(rest);
        Ok(filled)
    }
}

fn poll_read(socket: &mut Socket, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(into);
    ready!(Pin::new(socket).poll_read(cx, &mut buffer))?;
    Poll::Ready(Ok(buffer.filled().len()))
}

/// An error that TLS found.
pub(super) fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// RFC 8446 §6.1: an end without `close_notify` may come from an attacker.
pub(super) fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the peer closed the connection without TLS close_notify")
}

#[cfg(test)]
mod tests;
