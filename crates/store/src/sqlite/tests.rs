//! Faults of the disk and of other processes: each has its own message, and none loses what was
//! kept before.

use std::fs;
use std::sync::Arc;
use std::time::Instant;

use tempfile::TempDir;

use super::*;
use crate::database::DEADLINE;
use crate::sealed::Sealed;
use crate::{RetryingStore, Rotation, SignInKey, Store, StoreError, Version, open, rotate_key, sample};
use gatepost_config::{State, StateKey};

struct World {
    database: Sqlite,
    store: Sealed,
    /// Removed when both are closed.
    directory: TempDir,
}

impl World {
    /// A store with a sign-in of alice, and the version of that sign-in.
    async fn new() -> (Self, Version) {
        let directory = sample::directory();
        let database = open::open_file(directory.path()).await.unwrap();
        let store = Sealed::new(Box::new(database.clone()), StateKey::File(directory.path().join("state.key")));
        store.start().await.unwrap();
        let world = Self { database, store, directory };
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

    fn key(&self) -> StateKey {
        StateKey::File(self.directory.path().join("state.key"))
    }

    /// Removes all that the database has, as a Redis without persistence does in a restart.
    fn empty(&self) {
        self.pragma("DELETE FROM records; DELETE FROM keys; UPDATE store SET current_key = NULL");
    }

    fn pragma(&self, statement: &str) {
        let held = self.database.0.connection();
        // Some statements answer with a row, and some do not.
        held.as_ref().unwrap().execute_batch(statement).unwrap();
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
    let other = Connection::open(world.directory.path().join(DATABASE)).unwrap();
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
    fs::write(world.directory.path().join(DATABASE), vec![0xA5; 65_536]).unwrap();
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

#[tokio::test]
async fn what_was_known_is_put_back_when_somebody_empties_the_store() {
    let (world, _) = World::new().await;
    let inner = Arc::new(Sealed::new(Box::new(world.database.clone()), world.key()));
    inner.start().await.unwrap();
    let store = RetryingStore::new(Arc::clone(&inner) as Arc<dyn Store>);
    let [one, two, revoked] = ["aaaaaaaa", "bbbbbbbb", "cccccccc"].map(sample::device_password);
    for password in [&one, &two, &revoked] {
        store.add_device_password(password).await.unwrap();
    }
    assert_eq!(store.device_passwords().await.unwrap().len(), 3);
    assert!(store.revoke_device_password(&revoked.id).await.unwrap());
    let (_, read) = store.sign_in(&alice()).await.unwrap().unwrap();
    assert_eq!(store.emptied(), 0);
    for times in [1, 2] {
        world.empty();
        // One of them is made again before anything is put back.
        inner.add_device_password(&two).await.unwrap();
        assert_eq!((inner.emptied(), store.emptied()), (times, times));
        assert_eq!(store.device_passwords().await.unwrap(), [one.clone(), two.clone()]);
        assert_eq!(world.token().await.as_deref(), Ok("one"));
    }
    // A caller that read the sign-in before may still replace it.
    store.put_sign_in(&alice(), &sample::sign_in("two"), Some(read)).await.unwrap();
    assert_eq!(world.token().await.as_deref(), Ok("two"));
}

#[tokio::test]
async fn a_sign_in_that_is_there_again_is_not_overwritten_by_what_was_known() {
    let (world, _) = World::new().await;
    let inner = Arc::new(Sealed::new(Box::new(world.database.clone()), world.key()));
    inner.start().await.unwrap();
    let store = RetryingStore::new(Arc::clone(&inner) as Arc<dyn Store>);
    let (_, read) = store.sign_in(&alice()).await.unwrap().unwrap();
    world.empty();
    inner.put_sign_in(&alice(), &sample::sign_in("signed in again"), None).await.unwrap();
    assert_eq!(store.sign_in(&alice()).await.unwrap().unwrap().0.refresh_token.expose(), "signed in again");
    let stale = store.put_sign_in(&alice(), &sample::sign_in("lost"), Some(read)).await;
    assert_eq!(stale, Err(StoreError::Changed));
}

#[tokio::test]
async fn a_rotation_seals_everything_again_and_retires_the_old_key() {
    let (world, version) = World::new().await;
    let password = sample::device_password("aaaaaaaa");
    world.store.add_device_password(&password).await.unwrap();
    let (directory, key) = (world.directory.path().to_owned(), world.key());
    let (state, old) = (State::Sqlite { directory, key }, fs::read(world.directory.path().join("state.key")).unwrap());
    // The list of device passwords is no record that somebody has made.
    assert_eq!(rotate_key(&state, None).await.unwrap(), Rotation::Done { records: 2, old_is_left: false });
    let count = |what: &str| {
        let held = world.database.0.connection();
        held.as_ref().unwrap().query_row(what, [], |row| row.get::<_, u32>(0)).unwrap()
    };
    assert_eq!(count("SELECT count(*) FROM keys"), 1);
    assert_eq!(count("SELECT count(*) FROM records, store WHERE key = current_key"), 3);
    assert_eq!(count("SELECT count(*) FROM records"), 3);
    // The running process follows, and what it read is still the latest.
    assert_eq!(world.token().await.as_deref(), Ok("one"));
    world.put("two", Some(version)).await.unwrap();
    assert_eq!(world.store.device_passwords().await.unwrap(), [password]);
    fs::write(world.directory.path().join("state.key"), old).unwrap();
    let next = Sealed::new(Box::new(world.database.clone()), world.key());
    assert!(next.start().await.is_err());
}

#[tokio::test]
async fn a_rotation_keeps_the_old_key_while_a_record_does_not_open() {
    let (world, _) = World::new().await;
    let state = State::Sqlite { directory: world.directory.path().to_owned(), key: world.key() };
    world.store.put_sign_in(&sample::key("bob@contoso.example"), &sample::sign_in("bobs"), None).await.unwrap();
    world.pragma("UPDATE records SET sealed = zeroblob(length(sealed)) WHERE name = (SELECT max(name) FROM records)");
    for _ in 0..2 {
        let error = rotate_key(&state, None).await.unwrap_err();
        assert!(matches!(error, crate::RotateError::Unreadable { records: 1 }), "{error}");
        let keys = fs::read_to_string(world.directory.path().join("state.key")).unwrap();
        assert_eq!(keys.lines().count(), 2, "the old key is needed to restore it");
    }
    world.pragma("DELETE FROM records WHERE key <> (SELECT current_key FROM store)");
    assert_eq!(rotate_key(&state, None).await.unwrap(), Rotation::Done { records: 0, old_is_left: false });
}

#[tokio::test]
async fn a_lease_that_ended_long_ago_is_free() {
    let (world, _) = World::new().await;
    world.store.lease_sign_in(&alice(), Duration::from_secs(60)).await.unwrap().unwrap();
    world.pragma("UPDATE leases SET ends_at = 2");
    assert!(world.store.lease_sign_in(&alice(), Duration::from_secs(60)).await.unwrap().is_some());
}

#[tokio::test]
async fn every_version_fits_a_signed_integer() {
    let (world, mut version) = World::new().await;
    for _ in 0..20 {
        assert!(version.0 <= i64::MAX.unsigned_abs(), "{version:?}");
        version = world.put("one", Some(version)).await.unwrap();
    }
}

#[tokio::test]
async fn a_key_that_another_program_provides_is_rotated_only_after_a_new_one_was_put_in_front() {
    let (world, _) = World::new().await;
    let path = world.directory.path().join("state.key");
    let state = State::Sqlite { directory: world.directory.path().to_owned(), key: StateKey::Credential(path.clone()) };
    let old = fs::read_to_string(&path).unwrap();
    let error = rotate_key(&state, None).await.unwrap_err();
    assert!(matches!(error, crate::RotateError::OneKey { .. }), "{error}");
    fs::write(&path, format!("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n{old}")).unwrap();
    assert_eq!(rotate_key(&state, None).await.unwrap(), Rotation::Done { records: 1, old_is_left: true });
    assert_eq!(world.token().await.as_deref(), Ok("one"));
    // The old one is no longer needed.
    fs::write(&path, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n").unwrap();
    assert_eq!(world.token().await.as_deref(), Ok("one"));
}

#[tokio::test]
async fn a_directory_has_a_store_once_one_was_opened() {
    let (world, _) = World::new().await;
    assert!(crate::exists(world.directory.path()));
    assert!(!crate::exists(&world.directory.path().join("absent")));
    assert!(!world.directory.path().join("absent").exists());
}
