//! Who may read what, which key opens what, and what a broken store says.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::slice;
use std::sync::{Arc, Mutex};

use gatepost_config::{State, StateKey};
use gatepost_core::clock::UnixTime;
use gatepost_core::secret::StateKeyText;
use gatepost_store::{LastUse, OpenError, RotateError, Rotation, rotate_key};

use crate::store::child::spawn_within;
use crate::store::support::{Directory, key, password, sign_in, state, token_of};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

async fn refusal(state: &State) -> String {
    match gatepost_store::open(state).await {
        Ok(_) => panic!("opened"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn everything_made_is_for_the_owner_alone() {
    let directory = Directory::new();
    let store = directory.open().await.unwrap();
    store.put_sign_in(&key("alice"), &sign_in("one"), None).await.unwrap();
    assert_eq!(mode(directory.path()), 0o700);
    let mut names = Vec::new();
    for entry in fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(mode(&entry.path()), 0o600, "{:?}", entry.file_name());
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["gatepost.sqlite", "gatepost.sqlite-shm", "gatepost.sqlite-wal", "state.key"]);
}

#[tokio::test]
async fn what_others_may_touch_is_refused_with_the_remedy() {
    let directory = Directory::new();
    drop(directory.open().await.unwrap());
    let state = directory.state();
    for (name, right, wanted) in [("", 0o700, 700), ("gatepost.sqlite", 0o600, 600), ("state.key", 0o600, 600)] {
        let path = if name.is_empty() { directory.path().to_path_buf() } else { directory.file(name) };
        for wrong in [0o040, 0o020, 0o010, 0o004, 0o002, 0o001, 0o077] {
            set_mode(&path, right | wrong);
            let told = refusal(&state).await;
            assert!(told.contains(&format!("chmod {wanted} {}", path.display())), "{wrong:o}: {told}");
        }
        set_mode(&path, right);
        if fs::metadata("/proc/self").unwrap().uid() == 0 {
            chown(&path, Some(65_534), None).unwrap();
            let told = refusal(&state).await;
            assert!(
                told.contains("belongs to user nobody, and this is user root")
                    && told.contains("`sudo -u ")
                    && !told.contains("chown"),
                "{told}"
            );
            chown(&path, Some(0), None).unwrap();
        }
        drop(gatepost_store::open(&state).await.unwrap());
    }
    // Less than that is fine, too.
    set_mode(&directory.file("state.key"), 0o400);
    drop(gatepost_store::open(&state).await.unwrap());
}

#[tokio::test]
async fn symbolic_links_are_refused() {
    for name in ["gatepost.sqlite", "state.key"] {
        let (directory, other) = (Directory::new(), Directory::new());
        drop(directory.open().await.unwrap());
        drop(other.open().await.unwrap());
        fs::remove_file(directory.file(name)).unwrap();
        symlink(other.file(name), directory.file(name)).unwrap();
        let told = refusal(&directory.state()).await;
        assert!(told.contains("is a symbolic link. Write the path that it leads to"), "{told}");
        assert!(fs::symlink_metadata(directory.file(name)).unwrap().is_symlink());
    }
    let (file, directory) = (Directory::new(), Directory::new());
    fs::write(file.path(), "").unwrap();
    let told = refusal(&file.state()).await;
    fs::remove_file(file.path()).unwrap();
    assert!(told.contains("is not a directory"), "{told}");
    drop(directory.open().await.unwrap());
    fs::remove_file(directory.file("state.key")).unwrap();
    fs::create_dir(directory.file("state.key")).unwrap();
    let told = refusal(&directory.state()).await;
    assert!(told.contains("state.key` is not a file"), "{told}");
}

#[tokio::test]
async fn a_store_opens_with_its_own_key_only_and_is_left_as_it_was() {
    let (directory, other) = (Directory::new(), Directory::new());
    directory.open().await.unwrap().put_sign_in(&key("alice"), &sign_in("one"), None).await.unwrap();
    drop(other.open().await.unwrap());
    let (file, key_file) = (directory.file("gatepost.sqlite"), directory.file("state.key"));
    let (database, right) = (fs::read(&file).unwrap(), fs::read(&key_file).unwrap());

    fs::write(&key_file, fs::read(other.file("state.key")).unwrap()).unwrap();
    assert!(matches!(gatepost_store::open(&directory.state()).await, Err(OpenError::OtherKey { .. })));
    let told = refusal(&directory.state()).await;
    assert!(told.contains("is encrypted with another key than the one in") && told.contains("state.key"), "{told}");

    fs::remove_file(&key_file).unwrap();
    let told = refusal(&directory.state()).await;
    assert!(told.contains("is missing") && told.contains("put the key back from a backup"), "{told}");
    assert!(!key_file.exists(), "no other key is made beside a store");

    for text in ["", "\n\n", "short", "AAAA", "!", "QUJD\nQUJD\nQUJD", &"A".repeat(5_000)] {
        fs::write(&key_file, text).unwrap();
        set_mode(&key_file, 0o600);
        let told = refusal(&directory.state()).await;
        assert!(told.contains("state.key") && !told.contains("QUJD"), "{text}: {told}");
    }
    assert_eq!(fs::read(&file).unwrap(), database, "nothing was written");
    fs::write(&key_file, right).unwrap();
    assert_eq!(token_of(&*directory.open().await.unwrap(), "alice").await.as_deref(), Some("one"));
}

#[tokio::test]
async fn a_newer_foreign_or_damaged_file_is_refused_and_left_as_it_was() {
    let make = |directory: &Directory, sql: &str| {
        let connection = rusqlite::Connection::open(directory.file("gatepost.sqlite")).unwrap();
        connection.execute_batch(sql).unwrap();
    };
    let (newer, foreign, garbage, torn) = (Directory::new(), Directory::new(), Directory::new(), Directory::new());
    for directory in [&newer, &foreign, &garbage, &torn] {
        let store = directory.open().await.unwrap();
        for n in 0..200 {
            store.put_sign_in(&key(&format!("user{n}")), &sign_in(&"t".repeat(1_500)), None).await.unwrap();
        }
        drop(store);
        make(directory, "PRAGMA wal_checkpoint(TRUNCATE)");
    }
    make(&newer, "UPDATE store SET format = 2; PRAGMA wal_checkpoint(TRUNCATE)");
    make(&foreign, "ALTER TABLE store RENAME TO other; PRAGMA wal_checkpoint(TRUNCATE)");
    fs::write(garbage.file("gatepost.sqlite"), "x".repeat(10_000)).unwrap();
    let mut content = fs::read(torn.file("gatepost.sqlite")).unwrap();
    let length = content.len();
    content[4_096..length / 2].fill(0xA5);
    fs::write(torn.file("gatepost.sqlite"), content).unwrap();

    for (directory, words) in [
        (&newer, "has format 2, and this version of Gatepost knows formats up to 1. Run the newer version again"),
        (&foreign, "is a database, but not one of Gatepost"),
        (&garbage, "is damaged. Restore it from a backup"),
        (&torn, "is damaged. Restore it from a backup"),
    ] {
        let before = fs::read(directory.file("gatepost.sqlite")).unwrap();
        let told = refusal(&directory.state()).await;
        assert!(told.contains(words), "{told}");
        assert!(fs::read(directory.file("gatepost.sqlite")).unwrap() == before, "written: {words}");
    }
}

#[tokio::test]
async fn a_revoked_device_password_cannot_be_put_back_by_who_has_no_key() {
    let directory = Directory::new();
    let database = || rusqlite::Connection::open(directory.file("gatepost.sqlite")).unwrap();
    let keep = || database().execute_batch("CREATE TABLE old AS SELECT * FROM records").unwrap();
    let put_back = |kinds: &str| {
        let sql = format!(
            "INSERT OR REPLACE INTO records SELECT * FROM old WHERE kind IN ({kinds}); UPDATE store SET revision = revision + 1"
        );
        database().execute_batch(&sql).unwrap();
    };
    let remove_register = || {
        database().execute_batch("DELETE FROM records WHERE kind = 6").unwrap();
    };
    put_back_what_was_revoked(&directory.state(), keep, put_back, remove_register).await;
}

/// Revokes a device password, and does then what somebody can do who writes into the database and
/// has no key: `keep`s a copy of all records, and puts those of some kinds back.
pub(crate) async fn put_back_what_was_revoked(
    state: &State,
    keep: impl Fn(),
    put_back: impl Fn(&str),
    remove_register: impl Fn(),
) {
    let (running, log) = (gatepost_store::open(state).await.unwrap(), Log::default());
    let _logged = tracing::subscriber::set_default(log.subscriber());
    let (stays, goes) = (password("aaaaaaaa"), password("bbbbbbbb"));
    running.add_device_password(&stays).await.unwrap();
    running.add_device_password(&goes).await.unwrap();
    keep();
    assert!(running.revoke_device_password(&goes.id).await.unwrap());
    assert_eq!(running.device_passwords().await.unwrap(), slice::from_ref(&stays));
    assert_eq!(log.take(), "");

    put_back("2");
    let fresh = gatepost_store::open(state).await.unwrap();
    for store in [&running, &fresh] {
        assert_eq!(store.device_passwords().await.unwrap(), slice::from_ref(&stays));
        let told = log.take();
        assert!(told.contains("device password bbbbbbbb") && told.contains("is refused"), "{told}");
    }
    // The password that stays is used and revoked as ever, and so is the one that was put back.
    let used = LastUse { at: UnixTime(9), from: "192.168.7.9".parse().unwrap() };
    running.note_use(&stays.id, used).await.unwrap();
    assert_eq!(fresh.device_passwords().await.unwrap()[0].last_use, Some(used));
    assert!(running.revoke_device_password(&goes.id).await.unwrap());
    log.take();
    running.device_passwords().await.unwrap();
    assert_eq!(log.take(), "", "it is gone");

    // With the register of that time: who has seen a newer one goes by that.
    put_back("2, 6");
    let listed = running.device_passwords().await.unwrap();
    assert_eq!(listed.iter().map(|password| &password.id).collect::<Vec<_>>(), [&stays.id]);
    let told = log.take();
    assert!(told.contains("has an older list") && told.contains("bbbbbbbb"), "{told}");

    // Without any register there is none that counts, until it is made again.
    remove_register();
    let fresh = gatepost_store::open(state).await.unwrap();
    assert_eq!(fresh.device_passwords().await.unwrap(), []);
    let told = log.take();
    assert!(told.contains("aaaaaaaa") && told.contains("bbbbbbbb"), "{told}");
    let new = password("cccccccc");
    fresh.add_device_password(&new).await.unwrap();
    assert_eq!(gatepost_store::open(state).await.unwrap().device_passwords().await.unwrap(), [new]);
}

/// What is logged by this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn subscriber(&self) -> impl tracing::Subscriber + Send + Sync + use<> {
        let log = self.clone();
        let made = tracing_subscriber::fmt().with_ansi(false).with_max_level(tracing::Level::WARN);
        made.with_writer(move || log.clone()).finish()
    }

    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_key_may_come_from_elsewhere_and_is_rotated_there() {
    let (directory, aside) = (Directory::new(), Directory::new());
    fs::create_dir(aside.path()).unwrap();
    let line = |octet: u8| {
        use base64::Engine as _;
        format!("{}\n", base64::engine::general_purpose::STANDARD.encode([octet; 32]))
    };
    let with = |key: StateKey| State::Sqlite { directory: directory.path().to_path_buf(), key };
    let literal = |text: String| with(StateKey::Literal(Arc::new(StateKeyText::new(text))));
    let old = gatepost_store::open(&literal(line(1))).await.unwrap();
    old.put_sign_in(&key("alice"), &sign_in("one"), None).await.unwrap();
    assert!(!directory.file("state.key").exists());

    // The same key as a credential, which may be readable for the group, and from a command.
    fs::write(aside.file("credential"), line(1)).unwrap();
    let credential = with(StateKey::Credential(aside.file("credential")));
    assert_eq!(token_of(&*gatepost_store::open(&credential).await.unwrap(), "alice").await.as_deref(), Some("one"));
    let command = |words: &[&str]| {
        let command = words.iter().map(|word| (*word).to_owned()).collect();
        with(StateKey::Command { command, hidden: Vec::new() })
    };
    let cat = command(&["cat", aside.file("credential").to_str().unwrap()]);
    assert_eq!(token_of(&*gatepost_store::open(&cat).await.unwrap(), "alice").await.as_deref(), Some("one"));
    let told = refusal(&command(&["false"])).await;
    assert!(told.contains("the command of `state.key` did not give a key"), "{told}");

    let told = rotate_key(&cat, None).await.unwrap_err();
    assert!(matches!(told, RotateError::OneKey { .. }), "{told}");
    fs::write(aside.file("credential"), line(2) + &line(1)).unwrap();
    let running = gatepost_store::open(&cat).await.unwrap();
    assert_eq!(rotate_key(&cat, None).await.unwrap(), Rotation::Done { records: 1, old_is_left: true });
    assert_eq!(token_of(&*running, "alice").await.as_deref(), Some("one"));
    // Who knows the old key only reads what it has in memory, and writes nothing under the old key.
    assert!(old.put_sign_in(&key("alice"), &sign_in("two"), None).await.is_err());
    assert_eq!(token_of(&*running, "alice").await.as_deref(), Some("one"));
    fs::write(aside.file("credential"), line(2)).unwrap();
    assert_eq!(token_of(&*gatepost_store::open(&cat).await.unwrap(), "alice").await.as_deref(), Some("one"));
    assert!(gatepost_store::open(&literal(line(1))).await.is_err());
}

#[tokio::test]
async fn there_is_nothing_to_rotate_without_a_store() {
    assert!(matches!(rotate_key(&State::Memory, None).await, Err(RotateError::NoStore)));
    let directory = Directory::new();
    assert_eq!(
        rotate_key(&state(directory.path()), None).await.unwrap(),
        Rotation::Done { records: 0, old_is_left: false }
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_keeps_the_last_that_it_took() {
    let directory = Directory::new();
    directory.open().await.unwrap().put_sign_in(&key("alice"), &sign_in("0"), None).await.unwrap();
    let child = spawn_within(400, "fill", directory.path());
    let said = tokio::task::spawn_blocking(move || child.wait_with_output()).await.unwrap().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(said.contains("\nended\n"), "{said}");
    let failures = said.lines().filter(|line| line.starts_with("the store did not keep it: ")).count();
    assert_eq!(failures, 3, "{said}");
    assert!(said.contains("the disk failed") && said.contains("Check the system's log"), "{said}");
    let kept: u32 = said.lines().filter_map(|line| line.strip_prefix("kept ")?.parse().ok()).max().unwrap();
    let token = token_of(&*directory.open().await.unwrap(), "alice").await.unwrap();
    assert_eq!(token, format!("{kept}{}", "t".repeat(1_000 * kept as usize)), "neither lost nor half written");
}
