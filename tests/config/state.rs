//! The section `state`: where the store is, what seals it, and what is wrong with either.

use std::path::{Path, PathBuf};
use std::time::Duration;

use gatepost_config::{State, StateKey};

use crate::support::{Outside, complete, config, mistakes};

fn state(outside: &Outside, yaml: &str) -> State {
    outside.load(&complete(yaml)).unwrap_or_else(|problems| panic!("{yaml}\n{problems}")).state
}

fn file(path: &str) -> PathBuf {
    PathBuf::from(path)
}

#[test]
fn without_a_directory_nothing_is_kept() {
    assert!(matches!(config("").state, State::Memory));
    assert!(matches!(config("state:\n").state, State::Memory));
}

#[test]
fn the_directory_is_the_written_one_or_that_of_systemd() {
    let outside = Outside::with_variables(&[("STATE_DIRECTORY", "/var/lib/private/gatepost:/var/lib/other")]);
    for (yaml, expected) in [("", "/var/lib/private/gatepost"), ("state: {directory: /srv/gatepost}", "/srv/gatepost")]
    {
        let State::Sqlite { directory, key: StateKey::File(key) } = state(&outside, yaml) else { panic!("{yaml}") };
        assert_eq!((directory, key), (file(expected), Path::new(expected).join("state.key")));
    }
    let State::Sqlite { directory, .. } = config("state: {directory: here, store: sqlite}").state else { panic!() };
    assert_eq!(directory, file("here"));
}

#[test]
fn the_key_comes_from_file_credential_environment_or_command() {
    let mut outside =
        Outside::with_files(&[("/run/credentials/x/gatepost.state.key", ""), ("/run/credentials/x/own", "")]);
    outside.variables.insert("KEY".into(), "secret text".into());
    let key = |outside: &Outside, lines: &str| match state(outside, &format!("state: {{directory: /srv{lines}}}")) {
        State::Sqlite { key, .. } => key,
        other => panic!("{other:?}"),
    };
    assert!(matches!(key(&outside, ""), StateKey::File(path) if path == file("/srv/state.key")));
    assert!(matches!(key(&outside, ", key: {file: a.key}"), StateKey::File(path) if path == file("a.key")));
    assert!(matches!(key(&outside, ", key: {env: KEY}"), StateKey::Literal(text) if text.expose() == "secret text"));
    let command = key(&outside, ", key: {command: [print, it]}");
    assert!(matches!(command, StateKey::Command { command, .. } if command == ["print", "it"]));

    outside.variables.insert("CREDENTIALS_DIRECTORY".into(), "/run/credentials/x".into());
    let of_itself = file("/run/credentials/x/gatepost.state.key");
    assert!(matches!(key(&outside, ""), StateKey::Credential(path) if path == of_itself));
    let named = key(&outside, ", key: {credential: own}");
    assert!(matches!(named, StateKey::Credential(path) if path == file("/run/credentials/x/own")));
    let other = key(&outside, ", key: {file: a.key}");
    assert!(matches!(other, StateKey::File(_)), "what is written counts");
}

#[test]
fn a_redis_is_read_from_its_address() {
    let mut outside = Outside::with_variables(&[("KEY", "x")]);
    let yaml = |address: &str| format!("state: {{store: '{address}', key: {{env: KEY}}}}");
    let read = |outside: &Outside, address: &str| match state(outside, &yaml(address)) {
        State::Redis { server, key: StateKey::Literal(_) } => server,
        other => panic!("{other:?}"),
    };
    let server = read(&outside, "redis://gate:hun%40ter2@[::1]:6380/3");
    assert_eq!((server.host.as_str(), server.port, server.database), ("::1", 6380, 3));
    assert_eq!(server.username.as_deref(), Some("gate"));
    assert_eq!(server.password.as_ref().unwrap().expose(), "hun@ter2");
    assert!(server.tls.is_none());
    let server = read(&outside, "rediss://redis.corp.example");
    assert_eq!((server.host.as_str(), server.port, server.database), ("redis.corp.example", 6379, 0));
    assert!(server.username.is_none() && server.password.is_none() && server.tls.is_some());

    outside.world_readable = true;
    let notes = |address: &str| outside.load(&complete(&yaml(address))).unwrap().notes;
    assert!(notes("redis://:hunter2@redis/0")[0].contains("has a secret"));
    assert!(notes("redis://redis/0").is_empty());
}

