//! The octets of a message, wherever they are.

use std::io;

use hyper::body::Bytes;
use zeroize::Zeroizing;

use gatepost_store::SealedFile;

/// Octets of a chunk out of memory, as many as a file gives.
const CHUNK: usize = 64 * 1_024;

/// A message that was collected. Cheap to clone.
#[derive(Clone, Debug)]
pub enum MessageOctets {
    /// In memory: a small one.
    Memory(Bytes),
    /// In an encrypted file.
    File(SealedFile),
}

impl MessageOctets {
    /// Returns how many there are.
    pub fn length(&self) -> u64 {
        match self {
            Self::Memory(octets) => octets.len() as u64,
            Self::File(file) => file.length(),
        }
    }

    /// Returns some octets from `offset` on, at most 64 KiB; none at the end.
    ///
    /// # Errors
    /// Those of the file.
    pub(super) async fn chunk_at(&self, offset: u64) -> io::Result<Zeroizing<Vec<u8>>> {
        match self {
            Self::Memory(octets) => {
                let rest = usize::try_from(offset).ok().and_then(|offset| octets.get(offset..)).unwrap_or_default();
                Ok(Zeroizing::new(rest.get(..CHUNK).unwrap_or(rest).to_vec()))
            }
            Self::File(file) => file.chunk_at(offset).await,
        }
    }

    /// Returns the first octets, at most about `most`.
    ///
    /// # Errors
    /// Those of the file.
    pub(super) async fn beginning(&self, most: usize) -> io::Result<Vec<u8>> {
        let mut octets = Vec::new();
        while octets.len() < most {
            let chunk = self.chunk_at(octets.len() as u64).await?;
            if chunk.is_empty() {
                break;
            }
            octets.extend_from_slice(&chunk);
        }
        Ok(octets)
    }
}
