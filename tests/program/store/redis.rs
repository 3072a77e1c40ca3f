//! The store in a real Redis: kept, shared, away, back, emptied.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gatepost_config::{RedisServer, State, StateKey, Trust};
use gatepost_core::clock::UnixTime;
use gatepost_core::secret::{RedisPassword, StateKeyText};
use gatepost_store::{Counts, Guess, OpenError, RotateError, Rotation, StoreError, rotate_key};

use crate::common::port::free_port;
use crate::common::wait::{PATIENCE, wait_until};
use crate::store::crashes::rotate_two_by_two;
use crate::store::files::put_back_what_was_revoked;
use crate::store::keeping;
use crate::store::support::{Directory, key, password, sign_in, token_of};

/// 32 octets of `!`.
pub(crate) const KEY: &str = "ISEhISEhISEhISEhISEhISEhISEhISEhISEhISEhISE=";

const OTHER_KEY: &str = "QEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEA=";

/// A server of this test, with its data in a directory that goes away.
pub(crate) struct Server {
    pub(crate) port: u16,
    directory: Directory,
    process: Child,
    options: Vec<String>,
}

impl Server {
    pub(crate) fn start(options: &[&str]) -> Self {
        let port = free_port();
        let directory = Directory::new();
        fs::create_dir(directory.path()).unwrap();
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let process = run(port, directory.path(), &options);
        Self { port, directory, process, options }
    }

    pub(crate) fn stop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(crate) fn start_again(&mut self) {
        self.process = run(self.port, self.directory.path(), &self.options);
    }

    pub(crate) fn say(&self, words: &[&str]) -> String {
        let said = Command::new("redis-cli").args(["-p", &self.port.to_string()]).args(words).output().unwrap();
        String::from_utf8_lossy(&said.stdout).into_owned()
    }

    fn server(&self, password: Option<&str>) -> Arc<RedisServer> {
        Arc::new(RedisServer {
            host: "127.0.0.1".into(),
            port: self.port,
            database: 0,
            username: None,
            password: password.map(|password| RedisPassword::new(password.into())),
            tls: None,
        })
    }

