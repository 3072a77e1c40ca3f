//! Files that no other user may read or replace: the state directory, the database, the key file.
//!
//! On Unix a directory has mode 0700 and a file 0600 (or less). Both belong to the user that runs
//! Gatepost or to root, and a file is no symbolic link. On other systems permissions are not
//! checked, so the creator of the directory must keep it private.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::rand;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::file_lock::FileLock;
use gatepost_config::{suggestion, user};
use gatepost_core::clock::system_time;
use gatepost_core::system_error::Plain;

/// Name of the database in the state directory.
pub(super) const DATABASE: &str = "gatepost.sqlite";

/// Most octets read of a key file.
const KEY_FILE_OCTETS: usize = 4_096;

/// Age at which a temporary file that still has its name was left by a crash.
const LEFT_BEHIND: Duration = Duration::from_secs(60);

/// Why a file or directory cannot be used. Each problem says what to do.
#[derive(Debug, thiserror::Error)]
pub enum FileProblem {
    /// Others may read it, or write into it.
    #[error("`{}` is open to others (mode {mode:04o}). Run `chmod {wanted:o} {}`", .path.display(), .path.display())]
    OpenToOthers {
        /// Which.
        path: PathBuf,
        /// The mode that it has.
        mode: u32,
        /// The mode that it should have.
        wanted: u32,
    },
    /// It belongs to another user.
    #[error("{}", of_another(.path, *.owner, *.own))]
    Owner {
        /// Which.
        path: PathBuf,
        /// The owner's user id.
        owner: u32,
        /// The user id of this process.
        own: u32,
    },
    /// It is a symbolic link, which somebody could point elsewhere.
    #[error("`{}` is a symbolic link. Write the path that it leads to", .path.display())]
    Link {
        /// Which.
        path: PathBuf,
    },
    /// It is not a file, or not a directory.
    #[error("`{}` is not {wanted}. Name another path", .path.display())]
    Kind {
        /// Which.
        path: PathBuf,
        /// What it should be.
        wanted: &'static str,
    },
    /// An error of the system.
    #[error("{}", not_done(.doing, .path, .error))]
    Io {
        /// What was tried.
        doing: &'static str,
        /// Which.
        path: PathBuf,
        /// Why it failed.
        error: io::Error,
    },
}

/// Says what root or another user does about a store that belongs to `owner`.
fn of_another(path: &Path, owner: u32, own: u32) -> String {
    let facts =
        format!("`{}` belongs to user {}, and this is user {}", path.display(), user::name(owner), user::name(own));
    match suggestion::is_service() && own != 0 {
        // The service cannot choose its user.
        true => format!("{facts}. Run `{}`", user::give_to(own, &store_of(path))),
        false => format!("{facts}. Run the command as that user: `{} gatepost …`", user::as_user(owner)),
    }
}

fn not_done(doing: &str, path: &Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => denied(doing, path),
        _ => format!("cannot {doing} `{}`: {}", path.display(), Plain(error)),
    }
}

/// Says why this user may not do something with a path, and what to do about it.
pub(super) fn denied(doing: &str, path: &Path) -> String {
    let own = user::own();
    let facts = format!("user {} cannot {doing} `{}`", user::name(own), path.display());
    let Some((there, owner)) = path.ancestors().find_map(|there| Some((there, owner_of(there)?))) else {
        return format!("{facts}: permission denied");
    };
    if owner == own {
        return format!("{facts}: its mode or a read-only file system forbids it. Correct that");
    }
    let facts = format!("{facts}: `{}` belongs to user {}", there.display(), user::name(owner));
    let store = store_of(path);
    if store.exists() && (suggestion::is_service() || user::id_of(user::OF_SERVICE) == Some(own)) {
        format!("{facts}. Run `{}`", user::give_to(own, &store))
    } else if suggestion::is_service() {
        format!(
            "{facts}. Run `sudo install -d -m 700 -o {} {}`",
            user::name(own),
            suggestion::quoted(&store.display().to_string())
        )
    } else if owner == 0 {
        format!("{facts}. Run the command as root: `sudo gatepost …`")
    } else {
        format!("{facts}. Run the command as that user: `{} gatepost …`", user::as_user(owner))
    }
}

