//! Directories that belong to one test and go away with it.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory of its own, removed when it is dropped. Others may pass through it: Dovecot and
/// Squid drop root.
pub(crate) struct Directory(PathBuf);

impl Directory {
    /// Makes it. The name is short, because the path of a Unix socket is at most 107 octets long.
    pub(crate) fn new() -> Self {
        Self::below(&std::env::temp_dir())
    }

    /// Makes it in memory, where there is such a place.
    pub(crate) fn in_memory() -> Self {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() { Self::below(memory) } else { Self::new() }
    }

    fn below(base: &Path) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = base.join(format!("gatepost-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Where a file of this name is, or would be.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file that only the owner may read, as some clients demand of what holds a password,
    /// and tells where.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.file(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&path).and_then(|mut file| file.write_all(content.as_ref())).unwrap();
        path
    }

    /// Writes a file as a careful operator does: whoever reads it sees the old or the new content.
    pub(crate) fn replace(&self, name: &str, content: impl AsRef<[u8]>) {
        let new = self.write(&format!("{name}.new"), content);
        fs::rename(new, self.file(name)).unwrap();
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if std::env::var_os("GATEPOST_KEEP_TEST_FILES").is_some() {
            eprintln!("kept: {}", self.0.display());
        } else if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("remove {}: {error}", self.0.display());
        }
    }
}
