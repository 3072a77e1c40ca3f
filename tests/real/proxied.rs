//! Through Squid, open and with each kind of authentication: mail and token requests alike, each
//! connection of them.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::json;

use super::authority::{AUTHORITY_NAME, SUBMISSION_NAME, UPSTREAM_NAME};
use super::curl::curl;
use super::gatepost::{ClientTls, Gatepost, Protocol, Route};
use super::message::{assert_same, assert_same_behind_trace, large_message, message};
use super::msmtp;
use super::process::Directory;
use super::python::python;
use super::squid::{self, Asks, Squid, Tunnel};
use super::world::World;

/// Reads by IMAP and POP3 and sends by SMTP, then asks Dovecot, Entra and Squid what they have
/// seen.
fn works_through(asks: Asks) {
    let squid = Squid::start(asks);
    let credentials = squid.credentials();
    works_with(squid, credentials);
}

/// The same with other keys of `forward_proxy`.
pub(crate) fn works_with(squid: Squid, credentials: &str) {
    let world = World::shared();
    let gatepost = Gatepost::start(&world, Route::Through(&squid, credentials));
    let reader = world.person("proxied", [message(1), message(2)]);
    let writer = world.person("proxied-writer", []);

    for (number, path) in [(1, "/INBOX;UID=1"), (2, "/INBOX;UID=2")] {
        let fetched = curl(&gatepost, Protocol::Imap, ClientTls::None, path, &reader, &[]).expect_success("curl IMAP");
        assert_same(&fetched.stdout, &message(number), path);
    }
    let retrieved =
        curl(&gatepost, Protocol::Pop3, ClientTls::StartTls, "/2", &reader, &[]).expect_success("curl POP3");
    assert_same(&retrieved.stdout, &message(2), "POP3");

    let directory = Directory::new();
    let large = directory.write("large", large_message(20 * 1024 * 1024));
    let more = json!({"large": large, "message": String::from_utf8(message(3)).unwrap()});
    let smtp = (Protocol::Smtp, ClientTls::Implicit);
    python("smtp.py", &gatepost, smtp, &writer, &more).expect_success("smtplib");
    for expected in [message(3), large_message(20 * 1024 * 1024)] {
        assert_same_behind_trace(&world.sink.take(&writer.login).data, &expected, "smtplib");
    }
    msmtp::send(&gatepost, (ClientTls::None, "plain"), &writer, 4).expect_success("msmtp");
    assert_same_behind_trace(&world.sink.take(&writer.login).data, &message(4), "msmtp");
    let idler = world.person("proxied-idler", [message(1), message(2)]);
    let imap = (Protocol::Imap, ClientTls::Implicit);
    python("imap.py", &gatepost, imap, &idler, &more).expect_success("imaplib");
    gatepost.stop();

    // What arrived has come from Squid's own address.
    for person in [&reader, &writer, &idler] {
        let logins = world.dovecot.logins(&person.login);
        let from = format!("rip={}", squid.leaves_from);
        assert!(logins.len() >= 3 && logins.iter().all(|line| line.contains(&from)), "{from}: {logins:#?}");
        let requests = world.entra.requests(&person.login);
        assert_eq!(requests.len(), 1, "{requests:?}");
        assert!(requests[0].granted && requests[0].peer == IpAddr::V4(squid.leaves_from), "{requests:?}");
    }

    // And Squid has written down as many tunnels as there were logins, or more: capability lists
    // are learned, too.
    let user = squid.user();
    let sessions = [
        (UPSTREAM_NAME, world.dovecot.imap, 2 + world.dovecot.logins(&idler.login).len()),
        (UPSTREAM_NAME, world.dovecot.pop3, 1),
        (SUBMISSION_NAME, world.dovecot.submission, 3),
        (AUTHORITY_NAME, world.entra.port, 1),
    ];
    let tunnels = squid.stop();
    for (name, port, least) in sessions {
        let destination = format!("{name}:{port}");
        let of_this: Vec<&Tunnel> = tunnels.iter().filter(|tunnel| tunnel.destination == destination).collect();
        let good = of_this.iter().filter(|tunnel| tunnel.result == "TCP_TUNNEL/200" && tunnel.user == user).count();
        assert!(good >= least, "{destination}: {good} of {least} tunnels of `{user}`: {of_this:#?}");
    }
}

