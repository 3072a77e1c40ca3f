//! Faults of the disk and of other processes: each has its own message, and none loses what was
//! kept before.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use super::*;
use crate::database::DEADLINE;
use crate::sealed::Sealed;
use crate::{SignInKey, Store, StoreError, Version, open, sample};
use gatepost_config::StateKey;

struct World {
    directory: PathBuf,
    database: Sqlite,
    store: Sealed,
}

impl World {
    /// A store with a sign-in of alice, and the version of that sign-in.
    async fn new() -> (Self, Version) {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("gatepost-sqlite-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        let database = open::open_file(&directory).await.unwrap();
        let store = Sealed::new(Box::new(database.clone()), StateKey::File(directory.join("state.key")));
        store.start().await.unwrap();
        let world = Self { directory, database, store };
        let version = world.put("one", None).await.unwrap();
        (world, version)
    }

    async fn put(&self, token: &str, replaces: Option<Version>) -> Result<Version, StoreError> {
        self.store.put_sign_in(&alice(), &sample::sign_in(token), replaces).await
    }

    async fn token(&self) -> Result<String, StoreError> {
        let kept = self.store.sign_in(&alice()).await?;
        Ok(kept.map_or_else(String::new, |(kept, _)| kept.refresh_token.expose().to_owned()))
    }

    fn pragma(&self, statement: &str) {
        let held = self.database.0.connection();
        // Some statements answer with a row, and some do not.
        held.as_ref().unwrap().execute_batch(statement).unwrap();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn alice() -> SignInKey {
    sample::key("alice@contoso.example")
}

#[tokio::test]
async fn a_full_disk_keeps_what_was_there() {
    let (world, version) = World::new().await;
    world.pragma("PRAGMA max_page_count = 1");
    let error = world.put(&"t".repeat(60_000), Some(version)).await.unwrap_err();
    assert!(matches!(&error, StoreError::NotKept(why) if why.contains("the disk is full. Make room on it")), "{error}");
    assert_eq!(world.token().await.as_deref(), Ok("one"));
    world.pragma("PRAGMA max_page_count = 1000000");
    world.put("two", Some(version)).await.unwrap();
    assert_eq!(world.token().await.as_deref(), Ok("two"));
}

#[tokio::test]
async fn a_disk_that_takes_no_writes_can_still_be_read() {
    let (world, version) = World::new().await;
    world.pragma("PRAGMA query_only = ON");
    let error = world.put("two", Some(version)).await.unwrap_err();
    assert!(matches!(&error, StoreError::NotKept(why) if why.contains("cannot write")), "{error}");
    // The file is opened again, and is writable again.
    assert_eq!(world.token().await.as_deref(), Ok("one"));
    world.put("two", Some(version)).await.unwrap();
}

#[tokio::test]
async fn a_process_that_keeps_it_locked_is_waited_for_and_then_named() {
    let (world, version) = World::new().await;
    let other = Connection::open(world.directory.join(DATABASE)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let started = Instant::now();
    let error = world.put("two", Some(version)).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Unavailable(why) if why.contains("another process keeps it locked")),
        "{error}"
    );
    assert!(started.elapsed() < DEADLINE, "{:?}", started.elapsed());
    // Readers are not blocked.
    assert_eq!(world.token().await.as_deref(), Ok("one"));
    other.execute_batch("COMMIT").unwrap();
    world.put("two", Some(version)).await.unwrap();
}

#[tokio::test]
async fn a_file_that_breaks_while_it_is_open_is_said_to_be_damaged() {
    let (world, _) = World::new().await;
    world.pragma("PRAGMA wal_checkpoint(TRUNCATE)");
    fs::write(world.directory.join(DATABASE), vec![0xA5; 65_536]).unwrap();
    // The content in memory is dropped first.
    world.database.0.connection().take();
    let error = world.token().await.unwrap_err();
    assert!(matches!(&error, StoreError::Sealed(why) if why.contains("is damaged. Restore it")), "{error}");
}

#[tokio::test]
async fn a_record_that_was_moved_to_another_account_does_not_open() {
    let (world, _) = World::new().await;
    let bob = sample::key("bob@contoso.example");
    world.store.put_sign_in(&bob, &sample::sign_in("bobs"), None).await.unwrap();
    // Everything but the name of the place.
    world.pragma(
        "CREATE TEMP TABLE swapped AS SELECT name, version, sealed FROM records;
         UPDATE records SET (version, sealed) =
             (SELECT version, sealed FROM swapped WHERE swapped.name <> records.name);",
    );
    for key in [alice(), bob] {
        let error = world.store.sign_in(&key).await.unwrap_err();
        assert!(matches!(&error, StoreError::Sealed(why) if why.contains(key.login.as_str())), "{error}");
    }
    assert!(world.store.sign_ins().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_lease_of_a_clock_that_was_set_back_does_not_last_for_ever() {
    let (world, _) = World::new().await;
    let minute = Duration::from_secs(60);
    world.store.lease_sign_in(&alice(), minute).await.unwrap().unwrap();
    assert!(world.store.lease_sign_in(&alice(), minute).await.unwrap().is_none());
    world.pragma("UPDATE leases SET ends_at = ends_at + 3600000");
    assert!(world.store.lease_sign_in(&alice(), minute).await.unwrap().is_some());
}