/// What to give to another user with a path: the state directory for what is in it, and else the
/// path alone, because the directory of a key may hold anything.
fn store_of(path: &Path) -> PathBuf {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let is_database = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(DATABASE));
    if !path.is_dir() && (is_database || parent.join(DATABASE).exists()) {
        return parent.to_owned();
    }
    path.to_owned()
}

#[cfg(unix)]
fn owner_of(path: &Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata(path).ok().map(|found| found.uid())
}

#[cfg(not(unix))]
fn owner_of(_path: &Path) -> Option<u32> {
    None
}

impl FileProblem {
    fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |error| Self::Io { doing, path, error }
    }
}

/// Creates the directory when it is absent, checks it, and returns the path without links.
pub(super) fn private_directory(path: &Path) -> Result<PathBuf, FileProblem> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_directory(path).map_err(FileProblem::io("create the directory", path))?;
            fs::symlink_metadata(path).map_err(FileProblem::io("read", path))?
        }
        Err(error) => return Err(FileProblem::io("read", path)(error)),
    };
    if found.is_symlink() {
        // systemd's `StateDirectory` with `DynamicUser` is such a link. A link that another user
        // could change is refused.
        check_link(path, &found)?;
    }
    let real = fs::canonicalize(path).map_err(FileProblem::io("read", path))?;
    let found = fs::metadata(&real).map_err(FileProblem::io("read", &real))?;
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
        Err(error) => return Err(FileProblem::io("read", path)(error)),
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

/// Reads a file whose content must stay private; `None` when there is none.
pub(super) fn read_private(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, FileProblem> {
    if !check_file(path)? {
        return Ok(None);
    }
    let file = options().read(true).open(path).map_err(FileProblem::io("open", path))?;
    // Checks again the file that was really opened.
    check_open(path, &file.metadata().map_err(FileProblem::io("read", path))?)?;
    read_bounded(file).map(Some).map_err(FileProblem::io("read", path))
}

/// Reads a small file as it is, without a check of its mode.
pub(super) fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    read_bounded(File::open(path)?)
}

fn read_bounded(file: File) -> io::Result<Zeroizing<Vec<u8>>> {
    // Reserves room for everything at once, because a buffer that grows leaves copies behind.
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

/// Creates a file that must not exist yet, durably. Returns false when it exists. At no moment does
/// the file exist without its content.
pub(super) fn create_private(path: &Path, content: &[u8]) -> Result<bool, FileProblem> {
    let temporary = write_beside(path, content)?;
    let linked = fs::hard_link(&temporary, path);
    fs::remove_file(&temporary).map_err(FileProblem::io("write", path))?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        linked => linked.and_then(|()| sync_directory(path)).map(|()| true).map_err(FileProblem::io("create", path)),
    }
}

/// Replaces the content of a file. After a power cut it has the old or the new one.
pub(super) fn replace_private(path: &Path, content: &[u8]) -> Result<(), FileProblem> {
    let temporary = write_beside(path, content)?;
    let replace = || {
        fs::rename(&temporary, path)?;
        sync_directory(path)
    };
    replace().map_err(|error| {
        // It may hold a key, so it is removed. It need not exist.
        let _gone = fs::remove_file(&temporary);
        FileProblem::io("replace", path)(error)
    })
}

/// Writes a file beside `path`, durably. Its name is random. Process ids would not do, because
/// containers that share a directory have the same ones.
fn write_beside(path: &Path, content: &[u8]) -> Result<PathBuf, FileProblem> {
    let mut random = [0; 8];
    rand::fill(&mut random).map_err(|_| FileProblem::io("create", path)(io::ErrorKind::Other.into()))?;
    let temporary = beside(path, &format!(".{:016x}.new", u64::from_be_bytes(random)));
    let write = || {
        let mut file = options().write(true).create_new(true).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()
    };
    write().map_err(|error| {
        // A partial file is useless, so it is removed. It need not exist.
        let _gone = fs::remove_file(&temporary);
        // Nobody knows the temporary name.
        FileProblem::io("write", path)(error)
    })?;
    Ok(temporary)
}

