//! Bodies stream, in both directions, at the pace of whoever takes them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::body::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::client::{OK, as_application, basic, envelope, raw, status, with_origin};
use super::origin::{Origin, Reply, reply};
use crate::session::support::{ALICE, ALICES, Setup, World};

const MIB: usize = 1 << 20;

fn head(method: &str, path: &str, more: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\n{more}\r\n", basic(ALICE, ALICES))
}

async fn connect(world: &World, listener: &str) -> TcpStream {
    TcpStream::connect(world.address(listener)).await.unwrap()
}

#[tokio::test]
async fn an_upload_arrives_while_it_is_sent_and_whole() {
    let origin = Origin::start(|seen| {
        reply("200 OK", "content-type: text/xml\r\n", &format!("<a>{}</a>", seen.field("content-length")))
    })
    .await;
    let world = with_origin(&origin).start().await;
    let whole = envelope("", &format!("<a>{}</a>", "x".repeat(30 * MIB)));
    let (first, rest) = whole.as_bytes().split_at(10 * MIB);
    let mut socket = connect(&world, "ews").await;
    let more = format!("Content-Type: text/xml\r\nConnection: close\r\nContent-Length: {}\r\n", whole.len());
    socket.write_all(head("POST", "/EWS/Exchange.asmx", &more).as_bytes()).await.unwrap();
    socket.write_all(first).await.unwrap();
    // All but what is in buffers on the way is there before the rest is sent.
    world.until("the first part has arrived", || origin.body_octets.load(Ordering::Relaxed) > 8 * MIB).await;
    socket.write_all(rest).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert_eq!(status(&answer), OK);
    assert!(answer.ends_with(&format!("<a>{}</a>", whole.len())), "{answer}");
    assert_eq!(origin.body_octets.load(Ordering::Relaxed), whole.len());
    world.until("it is counted", || world.log.has(&format!("bytes_sent={}", whole.len()))).await;
}

#[tokio::test]
async fn an_upload_in_chunks_stays_one_and_gets_its_identity() {
    let origin = Origin::start(|_| reply("200 OK", "content-type: text/xml\r\n", "<a/>")).await;
    let setup = as_application(with_origin(&origin));
    let login = gatepost_core::account::MailAddress::parse(ALICE).unwrap();
    let order = gatepost::login::issue::Order {
        login,
        name: "x".into(),
        protocols: Vec::new(),
        from: Vec::new(),
        expires_at: None,
    };
    let now = gatepost_core::clock::Clock::system().unix_time();
    let (_, password) = gatepost::login::issue::generate(&*setup.store, order, now).await.unwrap();
    let setup = Setup { accounts: format!("\n  - login: {ALICE}"), ..setup };
    let world = setup.start().await;
    let text =
        envelope("<t:ExchangeImpersonation>x</t:ExchangeImpersonation>", &format!("<a>{}</a>", "y".repeat(200_000)));
    let chunks: String = text
        .as_bytes()
        .chunks(1_000)
        .map(|chunk| format!("{:x}\r\n{}\r\n", chunk.len(), std::str::from_utf8(chunk).unwrap()))
        .collect();
    let head = format!(
        "POST /EWS/Exchange.asmx HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\nContent-Type: text/xml\r\n\
         Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n",
        basic(ALICE, password.expose())
    );
    let answer = raw(&world, "ews", format!("{head}{chunks}0\r\n\r\n").as_bytes()).await;
    assert_eq!(status(&answer), OK, "{answer}");
    let seen = origin.seen().remove(0);
    assert_eq!((seen.field("transfer-encoding"), seen.field("content-length")), ("chunked", ""));
    let identity = format!(
        "<t:ExchangeImpersonation xmlns:t=\"http://schemas.microsoft.com/exchange/services/2006/types\"><t:ConnectingSID>\
         <t:PrimarySmtpAddress>{ALICE}</t:PrimarySmtpAddress></t:ConnectingSID></t:ExchangeImpersonation>"
    );
    assert_eq!(seen.text(), envelope(&identity, &format!("<a>{}</a>", "y".repeat(200_000))));
}

