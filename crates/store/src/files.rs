//! Files that nobody else may read or replace: the state directory, the database, the key file.
//!
//! On Unix a directory has mode 0700 and a file 0600 (or less), both belong to the user that runs Gatepost or to root, and a
//! file is no symbolic link. Elsewhere the directory is as private as whoever made it saw to it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use zeroize::Zeroizing;

/// Most octets read of a key file.
const KEY_FILE_OCTETS: usize = 4_096;

/// What is wrong with a file or directory. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum FileProblem {
    /// Others may read it, or write into it.
    #[error("`{}` is open to others (mode {mode:04o}); take that away with `chmod {wanted:o} {}`", .path.display(), .path.display())]
    OpenToOthers {
        /// Which.
        path: PathBuf,
        /// The mode that it has.
        mode: u32,
        /// The mode that it should have.
        wanted: u32,
    },
    /// It belongs to somebody else.
    #[error("`{}` belongs to user {owner}, and Gatepost runs as user {own}; give it away with `chown {own} {}`", .path.display(), .path.display())]
    Owner {
        /// Which.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        own: u32,
    },
    /// A symbolic link leads to it, which somebody could turn elsewhere.
    #[error("`{}` is a symbolic link; write the path that it leads to", .path.display())]
    Link {
        /// Which.
        path: PathBuf,
    },
    /// Not a file, or not a directory.
    #[error("`{}` is not {wanted}; name another path", .path.display())]
    Kind {
        /// Which.
        path: PathBuf,
        /// What it should be.
        wanted: &'static str,
    },
    /// The system's words.
    #[error("{doing} `{}`: {source}; the user that runs Gatepost must be able to do that", .path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// Which.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl FileProblem {
    fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { doing, path, source }
    }
}

/// Makes the directory when it is absent, checks it, and gives the path without links.
pub(super) fn private_directory(path: &Path) -> Result<PathBuf, FileProblem> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_directory(path).map_err(FileProblem::io("make the directory", path))?;
            fs::symlink_metadata(path).map_err(FileProblem::io("look at", path))?
        }
        Err(error) => return Err(FileProblem::io("look at", path)(error)),
    };
    if found.is_symlink() {
        // systemd's `StateDirectory` with `DynamicUser` is such a link; who else could turn it is refused.
        check_link(path, &found)?;
    }
    let real = fs::canonicalize(path).map_err(FileProblem::io("look at", path))?;
    let found = fs::metadata(&real).map_err(FileProblem::io("look at", &real))?;
    if !found.is_dir() {
        return Err(FileProblem::Kind { path: real, wanted: "a directory" });
    }
    check_private(&real, &found, 0o700)?;
    Ok(real)
}

/// Checks a file that may be absent; true when it is there.
pub(super) fn check_file(path: &Path) -> Result<bool, FileProblem> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(FileProblem::io("look at", path)(error)),
    };
    check_open(path, &found)?;
    Ok(true)
}

fn check_open(path: &Path, found: &fs::Metadata) -> Result<(), FileProblem> {
    if found.is_symlink() {
        return Err(FileProblem::Link { path: path.to_path_buf() });
    }
    if !found.is_file() {
        return Err(FileProblem::Kind { path: path.to_path_buf(), wanted: "a file" });
    }
    check_private(path, found, 0o600)
}

/// Reads a file of which nobody else may know the content; `None` when there is none.
pub(super) fn read_private(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, FileProblem> {
    if !check_file(path)? {
        return Ok(None);
    }
    let file = options().read(true).open(path).map_err(FileProblem::io("open", path))?;
    // Once more, of what was really opened.
    check_open(path, &file.metadata().map_err(FileProblem::io("look at", path))?)?;
    read_bounded(file).map(Some).map_err(FileProblem::io("read", path))
}

/// Reads a small file as it is; its modes are somebody else's business.
pub(super) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, FileProblem> {
    let file = File::open(path).map_err(FileProblem::io("open", path))?;
    read_bounded(file).map_err(FileProblem::io("read", path))
}

fn read_bounded(file: File) -> io::Result<Zeroizing<Vec<u8>>> {
    // Room for everything at once: a buffer that grows leaves copies behind.
    let mut content = Zeroizing::new(Vec::with_capacity(KEY_FILE_OCTETS + 1));
    file.take(KEY_FILE_OCTETS as u64 + 1).read_to_end(&mut content)?;
    if content.len() > KEY_FILE_OCTETS {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "it is longer than 4 KiB, the most that Gatepost reads",
        ));
    }
    Ok(content)
}

