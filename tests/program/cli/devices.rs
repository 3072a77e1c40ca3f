//! `gatepost devices`: beside a running service, after it, and with a list that is off.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::device_passwords::{SCANNER, World};
use super::{code, stderr, stdout};
use crate::common::port::free_address;
use crate::common::wait::wait_until;
use crate::service::shown;
use crate::store::redis::{KEY, Server};

fn devices(world: &World, arguments: &[&str]) -> Vec<Value> {
    serde_json::from_str(&world.told(&[&["devices", "--json"], arguments].concat())).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_are_listed_beside_the_service_and_after_it() {
    let world = World::new().await;
    let password = shown(&world.told(&["password", "add", SCANNER, "--name", "Scanner"]));
    assert_eq!(world.told(&["devices"]), "No client has connected. The list has what connects, for 30d.\n");
    let service = world.serve();
    let session = world.log_in("scan7", &password).unwrap();
    wait_until("the device is listed", || !devices(&world, &[]).is_empty());
    world.log_in("scan7", "wrong").unwrap_err();
    world.log_in("nobody@contoso.example", "wrong").unwrap_err();
    drop(session);
    service.end();

    let listed = devices(&world, &["--since", "1h"]);
    let [scanner, stranger] = &listed[..] else { panic!("{listed:?}") };
    assert_eq!((&scanner["login"], &scanner["address"]), (&SCANNER.into(), &"127.0.0.1".into()));
    assert_eq!(
        (&scanner["listener"], &scanner["method"], &scanner["tls"]),
        (&"imap".into(), &"LOGIN".into(), &Value::Null)
    );
    assert_eq!((&scanner["logins"], &scanner["failures"]), (&1.into(), &1.into()));
    assert_eq!(scanner["last_failure"]["cause"], "wrong-password");
    assert!(scanner["last_success_at"].as_str().unwrap().starts_with("20"), "{scanner}");
    assert_eq!(
        (&stranger["last_success_at"], &stranger["last_failure"]["cause"]),
        (&Value::Null, &"unknown-account".into())
    );

    let table = world.told(&["devices"]);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines.len() == 3 && lines[0].starts_with("ADDRESS    LISTENER  PROTOCOL  LOGIN "), "{table}");
    assert!(
        lines[1].contains(SCANNER) && lines[1].contains("wrong-password") && lines[2].contains("  never "),
        "{table}"
    );
    let csv = world.told(&["devices", "--csv"]);
    assert!(csv.starts_with("address,listener,protocol,login,method,tls,") && csv.lines().count() == 3, "{csv}");
    assert!(devices(&world, &["--since", "2999-01-01"]).is_empty());

    // Only what sends over SMTP can be trusted to send.
    let output = world.directory.gatepost(&["devices", "--trusted-sender", "127.0.0.1"]);
    assert_eq!((code(&output), stdout(&output)), (1, ""));
    assert!(
        stderr(&output).contains("no client at 127.0.0.1 has sent a message or logged in over SMTP"),
        "{}",
        stderr(&output)
    );
    assert_eq!(code(&world.directory.gatepost(&["devices", "--json", "--csv"])), 2);

    // A stranger's name does not stand in the files as it is.
    let files = std::fs::read_dir(world.directory.file("state")).unwrap();
    for file in files.map(|file| file.unwrap().path()).filter(|path| path.is_file()) {
        let content = std::fs::read(&file).unwrap();
        assert!(!content.windows(9).any(|part| part == b"127.0.0.1"), "{}", file.display());
    }

    world.rewrite("state: {directory: state}", "state: {directory: state, devices: off}", "");
    let output = world.directory.gatepost(&["devices"]);
    assert_eq!((code(&output), stdout(&output)), (1, ""));
    assert!(stderr(&output).contains("`state.devices` is `off`"), "{}", stderr(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_has_logged_in_becomes_a_trusted_sender() {
    let world = World::new().await;
    let free = free_address();
    let upstream = world.sandbox.smtp().port();
    let listener = format!("listeners:\n  smtp: {{bind: '{free}', upstream: 'localhost:{upstream}'}}\n");
    world.rewrite("listeners:\n", &listener, "");
    let password = shown(&world.told(&["password", "add", SCANNER, "--name", "Scanner"]));
    let service = world.serve();
    let mut client = BufReader::new(TcpStream::connect(free).unwrap());
    let credentials = STANDARD.encode(format!("\0scan7\0{password}"));
    for (reply, answer) in [
        ("220 ", "EHLO scanner\r\n".to_owned()),
        ("250 ", format!("AUTH PLAIN {credentials}\r\n")),
        ("235 ", format!("MAIL FROM:<{SCANNER}>\r\n")),
        ("250 ", format!("RCPT TO:<{SCANNER}>\r\n")),
        ("250 ", "DATA\r\n".to_owned()),
        ("354 ", "Subject: scan\r\n\r\nscan\r\n.\r\n".to_owned()),
        ("250 ", "QUIT\r\n".to_owned()),
    ] {
        let mut line = String::new();
        while !line.starts_with(reply) {
            line.clear();
            assert!(client.read_line(&mut line).unwrap() > 0, "closed before {reply}");
        }
        client.get_mut().write_all(answer.as_bytes()).unwrap();
    }
    drop(client);
    service.end();

    let [scanner] = &devices(&world, &[])[..] else { panic!("one is expected") };
    assert_eq!((&scanner["messages"], &scanner["senders"]), (&1.into(), &json!([SCANNER])));
    let rule = world.told(&["devices", "--trusted-sender", "127.0.0.1"]);
    let block = format!("trusted_senders:\n  - from: 127.0.0.1\n    login: {SCANNER}\n    sender: forced\n");
    assert!(rule.ends_with(&block), "{rule}");
    // It can be pasted.
    let pasted = rule.lines().map(|line| format!("    {line}\n")).collect::<String>();
    let listener = format!("listeners:\n  devices:\n    protocol: smtp\n    bind: '{}'\n{pasted}", free_address());
    world.rewrite("listeners:\n", &listener, "");
    assert!(world.told(&["check"]).contains("no problems found"));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: run tests/run"]
async fn redis_keeps_the_list_for_all_processes() {
    let mut redis = Server::start(&[]);
    let world = World::new().await;
    world.directory.write("redis.key", KEY);
    let state = format!("state: {{store: 'redis://127.0.0.1:{}', key: {{file: redis.key}}}}", redis.port);
    world.rewrite("state: {directory: state}", &state, "");
    let password = shown(&world.told(&["password", "add", SCANNER, "--name", "Scanner"]));
    // The second process adds to what the first one has left.
    for logins in 1..=2 {
        let service = world.serve();
        drop(world.log_in("scan7", &password).unwrap());
        wait_until("the login is listed", || devices(&world, &[]).iter().any(|device| device["logins"] == logins));
        service.end();
    }
    let service = world.serve();
    world.log_in("scan7", "wrong").unwrap_err();
    service.end();
    let listed = devices(&world, &["--since", "1h"]);
    let [scanner] = &listed[..] else { panic!("{listed:?}") };
    assert_eq!((&scanner["login"], &scanner["address"]), (&SCANNER.into(), &"127.0.0.1".into()));
    assert_eq!((&scanner["logins"], &scanner["failures"]), (&2.into(), &1.into()));
    assert_eq!(scanner["last_failure"]["cause"], "wrong-password");

    // Redis holds nothing that can be read without the key.
    let mut kept = String::new();
    for name in redis.say(&["keys", "*"]).lines() {
        kept.push_str(&redis.say(&["hgetall", name]));
    }
    assert!(!kept.is_empty());
    for word in [SCANNER, "127.0.0.1", "wrong-password"] {
        assert!(!kept.contains(word), "{word}");
    }

    redis.stop();
    let output = world.directory.gatepost(&["devices"]);
    assert!(code(&output) != 0 && stdout(&output).is_empty(), "{output:?}");
    assert!(stderr(&output).contains("the store does not answer: `redis://"), "{}", stderr(&output));
    redis.start_again();
    wait_until("the list is there again", || code(&world.directory.gatepost(&["devices"])) == 0);
    assert_eq!(devices(&world, &[])[0]["logins"], 2);
}
