//! The audit log of a service and of the commands beside it.

use std::fs::{File, read_to_string};
use std::io::Write as _;

use serde_json::Value;

use super::device_passwords::{SCANNER, World};
use crate::common::wait::wait_until;
use crate::service::shown;

#[tokio::test(flavor = "multi_thread")]
async fn whoever_logs_in_and_whatever_is_done_stands_in_the_audit_log() {
    let world = World::new().await;
    let mut file = File::options().append(true).open(world.directory.file("proxy.yaml")).unwrap();
    writeln!(file, "log: {{audit: {{file: audit.jsonl}}}}").unwrap();
    drop(file);
    let lines = || -> Vec<Value> {
        let text = read_to_string(world.directory.file("audit.jsonl")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let password = shown(&world.told(&["password", "add", "scan7", "--name", "Fax"]));
    let service = world.serve();
    let session = world.log_in(SCANNER, &password).unwrap();
    world.log_in(SCANNER, "a-wrong-password").unwrap_err();
    drop(session);
    wait_until("the session ends", || lines().iter().any(|line| line["event"] == "session"));
    world.told(&["password", "revoke", "--login", "scan7", "--name", "Fax"]);
    drop(service);

    let lines = lines();
    let find = |event: &str, outcome: &str| {
        let found: Vec<_> = lines.iter().filter(|line| line["event"] == event && line["outcome"] == outcome).collect();
        assert_eq!(found.len(), 1, "{event} {outcome} in {lines:#?}");
        found[0].clone()
    };
    let (made, revoked) = (find("admin", "password-made"), find("admin", "password-revoked"));
    let (accepted, refused, ended) = (find("login", "accepted"), find("login", "refused"), find("session", "ended"));
    assert_eq!(lines.len(), 5);
    assert!(made["device"].as_str().unwrap().ends_with(" (Fax)"));
    for line in [&revoked, &accepted, &ended] {
        assert_eq!(line["device"], made["device"], "{line}");
    }
    for line in [&made, &revoked, &accepted, &refused, &ended] {
        assert_eq!(line["account"], SCANNER, "{line}");
        assert!(line["time"].as_str().unwrap().ends_with('Z'), "{line}");
    }
    assert!(made["by"].as_str().unwrap().starts_with("command-line"));
    assert_eq!((&accepted["protocol"], &accepted["listener"]), (&"imap".into(), &"imap".into()));
    assert!(accepted["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert_eq!(accepted["session"], ended["session"]);
    assert_eq!(refused["cause"], "wrong-password");
    assert!(refused["message"].as_str().unwrap().contains("Device owner"));
    assert!(ended["bytes_received"].is_u64() && ended["duration_ms"].is_u64());
    assert!(!lines.iter().any(|line| line.to_string().contains(&password)));
}
