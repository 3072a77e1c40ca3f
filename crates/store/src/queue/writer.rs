//! Acceptance of a message.

use std::io;
use std::mem;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rusqlite::{Connection, TransactionBehavior};
use tokio::runtime::Handle;

use super::error::QueueError;
use super::index::{self, MOST_MESSAGES};
use super::key::FileName;
use super::message::{NewMessage, QueueId};
use super::points::Point;
use super::shared::{Shared, full, on_disk};
use crate::files;
use crate::seal::Kind;
use crate::sealed_file::SealedWriter;

/// Octets of the disk that messages leave free for the index and for the store.
const LEFT_FREE: u64 = 16 * 1_024 * 1_024;

/// Octets after which a message of unknown length looks at the free space again.
const STEP: u64 = 1_024 * 1_024;

/// Room for one message. It is free again when this is dropped.
pub struct Reservation {
    shared: Arc<Shared>,
    bytes: u64,
}

impl Reservation {
    pub(super) async fn new(shared: &Arc<Shared>, declared: Option<u64>) -> Result<Self, QueueError> {
        let bytes = declared.unwrap_or_default();
        let kept = shared.work(|connection| index::totals(connection)).await?.open();
        {
            let mut room = shared.room.lock();
            if kept.messages.saturating_add(room.reserved.messages) >= MOST_MESSAGES.unsigned_abs() {
                return Err(QueueError::Full(format!(
                    "the queue has {MOST_MESSAGES} messages, the most that it takes"
                )));
            }
            room.kept = kept.bytes;
            room.take(bytes, shared)?;
            room.reserved.messages = room.reserved.messages.saturating_add(1);
        }
        let reservation = Self { shared: Arc::clone(shared), bytes };
        reservation.free_space(bytes.saturating_add(LEFT_FREE)).await?;
        Ok(reservation)
    }

    /// Makes room for a message that has this many octets by now.
    async fn grow_to(&mut self, bytes: u64) -> Result<(), QueueError> {
        if bytes <= self.bytes {
            return Ok(());
        }
        self.shared.room.lock().take(bytes.saturating_sub(self.bytes), &self.shared)?;
        let looks = bytes / STEP > self.bytes / STEP;
        self.bytes = bytes;
        if looks {
            self.free_space(LEFT_FREE).await?;
        }
        Ok(())
    }

    async fn free_space(&self, needed: u64) -> Result<(), QueueError> {
        let path = self.shared.messages.clone();
        let free = on_disk(&self.shared.messages, move || files::free_space(&path)).await?;
        match free >= needed {
            true => Ok(()),
            false => Err(QueueError::of_file(&io::ErrorKind::StorageFull.into(), &self.shared.messages)),
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let reserved = &mut self.shared.room.lock().reserved;
        reserved.messages = reserved.messages.saturating_sub(1);
        reserved.bytes = reserved.bytes.saturating_sub(self.bytes);
    }
}

/// A message that is being received. If it is dropped before [`MessageWriter::commit`], nothing of
/// it stays.
pub struct MessageWriter {
    reservation: Reservation,
    name: FileName,
    path: PathBuf,
    writer: Option<SealedWriter>,
    /// Whether the file must stay when this is dropped, because its row may exist.
    kept: bool,
}

impl MessageWriter {
    pub(super) async fn new(reservation: Reservation) -> Result<Self, QueueError> {
        let shared = Arc::clone(&reservation.shared);
        let name = FileName::random().map_err(|_| QueueError::no_random())?;
        let path = shared.path(name);
        let mut message = Self { reservation, name, path: path.clone(), writer: None, kept: false };
        let writer = on_disk(&message.path, move || {
            shared.faults.pass(Point::Create)?;
            let file = files::create_locked(&path)?;
            SealedWriter::new(file, shared.key.file(name).map_err(|_| io::Error::from(io::ErrorKind::Other))?)
        });
        message.writer = Some(writer.await?);
        Ok(message)
    }

    /// How many octets were written.
    pub fn length(&self) -> u64 {
        self.writer.as_ref().map_or(0, SealedWriter::length)
    }

