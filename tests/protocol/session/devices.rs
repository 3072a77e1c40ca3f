//! What is noted of clients that connect, over each protocol: how they log in, and what fails.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gatepost_core::protocol::MailProtocol::{Imap, Pop3, Smtp};
use gatepost_store::{Device, STRANGERS, Store as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::client::with_tls;
use super::submission_trusted as trusted;
use crate::session::support::{ALICE, ALICES, BOB, Client, Setup, World, connector, plain, xoauth2};

/// What the store has once the service has ended, in the order of listeners and logins.
async fn listed(world: World) -> Vec<Device> {
    world.stop.now();
    let World { serving, store, .. } = world;
    serving.await.unwrap();
    let mut devices = Vec::new();
    for bucket in 0..=STRANGERS {
        devices.extend(store.devices(bucket).await.unwrap().0);
    }
    devices.sort_by(|a, b| (&a.listener, &a.login).cmp(&(&b.listener, &b.login)));
    devices
}

/// Listener, protocol, account, method and version of TLS.
fn how(device: &Device) -> [&str; 5] {
    let Device { listener, protocol, login, method, tls, .. } = device;
    [listener, protocol, login, method, tls]
}

fn cause(device: &Device) -> &str {
    device.last_failure.as_ref().map_or("", |failure| &failure.cause)
}

/// Asks over HTTP with Basic, and returns the status.
async fn ask(world: &World, listener: &str, path: &str, password: &str, body: &str) -> String {
    let mut socket = TcpStream::connect(world.address(listener)).await.unwrap();
    let credentials = STANDARD.encode(format!("{ALICE}:{password}"));
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Basic {credentials}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn each_protocol_is_noted_with_its_login_its_messages_and_its_failure() {
    let mut setup = Setup::default();
    setup.listeners.push_str(
        "
  ews: {bind: '127.0.0.1:0', upstream: 'localhost:{ews}'}
  graph: {bind: '127.0.0.1:0', upstream: 'localhost:{graph}'}",
    );
    let world = setup.start().await;
    for protocol in [Imap, Pop3] {
        world.session(protocol, ALICE, ALICES).await;
        world.reply(protocol, ALICE, "wrong").await;
    }
    let mut smtp = world.session(Smtp, ALICE, ALICES).await;
    for _ in 0..2 {
        let sent = trusted::send(&mut smtp, ALICE, BOB, "Subject: hi\r\n\r\nhello").await;
        assert!(sent.starts_with("250 "), "{sent}");
    }
    smtp.ask("MAIL FROM:<>", "250 ").await;
    smtp.ask("RCPT TO:<nobody@contoso.example>", "550 ").await;
    let mail = format!(
        "{{\"message\":{{\"subject\":\"hi\",\"body\":{{\"contentType\":\"Text\",\"content\":\"x\"}},\
         \"toRecipients\":[{{\"emailAddress\":{{\"address\":\"{BOB}\"}}}}]}}}}"
    );
    assert_eq!(ask(&world, "graph", "/v1.0/me/sendMail", ALICES, &mail).await, "202");
    assert_eq!(ask(&world, "graph", "/v1.0/me/sendMail", "wrong", &mail).await, "401");
    ask(&world, "ews", "/EWS/Exchange.asmx", ALICES, "").await;
    assert_eq!(ask(&world, "ews", "/EWS/Exchange.asmx", "wrong", "").await, "401");

    let devices = listed(world).await;
    let hows: Vec<_> = devices.iter().map(how).collect();
    assert_eq!(
        hows,
        [
            ["ews", "ews", ALICE, "HTTP Basic", ""],
            ["graph", "graph", ALICE, "HTTP Basic", ""],
            ["imap", "imap", ALICE, "LOGIN", ""],
            ["pop3", "pop3", ALICE, "USER/PASS", ""],
            ["smtp", "smtp", ALICE, "PLAIN", ""],
        ]
    );
    let messages: Vec<_> = devices.iter().map(|device| device.messages).collect();
    assert_eq!(messages, [0, 1, 0, 0, 2]);
    for device in &devices {
        assert_eq!(device.source.to_string(), "127.0.0.1");
        assert!(device.last_success >= Some(device.first_seen) && device.logins == 1, "{device:?}");
        let expected = if device.listener == "smtp" { "recipient-refused" } else { "wrong-password" };
        assert!(cause(device) == expected && device.failures >= 1, "{device:?}");
    }
    assert_eq!(devices[4].senders, [ALICE]);
}

#[tokio::test]
async fn mechanism_and_tls_are_told_apart() {
    let (world, ca) = with_tls("").await;
    let mut client = Client::connect(world.address("smtp-implicit"), Smtp).await.start_tls(&ca).await;
    client.greet().await;
    client.ask("AUTH LOGIN", "334 ").await;
    client.ask(&STANDARD.encode(ALICE), "334 ").await;
    client.ask(&STANDARD.encode(ALICES), "235 ").await;
    let mut client = Client::connect(world.address("imap-starttls"), Imap).await;
    client.greet().await;
    client.ask("t STARTTLS", "t OK").await;
    let mut client = client.start_tls(&ca).await;
    client.ask(&format!("a AUTHENTICATE PLAIN {}", plain(ALICE, ALICES)), "a OK").await;
    // A browser that came to the wrong port, and a client without TLS.
    let mut client = Client::connect(world.address("pop3-starttls"), Pop3).await;
    client.greet().await;
    client.send("GET / HTTP/1.1\r\n").await;
    client.rest().await;
    // One over HTTP.
    let socket = TcpStream::connect(world.address("graph-implicit")).await.unwrap();
    let mut stream = connector(&ca).connect("localhost".try_into().unwrap(), socket).await.unwrap();
    let credentials = STANDARD.encode(format!("{ALICE}:{ALICES}"));
    let asked = format!(
        "GET /v1.0/me/messages HTTP/1.1\r\nhost: localhost\r\nauthorization: Basic {credentials}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(asked.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    stream.read_to_end(&mut Vec::new()).await.unwrap();
    let devices = listed(world).await;
    assert_eq!(
        devices.iter().map(how).collect::<Vec<_>>(),
        [
            ["graph-implicit", "graph", ALICE, "HTTP Basic", "TLS 1.3"],
            ["imap-starttls", "imap", ALICE, "PLAIN", "TLS 1.3"],
            ["pop3-starttls", "pop3", "", "", ""],
            ["smtp-implicit", "smtp", ALICE, "LOGIN", "TLS 1.3"],
        ]
    );
    assert_eq!((cause(&devices[2]), devices[2].last_success), ("http", None));
}

#[tokio::test]
async fn a_token_of_the_clients_own_is_noted_as_such() {
    let world = World::new().await;
    let token = world.sandbox.issue_token(ALICE).unwrap().expose().to_owned();
    let mut client = world.client(Imap).await;
    client.ask(&format!("a AUTHENTICATE XOAUTH2 {}", xoauth2(ALICE, &token)), "a OK").await;
    assert_eq!(listed(world).await.iter().map(how).collect::<Vec<_>>(), [["imap", "imap", ALICE, "XOAUTH2", ""]]);
}

#[tokio::test]
async fn a_trusted_sender_is_noted_with_what_it_writes_as_its_sender() {
    let world = trusted::setup("").start().await;
    let mut device = trusted::device(&world).await;
    let sent = trusted::send(&mut device, "root@localhost", BOB, "Subject: scan\r\n\r\nscan").await;
    assert!(sent.starts_with("250 "), "{sent}");
    let devices = listed(world).await;
    assert_eq!(
        devices.iter().map(how).collect::<Vec<_>>(),
        [["smtp", "smtp", "scanner@contoso.example", "trusted sender", ""]]
    );
    assert_eq!((devices[0].messages, devices[0].last_failure.is_none()), (1, true));
}

#[tokio::test]
async fn an_alias_and_a_stranger_are_told_apart_and_no_password_is_noted() {
    let world = trusted::setup("").start().await;
    let mut client = Client::connect(world.address("smtp"), Smtp).await;
    client.greet().await;
    client.ask(&format!("AUTH PLAIN {}", plain("scan7", "wrong-secret-1")), "").await;
    client.ask(&format!("AUTH PLAIN {}", plain("my-secret-password", "wrong-secret-2")), "").await;
    let devices = listed(world).await;
    let logins: Vec<_> = devices.iter().map(|device| &*device.login).collect();
    assert!(logins.contains(&"scanner@contoso.example") && logins.len() == 2, "{logins:?}");
    let text = format!("{devices:?}");
    assert!(!text.contains("secret") && devices.iter().all(|device| device.last_success.is_none()), "{text}");
}

#[tokio::test]
async fn nothing_is_noted_where_the_list_is_off() {
    let world = Setup { sections: "state: {devices: off}".to_owned(), ..Setup::default() }.start().await;
    world.session(Imap, ALICE, ALICES).await;
    assert!(listed(world).await.is_empty());
}
