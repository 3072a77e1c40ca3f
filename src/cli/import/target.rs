//! Writes files that only this user can read, and replaces none without being told.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

/// Writes a file with mode 0600. With `replace`, a file that is there is replaced in one step.
///
/// # Errors
/// As the system reports them; [`io::ErrorKind::AlreadyExists`] for a file that is not to be
/// replaced.
pub(super) fn write(path: &Path, content: &[u8], replace: bool) -> io::Result<()> {
    if !replace {
        return remove_after_error(path, create(path, content));
    }
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_os_string();
    name.push(format!(".{}.new", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = create(&temporary, content).and_then(|()| std::fs::rename(&temporary, path));
    remove_after_error(&temporary, written)
}

/// Makes a directory with mode 0700, if there is none.
///
/// # Errors
/// As the system reports them.
pub(super) fn directory(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
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
