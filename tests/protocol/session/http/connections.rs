//! What a connection may send before and after its login, and what that costs.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::client::{Connection, OK, basic, raw, request, status, with_origin, with_sandbox};
use super::origin::{Origin, reply};
use crate::common::wait::PATIENCE;
use crate::session::support::{ALICE, ALICES, Setup, World};

const MESSAGES: &str = "/v1.0/me/messages";
/// A version that nobody speaks. The path is a word of the validator's own.
const GARBAGE: &[u8] = b"GET /slow HTTP/9\r\n\r\n";

/// Alice's request for her messages.
fn asked() -> hyper::Request<http_body_util::Full<hyper::body::Bytes>> {
    request("GET", MESSAGES, &basic(ALICE, ALICES), "")
}

/// The octets of a request of Alice's whose head has this length and this number of fields.
fn head(octets: usize, fields: usize) -> String {
    let mut head = format!(
        "GET {MESSAGES} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\nConnection: close\r\n",
        basic(ALICE, ALICES)
    );
    (4..fields).for_each(|n| head.push_str(&format!("X-{n}: 1\r\n")));
    let rest = octets - head.len() - "X: \r\n\r\n".len();
    head + &format!("X: {}\r\n\r\n", "x".repeat(rest))
}

#[tokio::test]
async fn a_head_may_be_as_long_and_have_as_many_fields_as_the_limits_say() {
    let origin = Origin::start(|_| reply("200 OK", "content-type: application/json\r\n", "{}")).await;
    for (limits, octets, fields) in [("", 32 * 1_024, 100), ("  http_head_size: 4KiB\n  http_fields: 16", 4_096, 16)] {
        let world = Setup { limits, ..with_origin(&origin) }.start().await;
        for (head, told) in [
            (head(octets, fields), OK),
            (head(octets + 1, fields), 431),
            (head(octets, 5), OK),
            (head(octets / 2, fields + 1), 431),
        ] {
            assert_eq!(status(&raw(&world, "graph", head.as_bytes()).await), told, "{octets} {fields}: {head}");
        }
        for (more, told) in [(0, OK), (1, 431)] {
            let mut asked = request("GET", &format!("http://localhost{MESSAGES}"), &basic(ALICE, ALICES), "");
            for n in 0..fields - asked.headers().len() + more {
                let name = hyper::header::HeaderName::try_from(format!("x-{n}")).unwrap();
                asked.headers_mut().insert(name, "1".parse().unwrap());
            }
            let got = Connection::http_2(&world, "graph").await.ask(asked).await;
            assert_eq!(got.status, told, "{fields} and {more}: {got:?}");
        }
    }
}

#[tokio::test]
async fn a_request_that_was_answered_takes_no_room_from_the_next() {
    let world = with_sandbox().start().await;
    let mut connection = Connection::http_1(&world, "graph").await;
    // All together are more than what may wait for the first login.
    for _ in 0..10 {
        let mut asked = request("GET", MESSAGES, "", "");
        asked.headers_mut().insert("x-client", "x".repeat(15_000).parse().unwrap());
        assert_eq!(connection.ask(asked).await.status, 401);
    }
    assert_eq!(connection.ask(asked()).await.status, OK);
}

/// Whether a new connection is answered.
async fn is_served(world: &World) -> bool {
    let asked = format!("GET {MESSAGES} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    !raw(world, "graph", asked.as_bytes()).await.is_empty()
}

/// The status of the answer to a head that does not end.
async fn slowly(world: &World) -> u16 {
    status(&raw(world, "graph", b"GET /v1.0/me/mess").await)
}

#[tokio::test]
async fn a_head_that_is_garbage_and_one_that_does_not_end_have_prices_of_their_own() {
    let limits = "  http_head: 1s\n  penalty_no_login: 0s\n  penalty_garbage: 1h\n  penalty_timeout: 0s";
    let setup = || Setup { penalise_loopback: true, limits, ..with_sandbox() };
    let world = setup().start().await;
    assert_eq!(slowly(&world).await, 408);
    assert!(is_served(&world).await);
    // Of somebody who has logged in it is a mistake.
    let good = format!("GET {MESSAGES} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\n\r\n", basic(ALICE, ALICES));
    let answers = raw(&world, "graph", &[good.as_bytes(), GARBAGE].concat()).await;
    assert!(status(&answers) == OK && answers.contains("HTTP/1.1 505 "), "{answers}");
    assert!(is_served(&world).await);
    assert_eq!(status(&raw(&world, "graph", GARBAGE).await), 505);
    assert!(!is_served(&world).await);

    let limits = "  http_head: 1s\n  penalty_no_login: 0s\n  penalty_garbage: 0s\n  penalty_timeout: 1h";
    let world = Setup { limits, ..setup() }.start().await;
    assert_eq!(status(&raw(&world, "graph", GARBAGE).await), 505);
    assert!(is_served(&world).await);
    assert_eq!(slowly(&world).await, 408);
    assert!(!is_served(&world).await);
}

#[tokio::test]
async fn over_http_2_the_words_of_the_validator_are_words_as_any() {
    let origin = Origin::start(|_| reply("200 OK", "content-type: application/json\r\n", "{}")).await;
    let world = with_origin(&origin).start().await;
    let mut connection = Connection::http_2(&world, "graph").await;
    let alice = basic(ALICE, ALICES);
    for (method, target, told) in [
        ("REFUSED", "/slow", 403),
        ("REFUSED", MESSAGES, 405),
        // Some servers take it for a slash.
        ("GET", "/v1.0/me/messages?$search=a\\b", 400),
        ("GET", MESSAGES, OK),
    ] {
        let got = connection.ask(request(method, &format!("http://localhost{target}"), &alice, "")).await;
        assert_eq!(got.status, told, "{method} {target}: {got:?}");
    }
    assert_eq!(origin.seen().len(), 1);
}

#[tokio::test]
async fn a_preface_of_http_2_may_come_in_pieces() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let world = with_sandbox().start().await;
    for first in [1, 3, 16, 23] {
        let mut socket = TcpStream::connect(world.address("graph")).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let (one, two) = PREFACE.split_at(first);
        socket.write_all(one).await.unwrap();
        // What is answered after it was sent after it.
        assert!(is_served(&world).await);
        socket.write_all(two).await.unwrap();
        let mut frame = [0; 9];
        timeout(PATIENCE, socket.read_exact(&mut frame)).await.unwrap().unwrap();
        assert_eq!(frame[3], 4, "its own settings come first: {frame:?}");
    }
}

/// A body of one empty piece, and nothing behind it.
struct EmptyPiece(bool);

impl hyper::body::Body for EmptyPiece {
    type Data = hyper::body::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        let piece = std::mem::replace(&mut self.0, false).then(|| Ok(hyper::body::Frame::data(Self::Data::new())));
        std::task::Poll::Ready(piece)
    }
}

#[tokio::test]
async fn a_get_whose_body_is_an_empty_piece_has_none() {
    let world = with_sandbox().start().await;
    let socket = TcpStream::connect(world.address("graph")).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(socket);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    tokio::spawn(connection);
    let asked = request("GET", &format!("http://localhost{MESSAGES}"), &basic(ALICE, ALICES), "");
    let asked = asked.map(|_| EmptyPiece(true));
    let answer = timeout(Duration::from_secs(60), sender.send_request(asked)).await.unwrap().unwrap();
    assert_eq!(answer.status().as_u16(), OK);
}
