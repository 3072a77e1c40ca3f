//! What a queue reads back from its index and from the file of a message, after somebody or something
//! changed them.

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use gatepost_config::StateKey;
use gatepost_core::clock::Clock;
use gatepost_store::queue::{Courier, Entry, NewMessage, Note, Outcome, Queue, QueueError, QueueId, Recipient, State};
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, params_from_iter};
use tokio::runtime::{Builder, Runtime};

/// The columns of a message that an input can change.
const COLUMNS: [&str; 12] = [
    "record",
    "note",
    "refused",
    "file",
    "state",
    "since",
    "accepted_at",
    "retry_from",
    "due_at",
    "bytes",
    "attempts",
    "changed",
];
/// The column of the state.
const STATE: usize = 4;
/// How many of [`COLUMNS`] hold octets, and may come from the other message.
const BLOBS: u8 = 4;
/// The content of the two messages.
const CONTENT: [&[u8]; 2] = [b"Subject: one\r\n\r\n1\r\n", b"Subject: other\r\n\r\n2\r\n"];
/// Most changes of one input.
const CHANGES: usize = 8;

/// A queue with two messages, of which the first one is changed.
struct World {
    runtime: Runtime,
    courier: Courier,
    index: Connection,
    /// The rows as they were, and the totals.
    rows: Vec<Vec<Value>>,
    totals: Vec<Vec<Value>>,
    entries: [Entry; 2],
    /// The file of the first message.
    path: PathBuf,
    file: Vec<u8>,
}

/// Changes follow each other: an octet for the place, one for the length, and the octets.
pub fn check(data: &[u8]) {
    let mut world = World::the_only();
    let mut rest = data;
    for _ in 0..CHANGES {
        let Some((&[place, length], more)) = rest.split_first_chunk() else { break };
        let (octets, more) = more.split_at(usize::from(length).min(more.len()));
        world.change(place, octets);
        rest = more;
    }
    let World { runtime, courier, entries, .. } = &*world;
    runtime.block_on(judge(courier, entries));
    world.restore();
}

async fn judge(courier: &Courier, entries: &[Entry; 2]) {
    let queue = courier.queue();
    let [first, second] = entries;
    let shown = told(queue.show(first.id).await).flatten();
    if let Some(shown) = &shown {
        is_the_same_or_lost(shown, first);
    }
    assert_eq!(told(queue.show(second.id).await).flatten().as_ref(), Some(second), "another message was changed");
    for entry in told(queue.list(&State::ALL, QueueId(0), 10).await).unwrap_or_default() {
        is_the_same_or_lost(&entry, if entry.id == first.id { first } else { second });
    }
    for (entry, content) in entries.iter().zip(CONTENT) {
        let Some(Some(file)) = told(queue.read(entry.id).await) else {
            assert!(entry.id == first.id, "another message cannot be read");
            continue;
        };
        if let Ok(read) = file.chunk_now(0) {
            assert_eq!(read.as_slice(), content, "another content");
            assert_eq!(file.length(), content.len() as u64);
        }
    }
    told(queue.totals().await);
    told(courier.changed((0, QueueId(0))).await);
    for entry in told(courier.unreported(QueueId(0)).await).unwrap_or_default() {
        is_the_same_or_lost(&entry, if entry.id == first.id { first } else { second });
    }
    // What is delivered is what was accepted.
    for pending in told(courier.pending(QueueId(0)).await).unwrap_or_default() {
        let entry = if pending.id == first.id { first } else { second };
        let message = entry.message.as_ref().expect("a message");
        assert!((&pending.mailbox, &pending.device) == (&message.mailbox, &message.device));
    }
    // One that cannot be read fails, and no other.
    if shown.is_some_and(|shown| shown.message.is_none()) {
        let now = told(queue.show(first.id).await).flatten();
        let waits = now.is_some_and(|now| matches!(now.state, State::Waiting | State::Looking));
        assert!(!waits, "a damaged message waits");
    }
    assert_eq!(told(queue.show(second.id).await).flatten().as_ref(), Some(second), "another message was changed");
}

/// An error says what is wrong, and none comes from a panic.
fn told<T>(result: Result<T, QueueError>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            let text = error.to_string();
            assert!(!text.is_empty() && !text.contains("inside of Gatepost"), "{text}");
            assert!(!text.chars().any(char::is_control), "{text:?} is no line");
            None
        }
    }
}

/// Whatever is sealed is as it was, or is not read.
fn is_the_same_or_lost(entry: &Entry, before: &Entry) {
    assert!(entry.message.is_none() || entry.message == before.message, "another message");
    assert!(entry.note.is_none() || entry.note == before.note, "another note");
    assert!(entry.refused.is_none() || entry.refused == before.refused, "others were refused");
}

