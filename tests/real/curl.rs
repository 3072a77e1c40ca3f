//! curl: IMAP, POP3 and SMTP, with every way to log in that it has.

use super::gatepost::{ClientTls, Gatepost, Protocol, Route};
use super::message::{assert_same, assert_same_behind_trace, message};
use super::process::{Directory, Finished, run};
use super::world::{Person, World};

/// Runs curl against a listener; `path` is what stands behind the port.
pub(crate) fn curl(
    gatepost: &Gatepost<'_>,
    protocol: Protocol,
    tls: ClientTls,
    path: &str,
    person: &Person,
    options: &[&str],
) -> Finished {
    let scheme = match (protocol, tls) {
        (Protocol::Imap, ClientTls::Implicit) => "imaps",
        (Protocol::Imap, _) => "imap",
        (Protocol::Pop3, ClientTls::Implicit) => "pop3s",
        (Protocol::Pop3, _) => "pop3",
        (Protocol::Smtp, ClientTls::Implicit) => "smtps",
        (Protocol::Smtp, _) => "smtp",
    };
    let mut command = gatepost.command("curl");
    command.args(["--silent", "--show-error", "--verbose", "--noproxy", "*", "--max-time", "120", "--cacert"]);
    command.arg(&gatepost.world().authority.root);
    if tls == ClientTls::StartTls {
        command.arg("--ssl-reqd");
    }
    command.arg("--user").arg(format!("{}:{}", person.login, person.password)).args(options);
    command.arg(format!("{scheme}://localhost:{}{path}", gatepost.port(protocol, tls)));
    run(&mut command)
}

/// All ways in which curl puts a password on the wire.
const MECHANISMS: [&[&str]; 3] = [
    &["--login-options", "AUTH=PLAIN"],
    &["--login-options", "AUTH=PLAIN", "--sasl-ir"],
    &["--login-options", "AUTH=LOGIN"],
];

#[test]
#[ignore = "needs Dovecot, Squid and mail clients: run tests/run"]
fn fetches_by_imap() {
    let world = World::shared();
    let gatepost = Gatepost::start(&world, Route::Straight);
    let person = world.person("curl-imap", [message(1), message(2)]);
    for tls in ClientTls::ALL {
        for options in MECHANISMS {
            let what = format!("{tls:?} {options:?}");
            let fetched = curl(&gatepost, Protocol::Imap, tls, "/INBOX;UID=2", &person, options).expect_success(&what);
            assert_same(&fetched.stdout, &message(2), &what);
        }
    }
    let requests = world.entra.requests(&person.login);
    assert_eq!(requests.len(), 1, "one token serves them all: {requests:?}");
    gatepost.stop();
}

#[test]
#[ignore = "needs Dovecot, Squid and mail clients: run tests/run"]
fn retrieves_by_pop3() {
    let world = World::shared();
    let gatepost = Gatepost::start(&world, Route::Straight);
    let person = world.person("curl-pop3", [message(3), message(4)]);
    for tls in ClientTls::ALL {
        for options in MECHANISMS {
            let what = format!("{tls:?} {options:?}");
            let retrieved = curl(&gatepost, Protocol::Pop3, tls, "/2", &person, options).expect_success(&what);
            assert_same(&retrieved.stdout, &message(4), &what);
        }
    }
    gatepost.stop();
}

#[test]
#[ignore = "needs Dovecot, Squid and mail clients: run tests/run"]
fn submits_by_smtp() {
    let world = World::shared();
    let gatepost = Gatepost::start(&world, Route::Straight);
    let person = world.person("curl-smtp", []);
    let directory = Directory::new();
    let file = directory.write("message", message(5));
    for tls in ClientTls::ALL {
        for options in MECHANISMS {
            let what = format!("{tls:?} {options:?}");
            let mut options = options.to_vec();
            options.extend([
                "--mail-from",
                &person.login,
                "--mail-rcpt",
                "one@example.org",
                "--mail-rcpt",
                "two@example.org",
            ]);
            options.extend(["--upload-file", file.to_str().unwrap()]);
            curl(&gatepost, Protocol::Smtp, tls, "/client.example", &person, &options).expect_success(&what);
            let arrived = world.sink.take(&person.login);
            assert_eq!(arrived.recipients, ["one@example.org", "two@example.org"]);
            assert_same_behind_trace(&arrived.data, &message(5), &what);
        }
    }
    gatepost.stop();
}

#[test]
#[ignore = "needs Dovecot, Squid and mail clients: run tests/run"]
fn is_refused_with_a_wrong_password() {
    let world = World::shared();
    let gatepost = Gatepost::start(&world, Route::Straight);
    let mut person = world.person("curl-wrong", [message(1)]);
    person.password = "not the password".to_owned();
    for (protocol, path, reply) in [
        (Protocol::Imap, "/INBOX;UID=1", "NO [AUTHENTICATIONFAILED]"),
        (Protocol::Pop3, "/1", "-ERR [AUTH]"),
        (Protocol::Smtp, "/client.example", "535 5.7.8"),
    ] {
        let options: &[&str] = if protocol == Protocol::Smtp {
            &["--mail-from", "a@contoso.com", "--mail-rcpt", "b@example.org", "--upload-file", "/dev/null"]
        } else {
            &[]
        };
        let refused = curl(&gatepost, protocol, ClientTls::None, path, &person, options);
        assert_eq!(refused.status.code(), Some(67), "curl says `login denied`: {}", refused.stderr);
        assert!(refused.stderr.contains(reply), "{protocol:?}: {}", refused.stderr);
    }
    let requests = world.entra.requests(&person.login);
    assert_eq!(requests.len(), 1, "a refused password is remembered: {requests:?}");
    assert!(world.dovecot.logins(&person.login).is_empty());
    gatepost.stop();
}

#[test]
#[ignore = "needs Dovecot, Squid and mail clients: run tests/run"]
fn brings_a_token_of_its_own() {
    let world = World::shared();
    let gatepost = Gatepost::start_announcing_tokens(&world);
    let person = world.person("curl-token", [message(1)]);
    let token = world.entra.grant(&person.login);
    for (protocol, path) in [(Protocol::Imap, "/INBOX;UID=1"), (Protocol::Pop3, "/1")] {
        for mechanism in ["AUTH=XOAUTH2", "AUTH=OAUTHBEARER"] {
            let what = format!("{protocol:?} {mechanism}");
            let options = ["--login-options", mechanism, "--oauth2-bearer", &token];
            let fetched = curl(&gatepost, protocol, ClientTls::StartTls, path, &person, &options).expect_success(&what);
            assert_same(&fetched.stdout, &message(1), &what);
        }
    }
    assert!(world.entra.requests(&person.login).is_empty(), "the token is the client's, Entra is not asked");
    gatepost.stop();
}
