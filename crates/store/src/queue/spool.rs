//! The queue of one directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rusqlite::Transaction;
use tokio::sync::Notify;

use super::error::QueueError;
use super::index::{self, Fitted};
use super::key::QueueKey;
use super::layout::LAYOUT;
use super::message::{Acted, Entry, QueueId, State, Totals};
use super::points::{Faults, Point};
use super::shared::{Shared, on_disk};
use super::writer::{MessageWriter, Reservation};
use crate::database::Database;
use crate::error::OpenError;
use crate::files::{self, blocking};
use crate::key::{self, KeyProblem, Keys};
use crate::sealed_file::SealedFile;
use gatepost_config::StateKey;
use gatepost_core::clock::Clock;

const INDEX: &str = "index.sqlite";
const MESSAGES: &str = "messages";

/// A queue. Cheap to clone.
#[derive(Clone)]
pub struct Queue(pub(super) Arc<Shared>);

/// Differs from an earlier one if something may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revision {
    /// How many messages this process has accepted. They are behind all others.
    pub accepted: u64,
    /// The number of the last act of a person on a message that is to be tried or looked for: see
    /// [`super::Courier::changed`].
    pub acts: u64,
    /// Changes when another process has written.
    pub others: i64,
}

impl Queue {
    /// Opens the queue of a directory, or creates it. `size`: most octets of all messages.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(directory: &Path, size: u64, key: &StateKey, clock: Clock) -> Result<Self, OpenError> {
        let (directory, source) = (directory.to_path_buf(), key.clone());
        blocking(move || {
            let directory = files::private_directory(&directory)?;
            let messages = files::private_directory(&directory.join(MESSAGES))?;
            let (database, key) = open_index(&directory, &messages, &source)?;
            Ok(Self(Arc::new(Shared {
                directory,
                messages,
                size: AtomicU64::new(size),
                key,
                source,
                clock,
                database,
                room: Mutex::default(),
                accepted: AtomicU64::new(0),
                stirred: Notify::new(),
                faults: Faults::default(),
            })))
        })
        .await
    }

    /// Whether a directory has a queue, or may have one that this user cannot see. Creates nothing.
    pub fn exists(directory: &Path) -> bool {
        directory.join(INDEX).try_exists().unwrap_or(true)
    }

    /// The directories of a queue. A confined process cannot create them.
    pub fn directories(directory: &Path) -> [PathBuf; 2] {
        [directory.to_owned(), directory.join(MESSAGES)]
    }

    /// The directory, without links.
    pub fn directory(&self) -> &Path {
        &self.0.directory
    }

    /// Most octets of all messages.
    pub fn size(&self) -> u64 {
        self.0.size.load(Ordering::Relaxed)
    }

    /// Sets most octets of all messages. What is over it stays.
    pub fn set_size(&self, size: u64) {
        self.0.size.store(size, Ordering::Relaxed);
    }

    /// Reserves room for a message of this many octets, or of an unknown length. The room is free
    /// again when the reservation is dropped.
    ///
    /// # Errors
    /// [`QueueError::Full`], and those of the index.
    pub async fn reserve(&self, declared: Option<u64>) -> Result<Reservation, QueueError> {
        Reservation::new(&self.0, declared).await
    }

    /// Begins a message.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn writer(&self, reservation: Reservation) -> Result<MessageWriter, QueueError> {
        MessageWriter::new(reservation).await
    }

    /// The content of a message; `None` when there is no such message.
    ///
    /// # Errors
    /// [`QueueError::Damaged`], and those of the index and the disk.
    pub async fn read(&self, id: QueueId) -> Result<Option<SealedFile>, QueueError> {
        let Some(row) = self.0.work(move |connection| index::get(connection, id)).await? else { return Ok(None) };
        let shared = Arc::clone(&self.0);
        let path = shared.path(row.file);
        let opened = {
            let path = path.clone();
            move || {
                let key = shared.key.file(row.file).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
                SealedFile::open(files::open_private(&path)?, key)
            }
        };
        let opened = on_disk(&path, opened).await?;
        match opened.length() == row.bytes {
            true => Ok(Some(opened)),
            false => Err(QueueError::of_file(&io::ErrorKind::InvalidData.into(), &path)),
        }
    }

    /// All that is known about a message; `None` when there is no such message.
    ///
    /// # Errors
    /// Those of the index.
    pub async fn show(&self, id: QueueId) -> Result<Option<Entry>, QueueError> {
        let shared = Arc::clone(&self.0);
        let shown = self.0.work(move |connection| {
            shared.faults.pass(Point::Show).map_err(index::failed)?;
            index::get(connection, id)
        });
        Ok(shown.await?.map(|row| self.0.entry(row)))
    }

    /// The messages behind `after` that have one of these states, in the order of their acceptance.
    ///
    /// # Errors
    /// Those of the index.
    pub async fn list(&self, states: &[State], after: QueueId, limit: usize) -> Result<Vec<Entry>, QueueError> {
        let states = states.to_vec();
        let rows = self.0.work(move |connection| index::list(connection, &states, after, limit)).await?;
        Ok(rows.into_iter().map(|row| self.0.entry(row)).collect())
    }

    /// How much there is.
    ///
    /// # Errors
    /// Those of the index.
    pub async fn totals(&self) -> Result<Totals, QueueError> {
        self.0.work(|connection| index::totals(connection)).await
    }

    /// Lets a message be tried now, and from the beginning if it waited for a person. A message that
    /// may have been sent is then perhaps sent twice.
    ///
    /// # Errors
    /// Those of the index.
    pub async fn retry(&self, id: QueueId) -> Result<Acted, QueueError> {
        let now = self.0.now();
        let retry = move |transaction: &Transaction<'_>| {
            let retried = index::retry(transaction, Some(id), now)?;
            Ok((!retried.is_empty()).then_some(()))
        };
        self.0.act(id, retry).await.map(|(acted, _)| acted)
    }

    /// Lets all failed messages be tried now. Returns their numbers.
    ///
    /// # Errors
    /// Those of the index.
    pub async fn retry_failed(&self) -> Result<Vec<QueueId>, QueueError> {
        let now = self.0.now();
        let retried = self.0.change(move |transaction| index::retry(transaction, None, now)).await?;
        self.0.stir();
        Ok(retried)
    }

    /// Removes a message for good, unless it is being handed over.
    ///
    /// # Errors
    /// Those of the index.
    pub async fn discard(&self, id: QueueId) -> Result<Acted, QueueError> {
        const SETTLED: &[State] = &[State::Waiting, State::Looking, State::Failed, State::Unknown, State::Sent];
        let (acted, file) = self.0.act(id, move |transaction| index::remove(transaction, id, SETTLED)).await?;
        self.0.unlink(file).await;
        Ok(acted)
    }

    /// The present revision. Cheap enough to ask every second.
    ///
    /// # Errors
    /// Those of the index.
    pub async fn revision(&self) -> Result<Revision, QueueError> {
        let accepted = self.0.accepted.load(Ordering::Acquire);
        let read = self.0.work(|connection| Ok((index::acts(connection)?, index::data_version(connection)?)));
        let (acts, others) = read.await?;
        Ok(Revision { accepted, acts, others })
    }

    /// Waits until this process has accepted a message, or a person has changed one in it.
    ///
    /// # Cancel safety
    /// Can be dropped. What happens between two calls ends the second one at once.
    pub async fn stirred(&self) {
        self.0.stirred.notified().await;
    }

    /// What a test lets fail.
    #[cfg(any(test, feature = "testing"))]
    pub fn faults(&self) -> &Faults {
        &self.0.faults
    }
}

