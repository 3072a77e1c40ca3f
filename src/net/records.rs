//! A socket that hands out TLS records one at a time, whole ones only.
//!
//! rustls keeps what it has read of an incomplete record, and does not say how much that is. Behind this, it never has any
//! when a login ends: what it has not been given is handed on from the beginning of a record, and the relay can go on
//! with its own large reads.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The longest record that TLS 1.2 allows behind its header (RFC 5246 §6.2.3).
const LONGEST: usize = 16 * 1024 + 2_048;

/// Room for a read; a certificate chain comes in one or two.
const READ_BYTES: usize = 4 * 1024;

/// Length of the first record in `wire`, once it is whole (RFC 8446 §5.1: type, version, length in two octets, then so
/// many octets). What cannot be a record counts as whole, so that rustls judges it.
fn first_record(wire: &[u8]) -> Option<usize> {
    // ChangeCipherSpec to Heartbeat. A server without TLS is noticed by the first octet of its greeting.
    if !matches!(wire.first()?, 20..=24) {
        return Some(wire.len());
    }
    let [_, major, _, high, low] = wire.first_chunk::<5>()?;
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if *major != 3 || length > LONGEST {
        return Some(wire.len());
    }
    (wire.len() >= 5 + length).then_some(5 + length)
}

/// How much of `wire` is whole records.
pub(super) fn whole_records(wire: &[u8]) -> usize {
    let mut end = 0;
    while let Some(length) = first_record(&wire[end..]) {
        end += length;
    }
    end
}

/// A socket that hands out TLS records one at a time.
pub struct Records {
    socket: TcpStream,
    received: Vec<u8>,
    /// So much of `received` has been handed out.
    given: usize,
    /// So much of it belongs to the record that is being handed out.
    record_end: usize,
    ended: bool,
}

impl Records {
    /// A socket on which TLS begins.
    pub fn new(socket: TcpStream) -> Self {
        Self { socket, received: Vec::new(), given: 0, record_end: 0, ended: false }
    }

    /// The socket, and what was received from it and not handed out.
    pub fn into_parts(mut self) -> (TcpStream, Vec<u8>) {
        self.received.drain(..self.given);
        // What is left is usually nothing, and lives as long as the session.
        self.received.shrink_to_fit();
        (self.socket, self.received)
    }

    /// Makes sure that there is something to hand out, unless the stream has ended.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.given == self.record_end && !self.ended {
            self.received.drain(..self.given);
            self.given = 0;
            if let Some(length) = first_record(&self.received) {
                self.record_end = length;
                break;
            }
            self.record_end = 0;
            let held = self.received.len();
            self.received.resize(held + READ_BYTES, 0);
            let mut buffer = ReadBuf::new(&mut self.received[held..]);
            let result = Pin::new(&mut self.socket).poll_read(cx, &mut buffer);
            let read = buffer.filled().len();
            self.received.truncate(held + read);
            ready!(result)?;
            if read == 0 {
                // The rest of an incomplete record goes to rustls, which calls it one.
                (self.ended, self.record_end) = (true, held);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Records {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_fill(cx))?;
        let length = into.remaining().min(this.record_end - this.given);
        into.put_slice(&this.received[this.given..this.given + length]);
        this.given += length;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Records {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(cx, buffer)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    fn record(length: usize) -> Vec<u8> {
        let mut record = vec![23, 3, 3];
        record.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        record.resize(5 + length, 7);
        record
    }

    #[test]
    fn whole_records_are_told_from_incomplete_ones() {
        let wire = [record(3), record(0), record(300)].concat();
        for cut in 0..=wire.len() {
            let whole = match cut {
                0..8 => 0,
                8..13 => 8,
                13..318 => 13,
                _ => 318,
            };
            assert_eq!(whole_records(&wire[..cut]), whole, "{cut}");
        }
        // What is no record is for rustls to judge, at once.
        for greeting in
            [&b"HTTP/1.1 400 Bad Request"[..], b"+OK POP3 ready\r\n", b"* OK\r\n", b"2", b"\x16\x04\x01\x01\x01"]
        {
            assert_eq!(whole_records(greeting), greeting.len(), "{greeting:?}");
        }
    }

    #[tokio::test]
    async fn one_record_at_a_time_and_the_rest_is_handed_on() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (mut records, mut peer) = (Records::new(near.unwrap()), far.unwrap().0);
        peer.write_all(&[record(10_000), record(3), record(5)[..7].to_vec()].concat()).await.unwrap();
        let mut first = vec![0; 10_005];
        records.read_exact(&mut first).await.unwrap();
        assert_eq!(first, record(10_000));
        let mut buffer = [0; 100];
        assert_eq!(records.read(&mut buffer).await.unwrap(), 8);
        let (mut socket, received) = records.into_parts();
        // The third one is incomplete: some of it may still be on its way.
        assert!(record(5)[..7].starts_with(&received));
        peer.write_all(&record(5)[7..]).await.unwrap();
        drop(peer);
        let mut rest = received;
        socket.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, record(5));
    }

    #[tokio::test]
    async fn a_record_cut_short_is_handed_out_before_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (mut records, mut peer) = (Records::new(near.unwrap()), far.unwrap().0);
        peer.write_all(&record(5)[..7]).await.unwrap();
        drop(peer);
        let mut all = Vec::new();
        records.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, record(5)[..7]);
    }
}
