//! The right to deliver the messages of a queue.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::sync::Arc;

use super::error::QueueError;
use super::index::{self, Change, Row};
use super::key::FileName;
use super::message::{Entry, NewMessage, Note, Outcome, Pending, QueueId, Refused, Seen, State};
use super::points::Point;
use super::shared::{Shared, on_disk};
use super::spool::Queue;
use crate::file_lock::FileLock;
use crate::files;
use crate::seal::Kind;
use gatepost_core::clock::UnixTime;
use gatepost_core::failure::Actor;

/// Messages that are read from the index at once.
const PAGE: usize = 1_000;

/// The one that delivers: no other process does while this exists.
pub struct Courier {
    queue: Queue,
    left_behind: usize,
    last_minute: Vec<(String, UnixTime)>,
    _lock: FileLock,
}

impl Queue {
    /// Takes the right to deliver, and looks after what a crash left behind. `None`: another process
    /// has it, or another part of this one.
    ///
    /// # Errors
    /// Those of the index and the disk.
    pub async fn courier(&self) -> Result<Option<Courier>, QueueError> {
        Courier::new(self).await
    }
}

impl Courier {
    async fn new(queue: &Queue) -> Result<Option<Self>, QueueError> {
        let path = queue.0.directory.join("courier");
        let locked = crate::files::blocking(move || files::lock(&path)).await;
        let locked = locked.map_err(|problem| crate::StoreError::NotKept(problem.to_string()))?;
        let Some(lock) = locked else { return Ok(None) };
        let now = queue.0.now();
        let found = queue.0.change(move |transaction| {
            // In this order: what is being handed over counts as well.
            let left = index::last_minute(transaction, now)?;
            Ok((left, index::leave_sending(transaction, now)?))
        });
        let (left, left_behind) = found.await?;
        let mailbox = |(copy, sealed, at): index::Left| Some((queue.0.key.open_mailbox(copy, &sealed)?, at));
        let last_minute = left.into_iter().filter_map(mailbox).collect();
        let courier = Self { queue: queue.clone(), left_behind, last_minute, _lock: lock };
        courier.sweep().await?;
        Ok(Some(courier))
    }

    /// The queue.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// How many messages a former process was handing over when it ended. They are
    /// [`State::Looking`] now.
    pub fn left_behind(&self) -> usize {
        self.left_behind
    }

    /// The mailboxes from which messages left in the minute before this exists, each with the time of the
    /// hand-over in whole seconds.
    pub fn last_minute(&self) -> &[(String, UnixTime)] {
        &self.last_minute
    }

    /// The messages behind `after` that are to be delivered or looked up, in the order of their
    /// acceptance; at most a thousand, and none when there are no more. A message whose record is
    /// damaged fails.
    ///
    /// # Errors
    /// Those of the index.
    pub async fn pending(&self, after: QueueId) -> Result<Vec<Pending>, QueueError> {
        let mut after = after;
        loop {
            const STATES: [State; 2] = [State::Waiting, State::Looking];
            let rows = self.shared().work(move |connection| index::list(connection, &STATES, after, PAGE)).await?;
            let Some(last) = rows.last() else { return Ok(Vec::new()) };
            after = last.id;
            let mut found = Vec::with_capacity(rows.len());
            for row in rows {
                match self.of(&row) {
                    Some(pending) => found.push(pending),
                    None => self.fail(&row, "its record in the index is damaged").await?,
                }
            }
            if !found.is_empty() {
                return Ok(found);
            }
        }
    }

    fn of(&self, row: &Row) -> Option<Pending> {
        let message: NewMessage = self.shared().key.open_record(Kind::QueuedMessage, row.file, &row.record)?;
        Some(Pending {
            id: row.id,
            state: row.state,
            mailbox: message.mailbox,
            device: message.device,
            accepted_at: row.accepted_at,
            retry_from: row.retry_from,
            due_at: row.due_at,
            bytes: row.bytes,
            attempts: row.attempts,
            changed: row.changed,
        })
    }

    /// The messages that are to be delivered or looked up, and that a person has changed behind this act
    /// and message, in the order of the acts; at most a thousand, and none when there are no more.
    ///
    /// # Errors
    /// Those of the index.
    pub async fn changed(&self, after: (u64, QueueId)) -> Result<Vec<Pending>, QueueError> {
        let rows = self.shared().work(move |connection| index::changed(connection, after, PAGE)).await?;
        // A damaged one failed when it was read first.
        Ok(rows.iter().filter_map(|row| self.of(row)).collect())
    }

    /// The messages behind `after` that wait for a person, and were in no report when this process or the
    /// former one ended; at most a thousand, and none when there are no more.
    ///
    /// # Errors
    /// Those of the index.
    pub async fn unreported(&self, after: QueueId) -> Result<Vec<Entry>, QueueError> {
        let rows = self.shared().work(move |connection| index::unreported(connection, after, PAGE)).await?;
        Ok(rows.into_iter().map(|row| self.shared().entry(row)).collect())
    }

