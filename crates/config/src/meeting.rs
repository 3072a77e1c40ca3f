//! Where a service and its commands meet when nothing else gives it a socket, or when its state
//! directory has changed in the configuration meanwhile.
//!
//! The place depends on the user and on the path of the configuration file alone:
//! `/run/user/UID/gatepost/HASH.sock`, or `/tmp/gatepost-UID/HASH.sock` where the user has no such
//! directory. The directory belongs to the user alone. It holds the socket, or a link to it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
#[cfg(unix)]
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};

use super::user;
#[cfg(unix)]
use gatepost_core::clock::system_time;

/// Longer than any service needs until it listens.
#[cfg(unix)]
const STARTING: Duration = Duration::from_secs(3_600);

/// Octets of the hash that are part of the name.
const HASH_OCTETS: usize = 8;

/// Directories of users that have logged in, by their id (systemd, `XDG_RUNTIME_DIR`).
const RUN: &str = "/run/user";

const TEMPORARY: &str = "/tmp";

/// What the directory's name begins with in [`TEMPORARY`].
const PREFIX: &str = "gatepost-";

/// This user's directories. They are looked for once, so that a reload does not find others.
static OWN: OnceLock<Vec<PathBuf>> = OnceLock::new();

/// Returns the places for a configuration file, this user's own first. `runtime` is
/// `$XDG_RUNTIME_DIR`. With `others` the places of the file's owner follow,
/// if this user is root.
pub(super) fn places(file: Option<&Path>, runtime: Option<&str>, others: bool) -> Vec<PathBuf> {
    if !cfg!(unix) {
        return Vec::new();
    }
    let name = name(file);
    let mut directories = OWN.get_or_init(|| own_directories(runtime)).clone();
    if others && user::own() == 0 {
        directories.extend(of_owner(file));
    }
    let mut places: Vec<PathBuf> = Vec::new();
    for place in directories.into_iter().map(|directory| directory.join(&name)) {
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places
}

fn own_directories(runtime: Option<&str>) -> Vec<PathBuf> {
    let own = user::own();
    let given = runtime.map(Path::new).filter(|given| given.is_absolute() && is_of(given, own));
    let run = Path::new(RUN).join(own.to_string());
    let mut directories: Vec<PathBuf> = given.map(|given| given.join("gatepost")).into_iter().collect();
    directories.extend(is_of(&run, own).then(|| run.join("gatepost")));
    // Anybody may have created that.
    let temporary = Path::new(TEMPORARY).join(format!("{PREFIX}{own}"));
    let is_absent = fs::symlink_metadata(&temporary).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    directories.extend((is_absent || is_of(&temporary, own)).then_some(temporary));
    directories
}

/// The directories of the user to whom the configuration file belongs. Only that user can start a
/// service with a configuration of its own, so nobody else's answer is believed: a command may send
/// a password there.
#[cfg(unix)]
fn of_owner(file: Option<&Path>) -> Vec<PathBuf> {
    use std::os::unix::fs::MetadataExt as _;
    let Some(owner) = file.and_then(|file| fs::metadata(file).ok()).map(|found| found.uid()) else { return Vec::new() };
    let run = Path::new(RUN).join(owner.to_string()).join("gatepost");
    let temporary = Path::new(TEMPORARY).join(format!("{PREFIX}{owner}"));
    [run, temporary].into_iter().filter(|path| owner != 0 && is_of(path, owner)).collect()
}

#[cfg(not(unix))]
fn of_owner(_file: Option<&Path>) -> Vec<PathBuf> {
    Vec::new()
}

/// The user whose service alone may answer at this place, if it is one of those that nobody has
/// configured. Until that user's directory is there, any other may create it.
pub fn owner(place: &Path) -> Option<u32> {
    let directory = place.parent()?;
    let number = |name: Option<&std::ffi::OsStr>, prefix: &str| name?.to_str()?.strip_prefix(prefix)?.parse().ok();
    match directory.parent()? {
        parent if parent == Path::new(TEMPORARY) => number(directory.file_name(), PREFIX),
        parent if parent.parent() == Some(Path::new(RUN)) => number(parent.file_name(), ""),
        _ => None,
    }
}

/// The name of the socket for a configuration file.
fn name(file: Option<&Path>) -> String {
    let path = file.map(real).unwrap_or_default();
    let hash = digest(&SHA256, path.as_os_str().as_encoded_bytes());
    let hash: String = hash.as_ref().iter().take(HASH_OCTETS).map(|octet| format!("{octet:02x}")).collect();
    format!("{hash}.sock")
}

/// The path without links, except for the file itself: Kubernetes replaces a mounted file by moving a
/// link.
fn real(file: &Path) -> PathBuf {
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match (fs::canonicalize(directory), file.file_name()) {
        (Ok(directory), Some(name)) => directory.join(name),
        _ => file.to_owned(),
    }
}

/// Removes links of services that were killed: those that lead nowhere. That of a service that is
/// starting leads nowhere as well, and is younger than [`STARTING`].
#[cfg(unix)]
fn remove_left_links(directory: &Path) {
    let is_old = |found: &fs::Metadata| {
        let age = found.modified().ok().and_then(|at| system_time().duration_since(at).ok());
        age.is_some_and(|age| age > STARTING)
    };
    for path in fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink() && is_old(&found)) && !path.exists() {
            // Another process may be faster.
            let _gone = fs::remove_file(&path);
        }
    }
}

