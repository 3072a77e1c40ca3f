//! Clients that bring a token of their own: Microsoft judges it before anything is theirs, and what
//! strangers bring costs nobody else anything.

use std::net::SocketAddr;

use gatepost_core::failure::Refusal;
use gatepost_core::protocol::MailProtocol;
use gatepost_sandbox::{Service, UpstreamMode};
use tokio::net::TcpSocket;

use crate::session::support::{ALICE, ALICES, BOB, Client, PROTOCOLS, Setup, World, is_accepted, service, xoauth2};

use MailProtocol::{Imap, Pop3, Smtp};

const LEGACY: &str = "\n  smtp: {bind: '127.0.0.1:0', upstream: 'localhost:{smtp}', legacy: true}";
const BY_GRAPH: &str = "\n  smtp: {bind: '127.0.0.1:0', deliver: graph, graph: 'localhost:{graph}'}";
const AUTO: &str =
    "\n  smtp: {bind: '127.0.0.1:0', deliver: auto, upstream: 'localhost:{smtp}', graph: 'localhost:{graph}'}";
const MAILDROP: &str = "\n  pop3: {bind: '127.0.0.1:0', upstream: graph, graph: 'localhost:{graph}'}";

async fn world(listeners: &str, limits: &'static str) -> World {
    Setup { listeners: listeners.to_owned(), limits, ..Setup::default() }.start().await
}

/// A token as Microsoft's are, which it never made; each time another.
fn forged(world: &World) -> String {
    let token = world.sandbox.issue_graph_token(Some(BOB)).unwrap();
    let (signed, signature) = token.expose().rsplit_once('.').unwrap();
    let (first, rest) = signature.split_at(1);
    format!("{signed}.{}{rest}", if first == "A" { "B" } else { "A" })
}

/// The last that a client says when it logs in with a token.
async fn present(client: &mut Client, user: &str, token: &str) {
    let message = xoauth2(user, token);
    match client.protocol {
        Imap => client.send(format!("a AUTHENTICATE XOAUTH2 {message}\r\n")).await,
        Pop3 => {
            client.ask("AUTH XOAUTH2", "+ ").await;
            client.send(format!("{message}\r\n")).await;
        }
        Smtp => client.send(format!("AUTH XOAUTH2 {message}\r\n")).await,
    }
}

async fn log_in(client: &mut Client, user: &str, token: &str) -> String {
    present(client, user, token).await;
    client.hear(if client.protocol == Imap { "a " } else { "" }).await
}

/// One login on a connection of its own.
async fn reply(world: &World, protocol: MailProtocol, user: &str, token: &str) -> String {
    log_in(&mut world.client(protocol).await, user, token).await
}

/// All that the upstreams have seen.
fn seen(world: &World) -> (u64, u64) {
    let counters = world.sandbox.counters();
    (world.upstream_connections(), counters.calls.values().sum::<u64>() + counters.http_requests)
}

#[tokio::test]
async fn a_forged_token_opens_nothing_whatever_takes_the_messages() {
    for listeners in [LEGACY, BY_GRAPH, AUTO] {
        let world = world(listeners, "").await;
        let reply = reply(&world, Smtp, ALICE, &forged(&world)).await;
        world.was_refused(Smtp, &reply, Refusal::InvalidCredentials, "token-refused");
        assert!(!world.log.has("login accepted"), "{listeners}");
    }
}

#[tokio::test]
async fn a_forged_token_opens_nothing_while_messages_go_another_way() {
    let nobody = crate::common::port::free_address();
    let world = world(&AUTO.replace("{smtp}", &nobody.port().to_string()), "").await;
    // The detour is found by somebody else, or by the token itself.
    for user in [BOB, ALICE] {
        let reply = reply(&world, Smtp, user, &forged(&world)).await;
        world.was_refused(Smtp, &reply, Refusal::InvalidCredentials, "token-refused");
    }
    // A good token is good for what it was made for.
    let exchange = world.sandbox.issue_token(ALICE).unwrap();
    let refused = reply(&world, Smtp, ALICE, exchange.expose()).await;
    world.was_refused(Smtp, &refused, Refusal::InvalidCredentials, "token-refused");
    let graph = world.sandbox.issue_graph_token(Some(ALICE)).unwrap();
    assert!(reply(&world, Smtp, ALICE, graph.expose()).await.starts_with("235 "));
}

