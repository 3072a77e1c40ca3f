//! What a listener that takes messages itself makes of each reply of a server that goes by a
//! script: no message is promised that the server has not taken, and none is sent twice.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::{Arc, Mutex};

use gatepost_core::protocol::MailProtocol::Smtp;

use super::upstream::{Upstream, scripted_server};
use crate::session::support::{ALICE, ALICES, BOB, Client, Setup, World};

/// Closes the connection instead of a reply.
const CLOSE: &str = "";
/// A reply to DATA and nothing else.
const GO_ON: &str = "354 Go on";
/// How the reply to the client begins when the connection to the server broke.
const BROKE: &str = "451 4.4.1 The connection to Microsoft broke, the message was not sent: ";

#[derive(Default)]
struct Script {
    /// The next command of this name gets this reply instead of the usual one. `.` is the end of a
    /// message, and `TEXT` its first line.
    planned: VecDeque<(&'static str, &'static str)>,
    /// The commands behind each login, with the number of its connection.
    heard: Vec<(usize, String)>,
    /// The lines of the messages.
    text: Vec<String>,
    logins: usize,
}

/// A server that takes every token and every message, except as its script says.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Script>>);

impl Server {
    /// A Gatepost in front of it, with a listener with these keys, and an account with these.
    /// `keywords` are what the server announces.
    async fn world(&self, keywords: &'static str, listener: &str, account: &str) -> World {
        let server = self.clone();
        let (port, trust) = scripted_server(move |upstream| server.clone().serve(upstream, keywords)).await;
        let setup = Setup {
            listeners: format!(
                "\n  smtp: {{bind: '127.0.0.1:0', upstream: 'localhost:{port}', upstream_tls: implicit, {listener}}}"
            ),
            accounts: format!("\n  - {{login: '*'{account}}}"),
            limits: "  write_stall: 1s",
            trust,
            ..Setup::default()
        };
        setup.start().await
    }

    async fn serve(self, mut upstream: Upstream, keywords: &str) -> Option<()> {
        let mut connection = 0;
        upstream.say("220 mail.example ESMTP\r\n").await?;
        loop {
            let line = upstream.line().await?;
            let verb = line.get(..4).unwrap_or(&line).to_ascii_uppercase();
            let usual = match &*verb {
                "EHLO" => format!("250-mail.example\r\n250-AUTH XOAUTH2\r\n{keywords}250 8BITMIME"),
                "AUTH" => {
                    upstream.say("334 \r\n").await?;
                    upstream.line().await?;
                    connection = self.log_in();
                    "235 2.7.0 Accepted".to_owned()
                }
                "DATA" => "354 Go on".to_owned(),
                "QUIT" => "221 2.0.0 Bye".to_owned(),
                _ => "250 2.0.0 OK".to_owned(),
            };
            let reply = if connection == 0 || verb == "AUTH" { usual } else { self.hear(connection, line, usual) };
            if reply == CLOSE {
                return None;
            }
            upstream.say(&format!("{reply}\r\n")).await?;
            if verb == "DATA" && reply.starts_with("354") {
                let end = self.take_text(&mut upstream).await?;
                upstream.say(&format!("{end}\r\n")).await?;
            }
        }
    }

    fn log_in(&self) -> usize {
        let mut script = self.0.lock().unwrap();
        script.logins += 1;
        script.logins
    }

    /// The reply to a command.
    fn hear(&self, connection: usize, line: String, usual: String) -> String {
        self.0.lock().unwrap().heard.push((connection, line.clone()));
        self.planned(line.get(..4).unwrap_or(&line)).map_or(usual, str::to_owned)
    }

