//! The relay: bytes both ways between an authenticated client and its upstream, exactly as they are.
//!
//! One small future owns both connections and nothing else. Data moves through large buffers that are leased only while
//! there is data, so an idle session keeps none: few system calls while busy, few KiB while idle.
//! Reading stops when the other side does not take (back-pressure); a half-close is passed on while the other
//! direction keeps flowing; a connection that breaks, or a TLS stream that ends without `close_notify`, is passed on as
//! a broken connection, never as a clean end.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::buffer_pool::{Buffer, Chunk};
use crate::relay_endpoint::RelayEndpoint;
use gatepost_core::cause::Cause;
use gatepost_proto::mail::QuiescenceDetector;

/// Deadlines of a relay.
#[derive(Clone, Copy, Debug)]
pub struct RelayLimits {
    /// Without a byte in either direction.
    pub idle: Duration,
    /// The same, once one side has ended.
    pub half_closed: Duration,
    /// Data waits, and its receiver takes none of it.
    pub write_stall: Duration,
    /// Most octets moved at a time.
    pub buffer_bytes: usize,
}

/// How a relay ended.
#[derive(Debug)]
pub struct Report {
    /// Octets from the client to the upstream.
    pub sent: u64,
    /// Octets from the upstream to the client.
    pub received: u64,
    /// Why it ended.
    pub end: End,
}

/// Why a relay ended.
#[derive(Debug)]
pub enum End {
    /// Both sides ended cleanly; the client first.
    Client,
    /// Both sides ended cleanly; the upstream first.
    Upstream,
    /// [`RelayLimits::idle`].
    Idle,
    /// [`RelayLimits::half_closed`].
    HalfClosed,
    /// [`RelayLimits::write_stall`].
    Stalled,
    /// [`Relay::shutdown_if_idle`].
    Left,
    /// [`Relay::cut`], and why.
    Cut(Cause),
    /// The client's connection broke.
    ClientBroke(io::Error),
    /// The upstream's connection broke.
    UpstreamBroke(io::Error),
}

impl End {
    /// Why, in the word for the log.
    pub fn cause(&self) -> Cause {
        match self {
            Self::Client => Cause::ClientEnded,
            Self::Upstream => Cause::UpstreamEnded,
            Self::Idle => Cause::Idle,
            Self::HalfClosed => Cause::HalfClosed,
            Self::Stalled => Cause::Stalled,
            Self::Left => Cause::Drained,
            Self::Cut(cause) => *cause,
            Self::ClientBroke(_) => Cause::ClientBroke,
            Self::UpstreamBroke(_) => Cause::UpstreamBroke,
        }
    }
}

/// Moves bytes until both sides have ended or a limit is reached. `to_upstream` and `to_client` go first: what either
/// side had sent before it was its turn.
///
/// # Cancel safety
/// Dropping the future closes both connections; bytes under way may be lost.
pub fn relay(
    client: RelayEndpoint,
    upstream: RelayEndpoint,
    to_upstream: Vec<u8>,
    to_client: Vec<u8>,
    limits: RelayLimits,
) -> Relay {
    let now = Instant::now();
    let mut relay = Relay {
        client,
        upstream,
        up: Direction::default(),
        down: Direction::default(),
        limits,
        last_activity: now,
        blocked_since: None,
        timer: Box::pin(tokio::time::sleep_until(now + limits.idle.min(limits.write_stall))),
        first_to_end: None,
        detector: None,
        left: false,
    };
    relay.up.pending = Chunk::own(to_upstream);
    relay.down.pending = Chunk::own(to_client);
    relay
}

/// The future of [`relay`].
pub struct Relay {
    client: RelayEndpoint,
    upstream: RelayEndpoint,
    up: Direction,
    down: Direction,
    limits: RelayLimits,
    last_activity: Instant,
    blocked_since: Option<Instant>,
    timer: Pin<Box<Sleep>>,
    first_to_end: Option<Peer>,
    /// What shows when a goodbye may be said.
    detector: Option<QuiescenceDetector>,
    /// A goodbye has been said.
    left: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    Client,
    Upstream,
}