/// That the mailbox may not send by SMTP is believed of those only who have proved that it is
/// theirs.
#[tokio::test]
async fn a_token_does_not_lead_the_messages_of_others_another_way() {
    let world = world(AUTO, "").await;
    world.sandbox.set_upstream_mode(Service::Smtp, UpstreamMode::SmtpAuthDisabled);
    let exchange = world.sandbox.issue_token(ALICE).unwrap();
    let refused = reply(&world, Smtp, ALICE, exchange.expose()).await;
    world.was_refused(Smtp, &refused, Refusal::InvalidCredentials, "token-refused");
    world.sandbox.set_upstream_mode(Service::Smtp, UpstreamMode::Normal);
    let before = world.sandbox.counters().connections_to(Service::Smtp);
    world.session(Smtp, ALICE, ALICES).await;
    assert_eq!(world.sandbox.counters().connections_to(Service::Smtp), before + 1);
}

#[tokio::test]
async fn a_token_of_microsofts_opens_the_mailboxes_that_it_may_open() {
    for (protocol, listeners) in [(Smtp, BY_GRAPH), (Pop3, MAILDROP)] {
        let world = world(listeners, "").await;
        let token = world.sandbox.issue_graph_token(Some(ALICE)).unwrap();
        let mut client = world.client(protocol).await;
        assert!(is_accepted(protocol, &log_in(&mut client, ALICE, token.expose()).await));
        client.works().await;
        if protocol == Smtp {
            client.ask(&format!("MAIL FROM:<{ALICE}>"), "250 ").await;
            client.ask(&format!("RCPT TO:<{BOB}>"), "250 ").await;
            client.ask("DATA", "354 ").await;
            let sent = client.ask(&format!("From: {ALICE}\r\nTo: {BOB}\r\n\r\nhello\r\n."), "").await;
            assert!(sent.contains("Accepted by Microsoft Graph"), "{sent}");
        }
        let reply = reply(&world, protocol, BOB, token.expose()).await;
        world.was_refused(protocol, &reply, Refusal::NotAuthorized, "mailbox-denied");
        assert!(world.log.has("`Mail.ReadBasic`"), "the remedy names the least that is needed");
    }
}

/// Who waits for Microsoft's word on a token has taken nothing of the mailbox.
#[tokio::test]
async fn a_token_that_waits_for_its_judge_takes_no_place_of_the_mailbox() {
    const LIMITS: &str = "  mailbox_wait: 0s\n  imap_sessions_per_mailbox: 2\n  pop3_sessions_per_mailbox: 2";
    let all = Setup::default().listeners;
    for (protocol, listeners, judge) in [
        (Imap, all.as_str(), Service::Imap),
        (Pop3, all.as_str(), Service::Pop3),
        (Smtp, all.as_str(), Service::Smtp),
        (Smtp, LEGACY, Service::Smtp),
        (Smtp, BY_GRAPH, Service::Graph),
        (Pop3, MAILDROP, Service::Graph),
    ] {
        let world = world(listeners, LIMITS).await;
        world.sandbox.set_upstream_mode(judge, UpstreamMode::Hang);
        let before = world.sandbox.counters().connections_to(judge);
        let mut strangers = Vec::new();
        for _ in 0..3 {
            let mut stranger = world.client(protocol).await;
            present(&mut stranger, ALICE, &forged(&world)).await;
            strangers.push(stranger);
        }
        world.until("they wait", || world.sandbox.counters().connections_to(judge) == before + 3).await;
        world.sandbox.set_upstream_mode(judge, UpstreamMode::Normal);
        world.session(protocol, ALICE, ALICES).await.works().await;
        // The owner's own token is judged beside theirs.
        if judge != Service::Graph {
            let token = world.sandbox.issue_token(ALICE).unwrap();
            assert!(is_accepted(protocol, &reply(&world, protocol, ALICE, token.expose()).await));
        }
    }
}

/// Listeners for each service of Microsoft's that judges a token.
fn judges() -> Vec<(MailProtocol, String)> {
    let all = [Imap, Pop3, Smtp].map(|protocol| (protocol, Setup::default().listeners));
    let further = [(Smtp, LEGACY), (Smtp, BY_GRAPH), (Pop3, MAILDROP)];
    all.into_iter().chain(further.map(|(protocol, listeners)| (protocol, listeners.to_owned()))).collect()
}

#[tokio::test]
async fn a_refused_token_is_not_shown_to_microsoft_again() {
    for (protocol, listeners) in judges() {
        let world = world(&listeners, "").await;
        let (token, other) = (forged(&world), forged(&world));
        let mut after_first = None;
        for _ in 0..3 {
            let reply = reply(&world, protocol, ALICE, &token).await;
            world.was_refused(protocol, &reply, Refusal::InvalidCredentials, "token-refused");
            let first = *after_first.get_or_insert_with(|| seen(&world));
            assert_eq!(seen(&world), first, "{protocol:?}");
        }
        // It is this token for this mailbox that is known.
        for (user, token) in [(ALICE, &other), (BOB, &token)] {
            let before = seen(&world);
            let reply = reply(&world, protocol, user, token).await;
            world.was_refused(protocol, &reply, Refusal::InvalidCredentials, "token-refused");
            assert_ne!(seen(&world), before);
        }
    }
}

