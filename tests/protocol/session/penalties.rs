//! Sources that misbehave, over whole sessions. Every client here is on loopback, which is exempt:
//! the service is told to treat it as any other network, and 127.0.0.2 and 127.0.0.3 are two
//! sources.

use std::net::SocketAddr;
use std::time::Duration;

use gatepost_core::protocol::MailProtocol;
use tokio::net::TcpSocket;

use crate::session::support::{ALICE, ALICES, Client, PROTOCOLS, Setup, World, is_accepted, plain, xoauth2};

use MailProtocol::{Imap, Pop3, Smtp};

const GOOD: &str = "127.0.0.2";
const BAD: &str = "127.0.0.3";

async fn penalising(limits: &'static str) -> World {
    Setup { penalise_loopback: true, ..Setup::limits(limits) }.start().await
}

async fn from(source: &str, world: &World, protocol: MailProtocol) -> Client {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(source.parse().unwrap(), 0)).unwrap();
    let stream = socket.connect(world.address(protocol.name())).await.unwrap();
    Client::over(stream, protocol)
}

/// One login on a connection of its own.
async fn reply(source: &str, world: &World, protocol: MailProtocol, user: &str, password: &str) -> String {
    let mut client = from(source, world, protocol).await;
    client.greet().await;
    client.log_in(user, password).await
}

async fn is_closed(source: &str, world: &World) -> bool {
    from(source, world, Pop3).await.line().await.is_none()
}

#[tokio::test]
async fn a_source_that_guesses_is_closed_without_a_greeting_and_the_others_are_not() {
    let world = penalising("  penalty_no_login: 0s").await;
    let mut session = {
        let mut client = from(BAD, &world, Imap).await;
        client.greet().await;
        assert!(is_accepted(Imap, &client.log_in(ALICE, ALICES).await));
        client
    };
    for guess in 0..4 {
        assert!(!is_closed(BAD, &world).await, "after {guess} guesses");
        let reply = reply(BAD, &world, Smtp, ALICE, &format!("guess {guess}")).await;
        assert!(!is_accepted(Smtp, &reply), "{reply}");
    }
    for protocol in PROTOCOLS {
        assert_eq!(from(BAD, &world, protocol).await.rest().await, "", "{protocol:?}: not even a greeting");
    }
    let lines = world.log.lines(|line| line.contains("cause=penalised"));
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("127.0.0.3") && lines[0].contains(". Gatepost admin: "), "{lines:?}");
    assert!(is_accepted(Imap, &reply(GOOD, &world, Imap, ALICE, ALICES).await));
    session.works().await;
}

#[tokio::test]
async fn a_source_that_is_closed_has_no_use_of_the_connections_that_it_still_has() {
    for protocol in PROTOCOLS {
        let world = penalising("  penalty_no_login: 0s").await;
        let mut open = from(BAD, &world, protocol).await;
        open.greet().await;
        for guess in 0..4 {
            reply(BAD, &world, protocol, ALICE, &format!("guess {guess}")).await;
        }
        let asked = world.sandbox.counters().http_requests;
        if protocol == Pop3 {
            open.ask(&format!("USER {ALICE}"), "+OK").await;
        }
        open.send(match protocol {
            Imap => format!("a LOGIN {ALICE} \"{ALICES}\"\r\n"),
            Pop3 => format!("PASS {ALICES}\r\n"),
            Smtp => format!("AUTH PLAIN {}\r\n", plain(ALICE, ALICES)),
        })
        .await;
        assert_eq!(open.rest().await, "", "{protocol:?}");
        assert_eq!(world.sandbox.counters().http_requests, asked, "{protocol:?}");
    }
}

#[tokio::test]
async fn a_program_with_an_old_password_is_not_closed_however_often_it_comes() {
    let world = penalising("").await;
    for protocol in PROTOCOLS {
        for _ in 0..10 {
            let reply = reply(BAD, &world, protocol, ALICE, "the old password").await;
            assert!(!is_accepted(protocol, &reply), "{reply}");
        }
    }
    assert!(is_accepted(Imap, &reply(BAD, &world, Imap, ALICE, ALICES).await));
}

