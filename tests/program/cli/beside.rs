//! Commands beside a service, in a shell that has nothing of the service's environment.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::device_passwords::{SCANNER, World};
use super::{code, stderr, stdout};
use crate::common::wait::wait_until;

const ANNA: &str = "anna@contoso.example";

/// `nobody`, as on most systems.
const OTHER: u32 = 65_534;

#[tokio::test(flavor = "multi_thread")]
async fn a_command_finds_the_service_where_its_own_environment_does_not_lead() {
    let world = World::new().await;
    world.told(&["password", "add", SCANNER, "--name", "Fax"]);
    let elsewhere = [("RUNTIME_DIRECTORY", "/nonexistent")];
    let run = |arguments: &[&str], variables: &[(&str, &str)]| world.directory.gatepost_with(arguments, "", variables);
    for arguments in [&["status"][..], &["reload"]] {
        let output = run(arguments, &elsewhere);
        let told = stderr(&output);
        assert_eq!(code(&output), 1, "{told}");
        assert!(told.contains("nobody listens at `/nonexistent/gatepost.sock` or `state/gatepost.sock`"), "{told}");
    }

    let service = world.serve();
    wait_until("it has its socket", || world.directory.file("state/gatepost.sock").exists());
    for arguments in [&["status", "--ready"][..], &["reload"], &["account", "unlock", SCANNER]] {
        let output = run(arguments, &elsewhere);
        assert_eq!((code(&output), stderr(&output)), (0, ""), "{arguments:?}");
    }

    // The next process finds it too, and listens in its own place.
    let own = world.directory.file("run");
    fs::create_dir(&own).unwrap();
    let variables = [("RUNTIME_DIRECTORY", own.to_str().unwrap())];
    let _next = world.serve_in(&["run", "--take-over"], &variables);
    wait_until("it is ready", || world.log().contains(" ready version="));
    assert!(!world.log().contains("there is no service to take over from"), "{}", world.log());
    wait_until("the former one has gone", || !world.directory.file("state/gatepost.sock").exists());
    let output = run(&["status", "--ready"], &variables);
    assert_eq!((code(&output), stdout(&output)), (0, "ready\n"));
    drop(service);
}

