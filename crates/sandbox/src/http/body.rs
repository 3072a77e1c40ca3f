//! Bodies of answers: whole, or in pieces that come over time.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::Response;
use hyper::body::{Body, Bytes, Frame};
use tokio::sync::mpsc;

/// The answer to a call.
pub(crate) type Answer = Response<UnsyncBoxBody<Bytes, io::Error>>;

/// An answer whose body is there already; 200 until something else is set.
pub(crate) fn whole(body: impl Into<Bytes>) -> Answer {
    Response::new(Full::new(body.into()).map_err(|never| match never {}).boxed_unsync())
}

/// A body of pieces; it ends when the sender is dropped, and breaks off at an error.
pub(crate) fn pieces() -> (mpsc::Sender<io::Result<Bytes>>, UnsyncBoxBody<Bytes, io::Error>) {
    let (sender, receiver) = mpsc::channel(1);
    (sender, Pieces(receiver).boxed_unsync())
}

struct Pieces(mpsc::Receiver<io::Result<Bytes>>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}