    fn planned(&self, name: &str) -> Option<&'static str> {
        let mut script = self.0.lock().unwrap();
        script.planned.pop_front_if(|(planned, _)| planned.eq_ignore_ascii_case(name)).map(|(_, reply)| reply)
    }

    /// Takes a message, and returns the reply to it; `None` if the connection is to be closed.
    async fn take_text(&self, upstream: &mut Upstream) -> Option<String> {
        loop {
            let line = upstream.line().await?;
            if let Some(early) = self.planned("TEXT") {
                upstream.say(&format!("{early}\r\n")).await?;
                // It reads no further.
                pending::<()>().await;
            }
            if line == "." {
                let reply = self.planned(".").unwrap_or("250 2.0.0 Taken");
                return (reply != CLOSE).then(|| reply.to_owned());
            }
            self.0.lock().unwrap().text.push(line);
        }
    }

    fn plan(&self, command: &'static str, reply: &'static str) {
        self.0.lock().unwrap().planned.push_back((command, reply));
    }

    /// On which connections it has heard commands of this name.
    fn connections_of(&self, name: &str) -> Vec<usize> {
        let script = self.0.lock().unwrap();
        script.heard.iter().filter(|(_, line)| line.starts_with(name)).map(|(number, _)| *number).collect()
    }

    /// Forgets what it has heard. What was planned has happened.
    fn forget(&self) {
        let mut script = self.0.lock().unwrap();
        assert_eq!(script.planned, [], "{:?}", script.heard);
        *script = Script::default();
    }

    fn has(&self, text: &str) -> bool {
        self.0.lock().unwrap().text.iter().any(|line| line == text)
    }
}

/// Lets a client send a message up to the first reply that is none of the usual, and returns that
/// or the last one.
async fn send(client: &mut Client, text: &str) -> String {
    let content = format!("From: {ALICE}\r\nTo: {BOB}\r\n\r\n{text}\r\n.");
    let mut reply = client.ask(&format!("MAIL FROM:<{ALICE}>"), "").await;
    for (usual, next) in [("250 ", format!("RCPT TO:<{BOB}>")), ("250 ", "DATA".into()), ("354 ", content)] {
        if !reply.starts_with(usual) {
            return reply;
        }
        reply = client.ask(&next, "").await;
    }
    reply
}

#[tokio::test]
async fn a_sender_is_offered_again_only_where_a_kept_connection_was_dead() {
    const REFUSED: &str = "550 5.7.1 Not you";
    const LATER: &str = "421 4.3.2 Not now";
    let server = Server::default();
    let world = server.world("", "legacy: true", "").await;
    for (is_kept, reply, told, offered) in [
        (true, REFUSED, REFUSED, &[1][..]),
        (true, LATER, "250 2.0.0 Taken", &[1, 2]),
        (true, CLOSE, "250 2.0.0 Taken", &[1, 2]),
        (true, GO_ON, "250 2.0.0 Taken", &[1, 2]),
        (false, REFUSED, REFUSED, &[1, 2]),
        (false, LATER, LATER, &[1, 2]),
        (false, CLOSE, BROKE, &[1, 2]),
        (false, GO_ON, BROKE, &[1, 2]),
    ] {
        // The connection of the login is kept for the first message.
        let mut client = world.session(Smtp, ALICE, ALICES).await;
        if !is_kept {
            server.plan("RCPT", CLOSE);
            assert!(send(&mut client, "lost").await.starts_with(BROKE), "{reply}");
            client.ask("RSET", "250 ").await;
        }
        server.plan("MAIL", reply);
        let is_refused = told == REFUSED || told == LATER;
        let logged = || world.log.lines(|line| line.contains(&format!("reply=\"{told}\""))).len();
        let before = logged();
        let heard = send(&mut client, "text").await;
        assert!(heard.starts_with(told), "{is_kept}, {reply}: {heard}");
        assert_eq!(server.connections_of("MAIL"), offered, "{is_kept}, {reply}");
        assert_eq!(server.has("text"), told.starts_with("250"), "{is_kept}, {reply}");
        assert!(!is_refused || logged() == before + 1, "{is_kept}, {reply}");
        if told == LATER {
            assert_eq!(client.rest().await, "");
        } else {
            // The connection is fit for the next message, unless it is gone.
            assert!(send(&mut client, "next").await.starts_with("250 2.0.0 Taken"), "{is_kept}, {reply}");
            let last = offered.last().copied().unwrap_or_default() + usize::from(told == BROKE);
            assert_eq!(server.connections_of("DATA").last(), Some(&last), "{is_kept}, {reply}");
            client.ask("QUIT", "221 ").await;
        }
        server.forget();
    }
}