    /// Notes that these messages are in a report, or in need of none.
    ///
    /// # Errors
    /// Those of the index.
    pub async fn reported(&self, ids: Vec<QueueId>) -> Result<(), QueueError> {
        self.shared().change(move |transaction| index::reported(transaction, &ids)).await
    }

    /// A message, if it is to be delivered or looked up.
    ///
    /// # Errors
    /// Those of the index.
    pub async fn pending_one(&self, id: QueueId) -> Result<Option<Pending>, QueueError> {
        let row = self.shared().work(move |connection| index::get(connection, id)).await?;
        let row = row.filter(|row| matches!(row.state, State::Waiting | State::Looking));
        Ok(row.and_then(|row| self.of(&row)))
    }

    /// Marks a message as being handed over; false when it no longer waits as it was seen. It is durable
    /// when this returns, with the recipients that do not get it. The step that cannot be taken back comes
    /// after it.
    ///
    /// # Errors
    /// Those of the index. The message may then be marked, and must be settled.
    pub async fn hand_over(&self, seen: Seen, refused: Option<Refused>) -> Result<bool, QueueError> {
        let shared = Arc::clone(self.shared());
        let handed = self.shared().change(move |transaction| {
            shared.faults.pass(Point::HandOver).map_err(index::failed)?;
            let (from, at): (&[State], _) = (&[State::Waiting], shared.now());
            let change = Change { seen, from, to: State::Sending, at, due: None, note: None, counts: false };
            let handed = index::change(transaction, &change)?;
            if handed && let Some(row) = index::get(transaction, seen.id)? {
                let sealed =
                    refused.and_then(|refused| shared.key.seal_record(Kind::QueueRefused, row.file, &refused).ok());
                index::set_refused(transaction, seen.id, sealed.as_deref())?;
                if let Some((copy, mailbox)) = shared.copy(&row) {
                    index::note_handed_over(transaction, seen.id, (copy, &mailbox), at)?;
                }
            }
            Ok(handed)
        });
        handed.await
    }

    /// Whether a copy of a message in Sent Items may be that of another message, with the same
    /// Message-ID, that left the queue at that time or since.
    ///
    /// # Errors
    /// Those of the index.
    pub async fn has_double(&self, id: QueueId) -> Result<bool, QueueError> {
        self.shared().work(move |connection| index::has_double(connection, id)).await
    }

    /// Keeps the outcome of an attempt or a look. Returns false and keeps nothing when the message is no
    /// longer as it was seen: somebody has changed it meanwhile, or this outcome was kept before.
    ///
    /// # Errors
    /// Those of the index. The message then stays as it is, or the outcome is kept after all.
    pub async fn settle(&self, seen: Seen, outcome: Outcome) -> Result<bool, QueueError> {
        const TRIED: &[State] = &[State::Waiting, State::Sending, State::Looking];
        const HANDED_OVER: &[State] = &[State::Sending, State::Looking];
        let at = self.shared().now();
        let mut rest = None;
        let (from, to, due, note) = match outcome {
            Outcome::Sent { keep: false, .. } => return self.remove(seen, TRIED).await,
            Outcome::Sent { keep: true, note } => (TRIED, State::Sent, None, note),
            Outcome::Again { due, note } => (TRIED, State::Waiting, Some(due), note),
            Outcome::Look { due, note } => (HANDED_OVER, State::Looking, Some(due), note),
            Outcome::Part { left, note } => {
                rest = Some(left);
                (TRIED, State::Failed, None, Some(note))
            }
            Outcome::Failed { note } => (TRIED, State::Failed, None, Some(note)),
            Outcome::Unknown { note } => (HANDED_OVER, State::Unknown, None, Some(note)),
        };
        let shared = Arc::clone(self.shared());
        let settled = self.shared().change(move |transaction| {
            shared.faults.pass(Point::Settle).map_err(index::failed)?;
            let Some(row) = index::get(transaction, seen.id)?.filter(|row| row.seen() == seen) else {
                return Ok(false);
            };
            if let Some(left) = rest
                && from.contains(&row.state)
                && let Some(record) = shared.with_recipients(&row, left)
            {
                index::set_record(transaction, seen.id, &record)?;
            }
            let note = note.and_then(|note| shared.key.seal_record(Kind::QueueNote, row.file, &note).ok());
            index::change(transaction, &Change { seen, from, to, at, due, note, counts: true })
        });
        settled.await
    }

