//! Guesses side by side, over streams and over connections: none of the counters of guesses is
//! passed by being faster than the verdict.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use gatepost_core::protocol::MailProtocol;
use gatepost_sandbox::EntraMode;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http2::SendRequest;
use hyper::header::{HeaderName, HeaderValue};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::client::{Connection, OK, basic, request, with_sandbox};
use crate::session::support::{ALICE, ALICES, Setup, World};

/// Entra takes as long as it does on a bad day.
const SLOW: EntraMode = EntraMode::Slow(Duration::from_millis(300));

/// Requests that a client may have under way on one connection.
const STREAMS: usize = 32;

/// The results of all, which go on side by side.
pub(crate) async fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
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

/// One guess for each of these accounts, all on one HTTP/2 connection at once: the status of each,
/// 0 where the connection had ended.
async fn guess_at_once(world: &World, accounts: std::ops::Range<usize>) -> Vec<u16> {
    let sender = http_2(world).await;
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

/// One HTTP/2 connection.
async fn http_2(world: &World) -> SendRequest<Full<Bytes>> {
    let socket = TcpStream::connect(world.address("graph")).await.unwrap();
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket));
    let (sender, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    sender
}

#[tokio::test]
async fn the_right_password_opens_all_streams_that_come_at_once() {
    let world = with_sandbox().start().await;
    world.sandbox.set_entra_mode(SLOW);
    let sender = http_2(&world).await;
    let asked = (0..STREAMS).map(|_| {
        let mut sender = sender.clone();
        async move {
            let mut asked = request("GET", "http://localhost/v1.0/me/messages", &basic(ALICE, ALICES), "");
            // As much as a library of Microsoft's says about itself.
            for n in 0..10 {
                asked.headers_mut().insert(field(n), HeaderValue::from_static("0123456789abcdef0123456789abcdef"));
            }
            sender.send_request(asked).await.unwrap().status().as_u16()
        }
    });
    assert_eq!(join_all(asked).await, [OK; STREAMS]);
}

fn field(n: usize) -> HeaderName {
    HeaderName::try_from(format!("client-request-{n}")).unwrap()
}

#[tokio::test]
async fn what_waits_of_a_strangers_requests_is_bounded() {
    const BOUND: usize = 64 * 1_024;
    for (fields, octets) in [(1, 15_000), (90, 8)] {
        let world = with_sandbox().start().await;
        world.sandbox.set_entra_mode(EntraMode::Slow(Duration::from_secs(10)));
        let sender = http_2(&world).await;
        let mut asked = JoinSet::new();
        for account in 0..STREAMS {
            let credentials = basic(&format!("user{account}@contoso.example"), "Summer2026!");
            let mut request = request("GET", "http://localhost/v1.0/me/messages", &credentials, "");
            for n in 0..fields {
                request.headers_mut().insert(field(n), HeaderValue::try_from("x".repeat(octets)).unwrap());
            }
            let mut sender = sender.clone();
            asked.spawn(async move { sender.send_request(request).await.unwrap() });
        }
        // The table of fields costs memory as well.
        let of_one = fields * (octets + 64);
        let mut refused = 0;
        while (STREAMS - refused) * of_one > BOUND {
            let answer = asked.join_next().await.unwrap().unwrap();
            let later = answer.headers().contains_key("retry-after");
            assert!(answer.status() == 503 && later, "{refused} of {STREAMS} were refused, then {answer:?}");
            refused += 1;
        }
    }
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
