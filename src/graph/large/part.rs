//! Decodes one part of a message piece by piece.

use std::io;

use super::octets::MessageOctets;
use gatepost_proto::mime::{Part, TransferDecoder, TransferError};

/// Why a part cannot be decoded.
#[derive(Debug, thiserror::Error)]
pub(super) enum PartError {
    /// The message cannot be read again.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The part is not in its transfer encoding.
    #[error(transparent)]
    Transfer(#[from] TransferError),
}

/// The content of a part. It holds one piece, and one chunk of the message.
pub(super) struct PartReader<'a> {
    octets: &'a MessageOctets,
    at: u64,
    end: u64,
    decoder: Option<TransferDecoder>,
    ready: Vec<u8>,
}

impl<'a> PartReader<'a> {
    pub(super) fn new(octets: &'a MessageOctets, part: &Part) -> Self {
        let decoder = Some(TransferDecoder::new(part.encoding));
        Self { octets, at: part.body.start, end: part.body.end, decoder, ready: Vec::new() }
    }

    /// Returns the next piece, of exactly this length unless it is the last one; empty at the end.
    ///
    /// # Errors
    /// See [`PartError`].
    pub(super) async fn next(&mut self, length: usize) -> Result<Vec<u8>, PartError> {
        while self.ready.len() < length && self.more().await? {}
        let rest = self.ready.split_off(length.min(self.ready.len()));
        Ok(std::mem::replace(&mut self.ready, rest))
    }

    /// Returns the length of the whole content, which is decoded for that and not kept.
    ///
    /// # Errors
    /// See [`PartError`].
    pub(super) async fn length(mut self) -> Result<u64, PartError> {
        let mut length = 0;
        while self.more().await? {
            length += self.ready.len() as u64;
            self.ready.clear();
        }
        Ok(length)
    }

    /// Decodes the next chunk. Returns false at the end.
    async fn more(&mut self) -> Result<bool, PartError> {
        let Some(decoder) = &mut self.decoder else { return Ok(false) };
        if self.at >= self.end {
            self.decoder.take().map_or(Ok(()), TransferDecoder::finish)?;
            return Ok(false);
        }
        let chunk = self.octets.chunk_at(self.at).await?;
        if chunk.is_empty() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let chunk = chunk.get(..left).unwrap_or(&chunk);
        self.at += chunk.len() as u64;
        decoder.decode(chunk, &mut self.ready)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use hyper::body::Bytes;

    use super::*;
    use gatepost_proto::mime::{Head, StructureReader};

    async fn part(octets: &MessageOctets) -> Part {
        let message = octets.beginning(usize::MAX).await.unwrap();
        let head = Head::parse(&message).unwrap();
        let mut reader = StructureReader::new(&head).unwrap();
        reader.feed(&message[head.body()..]).unwrap();
        reader.finish().unwrap().remove(0)
    }

    #[tokio::test]
    async fn the_pieces_are_the_content_and_no_more_of_it_is_held() {
        let content: Vec<u8> = (0_u8..=250).cycle().take(1_000_003).collect();
        let mut message = String::from("Content-Transfer-Encoding: base64\r\n\r\n");
        for line in content.chunks(57) {
            message.push_str(&STANDARD.encode(line));
            message.push_str("\r\n");
        }
        let octets = MessageOctets::Memory(Bytes::from(message));
        let part = part(&octets).await;
        assert_eq!(PartReader::new(&octets, &part).length().await.unwrap(), content.len() as u64);
        let (mut reader, mut pieces) = (PartReader::new(&octets, &part), Vec::new());
        loop {
            let piece = reader.next(100_000).await.unwrap();
            assert!(reader.ready.capacity() + piece.capacity() < 400_000, "{}", reader.ready.capacity());
            if piece.is_empty() {
                break;
            }
            pieces.push(piece);
        }
        assert!(pieces[..10].iter().all(|piece| piece.len() == 100_000) && pieces.len() == 11);
        assert!(pieces.concat() == content);
    }

    #[tokio::test]
    async fn a_part_that_breaks_off_is_an_error() {
        let octets = MessageOctets::Memory(Bytes::from("Content-Transfer-Encoding: base64\r\n\r\nYWJjZ"));
        let part = part(&octets).await;
        assert!(matches!(PartReader::new(&octets, &part).length().await, Err(PartError::Transfer(_))));
        assert!(PartReader::new(&octets, &part).next(3).await.is_ok_and(|piece| piece == b"abc"));
    }
}