/// A configuration whose secrets only a service of systemd's has.
async fn with_credentials() -> World {
    let world = World::new().await;
    world.rewrite("client_secret: {file: secret}", "client_secret: {credential: client-secret}", "");
    world.rewrite(
        "imap: {",
        "imap: {tls: implicit, certificate: server.pem, \
         private_key: /run/credentials/gatepost.service/absent.key, ",
        "forward_proxy: {url: 'http://127.0.0.1:9', authentication: basic, username: u, password: {credential: proxy}}\n\
         admin: {bind: '127.0.0.1:9', token: {credential: admin-token}}\n",
    );
    world.rewrite("accounts:\n", &format!("accounts:\n  - {{login: {ANNA}, grant: device_code}}\n"), "");
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    world.directory.write("server.pem", &made.cert.pem());
    fs::create_dir(world.directory.file("credentials")).unwrap();
    for (name, text) in [
        ("client-secret", "sandbox-secret\n"),
        ("proxy", "hunter2\n"),
        ("admin-token", "3xhEwCwvyTtjNnH0gXhTQd1p\n"),
        ("server.key", &made.signing_key.serialize_pem()),
    ] {
        world.directory.write(&format!("credentials/{name}"), text);
    }
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_needs_no_secret_that_only_the_service_has() {
    let world = with_credentials().await;
    world.told(&["password", "add", SCANNER, "--name", "Fax"]);
    assert!(world.told(&["password", "list"]).contains("Fax"));
    world.told(&["state", "rotate-key"]);
    world.told(&["account", "unlock", SCANNER]);
    for (arguments, expected) in [
        (&["logout", ANNA, "--yes"][..], "nobody has signed in for `anna@contoso.example`"),
        (&["status"], "no service is running here"),
        (&["reload"], "no service is running here"),
    ] {
        let output = world.directory.gatepost(arguments);
        assert_eq!(code(&output), 1, "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{arguments:?}: {}", stderr(&output));
    }
    assert!(world.told(&["password", "revoke", "--login", SCANNER, "--name", "Fax"]).contains("Revoked"));
    for (arguments, expected) in [
        (&["login", ANNA][..], "only the running service has it: run this command while the service runs, as its user"),
        (&["run"], "there are no credentials"),
    ] {
        let output = world.directory.gatepost(arguments);
        assert_eq!(code(&output), 3, "{}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_notes_what_only_the_service_can_read() {
    let world = with_credentials().await;
    world.told(&["password", "add", SCANNER, "--name", "Fax"]);
    let note = "not checked here, because only the running service has them: `microsoft.client_secret`, \
                `listeners.imap.private_key`, `forward_proxy.password`, `admin.token`.";
    let told = world.told(&["check"]);
    assert!(told.contains(note), "{told}");
    let json: serde_json::Value = serde_json::from_str(&world.told(&["check", "--json"])).unwrap();
    assert!(json["notes"].to_string().contains("not checked here"), "{json}");

    // With the service's environment it is as strict as the service.
    let variables = [("CREDENTIALS_DIRECTORY", "credentials")];
    let output = world.directory.gatepost_with(&["check"], "", &variables);
    assert_eq!(code(&output), 3);
    assert!(stderr(&output).contains("listeners.imap.private_key: "), "{}", stderr(&output));
    world.rewrite("/run/credentials/gatepost.service/absent.key", "{credential: server.key}", "");
    let output = world.directory.gatepost_with(&["check"], "", &variables);
    assert_eq!((code(&output), stderr(&output)), (0, ""));
    assert!(!stdout(&output).contains("not checked here"), "{}", stdout(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_does_not_read_what_it_does_not_need() {
    let world = World::new().await;
    world.rewrite("client_secret: {file: secret}", "client_secret: {command: [touch, ran]}", "");
    world.told(&["password", "list"]);
    assert!(!world.directory.file("ran").exists());
    world.rewrite("client_secret: {command: [touch, ran]}", "client_secret: {env: NOT_SET}", "");
    world.told(&["password", "list"]);
    let output = world.directory.gatepost(&["check"]);
    assert_eq!(code(&output), 3);
    assert!(stderr(&output).contains("the environment variable `NOT_SET` is not set"), "{}", stderr(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_key_that_only_the_service_has_is_told_with_the_remedy() {
    let world = World::new().await;
    world.rewrite("{directory: state}", "{directory: state, key: {credential: gatepost.state.key}}", "");
    for arguments in [&["password", "list"][..], &["state", "rotate-key"]] {
        let output = world.directory.gatepost(arguments);
        let told = stderr(&output);
        assert_eq!(code(&output), 1, "{told}");
        assert!(told.contains("/gatepost.state.key` cannot be read"), "{told}");
        assert!(told.contains("while the service runs"), "{told}");
    }
    let output = world.directory.gatepost(&["status"]);
    assert!(stderr(&output).contains("no service is running here"), "{}", stderr(&output));
}

/// Everything below a directory, with its owner.
fn owners(directory: &Path) -> Vec<(String, u32)> {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    let mut found: Vec<_> =
        entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().uid())).collect();
    found.sort();
    found
}

fn give_away(path: &Path) {
    chown(path, Some(OTHER), Some(OTHER)).unwrap();
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give_away(&entry.unwrap().path());
        }
    }
}

/// Runs a command as another user.
fn as_user(user: u32, world: &World, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gatepost"))
        .args(arguments)
        .current_dir(world.directory.0.path())
        .env_clear()
        .uid(user)
        .gid(user)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn root_is_sent_to_the_owner_and_leaves_nothing_behind() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let world = World::new().await;
    world.told(&["password", "list"]);
    let state = world.directory.file("state");
    give_away(&state);
    let before = owners(&state);
    for arguments in [
        &["password", "add", SCANNER, "--name", "Fax"][..],
        &["password", "list"],
        &["password", "revoke", "absent"],
        &["account", "unlock", SCANNER],
        &["state", "rotate-key"],
        &["login", SCANNER],
        &["logout", SCANNER],
        &["run"],
        &["run", "--take-over"],
    ] {
        let output = world.directory.gatepost(arguments);
        let told = format!("{}{}", stdout(&output), stderr(&output));
        assert_eq!(code(&output), 1, "{arguments:?}: {told}");
        assert!(told.contains("sudo -u ") && !told.contains("chown"), "{arguments:?}: {told}");
        assert_eq!(owners(&state), before, "{arguments:?}");
    }
    let told = world.told(&["check"]);
    assert!(told.contains("not checked whether each account has a password") && told.contains("sudo -u "), "{told}");
    assert_eq!(owners(&state), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn root_does_not_begin_an_audit_log_that_the_service_cannot_write() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let world = World::new().await;
    world.rewrite("limits:", "log: {audit: {file: audit/audit.jsonl}}\nlimits:", "");
    let log = world.directory.file("audit");
    fs::create_dir(&log).unwrap();
    give_away(&log);
    for arguments in [&["password", "add", SCANNER, "--name", "Fax"][..], &["run"]] {
        let output = world.directory.gatepost(arguments);
        assert_eq!(code(&output), 1, "{}", stderr(&output));
        assert!(stderr(&output).contains("sudo -u "), "{}", stderr(&output));
        assert!(!world.directory.file("state").exists() && owners(&log).is_empty());
    }

    give_away(world.directory.0.path());
    let output = as_user(OTHER, &world, &["password", "add", SCANNER, "--name", "Fax"]);
    assert_eq!((code(&output), stderr(&output)), (0, ""));
    assert_eq!(owners(&log), [("audit.jsonl".to_owned(), OTHER)]);
    // Root asks the service of another user as that user does.
    let _service = world.serve_as(OTHER);
    wait_until("it has its socket", || world.directory.file("state/gatepost.sock").exists());
    for arguments in [&["status", "--ready"][..], &["reload"], &["account", "unlock", SCANNER]] {
        let output = world.directory.gatepost(arguments);
        assert_eq!((code(&output), stderr(&output)), (0, ""), "{arguments:?}");
    }
    assert!(owners(&world.directory.file("state")).iter().all(|(_, owner)| *owner == OTHER));
    let output = as_user(OTHER - 1, &world, &["status", "--socket", "state/gatepost.sock"]);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("as that user (`sudo -u "), "{}", stderr(&output));
}