    /// Lets a message wait or be looked for whose attempt broke off inside of Gatepost, without a word of
    /// how far it came. Returns its state from then on. `None`: neither is due.
    ///
    /// # Errors
    /// Those of the index. The message then stays as it is, or this is kept after all.
    pub async fn break_off(&self, id: QueueId, due: UnixTime) -> Result<Option<State>, QueueError> {
        let at = self.shared().now();
        let broken_off = self.shared().change(move |transaction| {
            let Some(row) = index::get(transaction, id)? else { return Ok(None) };
            let (from, to): (&[State], _) = match row.state {
                State::Waiting => (&[State::Waiting], State::Waiting),
                // It may have been handed over.
                State::Sending | State::Looking => (&[State::Sending, State::Looking], State::Looking),
                State::Failed | State::Unknown | State::Sent => return Ok(None),
            };
            let change = Change { seen: row.seen(), from, to, at, due: Some(due), note: None, counts: true };
            Ok(index::change(transaction, &change)?.then_some(to))
        });
        broken_off.await
    }

    async fn remove(&self, seen: Seen, states: &'static [State]) -> Result<bool, QueueError> {
        let shared = Arc::clone(self.shared());
        let removed = self.shared().change(move |transaction| {
            shared.faults.pass(Point::Settle).map_err(index::failed)?;
            index::remove_seen(transaction, seen, states)
        });
        let file = removed.await?;
        self.shared().unlink(file).await;
        Ok(file.is_some())
    }

    /// Removes messages that were sent before a time and kept since. Returns how many.
    ///
    /// # Errors
    /// Those of the index.
    pub async fn forget_sent(&self, before: UnixTime) -> Result<usize, QueueError> {
        let files = self.shared().change(move |transaction| index::remove_sent(transaction, before)).await?;
        let forgotten = files.len();
        self.shared().unlink(files).await;
        Ok(forgotten)
    }

    /// Removes files that belong to no message, lets messages fail whose file is gone, and follows
    /// the state key. To be called once an hour.
    ///
    /// # Errors
    /// Those of the index and the disk.
    pub async fn sweep(&self) -> Result<(), QueueError> {
        if let Err(error) = self.shared().follow_key().await {
            tracing::warn!("the queue could not follow the state key: {error}");
        }
        let shared = Arc::clone(self.shared());
        let present = on_disk(&self.shared().messages, move || names(&shared)).await?;
        let rows = self.shared().work(|connection| index::files(connection)).await?;
        let known: HashSet<FileName> = rows.iter().map(|(file, ..)| *file).collect();
        let orphans: Vec<FileName> = present.iter().filter(|name| !known.contains(name)).copied().collect();
        for (file, id, state) in rows.into_iter().filter(|(file, ..)| !present.contains(file)) {
            // It may be newer than the list of files.
            let tried = matches!(state, State::Waiting | State::Looking);
            if tried
                && self.is_gone(file).await
                && let Some(row) = self.shared().work(move |connection| index::get(connection, id)).await?
            {
                self.fail(&row, "its file is gone").await?;
            }
        }
        for orphan in orphans {
            self.remove_orphan(orphan).await?;
        }
        Ok(())
    }

    /// Whether a file is certainly not there.
    async fn is_gone(&self, file: FileName) -> bool {
        let shared = Arc::clone(self.shared());
        let found = on_disk(&self.shared().messages, move || {
            shared.faults.pass(Point::Find)?;
            shared.path(file).try_exists()
        });
        let found = found.await.inspect_err(|error| {
            tracing::warn!("the file of a message could not be looked for: {error}");
        });
        found == Ok(false)
    }

    async fn remove_orphan(&self, file: FileName) -> Result<(), QueueError> {
        let path = self.shared().path(file);
        let lock = {
            let path = path.clone();
            on_disk(&self.shared().messages, move || files::lock_present(&path)).await?
        };
        // The process that writes it has it locked until its row is there.
        let Some(_lock) = lock else { return Ok(()) };
        if !self.shared().work(move |connection| index::has(connection, file)).await? {
            tracing::info!(path = %path.display(), "removed a message that was never accepted");
            self.shared().unlink([file]).await;
        }
        Ok(())
    }

    async fn fail(&self, row: &Row, what: &str) -> Result<(), QueueError> {
        let note = Note {
            at: self.shared().now(),
            cause: None,
            code: None,
            what: what.to_owned(),
            action_by: Some(Actor::GatepostAdmin.name().to_owned()),
            to_do: Some("restore the whole queue directory from a backup, or discard the message".to_owned()),
        };
        self.settle(row.seen(), Outcome::Failed { note }).await.map(drop)
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.queue.0
    }
}

/// The files of messages that are there.
fn names(shared: &Shared) -> io::Result<HashSet<FileName>> {
    let mut names = HashSet::new();
    for entry in fs::read_dir(&shared.messages)? {
        names.extend(entry?.file_name().to_str().and_then(FileName::parse));
    }
    Ok(names)
}
