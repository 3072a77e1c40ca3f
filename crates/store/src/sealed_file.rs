//! Encrypted files of any length that are written once, in order, and then read from any place.
//!
//! The content is cut into segments of 64 KiB, each sealed with AES-256-GCM. The nonce is the number
//! of the segment and whether it is the last one (the STREAM construction of Hoang, Reyhanitabar,
//! Rogaway and Vizár, 2015). So a file whose segments were altered, exchanged, cut off or added to
//! does not open. Each file has a key of its own, because nonces repeat from file to file.
//!
//! At most one segment is in memory.

use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;
use zeroize::Zeroizing;

use super::files::{self, blocking, in_time};
use super::seal::KEY_OCTETS;

/// Plain octets of a segment. Only the last one has less.
pub const SEGMENT: usize = 64 * 1_024;

const TAG: usize = 16;

/// Begins every file, and every segment is bound to it. The last octet is the format.
const HEADER: [u8; 8] = *b"gpfile\x00\x01";

/// The key of one file. It must never be used for a second one.
pub(super) struct FileKey(LessSafeKey);

impl FileKey {
    pub(super) fn new(octets: &[u8; KEY_OCTETS]) -> Result<Self, Unspecified> {
        Ok(Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, octets)?)))
    }

    fn random() -> Result<Self, Unspecified> {
        let mut octets = Zeroizing::new([0; KEY_OCTETS]);
        rand::fill(&mut octets[..])?;
        Self::new(&octets)
    }
}

impl fmt::Debug for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileKey(…)")
    }
}

/// A file that is being written.
#[derive(Debug)]
pub struct SealedWriter {
    /// `None` after a failure, or while a call that was dropped is still at work.
    parts: Option<Box<Parts>>,
    length: u64,
}

#[derive(Debug)]
struct Parts {
    file: File,
    key: FileKey,
    /// The present segment. Its room is reserved once, because a buffer that grows leaves copies
    /// behind.
    segment: Zeroizing<Vec<u8>>,
    number: u32,
}

impl SealedWriter {
    /// Begins an empty file.
    pub(super) fn new(mut file: File, key: FileKey) -> io::Result<Self> {
        file.write_all(&HEADER)?;
        let segment = Zeroizing::new(Vec::with_capacity(SEGMENT + TAG));
        Ok(Self { parts: Some(Box::new(Parts { file, key, segment, number: 0 })), length: 0 })
    }

    /// Prepares a directory for [`SealedWriter::temporary`]: creates it if it is missing, and removes
    /// files that a crash left in the moment before they lost their names.
    ///
    /// # Errors
    /// Those of the file system.
    pub async fn prepare(directory: &Path) -> io::Result<()> {
        let directory = directory.to_path_buf();
        blocking(move || files::prepare_nameless(&directory)).await
    }

    /// Begins a file without a name in `directory`, which must exist and be private. Its key is in
    /// memory only, and it is gone with the last handle or the process.
    ///
    /// # Errors
    /// Those of the file system.
    pub async fn temporary(directory: &Path) -> io::Result<Self> {
        let directory = directory.to_path_buf();
        blocking(move || {
            let key = FileKey::random().map_err(|_| io::Error::other("no random numbers are to be had"))?;
            Self::new(files::nameless(&directory)?, key)
        })
        .await
    }

    /// How many octets were written.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Appends to the content.
    ///
    /// # Errors
    /// Those of the file system. After an error nothing more can be written.
    ///
    /// # Cancel safety
    /// If the call is dropped, nothing more can be written.
    pub async fn write(&mut self, mut octets: &[u8]) -> io::Result<()> {
        while !octets.is_empty() {
            let mut parts = self.parts.take().ok_or_else(broken)?;
            if parts.segment.len() == SEGMENT {
                parts = in_time(move || parts.seal(false).map(|()| parts)).await?;
            }
            let (now, later) = octets.split_at(octets.len().min(SEGMENT.saturating_sub(parts.segment.len())));
            parts.segment.extend_from_slice(now);
            self.length = self.length.saturating_add(now.len() as u64);
            self.parts = Some(parts);
            octets = later;
        }
        Ok(())
    }

    /// Ends the file. Its content can be read, but it is not yet durable.
    ///
    /// # Errors
    /// Those of the file system.
    pub async fn finish(self) -> io::Result<SealedFile> {
        in_time(move || self.finish_now()).await
    }

    pub(super) fn finish_now(mut self) -> io::Result<SealedFile> {
        let mut parts = self.parts.take().ok_or_else(broken)?;
        parts.seal(true)?;
        let Parts { file, key, .. } = *parts;
        Ok(SealedFile(Arc::new(Inner { file, key, length: self.length })))
    }
}

