//! The socket below the HTTP library. It validates each request's head before the library sees it,
//! and tracks activity, by which idle connections are found.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use gatepost_proto::http::head::HeadValidator;

/// Size of the read buffer.
const READ_OCTETS: usize = 8 * 1024;

/// What a client still sends after the last answer is read and discarded for this long, up to
/// [`LINGER_OCTETS`]. Otherwise closing the socket would make the system discard the answer.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_OCTETS: usize = 1024 * 1024;

/// Tracks when octets last moved.
#[derive(Debug)]
pub(super) struct ActivityTracker {
    began: Instant,
    last_millis: AtomicU64,
}

impl ActivityTracker {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { began: Instant::now(), last_millis: AtomicU64::new(0) })
    }

    /// Notes activity now.
    pub(super) fn touch(&self) {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_millis.fetch_max(millis, Ordering::Relaxed);
    }

    /// Returns the time of the last activity.
    pub(super) fn last(&self) -> Instant {
        self.began + Duration::from_millis(self.last_millis.load(Ordering::Relaxed))
    }
}

/// A connection of a client.
pub(super) struct CheckedIo<S> {
    inner: S,
    /// `None` with HTTP/2, whose library is strict.
    judge: Option<HeadValidator>,
    /// Octets that the library may see, from `at` on.
    ready: Vec<u8>,
    at: usize,
    head_time: Duration,
    head_end: Option<Pin<Box<Sleep>>>,
    /// Until when, and how many octets, input is discarded.
    linger: Option<(Pin<Box<Sleep>>, usize)>,
    pulse: Arc<ActivityTracker>,
}

impl<S> CheckedIo<S> {
    /// Creates the connection. `early` is what was already read from it. A head must be complete
    /// within `head_time` of its first octet.
    pub(super) fn new(
        inner: S,
        mut judge: Option<HeadValidator>,
        early: &[u8],
        head_time: Duration,
        pulse: Arc<ActivityTracker>,
    ) -> Self {
        let mut ready = Vec::new();
        match &mut judge {
            Some(judge) => judge.feed(early, &mut ready),
            None => ready.extend_from_slice(early),
        }
        Self { inner, judge, ready, at: 0, head_time, head_end: None, linger: None, pulse }
    }

