//! Collects a message for Graph: a small one in memory, a large one in an encrypted file.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use hyper::body::Bytes;

use super::refused::{self, Refused};
use crate::graph::{LARGE_OCTETS, MESSAGE_OCTETS, MessageOctets, check_head};
use gatepost_proto::mime::Head;
use gatepost_store::SealedWriter;

/// What has come of a message. At most [`MESSAGE_OCTETS`] of it are in memory.
pub(super) struct Collected {
    memory: Vec<u8>,
    file: Option<SealedWriter>,
    /// The directory for large messages; `None` if they are refused.
    spool: Option<Arc<PathBuf>>,
}

impl Collected {
    /// Begins a message.
    pub(super) fn new(spool: Option<Arc<PathBuf>>) -> Self {
        Self { memory: Vec::new(), file: None, spool }
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// The refusal of a message that is too large, or of which Graph could not send all.
    pub(super) async fn write(&mut self, piece: &[u8]) -> Result<(), Refused> {
        if let Some(file) = &mut self.file {
            if file.length() + piece.len() as u64 > LARGE_OCTETS as u64 {
                return Err(refused::too_large_for_graph(true));
            }
            return file.write(piece).await.map_err(|error| refused::not_spooled(&error));
        }
        if self.memory.len() + piece.len() <= MESSAGE_OCTETS {
            self.memory.extend_from_slice(piece);
            return Ok(());
        }
        let Some(spool) = &self.spool else { return Err(refused::too_large_for_graph(false)) };
        // What is wrong with another header is said where it is read for its recipients.
        if let Ok(head) = Head::parse(&self.memory) {
            check_head(&head).map_err(|why| refused::unfit(&why))?;
        }
        let spooled = async {
            let mut file = SealedWriter::temporary(spool).await?;
            file.write(&self.memory).await?;
            file.write(piece).await?;
            io::Result::Ok(file)
        };
        self.file = Some(spooled.await.map_err(|error| refused::not_spooled(&error))?);
        self.memory = Vec::new();
        Ok(())
    }

    /// Returns the message.
    ///
    /// # Errors
    /// The refusal, if its file cannot be written.
    pub(super) async fn finish(self) -> Result<MessageOctets, Refused> {
        match self.file {
            Some(file) => file.finish().await.map(MessageOctets::File).map_err(|error| refused::not_spooled(&error)),
            None => Ok(MessageOctets::Memory(Bytes::from(self.memory))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_large_message_is_not_in_memory() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Arc::new(temporary.path().to_owned());
        let mut collected = Collected::new(Some(Arc::clone(&directory)));
        let piece = vec![b'x'; 32 * 1_024];
        let mut most = 0;
        for _ in 0..320 {
            collected.write(&piece).await.unwrap();
            most = most.max(collected.memory.capacity());
        }
        assert!(most <= 2 * MESSAGE_OCTETS && collected.memory.capacity() == 0, "{most}");
        assert_eq!(std::fs::read_dir(&*directory).unwrap().count(), 0, "the file has no name");
        let message = collected.finish().await.unwrap();
        assert!(matches!(&message, MessageOctets::File(file) if file.length() == 320 * 32 * 1_024));
    }

    #[tokio::test]
    async fn what_cannot_be_sent_is_refused_as_soon_as_that_is_known() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Arc::new(temporary.path().to_owned());
        let large = vec![b'x'; MESSAGE_OCTETS];
        for (spool, head, reply) in [
            (None, "A: b\r\n\r\n", "552 5.3.4 "),
            (Some(&directory), "Content-Type: multipart/signed; boundary=x\r\n\r\n", "554 5.6.1 "),
        ] {
            let mut collected = Collected::new(spool.cloned());
            collected.write(head.as_bytes()).await.unwrap();
            let refused = collected.write(&large).await.unwrap_err();
            assert!(refused.reply.to_string().starts_with(reply), "{}", refused.reply);
        }
        let mut collected = Collected::new(Some(Arc::new(directory.join("nowhere"))));
        collected.write(b"A: b\r\n\r\n").await.unwrap();
        let refused = collected.write(&large).await.unwrap_err();
        assert_eq!((refused.reply.class(), refused.failure.cause.name()), (4, "spool-failed"));
    }

    #[tokio::test]
    async fn a_message_has_no_more_than_graph_takes_also_in_a_file() {
        let temporary = tempfile::tempdir().unwrap();
        let mut collected = Collected::new(Some(Arc::new(temporary.path().to_owned())));
        let piece = vec![b'x'; 1_024 * 1_024];
        for piece in std::iter::repeat_n(&*piece, LARGE_OCTETS / piece.len()) {
            collected.write(piece).await.unwrap();
        }
        collected.write(&piece[..LARGE_OCTETS % piece.len()]).await.unwrap();
        let refused = collected.write(b"x").await.unwrap_err();
        assert!(refused.reply.to_string().starts_with("552 5.3.4 "), "{}", refused.reply);
        let message = collected.finish().await.unwrap();
        assert!(matches!(&message, MessageOctets::File(file) if file.length() == LARGE_OCTETS as u64));
    }
}
