//! Stopping: nobody new, a goodbye to whoever waits, and time for whoever works.

use std::io::ErrorKind;
use std::time::Duration;

use gatepost_core::protocol::MailProtocol;
use gatepost_sandbox::EntraMode;
use tokio::net::TcpStream;

use crate::session::support::{ALICE, ALICES, BOB, BOBS, Client, PROTOCOLS, Setup, World, is_accepted};

use MailProtocol::{Imap, Pop3, Smtp};

async fn is_closed_to_newcomers(world: &World) {
    for protocol in PROTOCOLS {
        // A connection that was already in the queue is not served, and a new one is refused.
        match TcpStream::connect(world.address(protocol.name())).await {
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionRefused),
            Ok(socket) => assert_eq!(Client::over(socket, protocol).rest().await, ""),
        }
    }
}

#[tokio::test]
async fn who_works_may_finish_and_who_waits_hears_goodbye() {
    let world = World::new().await;
    let mut working = Vec::new();
    let mut waiting = Vec::new();
    for protocol in PROTOCOLS {
        working.push(world.session(protocol, ALICE, ALICES).await);
        waiting.push(world.client(protocol).await);
    }
    // Somebody whose login is being decided.
    world.sandbox.set_entra_mode(EntraMode::Slow(Duration::from_secs(2)));
    let mut deciding = world.client(Imap).await;
    deciding.send(format!("a LOGIN {ALICE} undecided\r\n")).await;
    world.until("Entra is asked", || world.sandbox.counters().http_requests == 2).await;

    world.stop.drain();
    for mut client in waiting {
        let bye = match client.protocol {
            Imap => "* BYE [UNAVAILABLE] The service is stopping, try again later\r\n",
            Pop3 => "",
            Smtp => "421 4.3.2 The service is stopping, try again later\r\n",
        };
        assert_eq!(client.rest().await, bye);
    }
    is_closed_to_newcomers(&world).await;
    assert!(deciding.hear("a ").await.starts_with("a NO [AUTHENTICATIONFAILED]"), "it is told its own result first");
    assert!(deciding.rest().await.starts_with("* BYE [UNAVAILABLE]"));
    for client in &mut working {
        client.works().await;
    }
    assert!(!world.serving.is_finished());
    for mut client in working {
        client.send(if client.protocol == Imap { "z LOGOUT\r\n" } else { "QUIT\r\n" }).await;
        client.rest().await;
    }
    assert_eq!(world.serving.await.unwrap(), 0, "nobody was cut");
}

#[tokio::test]
async fn a_login_under_way_still_gets_in() {
    let world = World::new().await;
    world.sandbox.set_entra_mode(EntraMode::Slow(Duration::from_secs(2)));
    let mut client = world.client(Pop3).await;
    client.send(format!("USER {ALICE}\r\nPASS {ALICES}\r\n")).await;
    world.until("Entra is asked", || world.sandbox.counters().http_requests == 1).await;
    world.stop.drain();
    assert_eq!(client.line().await.as_deref(), Some("+OK"));
    assert!(is_accepted(Pop3, &client.line().await.unwrap()));
    client.works().await;
    drop(client);
    assert_eq!(world.serving.await.unwrap(), 0);
}

#[tokio::test]
async fn the_rest_is_cut_when_the_time_is_over() {
    let world = Setup::limits("  drain: 100ms").start().await;
    let mut session = world.session(Pop3, ALICE, ALICES).await;
    world.stop.drain();
    assert_eq!(world.serving.await.unwrap(), 1);
    assert_eq!(session.rest().await, "");
}

#[tokio::test]
async fn whoever_waits_hears_goodbye_within_the_time_and_nobody_is_cut() {
    let world = Setup::limits("  drain: 3s").start().await;
    let mut idling = Vec::new();
    for _ in 0..8 {
        let mut client = world.session(Imap, ALICE, ALICES).await;
        client.ask("s SELECT INBOX", "s OK").await;
        client.ask("i IDLE", "+").await;
        idling.push(client);
    }
    let mut resting = world.session(Imap, BOB, BOBS).await;
    resting.works().await;
    let mut sending = world.session(Smtp, ALICE, ALICES).await;
    // In the middle of a message, which ends later than everything else.
    let mut busy = world.session(Smtp, BOB, BOBS).await;
    busy.ask(&format!("MAIL FROM:<{BOB}>"), "250").await;
    busy.ask(&format!("RCPT TO:<{ALICE}>"), "250").await;
    busy.ask("DATA", "354").await;
    busy.send("Subject: half of it\r\n\r\n").await;
    world.stop.drain();
    for client in &mut idling {
        assert_eq!(client.rest().await, "* BYE The service is stopping, connect again\r\n");
    }
    assert_eq!(resting.rest().await, "* BYE The service is stopping, connect again\r\n");
    assert_eq!(sending.rest().await, "421 4.3.2 The service is stopping, connect again\r\n");
    assert!(!world.serving.is_finished());
    busy.send("the other half\r\n.\r\n").await;
    assert!(busy.line().await.unwrap().starts_with("250 "), "the message was taken");
    assert_eq!(busy.rest().await, "421 4.3.2 The service is stopping, connect again\r\n");
    assert_eq!(world.serving.await.unwrap(), 0, "nobody was cut");
    assert_eq!(world.log.lines(|line| line.contains("cause=drained")).len(), 11);
}

#[tokio::test]
async fn told_twice_it_stops_at_once() {
    let world = World::new().await;
    let mut sessions = Vec::new();
    for protocol in PROTOCOLS {
        sessions.push(world.session(protocol, ALICE, ALICES).await);
    }
    world.stop.drain();
    world.until("it drains", || world.log.has("stopping: no new connections")).await;
    world.stop.now();
    assert_eq!(world.serving.await.unwrap(), 3);
    for mut session in sessions {
        assert_eq!(session.rest().await, "");
    }
}

#[tokio::test]
async fn stopping_at_once_without_draining_first() {
    let world = World::new().await;
    let mut session = world.session(Smtp, ALICE, ALICES).await;
    world.stop.now();
    assert_eq!(world.serving.await.unwrap(), 1);
    assert_eq!(session.rest().await, "");
}