/// Opens the index, and its key with the present state keys.
fn open_index(directory: &Path, messages: &Path, source: &StateKey) -> Result<(Database, QueueKey), OpenError> {
    let path = directory.join(INDEX);
    let is_new = !path.exists();
    let keys = match (Keys::read(source)?, source) {
        (None, StateKey::File(file)) if is_new => {
            key::make_file(file)?;
            Keys::read(source)?
        }
        (keys, _) => keys,
    };
    let keys = keys.ok_or_else(|| KeyProblem::Lost { key: source.shown(), store: path.display().to_string() })?;
    let database = Database::open(path.clone(), &LAYOUT)?;
    let fit = || database.work_now(|connection| index::fit_keys(connection, &keys));
    let fitted = match fit()? {
        Fitted::New => {
            // Without the former index nobody can read them, and they would be taken for leftovers.
            let left = fs::read_dir(messages).map(Iterator::count).unwrap_or_default();
            if left > 0 {
                return Err(OpenError::IndexLost { index: path.display().to_string(), left });
            }
            let key = QueueKey::generate().map_err(|_| KeyProblem::Random)?;
            database.work_now(|connection| index::found(connection, &keys, &key))?;
            fit()?
        }
        fitted => fitted,
    };
    match fitted {
        Fitted::Key(key) => Ok((database, key)),
        Fitted::New | Fitted::Other => {
            Err(OpenError::OtherKey { store: path.display().to_string(), key: source.shown() })
        }
    }
}

/// Seals the key of the queue in a directory under exactly the present state keys, if there is a
/// queue.
pub(crate) fn follow_key(directory: &Path, source: &StateKey) -> Result<(), OpenError> {
    if !Queue::exists(directory) {
        return Ok(());
    }
    let directory = files::private_directory(directory)?;
    let (database, _) = open_index(&directory, &directory.join(MESSAGES), source)?;
    // Nothing of a former seal stays behind.
    Ok(database.work_now(|connection| connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())))?)
}
