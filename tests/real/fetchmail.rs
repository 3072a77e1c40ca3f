//! fetchmail: takes mail out of a mailbox by POP3 and IMAP, and hands it to a program.

use std::fs;
use std::process::Command;

use super::gatepost::{ClientTls, Gatepost, Protocol, Route};
use super::message::{assert_same, message, unix_lines};
use super::process::{Directory, run};
use super::world::{Person, World};

/// Fetches everything, deletes it in the mailbox, and returns it in the order of the messages'
/// numbers.
fn fetch(gatepost: &Gatepost<'_>, protocol: Protocol, tls: ClientTls, person: &Person) -> Vec<Vec<u8>> {
    let directory = Directory::new();
    let delivered = directory.path().join("delivered");
    fs::create_dir(&delivered).unwrap();
    let name = match protocol {
        Protocol::Imap => "imap",
        Protocol::Pop3 => "pop3",
        Protocol::Smtp => unreachable!("fetchmail only reads"),
    };
    let security = match tls {
        ClientTls::None => "sslproto \"\"",
        ClientTls::StartTls => "sslproto \"tls1.2+\" sslcertck",
        ClientTls::Implicit => "ssl sslcertck",
    };
    let password = person.password.replace('\\', "\\\\");
    let configuration = directory.write(
        "fetchmailrc",
        format!(
            "set no bouncemail\nset invisible\n\
             poll localhost protocol {name} service {port} auth password timeout 60\n  \
             user \"{login}\" password '{password}'\n  {security} sslcertfile \"{root}\"\n  \
             fetchall no keep no rewrite no mimedecode mda \"cat > {delivered}/$$\"\n",
            port = gatepost.port(protocol, tls),
            login = person.login,
            root = gatepost.world().authority.root.display(),
            delivered = delivered.display(),
        ),
    );
    let mut command = Command::new("fetchmail");
    command.env("FETCHMAILHOME", directory.path()).arg("--pidfile").arg(directory.path().join("pid"));
    command.args(["-vv", "--nosyslog", "-f"]).arg(configuration);
    let finished = run(&mut command).expect_success(&format!("fetchmail {name} {tls:?}"));
    let trace = String::from_utf8_lossy(&finished.stdout);
    assert!(!trace.contains(&person.password), "fetchmail masks it; else the trace shows more than the wire");

    let files = fs::read_dir(&delivered).unwrap();
    let mut messages: Vec<Vec<u8>> = files.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
    messages.sort();
    messages
}

/// Twenty messages by one protocol, over each kind of TLS.
fn fetches(protocol: Protocol, name: &str) {
    let world = World::shared();
    let gatepost = Gatepost::start(&world, Route::Straight);
    for tls in ClientTls::ALL {
        let person = world.person(name, (0..20).map(message));
        let mut expected: Vec<Vec<u8>> = (0..20).map(|number| unix_lines(&message(number))).collect();
        expected.sort();
        let fetched = fetch(&gatepost, protocol, tls, &person);
        assert_eq!(fetched.len(), expected.len(), "{tls:?}");
        for (number, (actual, expected)) in fetched.iter().zip(&expected).enumerate() {
            assert_same(actual, expected, &format!("{tls:?}, message {number}"));
        }
        let left = world.dovecot.inbox(&person.login);
        assert!(left.is_empty(), "fetched and deleted, but still there: {left:?}");
    }
    gatepost.stop();
}

#[test]
#[ignore = "needs Dovecot, Squid and mail clients: run tests/run"]
fn fetches_by_imap() {
    fetches(Protocol::Imap, "fetchmail-imap");
}

#[test]
#[ignore = "needs Dovecot, Squid and mail clients: run tests/run"]
fn fetches_by_pop3() {
    fetches(Protocol::Pop3, "fetchmail-pop3");
}
