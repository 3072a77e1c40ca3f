//! POP3 out of Graph, read by programs that were written for other servers: each message once,
//! whole, and gone when it was to be deleted.

use std::fs;
use std::path::Path;
use std::process::Command;

use gatepost_sandbox::Service;
use serde_json::json;

use super::cloud::{Cloud, Instance, LOGIN, PASSWORD};
use super::message::{assert_same, large_message, message, unix_lines};
use super::process::{Directory, free_port, run};

fn start(cloud: &Cloud) -> (Instance, u16) {
    let port = free_port();
    let listener = format!("  pop3: {{bind: '127.0.0.1:{port}', upstream: graph, graph: '{{graph}}'}}");
    (cloud.gatepost(&listener, "", &[port]), port)
}

/// The files of a directory, as mail stores on Unix keep messages.
fn delivered(directory: &Path) -> Vec<Vec<u8>> {
    let files = fs::read_dir(directory).unwrap();
    let mut messages: Vec<_> = files.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
    messages.sort();
    messages
}

fn assert_delivered(directory: &Path, numbers: impl Iterator<Item = usize>, what: &str) {
    let mut expected: Vec<_> = numbers.map(|number| unix_lines(&message(number))).collect();
    expected.sort();
    let actual = delivered(directory);
    assert_eq!(actual.len(), expected.len(), "{what}");
    for (actual, expected) in actual.iter().zip(&expected) {
        assert_same(actual, expected, what);
    }
}

fn downloads(cloud: &Cloud) -> u64 {
    cloud.sandbox.counters().calls_of(Service::Graph, LOGIN, "GET /messages/{id}/$value")
}

#[test]
#[ignore = "needs Dovecot, Squid and mail clients: run tests/run"]
fn poplib_reads_and_deletes() {
    let messages: Vec<_> = (0..30).map(message).collect();
    let cloud = Cloud::start(messages.clone());
    let (gatepost, port) = start(&cloud);
    let texts: Vec<_> = messages.into_iter().map(|message| String::from_utf8(message).unwrap()).collect();
    let settings = json!({"port": port, "login": LOGIN, "password": PASSWORD, "messages": texts});
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real/maildrop.py");
    run(Command::new("python3").arg("-B").arg(script).arg(settings.to_string())).expect_success("poplib");
    assert_eq!(cloud.sandbox.messages(LOGIN, "INBOX").len(), 1);
    assert_eq!(cloud.sandbox.messages(LOGIN, "Deleted Items").len(), 29);
    gatepost.stop();
}

#[test]
#[ignore = "needs Dovecot, Squid and mail clients: run tests/run"]
fn curl_reads_a_large_message() {
    let large = large_message(20 * 1_024 * 1_024);
    let cloud = Cloud::start([message(1), large.clone()]);
    let (gatepost, port) = start(&cloud);
    let curl = |path: &str, more: &[&str]| {
        let mut command = Command::new("curl");
        command.args(["-sS", "--user", &format!("{LOGIN}:{PASSWORD}"), &format!("pop3://localhost:{port}/{path}")]);
        run(command.args(more)).expect_success("curl").stdout
    };
    assert_eq!(String::from_utf8(curl("", &[])).unwrap().lines().count(), 2);
    assert_same(&curl("2", &[]), &large, "20 MB");
    assert_same(&curl("1", &[]), &message(1), "a message of some kilobytes");
    curl("1", &["-X", "DELE", "-I"]);
    assert_eq!(cloud.sandbox.messages(LOGIN, "INBOX").len(), 1);
    gatepost.stop();
}

#[test]
#[ignore = "needs Dovecot, Squid and mail clients: run tests/run"]
fn fetchmail_downloads_what_is_new_and_deletes_when_told() {
    let cloud = Cloud::start((0..20).map(message));
    let (gatepost, port) = start(&cloud);
    let directory = Directory::new();
    let store = directory.path().join("delivered");
    fs::create_dir(&store).unwrap();
    let fetch = |keep: &str| {
        let configuration = directory.write(
            "fetchmailrc",
            format!(
                "set no bouncemail\nset invisible\nset idfile \"{ids}\"\n\
                 poll localhost protocol pop3 service {port} auth password timeout 60 uidl\n  \
                 user \"{LOGIN}\" password '{PASSWORD}'\n  sslproto \"\"\n  \
                 {keep} no rewrite no mimedecode mda \"cat > {store}/$$\"\n",
                ids = directory.path().join("ids").display(),
                store = store.display(),
            ),
        );
        let mut command = Command::new("fetchmail");
        command.env("FETCHMAILHOME", directory.path()).arg("--pidfile").arg(directory.path().join("pid"));
        command.args(["-v", "--nosyslog", "-f"]).arg(configuration);
        let finished = run(&mut command);
        // 1: there was no mail.
        assert!(matches!(finished.status.code(), Some(0 | 1)), "{:?}: {}", finished.status, finished.stderr);
    };
    fetch("keep");
    assert_delivered(&store, 0..20, "the first run");
    fetch("keep");
    assert_delivered(&store, 0..20, "nothing is new");
    assert_eq!(downloads(&cloud), 20);
    for number in 20..23 {
        assert!(cloud.sandbox.deliver(LOGIN, &message(number)));
    }
    fetch("keep");
    assert_delivered(&store, 0..23, "three are new");
    assert_eq!(cloud.sandbox.messages(LOGIN, "INBOX").len(), 23);
    fetch("fetchall no keep");
    assert!(cloud.sandbox.messages(LOGIN, "INBOX").is_empty());
    assert_eq!(cloud.sandbox.messages(LOGIN, "Deleted Items").len(), 23);
    gatepost.stop();
}

#[test]
#[ignore = "needs Dovecot, Squid and mail clients: run tests/run"]
fn getmail_downloads_what_is_new_and_deletes_when_told() {
    let cloud = Cloud::start((0..20).map(message));
    let (gatepost, port) = start(&cloud);
    let directory = Directory::new();
    let store = directory.path().join("delivered");
    fs::create_dir(&store).unwrap();
    let fetch = |delete: bool| {
        let configuration = directory.write(
            "getmailrc",
            format!(
                "[retriever]\ntype = SimplePOP3Retriever\nserver = localhost\nport = {port}\nusername = {LOGIN}\n\
                 password = {PASSWORD}\n\
                 [destination]\ntype = MDA_external\npath = /bin/sh\narguments = (\"-c\", \"tail -n +2 > {store}/$$\")\n\
                 allow_root_commands = true\n\
                 [options]\nread_all = {delete}\ndelete = {delete}\ndelivered_to = false\nreceived = false\n",
                // Without the line `Return-Path` that getmail puts in front.
                store = store.display(),
            ),
        );
        let mut command = Command::new("getmail");
        command.arg("--getmaildir").arg(directory.path()).arg("--rcfile").arg(configuration);
        run(&mut command).expect_success("getmail");
    };
    fetch(false);
    assert_delivered(&store, 0..20, "the first run");
    fetch(false);
    assert_eq!(downloads(&cloud), 20, "nothing is new");
    assert!(cloud.sandbox.deliver(LOGIN, &message(20)));
    fetch(false);
    assert_delivered(&store, 0..21, "one is new");
    fetch(true);
    assert!(cloud.sandbox.messages(LOGIN, "INBOX").is_empty());
    gatepost.stop();
}
