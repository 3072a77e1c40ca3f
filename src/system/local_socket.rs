//! A Unix socket of the service. The next process puts its own socket at the same path.

use std::fs;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

/// A listening socket. Its file is removed with it, unless another process has put its own there
/// meanwhile.
#[derive(Debug)]
pub(crate) struct LocalSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Where the socket is until it is put in its place.
    waiting: Option<PathBuf>,
    inode: u64,
}

impl LocalSocket {
    /// Binds the socket for the service's own user, in its place.
    ///
    /// # Errors
    /// As [`LocalSocket::prepare`].
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        let mut socket = Self::prepare(path, 0o600)?;
        socket.place()?;
        Ok(socket)
    }

    /// Binds the socket with this mode, beside the place that it is for.
    ///
    /// # Errors
    /// The directory is not writable, or something other than a socket is in the place.
    pub(crate) fn prepare(path: &Path, mode: u32) -> io::Result<Self> {
        if fs::symlink_metadata(path).is_ok_and(|found| !found.file_type().is_socket()) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something that is no socket is there"));
        }
        let made = beside(path);
        let listener = UnixListener::bind(&made)?;
        let prepared = fs::set_permissions(&made, fs::Permissions::from_mode(mode)).and_then(|()| inode(&made));
        match prepared {
            Ok(inode) => Ok(Self { listener, path: path.to_owned(), waiting: Some(made), inode }),
            Err(error) => {
                let _gone = fs::remove_file(&made);
                Err(error)
            }
        }
    }

    /// Puts the socket in its place, and so replaces one that a former process left behind or an
    /// ending process still has. The new one appears at once, and with its mode.
    ///
    /// # Errors
    /// As the system reports them.
    pub(crate) fn place(&mut self) -> io::Result<()> {
        if let Some(made) = &self.waiting {
            fs::rename(made, &self.path)?;
            self.waiting = None;
        }
        Ok(())
    }

    /// Accepts the next connection of any user, and returns it with the id of the user.
    ///
    /// # Errors
    /// As the system reports them.
    ///
    /// # Cancel safety
    /// No connection is lost.
    pub(crate) async fn accept_any(&self) -> io::Result<(UnixStream, u32)> {
        let (stream, _) = self.listener.accept().await?;
        let user = stream.peer_cred()?.uid();
        Ok((stream, user))
    }

    /// Accepts the next connection, and returns it with the id of its user; `None` for a connection
    /// of a user other than root and the service's own, which is closed. Where the system respects
    /// the mode of sockets, the mode keeps others out already.
    ///
    /// # Errors
    /// As the system reports them.
    ///
    /// # Cancel safety
    /// No connection is lost.
    pub(crate) async fn accept(&self) -> io::Result<Option<(UnixStream, u32)>> {
        let (stream, user) = self.accept_any().await?;
        let own = rustix::process::geteuid().as_raw();
        // Root could do anything anyway.
        Ok((user == own || user == 0).then_some((stream, user)))
    }
}

impl Drop for LocalSocket {
    fn drop(&mut self) {
        if let Some(made) = &self.waiting {
            let _gone = fs::remove_file(made);
            return;
        }
        let is_ours = |path: &Path| inode(path).is_ok_and(|found| found == self.inode);
        if !is_ours(&self.path) {
            return;
        }
        let aside = beside(&self.path);
        // Moved first, because another process may put its own socket there between the check and
        // the removal.
        if fs::rename(&self.path, &aside).is_ok() {
            if !is_ours(&aside) {
                let _back = fs::hard_link(&aside, &self.path);
            }
            let _gone = fs::remove_file(&aside);
        }
    }
}

fn inode(path: &Path) -> io::Result<u64> {
    fs::symlink_metadata(path).map(|found| found.ino())
}

/// Returns a path that no other process uses. Process ids are not unique: containers that share a
/// directory have the same ones.
fn beside(path: &Path) -> PathBuf {
    // Not from aws-lc: its first random number takes as long as all the rest of the start.
    let random = RandomState::new().build_hasher().finish();
    let mut name = path.as_os_str().to_owned();
    // Short, because such a path has at most 107 octets.
    name.push(format!(".{:06x}", random >> 40));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn of_many_that_bind_at_once_each_listens_and_one_has_the_place() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let path = directory.join("s");
        for round in 0..50 {
            let bound: Vec<_> = (0..4)
                .map(|_| {
                    let path = path.clone();
                    tokio::task::spawn_blocking(move || LocalSocket::bind(&path))
                })
                .collect();
            let mut sockets = Vec::new();
            for socket in bound {
                sockets.push(socket.await.unwrap().unwrap_or_else(|error| panic!("round {round}: {error}")));
            }
            let present = inode(&path).unwrap();
            let (of_place, others): (Vec<_>, Vec<_>) = sockets.into_iter().partition(|one| one.inode == present);
            assert_eq!(of_place.len(), 1);
            drop(others);
            assert_eq!(names(directory), ["s"], "the one in the place stays");
            let (connected, accepted) = tokio::join!(UnixStream::connect(&path), of_place[0].accept());
            assert!(connected.is_ok() && accepted.unwrap().is_some());
            drop(of_place);
            assert_eq!(names(directory), [""; 0]);
        }
    }

    #[tokio::test]
    async fn what_is_no_socket_stays() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        fs::write(directory.join("s"), "mine").unwrap();
        assert_eq!(LocalSocket::bind(&directory.join("s")).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(directory.join("s")).unwrap(), b"mine");
    }
}