#[test]
#[ignore = "needs Dovecot, Squid and mail clients: run tests/run"]
fn works_through_an_open_proxy() {
    works_through(Asks::Nothing);
}

#[test]
#[ignore = "needs Dovecot, Squid and mail clients: run tests/run"]
fn works_through_a_proxy_with_basic_authentication() {
    works_through(Asks::Basic);
}

#[test]
#[ignore = "needs Dovecot, Squid and mail clients: run tests/run"]
fn works_through_a_proxy_with_digest_authentication() {
    works_through(Asks::Digest);
}

#[test]
#[ignore = "needs Dovecot, Squid and mail clients: run tests/run"]
fn works_through_a_proxy_with_ntlm() {
    works_through(Asks::Ntlm);
}

/// Logs in through `squid` with these keys of `forward_proxy`, and is told "later"; the log.
pub(crate) fn is_unavailable(squid: &Squid, credentials: &str) -> String {
    let world = World::shared();
    let gatepost = Gatepost::start(&world, Route::Through(squid, credentials));
    let person = world.person("proxied-refused", [message(1)]);
    let refused = curl(&gatepost, Protocol::Imap, ClientTls::None, "/INBOX;UID=1", &person, &[]);
    assert!(!refused.status.success());
    // Temporary: the person's password is not at fault, and must not be forgotten by the client.
    assert!(refused.stderr.contains("NO [UNAVAILABLE]"), "{}", refused.stderr);
    assert!(world.entra.requests(&person.login).is_empty() && world.dovecot.logins(&person.login).is_empty());
    gatepost.stop()
}

#[test]
#[ignore = "needs Dovecot, Squid and mail clients: run tests/run"]
fn is_unavailable_when_the_proxy_refuses_the_password() {
    for asks in [Asks::Basic, Asks::Digest] {
        let squid = Squid::start(asks);
        let credentials = squid.credentials().replace(squid::PASSWORD, "wrong");
        let log = is_unavailable(&squid, &credentials);
        assert!(log.contains("407"), "the log says what the proxy said:\n{log}");
        assert!(log.contains("`forward_proxy.username` and `forward_proxy.password`"), "{log}");
        let tunnels = squid.stop();
        assert!(tunnels.iter().all(|tunnel| tunnel.result == "TCP_DENIED/407"), "{tunnels:#?}");
        assert!(!tunnels.is_empty());
    }
}

#[test]
#[ignore = "needs Dovecot, Squid and mail clients: run tests/run"]
fn is_unavailable_when_the_proxy_wants_another_kind_of_authentication() {
    let squid = Squid::start(Asks::Digest);
    let log = is_unavailable(&squid, "  authentication: ntlm\n  username: CORP\\svc-mail\n  password: p\n");
    assert!(log.contains("set `forward_proxy.authentication` to `digest`"), "{log}");
    assert!(squid.stop().iter().all(|tunnel| tunnel.result == "TCP_DENIED/407"));
}

#[test]
#[ignore = "needs Dovecot, Squid and mail clients: run tests/run"]
fn goes_straight_without_a_proxy() {
    let world = World::shared();
    let gatepost = Gatepost::start(&world, Route::Straight);
    let person = world.person("straight", [message(1)]);
    curl(&gatepost, Protocol::Imap, ClientTls::None, "/INBOX;UID=1", &person, &[]).expect_success("curl");
    gatepost.stop();
    let logins = world.dovecot.logins(&person.login);
    assert!(logins.len() == 1 && logins[0].contains("rip=127.0.0.1,"), "{logins:?}");
    assert_eq!(world.entra.requests(&person.login)[0].peer, IpAddr::V4(Ipv4Addr::LOCALHOST));
}
