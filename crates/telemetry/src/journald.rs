//! The journal of systemd (systemd, "Native Journal Protocol"): one datagram for each entry, with
//! fields that `journalctl NAME=value` finds.
//!
//! Written by hand, because the crate `tracing-journald` (0.3) is a second log beside ours. It
//! sends what comes without its rate limit, escapes and cuts, waits for a journal that does not
//! read, and loses what it cannot send.

use std::io;
use std::path::{Path, PathBuf};

#[cfg(unix)]
use std::os::unix::net::UnixDatagram;

use tracing::Level;

/// The socket of the journal.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";

/// What the names of our fields begin with.
const PREFIX: &str = "GATEPOST_";

/// Priorities (syslog(3)).
pub(super) const WARNING: u8 = 4;
pub(super) const NOTICE: u8 = 5;
pub(super) const INFO: u8 = 6;

/// Returns the priority of a level (syslog(3)).
pub(super) fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => WARNING,
        Level::INFO => INFO,
        _ => 7,
    }
}

/// The journal cannot be reached.
#[derive(Debug, thiserror::Error)]
#[error("connect to the journal at `{}`: {source}", .path.display())]
pub struct JournalError {
    path: PathBuf,
    source: io::Error,
}

/// A connection to the journal. Several threads may send over it.
#[derive(Debug)]
pub(super) struct Journal {
    #[cfg(unix)]
    socket: UnixDatagram,
    path: PathBuf,
}

#[cfg(unix)]
impl Journal {
    /// Connects. A sender waits when the journal's queue is full.
    ///
    /// # Errors
    /// [`JournalError`]: nobody listens at `path`.
    pub(super) fn open(path: &Path) -> Result<Self, JournalError> {
        let connected = UnixDatagram::unbound().and_then(|socket| socket.connect(path).map(|()| socket));
        match connected {
            Ok(socket) => Ok(Self { socket, path: path.to_path_buf() }),
            Err(source) => Err(JournalError { path: path.to_path_buf(), source }),
        }
    }

    /// Connects for senders that cannot wait.
    ///
    /// # Errors
    /// [`JournalError`]: nobody listens at `path`.
    pub(super) fn open_without_waiting(path: &Path) -> Result<Self, JournalError> {
        let journal = Self::open(path)?;
        match journal.socket.set_nonblocking(true) {
            Ok(()) => Ok(journal),
            Err(source) => Err(JournalError { path: path.to_path_buf(), source }),
        }
    }

    /// Sends an entry, whole or not at all.
    ///
    /// # Errors
    /// As the system reports them. `WouldBlock`: the journal does not keep up, and this connection
    /// does not wait.
    pub(super) fn send(&self, entry: &Entry) -> io::Result<()> {
        match self.socket.send(&entry.0) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            // After a restart of the journal its socket may be another one.
            Err(_) => {
                self.socket.connect(&self.path)?;
                self.socket.send(&entry.0).map(drop)
            }
        }
    }
}

#[cfg(not(unix))]
impl Journal {
    pub(super) fn open(path: &Path) -> Result<Self, JournalError> {
        let source = io::Error::new(io::ErrorKind::Unsupported, "this system has no such journal");
        Err(JournalError { path: path.to_path_buf(), source })
    }

    pub(super) fn open_without_waiting(path: &Path) -> Result<Self, JournalError> {
        Self::open(path)
    }

    pub(super) fn send(&self, _: &Entry) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// An entry of the journal in the form in which it is sent.
#[derive(Debug)]
pub(super) struct Entry(Vec<u8>);

impl Entry {
    /// Begins an entry of the program `identifier`.
    pub(super) fn new(identifier: &str, priority: u8) -> Self {
        let mut entry = Self(Vec::with_capacity(512));
        entry.push("SYSLOG_IDENTIFIER", identifier);
        entry.push("PRIORITY", &priority.to_string());
        entry
    }

    /// Adds the text for people.
    pub(super) fn message(mut self, text: &str) -> Self {
        self.push("MESSAGE", text);
        self
    }

    /// Adds a field of ours. `cause` becomes `GATEPOST_CAUSE`.
    pub(super) fn field(&mut self, name: &str, value: &str) {
        let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
        self.push(&PREFIX.chars().chain(name.chars().map(letter)).collect::<String>(), value);
    }

    fn push(&mut self, name: &str, value: &str) {
        self.0.extend_from_slice(name.as_bytes());
        if value.contains('\n') {
            // The form with a length, because in the short one the value could forge a field.
            self.0.push(b'\n');
            self.0.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            self.0.push(b'=');
        }
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'\n');
    }
}

/// The journal of tests.
#[cfg(all(test, unix))]
pub(super) mod fake {
    use tempfile::{TempDir, tempdir};

    use super::*;

    /// A socket in a directory of its own, which is removed at the end.
    pub(crate) struct Fake {
        pub(crate) path: PathBuf,
        socket: UnixDatagram,
        _directory: TempDir,
    }

    impl Fake {
        pub(crate) fn new() -> Self {
            let directory = tempdir().unwrap();
            let path = directory.path().join("socket");
            Self { socket: UnixDatagram::bind(&path).unwrap(), path, _directory: directory }
        }

        /// Ends the journal and begins another one in its place.
        pub(crate) fn restart(&mut self) {
            std::fs::remove_file(&self.path).unwrap();
            self.socket = UnixDatagram::bind(&self.path).unwrap();
        }

        /// Ends the journal for good.
        pub(crate) fn end(&self) {
            self.socket.shutdown(std::net::Shutdown::Both).unwrap();
        }

        /// Returns the next entry, whose values have no line breaks, as lines.
        pub(crate) fn lines(&self) -> Vec<String> {
            // An entry that was sent is there.
            self.socket.set_nonblocking(true).unwrap();
            let mut octets = vec![0; 1 << 16];
            let length = self.socket.recv(&mut octets).unwrap();
            String::from_utf8_lossy(&octets[..length]).lines().map(str::to_owned).collect()
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::fake::Fake;
    use super::*;

    #[test]
    fn a_value_with_a_line_break_has_a_length_and_forges_no_field() {
        let mut entry = Entry::new("gatepost", 6);
        entry.field("duration-ms", "12");
        entry.field("account", "a\n_UID=0");
        let entry = entry.message("ended");
        assert_eq!(
            entry.0,
            b"SYSLOG_IDENTIFIER=gatepost\nPRIORITY=6\nGATEPOST_DURATION_MS=12\n\
              GATEPOST_ACCOUNT\n\x08\0\0\0\0\0\0\0a\n_UID=0\nMESSAGE=ended\n"
        );
    }

    #[test]
    fn a_journal_that_was_restarted_gets_the_next_entry() {
        let mut fake = Fake::new();
        let journal = Journal::open(&fake.path).unwrap();
        journal.send(&Entry::new("gatepost", 6).message("before")).unwrap();
        assert!(fake.lines().contains(&"MESSAGE=before".to_owned()));
        fake.restart();
        journal.send(&Entry::new("gatepost", 6).message("after")).unwrap();
        assert!(fake.lines().contains(&"MESSAGE=after".to_owned()));
    }

    #[test]
    fn nobody_waits_for_a_journal_that_does_not_read() {
        let fake = Fake::new();
        let journal = Journal::open_without_waiting(&fake.path).unwrap();
        let error = loop {
            if let Err(error) = journal.send(&Entry::new("gatepost", 6).message(&"x".repeat(1_000))) {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_journal_that_is_absent_is_named() {
        let error = Journal::open(Path::new("/nowhere/socket")).unwrap_err().to_string();
        assert!(error.contains("`/nowhere/socket`"), "{error}");
    }
}