#[tokio::test]
async fn an_answer_arrives_while_it_is_made_and_no_faster_than_it_is_read() {
    let (send, parts) = tokio::sync::mpsc::channel::<Bytes>(1);
    let parts = std::sync::Mutex::new(Some(parts));
    let origin = Origin::start(move |_| Reply::Stream(parts.lock().unwrap().take().unwrap())).await;
    let world = with_origin(&origin).start().await;
    let mut socket = connect(&world, "ews").await;
    let body = envelope("", "<m:GetStreamingEvents/>");
    let more = format!("Content-Type: text/xml\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    socket.write_all(format!("{}{body}", head("POST", "/EWS/Exchange.asmx", &more)).as_bytes()).await.unwrap();
    send.send("HTTP/1.1 200 OK\r\ncontent-type: text/xml\r\nconnection: close\r\n\r\n".into()).await.unwrap();
    // Each notification is there before the next is made.
    let mut heard = Vec::new();
    for number in 0..20 {
        let notification = format!("<n>{number}</n>");
        send.send(notification.clone().into()).await.unwrap();
        while !String::from_utf8_lossy(&heard).contains(&notification) {
            assert_ne!(socket.read_buf(&mut heard).await.unwrap(), 0);
        }
    }
    // Then a flood that nobody reads: it stands still when the buffers on the way are full.
    let part = Bytes::from(vec![b'x'; MIB / 4]);
    let mut taken = 0;
    while let Ok(sent) = tokio::time::timeout(Duration::from_secs(1), send.send(part.clone())).await {
        sent.unwrap();
        taken += part.len();
        assert!(taken < 64 * MIB, "somebody holds it all");
    }
    // Whoever reads it gets the rest.
    drop(send);
    let mut rest = Vec::new();
    socket.read_to_end(&mut rest).await.unwrap();
    let octets = rest.iter().filter(|octet| **octet == b'x').count();
    assert!(octets >= taken, "{octets} of {taken}");
}

#[tokio::test]
async fn an_answer_may_come_before_the_request_has_ended() {
    let origin =
        Origin::early(|_| reply("413 Too Large", "content-type: application/json\r\n", "{\"error\":{}}")).await;
    let world = with_origin(&origin).start().await;
    let mut socket = connect(&world, "graph").await;
    let more = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", 100 * MIB);
    socket.write_all(head("POST", "/v1.0/me/sendMail", &more).as_bytes()).await.unwrap();
    socket.write_all(&[b'x'; 1_000]).await.unwrap();
    let mut answer = Vec::new();
    while !String::from_utf8_lossy(&answer).contains("{\"error\":{}}") {
        assert_ne!(socket.read_buf(&mut answer).await.unwrap(), 0, "{}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(status(&String::from_utf8_lossy(&answer)), 413);
}

#[tokio::test]
async fn whoever_leaves_in_an_upload_takes_the_request_along() {
    let origin = Origin::start(|_| reply("200 OK", "", "")).await;
    let world = with_origin(&origin).start().await;
    let mut socket = connect(&world, "graph").await;
    let more = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", 10 * MIB);
    socket.write_all(head("POST", "/v1.0/me/sendMail", &more).as_bytes()).await.unwrap();
    socket.write_all(&vec![b'x'; MIB]).await.unwrap();
    world.until("a part has arrived", || origin.body_octets.load(Ordering::Relaxed) > MIB / 2).await;
    drop(socket);
    world.until("the session has ended", || world.log.has("outcome=ended")).await;
    assert_eq!(origin.seen().len(), 0, "half a request is none");
}

#[tokio::test]
async fn whoever_is_silent_for_long_is_let_go() {
    let origin = Origin::start(|_| reply("200 OK", "content-type: application/json\r\n", "{}")).await;
    let setup = with_origin(&origin);
    let world = Setup { limits: "  http_idle: 900ms\n  http_head: 300ms", ..setup }.start().await;
    // After a request, in the middle of a head, and in the middle of a body.
    let done = raw(&world, "graph", head("GET", "/v1.0/me/messages", "").as_bytes()).await;
    assert_eq!(status(&done), OK);
    let begun = raw(&world, "graph", b"GET /v1.0/me/mess").await;
    assert_eq!(status(&begun), 408);
    let half = raw(&world, "graph", head("POST", "/v1.0/me/sendMail", "Content-Length: 100000\r\n").as_bytes()).await;
    assert_eq!(status(&half), 408);
    let nothing = raw(&world, "graph", b"").await;
    assert_eq!(nothing, "");
}

#[tokio::test]
async fn the_time_for_a_login_is_over_with_the_login() {
    let origin = Origin::start(|_| reply("200 OK", "content-type: application/json\r\n", "{}")).await;
    let setup = with_origin(&origin);
    let world = Setup { limits: "  pre_auth: 300ms", ..setup }.start().await;
    let strangers = connect(&world, "graph").await;
    let mut socket = connect(&world, "graph").await;
    let asked = head("GET", "/v1.0/me/messages", "");
    for _ in 0..2 {
        socket.write_all(asked.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"0\r\n\r\n") {
            assert_ne!(socket.read_buf(&mut answer).await.unwrap(), 0);
        }
        // Whoever has not logged in by then is let go.
        world.until("the time is over", || world.log.has("outcome=closed cause=timeout")).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    drop(strangers);
}
