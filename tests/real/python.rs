//! Python's imaplib, poplib and smtplib. The scripts beside this file check what they can see; the
//! rest is checked here.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::gatepost::{ClientTls, Gatepost, Protocol, Route};
use super::message::{assert_same_behind_trace, large_message, message};
use super::process::{Directory, Finished, run};
use super::world::{Person, World};

/// Microsoft takes messages of 150 MB at most, and 25 MB by default.
const LARGE: usize = 20 * 1024 * 1024;

/// Runs one of the scripts with where and who, and `more`, as JSON.
pub(crate) fn python(
    script: &str,
    gatepost: &Gatepost<'_>,
    (protocol, tls): (Protocol, ClientTls),
    person: &Person,
    more: &Value,
) -> Finished {
    let mut settings = json!({
        "port": gatepost.port(protocol, tls),
        "tls": format!("{tls:?}"),
        "root": gatepost.world().authority.root,
        "login": person.login,
        "password": person.password,
    });
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real").join(script);
    run(Command::new("python3").arg("-B").arg(script).arg(settings.to_string()))
}

/// Each kind of TLS that a client can ask for, with a large message in a file.
fn with_each_tls(test: impl Fn(&World, &Gatepost<'_>, &Path, ClientTls)) {
    let world = World::shared();
    let gatepost = Gatepost::start(&world, Route::Straight);
    let directory = Directory::new();
    let large = directory.write("large", large_message(LARGE));
    for tls in ClientTls::ALL {
        test(&world, &gatepost, &large, tls);
    }
    gatepost.stop();
}

#[test]
#[ignore = "needs Dovecot, Squid and mail clients: run tests/run"]
fn imaplib_idles_appends_and_searches() {
    with_each_tls(|world, gatepost, large, tls| {
        // The passwords of printers and the names of their owners know more letters than ASCII.
        let password = format!("Grüße, Jürgen! 日本 {tls:?}");
        let person = world.person_with_password("imaplib", &password, [message(1), message(2)]);
        let more = json!({"large": large, "message": String::from_utf8(message(3)).unwrap()});
        python("imap.py", gatepost, (Protocol::Imap, tls), &person, &more).expect_success(&format!("{tls:?}"));
    });
}

#[test]
#[ignore = "needs Dovecot, Squid and mail clients: run tests/run"]
fn poplib_retrieves_and_deletes() {
    with_each_tls(|world, gatepost, large, tls| {
        let password = format!("Grüße  mit  Leerzeichen, {tls:?}");
        let person = world.person_with_password("poplib", &password, [message(1), large_message(LARGE)]);
        let more = json!({"large": large, "message": String::from_utf8(message(1)).unwrap()});
        python("pop3.py", gatepost, (Protocol::Pop3, tls), &person, &more).expect_success(&format!("{tls:?}"));
        let left = world.dovecot.inbox(&person.login);
        assert_eq!(left.len(), 1, "{tls:?}: one of two was deleted: {left:?}");
    });
}

#[test]
#[ignore = "needs Dovecot, Squid and mail clients: run tests/run"]
fn smtplib_submits_twenty_megabytes() {
    with_each_tls(|world, gatepost, large, tls| {
        let password = format!("Grüße, Jürgen! 日本 {tls:?}");
        let person = world.person_with_password("smtplib", &password, []);
        let more = json!({"large": large, "message": String::from_utf8(message(3)).unwrap()});
        python("smtp.py", gatepost, (Protocol::Smtp, tls), &person, &more).expect_success(&format!("{tls:?}"));
        for expected in [message(3), large_message(LARGE)] {
            let arrived = world.sink.take(&person.login);
            assert_eq!(arrived.recipients, ["recipient@example.org"]);
            assert_same_behind_trace(&arrived.data, &expected, &format!("{tls:?}"));
        }
    });
}
