//! mbsync (isync): a whole mailbox, and changes in both directions.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::gatepost::{ClientTls, Gatepost, Protocol, Route};
use super::message::{assert_same, message, unix_lines};
use super::process::{Directory, run};
use super::world::{Person, World};

/// The size of the mailbox of the issue's own test.
const MESSAGES: usize = 2_000;

/// Runs one synchronisation between the mailbox and a Maildir in `directory`.
fn synchronise(gatepost: &Gatepost<'_>, (tls, mechanism): (ClientTls, &str), person: &Person, directory: &Directory) {
    let kind = match tls {
        ClientTls::None => "None",
        ClientTls::StartTls => "STARTTLS",
        ClientTls::Implicit => "IMAPS",
    };
    let configuration = directory.write(
        "mbsyncrc",
        format!(
            "IMAPAccount gatepost\nHost localhost\nPort {port}\nUser {login}\nPass \"{password}\"\nSSLType {kind}\n\
             CertificateFile {root}\nAuthMechs {mechanism}\nTimeout 60\n\n\
             IMAPStore far\nAccount gatepost\n\n\
             MaildirStore near\nInbox {path}/inbox\n\n\
             Channel inbox\nFar :far:\nNear :near:\nSync All\nCreate Near\nExpunge Both\nSyncState {path}/state-\n",
            port = gatepost.port(Protocol::Imap, tls),
            login = person.login,
            password = person.password.replace('\\', "\\\\").replace('"', "\\\""),
            root = gatepost.world().authority.root.display(),
            path = directory.path().display(),
        ),
    );
    run(Command::new("mbsync").arg("--config").arg(configuration).arg("inbox")).expect_success(mechanism);
}

/// The messages of a Maildir by Message-ID, without the line that mbsync may add to find them
/// again.
fn read(inbox: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut messages = BTreeMap::new();
    for part in ["new", "cur"] {
        for entry in fs::read_dir(inbox.join(part)).unwrap() {
            let text = fs::read(entry.unwrap().path()).unwrap();
            let lines = text.split_inclusive(|&octet| octet == b'\n');
            let text = lines.filter(|line| !line.starts_with(b"X-TUID: ")).collect::<Vec<_>>().concat();
            let id = text.split(|&octet| octet == b'\n').next().unwrap();
            messages.insert(String::from_utf8(id.to_vec()).unwrap(), text);
        }
    }
    messages
}

#[test]
#[ignore = "needs Dovecot, Squid and mail clients: run tests/run"]
fn synchronises_two_thousand_messages() {
    let world = World::shared();
    let gatepost = Gatepost::start(&world, Route::Straight);
    let person = world.person("mbsync", (0..MESSAGES).map(message));
    let directory = Directory::new();
    synchronise(&gatepost, (ClientTls::None, "LOGIN"), &person, &directory);

    let inbox = directory.path().join("inbox");
    let near = read(&inbox);
    assert_eq!(near.len(), MESSAGES);
    for number in 0..MESSAGES {
        let id = format!("Message-ID: <{number}@messages.contoso.com>");
        let actual = near.get(&id).unwrap_or_else(|| panic!("message {number} is missing"));
        assert_same(actual, &unix_lines(&message(number)), &id);
    }

    // The other direction: a new message and a deletion reach the mailbox, by the other mechanism
    // and over TLS.
    fs::write(inbox.join("new/1.1.localhost"), unix_lines(&message(MESSAGES))).unwrap();
    let first = "Message-ID: <0@messages.contoso.com>\n".as_bytes();
    let mut entries = fs::read_dir(inbox.join("new")).unwrap().chain(fs::read_dir(inbox.join("cur")).unwrap());
    let doomed = entries.find_map(|entry| {
        let path = entry.unwrap().path();
        fs::read(&path).unwrap().starts_with(first).then_some(path)
    });
    fs::remove_file(doomed.unwrap()).unwrap();
    synchronise(&gatepost, (ClientTls::StartTls, "PLAIN"), &person, &directory);

    let fresh = Directory::new();
    synchronise(&gatepost, (ClientTls::Implicit, "PLAIN"), &person, &fresh);
    let again = read(&fresh.path().join("inbox"));
    assert_eq!(again.len(), MESSAGES, "one came, one went");
    let id = format!("Message-ID: <{MESSAGES}@messages.contoso.com>");
    assert_same(&again[&id], &unix_lines(&message(MESSAGES)), &id);
    assert!(!again.contains_key("Message-ID: <0@messages.contoso.com>"));
    assert_eq!(world.entra.requests(&person.login).len(), 1);
    gatepost.stop();
}
