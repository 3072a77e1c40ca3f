//! What the parts of a queue share: the index, the key, the disk.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::Notify;

use super::error::QueueError;
use super::index::{self, Row};
use super::key::{FileName, QueueKey};
use super::message::{Acted, Entry, NewMessage, QueueId, Recipient, Total};
use super::points::{Faults, Point};
use crate::database::Database;
use crate::error::OpenError;
use crate::files::{blocking, in_time};
use crate::key::Keys;
use crate::seal::Kind;
use gatepost_config::StateKey;
use gatepost_core::clock::{Clock, UnixTime};

/// What the handles of a queue share.
pub(super) struct Shared {
    pub(super) directory: PathBuf,
    pub(super) messages: PathBuf,
    pub(super) size: AtomicU64,
    pub(super) key: QueueKey,
    pub(super) source: StateKey,
    pub(super) clock: Clock,
    pub(super) database: Database,
    pub(super) room: Mutex<Room>,
    pub(super) accepted: AtomicU64,
    pub(super) stirred: Notify,
    pub(super) faults: Faults,
}

/// The room of a queue, as far as this process knows.
#[derive(Default)]
pub(super) struct Room {
    /// Of messages of this process that are not in the index yet.
    pub(super) reserved: Total,
    /// Octets of the messages in the index that are not sent, when it was last asked.
    pub(super) kept: u64,
}

impl Room {
    /// Takes room for `more` octets.
    pub(super) fn take(&mut self, more: u64, shared: &Shared) -> Result<(), QueueError> {
        let taken = self.reserved.bytes.saturating_add(more);
        if self.kept.saturating_add(taken) > shared.size.load(Ordering::Relaxed) {
            return Err(full(shared));
        }
        self.reserved.bytes = taken;
        Ok(())
    }
}

/// The error of a queue without room.
pub(super) fn full(shared: &Shared) -> QueueError {
    let size = shared.size.load(Ordering::Relaxed);
    QueueError::Full(format!("the queue `{}` is full: see `queue.size` ({size} bytes)", shared.directory.display()))
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
    pub(super) async fn act<T: Send + 'static>(
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

    pub(super) fn stir(&self) {
        self.stirred.notify_one();
    }

    /// Removes files whose rows are gone. What cannot be removed is removed later: see
    /// [`super::Courier::sweep`].
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

    /// What stands for the copy of a message in Sent Items, and its mailbox, sealed.
    pub(super) fn copy(&self, row: &Row) -> Option<([u8; 32], Vec<u8>)> {
        let message: NewMessage = self.key.open_record(Kind::QueuedMessage, row.file, &row.record)?;
        let copy = match &message.message_id {
            Some(message_id) => self.key.copy(&message.mailbox, message_id),
            None => QueueKey::no_copy(),
        };
        let copy = copy.ok()?;
        Some((copy, self.key.seal_mailbox(copy, &message.mailbox).ok()?))
    }

    /// The record of a message for these recipients, sealed.
    pub(super) fn with_recipients(&self, row: &Row, recipients: Vec<Recipient>) -> Option<Vec<u8>> {
        let message: NewMessage = self.key.open_record(Kind::QueuedMessage, row.file, &row.record)?;
        self.key.seal_record(Kind::QueuedMessage, row.file, &NewMessage { recipients, ..message }).ok()
    }

    pub(super) fn entry(&self, row: Row) -> Entry {
        let opened = row.note.and_then(|note| self.key.open_record(Kind::QueueNote, row.file, &note));
        let refused = row.refused.and_then(|refused| self.key.open_record(Kind::QueueRefused, row.file, &refused));
        Entry {
            id: row.id,
            state: row.state,
            since: row.since,
            accepted_at: row.accepted_at,
            retry_from: row.retry_from,
            due_at: row.due_at,
            bytes: row.bytes,
            attempts: row.attempts,
            changed: row.changed,
            message: self.key.open_record(Kind::QueuedMessage, row.file, &row.record),
            note: opened,
            refused,
        }
    }

    /// Keeps the key of the queue sealed under exactly the state keys that the source gives now.
    ///
    /// # Errors
    /// Those of the source and the index.
    pub(super) async fn follow_key(self: &Arc<Self>) -> Result<(), OpenError> {
        let shared = Arc::clone(self);
        blocking(move || {
            let Some(keys) = Keys::read(&shared.source)? else { return Ok(()) };
            Ok(shared.database.work_now(|connection| index::follow_keys(connection, &keys, &shared.key))?)
        })
        .await
    }
}

/// Runs work on a file outside the async threads, and waits for it no longer than
/// [`files::DISK`](crate::files::DISK).
pub(super) async fn on_disk<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, QueueError> {
    in_time(work).await.map_err(|error| QueueError::of_file(&error, path))
}
