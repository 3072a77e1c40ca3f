//! Writes files that only this user can read, and replaces none without being told.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

/// Writes a file with mode 0600. With `replace`, a file that is there is replaced in one step.
///
/// # Errors
/// As the system reports them; [`io::ErrorKind::AlreadyExists`] for a file that is not to be
/// replaced.
pub(in crate::cli) fn write(path: &Path, content: &[u8], replace: bool) -> io::Result<()> {
    if !replace {
        return remove_after_error(path, create(path, content));
    }
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_os_string();
    name.push(format!(".{}.new", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = create(&temporary, content).and_then(|()| std::fs::rename(&temporary, path));
    remove_after_error(&temporary, written)
}

/// Creates a directory with mode 0700, if there is none. Those above it get the usual mode.
///
/// # Errors
/// As the system reports them, and for a directory of another user or one that others can write to.
pub(in crate::cli) fn directory(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent)?;
    }
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_ours_alone(path) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(io::Error::other("it is not a directory of this user alone. Name one that does not exist yet"))
        }
        created => created,
    }
}

/// Whether it is a directory, no link, that nobody else can write to.
#[cfg(unix)]
fn is_ours_alone(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let own = gatepost_config::user::own();
    std::fs::symlink_metadata(path).is_ok_and(|found| found.is_dir() && found.uid() == own && found.mode() & 0o022 == 0)
}

#[cfg(not(unix))]
fn is_ours_alone(path: &Path) -> bool {
    path.is_dir()
}

fn create(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Removes what was begun. A file that was there before stays.
fn remove_after_error(path: &Path, written: io::Result<()>) -> io::Result<()> {
    if written.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::AlreadyExists) {
        // It may also not have been made.
        let _ = std::fs::remove_file(path);
    }
    written
}