/// Creates a directory for [`nameless`] files if it is missing, and removes what is older than a
/// minute of those that did not lose their names.
pub(super) fn prepare_nameless(directory: &Path) -> io::Result<()> {
    private_directory(directory).map_err(io::Error::other)?;
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let is_ours = path.extension().is_some_and(|extension| extension == "temporary")
            && stem.len() == 16
            && stem.bytes().all(|octet| octet.is_ascii_hexdigit());
        let is_old = || {
            let modified = fs::symlink_metadata(&path).and_then(|found| found.modified()).ok();
            // After the clock was set back, another start removes it.
            modified.is_some_and(|at| system_time().duration_since(at).is_ok_and(|age| age > LEFT_BEHIND))
        };
        if is_ours && is_old() {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Creates a file that has no name any more when this returns.
pub(super) fn nameless(directory: &Path) -> io::Result<File> {
    let mut random = [0; 8];
    rand::fill(&mut random).map_err(|_| io::Error::from(io::ErrorKind::Other))?;
    let path = directory.join(format!("{:016x}.temporary", u64::from_be_bytes(random)));
    let file = options().read(true).write(true).create_new(true).open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

/// Creates a file, and locks it so that nobody takes it for a leftover.
pub(super) fn create_locked(path: &Path) -> io::Result<File> {
    let file = options().read(true).write(true).create_new(true).open(path)?;
    file.try_lock()?;
    // Somebody may have locked and removed it before.
    match path.exists() {
        true => Ok(file),
        false => Err(io::ErrorKind::Interrupted.into()),
    }
}

/// Locks a file that is there. `None`: it is gone, or somebody else has it locked.
pub(super) fn lock_present(path: &Path) -> io::Result<Option<FileLock>> {
    match options().read(true).write(true).open(path) {
        Ok(file) => FileLock::take(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens a file for reading.
pub(super) fn open_private(path: &Path) -> io::Result<File> {
    options().read(true).open(path)
}

/// Octets that this user may still write to the disk of a path.
#[cfg(unix)]
pub(super) fn free_space(path: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(path)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Not known here.
#[cfg(not(unix))]
pub(super) fn free_space(_path: &Path) -> io::Result<u64> {
    Ok(u64::MAX)
}

/// Reads from a place in a file, whatever its own position is.
#[cfg(unix)]
pub(super) fn read_exact_at(file: &File, into: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, into, offset)
}

/// Reads from a place in a file.
#[cfg(windows)]
pub(super) fn read_exact_at(file: &File, mut into: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !into.is_empty() {
        let read = std::os::windows::fs::FileExt::seek_read(file, into, offset)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        (into, offset) = (into.split_at_mut(read).1, offset + read as u64);
    }
    Ok(())
}

/// Takes the right to change `path`. `None`: another task has it, in this process or in another
/// one. The lock file stays, because two could have the right if it were removed.
pub(super) fn lock(path: &Path) -> Result<Option<FileLock>, FileProblem> {
    let path = beside(path, ".lock");
    let file =
        options().write(true).create(true).truncate(false).open(&path).map_err(FileProblem::io("open", &path))?;
    check_open(&path, &file.metadata().map_err(FileProblem::io("read", &path))?)?;
    FileLock::take(file).map_err(FileProblem::io("lock", &path))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// A new name is durable only after its directory is synced.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

/// Runs work that may be slow, such as disk access or a command, outside the async threads.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// Limit of an access to a file: long enough for a busy disk, short enough to tell a client.
pub(super) const DISK: Duration = Duration::from_secs(60);

/// Like [`blocking`], but waits for the disk at most for [`DISK`]. The work goes on all the same.
pub(super) async fn in_time<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    timeout(DISK, blocking(work)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
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

/// Creates the parent directory of a file when it is absent.
pub(super) fn make_parent(path: &Path) -> Result<(), FileProblem> {
    match path.parent() {
        Some(parent) if !parent.exists() => {
            make_directory(parent).map_err(FileProblem::io("create the directory", parent))
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

#[cfg(test)]
mod tests;
