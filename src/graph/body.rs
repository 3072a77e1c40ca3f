//! A message as the body of a request: base64 (RFC 4648 §4), made piece by piece, so that it is in memory once.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::{Body, Bytes, Frame, SizeHint};

/// Octets that are encoded at a time: a multiple of three, so that padding comes at the very end only.
const PIECE: usize = 48 * 1_024;

/// The octets that have not been encoded yet.
#[derive(Clone, Debug)]
pub(super) struct Base64(pub(super) Bytes);

impl Body for Base64 {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.0.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.0.len().min(PIECE);
        let piece = self.0.split_to(length);
        Poll::Ready(Some(Ok(Frame::data(STANDARD.encode(piece).into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let length = self.0.len().div_ceil(3) * 4;
        SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn the_pieces_are_the_whole_and_as_long_as_was_said() {
        for length in [0, 1, 2, 3, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 2] {
            let octets: Vec<u8> = (0_u8..251).cycle().take(length).collect();
            let body = Base64(octets.clone().into());
            let told = body.size_hint().exact();
            let encoded = body.collect().await.unwrap().to_bytes();
            assert_eq!(told, Some(encoded.len() as u64));
            assert_eq!(STANDARD.decode(&encoded).unwrap(), octets, "{length}");
        }
    }
}
