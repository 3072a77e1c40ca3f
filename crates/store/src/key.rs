//! Reads the state key from its source.
//!
//! It is 32 random octets in base64, on one line. A second line holds the previous key, while
//! records are still sealed under it. The newer key comes first.

use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::file_lock::FileLock;
use super::files::{self, FileProblem};
use super::seal::{KEY_OCTETS, KeyId, SealingKey};
use gatepost_config::StateKey;
use gatepost_config::environment::run_command;
use gatepost_core::system_error::Plain;

/// Why there is no state key.
#[derive(Debug, thiserror::Error)]
pub enum KeyProblem {
    /// Its file cannot be used.
    #[error(transparent)]
    File(#[from] FileProblem),
    /// It is a systemd credential, which only the running service has.
    #[error(
        "the state key is a systemd credential, and `{}` cannot be read: {}. Run this while the service runs, as the \
         service's user", .path.display(), Plain(.error)
    )]
    Credential {
        /// Its path.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// Its file is gone, and the store is not.
    #[error(
        "the state key `{key}` is missing, and `{store}` cannot be read without it. If the service has it as a systemd \
         credential, start the service first. Otherwise put the key back from a backup, or move the store away to begin with \
         an empty one"
    )]
    Lost {
        /// The path of the key.
        key: String,
        /// The store that needs it.
        store: String,
    },
    /// Its file was changed while Gatepost was about to change it.
    #[error(
        "the key that the store is sealed under is no longer in `{key}`, so the file was left as it is. Find out who else writes to it, and put that key back"
    )]
    Replaced {
        /// The file.
        key: String,
    },
    /// The command of `state.key` gave no key.
    #[error("the command of `state.key` did not give a key: {0}. Run it as the user that runs Gatepost")]
    Command(String),
    /// The text is not a state key.
    #[error(
        "the state key in {shown} is not one or two lines, each of 32 bytes in base64. Create one with `openssl rand \
         -base64 32`"
    )]
    Malformed {
        /// Where it came from.
        shown: String,
    },
    /// The system has no randomness, or cannot use it.
    #[error("no state key could be made: the system's random numbers are not available")]
    Random,
}

/// The keys that a source gives, the newest first; one or two.
#[derive(Debug)]
pub(super) struct Keys(Vec<SealingKey>);

impl Keys {
    /// Reads the source; `None` when its file does not exist.
    pub(super) fn read(source: &StateKey) -> Result<Option<Self>, KeyProblem> {
        let text = match source {
            StateKey::File(path) => match files::read_private(path)? {
                Some(text) => text,
                None => return Ok(None),
            },
            StateKey::Credential(path) => {
                files::read(path).map_err(|error| KeyProblem::Credential { path: path.clone(), error })?
            }
            StateKey::Literal(text) => Zeroizing::new(text.expose().as_bytes().to_vec()),
            StateKey::Command { command, hidden } => {
                Zeroizing::new(run_command(command, hidden).map_err(KeyProblem::Command)?)
            }
        };
        Self::parse(&text).map(Some).ok_or_else(|| KeyProblem::Malformed { shown: source.shown() })
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let keys: Option<Vec<SealingKey>> = lines(text).map(derived).collect();
        keys.filter(|keys| (1..=2).contains(&keys.len())).map(Self)
    }

    pub(super) fn get(&self, id: KeyId) -> Option<&SealingKey> {
        self.0.iter().find(|key| key.id() == id)
    }

    #[allow(clippy::indexing_slicing, reason = "it is never empty: see `parse`")]
    pub(super) fn newest(&self) -> &SealingKey {
        &self.0[0]
    }

    pub(super) fn ids(&self) -> Vec<KeyId> {
        self.0.iter().map(SealingKey::id).collect()
    }
}

/// Creates a key file with a new key, unless another process was faster.
pub(super) fn make_file(path: &Path) -> Result<(), KeyProblem> {
    files::make_parent(path)?;
    if files::create_private(path, &new_line()?)? {
        tracing::warn!(
            "created the state key `{}`. Gatepost admin: back it up, because the store cannot be read without it",
            path.display()
        );
    }
    Ok(())
}

/// A key file under a lock, so that only one process changes it.
#[derive(Debug)]
pub(super) struct OwnKeyFile {
    path: PathBuf,
    _lock: FileLock,
}

impl OwnKeyFile {
    /// Locks the file. `None`: another process holds the lock.
    pub(super) fn lock(path: &Path) -> Result<Option<Self>, KeyProblem> {
        let lock = files::lock(path)?;
        Ok(lock.map(|lock| Self { path: path.to_path_buf(), _lock: lock }))
    }

    /// Puts a new key in front of `current`.
    pub(super) fn add_before(&self, current: KeyId) -> Result<(), KeyProblem> {
        let (new, current) = (new_line()?, self.line(current)?);
        let mut both = Zeroizing::new(Vec::with_capacity(new.len() + current.len()));
        both.extend_from_slice(&new);
        both.extend_from_slice(&current);
        Ok(files::replace_private(&self.path, &both)?)
    }

    /// Keeps `current` and removes every other key.
    pub(super) fn keep_only(&self, current: KeyId) -> Result<(), KeyProblem> {
        Ok(files::replace_private(&self.path, &self.line(current)?)?)
    }

    /// The line of this key.
    fn line(&self, of: KeyId) -> Result<Zeroizing<Vec<u8>>, KeyProblem> {
        let text = files::read_private(&self.path)?.unwrap_or_default();
        let line = lines(&text).find(|line| derived(line).is_some_and(|key| key.id() == of));
        let line = line.ok_or_else(|| KeyProblem::Replaced { key: self.path.display().to_string() })?;
        let mut whole = Zeroizing::new(Vec::with_capacity(line.len() + 1));
        whole.extend_from_slice(line);
        whole.push(b'\n');
        Ok(whole)
    }
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|octet| *octet == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty())
}

fn derived(line: &[u8]) -> Option<SealingKey> {
    SealingKey::derive(&*decode(line)?).ok()
}

fn new_line() -> Result<Zeroizing<Vec<u8>>, KeyProblem> {
    let mut octets = Zeroizing::new([0; KEY_OCTETS]);
    rand::fill(&mut octets[..]).map_err(|_| KeyProblem::Random)?;
    // 44 characters and a line feed.
    let mut line = Zeroizing::new(vec![b'\n'; 45]);
    STANDARD.encode_slice(&octets[..], &mut line[..]).map_err(|_| KeyProblem::Random)?;
    Ok(line)
}

fn decode(line: &[u8]) -> Option<Zeroizing<[u8; KEY_OCTETS]>> {
    // The decoder needs room for whole groups.
    let mut decoded = Zeroizing::new([0; KEY_OCTETS + 3]);
    let length = STANDARD.decode_slice(line, &mut decoded[..]).ok()?;
    let mut key = Zeroizing::new([0; KEY_OCTETS]);
    key.copy_from_slice(decoded.get(..length).filter(|octets| octets.len() == KEY_OCTETS)?);
    Some(key)
}
