//! Files and records that somebody or something changed.

use std::fs;

use super::world::{SIZE, World, key};
use crate::OpenError;
use crate::queue::{Queue, QueueError, QueueId, State};
use gatepost_core::clock::Clock;

/// The reason why the queue of a world cannot be opened.
async fn refusal(world: &World) -> String {
    match world.other().await {
        Ok(_) => panic!("it was opened"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn a_damaged_cut_or_exchanged_file_is_named_and_never_sent_in_part() {
    let world = World::new().await;
    let ids = [world.accept(&[1; 150_000]).await.unwrap(), world.accept(&[2; 150_000]).await.unwrap()];
    let files = world.files();
    let raw = fs::read(&files[0]).unwrap();
    let mut altered = raw.clone();
    altered[149_000] ^= 1;
    for content in
        [&altered[..], &raw[..100_000], &[&raw[..], &raw[..70_000]].concat(), b"", &fs::read(&files[1]).unwrap()]
    {
        fs::write(&files[0], content).unwrap();
        let mut damaged = 0;
        for id in ids {
            match world.queue.read(id).await {
                Ok(file) => assert_eq!(file.unwrap().length(), 150_000),
                Err(QueueError::Damaged(why)) => {
                    assert!(why.contains("is damaged") && why.contains("/messages/"), "{why}");
                    damaged += 1;
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(damaged, 1, "{} octets", content.len());
    }
    fs::remove_file(&files[0]).unwrap();
    let courier = world.queue.courier().await.unwrap().unwrap();
    assert_eq!(courier.pending(QueueId(0)).await.unwrap().len(), 1);
    assert_eq!(world.queue.totals().await.unwrap().of(State::Failed).messages, 1);
}

#[tokio::test]
async fn a_damaged_record_fails_whatever_is_in_the_columns_beside_it() {
    let world = World::new().await;
    let columns = ["changed", "since", "accepted_at", "retry_from", "due_at", "bytes"];
    for column in columns {
        let id = world.accept(b"one").await.unwrap().0;
        world.sql(&format!("UPDATE messages SET record = x'00', {column} = -1 WHERE id = {id}"));
    }
    let courier = world.queue.courier().await.unwrap().unwrap();
    assert!(courier.pending(QueueId(0)).await.unwrap().is_empty());
    let states = world.states().await;
    assert!(states.len() == columns.len() && states.iter().all(|(_, state)| *state == State::Failed), "{states:?}");
}

#[tokio::test]
async fn a_record_that_was_altered_or_moved_to_another_message_fails() {
    let world = World::new().await;
    world.accept(b"one").await.unwrap();
    world.accept(b"two").await.unwrap();
    world.accept(b"three").await.unwrap();
    world.sql("UPDATE messages SET record = (SELECT record FROM messages WHERE id = 2) WHERE id = 1");
    world.sql("UPDATE messages SET record = substr(record, 1, 40) WHERE id = 3");
    let courier = world.queue.courier().await.unwrap().unwrap();
    let pending = courier.pending(QueueId(0)).await.unwrap();
    assert!(pending.iter().map(|pending| pending.id.0).eq([2]));
    assert_eq!(world.states().await, [(1, State::Failed), (2, State::Waiting), (3, State::Failed)]);
    let entry = world.queue.show(QueueId(1)).await.unwrap().unwrap();
    assert!(entry.message.is_none());
    assert_eq!(entry.note.unwrap().what, "its record in the index is damaged");
}

#[tokio::test]
async fn an_index_that_cannot_be_used_is_named_and_left_alone() {
    let world = World::new().await;
    world.accept(b"content").await.unwrap();
    let index = world.queue_directory().join("index.sqlite");
    world.sql("PRAGMA wal_checkpoint(TRUNCATE); UPDATE queue SET format = 3");
    let told = refusal(&world).await;
    assert!(told.contains("has format 3, and this version of Gatepost knows formats up to 2"), "{told}");
    world.sql("UPDATE queue SET format = 2; PRAGMA wal_checkpoint(TRUNCATE)");
    let whole = fs::read(&index).unwrap();
    let mut torn = whole.clone();
    let length = torn.len();
    torn[4_096..length / 2].fill(0xA5);
    for broken in [torn, vec![b'x'; 10_000]] {
        fs::write(&index, &broken).unwrap();
        let told = refusal(&world).await;
        assert!(told.contains("is damaged. Restore the whole directory from a backup"), "{told}");
        assert!(fs::read(&index).unwrap() == broken);
    }
    fs::remove_file(&index).unwrap();
    let _ = fs::remove_file(index.with_extension("sqlite-wal"));
    let _ = fs::remove_file(index.with_extension("sqlite-shm"));
    let told = refusal(&world).await;
    assert!(told.contains("1 messages beside it cannot be read without it"), "{told}");
    assert_eq!(world.files().len(), 1, "what an index belongs to is not taken for a leftover");
}

/// The tables of the first format, without its triggers.
const FORMAT_1: &str = "
    DROP TABLE queue;
    CREATE TABLE queue (id INTEGER PRIMARY KEY CHECK (id = 1), format INTEGER NOT NULL) STRICT;
    INSERT INTO queue (id, format) VALUES (1, 1);
    DROP INDEX messages_by_change;
    ALTER TABLE messages DROP COLUMN changed;
    DROP INDEX messages_unreported;
    ALTER TABLE messages DROP COLUMN refused;
    ALTER TABLE messages DROP COLUMN unreported;
    ALTER TABLE handed_over DROP COLUMN mailbox;
";

#[tokio::test]
async fn a_queue_of_an_earlier_format_keeps_its_messages_and_becomes_one_of_this_format() {
    let world = World::new().await;
    let schema = |path: std::path::PathBuf| {
        let connection = rusqlite::Connection::open(path).unwrap();
        let mut rows = connection
            .prepare(
                "SELECT m.name, c.name, c.type, c.dflt_value FROM sqlite_schema AS m \
            LEFT JOIN pragma_table_xinfo(m.name) AS c ORDER BY 1, 2",
            )
            .unwrap();
        let rows = rows.query_map([], |row| {
            Ok((
                row.get::<_, String>(0)?,
                row.get::<_, Option<String>>(1)?,
                row.get::<_, Option<String>>(2)?,
                row.get::<_, Option<String>>(3)?,
            ))
        });
        rows.unwrap().collect::<Result<Vec<_>, _>>().unwrap()
    };
    let index = world.queue_directory().join("index.sqlite");
    let present = schema(index.clone());
    let id = world.accept(b"content").await.unwrap();
    world.sql(FORMAT_1);
    assert_ne!(schema(index.clone()), present);
    let upgraded = world.other().await.unwrap();
    assert_eq!(schema(index), present);
    let courier = upgraded.courier().await.unwrap().unwrap();
    assert!(courier.pending(QueueId(0)).await.unwrap().iter().map(|pending| pending.id).eq([id]));
    assert!(courier.hand_over(super::world::seen(&upgraded, id).await, None).await.unwrap());
}

#[tokio::test]
async fn another_state_key_opens_nothing() {
    let world = World::new().await;
    world.accept(b"content").await.unwrap();
    let elsewhere = world.directory.path().join("elsewhere");
    Queue::open(&elsewhere.join("queue"), SIZE, &key(&elsewhere), Clock::manual()).await.unwrap();
    let opened = Queue::open(&world.queue_directory(), SIZE, &key(&elsewhere), Clock::manual()).await;
    assert!(matches!(opened, Err(OpenError::OtherKey { .. })));
    fs::remove_file(world.directory.path().join("state.key")).unwrap();
    let told = refusal(&world).await;
    assert!(told.contains("is missing, and") && told.contains("index.sqlite` cannot be read without it"), "{told}");
    assert!(!world.directory.path().join("state.key").exists());
}

#[cfg(unix)]
#[tokio::test]
async fn a_directory_that_others_can_read_or_nobody_can_write_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new().await;
    for name in ["", "messages"] {
        let path = world.queue_directory().join(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let told = refusal(&world).await;
        assert!(told.contains("is open to others (mode 0755). Run `chmod 700"), "{told}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    }
    world.other().await.unwrap();
}