impl World {
    fn the_only() -> MutexGuard<'static, Self> {
        static WORLD: OnceLock<Mutex<World>> = OnceLock::new();
        let world = WORLD.get_or_init(|| Mutex::new(World::new())).lock();
        let mut world = world.unwrap_or_else(PoisonError::into_inner);
        world.restore();
        world
    }

    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
        let directory = std::env::temp_dir().join(format!("gatepost-fuzz-queue-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        let (place, key) = (directory.join("queue"), StateKey::File(directory.join("state.key")));
        let opened = async {
            let queue = Queue::open(&place, 1_000_000, &key, Clock::manual()).await.expect("a queue");
            let mut entries = Vec::new();
            for (number, content) in CONTENT.into_iter().enumerate() {
                let mut writer = queue.writer(queue.reserve(None).await.expect("room")).await.expect("a file");
                writer.write(content).await.expect("a file");
                let id = writer.commit(&message(number)).await.expect("a message");
                entries.push(queue.show(id).await.expect("an index").expect("a message"));
            }
            let courier = queue.courier().await.expect("a lock").expect("a courier");
            // Both have a note.
            for entry in &mut entries {
                let note = note(&entry.id.to_string());
                let outcome = Outcome::Again { due: entry.due_at, note: Some(note) };
                assert!(courier.settle(entry.seen(), outcome).await.expect("an index"));
                *entry = queue.show(entry.id).await.expect("an index").expect("a message");
            }
            (courier, entries.try_into().expect("two messages"))
        };
        let (courier, entries) = runtime.block_on(opened);
        let index = Connection::open(place.join("index.sqlite")).expect("an index");
        index.execute_batch("PRAGMA synchronous = OFF").expect("an index");
        let rows = all(&index, &format!("SELECT {}, id FROM messages ORDER BY id", COLUMNS.join(", ")));
        let totals = all(&index, "SELECT messages, bytes, state FROM totals");
        let Value::Blob(name) = &rows[0][3] else { panic!("no name of a file") };
        let name: String = name.iter().map(|octet| format!("{octet:02x}")).collect();
        let path = place.join("messages").join(name);
        let file = fs::read(&path).expect("a file");
        Self { runtime, courier, index, rows, totals, entries, path, file }
    }

    /// Makes one change to the first message.
    fn change(&mut self, place: u8, octets: &[u8]) {
        let index = place & 15;
        match COLUMNS.get(usize::from(index)) {
            // One that is sealed for another message, or for another column of this one.
            Some(column) if index < BLOBS && place & 64 != 0 => {
                let from = usize::from(octets.first().copied().unwrap_or_default());
                let value = &self.rows[from & 1][(from >> 1) % usize::from(BLOBS)];
                self.set(column, value.clone());
            }
            Some(column) if index < BLOBS && place & 32 != 0 => {
                let Value::Blob(mut value) = self.rows[0][usize::from(index)].clone() else { return };
                alter(&mut value, octets);
                self.set(column, Value::Blob(value));
            }
            Some(column) if index < BLOBS => self.set(column, Value::Blob(octets.to_vec())),
            Some(&"state") => self.set("state", Value::Text(String::from_utf8_lossy(octets).into_owned())),
            Some(column) => {
                let mut number = [0; 8];
                number.iter_mut().zip(octets).for_each(|(to, from)| *to = *from);
                self.set(column, Value::Integer(i64::from_le_bytes(number)));
            }
            None => {
                let mut file = self.file.clone();
                match index {
                    12 => file = octets.to_vec(),
                    13 => file.truncate(octets.len()),
                    14 => file.extend_from_slice(octets),
                    _ => alter(&mut file, octets),
                }
                fs::write(&self.path, file).expect("a file");
            }
        }
    }

    /// Two messages cannot have one file, which the index refuses.
    fn set(&self, column: &str, value: Value) {
        let _ = self.index.execute(&format!("UPDATE messages SET {column} = ?1 WHERE id = 1"), [value]);
    }

    fn restore(&mut self) {
        let others = COLUMNS.map(|column| format!("{column} = ?"));
        let (state, others) = (&others[STATE], [&others[..STATE], &others[STATE + 1..]].concat().join(", "));
        let (totals, all) =
            ("UPDATE totals SET messages = ?, bytes = ? WHERE state = ?", "unreported = 0 WHERE id = ?");
        let transaction = self.index.transaction().expect("an index");
        let run = |sql: &str, values: &[Value]| {
            transaction.execute(sql, params_from_iter(values)).expect("an index");
        };
        // The state comes last, because a change of it counts the octets, which have to be right then.
        for row in &self.rows {
            let values = [&row[..STATE], &row[STATE + 1..]].concat();
            run(&format!("UPDATE messages SET {others}, {all}"), &values);
        }
        for _ in 0..2 {
            self.totals.iter().for_each(|row| run(totals, row));
            for row in &self.rows {
                run(&format!("UPDATE messages SET {state}, {all}"), &[row[STATE].clone(), row[COLUMNS.len()].clone()]);
            }
        }
        transaction.commit().expect("an index");
        fs::write(&self.path, &self.file).expect("a file");
    }
}

/// Every octet pair is a place and what is added there.
fn alter(value: &mut [u8], pairs: &[u8]) {
    for pair in pairs.chunks_exact(2) {
        if let Some(at) = usize::from(pair[0]).checked_rem(value.len()) {
            value[at] = value[at].wrapping_add(pair[1]);
        }
    }
}

fn all(index: &Connection, sql: &str) -> Vec<Vec<Value>> {
    let mut statement = index.prepare(sql).expect("a statement");
    let columns = statement.column_count();
    let value = |value: ValueRef<'_>| Value::try_from(value).expect("a value");
    let rows = statement.query_map([], |row| (0..columns).map(|n| row.get_ref(n).map(value)).collect());
    rows.expect("rows").collect::<Result<_, _>>().expect("rows")
}

fn message(number: usize) -> NewMessage {
    NewMessage {
        listener: "scanners".to_owned(),
        login: format!("scanner{number}@contoso.example"),
        mailbox: format!("scanner{number}@contoso.example"),
        device: format!("192.0.2.{number}"),
        sender: None,
        body: None,
        smtputf8: false,
        dsn: Vec::new(),
        recipients: vec![Recipient { address: "alice@contoso.example".to_owned(), dsn: Vec::new() }],
        message_id: Some(format!("<{number}@scanner.example>")),
    }
}

fn note(what: &str) -> Note {
    let at = gatepost_core::clock::UnixTime(1_800_000_000);
    Note { at, cause: None, code: None, what: what.to_owned(), action_by: None, to_do: None }
}
