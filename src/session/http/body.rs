//! Streams bodies in either direction. Only what must be inspected is held.

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
use crate::session::http::watch::AnswerWatch;
use crate::session::mailbox_slots::MailboxPermit;
use gatepost_proto::http::links::Rewriter;

/// Any error that ends a body early.
type BodyError = Box<dyn Error + Send + Sync>;

/// The body of an answer to the client: Gatepost's own, or the origin's.
pub(super) type Answer = Either<Full<Bytes>, Download>;

/// The body of a request on its way to the origin.
pub(super) struct Upload {
    /// What was inspected, and perhaps changed.
    beginning: Bytes,
    /// The rest; `None` when all of it was inspected.
    rest: Option<Incoming>,
    /// Octets of both that are still to be sent, if known.
    length: Option<u64>,
    /// Octets sent.
    sent: Arc<AtomicU64>,
    progress: Arc<Progress>,
}

/// The progress of an upload.
pub(super) struct Progress {
    /// When octets were last sent.
    pub(super) pulse: Arc<ActivityTracker>,
    ended: AtomicBool,
}

impl Progress {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { pulse: ActivityTracker::new(), ended: AtomicBool::new(false) })
    }

    /// Whether all of it has been sent.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

impl Upload {
    /// Creates an upload. Octets are counted in `sent`; `progress` shows how it advances.
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

    /// Notes the end early: with a known length, the library does not poll past the last octet.
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
                    // Trailers are ignored, because they have no meaning here.
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
    watch: Option<Box<AnswerWatch>>,
    /// Octets received.
    received: Arc<AtomicU64>,
    idle: Duration,
    idle_end: Pin<Box<Sleep>>,
    /// Released at the end.
    of_mailbox: Option<MailboxPermit>,
}

impl Download {
    /// Creates a download. Octets are counted in `received`. If none arrives for `idle`, the answer
    /// is broken off.
    pub(super) fn new(
        inner: Incoming,
        rewriter: Option<Rewriter>,
        received: Arc<AtomicU64>,
        idle: Duration,
        of_mailbox: MailboxPermit,
    ) -> Self {
        let idle_end = Box::pin(sleep(idle));
        Self { inner, rewriter, watch: None, received, idle, idle_end, of_mailbox: Some(of_mailbox) }
    }

    /// Lets `watch` see what passes.
    pub(super) fn watched(self, watch: Option<AnswerWatch>) -> Self {
        Self { watch: watch.map(Box::new), ..self }
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
                    if let Some(watch) = &mut this.watch {
                        watch.saw(&data);
                    }
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

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    fn upload(beginning: &'static str, length: Option<u64>) -> (Upload, Arc<AtomicU64>, Arc<Progress>) {
        let (sent, progress) = (Arc::new(AtomicU64::new(5)), Progress::new());
        let upload = Upload::new(beginning.into(), None, length, Arc::clone(&sent), Arc::clone(&progress));
        (upload, sent, progress)
    }

    #[tokio::test]
    async fn an_upload_has_ended_with_its_last_octet() {
        let (mut whole, sent, progress) = upload("abc", Some(3));
        assert!(!progress.has_ended() && !whole.is_end_stream());
        assert_eq!(whole.size_hint().exact(), Some(3));
        assert_eq!(whole.frame().await.unwrap().unwrap().into_data().unwrap(), "abc");
        assert!(progress.has_ended() && whole.is_end_stream());
        assert_eq!((whole.size_hint().exact(), sent.load(Ordering::Relaxed)), (Some(0), 8));
        assert!(whole.frame().await.is_none());
        let (empty, _, progress) = upload("", Some(0));
        assert!(progress.has_ended() && empty.is_end_stream());
        let (unknown, _, progress) = upload("", None);
        assert!(progress.has_ended() && unknown.size_hint().exact().is_none());
    }
}
