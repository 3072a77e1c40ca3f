//! One connection of a relay: a socket, and the TLS state on it if there is one.
//!
//! Reads the socket in large pieces into a leased buffer and decrypts from there; encrypts a large piece at once and
//! writes all its records with one gathering system call.

use std::io::{self, IoSlice, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::Connection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::lease::Lease;
use super::records::whole_records;

/// A connection after its login.
pub struct Side {
    socket: TcpStream,
    tls: Option<Box<Connection>>,
    /// The beginning of a record. It is kept here and not in rustls, whose buffer would grow to a whole record in every
    /// session that waits in the middle of one, and leave holes in the heap that nothing fills.
    incomplete: Vec<u8>,
    close_notify_queued: bool,
}

impl Side {
    /// A connection without TLS.
    pub fn plain(socket: TcpStream) -> Self {
        Self { socket, tls: None, incomplete: Vec::new(), close_notify_queued: false }
    }

    /// A connection whose handshake is complete; `received` is what rustls has not been given yet, from the beginning of a
    /// record on.
    pub fn tls(socket: TcpStream, mut connection: Connection, received: Vec<u8>) -> Self {
        // How much waits for the peer is bounded by the relay, which gives one buffer at a time.
        connection.set_buffer_limit(None);
        Self { socket, tls: Some(Box::new(connection)), incomplete: received, close_notify_queued: false }
    }

    /// Receives plain octets into `lease.plain`; 0 is a clean end.
    pub(super) fn poll_receive(&mut self, cx: &mut Context<'_>, lease: &mut Lease) -> Poll<io::Result<usize>> {
        let Some(tls) = &mut self.tls else {
            return poll_read(&mut self.socket, cx, &mut lease.plain[..lease.bytes]);
        };
        // Records that arrived together with the end of the login.
        let mut filled = 0;
        if drain(tls, &mut lease.plain, &mut filled)? == Drained::Ended || filled > 0 {
            return Poll::Ready(Ok(filled));
        }
        loop {
            let held = self.incomplete.len();
            let received = if whole_records(&self.incomplete) > 0 {
                // They came together with the end of the login.
                0
            } else {
                match poll_read(&mut self.socket, cx, &mut lease.wire[held..held + lease.bytes]) {
                    Poll::Ready(Ok(0)) => {
                        // What is left of a record is no record: rustls hears of the end only, and knows whether
                        // the peer had announced it.
                        decrypt(tls, &[], &mut lease.plain, &mut filled)?;
                        return Poll::Ready(Ok(filled));
                    }
                    Poll::Ready(received) => received?,
                    Poll::Pending => {
                        // Lets go of most of the record buffer: `read_tls` fits it to what it holds before it reads.
                        let _would_block = tls.read_tls(&mut Nothing);
                        return Poll::Pending;
                    }
                }
            };
            lease.wire[..held].copy_from_slice(&self.incomplete);
            let wire = &lease.wire[..held + received];
            let (records, incomplete) = wire.split_at(whole_records(wire));
            self.incomplete = incomplete.to_vec();
            // An empty slice would be the end of the stream.
            let ended = !records.is_empty() && decrypt(tls, records, &mut lease.plain, &mut filled)?;
            if tls.wants_write() {
                // A reply to a key update; should the socket be full, the next send takes it along.
                let _full = write_tls(&mut self.socket, tls, cx)?;
            }
            if filled > 0 || ended {
                return Poll::Ready(Ok(filled));
            }
        }
    }

    /// Hands over `buffer[*start..end]`, moving `start`; true when all of it was taken. With TLS it is taken at once and
    /// [`Side::poll_flush`] tells when it is gone.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &[u8],
        start: &mut usize,
        end: usize,
    ) -> io::Result<bool> {
        if let Some(tls) = &mut self.tls {
            if *start < end {
                tls.writer().write_all(&buffer[*start..end])?;
                *start = end;
            }
            return Ok(true);
        }
        while *start < end {
            match Pin::new(&mut self.socket).poll_write(cx, &buffer[*start..end]) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(written)) => *start += written,
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(false),
            }
        }
        Ok(true)
    }

    /// True when nothing handed over waits in here any more.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        match &mut self.tls {
            Some(tls) if tls.wants_write() => write_tls(&mut self.socket, tls, cx),
            _ => Ok(true),
        }
    }

    /// Tells the peer that nothing more comes: `close_notify`, then FIN.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(tls) = &mut self.tls {
            if !self.close_notify_queued {
                tls.send_close_notify();
                self.close_notify_queued = true;
            }
            if !write_tls(&mut self.socket, tls, cx)? {
                return Poll::Pending;
            }
        }
        match ready!(Pin::new(&mut self.socket).poll_shutdown(cx)) {
            // The peer has closed altogether already: it knows.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            result => Poll::Ready(result),
        }
    }

    /// Makes dropping the socket look like a broken connection (RST), not like a clean end.
    pub(super) fn abort(&mut self) {
        // Failing here means that the socket is gone already.
        let _gone = socket2::SockRef::from(&self.socket).set_linger(Some(std::time::Duration::ZERO));
    }
}

/// Decrypts `records` into `plain[*filled..]`; an empty slice is the end of the stream. True when the peer ended it.
fn decrypt(tls: &mut Connection, mut records: &[u8], plain: &mut [u8], filled: &mut usize) -> io::Result<bool> {
    loop {
        tls.read_tls(&mut records)?;
        tls.process_new_packets().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if drain(tls, plain, filled)? == Drained::Ended {
            return Ok(true);
        }
        if records.is_empty() {
            return Ok(false);
        }
    }
}

#[derive(PartialEq, Eq)]
enum Drained {
    /// Everything that was decrypted; more may come.
    All,
    /// The peer said `close_notify`.
    Ended,
}

/// Moves decrypted octets into `plain[*filled..]`. There is always room: the buffer is as long as what is received at a
/// time and what an incomplete record can hold back, and plain text is shorter than its records.
fn drain(tls: &mut Connection, plain: &mut [u8], filled: &mut usize) -> io::Result<Drained> {
    loop {
        if *filled == plain.len() {
            return Ok(Drained::All);
        }
        match tls.reader().read(&mut plain[*filled..]) {
            Ok(0) => return Ok(Drained::Ended),
            Ok(read) => *filled += read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Drained::All),
            // `UnexpectedEof`: the stream ended without `close_notify`. What came before it is delivered first.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && *filled > 0 => return Ok(Drained::All),
            Err(error) => return Err(error),
        }
    }
}

fn poll_read(socket: &mut TcpStream, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(into);
    ready!(Pin::new(socket).poll_read(cx, &mut buffer))?;
    Poll::Ready(Ok(buffer.filled().len()))
}

/// Writes what rustls has for the peer; false when the socket took only part of it.
fn write_tls(socket: &mut TcpStream, tls: &mut Connection, cx: &mut Context<'_>) -> io::Result<bool> {
    let mut writer = Socket { socket, cx };
    while tls.wants_write() {
        match tls.write_tls(&mut writer) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// A socket as rustls wants it: `WouldBlock` stands for "the task will be woken".
struct Socket<'a, 'c> {
    socket: &'a mut TcpStream,
    cx: &'a mut Context<'c>,
}

impl Write for Socket<'_, '_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match Pin::new(&mut *self.socket).poll_write(self.cx, buffer) {
            Poll::Ready(result) => result,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        match Pin::new(&mut *self.socket).poll_write_vectored(self.cx, buffers) {
            Poll::Ready(result) => result,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A reader that has nothing yet.
struct Nothing;

impl Read for Nothing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}
