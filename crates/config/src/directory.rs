//! Directories as this process sees them: whose they are, and whether it can write there.

use std::path::{Path, PathBuf};

/// A directory as this process sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryState {
    /// The id of its user.
    pub owner: u32,
    /// Whether this process can write into it.
    pub is_writable: bool,
    /// A file in it that belongs to another user, and the id of that user.
    pub stranger: Option<(PathBuf, u32)>,
}

impl DirectoryState {
    /// Looks at a directory. `None`: it is absent, or cannot be looked at.
    #[cfg(unix)]
    pub(super) fn of(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let found = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_dir)?;
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        let of_entry = |entry: std::fs::DirEntry| Some((entry.path(), entry.metadata().ok()?.uid()));
        let stranger = entries.filter_map(of_entry).filter(|(_, owner)| *owner != found.uid()).min();
        Some(Self { owner: found.uid(), is_writable: is_writable(path), stranger })
    }

    /// Returns nothing, because this system has no such users.
    #[cfg(not(unix))]
    pub(super) fn of(_path: &Path) -> Option<Self> {
        None
    }
}

/// Whether the directory exists and this process may write into it.
#[cfg(unix)]
pub(super) fn is_writable(path: &Path) -> bool {
    use rustix::fs::{Access, access};
    path.is_dir() && access(path, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

/// Whether the directory exists and this process may write into it, which is not known here.
#[cfg(not(unix))]
pub(super) fn is_writable(_path: &Path) -> bool {
    false
}

/// Whether this process may create the directory, with those above it. The nearest one that is there
/// decides.
#[cfg(unix)]
pub(super) fn may_create(path: &Path) -> bool {
    let mut above =
        path.ancestors().skip(1).map(|above| if above.as_os_str().is_empty() { Path::new(".") } else { above });
    above.find(|above| above.exists()).is_some_and(is_writable)
}

/// Whether this process may create the directory, as far as is known here.
#[cfg(not(unix))]
pub(super) fn may_create(_path: &Path) -> bool {
    true
}
