//! A Unix socket of the service, for its own user and for root. The next process puts its own
//! socket at the same path.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use tokio::net::{UnixListener, UnixStream};

/// A listening socket. Its file is removed with it, unless another process has put its own there
/// meanwhile.
#[derive(Debug)]
pub(crate) struct LocalSocket {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

impl LocalSocket {
    /// Binds the socket and replaces the one at this path, which a former process left behind or an
    /// ending process still has. The new one appears at once, and with its mode.
    ///
    /// # Errors
    /// The directory is not writable, or something other than a socket is there.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        if fs::symlink_metadata(path).is_ok_and(|found| !found.file_type().is_socket()) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something that is no socket is there"));
        }
        let made = beside(path)?;
        let listener = UnixListener::bind(&made)?;
        let placed = fs::set_permissions(&made, fs::Permissions::from_mode(0o600))
            .and_then(|()| inode(&made))
            .and_then(|inode| fs::rename(&made, path).map(|()| inode));
        match placed {
            Ok(inode) => Ok(Self { listener, path: path.to_owned(), inode }),
            Err(error) => {
                let _gone = fs::remove_file(&made);
                Err(error)
            }
        }
    }

    /// Accepts the next connection, and returns it with the id of its user; `None` for a connection
    /// of another user, which is closed. Where the system respects the mode of sockets, the mode
    /// keeps others out already.
    ///
    /// # Errors
    /// As the system reports them.
    ///
    /// # Cancel safety
    /// No connection is lost.
    pub(crate) async fn accept(&self) -> io::Result<Option<(UnixStream, u32)>> {
        let (stream, _) = self.listener.accept().await?;
        let own = rustix::process::geteuid().as_raw();
        // Root could do anything anyway.
        let user = stream.peer_cred().ok().map(|peer| peer.uid()).filter(|&user| user == own || user == 0);
        Ok(user.map(|user| (stream, user)))
    }
}

impl Drop for LocalSocket {
    fn drop(&mut self) {
        let is_ours = |path: &Path| inode(path).is_ok_and(|found| found == self.inode);
        let Some(aside) = beside(&self.path).ok().filter(|_| is_ours(&self.path)) else { return };
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
fn beside(path: &Path) -> io::Result<PathBuf> {
    let mut random = [0; 4];
    rand::fill(&mut random).map_err(|_| io::Error::other("the system gives no random numbers"))?;
    let mut name = path.as_os_str().to_owned();
    // Short, because such a path has at most 107 octets.
    name.push(format!(".{:06x}", u32::from_be_bytes(random) >> 8));
    Ok(name.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("gatepost-socket-{}-{name}", std::process::id()));
        fs::create_dir(&path).unwrap();
        path
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn of_many_that_bind_at_once_each_listens_and_one_has_the_place() {
        let directory = directory("many");
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
            assert_eq!(names(&directory), ["s"], "the one in the place stays");
            let (connected, accepted) = tokio::join!(UnixStream::connect(&path), of_place[0].accept());
            assert!(connected.is_ok() && accepted.unwrap().is_some());
            drop(of_place);
            assert_eq!(names(&directory), [""; 0]);
        }
        fs::remove_dir(directory).unwrap();
    }

    #[tokio::test]
    async fn what_is_no_socket_stays() {
        let directory = directory("file");
        fs::write(directory.join("s"), "mine").unwrap();
        assert_eq!(LocalSocket::bind(&directory.join("s")).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(directory.join("s")).unwrap(), b"mine");
        fs::remove_dir_all(directory).unwrap();
    }
}