/// What one direction needs besides its two sides.
#[derive(Default)]
struct Direction {
    /// Taken from the source, not yet taken by the destination.
    pending: Option<Chunk>,
    /// The source said that nothing more comes.
    source_ended: bool,
    /// The destination was told so.
    passed_on: bool,
    bytes: u64,
}

/// What moving bytes in one direction came to.
enum Moved {
    /// Everything that there was.
    All { progress: bool },
    /// The destination takes no more for now.
    Blocked { progress: bool },
}

/// Which side of a direction broke.
enum Broke {
    Source(io::Error),
    Destination(io::Error),
}

/// A poll moves at most this many buffers in one direction before it lets other sessions have the thread.
const ROUNDS_PER_POLL: usize = 8;

impl Direction {
    fn pump(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut RelayEndpoint,
        destination: &mut RelayEndpoint,
        buffer_bytes: usize,
        mut seen: impl FnMut(&[u8]),
    ) -> Result<Moved, Broke> {
        let mut progress = false;
        for _ in 0..ROUNDS_PER_POLL {
            // What waits goes first; nothing is read before it is gone.
            let before = destination.sent();
            let gone = match &mut self.pending {
                Some(chunk) => destination.poll_send(cx, &chunk.buffer, &mut chunk.start, chunk.end, buffer_bytes),
                None => destination.poll_flush(cx),
            };
            progress |= destination.sent() > before;
            if !gone.map_err(Broke::Destination)? {
                return Ok(Moved::Blocked { progress });
            }
            self.pending = None;
            if self.source_ended {
                if !self.passed_on {
                    match destination.poll_end(cx) {
                        Poll::Pending => return Ok(Moved::Blocked { progress }),
                        Poll::Ready(result) => {
                            result.map_err(Broke::Destination)?;
                            self.passed_on = true;
                            progress = true;
                        }
                    }
                }
                return Ok(Moved::All { progress });
            }
            let mut buffer = Buffer::take(buffer_bytes);
            match source.poll_receive(cx, &mut buffer) {
                Poll::Pending => return Ok(Moved::All { progress }),
                Poll::Ready(Err(error)) => return Err(Broke::Source(error)),
                Poll::Ready(Ok(0)) => {
                    self.source_ended = true;
                    progress = true;
                }
                Poll::Ready(Ok(received)) => {
                    progress = true;
                    self.bytes += received as u64;
                    seen(&buffer[..received]);
                    self.pending = Some(Chunk { buffer, start: 0, end: received });
                }
            }
        }
        // More may be there: come back, but let others run first.
        cx.waker().wake_by_ref();
        Ok(Moved::All { progress })
    }

    fn finished(&self) -> bool {
        self.passed_on
    }
}

impl Relay {
    /// Octets so far, from the client to the upstream and back.
    pub fn moved(&self) -> (u64, u64) {
        (self.up.bytes, self.down.bytes)
    }

    /// Lets `detector` see what passes from now on, beginning with what waits.
    #[must_use]
    pub fn with_detector(mut self, mut detector: QuiescenceDetector) -> Self {
        if let Some(chunk) = &self.up.pending {
            detector.client_said(&chunk.buffer[chunk.start..chunk.end]);
        }
        if let Some(chunk) = &self.down.pending {
            detector.server_said(&chunk.buffer[chunk.start..chunk.end]);
        }
        self.detector = Some(detector);
        self
    }

    /// Says goodbye, if one may be said and nothing has passed for `quiet`: the client hears it, then both hear the end. True
    /// when it is on its way; the relay is then to be polled to its end.
    pub fn shutdown_if_idle(&mut self, quiet: Duration) -> bool {
        let idle = self.up.pending.is_none()
            && self.down.pending.is_none()
            && self.first_to_end.is_none()
            && self.last_activity.elapsed() >= quiet;
        let goodbye = self.detector.as_ref().and_then(QuiescenceDetector::goodbye).filter(|_| idle);
        let Some(goodbye) = goodbye else { return false };
        self.down.pending = Chunk::own(goodbye.to_vec());
        (self.up.source_ended, self.down.source_ended) = (true, true);
        self.left = true;
        true
    }