/// Whether the path is a directory, no link, and its user's alone.
#[cfg(unix)]
fn is_of(path: &Path, id: u32) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::symlink_metadata(path).is_ok_and(|found| found.is_dir() && found.uid() == id && found.mode() & 0o022 == 0)
}

#[cfg(not(unix))]
fn is_of(_path: &Path, _id: u32) -> bool {
    false
}

/// A place that leads to the socket of this service. It is removed with this value, unless another
/// process has put its own there meanwhile.
#[derive(Debug)]
pub struct MeetingPlace {
    path: PathBuf,
    inode: u64,
}

impl MeetingPlace {
    /// Prepares the place `path` for a service that listens at `socket`: creates its directory, and
    /// a link if the socket is elsewhere. `None`: the socket is at the place itself.
    ///
    /// # Errors
    /// The directory cannot be created, or is not this user's alone.
    #[cfg(unix)]
    pub fn prepare(path: &Path, socket: &Path) -> io::Result<Option<Self>> {
        use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
        let Some(directory) = path.parent() else { return Ok(None) };
        match fs::DirBuilder::new().mode(0o700).create(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        if !is_of(directory, user::own()) {
            let why = format!("`{}` is not a directory of user {} alone", directory.display(), user::name(user::own()));
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        remove_left_links(directory);
        if path == socket {
            return Ok(None);
        }
        let socket = std::path::absolute(socket)?;
        // Placed at once, so that no command finds half of it. Of two services that start at once,
        // the last one has the place.
        let made = path.with_extension(format!("{}.new", std::process::id()));
        let _left = fs::remove_file(&made);
        std::os::unix::fs::symlink(&socket, &made)?;
        let inode = fs::symlink_metadata(&made)?.ino();
        fs::rename(&made, path)?;
        Ok(Some(Self { path: path.to_owned(), inode }))
    }

    /// Does nothing, because this system has no such sockets.
    ///
    /// # Errors
    /// None.
    #[cfg(not(unix))]
    pub fn prepare(_path: &Path, _socket: &Path) -> io::Result<Option<Self>> {
        Ok(None)
    }
}

#[cfg(unix)]
impl Drop for MeetingPlace {
    fn drop(&mut self) {
        use std::os::unix::fs::MetadataExt as _;
        if fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            // A link that is left leads to no service, which does no harm.
            let _left = fs::remove_file(&self.path);
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_the_users_and_the_files() {
        let own = user::own();
        let places = |file: &str| places(Some(Path::new(file)), None, false);
        let one = places("/nonexistent/a.yaml");
        assert!(one.contains(
            &Path::new(TEMPORARY).join(format!("{PREFIX}{own}")).join(name(Some("/nonexistent/a.yaml".as_ref())))
        ));
        assert_eq!(one, places("/nonexistent/a.yaml"));
        assert_ne!(one[0], places("/nonexistent/b.yaml")[0]);
        assert_eq!(name(None).len(), 2 * HASH_OCTETS + ".sock".len());
    }

    #[test]
    fn each_place_is_one_users() {
        let owner = |path: &str| owner(Path::new(path));
        assert_eq!(owner("/tmp/gatepost-65534/ab.sock"), Some(65_534));
        assert_eq!(owner("/run/user/1000/gatepost/ab.sock"), Some(1_000));
        assert_eq!(owner("/var/lib/gatepost/gatepost.sock"), None);
        assert_eq!(owner("/tmp/gatepost-x/ab.sock"), None);
    }

    #[test]
    fn a_link_leads_to_the_socket_and_goes_with_its_service() {
        let above = tempfile::tempdir().unwrap();
        let directory = above.path().join("gatepost");
        let (place, socket) = (directory.join("x.sock"), Path::new("/srv/state/gatepost.sock"));
        let first = MeetingPlace::prepare(&place, socket).unwrap().unwrap();
        assert_eq!(fs::read_link(&place).unwrap(), socket);
        for (name, age) in [("left.sock", STARTING * 2), ("starting.sock", STARTING / 2)] {
            std::os::unix::fs::symlink("nowhere", directory.join(name)).unwrap();
            let at = system_time().duration_since(std::time::UNIX_EPOCH).unwrap() - age;
            let at = rustix::fs::Timespec { tv_sec: at.as_secs().cast_signed(), tv_nsec: 0 };
            let times = rustix::fs::Timestamps { last_access: at, last_modification: at };
            let link = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
            rustix::fs::utimensat(rustix::fs::CWD, directory.join(name), &times, link).unwrap();
        }
        let second = MeetingPlace::prepare(&place, socket).unwrap();
        drop(first);
        assert_eq!(fs::read_link(&place).unwrap(), socket, "the next service has the place");
        drop(second);
        let left: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["starting.sock"], "only that of a service that may be starting");
        fs::remove_file(directory.join("starting.sock")).unwrap();
        assert!(MeetingPlace::prepare(&place, &place).unwrap().is_none());

        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(MeetingPlace::prepare(&place, socket).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }
}
