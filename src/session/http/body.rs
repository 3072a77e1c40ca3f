//! Bodies that stream by, in either direction: nothing is held but what must be looked at.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::{Either, Full};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

use crate::session::http::checked_io::ActivityTracker;
use crate::session::mailbox_slots::MailboxPermit;
use gatepost_proto::http::links::Rewriter;

/// Whatever ends a body early.
type BodyError = Box<dyn Error + Send + Sync>;

/// The body of an answer to the client: of Gatepost's own, or of the origin's.
pub(super) type Answer = Either<Full<Bytes>, Download>;

/// The body of a request on its way to the origin.
pub(super) struct Upload {
    /// What was looked at, and perhaps changed.
    beginning: Bytes,
    /// What follows; nothing when all of it was looked at.
    rest: Option<Incoming>,
    /// Octets of both that have not gone yet, when that is known.
    length: Option<u64>,
    /// Octets that went.
    sent: Arc<AtomicU64>,
    progress: Arc<Progress>,
}

/// How an upload goes.
pub(super) struct Progress {
    /// When something went last.
    pub(super) pulse: Arc<ActivityTracker>,
    ended: AtomicBool,
}

impl Progress {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { pulse: ActivityTracker::new(), ended: AtomicBool::new(false) })
    }

    /// All of it has gone.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

impl Upload {
    /// Octets of the client's count into `sent`; `progress` tells how it goes on.
    pub(super) fn new(
        beginning: Bytes,
        rest: Option<Incoming>,
        length: Option<u64>,
        sent: Arc<AtomicU64>,
        progress: Arc<Progress>,
    ) -> Self {
        let upload = Self { beginning, rest, length, sent, progress };
        upload.note_end();
        upload
    }

    /// With a length the library does not ask for more than that.
    fn note_end(&self) {
        if self.length == Some(0) || self.is_end_stream() {
            self.progress.ended.store(true, Ordering::Relaxed);
        }
    }

    fn goes(&mut self, data: &Bytes) {
        let octets = data.len() as u64;
        self.sent.fetch_add(octets, Ordering::Relaxed);
        self.length = self.length.map(|length| length.saturating_sub(octets));
        self.progress.pulse.touch();
        self.note_end();
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if !this.beginning.is_empty() {
            let beginning = std::mem::take(&mut this.beginning);
            this.goes(&beginning);
            return Poll::Ready(Some(Ok(Frame::data(beginning))));
        }
        loop {
            let Some(rest) = &mut this.rest else { return Poll::Ready(None) };
            match Pin::new(rest).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers have no meaning here.
                    let Ok(data) = frame.into_data() else { continue };
                    this.goes(&data);
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error.into()))),
                Poll::Ready(None) => {
                    this.rest = None;
                    this.note_end();
                    return Poll::Ready(None);
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.beginning.is_empty() && self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// The body of an answer on its way from the origin.
pub(super) struct Download {
    inner: Incoming,
    rewriter: Option<Rewriter>,
    /// Octets that came.
    received: Arc<AtomicU64>,
    idle: Duration,
    idle_end: Pin<Box<Sleep>>,
    /// Given back at the end.
    of_mailbox: Option<MailboxPermit>,
}

impl Download {
    /// Octets count into `received`; without one for `idle` the answer is broken off.
    pub(super) fn new(
        inner: Incoming,
        rewriter: Option<Rewriter>,
        received: Arc<AtomicU64>,
        idle: Duration,
        of_mailbox: MailboxPermit,
    ) -> Self {
        let idle_end = Box::pin(sleep(idle));
        Self { inner, rewriter, received, idle, idle_end, of_mailbox: Some(of_mailbox) }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        loop {
            match Pin::new(&mut this.inner).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    let Ok(data) = frame.into_data() else { continue };
                    this.received.fetch_add(data.len() as u64, Ordering::Relaxed);
                    this.idle_end.as_mut().reset(Instant::now() + this.idle);
                    let data = match &mut this.rewriter {
                        Some(rewriter) => Bytes::from(rewriter.push(&data)),
                        None => data,
                    };
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    this.of_mailbox = None;
                    return Poll::Ready(Some(Err(error.into())));
                }
                Poll::Ready(None) => {
                    this.of_mailbox = None;
                    let last =
                        this.rewriter.take().map(|mut rewriter| rewriter.finish()).filter(|last| !last.is_empty());
                    return Poll::Ready(last.map(|last| Ok(Frame::data(Bytes::from(last)))));
                }
                Poll::Pending => {
                    if this.idle_end.as_mut().poll(cx).is_ready() {
                        this.of_mailbox = None;
                        let silent = io::Error::new(io::ErrorKind::TimedOut, "the answer does not go on");
                        return Poll::Ready(Some(Err(silent.into())));
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rewriter.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.rewriter.is_some() { SizeHint::default() } else { self.inner.size_hint() }
    }
}