#[tokio::test]
async fn what_a_connection_does_before_a_login_is_charged() {
    // (what is sent, whether it closes the source with a threshold of this many seconds)
    let http = "GET / HTTP/1.1\r\nHost: mail\r\n\r\n";
    let garbage = "x\r\n".repeat(30);
    for (sent, limits, closes) in [
        (http, "  penalty_threshold: 29s", true),
        (http, "  penalty_threshold: 30s", false),
        (garbage.as_str(), "  penalty_threshold: 9s", true),
        (garbage.as_str(), "  penalty_threshold: 10s", false),
        ("", "  penalty_threshold: 999ms", true),
        ("", "  penalty_threshold: 1s", false),
        ("a LOGOUT\r\n", "  penalty_threshold: 999ms", true),
    ] {
        let world = penalising(limits).await;
        let mut client = from(BAD, &world, Imap).await;
        client.greet().await;
        client.send(sent).await;
        if !sent.is_empty() {
            client.rest().await;
        }
        drop(client);
        let ended = || world.log.has("outcome=closed");
        world.until("the connection has ended", ended).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(from(BAD, &world, Imap).await.line().await.is_none(), closes, "{sent:?} with {limits}");
    }
}

#[tokio::test]
async fn a_login_that_shows_no_password_is_no_guess() {
    let listeners = "\n  smtp: {bind: '127.0.0.1:0', upstream: 'localhost:{smtp}', client_tokens: refuse}
  pop3: {bind: '127.0.0.1:0', upstream: 'localhost:{pop3}'}"
        .to_owned();
    let limits = "  penalty_threshold: 1s\n  penalty_wrong_password: 1h\n  penalty_garbage: 1h\n  penalty_no_login: 0s";
    let world = Setup { penalise_loopback: true, listeners, limits, ..Setup::default() }.start().await;
    let token = world.sandbox.issue_token(ALICE).unwrap();
    for (login, cause) in [
        (format!("AUTH XOAUTH2 {}", xoauth2(ALICE, token.expose())), "client-tokens-refused"),
        ("AUTH PLAIN !".to_owned(), "malformed-login"),
        ("AUTH PLAIN =".to_owned(), "malformed-login"),
    ] {
        let mut client = from(BAD, &world, Smtp).await;
        client.greet().await;
        let reply = client.ask(&login, "").await;
        assert!(reply.starts_with('5'), "{reply}");
        assert!(world.log.has(&format!("cause={cause} ")), "{reply}");
        assert!(!is_closed(BAD, &world).await, "{login}");
    }
    // A guess is one.
    reply(BAD, &world, Smtp, ALICE, "a guess").await;
    assert!(is_closed(BAD, &world).await);
}

#[tokio::test]
async fn a_device_that_needs_no_login_need_not_try_one() {
    let limits = "  penalty_threshold: 1s\n  penalty_no_login: 1h";
    for (trusted, closes) in [(BAD, false), ("127.0.0.9", true)] {
        let world = Setup {
            penalise_loopback: true,
            listeners: format!(
                "\n  smtp: {{bind: '127.0.0.1:0', upstream: 'localhost:{{smtp}}', trusted_senders: [{{from: {trusted}, login: {ALICE}}}]}}
  pop3: {{bind: '127.0.0.1:0', upstream: 'localhost:{{pop3}}'}}"
            ),
            accounts: format!("\n  - login: {ALICE}"),
            microsoft: "  grant: client_credentials\n  client_id: '{confidential}'\n  client_secret: sandbox-secret",
            limits,
            ..Setup::default()
        };
        let world = world.start().await;
        let mut client = from(BAD, &world, Smtp).await;
        client.greet().await;
        client.send("QUIT\r\n").await;
        client.rest().await;
        world.until("the connection has ended", || world.log.has("outcome=closed")).await;
        if closes {
            let closed = async || is_closed(BAD, &world).await;
            crate::common::wait::until("the source is closed", closed).await;
        } else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(!is_closed(BAD, &world).await);
        }
    }
}

#[tokio::test]
async fn a_deadline_before_the_login_is_charged_and_runs_down() {
    let world = penalising("  pre_auth: 100ms\n  penalty_timeout: 2s\n  penalty_threshold: 1s").await;
    let mut client = from(BAD, &world, Smtp).await;
    client.rest().await;
    assert!(is_closed(BAD, &world).await);
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    assert!(!is_closed(BAD, &world).await);
}

#[tokio::test]
async fn spraying_over_many_accounts_closes_a_source() {
    let world = penalising("  penalty_wrong_password: 0s\n  penalty_no_login: 0s").await;
    for n in 0..11 {
        assert!(!is_closed(BAD, &world).await, "after {n} accounts");
        reply(BAD, &world, Imap, &format!("user{n}@contoso.example"), "Summer2026!").await;
    }
    assert!(is_closed(BAD, &world).await);
}

#[tokio::test]
async fn loopback_is_exempt() {
    let world = Setup::default().start().await;
    for guess in 0..20 {
        reply(BAD, &world, Imap, ALICE, &format!("guess {guess}")).await;
    }
    assert!(!is_closed(BAD, &world).await);
}
