//! A message that is not complete yet. A program may write it for hours, as cron does with the output
//! of a job, and a connection to the service does not wait that long.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt as _;

use gatepost_core::jitter;

/// Most octets that are kept in memory.
const MEMORY_OCTETS: usize = 1024 * 1024;

/// What a program has written so far: in memory, and then in a file without a name.
#[derive(Debug, Default)]
pub(super) struct Spool {
    memory: Vec<u8>,
    file: Option<File>,
    octets: u64,
}

impl Spool {
    /// Adds a piece.
    ///
    /// # Errors
    /// The temporary directory is full or not writable.
    pub(super) fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.octets += piece.len() as u64;
        self.memory.extend_from_slice(piece);
        if self.memory.len() > MEMORY_OCTETS {
            let file = match &mut self.file {
                Some(file) => file,
                None => self.file.insert(nameless()?),
            };
            file.write_all(&self.memory)?;
            self.memory.clear();
        }
        Ok(())
    }

    /// How many octets there are.
    pub(super) fn octets(&self) -> u64 {
        self.octets
    }

    /// Returns what was written, from the start.
    ///
    /// # Errors
    /// As the system reports them.
    pub(super) fn read(&mut self) -> io::Result<impl Read> {
        if let Some(file) = &mut self.file {
            file.seek(SeekFrom::Start(0))?;
        }
        let file: Box<dyn Read + '_> = match &self.file {
            Some(file) => Box::new(file),
            None => Box::new(io::empty()),
        };
        Ok(file.chain(self.memory.as_slice()))
    }
}

/// Creates a file that no other user can read, and that ends with the process.
fn nameless() -> io::Result<File> {
    let name = format!("gatepost-sendmail-{}-{:016x}", std::process::id(), jitter::random());
    let path = std::env::temp_dir().join(name);
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_more_than_once() {
        for octets in [0, 10, MEMORY_OCTETS, 3 * MEMORY_OCTETS + 7] {
            let mut spool = Spool::default();
            let content: Vec<u8> = (0..octets).map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect();
            for piece in content.chunks(65_537) {
                spool.write(piece).unwrap();
            }
            assert_eq!(spool.octets(), octets as u64);
            for _ in 0..2 {
                let mut read = Vec::new();
                spool.read().unwrap().read_to_end(&mut read).unwrap();
                assert!(read == content, "{octets}");
            }
            assert_eq!(spool.file.is_some(), octets > MEMORY_OCTETS);
        }
    }
}
