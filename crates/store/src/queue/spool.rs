//! The queue of one directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::courier::Courier;
use super::error::QueueError;
use super::index::{self, Fitted, LAYOUT, Row};
use super::key::{FileName, QueueKey};
use super::message::{Entry, QueueId, State, Totals};
use super::points::{Faults, Point};
use super::writer::{MessageWriter, Reservation, Room};
use crate::database::Database;
use crate::error::OpenError;
use crate::files::{self, blocking};
use crate::key::{self, KeyProblem, Keys};
use crate::outcome::StoreError;
use crate::seal::Kind;
use crate::sealed_file::SealedFile;
use gatepost_config::StateKey;
use gatepost_core::clock::{Clock, UnixTime};

const INDEX: &str = "index.sqlite";
const MESSAGES: &str = "messages";

/// Limit of an access to a file: long enough for a busy disk, short enough to tell a client.
const DISK: Duration = Duration::from_secs(60);

/// A queue. Cheap to clone.
#[derive(Clone)]
pub struct Queue(pub(super) Arc<Shared>);

pub(super) struct Shared {
    pub(super) directory: PathBuf,
    pub(super) messages: PathBuf,
    pub(super) size: AtomicU64,
    pub(super) key: QueueKey,
    source: StateKey,
    pub(super) clock: Clock,
    pub(super) database: Database,

    pub(super) room: Mutex<Room>,
    pub(super) accepted: AtomicU64,
    acts: AtomicU64,
    pub(super) stirred: Notify,
    pub(super) faults: Faults,
}

/// Differs from an earlier one if something may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revision {
    /// How many messages this process has accepted. They are behind all others.
    pub accepted: u64,
    /// Changes when a person, or another process, may have changed any message.
    pub acts: (u64, i64),
}

/// What became of a person's wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acted {
    /// It was done.
    Done,
    /// There is no such message.
    Missing,
    /// It cannot be done in this state.
    Refused(State),
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
                acts: AtomicU64::new(0),
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

    /// Takes the right to deliver, and looks after what a crash left behind. `None`: another process
    /// has it, or another part of this one.
    ///
    /// # Errors
    /// Those of the index and the disk.
    pub async fn courier(&self) -> Result<Option<Courier>, QueueError> {
        Courier::new(self).await
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
        let row = self.0.work(move |connection| index::get(connection, id)).await?;
        Ok(row.map(|row| self.0.entry(row)))
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
        let version = self.0.work(|connection| index::data_version(connection)).await?;
        let (accepted, acts) = (self.0.accepted.load(Ordering::Acquire), self.0.acts.load(Ordering::Acquire));
        Ok(Revision { accepted, acts: (acts, version) })
    }

    /// Keeps the key of the queue sealed under exactly the state keys that the source gives now.
    ///
    /// # Errors
    /// Those of the source and the index.
    pub(super) async fn follow_key(&self) -> Result<(), OpenError> {
        let shared = Arc::clone(&self.0);
        blocking(move || {
            let Some(keys) = Keys::read(&shared.source)? else { return Ok(()) };
            Ok(shared.database.work_now(|connection| index::follow_keys(connection, &keys, &shared.key))?)
        })
        .await
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

impl Shared {
    pub(super) fn now(&self) -> UnixTime {
        self.clock.unix_time()
    }

    pub(super) fn path(&self, file: FileName) -> PathBuf {
        self.messages.join(file.to_string())
    }

    pub(super) async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, QueueError> {
        Ok(self.database.work(work).await?)
    }

    /// Runs work in a transaction, which is durable when this returns. (SQLite tells of a commit that
    /// fails only where it is asked for.)
    pub(super) async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, QueueError> {
        self.work(move |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = work(&transaction)?;
            transaction.commit()?;
            Ok(done)
        })
        .await
    }

    /// Does what a person wants with a message. `act` returns `None` where it cannot be done.
    async fn act<T: Send + 'static>(
        &self,
        id: QueueId,
        act: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<Option<T>> + Send + 'static,
    ) -> Result<(Acted, Option<T>), QueueError> {
        let acted = self.change(move |transaction| {
            let state = index::get(transaction, id)?.map(|row| row.state);
            let done = act(transaction)?;
            Ok(match state {
                None => (Acted::Missing, None),
                Some(_) if done.is_some() => (Acted::Done, done),
                Some(state) => (Acted::Refused(state), None),
            })
        });
        let acted = acted.await?;
        self.stir();
        Ok(acted)
    }

    fn stir(&self) {
        self.acts.fetch_add(1, Ordering::AcqRel);
        self.stirred.notify_one();
    }

    /// Removes files whose rows are gone. What cannot be removed is removed later: see
    /// [`Courier::sweep`].
    pub(super) async fn unlink(self: &Arc<Self>, files: impl IntoIterator<Item = FileName>) {
        let (shared, files): (_, Vec<FileName>) = (Arc::clone(self), files.into_iter().collect());
        let removed = on_disk(&self.messages, move || {
            files.into_iter().try_for_each(|file| {
                shared.faults.pass(Point::Remove)?;
                fs::remove_file(shared.path(file))
            })
        });
        if let Err(error) = removed.await {
            tracing::debug!(%error, "could not remove the file of a message");
        }
    }

    pub(super) fn entry(&self, row: Row) -> Entry {
        let opened = row.note.and_then(|note| self.key.open_record(Kind::QueueNote, row.file, &note));
        Entry {
            id: row.id,
            state: row.state,
            since: row.since,
            accepted_at: row.accepted_at,
            retry_from: row.retry_from,
            due_at: row.due_at,
            bytes: row.bytes,
            attempts: row.attempts,
            message: self.key.open_record(Kind::QueuedMessage, row.file, &row.record),
            note: opened,
        }
    }
}

/// Runs work on a file outside the async threads, and not longer than [`DISK`].
pub(super) async fn on_disk<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, QueueError> {
    match timeout(DISK, blocking(work)).await {
        Ok(done) => done.map_err(|error| QueueError::of_file(&error, path)),
        Err(_) => Err(QueueError::Store(StoreError::Unavailable(format!(
            "`{}`: the disk did not answer in {} s. Look at the disk",
            path.display(),
            DISK.as_secs()
        )))),
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