/// With DATA or, where From names the mailbox, only when the client has sent the message.
#[tokio::test]
async fn the_content_goes_only_where_354_asks_for_it() {
    for account in ["", ", send_as: [bob@contoso.example]"] {
        let server = Server::default();
        let world = server.world("", "legacy: true", account).await;
        for (command, reply, told) in [
            ("DATA", "554 5.2.0 The mailbox is full", "554 5.2.0 The mailbox is full"),
            ("DATA", "250 2.0.0 OK", BROKE),
            ("DATA", "334 VXNlcg==", BROKE),
            ("RCPT", GO_ON, BROKE),
            ("RCPT", "550 5.1.1 Nobody", "550 5.1.1 Nobody"),
        ] {
            let mut client = world.session(Smtp, ALICE, ALICES).await;
            server.plan(command, reply);
            let heard = send(&mut client, "never").await;
            assert!(heard.starts_with(told), "{command}, {reply}: {heard}");
            assert!(!server.has("never"), "{command}, {reply}");
            client.ask("RSET", "250 ").await;
            assert_eq!(send(&mut client, "next").await, "250 2.0.0 Taken", "{command}, {reply}");
            assert!(server.has("next"));
            if account.is_empty() && told != BROKE {
                assert_eq!(server.connections_of("MAIL"), [1, 1], "{command}, {reply}");
                assert_eq!(server.connections_of("RSET"), [1], "{command}, {reply}");
            }
            client.ask("QUIT", "221 ").await;
            server.forget();
        }
    }
}

#[tokio::test]
async fn only_a_final_reply_that_accepts_a_message_is_passed_on_as_that() {
    let server = Server::default();
    let world = server.world("", "legacy: true", "").await;
    let mut client = world.session(Smtp, ALICE, ALICES).await;
    assert!(world.log.has("outcome=accepted token=fetched"));
    for (reply, told) in [
        ("452 4.3.1 Later", "452 4.3.1 Later"),
        ("554 5.6.0 No", "554 5.6.0 No"),
        ("250 2.0.0 Taken as 1", "250 2.0.0 Taken as 1"),
        ("250 2.0.0 Taken as 2", "250 2.0.0 Taken as 2"),
    ] {
        server.plan(".", reply);
        assert_eq!(send(&mut client, "text").await, told);
    }
    assert_eq!(server.connections_of("MAIL"), [1; 4], "the connection is fit for the next message");
    server.plan(".", GO_ON);
    let unclear = "451 4.4.2 Microsoft did not confirm the message. It may have been sent";
    assert_eq!(send(&mut client, "text").await, unclear);
    assert_eq!(send(&mut client, "text").await, "250 2.0.0 Taken");
    assert_eq!(server.connections_of("MAIL"), [1, 1, 1, 1, 1, 2]);
    // What has left, in the line of each message and in that of the session.
    let octets = format!("From: {ALICE}\r\nTo: {BOB}\r\n\r\ntext\r\n").len();
    let sent = world.log.lines(|line| line.contains("outcome=sent"));
    assert_eq!(sent.len(), 3);
    assert!(sent.iter().all(|line| line.contains(&format!(" bytes={octets} ")) && line.contains("message sent")));
    assert!(!world.log.has("message sent: "), "there is nothing more to say of it");
    client.ask("QUIT", "221 ").await;
    world.until("the session has ended", || world.log.has("outcome=ended")).await;
    assert!(world.log.has(&format!("bytes_sent={} ", 3 * octets)));
    // The server is not left without a word.
    world.until("it hears of the end", || server.connections_of("QUIT") == [2]).await;
}