impl Parts {
    fn seal(&mut self, last: bool) -> io::Result<()> {
        let nonce = nonce(self.number, last);
        let tag = self.key.0.seal_in_place_separate_tag(nonce, Aad::from(HEADER), &mut self.segment);
        self.segment.extend_from_slice(tag.map_err(|_| too_long())?.as_ref());
        self.file.write_all(&self.segment)?;
        self.segment.clear();
        self.number = self.number.checked_add(1).ok_or_else(too_long)?;
        Ok(())
    }
}

/// A file that was written. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SealedFile(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: File,
    key: FileKey,
    length: u64,
}

impl SealedFile {
    /// Opens a file, and checks that its end is there.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`]: it is damaged. Others are those of the file system.
    pub(super) fn open(file: File, key: FileKey) -> io::Result<Self> {
        let sealed = file.metadata()?.len().checked_sub(HEADER.len() as u64).ok_or_else(damaged)?;
        let mut header = HEADER;
        files::read_exact_at(&file, &mut header, 0)?;
        let whole = (SEGMENT + TAG) as u64;
        let (segments, rest) = (sealed / whole, sealed % whole);
        let tags = (segments + u64::from(rest > 0)) * TAG as u64;
        // Only the one segment of an empty file is empty.
        let whole_segments = rest == 0 && segments > 0;
        if header != HEADER || !(whole_segments || rest > TAG as u64 || sealed == TAG as u64) {
            return Err(damaged());
        }
        let opened = Self(Arc::new(Inner { file, key, length: sealed.saturating_sub(tags) }));
        opened.segment(opened.last())?;
        Ok(opened)
    }

    /// How many octets it has.
    pub fn length(&self) -> u64 {
        self.0.length
    }

    /// Returns the octets from `offset` to the end of their segment; empty at the end of the file.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`]: it is damaged. Others are those of the file system.
    pub async fn chunk_at(&self, offset: u64) -> io::Result<Zeroizing<Vec<u8>>> {
        let this = self.clone();
        in_time(move || this.chunk_now(offset)).await
    }

    /// Like [`Self::chunk_at`], but blocks.
    ///
    /// # Errors
    /// As there.
    pub fn chunk_now(&self, offset: u64) -> io::Result<Zeroizing<Vec<u8>>> {
        if offset >= self.length() {
            return Ok(Zeroizing::default());
        }
        let number = u32::try_from(offset / SEGMENT as u64).map_err(|_| damaged())?;
        let mut plain = self.segment(number)?;
        let skipped = usize::try_from(offset % SEGMENT as u64).map_err(|_| damaged())?;
        if skipped > 0 {
            plain = Zeroizing::new(plain.get(skipped..).ok_or_else(damaged)?.to_vec());
        }
        Ok(plain)
    }

    /// Writes what is in memory to the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.0.file.sync_all()
    }

    /// The number of the last segment. An empty file has one.
    fn last(&self) -> u32 {
        let number = self.length().saturating_sub(1) / SEGMENT as u64;
        // The writer allows no more.
        u32::try_from(number).unwrap_or(u32::MAX)
    }

    fn segment(&self, number: u32) -> io::Result<Zeroizing<Vec<u8>>> {
        let Inner { file, key, length } = &*self.0;
        let begins = u64::from(number) * SEGMENT as u64;
        let plain = length.checked_sub(begins).ok_or_else(damaged)?.min(SEGMENT as u64);
        let size = usize::try_from(plain).map_err(|_| damaged())? + TAG;
        let mut segment = Zeroizing::new(vec![0; size]);
        files::read_exact_at(file, &mut segment, HEADER.len() as u64 + u64::from(number) * (SEGMENT + TAG) as u64)?;
        let nonce = nonce(number, number == self.last());
        let plain = key.0.open_in_place(nonce, Aad::from(HEADER), &mut segment).map_err(|_| damaged())?.len();
        segment.truncate(plain);
        Ok(segment)
    }
}

fn nonce(number: u32, last: bool) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    let (_, counted) = nonce.split_at_mut(NONCE_LEN - 5);
    let (counter, flag) = counted.split_at_mut(4);
    counter.copy_from_slice(&number.to_be_bytes());
    flag.copy_from_slice(&[u8::from(last)]);
    Nonce::assume_unique_for_key(nonce)
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it is damaged")
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, "it is too long")
}

