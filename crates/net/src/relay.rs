//! The relay: moves bytes unchanged in both directions between an authenticated client and its
//! upstream.
//!
//! One small future owns both connections and nothing else. Data moves through large buffers that
//! are leased only while there is data: few system calls while busy, few KiB while idle. If the
//! other side does not take data, reading stops (back-pressure). A half-close is passed on, and the
//! other direction continues. A connection that breaks, or a TLS stream that ends without
//! `close_notify`, is passed on as a broken connection, never as a clean end.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::buffer_pool::{Buffer, Chunk};
use crate::relay_endpoint::RelayEndpoint;
use gatepost_core::cause::Cause;
use gatepost_proto::mail::smtp::RefusedCommand;
use gatepost_proto::mail::{Farewell, QuiescenceDetector};

/// Deadlines of a relay.
#[derive(Clone, Copy, Debug)]
pub struct RelayLimits {
    /// How long there may be no byte in either direction.
    pub idle: Duration,
    /// How long there may be no byte after one side has ended.
    pub half_closed: Duration,
    /// How long a receiver may take none of the data that waits for it.
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
    /// [`RelayLimits::idle`] was reached.
    Idle,
    /// [`RelayLimits::half_closed`] was reached.
    HalfClosed,
    /// [`RelayLimits::write_stall`] was reached.
    Stalled,
    /// [`Relay::shutdown_if_idle`] ended it.
    Left(Farewell),
    /// [`Relay::cut`] ended it, with this word for the log.
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
            Self::Left(Farewell::Stopping) => Cause::Drained,
            Self::Left(Farewell::Yielding) => Cause::Yielded,
            Self::Cut(cause) => *cause,
            Self::ClientBroke(_) => Cause::ClientBroke,
            Self::UpstreamBroke(_) => Cause::UpstreamBroke,
        }
    }
}

/// Moves bytes until both sides have ended or a limit is reached. `to_upstream` and `to_client` are
/// sent first: they hold what each side sent before the relay began.
///
/// # Cancel safety
/// Dropping the future closes both connections; bytes in transit may be lost.
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
        left: None,
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
    /// Detects when a farewell may be sent.
    detector: Option<QuiescenceDetector>,
    /// The farewell that has been sent.
    left: Option<Farewell>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    Client,
    Upstream,
}

/// What one direction needs besides its two sides.
#[derive(Default)]
struct Direction {
    /// Data taken from the source that the destination has not taken yet.
    pending: Option<Chunk>,
    /// The source announced its end.
    source_ended: bool,
    /// The end was passed on to the destination.
    passed_on: bool,
    bytes: u64,
}

/// The result of moving bytes in one direction.
enum Moved {
    /// All available data was moved.
    All { progress: bool },
    /// The destination takes no more for now.
    Blocked { progress: bool },
}

/// The side of a direction that broke.
enum Broke {
    Source(io::Error),
    Destination(io::Error),
}

/// Most buffers that one poll moves in one direction before other sessions may use the thread.
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
            // Pending data is sent first. Nothing is read before all of it is sent.
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
        // There may be more data: ask for another poll, but let other sessions run first.
        cx.waker().wake_by_ref();
        Ok(Moved::All { progress })
    }

    fn finished(&self) -> bool {
        self.passed_on
    }
}

impl Relay {
    /// Octets moved so far: from the client to the upstream, and back.
    pub fn moved(&self) -> (u64, u64) {
        (self.up.bytes, self.down.bytes)
    }

    /// Lets the detector see all data from now on, beginning with the pending data.
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

    /// See [`QuiescenceDetector::pause`].
    pub fn pause(&self) -> Option<Duration> {
        self.detector.as_ref().and_then(QuiescenceDetector::pause)
    }

    /// See [`QuiescenceDetector::take_refused`].
    pub fn take_refused(&mut self) -> Option<RefusedCommand> {
        self.detector.as_mut().and_then(QuiescenceDetector::take_refused)
    }

    /// See [`QuiescenceDetector::take_accepted`].
    pub fn take_accepted(&mut self) -> Option<Option<String>> {
        self.detector.as_mut().and_then(QuiescenceDetector::take_accepted)
    }

    /// See [`QuiescenceDetector::has_sent`].
    pub fn has_sent(&self) -> bool {
        self.detector.as_ref().is_some_and(QuiescenceDetector::has_sent)
    }

    /// Returns since when nothing was moved, if the protocol allows this farewell now.
    pub fn rests_since(&self, why: Farewell) -> Option<Instant> {
        self.farewell(why).map(|_| self.last_activity)
    }

    /// Begins the shutdown if the protocol allows this farewell now and nothing was moved for
    /// `quiet`. The client gets the farewell, then both sides get the end of the connection. True
    /// if the shutdown began; the relay must then be polled to its end.
    pub fn shutdown_if_idle(&mut self, quiet: Duration, why: Farewell) -> bool {
        let farewell = self.farewell(why).filter(|_| self.last_activity.elapsed() >= quiet);
        let Some(farewell) = farewell else { return false };
        self.down.pending = Chunk::own(farewell.to_vec());
        (self.up.source_ended, self.down.source_ended) = (true, true);
        self.left = Some(why);
        true
    }

    fn farewell(&self, why: Farewell) -> Option<&'static [u8]> {
        let idle = self.up.pending.is_none() && self.down.pending.is_none() && self.first_to_end.is_none();
        self.detector.as_ref().filter(|_| idle && self.left.is_none())?.farewell(why)
    }

    /// Ends the relay at once. Both sides see a broken connection. `cause` is a short fixed word
    /// for the log.
    pub fn cut(&mut self, cause: Cause) -> Report {
        self.client.abort();
        self.upstream.abort();
        self.report(End::Cut(cause))
    }

    fn report(&mut self, end: End) -> Report {
        Report { sent: self.up.bytes, received: self.down.bytes, end }
    }

    /// Ends the relay after one side broke. The other side sees a broken connection, after the data
    /// that was still in transit.
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
        // If one direction broke, the other is still polled, so that the upstream's last data
        // arrives.
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
            let end = if let Some(why) = this.left {
                End::Left(why)
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
        // The timer is moved only when it fires, so that a busy session does not move it for every
        // byte.
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