/// Makes a file that must not exist yet, durably; false when it exists. It is never there without its content, whatever
/// happens meanwhile.
pub(super) fn create_private(path: &Path, content: &[u8]) -> Result<bool, FileProblem> {
    let temporary = write_beside(path, content)?;
    let linked = fs::hard_link(&temporary, path);
    fs::remove_file(&temporary).map_err(FileProblem::io("remove", &temporary))?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        linked => linked.and_then(|()| sync_directory(path)).map(|()| true).map_err(FileProblem::io("make", path)),
    }
}

/// Puts new content in the place of a file: after a power cut it has the old or the new one.
pub(super) fn replace_private(path: &Path, content: &[u8]) -> Result<(), FileProblem> {
    let temporary = write_beside(path, content)?;
    let replace = || {
        fs::rename(&temporary, path)?;
        sync_directory(path)
    };
    replace().map_err(|error| {
        // It may hold a key; that it may not be there is fine.
        let _gone = fs::remove_file(&temporary);
        FileProblem::io("replace", path)(error)
    })
}

/// Writes a file beside `path`, durably. Its name is random: process ids are no names, because containers that share a
/// directory have the same ones.
fn write_beside(path: &Path, content: &[u8]) -> Result<PathBuf, FileProblem> {
    let mut random = [0; 8];
    rand::fill(&mut random).map_err(|_| FileProblem::io("name a file beside", path)(io::ErrorKind::Other.into()))?;
    let temporary = beside(path, &format!(".{:016x}.new", u64::from_be_bytes(random)));
    let write = || {
        let mut file = options().write(true).create_new(true).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()
    };
    write().map_err(|error| {
        // Half of it is of no use; that it may not be there is fine.
        let _gone = fs::remove_file(&temporary);
        FileProblem::io("make", &temporary)(error)
    })?;
    Ok(temporary)
}

/// The right to change a file, until it is dropped or the process ends.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "the lock lasts as long as its file is open")] File);

/// Takes the right to change `path`; `None`: somebody else has it, here or in another process. The file of the lock stays,
/// because two could have the right if it were removed.
pub(super) fn lock(path: &Path) -> Result<Option<Lock>, FileProblem> {
    let path = beside(path, ".lock");
    let file =
        options().write(true).create(true).truncate(false).open(&path).map_err(FileProblem::io("open", &path))?;
    check_open(&path, &file.metadata().map_err(FileProblem::io("look at", &path))?)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Lock(file))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(FileProblem::io("lock", &path)(error)),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// A name is durable when its directory is.
fn sync_directory(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

/// Disks may be slow and commands are: not on an async thread.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

#[cfg(unix)]
fn options() -> OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = OpenOptions::new();
    options.mode(0o600).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    options
}

#[cfg(not(unix))]
fn options() -> OpenOptions {
    OpenOptions::new()
}

/// Makes the directory that a file is to be in, when it is absent.
pub(super) fn make_parent(path: &Path) -> Result<(), FileProblem> {
    match path.parent() {
        Some(parent) if !parent.exists() => {
            make_directory(parent).map_err(FileProblem::io("make the directory", parent))
        }
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn make_directory(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(not(unix))]
fn make_directory(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

#[cfg(unix)]
fn check_link(path: &Path, found: &fs::Metadata) -> Result<(), FileProblem> {
    use std::os::unix::fs::MetadataExt;
    if found.uid() == 0 { Ok(()) } else { Err(FileProblem::Link { path: path.to_path_buf() }) }
}

#[cfg(not(unix))]
fn check_link(path: &Path, _found: &fs::Metadata) -> Result<(), FileProblem> {
    Err(FileProblem::Link { path: path.to_path_buf() })
}

#[cfg(unix)]
fn check_private(path: &Path, found: &fs::Metadata, wanted: u32) -> Result<(), FileProblem> {
    use std::os::unix::fs::MetadataExt;
    let (mode, owner, own) = (found.mode() & 0o7777, found.uid(), rustix::process::geteuid().as_raw());
    if owner != own && owner != 0 {
        return Err(FileProblem::Owner { path: path.to_path_buf(), owner, own });
    }
    if mode & 0o077 != 0 {
        return Err(FileProblem::OpenToOthers { path: path.to_path_buf(), mode, wanted });
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_private(_path: &Path, _found: &fs::Metadata, _wanted: u32) -> Result<(), FileProblem> {
    Ok(())
}
