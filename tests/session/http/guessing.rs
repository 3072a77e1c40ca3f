//! Guesses side by side, over streams and over connections: none of the counters of guesses is passed by being faster than
//! the verdict.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use gatepost::proto::MailProtocol;
use gatepost::sandbox::EntraMode;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::client::{Connection, OK, basic, request, with_sandbox};
use crate::support::{ALICE, ALICES, Setup, World};

/// Entra takes as long as it does on a bad day.
const SLOW: EntraMode = EntraMode::Slow(Duration::from_millis(300));

/// The results of all, which go on side by side.
async fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut pending: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    poll_fn(|cx| {
        for (future, result) in pending.iter_mut().filter(|(_, result)| result.is_none()) {
            if let Poll::Ready(ready) = future.as_mut().poll(cx) {
                *result = Some(ready);
            }
        }
        if pending.iter().all(|(_, result)| result.is_some()) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    pending.into_iter().filter_map(|(_, result)| result).collect()
}

/// One guess for each of these accounts, all on one HTTP/2 connection at once: the status of each, 0 where the connection had
/// ended.
async fn guess_at_once(world: &World, accounts: std::ops::Range<usize>) -> Vec<u16> {
    let socket = TcpStream::connect(world.address("graph")).await.unwrap();
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket));
    let (sender, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    let guess = |account: usize| {
        let mut sender = sender.clone();
        let credentials = basic(&format!("user{account}@contoso.example"), "Summer2026!");
        async move {
            let asked = request("GET", "http://localhost/v1.0/me/messages", &credentials, "");
            sender.send_request(asked).await.map_or(0, |answer| answer.status().as_u16())
        }
    };
    join_all(accounts.map(guess)).await
}

#[tokio::test]
async fn streams_of_one_connection_have_its_attempts_together() {
    let world = with_sandbox().start().await;
    world.sandbox.set_entra_mode(SLOW);
    let told = guess_at_once(&world, 0..34).await;
    assert_eq!(world.sandbox.counters().http_requests, 3, "`limits.attempts` is three: {told:?}");
    assert!(!told.contains(&OK) && told.iter().filter(|status| **status == 401).count() <= 3, "{told:?}");
}

#[tokio::test]
async fn the_right_password_opens_all_streams_that_come_at_once() {
    let world = with_sandbox().start().await;
    world.sandbox.set_entra_mode(SLOW);
    let socket = TcpStream::connect(world.address("graph")).await.unwrap();
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket));
    let (sender, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    let asked = (0..4).map(|_| {
        let mut sender = sender.clone();
        async move {
            let asked = request("GET", "http://localhost/v1.0/me/messages", &basic(ALICE, ALICES), "");
            sender.send_request(asked).await.unwrap().status().as_u16()
        }
    });
    assert_eq!(join_all(asked).await, [OK; 4]);
}

#[tokio::test]
async fn many_connections_at_once_do_not_send_more_to_entra_than_may_be_refused_in_a_minute() {
    let world = with_sandbox().start().await;
    world.sandbox.set_entra_mode(SLOW);
    join_all((0..40).map(|n| guess_at_once(&world, n * 32..(n + 1) * 32))).await;
    assert_eq!(world.sandbox.counters().http_requests, 60, "`limits.refused_passwords_per_minute` is sixty");
    assert!(world.log.has("cause=too-many-refusals"));
}

#[tokio::test]
async fn the_same_holds_for_mail_programs() {
    let world = Setup::default().start().await;
    world.sandbox.set_entra_mode(SLOW);
    let guess = async |account: usize| {
        world.reply(MailProtocol::Imap, &format!("user{account}@contoso.example"), "Summer2026!").await
    };
    join_all((0..100).map(guess)).await;
    assert_eq!(world.sandbox.counters().http_requests, 60);
}

#[tokio::test]
async fn an_open_connection_of_a_source_that_is_closed_is_of_no_use_to_it() {
    let limits = "  penalty_no_login: 0s\n  attempts: 6";
    let world = Setup { penalise_loopback: true, limits, ..with_sandbox() }.start().await;
    let ask =
        |user: &str, password: &str| request("GET", "http://localhost/v1.0/me/messages", &basic(user, password), "");
    let mut open = Connection::http_2(&world, "graph").await;
    assert_eq!(open.ask(ask(ALICE, "guess")).await.status, 401);
    let mut at_work = Connection::http_2(&world, "graph").await;
    assert_eq!(at_work.ask(ask(ALICE, ALICES)).await.status, OK);
    let mut other = Connection::http_2(&world, "graph").await;
    for n in 0..3 {
        assert_eq!(other.ask(ask(ALICE, &format!("guess {n}"))).await.status, 401);
    }
    let before = world.sandbox.counters().http_requests;
    let refused = open.ask(ask(ALICE, ALICES)).await;
    assert_eq!(refused.status, 429, "{refused:?}");
    assert!(!refused.header("retry-after").is_empty(), "{refused:?}");
    assert_eq!(world.sandbox.counters().http_requests, before);
    world.until("the connection has ended", || world.log.has("outcome=closed cause=refused")).await;
    // Who has logged in goes on.
    assert_eq!(at_work.ask(ask(ALICE, ALICES)).await.status, OK);
}