#[tokio::test]
async fn a_connection_serves_again_when_the_server_has_forgotten_the_message() {
    let server = Server::default();
    let world = server.world("", "legacy: true", "").await;
    for (reply, next) in [("250 2.0.0 Forgotten", 1), ("500 5.5.1 What", 2), (GO_ON, 2), (CLOSE, 2)] {
        let mut client = world.session(Smtp, ALICE, ALICES).await;
        client.ask(&format!("MAIL FROM:<{ALICE}>"), "250 ").await;
        server.plan("RSET", reply);
        client.ask("RSET", "250 ").await;
        assert_eq!(send(&mut client, "text").await, "250 2.0.0 Taken", "{reply}");
        assert_eq!(server.connections_of("DATA"), [next], "{reply}");
        client.ask("QUIT", "221 ").await;
        server.forget();
    }
}

/// A server that has heard enough says why, and takes no more.
#[tokio::test]
async fn a_refusal_in_the_middle_of_a_message_reaches_the_client() {
    const ENOUGH: &str = "552 5.3.4 That is too large";
    let large = "x".repeat(998) + "\r\n";
    for (early, told) in [(ENOUGH, ENOUGH), ("250 2.0.0 OK", "451 4.4.1 The connection to Microsoft broke, ")] {
        let server = Server::default();
        let world = server.world("", "legacy: true", "").await;
        let mut client = world.session(Smtp, ALICE, ALICES).await;
        server.plan("TEXT", early);
        // More than the system takes in on the way.
        let heard = send(&mut client, &large.repeat(24 * 1_024)).await;
        assert!(heard.starts_with(told), "{heard}");
    }
}

/// The account is looked at for each message, also where its connection is still open.
#[tokio::test]
async fn a_kept_connection_is_none_of_an_account_that_has_changed() {
    let server = Server::default();
    let world = server.world("", "legacy: true", "").await;
    let mut client = world.session(Smtp, ALICE, ALICES).await;
    assert_eq!(send(&mut client, "before").await, "250 2.0.0 Taken");
    world.reload(|yaml| yaml.replace("login: '*'", "login: '*@contoso.example'")).await.unwrap();
    assert_eq!(send(&mut client, "after").await, "250 2.0.0 Taken");
    assert_eq!(server.connections_of("MAIL"), [1, 2]);
}

#[tokio::test]
async fn a_client_hears_what_the_server_takes() {
    // (what the server announces, keys of the listener, the size that is told, whether DSN is)
    for (keywords, listener, size, has_dsn) in [
        ("250-SIZE 1000\r\n250-DSN\r\n", "legacy: true", "1000", true),
        ("250-LIMITS 77\r\n250-size 2000\r\n", "legacy: true", "2000", false),
        // No fixed size is known (RFC 1870 §4).
        ("250-SIZE 0\r\n", "legacy: true", "157286400", false),
        ("250-SIZE 1000\r\n250-DSN\r\n", "deliver: auto, graph: 'localhost:{graph}'", "1000", false),
    ] {
        let server = Server::default();
        let world = server.world(keywords, listener, "").await;
        let mut client = world.session(Smtp, ALICE, ALICES).await;
        client.heard.clear();
        client.ask("EHLO client.example", "250 ").await;
        let heard = String::from_utf8_lossy(&client.heard).into_owned();
        let says = |keyword: &str| heard.lines().any(|line| line.get(4..) == Some(keyword));
        assert!(says(&format!("SIZE {size}")), "{keywords}: {heard}");
        assert_eq!(says("DSN"), has_dsn, "{keywords}, {listener}: {heard}");
        if size == "1000" {
            let reply = send(&mut client, &"x".repeat(1_000)).await;
            assert_eq!(reply, "552 5.3.4 The message is too large. The limit is 1000 bytes", "{listener}");
            let lines = world.log.lines(|line| line.contains("cause=message-too-large"));
            assert!(
                lines.len() == 1 && lines[0].contains("larger than `limits.message` or than Exchange"),
                "{lines:?}"
            );
        }
    }
}

/// The replies to what came at once are more than is kept of them.
#[tokio::test]
async fn every_command_of_a_client_that_pipelines_is_answered() {
    let world = Server::default().world("", "legacy: true", "").await;
    let mut client = world.session(Smtp, ALICE, ALICES).await;
    client.send("EHLO x\r\n".repeat(255)).await;
    for _ in 0..255 {
        client.hear("250 ").await;
    }
}
