//! A queue in a directory of its own.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::queue::{Entry, MessageWriter, NewMessage, Queue, QueueError, QueueId, Recipient, Seen, State};
use crate::{OpenError, sample};
use gatepost_config::StateKey;
use gatepost_core::clock::Clock;

pub(super) const SIZE: u64 = 1_000_000;

pub(super) struct World {
    pub(super) clock: Clock,
    pub(super) queue: Queue,
    /// Removed when the queue is closed.
    pub(super) directory: TempDir,
}

impl World {
    pub(super) async fn new() -> Self {
        let (directory, clock) = (sample::directory(), Clock::manual());
        let place = directory.path().join("queue");
        let queue = Queue::open(&place, SIZE, &key(directory.path()), clock.clone()).await.unwrap();
        Self { clock, queue, directory }
    }

    /// The same queue as another process sees it.
    pub(super) async fn other(&self) -> Result<Queue, OpenError> {
        Queue::open(&self.queue_directory(), SIZE, &self.key(), self.clock.clone()).await
    }

    pub(super) fn key(&self) -> StateKey {
        key(self.directory.path())
    }

    pub(super) fn queue_directory(&self) -> PathBuf {
        self.directory.path().join("queue")
    }

    pub(super) async fn writer(&self, content: &[u8]) -> Result<MessageWriter, QueueError> {
        let reservation = self.queue.reserve(None).await?;
        let mut writer = self.queue.writer(reservation).await?;
        writer.write(content).await?;
        Ok(writer)
    }

    pub(super) async fn accept(&self, content: &[u8]) -> Result<QueueId, QueueError> {
        self.writer(content).await?.commit(&message()).await
    }

    pub(super) async fn content(&self, id: QueueId) -> Result<Vec<u8>, QueueError> {
        let file = self.queue.read(id).await?.unwrap();
        let mut content = Vec::new();
        while content.len() < usize::try_from(file.length()).unwrap() {
            content.extend_from_slice(&file.chunk_at(content.len() as u64).await.unwrap());
        }
        Ok(content)
    }

    pub(super) async fn all(&self) -> Vec<Entry> {
        self.queue.list(&State::ALL, QueueId(0), 1_000).await.unwrap()
    }

    pub(super) async fn states(&self) -> Vec<(u64, State)> {
        self.all().await.into_iter().map(|entry| (entry.id.0, entry.state)).collect()
    }

    pub(super) fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.queue_directory().join("messages")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// Waits until there are so many files: a writer that is dropped removes its own beside it.
    pub(super) async fn has_files(&self, number: usize) {
        for _ in 0..1_000 {
            if self.files().len() == number {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        panic!("{} files instead of {number}", self.files().len());
    }

    pub(super) fn sql(&self, statements: &str) {
        let connection = rusqlite::Connection::open(self.queue_directory().join("index.sqlite")).unwrap();
        connection.execute_batch(statements).unwrap();
    }
}

pub(super) fn key(directory: &std::path::Path) -> StateKey {
    StateKey::File(directory.join("state.key"))
}

/// A message as an attempt sees it now.
pub(super) async fn seen(queue: &Queue, id: QueueId) -> Seen {
    let entry = queue.show(id).await.unwrap();
    entry.map_or(Seen { id, attempts: 0, changed: 0 }, |entry| entry.seen())
}

pub(super) fn message() -> NewMessage {
    NewMessage {
        listener: "scanners".into(),
        login: "scanner@contoso.example".into(),
        mailbox: "scanner@contoso.example".into(),
        device: "192.0.2.7".into(),
        sender: Some("scanner@contoso.example".into()),
        body: Some("8BITMIME".into()),
        smtputf8: false,
        dsn: vec!["RET=HDRS".into()],
        recipients: vec![Recipient { address: "alice@contoso.example".into(), dsn: vec!["NOTIFY=FAILURE".into()] }],
        message_id: Some("<1@scanner.example>".into()),
    }
}
