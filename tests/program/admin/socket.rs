//! Commands over the Unix socket, as raw HTTP: who may wait, and that nobody keeps others from it.

use std::sync::{Arc, Mutex, mpsc};

use gatepost_config::load::Loaded;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::admin::support::{ALICE, World};
use crate::common::outside::Outside;
use crate::common::wait::{PATIENCE, until};

const UPGRADE: &str = "Connection: upgrade\r\nUpgrade: gatepost-take-over\r\n";

/// A connection on which a request without a body was sent.
async fn send(world: &World, line: &str, fields: &str) -> UnixStream {
    let mut stream = UnixStream::connect(&world.socket).await.unwrap();
    let head = format!("{line} HTTP/1.1\r\nHost: gatepost\r\n{fields}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// Reads until the other side closes.
async fn rest(mut stream: UnixStream) -> String {
    let mut octets = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut octets)).await.expect("no answer").unwrap();
    String::from_utf8(octets).unwrap()
}

async fn ask(world: &World, line: &str, fields: &str) -> String {
    rest(send(world, line, &format!("{fields}Connection: close\r\n")).await).await
}

/// The first line of an answer.
async fn status(stream: &mut UnixStream) -> String {
    let mut line = String::new();
    while !line.ends_with("\r\n") {
        line.push(char::from(timeout(PATIENCE, stream.read_u8()).await.expect("no answer").unwrap()));
    }
    line
}

/// Connections that say nothing, and some that say only a part.
async fn crowd(world: &World) -> Vec<UnixStream> {
    let mut crowd = Vec::new();
    for number in 0..200 {
        crowd.push(match number % 3 {
            0 => UnixStream::connect(&world.socket).await.unwrap(),
            1 => {
                let mut stream = UnixStream::connect(&world.socket).await.unwrap();
                let _closed = stream.write_all(b"POST /rel").await;
                stream
            }
            _ => send(world, "POST /status", "Content-Length: 100\r\n").await,
        });
    }
    crowd
}

#[tokio::test]
async fn who_says_nothing_keeps_no_command_from_its_answer() {
    let world = World::new().await;
    let crowd = crowd(&world).await;
    let answer = ask(&world, "GET /readyz", "").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ready\n"), "{answer}");
    let answer = ask(&world, "POST /reload", "").await;
    assert!(answer.starts_with("HTTP/1.1 409 ") && answer.contains("no configuration"), "{answer}");
    drop(crowd);
}

#[tokio::test]
async fn one_process_at_a_time_takes_over_and_one_that_says_nothing_keeps_only_others_like_it_out() {
    let world = World::new().await;
    let answer = ask(&world, "POST /take-over", "").await;
    assert!(answer.starts_with("HTTP/1.1 426 ") && answer.contains("upgrade: gatepost-take-over"), "{answer}");
    assert!(ask(&world, "GET /take-over", UPGRADE).await.starts_with("HTTP/1.1 405 "));

    let mut first = send(&world, "POST /take-over", UPGRADE).await;
    assert!(status(&mut first).await.starts_with("HTTP/1.1 101 "));
    let mut second = send(&world, "POST /take-over", UPGRADE).await;
    assert!(status(&mut second).await.starts_with("HTTP/1.1 409 "));
    let crowd = crowd(&world).await;
    assert!(ask(&world, "GET /readyz", "").await.starts_with("HTTP/1.1 200 "));
    // Whoever has begun is not pushed out; whoever says something else is sent away.
    first.write_all(b"give me everything\n").await.unwrap();
    rest(first).await;
    until("another one may take over", async || {
        let mut third = send(&world, "POST /take-over", UPGRADE).await;
        status(&mut third).await.starts_with("HTTP/1.1 101 ")
    })
    .await;
    assert!(!world.serving.is_finished());
    drop(crowd);
}

#[tokio::test]
async fn a_reload_goes_on_under_a_crowd_and_the_next_one_waits_for_it() {
    let (entered, entries) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let (entered, released) = (Mutex::new(entered), Mutex::new(released));
    let world = World::with_source(Arc::new(move || {
        entered.lock().unwrap().send(()).unwrap();
        let _gone = released.lock().unwrap().recv();
        let config = Outside::default().load("proxy.yaml".as_ref(), "listeners: {imap: {bind: nowhere}}\n");
        Loaded { config, files: gatepost_config::Files::default() }
    }))
    .await;
    let begin = async || send(&world, "POST /reload", "Connection: close\r\n").await;
    let has_begun = async || entries.try_recv().is_ok();
    let first = begin().await;
    until("the first one reads the configuration", has_begun).await;
    let (second, left) = (begin().await, begin().await);
    let crowd = crowd(&world).await;
    assert!(ask(&world, "GET /readyz", "").await.starts_with("HTTP/1.1 200 "));
    assert!(entries.try_recv().is_err(), "one at a time");
    drop(left);
    release.send(()).unwrap();
    let answer = rest(first).await;
    assert!(answer.starts_with("HTTP/1.1 422 ") && answer.contains("nowhere"), "{answer}");
    until("the second one reads the configuration", has_begun).await;
    release.send(()).unwrap();
    assert!(rest(second).await.starts_with("HTTP/1.1 422 "));
    // The one whose caller has left does not follow.
    drop(release);
    assert!(ask(&world, "POST /reload", "").await.starts_with("HTTP/1.1 422 "));
    assert_eq!(entries.try_iter().count(), 1);
    drop(crowd);
}

#[tokio::test]
async fn who_unlocks_is_in_the_audit_log() {
    let world = World::new().await;
    assert!(world.imap(ALICE, "wrong").await.is_err());
    let form = async |body: &str| {
        let mut stream = send(&world, "POST /unlock", &format!("Content-Length: {}\r\n", body.len())).await;
        stream.write_all(body.as_bytes()).await.unwrap();
        stream
    };
    for (body, told) in [("login=a+b", "HTTP/1.1 409 "), ("", "HTTP/1.1 409 "), ("login=%40", "HTTP/1.1 409 ")] {
        assert!(status(&mut form(body).await).await.starts_with(told), "{body}");
    }
    assert!(status(&mut form("login=alice%40contoso.example").await).await.starts_with("HTTP/1.1 200 "));
    let by = format!("\"by\":\"command-line (uid {})\"", rustix::process::geteuid().as_raw());
    let audit = world.socket.with_file_name("audit.jsonl");
    until("it is in the audit log", async || {
        let text = std::fs::read_to_string(&audit).unwrap();
        let acts = text.lines().filter(|line| line.contains("\"account-unlocked\""));
        acts.filter(|act| act.contains(&by) && act.contains(ALICE)).count() == 1
    })
    .await;
}