    /// Ends it at once; both sides see a broken connection. `cause` says why.
    pub fn cut(&mut self, cause: Cause) -> Report {
        self.client.abort();
        self.upstream.abort();
        self.report(End::Cut(cause))
    }

    fn report(&mut self, end: End) -> Report {
        Report { sent: self.up.bytes, received: self.down.bytes, end }
    }

    /// The side that did not break hears it as a broken connection, after what was still on its way.
    fn broke(&mut self, whose: Peer, error: io::Error) -> Report {
        match whose {
            Peer::Client => {
                self.upstream.abort();
                self.report(End::ClientBroke(error))
            }
            Peer::Upstream => {
                self.client.abort();
                self.report(End::UpstreamBroke(error))
            }
        }
    }

    fn idle_limit(&self) -> Duration {
        if self.first_to_end.is_some() { self.limits.half_closed } else { self.limits.idle }
    }
}

impl Future for Relay {
    type Output = Report;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Report> {
        let this = self.get_mut();
        let buffer_bytes = this.limits.buffer_bytes;
        let mut progress = false;
        let mut blocked = false;

        let detector = &mut this.detector;
        let up = this.up.pump(cx, &mut this.client, &mut this.upstream, buffer_bytes, |octets| {
            if let Some(detector) = detector {
                detector.client_said(octets);
            }
        });
        // A direction that broke does not silence the other at once: what the upstream had said last still arrives.
        let down = this.down.pump(cx, &mut this.upstream, &mut this.client, buffer_bytes, |octets| {
            if let Some(detector) = detector {
                detector.server_said(octets);
            }
        });
        for (result, source, destination) in [(up, Peer::Client, Peer::Upstream), (down, Peer::Upstream, Peer::Client)]
        {
            match result {
                Ok(Moved::All { progress: moved }) => progress |= moved,
                Ok(Moved::Blocked { progress: moved }) => {
                    progress |= moved;
                    blocked = true;
                }
                Err(Broke::Source(error)) => return Poll::Ready(this.broke(source, error)),
                Err(Broke::Destination(error)) => return Poll::Ready(this.broke(destination, error)),
            }
        }
        if this.first_to_end.is_none() {
            this.first_to_end = match (this.up.source_ended, this.down.source_ended) {
                (_, true) => Some(Peer::Upstream),
                (true, false) => Some(Peer::Client),
                (false, false) => None,
            };
            if this.first_to_end.is_some() {
                this.timer.as_mut().reset(Instant::now() + this.limits.half_closed);
            }
        }
        if this.up.finished() && this.down.finished() {
            let end = if this.left {
                End::Left
            } else if this.first_to_end == Some(Peer::Client) {
                End::Client
            } else {
                End::Upstream
            };
            return Poll::Ready(this.report(end));
        }

        if progress {
            this.last_activity = Instant::now();
        }
        this.blocked_since = match (blocked, progress, this.blocked_since) {
            (false, _, _) => None,
            (true, false, Some(since)) => Some(since),
            (true, _, _) => Some(Instant::now()),
        };
        // The timer is moved only when it fires: a busy session does not pay for it with every byte.
        loop {
            ready!(this.timer.as_mut().poll(cx));
            let now = Instant::now();
            if this.blocked_since.is_some_and(|since| now >= since + this.limits.write_stall) {
                this.client.abort();
                this.upstream.abort();
                return Poll::Ready(this.report(End::Stalled));
            }
            if now >= this.last_activity + this.idle_limit() {
                let end = if this.first_to_end.is_some() { End::HalfClosed } else { End::Idle };
                return Poll::Ready(this.report(end));
            }
            let next = this.last_activity + this.idle_limit();
            let next = match this.blocked_since {
                Some(since) => next.min(since + this.limits.write_stall),
                // A stall that begins later is noticed at most one stall limit late.
                None => next.min(now + this.limits.write_stall),
            };
            this.timer.as_mut().reset(next);
        }
    }
}
