//! One connection as the mail services see it: lines and counted octets in, replies out.

use std::io;
use std::time::Duration;

use memchr::memchr;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::mode::UpstreamMode;
use super::state::SandboxState;

/// Replies are gathered up to this many octets before they are sent.
const GATHER: usize = 64 * 1024;
/// How long a peer may take to receive what is sent to it, or to send what it announced.
const TRANSFER: Duration = Duration::from_secs(600);
/// Room for one read.
const READ: usize = 16 * 1024;
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(60);
/// How long a session waits before login; Exchange Online closes after about this time.
pub(super) const BEFORE_LOGIN: Duration = Duration::from_secs(60);
/// How long a session waits between two commands after login (RFC 9051 §5.4: at least 30 minutes).
pub(super) const AFTER_LOGIN: Duration = Duration::from_secs(30 * 60);

/// A stream with the octets that were read too early and those that are still to be sent.
pub(super) struct Connection<S> {
    stream: S,
    input: Vec<u8>,
    output: Vec<u8>,
}

/// What came in place of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A line, without its end.
    Text(Vec<u8>),
    /// More than the limit. The connection cannot go on: where the line ends is not known.
    TooLong,
    /// The peer has closed.
    End,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, input: Vec::new(), output: Vec::new() }
    }

    /// The stream, for TLS to take over. Octets that the peer sent too early are dropped, so that
    /// nothing said in the clear is heard under TLS.
    pub(super) fn into_stream(self) -> S {
        self.stream
    }

    /// Sends what was gathered, if much was, or if the peer may be waiting for it: no further line
    /// has come yet.
    pub(super) async fn flush_before_line(&mut self) -> io::Result<()> {
        if memchr(b'\n', &self.input).is_some() { self.flush_if_full().await } else { self.flush().await }
    }

    /// Whether the peer has sent more than was read.
    pub(super) fn has_input(&self) -> bool {
        !self.input.is_empty()
    }

    /// The next line, ended by CRLF or LF, of at most `limit` octets.
    ///
    /// Cancel safe: octets read so far stay.
    pub(super) async fn line(&mut self, limit: usize) -> io::Result<Line> {
        let mut searched = 0;
        loop {
            if let Some(at) = memchr(b'\n', &self.input[searched..]).map(|at| at + searched) {
                let mut line: Vec<u8> = self.input.drain(..=at).collect();
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(if line.len() > limit { Line::TooLong } else { Line::Text(line) });
            }
            if self.input.len() > limit {
                return Ok(Line::TooLong);
            }
            searched = self.input.len();
            if self.fill().await? == 0 {
                return Ok(Line::End);
            }
        }
    }

    /// Appends exactly `count` octets to `sink`.
    pub(super) async fn exactly(&mut self, count: usize, sink: &mut Vec<u8>) -> io::Result<()> {
        let buffered = count.min(self.input.len());
        sink.extend(self.input.drain(..buffered));
        let missing = count - buffered;
        let limited = u64::try_from(missing).map_err(io::Error::other)?;
        // `read_to_end` grows the sink as octets arrive: an announced size alone costs nothing.
        let read = tokio::time::timeout(TRANSFER, (&mut self.stream).take(limited).read_to_end(sink)).await??;
        if read < missing { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    /// A message as SMTP's DATA carries it (RFC 5321 §4.5.2): up to the line that holds a dot only,
    /// stuffed dots removed. `None` when it has more than `limit` octets; it is then read to its
    /// end and dropped.
    pub(super) async fn dot_stuffed(&mut self, limit: usize) -> io::Result<Option<Vec<u8>>> {
        tokio::time::timeout(TRANSFER, self.dot_stuffed_without_deadline(limit)).await?
    }

    async fn dot_stuffed_without_deadline(&mut self, limit: usize) -> io::Result<Option<Vec<u8>>> {
        let mut message = Vec::new();
        let mut too_long = false;
        let mut at_line_start = true;
        loop {
            let mut taken = 0;
            loop {
                let rest = &self.input[taken..];
                let (end, whole) = match line_end(rest) {
                    Some(end) => (end, true),
                    // A piece of a very long line; its last octet stays, as it may be the CR of its
                    // end.
                    None if rest.len() > READ => (rest.len() - 1, false),
                    None => break,
                };
                let mut line = &rest[..end];
                taken += end;
                if at_line_start && line == b".\r\n" {
                    self.input.drain(..taken);
                    return Ok((!too_long).then_some(message));
                }
                if at_line_start && line.first() == Some(&b'.') {
                    line = &line[1..];
                }
                at_line_start = whole;
                too_long |= message.len() + line.len() > limit;
                if too_long {
                    message = Vec::new();
                } else {
                    message.extend_from_slice(line);
                }
            }
            self.input.drain(..taken);
            if self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Reads and drops until the peer closes.
    pub(super) async fn drain(&mut self) -> io::Result<()> {
        loop {
            self.input.clear();
            if self.fill().await? == 0 {
                return Ok(());
            }
        }
    }

    /// Adds to what is to be sent.
    pub(super) fn write(&mut self, octets: impl AsRef<[u8]>) {
        self.output.extend_from_slice(octets.as_ref());
    }

    /// The octets still to be sent, for a writer that composes in place.
    pub(super) fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Sends what was gathered once it is much.
    pub(super) async fn flush_if_full(&mut self) -> io::Result<()> {
        if self.output.len() >= GATHER { self.flush().await } else { Ok(()) }
    }

    /// Sends what was gathered.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        if !self.output.is_empty() {
            tokio::time::timeout(TRANSFER, async {
                self.stream.write_all(&self.output).await?;
                self.stream.flush().await
            })
            .await??;
            self.output.clear();
            self.output.shrink_to(GATHER);
        }
        Ok(())
    }

    /// Sends what was gathered and closes the sending side.
    pub(super) async fn close(&mut self) -> io::Result<()> {
        self.flush().await?;
        tokio::time::timeout(TRANSFER, self.stream.shutdown()).await?
    }

    async fn fill(&mut self) -> io::Result<usize> {
        if self.input.is_empty() {
            self.input.shrink_to(READ);
        }
        self.input.reserve(READ);
        self.stream.read_buf(&mut self.input).await
    }
}

/// The server's side of a TLS handshake, with the certificate that the mode asks for.
pub(super) async fn handshake(
    shared: &SandboxState,
    tcp: TcpStream,
    mode: UpstreamMode,
) -> io::Result<TlsStream<TcpStream>> {
    let fault = match mode {
        UpstreamMode::BadCertificate(fault) => Some(fault),
        _ => None,
    };
    let acceptor = TlsAcceptor::from(shared.certificates.server_config(fault));
    tokio::time::timeout(HANDSHAKE, acceptor.accept(tcp)).await?
}

/// What a session hears while it waits for its client.
pub(super) enum Heard {
    /// A line, without its end.
    Line(Vec<u8>),
    /// A line beyond the limit.
    TooLong,
    /// The client has closed, or said nothing for too long.
    Gone,
    /// The token has expired.
    TokenExpired,
}

/// Waits for a line: `patience` at most, and not beyond the expiry of the token (time since 1970),
/// if that matters.
///
/// Cancel safe, as [`Connection::line`] is.
pub(super) async fn hear<S>(
    shared: &SandboxState,
    connection: &mut Connection<S>,
    limit: usize,
    patience: Duration,
    expires_at: Option<Duration>,
) -> io::Result<Heard>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let expiry = async {
        match expires_at {
            Some(at) => shared.time.until(at).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = expiry => Ok(Heard::TokenExpired),
        line = tokio::time::timeout(patience, connection.line(limit)) => match line {
            Err(_) => Ok(Heard::Gone),
            Ok(line) => Ok(match line? {
                Line::Text(text) => Heard::Line(text),
                Line::TooLong => Heard::TooLong,
                Line::End => Heard::Gone,
            }),
        },
    }
}

/// The length of the first line with its CRLF. A bare LF ends no line in SMTP.
fn line_end(octets: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'\n', octets).find(|&at| at > 0 && octets[at - 1] == b'\r').map(|at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(octets: &[u8]) -> Connection<tokio_test_stream::Input> {
        Connection::new(tokio_test_stream::Input::new(octets))
    }

    /// A stream that yields its octets one at a time, so that every boundary is crossed.
    mod tokio_test_stream {
        use std::pin::Pin;
        use std::task::{Context, Poll};

        use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

        pub(super) struct Input(std::collections::VecDeque<u8>);

        impl Input {
            pub(super) fn new(octets: &[u8]) -> Self {
                Self(octets.iter().copied().collect())
            }
        }

        impl AsyncRead for Input {
            fn poll_read(
                mut self: Pin<&mut Self>,
                _: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<std::io::Result<()>> {
                if let Some(octet) = self.0.pop_front() {
                    buffer.put_slice(&[octet]);
                }
                Poll::Ready(Ok(()))
            }
        }

        impl AsyncWrite for Input {
            fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, octets: &[u8]) -> Poll<std::io::Result<usize>> {
                Poll::Ready(Ok(octets.len()))
            }

            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
                Poll::Ready(Ok(()))
            }
        }
    }

    #[tokio::test]
    async fn lines_end_in_crlf_or_lf() {
        let mut connection = connection(b"one\r\ntwo\nthree");
        assert_eq!(connection.line(10).await.unwrap(), Line::Text(b"one".to_vec()));
        assert_eq!(connection.line(10).await.unwrap(), Line::Text(b"two".to_vec()));
        assert_eq!(connection.line(10).await.unwrap(), Line::End);
    }

    #[tokio::test]
    async fn a_line_has_a_limit() {
        let mut connection = connection(b"0123456789\r\n");
        assert_eq!(connection.line(5).await.unwrap(), Line::TooLong);
    }

    #[tokio::test]
    async fn counted_octets_are_taken_as_they_are() {
        let mut connection = connection(b"x\r\n\r\n\0.y\r\nrest\r\n");
        assert_eq!(connection.line(10).await.unwrap(), Line::Text(b"x".to_vec()));
        let mut sink = Vec::new();
        connection.exactly(7, &mut sink).await.unwrap();
        assert_eq!(sink, b"\r\n\0.y\r\n");
        assert_eq!(connection.line(10).await.unwrap(), Line::Text(b"rest".to_vec()));
        assert!(connection.exactly(1, &mut sink).await.is_err());
    }

    #[tokio::test]
    async fn dots_are_unstuffed_and_a_bare_line_feed_ends_nothing() {
        let mut connection = connection(b"a\r\n..b\r\n\n.\nc\r\n.\r\nnext\r\n");
        assert_eq!(connection.dot_stuffed(100).await.unwrap(), Some(b"a\r\n.b\r\n\n.\nc\r\n".to_vec()));
        assert_eq!(connection.line(10).await.unwrap(), Line::Text(b"next".to_vec()));
    }

    #[tokio::test]
    async fn a_message_that_is_too_long_is_swallowed_whole() {
        let long = "x".repeat(3 * READ);
        let mut connection = connection(format!("{long}\r\n..\r\n.\r\nnext\r\n").as_bytes());
        assert_eq!(connection.dot_stuffed(100).await.unwrap(), None);
        assert_eq!(connection.line(10).await.unwrap(), Line::Text(b"next".to_vec()));
    }
}
