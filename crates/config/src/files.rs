//! The files that a configuration was read from, with fingerprints to detect changes.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use zeroize::Zeroizing;

use super::raw::{TEXT_BYTES, TEXT_LIMIT};

/// SHA-256 of a file's content; `None`: it could not be read.
type Fingerprint = Option<[u8; 32]>;

/// Paths and fingerprints. What counts is the content at a path, whichever links lead there,
/// because mounted secrets are replaced by moving a link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files(BTreeMap<PathBuf, Fingerprint>);

impl Files {
    /// Records the result of reading `path`.
    pub(super) fn note(&mut self, path: &Path, content: &io::Result<Vec<u8>>) {
        self.0.insert(path.to_path_buf(), content.as_deref().ok().map(fingerprint));
    }

    /// The same files as they are now. Blocks, on files only.
    #[must_use]
    pub fn now(&self) -> Self {
        let look = |path: &PathBuf| {
            let content = read_file(path).map(Zeroizing::new);
            (path.clone(), content.ok().map(|content| fingerprint(&content)))
        };
        Self(self.0.keys().map(look).collect())
    }
}

fn fingerprint(content: &[u8]) -> [u8; 32] {
    let mut fingerprint = [0; 32];
    // SHA-256 gives 32 octets.
    fingerprint.copy_from_slice(digest(&SHA256, content).as_ref());
    fingerprint
}

/// A file's content, at most 1 MiB.
pub(super) fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    const MOST: u64 = TEXT_BYTES as u64;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path)?;
    if !file.metadata()?.is_file() && !is_stream(path) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
    }
    file.take(MOST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is longer than {TEXT_LIMIT}")));
    }
    Ok(bytes)
}

/// A descriptor that the caller handed over (`/dev/stdin`, `/dev/fd/63` of a shell's `<(…)`) may be
/// read, too.
pub(super) fn is_stream(path: &Path) -> bool {
    path.starts_with("/dev") || path.starts_with("/proc/self/fd")
}
