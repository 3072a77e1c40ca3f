//! A message as the body of a request, in base64 (RFC 4648 §4). It is encoded piece by piece, so
//! that it is in memory once, however often it is sent.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::{Body, Bytes, Frame, SizeHint};

/// Octets encoded at a time: a multiple of three, so that padding occurs only at the very end.
const PIECE: usize = 48 * 1_024;

/// A message in two parts, such as header and body. Encoded octets are removed from them.
#[derive(Clone, Debug)]
pub(super) struct Base64(pub(super) [Bytes; 2]);

impl Base64 {
    /// Returns the number of octets that are not encoded yet.
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }
}

impl Body for Base64 {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let mut piece = Vec::with_capacity(self.len().min(PIECE));
        for part in &mut self.0 {
            let room = PIECE - piece.len();
            piece.extend_from_slice(&part.split_to(room.min(part.len())));
        }
        Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(STANDARD.encode(piece).into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.len() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(u64::try_from(self.len().div_ceil(3) * 4).unwrap_or(u64::MAX))
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
            for cut in [0, length.min(1), length.min(2), length / 3, length / 2, length] {
                let whole = Bytes::from(octets.clone());
                let body = Base64([whole.slice(..cut), whole.slice(cut..)]);
                let told = body.size_hint().exact();
                let encoded = body.collect().await.unwrap().to_bytes();
                assert_eq!(told, Some(encoded.len() as u64));
                assert_eq!(STANDARD.decode(&encoded).unwrap(), octets, "{length} cut at {cut}");
            }
        }
    }
}
