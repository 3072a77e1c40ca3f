//! swaks: the SMTP dialogue itself, as a tester would look at it.

use std::process::Command;

use super::gatepost::{ClientTls, Gatepost, Protocol, Route};
use super::message::{assert_same_behind_trace, dotted, message};
use super::process::{Directory, Finished, run};
use super::world::{Person, World};

/// Sends message 7, or stops where `options` say so.
fn swaks(gatepost: &Gatepost<'_>, tls: ClientTls, person: Option<&Person>, options: &[&str]) -> Finished {
    let directory = Directory::new();
    // Without its fix-up swaks sends a file as it is: the dots of RFC 5321 §4.5.2 are ours.
    let data = directory.write("data", dotted(&message(7)));
    let mut command = Command::new("swaks");
    command.args(["--server", "localhost", "--timeout", "60", "--no-data-fixup", "--ehlo", "client.example"]);
    command.arg("--port").arg(gatepost.port(Protocol::Smtp, tls).to_string());
    match tls {
        ClientTls::None => {}
        ClientTls::StartTls => {
            command.args(["--tls", "--tls-verify", "--tls-ca-path"]).arg(&gatepost.world().authority.root);
        }
        ClientTls::Implicit => {
            command.args(["--tls-on-connect", "--tls-verify", "--tls-ca-path"]).arg(&gatepost.world().authority.root);
        }
    }
    if let Some(person) = person {
        command.args(["--auth-user", &person.login, "--auth-password", &person.password]);
    }
    command.args(["--to", "recipient@example.org", "--data"]).arg(format!("@{}", data.display()));
    run(command.args(options))
}

#[test]
#[ignore = "needs Dovecot, Squid and mail clients: run tests/run"]
fn submits() {
    let world = World::shared();
    let gatepost = Gatepost::start(&world, Route::Straight);
    let person = world.person("swaks", []);
    for tls in ClientTls::ALL {
        for mechanism in ["PLAIN", "LOGIN"] {
            let what = format!("{tls:?} {mechanism}");
            let options = ["--auth", mechanism, "--from", &person.login];
            swaks(&gatepost, tls, Some(&person), &options).expect_success(&what);
            let arrived = world.sink.take(&person.login);
            assert_same_behind_trace(&arrived.data, &message(7), &what);
        }
    }
    gatepost.stop();
}

#[test]
#[ignore = "needs Dovecot, Squid and mail clients: run tests/run"]
fn may_not_send_without_login() {
    let world = World::shared();
    let gatepost = Gatepost::start(&world, Route::Straight);
    let refused = swaks(&gatepost, ClientTls::None, None, &["--from", "anybody@contoso.com"]);
    let dialogue = String::from_utf8_lossy(&refused.stdout).into_owned();
    // 23: the server refused MAIL.
    assert_eq!(refused.status.code(), Some(23), "{dialogue}");
    assert!(dialogue.contains("530 5.7.0"), "{dialogue}");
    gatepost.stop();
}