#[test]
fn replicas_that_share_a_redis_need_no_numbers() {
    let outside = Outside::with_variables(&[("KEY", "x")]);
    let yaml = |store: &str| complete(&format!("state: {{{store}}}\nlimits: {{replicas: 6}}"));
    assert!(outside.load(&yaml("store: 'redis://redis/0', key: {env: KEY}")).is_ok());
    assert!(outside.load(&yaml("directory: /srv")).unwrap_err().to_string().contains("replica_index"));
}

#[test]
fn every_mistake_has_its_sentence() {
    let forms = "write `{file: PATH}`, `{credential: NAME}`, `{env: NAME}` or `{command: [PROGRAM, ARGUMENT]}`";
    let address = "write `sqlite`, or `redis://user:password@host:6379/0` (`rediss://` with TLS)";
    for (lines, expected) in [
        (
            "store: sqlite",
            "state.directory: `directory` is missing, and there is none to fall back on; write `directory: \
             /var/lib/gatepost`, or another one that belongs to Gatepost alone"
                .to_owned(),
        ),
        ("directry: /srv", "state.directry: `directry` is not a known key; did you mean `directory`?".to_owned()),
        (
            "store: 'redis://redis/0'",
            format!(
                "state.key: `key` is missing, which all replicas have to share; make one with `openssl rand -base64 32`, \
                 give it to each of them, and {forms}"
            ),
        ),
        (
            "store: postgres, directory: /srv",
            format!("state.store: this is neither `sqlite` nor a Redis URL; {address}"),
        ),
        (
            "store: 'postgres://:hunter2@x/', directory: /srv",
            format!("state.store: stores are not reached by `postgres://`; {address}"),
        ),
        (
            "store: 'redis://:hunter2@x/zero', directory: /srv",
            format!("state.store: the database in the address of the store is not a number; {address}"),
        ),
        (
            "store: 'redis://x/0?a=b', directory: /srv",
            format!("state.store: the address of the store holds more than host, port and database; {address}"),
        ),
        ("directory: /srv, key: AAAA", format!("state.key: the key itself does not belong here; {forms}")),
        (
            "directory: /srv, key: {file: a, env: B}",
            format!("state.key: exactly one source of the key is expected; {forms}"),
        ),
        (
            "directory: /srv, key: {env: ABSENT}",
            "state.key.env: the environment variable `ABSENT` is not set; set it where Gatepost is started, or use \
             `{file: PATH}`"
                .to_owned(),
        ),
        (
            "directory: /srv, key: {credential: absent}",
            "state.key.credential: there are no credentials: Gatepost was not started by systemd with any; write \
             `LoadCredentialEncrypted=absent` or `LoadCredential=absent:PATH` into the unit"
                .to_owned(),
        ),
    ] {
        let told = mistakes(&format!("state: {{{lines}}}"));
        assert_eq!(told.len(), if lines.starts_with("directry") { 2 } else { 1 }, "{told:?}");
        assert!(told.contains(&expected), "{lines}: {told:?}");
        assert!(!told.concat().contains("hunter2"));
    }
}

#[test]
fn devices_are_listed_for_a_month_unless_that_is_switched_off() {
    let days = |days: u64| Some(Duration::from_secs(days * 24 * 3_600));
    for (yaml, expected) in [
        ("", days(30)),
        ("state: {devices: off}", None),
        ("state: {devices: 7d}", days(7)),
        ("state: {directory: s, devices: 90d}", days(90)),
    ] {
        assert_eq!(config(yaml).devices, expected, "{yaml}");
    }
    // The key alone asks for no directory.
    assert!(matches!(config("state: {devices: off}").state, State::Memory));
}
