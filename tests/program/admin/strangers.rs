//! Strangers on the page's port: they may not keep probes from being answered, nor the
//! administrator out.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::admin::http::{Browser, finish};
use crate::admin::support::{TOKEN, World, link};

/// A connection from another loopback address, which is another source.
async fn connect_from(source: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
    socket.connect(to).await.unwrap()
}

#[tokio::test]
async fn idle_connections_keep_no_probe_from_its_answer() {
    let world = World::new().await;
    let mut idle = Vec::new();
    for number in 0..200 {
        // Of one source, and of many.
        let source = if number % 2 == 0 { "127.0.0.1".to_owned() } else { format!("127.0.1.{number}") };
        let mut stream = connect_from(&source, world.page).await;
        if number % 3 == 0 {
            // Begun, and never finished.
            let begun = b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\ntoken=";
            let _closed = stream.write_all(begun).await;
        }
        idle.push(stream);
    }
    let probe = Browser::new(world.page);
    for path in ["/livez", "/readyz"] {
        assert_eq!(probe.get(path).await.status, 200, "{path}");
    }
    assert_eq!(world.visitor().await.visit("/").await.status, 200);
    drop(idle);
}

#[tokio::test]
async fn a_stranger_who_comes_again_as_often_as_he_is_sent_away_keeps_nobody_out() {
    let world = World::new().await;
    let mut strangers = JoinSet::new();
    for _ in 0..80 {
        let (page, mut stream) = (world.page, connect_from("127.0.0.2", world.page).await);
        strangers.spawn(async move {
            loop {
                let _closed = stream.read_u8().await;
                stream = connect_from("127.0.0.2", page).await;
            }
        });
    }
    let probe = Browser::new(world.page);
    for path in ["/livez", "/readyz"] {
        assert_eq!(probe.get(path).await.status, 200, "{path}");
    }
    assert_eq!(world.visitor().await.visit("/").await.status, 200);
}

#[tokio::test]
async fn who_has_many_connections_loses_them_before_who_has_one() {
    let world = World::new().await;
    let mut slow = connect_from("127.0.0.2", world.page).await;
    slow.write_all(b"GET /livez HTTP/1.0\r\n").await.unwrap();
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(connect_from("127.0.0.3", world.page).await);
    }
    slow.write_all(b"Host: localhost\r\n\r\n").await.unwrap();
    assert_eq!(finish(slow).await.status, 200);
    drop(idle);
}

#[tokio::test]
async fn an_administrator_at_work_keeps_his_connection() {
    let world = World::new().await;
    let visitor = world.visitor().await;
    // The head of a request of a session has come, its form has not.
    let action = visitor.at("/logout");
    let token = visitor.visit("/").await.form_token(&action);
    let form = format!("form={token}");
    let (cookies, host) = (visitor.cookie_field(&action), format!("127.0.0.1:{}", world.page.port()));
    let mut slow = connect_from("127.0.0.1", world.page).await;
    let head = format!(
        "POST {action} HTTP/1.1\r\nHost: {host}\r\n{cookies}Origin: http://{host}\r\nConnection: close\r\n\
         Expect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        form.len()
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    // Once it asks for the form, it knows the session.
    let mut asked = [0; 25];
    slow.read_exact(&mut asked).await.unwrap();
    assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(connect_from("127.0.0.1", world.page).await);
    }
    // All of them have been seen when one that comes after them is answered.
    assert_eq!(Browser::new(world.page).get("/livez").await.status, 200);
    slow.write_all(form.as_bytes()).await.unwrap();
    assert_eq!(finish(slow).await.status, 303);
    drop(idle);
}

#[tokio::test]
async fn wrong_tokens_of_one_source_keep_nobody_else_out() {
    let world = World::new().await;
    let host = format!("127.0.0.1:{}", world.page.port());
    let login = async |token: &str| {
        let form = format!("token={token}");
        let mut stream = connect_from("127.0.0.2", world.page).await;
        let head = format!(
            "POST /login HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        finish(stream).await.status
    };
    for _ in 0..10 {
        assert_eq!(login("wrong").await, 403);
    }
    assert_eq!(login(TOKEN).await, 429, "this source has to wait");
    let browser = Browser::new(world.page);
    assert_eq!(browser.post("/login", &[("token", TOKEN)]).await.status, 303);
    // A link cannot be guessed, so that no number of wrong ones takes a right one its worth.
    for _ in 0..30 {
        assert_eq!(browser.post("/enter", &[("link", "wrong")]).await.status, 403);
        assert_eq!(browser.post("/login", &[("token", "wrong")]).await.status / 100, 4);
    }
    let (_, secret) = link(&world).await;
    assert_eq!(browser.post("/enter", &[("link", &secret)]).await.status, 303);
}
