//! msmtp: submits what a program would give to sendmail.

use std::process::Command;

use super::gatepost::{ClientTls, Gatepost, Protocol, Route};
use super::message::{assert_same_behind_trace, message};
use super::process::{Directory, Finished, run};
use super::world::{Person, World};

/// Sends the message of that number with the person's own address as sender.
pub(crate) fn send(
    gatepost: &Gatepost<'_>,
    (tls, mechanism): (ClientTls, &str),
    person: &Person,
    number: usize,
) -> Finished {
    let directory = Directory::new();
    let security = match tls {
        ClientTls::None => "tls off",
        ClientTls::StartTls => "tls on\ntls_starttls on",
        ClientTls::Implicit => "tls on\ntls_starttls off",
    };
    let configuration = directory.write(
        "msmtprc",
        format!(
            "account default\nhost localhost\nport {port}\nfrom {login}\nauth {mechanism}\nuser {login}\n\
             passwordeval cat {password}\n{security}\ntls_trust_file {root}\ntimeout 60\n",
            port = gatepost.port(Protocol::Smtp, tls),
            login = person.login,
            password = directory.write("password", format!("{}\n", person.password)).display(),
            root = gatepost.world().authority.root.display(),
        ),
    );
    let message = directory.write("message", message(number));
    // It reads the message from standard input, and a test has none.
    let mut command = Command::new("sh");
    command.args(["-c", r#"exec msmtp --debug --file="$1" -- recipient@example.org <"$2""#, "sh"]);
    run(command.arg(configuration).arg(message))
}

#[test]
#[ignore = "needs Dovecot, Squid and mail clients: run tests/run"]
fn submits() {
    let world = World::shared();
    let gatepost = Gatepost::start(&world, Route::Straight);
    let person = world.person("msmtp", []);
    for (number, tls) in ClientTls::ALL.into_iter().enumerate() {
        for mechanism in ["plain", "login"] {
            let what = format!("{tls:?} {mechanism}");
            send(&gatepost, (tls, mechanism), &person, number).expect_success(&what);
            let arrived = world.sink.take(&person.login);
            assert_eq!(arrived.recipients, ["recipient@example.org"]);
            assert_same_behind_trace(&arrived.data, &message(number), &what);
        }
    }
    gatepost.stop();
}