    fn state(&self) -> State {
        State::Redis { server: self.server(None), key: literal(KEY) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn literal(text: &str) -> StateKey {
    StateKey::Literal(Arc::new(StateKeyText::new(text.into())))
}

fn run(port: u16, directory: &Path, options: &[String]) -> Child {
    let process = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"])
        .args(["--appendfsync", "always", "--dir"])
        .arg(directory)
        .args(options)
        .stdout(Stdio::null())
        .spawn()
        .expect("start redis-server");
    wait_until("redis-server answers", || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
    process
}

/// Repeats a question until its answer is the expected one.
async fn eventually<T: PartialEq + std::fmt::Debug>(expected: T, ask: impl AsyncFn() -> T) {
    let begin = Instant::now();
    loop {
        let answer = ask().await;
        if answer == expected {
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "still {answer:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/run"]
async fn redis_keeps_what_sqlite_keeps() {
    for keeps in 0..4 {
        let server = Server::start(&[]);
        keeping::check(keeps, &server.state()).await;
        let shown = server.say(&["hgetall", "gatepost:records:1"]) + &server.say(&["hgetall", "gatepost:records:2"]);
        for word in ["alice", "contoso", "three", "scanner", "aaaaaaaa"] {
            assert!(!shown.contains(word), "{word}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: run tests/run"]
async fn a_restart_is_outlived_and_what_was_renewed_meanwhile_is_kept_afterwards() {
    let mut server = Server::start(&[]);
    let store = gatepost_store::open(&server.state()).await.unwrap();
    store.put_sign_in(&key("alice"), &sign_in("one"), None).await.unwrap();
    store.add_device_password(&password("aaaaaaaa")).await.unwrap();
    let (_, version) = store.sign_in(&key("alice")).await.unwrap().unwrap();
    assert_eq!(store.device_passwords().await.unwrap().len(), 1);

    server.stop();
    let started = Instant::now();
    assert_eq!(token_of(&*store, "alice").await.as_deref(), Some("one"), "from memory");
    assert!(store.device_passwords().await.is_err(), "what was revoked meanwhile must not come from memory");
    let error = store.put_sign_in(&key("alice"), &sign_in("two"), Some(version)).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    let (newest, pending) = store.sign_in(&key("alice")).await.unwrap().unwrap();
    assert_eq!(newest.refresh_token.expose(), "two");
    // And once more, over the one that was not kept; who read before that comes too late.
    assert!(store.put_sign_in(&key("alice"), &sign_in("three"), Some(pending)).await.is_err());
    assert_eq!(store.put_sign_in(&key("alice"), &sign_in("lost"), Some(version)).await, Err(StoreError::Changed));

    server.start_again();
    let other = gatepost_store::open(&server.state()).await.unwrap();
    // It reads its file first.
    eventually(true, async || other.revision().await.is_ok()).await;
    eventually(Some("three".to_owned()), async || token_of(&*other, "alice").await).await;
    eventually(true, async || store.revision().await.is_ok()).await;
    let (_, version) = store.sign_in(&key("alice")).await.unwrap().unwrap();
    store.put_sign_in(&key("alice"), &sign_in("four"), Some(version)).await.unwrap();
    assert_eq!(token_of(&*other, "alice").await.as_deref(), Some("four"));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: run tests/run"]
async fn what_is_known_is_put_back_when_somebody_empties_the_server() {
    let server = Server::start(&[]);
    let store = gatepost_store::open(&server.state()).await.unwrap();
    store.put_sign_in(&key("alice"), &sign_in("one"), None).await.unwrap();
    store.add_device_password(&password("aaaaaaaa")).await.unwrap();
    store.device_passwords().await.unwrap();
    let (_, version) = store.sign_in(&key("alice")).await.unwrap().unwrap();
    let before = store.revision().await.unwrap();

    assert_eq!(server.say(&["flushall"]).trim(), "OK");
    assert_ne!(store.revision().await.unwrap(), before);
    assert_eq!(store.device_passwords().await.unwrap(), [password("aaaaaaaa")]);
    let other = gatepost_store::open(&server.state()).await.unwrap();
    assert_eq!(token_of(&*other, "alice").await.as_deref(), Some("one"));
    // Whoever read before that may still renew.
    store.put_sign_in(&key("alice"), &sign_in("two"), Some(version)).await.unwrap();
    assert_eq!(token_of(&*other, "alice").await.as_deref(), Some("two"));

    // In the middle of a renewal.
    let (_, version) = store.sign_in(&key("alice")).await.unwrap().unwrap();
    assert_eq!(server.say(&["flushall"]).trim(), "OK");
    store.put_sign_in(&key("alice"), &sign_in("three"), Some(version)).await.unwrap();
    let other = gatepost_store::open(&server.state()).await.unwrap();
    assert_eq!(token_of(&*other, "alice").await.as_deref(), Some("three"));
    assert_eq!(other.device_passwords().await.unwrap(), [password("aaaaaaaa")]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: run tests/run"]
async fn a_slow_server_is_waited_for_once() {
    let server = Server::start(&[]);
    let store = gatepost_store::open(&server.state()).await.unwrap();
    store.put_sign_in(&key("alice"), &sign_in("one"), None).await.unwrap();
    server.say(&["client", "pause", "4000", "all"]);
    let started = Instant::now();
    assert!(store.revision().await.is_err());
    let waited = started.elapsed();
    assert!((Duration::from_secs(1)..Duration::from_secs(3)).contains(&waited), "{waited:?}");
    let started = Instant::now();
    for _ in 0..100 {
        assert_eq!(token_of(&*store, "alice").await.as_deref(), Some("one"), "from memory");
    }
    assert!(started.elapsed() < Duration::from_millis(1_000), "{:?}", started.elapsed());
    eventually(true, async || store.revision().await.is_ok()).await;
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/run"]
async fn what_is_wrong_with_a_server_is_said() {
    let server = Server::start(&[]);
    drop(gatepost_store::open(&server.state()).await.unwrap());
    let other = State::Redis { server: server.server(None), key: literal(OTHER_KEY) };
    assert!(matches!(gatepost_store::open(&other).await, Err(OpenError::OtherKey { .. })));

    let refused = async |state: &State| match gatepost_store::open(state).await {
        Ok(store) => store.revision().await.unwrap_err().to_string(),
        Err(error) => error.to_string(),
    };
    server.say(&["hset", "gatepost:store", "format", "2"]);
    let told = refused(&server.state()).await;
    assert!(told.contains("has format 2") && told.contains("Run the newer version again"), "{told}");

    let strict = Server::start(&["--requirepass", "hunter2"]);
    let with = |password| State::Redis { server: strict.server(password), key: literal(KEY) };
    assert!(gatepost_store::open(&with(Some("hunter2"))).await.unwrap().revision().await.is_ok());
    for password in [None, Some("wrong")] {
        let told = refused(&with(password)).await;
        assert!(told.contains("it refuses the user name or password") || told.contains("it is away"), "{told}");
    }

    let full = Server::start(&["--maxmemory", "1500000", "--maxmemory-policy", "noeviction"]);
    let store = gatepost_store::open(&full.state()).await.unwrap();
    store.put_sign_in(&key("alice"), &sign_in("one"), None).await.unwrap();
    full.say(&["config", "set", "maxmemory", "1"]);
    let (_, version) = store.sign_in(&key("alice")).await.unwrap().unwrap();
    let error = store.put_sign_in(&key("alice"), &sign_in("two"), Some(version)).await.unwrap_err();
    assert!(matches!(&error, StoreError::NotKept(why) if why.contains("it takes no writes (OOM)")), "{error}");
    assert_eq!(token_of(&*store, "alice").await.as_deref(), Some("two"), "from memory");
    full.say(&["config", "set", "maxmemory", "0"]);
    let other = gatepost_store::open(&full.state()).await.unwrap();
    eventually(Some("two".to_owned()), async || token_of(&*other, "alice").await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: run tests/run"]
async fn the_key_is_rotated_once_every_replica_has_it() {
    let server = Server::start(&[]);
    let (one, two) = (Directory::new(), Directory::new());
    let state = |file: PathBuf| State::Redis { server: server.server(None), key: StateKey::File(file) };
    let (first, second) = (state(one.file("state.key")), state(two.file("state.key")));
    fs::create_dir(two.path()).unwrap();
    let copy = || {
        fs::copy(one.file("state.key"), two.file("state.key")).unwrap();
    };
    let here = gatepost_store::open(&first).await.unwrap();
    copy();
    let there = gatepost_store::open(&second).await.unwrap();
    there.put_sign_in(&key("alice"), &sign_in("one"), None).await.unwrap();
    let guess = Guess { user: [1; 16], id: 1, at: UnixTime(1_767_225_600), familiar: true };
    let counts = Counts { guesses: vec![guess], ..Counts::default() };
    let counted = there.put_counts(7, &counts, None).await.unwrap();

    assert_eq!(rotate_key(&first, None).await.unwrap(), Rotation::Prepared);
    copy();
    assert_eq!(rotate_key(&first, None).await.unwrap(), Rotation::Done { records: 2, old_is_left: false });
    assert_eq!(here.counts(7).await.unwrap(), (counts, Some(counted)));
    let (_, version) = there.sign_in(&key("alice")).await.unwrap().unwrap();
    there.put_sign_in(&key("alice"), &sign_in("two"), Some(version)).await.unwrap();
    assert_eq!(token_of(&*here, "alice").await.as_deref(), Some("two"));
    copy();
    assert_eq!(token_of(&*gatepost_store::open(&second).await.unwrap(), "alice").await.as_deref(), Some("two"));
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/run"]
async fn a_revoked_device_password_cannot_be_put_back_by_who_has_no_key() {
    let server = Server::start(&[]);
    let keep = || {
        for kind in ["2", "6"] {
            server.say(&["copy", &format!("gatepost:records:{kind}"), &format!("old:{kind}")]);
        }
    };
    let put_back = |kinds: &str| {
        for kind in kinds.split(", ") {
            server.say(&["copy", &format!("old:{kind}"), &format!("gatepost:records:{kind}"), "replace"]);
        }
        server.say(&["hincrby", "gatepost:store", "revision", "1"]);
    };
    let remove_register = || drop(server.say(&["del", "gatepost:records:6"]));
    put_back_what_was_revoked(&server.state(), keep, put_back, remove_register).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: run tests/run"]
async fn two_rotations_at_once_leave_a_store_that_opens() {
    let (server, files) = (Server::start(&["--appendfsync", "no"]), Directory::new());
    rotate_two_by_two(State::Redis { server: server.server(None), key: StateKey::File(files.file("state.key")) }).await;
}

/// Rotates the key. A child that another test begins meanwhile has the lock of the key file, too,
/// until its own program runs.
async fn rotated(state: &State) -> Rotation {
    let mut rotation = rotate_key(state, None).await;
    for _ in 0..1_000 {
        let Err(RotateError::UnderWay { .. }) = rotation else { break };
        tokio::time::sleep(Duration::from_millis(10)).await;
        rotation = rotate_key(state, None).await;
    }
    rotation.unwrap()
}

/// Each replica has a copy of the key file, which no lock covers.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: run tests/run"]
async fn replicas_that_rotate_at_once_come_to_the_same_key() {
    let server = Server::start(&["--appendfsync", "no"]);
    let (one, two) = (Directory::new(), Directory::new());
    let state = |files: &Directory| {
        let key = StateKey::File(files.file("state.key"));
        Arc::new(State::Redis { server: server.server(None), key })
    };
    let (first, second) = (state(&one), state(&two));
    fs::create_dir(two.path()).unwrap();
    let here = gatepost_store::open(&first).await.unwrap();
    here.put_sign_in(&key("alice"), &sign_in("one"), None).await.unwrap();
    let copy = || fs::copy(one.file("state.key"), two.file("state.key")).unwrap();
    copy();
    for round in 0..50 {
        // Each makes a key of its own, and the operator copies one of them.
        for state in [&first, &second] {
            assert_eq!(rotated(state).await, Rotation::Prepared, "round {round}");
        }
        copy();
        let both = [&first, &second].map(|state| {
            let state = Arc::clone(state);
            tokio::spawn(async move { rotated(&state).await })
        });
        for rotation in both {
            let rotation = rotation.await.unwrap();
            assert!(matches!(rotation, Rotation::Done { old_is_left: false, .. }), "round {round}: {rotation:?}");
        }
        let keys = [&one, &two].map(|files| fs::read_to_string(files.file("state.key")).unwrap());
        assert_eq!((keys[0].lines().count(), &keys[0]), (1, &keys[1]), "round {round}");
        let there = gatepost_store::open(&second).await.unwrap();
        for store in [&here, &there] {
            assert_eq!(token_of(&**store, "alice").await.as_deref(), Some("one"), "round {round}");
        }
    }
    // Keys that nobody copied do no harm: one of them comes into use, and the other replica is
    // told.
    for state in [&first, &second] {
        assert_eq!(rotate_key(state, None).await.unwrap(), Rotation::Prepared);
    }
    assert_eq!(rotate_key(&first, None).await.unwrap(), Rotation::Done { records: 1, old_is_left: false });
    assert!(matches!(rotate_key(&second, None).await, Err(RotateError::Open(OpenError::OtherKey { .. }))));
    copy();
    assert_eq!(token_of(&*gatepost_store::open(&second).await.unwrap(), "alice").await.as_deref(), Some("one"));
}

/// A replica that has both keys can read, whichever of them is the current one.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: run tests/run"]
async fn a_replica_with_both_keys_opens_the_store_at_every_moment_of_a_rotation() {
    let server = Server::start(&["--appendfsync", "no"]);
    let (one, two) = (Directory::new(), Directory::new());
    let state = |files: &Directory| {
        let key = StateKey::File(files.file("state.key"));
        Arc::new(State::Redis { server: server.server(None), key })
    };
    let (first, second) = (state(&one), state(&two));
    fs::create_dir(two.path()).unwrap();
    gatepost_store::open(&first).await.unwrap();
    for round in 0..50 {
        assert_eq!(rotate_key(&first, None).await.unwrap(), Rotation::Prepared);
        fs::copy(one.file("state.key"), two.file("state.key")).unwrap();
        let rotating = tokio::spawn({
            let first = Arc::clone(&first);
            async move { rotate_key(&first, None).await }
        });
        let rotated = Arc::new(AtomicBool::new(false));
        let readers: Vec<_> = (0..16)
            .map(|_| {
                let (second, rotated) = (Arc::clone(&second), Arc::clone(&rotated));
                tokio::spawn(async move {
                    while !rotated.load(Ordering::Relaxed) {
                        gatepost_store::open(&second).await.unwrap_or_else(|error| panic!("round {round}: {error}"));
                    }
                })
            })
            .collect();
        let rotation = rotating.await.unwrap();
        rotated.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.await.unwrap();
        }
        assert!(matches!(rotation.unwrap(), Rotation::Done { .. }), "round {round}");
    }
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/run"]
async fn over_tls_the_servers_certificate_is_verified() {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let files = Directory::new();
    fs::create_dir(files.path()).unwrap();
    let (certificate, key) = (files.file("redis.pem"), files.file("redis.key"));
    fs::write(&certificate, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let port = free_port();
    let _server = Server::start(&[
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        certificate.to_str().unwrap(),
        "--tls-key-file",
        key.to_str().unwrap(),
        "--tls-auth-clients",
        "no",
    ]);
    let state = |pem: String| {
        let trust = Trust {
            system_roots: false,
            additional_ca: Some(("ca.pem".into(), pem.into_bytes())),
            destinations: Vec::new(),
        };
        let server = RedisServer {
            host: "127.0.0.1".into(),
            port,
            database: 0,
            username: None,
            password: None,
            tls: Some(trust),
        };
        State::Redis { server: Arc::new(server), key: literal(KEY) }
    };
    let store = gatepost_store::open(&state(made.cert.pem())).await.unwrap();
    store.put_sign_in(&self::key("alice"), &sign_in("one"), None).await.unwrap();
    assert_eq!(token_of(&*store, "alice").await.as_deref(), Some("one"));

    let store = gatepost_store::open(&state(other.cert.pem())).await.unwrap();
    let error = store.sign_ins().await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
}