    /// Appends to the content.
    ///
    /// # Errors
    /// [`QueueError::Full`], and those of the disk. The message is then lost.
    ///
    /// # Cancel safety
    /// If the call is dropped, the message is lost.
    pub async fn write(&mut self, octets: &[u8]) -> Result<(), QueueError> {
        self.reservation.grow_to(self.length().saturating_add(octets.len() as u64)).await?;
        let failed = |error: io::Error| QueueError::of_file(&error, &self.path);
        self.reservation.shared.faults.pass(Point::Write).map_err(failed)?;
        let writer = self.writer.as_mut().ok_or_else(|| failed(io::ErrorKind::BrokenPipe.into()))?;
        writer.write(octets).await.map_err(failed)
    }

    /// Accepts the message. It is durable when this returns.
    ///
    /// # Errors
    /// [`QueueError::Full`], and those of the disk and the index. Nothing of the message stays.
    ///
    /// # Cancel safety
    /// If the call is dropped, the message is either accepted or gone.
    pub async fn commit(mut self, message: &NewMessage) -> Result<QueueId, QueueError> {
        let shared = Arc::clone(&self.reservation.shared);
        let (name, path, bytes) = (self.name, self.path.clone(), self.length());
        let sealed = shared.key.seal_record(Kind::QueuedMessage, name, message).map_err(|_| QueueError::no_random())?;
        let writer = self.writer.take().ok_or_else(|| QueueError::of_file(&io::ErrorKind::BrokenPipe.into(), &path))?;
        let synced = {
            let shared = Arc::clone(&shared);
            on_disk(&self.path, move || {
                let file = writer.finish_now()?;
                shared.faults.pass(Point::SyncFile)?;
                file.sync()?;
                shared.faults.pass(Point::SyncDirectory)?;
                files::sync_directory(&path)?;
                Ok(file)
            })
        };
        let file = synced.await?;
        self.kept = true;
        let insert = {
            let shared = Arc::clone(&shared);
            move |connection: &mut Connection| {
                // Its lock lasts until the row is there, so that it is not taken for a leftover.
                let _locked = file;
                let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                shared.faults.pass(Point::Insert).map_err(index::failed)?;
                let size = shared.size.load(Ordering::Relaxed);
                let id = index::insert(&transaction, name, shared.now(), bytes, size, &sealed)?;
                let gone = index::make_room(&transaction, size)?;
                transaction.commit()?;
                shared.faults.pass(Point::Inserted).map_err(index::failed)?;
                if id.is_some() {
                    let kept = &mut shared.room.lock().kept;
                    *kept = kept.saturating_add(bytes);
                    shared.accepted.fetch_add(1, Ordering::AcqRel);
                    shared.stirred.notify_one();
                }
                Ok(id.map(|id| (id, gone)))
            }
        };
        let error = match shared.work(insert).await {
            Ok(Some((id, gone))) => {
                if !gone.is_empty() {
                    shared.unlink(gone).await;
                }
                return Ok(id);
            }
            Ok(None) => full(&shared),
            // The row may be there all the same.
            Err(error) => match self.withdraw().await {
                Some(id) => return Ok(id),
                None => error,
            },
        };
        shared.unlink([name]).await;
        Err(error)
    }

    /// Takes the row back, behind the call that may have inserted it. Returns its number if the
    /// message is being delivered already.
    async fn withdraw(&self) -> Option<QueueId> {
        let (shared, name) = (Arc::clone(&self.reservation.shared), self.name);
        let withdrawn = self.reservation.shared.change(move |transaction| {
            shared.faults.pass(Point::Withdraw).map_err(index::failed)?;
            index::withdraw(transaction, name)
        });
        withdrawn.await.unwrap_or_else(|error| {
            tracing::warn!(
                "a message that was not accepted may be listed as failed, because its file is removed: {error}"
            );
            None
        })
    }
}

impl Drop for MessageWriter {
    fn drop(&mut self) {
        if !self.kept {
            let path = mem::take(&mut self.path);
            // What cannot be removed is removed later: see `Courier::sweep`.
            let remove = move || drop(std::fs::remove_file(path));
            match Handle::try_current() {
                Ok(runtime) => drop(runtime.spawn_blocking(remove)),
                Err(_) => remove(),
            }
        }
    }
}