    /// Enforces the deadline of a head that has begun.
    fn poll_head_end(&mut self, cx: &mut Context<'_>) {
        match &mut self.judge {
            Some(judge) if judge.head_begun() => {
                let head_time = self.head_time;
                let end = self.head_end.get_or_insert_with(|| Box::pin(sleep(head_time)));
                if end.as_mut().poll(cx).is_ready() {
                    judge.expire(&mut self.ready);
                    self.head_end = None;
                }
            }
            _ => self.head_end = None,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for CheckedIo<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            this.poll_head_end(cx);
            if let Some(waiting) = this.ready.get(this.at..).filter(|waiting| !waiting.is_empty()) {
                let length = waiting.len().min(into.remaining());
                into.put_slice(&waiting[..length]);
                this.at += length;
                if this.at == this.ready.len() {
                    this.ready.clear();
                    this.at = 0;
                }
                return Poll::Ready(Ok(()));
            }
            let Some(judge) = &mut this.judge else {
                let before = into.filled().len();
                ready!(Pin::new(&mut this.inner).poll_read(cx, into))?;
                if into.filled().len() > before {
                    this.pulse.touch();
                }
                return Poll::Ready(Ok(()));
            };
            if judge.is_broken() {
                return Poll::Ready(Ok(()));
            }
            // After a refused head nothing more is read, because its answer is the last.
            if judge.flaw().is_some() {
                return Poll::Pending;
            }
            let ahead = usize::try_from(judge.body_ahead()).unwrap_or(usize::MAX).min(into.remaining());
            if ahead > 0 {
                let mut part = ReadBuf::new(into.initialize_unfilled_to(ahead));
                ready!(Pin::new(&mut this.inner).poll_read(cx, &mut part))?;
                let read = part.filled().len();
                into.advance(read);
                judge.pass(read as u64);
                this.pulse.touch();
                return Poll::Ready(Ok(()));
            }
            let mut room = [0; READ_OCTETS];
            let mut part = ReadBuf::new(&mut room);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut part))?;
            if part.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.pulse.touch();
            judge.feed(part.filled(), &mut this.ready);
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for CheckedIo<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.inner).poll_write(cx, octets))?;
        this.pulse.touch();
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
            let all_was_read = this.judge.as_ref().is_none_or(|judge| judge.flaw().is_none() && judge.in_head());
            if all_was_read {
                return Poll::Ready(Ok(()));
            }
        }
        let (end, left) = this.linger.get_or_insert_with(|| (Box::pin(sleep(LINGER)), LINGER_OCTETS));
        while *left > 0 && end.as_mut().poll(cx).is_pending() {
            let mut room = [0; READ_OCTETS];
            let mut part = ReadBuf::new(&mut room);
            match ready!(Pin::new(&mut this.inner).poll_read(cx, &mut part)) {
                Ok(()) if !part.filled().is_empty() => *left = left.saturating_sub(part.filled().len()),
                // The client has closed the connection as well.
                Ok(()) | Err(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.inner).poll_write_vectored(cx, octets))?;
        this.pulse.touch();
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::time::{advance, timeout};

    use super::*;
    use gatepost_proto::http::head::HeadLimits;

    const SECOND: Duration = Duration::from_secs(1);

    /// A client, and its connection with or without a judge of heads.
    fn connection(judged: bool) -> (DuplexStream, CheckedIo<DuplexStream>, Arc<ActivityTracker>) {
        let (client, inner) = duplex(4 * LINGER_OCTETS);
        let judge = judged.then(|| HeadValidator::new(HeadLimits { octets: 1_000, fields: 10 }));
        let pulse = ActivityTracker::new();
        let io = CheckedIo::new(inner, judge, b"", 10 * SECOND, Arc::clone(&pulse));
        (client, io, pulse)
    }

    async fn read(io: &mut CheckedIo<DuplexStream>) -> String {
        let mut octets = [0; 1_000];
        let length = io.read(&mut octets).await.unwrap();
        String::from_utf8(octets[..length].to_vec()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn activity_is_noted_when_octets_move_and_not_at_the_end() {
        for judged in [false, true] {
            let (mut client, mut io, pulse) = connection(judged);
            let began = pulse.last();
            advance(SECOND).await;
            client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            assert!(read(&mut io).await.starts_with("GET / "));
            assert_eq!(pulse.last() - began, SECOND, "{judged}");
            advance(SECOND).await;
            io.write_all(b"answer").await.unwrap();
            io.flush().await.unwrap();
            assert_eq!(pulse.last() - began, 2 * SECOND, "{judged}");
            advance(SECOND).await;
            drop(client);
            assert_eq!(read(&mut io).await, "");
            assert_eq!(pulse.last() - began, 2 * SECOND, "{judged}");
        }
    }

    #[tokio::test]
    async fn what_is_flushed_goes_out_also_if_the_socket_holds_it_back() {
        let (mut client, inner) = duplex(100);
        let held = tokio::io::BufWriter::new(inner);
        let mut io = CheckedIo::new(held, None, b"", 10 * SECOND, ActivityTracker::new());
        io.write_all(b"answer").await.unwrap();
        io.flush().await.unwrap();
        let mut heard = [0; 6];
        timeout(60 * SECOND, client.read_exact(&mut heard)).await.unwrap().unwrap();
        assert_eq!(&heard, b"answer");
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_has_begun_has_its_time_and_waiting_for_one_has_none() {
        let (mut client, mut io, _) = connection(true);
        assert!(timeout(100 * SECOND, read(&mut io)).await.is_err(), "nothing has begun");
        client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        assert!(timeout(9 * SECOND, read(&mut io)).await.is_err());
        client.write_all(b"Host: a\r\n").await.unwrap();
        assert!(read(&mut io).await.contains("/slow "), "each octet does not begin it again");
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_client_still_sends_is_discarded_for_a_while_so_that_it_gets_its_answer() {
        // All was read: nothing is waited for.
        for judged in [false, true] {
            let (_client, mut io, _) = connection(judged);
            timeout(SECOND / 10, io.shutdown()).await.unwrap().unwrap();
        }
        // Behind a refused head, and within a body.
        for said in ["NO\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n"] {
            let refused = |said: &str| {
                let said = said.to_owned();
                async move {
                    let (mut client, mut io, _) = connection(true);
                    client.write_all(said.as_bytes()).await.unwrap();
                    read(&mut io).await;
                    (client, io)
                }
            };
            // It ends when the client does,
            let (client, mut io) = refused(said).await;
            drop(client);
            timeout(SECOND / 10, io.shutdown()).await.unwrap().unwrap();
            // after a second,
            let (mut client, mut io) = refused(said).await;
            client.write_all(&[b'x'; 100_000]).await.unwrap();
            assert!(timeout(LINGER * 9 / 10, io.shutdown()).await.is_err(), "{said}");
            timeout(LINGER, io.shutdown()).await.unwrap().unwrap();
            assert!(timeout(SECOND / 10, io.inner.read_u8()).await.is_err(), "all was taken");
            // and after so many octets.
            let (mut client, mut io) = refused(said).await;
            client.write_all(&vec![b'x'; LINGER_OCTETS + READ_OCTETS]).await.unwrap();
            timeout(LINGER / 10, io.shutdown()).await.unwrap().unwrap();
        }
    }
}