#[tokio::test]
async fn a_password_that_is_sent_as_a_token_never_leaves_the_machine() {
    for (protocol, listeners) in judges().into_iter().chain([(Smtp, AUTO.to_owned())]) {
        let world = world(&listeners, "").await;
        let before = seen(&world);
        for password in [ALICES, "Tr0ub4dor&3!", "with blanks in it", "a.bcd.efg", "c\u{e4}sar"] {
            let reply = reply(&world, protocol, ALICE, password).await;
            world.was_refused(protocol, &reply, Refusal::InvalidCredentials, "not-a-token");
            assert!(!world.log.has(password), "{password} stands in the log");
        }
        let lines = world.log.lines(|line| line.contains("cause=not-a-token"));
        assert!(lines.iter().all(|line| line.contains(&format!("account={ALICE} "))), "{lines:?}");
        assert_eq!(seen(&world), before, "{protocol:?}");
    }
}

#[tokio::test]
async fn what_is_no_token_costs_what_a_wrong_password_costs() {
    for forge in [false, true] {
        let world = Setup { penalise_loopback: true, ..Setup::limits("  penalty_no_login: 0s") }.start().await;
        let from = async || {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(SocketAddr::from(([127, 0, 0, 3], 0))).unwrap();
            Client::over(socket.connect(world.address("smtp")).await.unwrap(), Smtp)
        };
        for guess in 0..4 {
            // Of passwords that are no tokens only the user is kept.
            let (user, token) = match forge {
                true => (ALICE.to_owned(), forged(&world)),
                false => (format!("user{guess}@contoso.example"), ALICES.to_owned()),
            };
            let mut client = from().await;
            client.greet().await;
            assert!(log_in(&mut client, &user, &token).await.starts_with("535 "), "{guess}");
        }
        assert_eq!(from().await.rest().await, "", "not even a greeting");
    }
}

#[tokio::test]
async fn the_third_forged_token_closes() {
    let world = World::new().await;
    for protocol in PROTOCOLS {
        let mut client = world.client(protocol).await;
        for token in [forged(&world), "a-password".to_owned(), forged(&world)] {
            log_in(&mut client, ALICE, &token).await;
        }
        assert!(client.rest().await.contains("Too many failed logins"));
        assert!(world.sandbox.counters().logins_of(service(protocol), ALICE).succeeded == 0);
    }
}

#[tokio::test]
async fn a_listener_may_announce_tokens_of_clients_or_refuse_them() {
    for (word, announces, takes) in [("refuse", false, false), ("accept", false, true), ("announce", true, true)] {
        let listeners = Setup::default().listeners.replace("}'}", &format!("}}', client_tokens: {word}}}"));
        let world = world(&listeners, "").await;
        let token = world.sandbox.issue_token(ALICE).unwrap();
        let before = world.upstream_connections();
        for protocol in PROTOCOLS {
            let mut client = world.client(protocol).await;
            match protocol {
                Imap => drop(client.ask("c CAPABILITY", "c OK").await),
                Pop3 => drop(client.ask("CAPA", ".").await),
                Smtp => {}
            }
            let heard = String::from_utf8_lossy(&client.heard).into_owned();
            assert!(heard.contains("PLAIN") && heard.contains("XOAUTH2") == announces, "{word}: {heard}");
            assert_eq!(heard.contains("OAUTHBEARER"), announces, "{word}: {heard}");
            if takes {
                assert!(is_accepted(protocol, &log_in(&mut client, ALICE, token.expose()).await), "{word}");
                continue;
            }
            for _ in 0..4 {
                let (command, reply) = match protocol {
                    Imap => ("a AUTHENTICATE XOAUTH2", "a NO Mechanism not supported"),
                    Pop3 => ("AUTH XOAUTH2", "-ERR Mechanism not supported"),
                    Smtp => ("AUTH XOAUTH2", "504 5.5.4 Mechanism not supported"),
                };
                assert_eq!(client.ask(command, "").await, reply);
            }
            assert!(is_accepted(protocol, &client.log_in(ALICE, ALICES).await), "a password is taken all the same");
        }
        assert_eq!(
            world.log.lines(|line| line.contains("cause=client-tokens-refused")).len(),
            if takes { 0 } else { 12 }
        );
        assert_eq!(world.upstream_connections(), before + 3);
    }
}