fn broken() -> io::Error {
    io::Error::other("an earlier write failed or was broken off")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::sample::directory;
    use proptest::prelude::*;

    /// A file of this content, sealed under a known key.
    async fn sealed(path: &Path, content: &[u8], pieces: usize) {
        let file = File::create_new(path).unwrap();
        let mut writer = SealedWriter::new(file, FileKey::new(&[7; KEY_OCTETS]).unwrap()).unwrap();
        for piece in content.chunks(pieces) {
            writer.write(piece).await.unwrap();
        }
        assert_eq!(writer.length(), content.len() as u64);
        assert_eq!(all(&writer.finish().await.unwrap()).unwrap(), content);
    }

    fn opened(path: &Path) -> io::Result<SealedFile> {
        SealedFile::open(File::open(path).unwrap(), FileKey::new(&[7; KEY_OCTETS]).unwrap())
    }

    fn all(file: &SealedFile) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        loop {
            match file.chunk_now(content.len() as u64)? {
                chunk if chunk.is_empty() => return Ok(content),
                chunk => content.extend_from_slice(&chunk),
            }
        }
    }

    fn read(path: &Path) -> io::Result<Vec<u8>> {
        all(&opened(path)?)
    }

    fn content(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at % 251) as u8 ^ (at / SEGMENT) as u8).collect()
    }

    #[tokio::test]
    async fn what_was_written_is_read_from_any_place_and_is_nowhere_in_the_clear() {
        let above = directory();
        let directory = above.path();
        for length in [0, 1, SEGMENT - 1, SEGMENT, SEGMENT + 1, 3 * SEGMENT, 3 * SEGMENT + 100] {
            let (path, content) = (directory.join(length.to_string()), content(length));
            sealed(&path, &content, 10_007).await;
            let file = opened(&path).unwrap();
            assert_eq!(file.length(), length as u64);
            assert_eq!(all(&file).unwrap(), content);
            for offset in [0, 1, SEGMENT - 1, SEGMENT, SEGMENT + 1, 2 * SEGMENT + 5, length, length + 1] {
                let chunk = file.chunk_at(offset as u64).await.unwrap();
                let end = length.min((offset / SEGMENT + 1) * SEGMENT);
                assert_eq!(&chunk[..], content.get(offset..end).unwrap_or_default(), "{length} at {offset}");
            }
            let raw = fs::read(&path).unwrap();
            assert!(length < 16 || !raw.windows(16).any(|window| window == &content[..16]));
        }
    }

    #[tokio::test]
    async fn a_file_that_was_cut_added_to_or_put_into_another_order_does_not_open() {
        let above = directory();
        let directory = above.path();
        let (path, changed) = (directory.join("whole"), directory.join("changed"));
        sealed(&path, &content(3 * SEGMENT), 70_000).await;
        let raw = fs::read(&path).unwrap();
        let sealed_segment = SEGMENT + TAG;
        for length in (0..raw.len()).step_by(9_973).chain([7, 8, 9, 23, 24, 8 + sealed_segment, raw.len() - 1]) {
            fs::write(&changed, &raw[..length]).unwrap();
            assert!(read(&changed).is_err(), "cut to {length}");
        }
        for more in [1, TAG, sealed_segment] {
            fs::write(&changed, [&raw[..], &raw[8..8 + more]].concat()).unwrap();
            assert!(read(&changed).is_err(), "{more} more");
        }
        let segments: Vec<&[u8]> = raw[8..].chunks(sealed_segment).collect();
        for order in [[1, 0, 2], [0, 2, 1], [0, 0, 2], [2, 1, 0]] {
            let moved: Vec<u8> = order.iter().flat_map(|at| segments[*at]).copied().collect();
            fs::write(&changed, [&raw[..8], &moved].concat()).unwrap();
            assert!(read(&changed).is_err(), "{order:?}");
        }
        fs::write(&changed, &raw).unwrap();
        let other = SealedFile::open(File::open(&changed).unwrap(), FileKey::new(&[8; KEY_OCTETS]).unwrap());
        assert_eq!(other.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn a_temporary_file_has_no_name() {
        let above = directory();
        let directory = above.path();
        let mut writer = SealedWriter::temporary(directory).await.unwrap();
        writer.write(&content(100_000)).await.unwrap();
        assert_eq!(fs::read_dir(directory).unwrap().count(), 0);
        assert_eq!(all(&writer.finish().await.unwrap()).unwrap(), content(100_000));
    }

    #[tokio::test]
    async fn what_a_crash_left_is_removed_and_nothing_else() {
        let above = directory();
        let directory = above.path();
        let files = ["0123456789abcdef.temporary", "0123456789abcde0.temporary", "other.temporary", "state.sqlite"];
        for (number, name) in files.into_iter().enumerate() {
            let file = fs::File::create(directory.join(name)).unwrap();
            if number != 1 {
                let old = gatepost_core::clock::system_time() - std::time::Duration::from_secs(120);
                file.set_modified(old).unwrap();
            }
        }
        SealedWriter::prepare(directory).await.unwrap();
        let mut left: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [files[1], files[2], files[3]]);
        fs::remove_dir_all(directory).unwrap();
        SealedWriter::prepare(directory).await.unwrap();
        assert_eq!(fs::read_dir(directory).unwrap().count(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_changed_bit_is_seen(length in 0..2 * SEGMENT + 50, at: prop::sample::Index, bit in 0..8_u8) {
            let directory = directory();
            let path = directory.path().join("file");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(sealed(&path, &content(length), 8_191));
            let mut raw = fs::read(&path).unwrap();
            let at = at.index(raw.len());
            raw[at] ^= 1 << bit;
            fs::write(&path, raw).unwrap();
            prop_assert!(read(&path).is_err());
        }
    }
}
