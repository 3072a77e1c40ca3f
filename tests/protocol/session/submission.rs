//! SMTP listeners that take messages themselves: what a client hears is what became of its message.

use std::io;
use std::time::Duration;

use gatepost_core::failure::Refusal;
use gatepost_core::protocol::MailProtocol::Smtp;
use gatepost_sandbox::{HttpFault, SandboxAccount, SandboxConfig, Service, UpstreamMode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::session::support::{ALICE, ALICES, BOB, BOBS, Client, Setup, World};

/// Alice and Bob behind a listener that takes messages itself.
fn setup(listener: &str) -> Setup {
    Setup { listeners: format!("\n  smtp: {{bind: '127.0.0.1:0', {listener}}}"), ..Setup::default() }
}

const LEGACY: &str = "upstream: 'localhost:{smtp}', legacy: true";
/// By SMTP, without any of the leniency: somebody is trusted, but not from here.
const BY_SMTP: &str = "upstream: 'localhost:{smtp}', allow_from: [127.0.0.0/8, 10.0.0.0/8], trusted_senders: [{from: 10.1.1.1, login: device@contoso.example}]";
const DEVICE: &str = "\n  - login: '*'\n  - {login: device@contoso.example, grant: client_credentials, client_id: '{confidential}', client_secret: sandbox-secret}";
const BY_GRAPH: &str = "deliver: graph, graph: 'localhost:{graph}'";
const AUTO: &str = "deliver: auto, upstream: 'localhost:{smtp}', graph: 'localhost:{graph}'";

fn by_smtp() -> Setup {
    Setup { accounts: DEVICE.to_owned(), ..setup(BY_SMTP) }
}

/// Says all at once, as a client that pipelines, and hears a reply to each of so many lines.
async fn say(client: &mut Client, what: impl AsRef<[u8]>, replies: usize) -> Vec<String> {
    client.send(what).await;
    let mut heard = Vec::new();
    for _ in 0..replies {
        heard.push(reply(client).await);
    }
    heard
}

/// The last line of the next reply.
async fn reply(client: &mut Client) -> String {
    loop {
        let line = client.line().await;
        let line = line.unwrap_or_else(|| panic!("closed: {}", String::from_utf8_lossy(&client.heard)));
        if line.as_bytes().get(3) == Some(&b' ') {
            return line;
        }
    }
}

fn message(from: &str, to: &str, text: &str) -> String {
    format!("MAIL FROM:<{from}>\r\nRCPT TO:<{to}>\r\nDATA\r\nFrom: {from}\r\nTo: {to}\r\n\r\n{text}\r\n.\r\n")
}

fn codes(replies: &[String]) -> Vec<&str> {
    replies.iter().map(|reply| &reply[..3]).collect()
}

/// What has come into somebody's inbox, besides the samples that lie there, without the trace
/// lines.
fn inbox(world: &World, whose: &str) -> Vec<String> {
    let messages = world.sandbox.messages(whose, "INBOX");
    let text = |content: &[u8]| String::from_utf8(content.to_vec()).unwrap();
    let received = messages.iter().map(|content| text(content)).filter(|text| !text.contains("<sample-"));
    received.map(|text| text.find("From: ").map(|at| text[at..].to_owned()).unwrap_or(text)).collect()
}

#[tokio::test]
async fn messages_go_out_one_after_the_other_and_every_word_of_exchange_comes_back() {
    let world = by_smtp().start().await;
    let mut client = world.session(Smtp, ALICE, ALICES).await;
    let everything = format!(
        "EHLO again\r\n{}MAIL FROM:<{ALICE}> BODY=8BITMIME\r\nRCPT TO:<nobody@contoso.example>\r\nRCPT TO:<{BOB}>\r\n\
         BDAT 11\r\nFrom: {}\r\nBDAT 24 LAST\r\n{}\r\n\r\nsecond\r\nNOOP\r\n",
        message(ALICE, BOB, "..first\r\n.."),
        &ALICE[..3],
        &ALICE[3..15],
    );
    let replies = say(&mut client, everything, 11).await;
    assert_eq!(codes(&replies), ["250", "250", "250", "354", "250", "250", "550", "250", "250", "250", "250"]);
    assert_eq!(replies[1], "250 2.1.0 Sender OK");
    assert!(replies[4].contains("[Hostname=sandbox.outlook.office365.com]"), "{}", replies[4]);
    assert!(replies[6].starts_with("550 5.1.10 RESOLVER.ADR.RecipientNotFound;"), "{}", replies[6]);
    let received = inbox(&world, BOB);
    assert_eq!(received[0], format!("From: {ALICE}\r\nTo: {BOB}\r\n\r\n.first\r\n.\r\n"));
    assert!(received[1].ends_with("\r\n\r\nsecond\r\n"), "{received:?}");
    assert_eq!(world.sandbox.counters().connections_to(Service::Smtp), 2, "one to learn, one for both messages");
    let line = format!("account={ALICE} way=smtp outcome=sent recipients=1");
    assert_eq!(world.log.lines(|it| it.contains(&line)).len(), 2);
    // Exchange decides as whom Alice may send.
    let replies = say(&mut client, message(BOB, ALICE, "as Bob"), 4).await;
    assert!(replies[3].starts_with("550 5.7.60 SMTP; Client does not have permissions"), "{replies:?}");
    assert!(world.log.has("outcome=not-sent cause=send-as-denied code=5.7.60 action_by=m365-admin recipients=1"));
    client.send("QUIT\r\n").await;
    assert_eq!(client.rest().await, "221 2.0.0 Bye\r\n");
}

#[tokio::test]
async fn a_bare_line_end_is_refused_and_an_old_device_is_helped() {
    let world = by_smtp().start().await;
    let mut client = world.session(Smtp, ALICE, ALICES).await;
    let heard = say(&mut client, "NOOP\nNOOP\r\n", 2).await;
    assert_eq!(heard, ["500 5.5.2 A line ends in CRLF and holds no NUL", "250 2.0.0 OK"]);
    let smuggled = message(ALICE, BOB, "a\n.\nMAIL FROM:<admin@contoso.example>");
    let replies = say(&mut client, smuggled, 4).await;
    assert_eq!(replies[3], "554 5.6.0 The message has a bare CR or LF. Its lines must end in CRLF");
    assert!(world.log.has("`legacy: true`"));
    // The session goes on, over another connection: the one before had half a message on it.
    assert_eq!(codes(&say(&mut client, message(ALICE, BOB, "good"), 4).await), ["250", "250", "354", "250"]);
    assert_eq!(inbox(&world, BOB).len(), 1);

    let world = setup(LEGACY).start().await;
    let mut printer = Client::connect(world.address("smtp"), Smtp).await;
    printer.hear("220 ").await;
    let login = crate::session::support::plain(ALICE, ALICES);
    let replies = say(&mut printer, format!("HELO\nauth plain {login}\n"), 2).await;
    assert_eq!(codes(&replies), ["250", "235"]);
    let text = format!("mail from: {ALICE}\n\nrcpt to: {BOB}\ndata\nFrom: {ALICE}\n\n..dot\n.\nquit\n\x1b[A");
    assert_eq!(codes(&say(&mut printer, text, 5).await), ["250", "250", "354", "250", "221"]);
    assert_eq!(inbox(&world, BOB), [format!("From: {ALICE}\r\n\r\n.dot\r\n")]);
}

#[tokio::test]
async fn a_client_that_dies_in_its_message_has_sent_nothing() {
    for listener in [LEGACY, BY_GRAPH] {
        let world = setup(listener).start().await;
        let whole = message(ALICE, BOB, "never");
        for cut in [whole.len() - 1, whole.len() - 5, whole.len() - 20] {
            let mut client = world.session(Smtp, ALICE, ALICES).await;
            client.send(&whole[..cut]).await;
            client.hear("354 ").await;
            drop(client);
        }
        world.until("all have ended", || world.log.lines(|it| it.contains("cause=client-broke")).len() == 3).await;
        let mut client = world.session(Smtp, ALICE, ALICES).await;
        say(&mut client, message(ALICE, BOB, "after all"), 4).await;
        assert_eq!(inbox(&world, BOB).len(), 1);
    }
}

#[tokio::test]
async fn graph_takes_messages_and_its_words_come_back() {
    let world = setup(BY_GRAPH).start().await;
    let mut client = world.client(Smtp).await;
    assert!(String::from_utf8_lossy(&client.heard).contains("SIZE 3000000\r\n"));
    assert!(!String::from_utf8_lossy(&client.heard).contains("DSN"));
    assert!(client.log_in(ALICE, ALICES).await.starts_with("235 "));
    let replies = say(&mut client, message(ALICE, BOB, "by Graph"), 4).await;
    assert!(replies[3].starts_with("250 2.0.0 Accepted by Microsoft Graph, request "), "{replies:?}");
    assert_eq!(inbox(&world, BOB).len(), 1);
    assert_eq!(world.sandbox.counters().connections_to(Service::Smtp), 0);
    assert!(world.log.has(&format!("account={ALICE} way=graph outcome=sent")));

    let too_large = format!("MAIL FROM:<{ALICE}> SIZE=3000001");
    assert!(client.ask(&too_large, "").await.starts_with("552 5.3.4"));
    let undeclared = "x".repeat(3_000_100);
    let replies = say(&mut client, message(ALICE, BOB, &undeclared), 4).await;
    assert!(replies[3].starts_with("552 5.3.4"), "{replies:?}");

    for (fault, expected) in [
        (HttpFault::status(503), "451 4.3.2"),
        (HttpFault::code(403, "ErrorSendAsDenied"), "550 5.7.1"),
        (HttpFault::CutWhenDone, "250 2.0.0 Accepted by Microsoft Graph, a copy is in Sent Items"),
    ] {
        world.sandbox.fail_http(Service::Graph, "sendMail", fault, 1);
        let replies = say(&mut client, message(ALICE, BOB, "with a fault"), 4).await;
        assert!(replies[3].starts_with(expected), "{replies:?}");
        world.sandbox.clear_http_faults(Service::Graph);
    }
    // A token that Microsoft no longer takes is replaced, once, and the client hears nothing of it.
    world.sandbox.fail_http(Service::Graph, "sendMail", HttpFault::status(401), 1);
    let before = world.sandbox.counters().http_requests;
    let replies = say(&mut client, message(ALICE, BOB, "once more"), 4).await;
    assert!(replies[3].starts_with("250 "), "{replies:?}");
    assert_eq!(world.sandbox.counters().http_requests, before + 1);
}

/// Some programs write the address as the display name too, and readers that are strict then find
/// two addresses.
#[tokio::test]
async fn a_display_name_that_is_an_address_goes_to_graph_in_quotes() {
    let from = format!("From: {ALICE} <{ALICE}>\r\nSender: \"A\" {ALICE} <{ALICE}>\r\nTo: {BOB}\r\n\r\n");
    let message = format!("MAIL FROM:<{ALICE}>\r\nRCPT TO:<{BOB}>\r\nDATA\r\n{from}{ALICE} <{ALICE}>\r\n.\r\n");
    let quoted = format!(
        "From: \"{ALICE}\" <{ALICE}>\r\nSender: \"A\" \"{ALICE}\" <{ALICE}>\r\nTo: {BOB}\r\n\r\n{ALICE} <{ALICE}>\r\n"
    );
    // Exchange's SMTP takes the message as it is, and so it stays.
    for (listener, received) in [(BY_GRAPH, quoted), (LEGACY, format!("{from}{ALICE} <{ALICE}>\r\n"))] {
        let world = setup(listener).start().await;
        let mut client = world.session(Smtp, ALICE, ALICES).await;
        assert_eq!(codes(&say(&mut client, &message, 4).await), ["250", "250", "354", "250"]);
        assert_eq!(inbox(&world, BOB), [received], "{listener}");
    }
}

#[tokio::test]
async fn a_message_of_ten_thousand_recipients_goes_to_as_many_as_it_may() {
    let world = setup(BY_GRAPH).start().await;
    let mut client = world.session(Smtp, ALICE, ALICES).await;
    let recipients: String = (0..10_000).map(|number| format!("RCPT TO:<r{number}@fabrikam.example>\r\n")).collect();
    client.send(format!("MAIL FROM:<{ALICE}>\r\n")).await;
    assert!(reply(&mut client).await.starts_with("250 "));
    let replies = say(&mut client, recipients, 10_000).await;
    assert_eq!(replies.iter().filter(|reply| reply.starts_with("250 2.1.5")).count(), 1_000);
    assert_eq!(replies.iter().filter(|reply| reply.starts_with("452 4.5.3")).count(), 9_000);
    assert!(client.ask("RSET", "").await.starts_with("250 "));
}

#[tokio::test]
async fn auto_takes_the_way_through_graph_where_smtp_is_barred_and_remembers_it() {
    for barred in ["disabled", "unreachable"] {
        let world = match barred {
            "disabled" => {
                let world = setup(AUTO).start().await;
                world.sandbox.set_upstream_mode(Service::Smtp, UpstreamMode::SmtpAuthDisabled);
                world
            }
            _ => {
                let nobody = crate::common::port::free_address();
                setup(&AUTO.replace("{smtp}", &nobody.port().to_string())).start().await
            }
        };
        let mut client = world.session(Smtp, ALICE, ALICES).await;
        let tries = world.sandbox.counters().connections_to(Service::Smtp);
        for _ in 0..2 {
            let replies = say(&mut client, message(ALICE, BOB, "anyhow"), 4).await;
            assert!(replies[3].contains("Accepted by Microsoft Graph"), "{replies:?}");
        }
        let as_large_as_may_be = format!("MAIL FROM:<{ALICE}> SIZE=3000000\r\nRSET\r\n");
        assert_eq!(codes(&say(&mut client, as_large_as_may_be, 2).await), ["250", "250"]);
        let replies = say(&mut client, format!("MAIL FROM:<{ALICE}> SIZE=3000001\r\n"), 1).await;
        assert!(replies[0].starts_with("552 5.3.4") && replies[0].contains("Graph"), "{replies:?}");
        assert_eq!(inbox(&world, BOB).len(), 2);
        assert_eq!(world.sandbox.counters().connections_to(Service::Smtp), tries, "SMTP was tried again");
        assert_eq!(world.log.lines(|it| it.contains("(`deliver: auto`)")).len(), 1);
    }
}

#[tokio::test]
async fn auto_stays_with_smtp_when_a_fault_may_pass() {
    let world = setup(AUTO).start().await;
    for mode in [UpstreamMode::Unavailable, UpstreamMode::Bye, UpstreamMode::NotConnected] {
        world.sandbox.set_upstream_mode(Service::Smtp, mode);
        let reply = world.reply(Smtp, ALICE, ALICES).await;
        assert!(reply.starts_with("454 4.7.0"), "{mode:?}: {reply}");
    }
    assert_eq!(world.sandbox.counters().connections_to(Service::Graph), 0);
    world.sandbox.set_upstream_mode(Service::Smtp, UpstreamMode::Normal);
    let mut client = world.session(Smtp, ALICE, ALICES).await;
    let replies = say(&mut client, message(ALICE, BOB, "by SMTP"), 4).await;
    assert!(replies[3].contains("[Hostname="), "{replies:?}");
}

#[tokio::test]
async fn a_login_is_refused_where_the_mailbox_may_not_send() {
    let world = by_smtp().start().await;
    world.sandbox.set_upstream_mode(Service::Smtp, UpstreamMode::SmtpAuthDisabled);
    world.refuses(Smtp, ALICE, ALICES, Refusal::ContactAdmin, "protocol-disabled").await;
    assert!(world.log.has("`deliver: auto`"), "the remedy names the other way");
    world.refuses(Smtp, ALICE, "wrong", Refusal::InvalidCredentials, "wrong-password").await;
}

#[tokio::test]
async fn the_places_of_a_mailbox_are_held_by_messages_and_not_by_sessions() {
    let setup = Setup { limits: "  mailbox_wait: 0s", ..setup(LEGACY) };
    let world = setup.start().await;
    let mut sessions = Vec::new();
    for _ in 0..3 {
        let mut client = world.session(Smtp, ALICE, ALICES).await;
        say(&mut client, format!("MAIL FROM:<{ALICE}>\r\n"), 1).await;
        sessions.push(client);
    }
    world.refuses(Smtp, ALICE, ALICES, Refusal::Limit, "mailbox-occupied").await;
    // Another mailbox is not concerned.
    world.session(Smtp, BOB, BOBS).await;
    // Sessions without a message give their places back after a moment, and get one for their next
    // message.
    for client in &mut sessions {
        say(client, "RSET\r\n", 1).await;
    }
    world
        .until("the connections are given up", || {
            world.sandbox.counters().open_connections.get(&Service::Smtp).is_none_or(|open| *open == 0)
        })
        .await;
    for client in &mut sessions {
        assert_eq!(codes(&say(client, message(ALICE, BOB, "late"), 4).await), ["250", "250", "354", "250"]);
    }
}

#[tokio::test]
async fn a_session_between_messages_hears_goodbye_and_one_in_a_message_may_finish() {
    let world = setup(LEGACY).start().await;
    let mut idle = world.session(Smtp, ALICE, ALICES).await;
    let mut busy = world.session(Smtp, ALICE, ALICES).await;
    let whole = message(ALICE, BOB, "to the end");
    busy.send(&whole[..whole.len() - 5]).await;
    busy.hear("354 ").await;
    world.stop.drain();
    assert_eq!(idle.rest().await, "421 4.3.2 The service is stopping, try again later\r\n");
    busy.send(&whole[whole.len() - 5..]).await;
    assert!(reply(&mut busy).await.starts_with("250 "));
    assert!(busy.rest().await.starts_with("421 4.3.2 "));
    assert_eq!(world.serving.await.unwrap(), 0, "nobody was cut");
}

#[tokio::test]
async fn a_silent_client_is_told_to_go() {
    let world = Setup { limits: "  smtp_command: 200ms", ..setup(LEGACY) }.start().await;
    let mut client = world.session(Smtp, ALICE, ALICES).await;
    assert_eq!(client.rest().await, "421 4.4.2 That took too long\r\n");
}

#[tokio::test]
async fn when_exchange_is_lost_the_client_hears_whether_its_message_may_have_gone() {
    let sandbox = SandboxConfig {
        accounts: vec![SandboxAccount::new(ALICE, ALICES), SandboxAccount::new(BOB, BOBS)],
        ..SandboxConfig::default()
    };
    let bridge = Bridge::new().await;
    let listener = LEGACY.replace("{smtp}", &bridge.port.to_string());
    let setup = Setup { sandbox, ..setup(&listener) };
    let world = bridge.lead(setup).await;

    // In the middle of the message: it has not gone.
    let mut client = world.session(Smtp, ALICE, ALICES).await;
    let whole = message(ALICE, BOB, "x");
    client.send(&whole[..whole.len() - 6]).await;
    client.hear("354 ").await;
    bridge.cut();
    let large = format!("{}\r\n.\r\n", "long line\r\n".repeat(200_000));
    client.send(large).await;
    let told = reply(&mut client).await;
    assert!(told.starts_with("451 4.4.1 "), "{told}");

    // Behind its end: nobody knows.
    bridge.mend();
    let mut client = world.session(Smtp, ALICE, ALICES).await;
    client.send(&whole[..whole.len() - 3]).await;
    client.hear("354 ").await;
    bridge.deaf();
    client.send(&whole[whole.len() - 3..]).await;
    world.until("Exchange has the message", || inbox(&world, BOB).len() == 1).await;
    bridge.cut();
    let told = reply(&mut client).await;
    assert_eq!(told, "451 4.4.2 Microsoft did not confirm the message. It may have been sent");
    assert!(world.log.has("message status unknown") && world.log.has("way=smtp outcome=unknown"));
    // It was not tried again.
    assert_eq!(inbox(&world, BOB).len(), 1);
}

/// A stretch of the way to Exchange that a test can cut.
struct Bridge {
    port: u16,
    listener: std::net::TcpListener,
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Whole,
    /// What the server says is held back.
    Deaf,
    Cut,
}

impl Bridge {
    async fn new() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self { port: listener.local_addr().unwrap().port(), listener, state: watch::channel(State::Whole).0 }
    }

    /// Starts a Gatepost behind it.
    async fn lead(&self, setup: Setup) -> World {
        let (listener, state) = (self.listener.try_clone().unwrap(), self.state.subscribe());
        let (target, found) = watch::channel(0);
        tokio::spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((near, _)) = listener.accept().await {
                let (state, mut found) = (state.clone(), found.clone());
                tokio::spawn(async move {
                    let port = *found.wait_for(|port| *port != 0).await.unwrap();
                    let far = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                    let _broke = carry(near, far, state).await;
                });
            }
        });
        setup.start_with(|sandbox| target.send(sandbox.smtp().port()).unwrap()).await
    }

    fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    fn deaf(&self) {
        self.state.send_replace(State::Deaf);
    }

    fn mend(&self) {
        self.state.send_replace(State::Whole);
    }
}

async fn carry(mut near: TcpStream, mut far: TcpStream, mut state: watch::Receiver<State>) -> io::Result<()> {
    let (mut up, mut down) = (vec![0; 16_384], vec![0; 16_384]);
    loop {
        let now = *state.borrow_and_update();
        if now == State::Cut {
            return Ok(());
        }
        tokio::select! {
            changed = state.changed() => if changed.is_err() { return Ok(()) },
            read = near.read(&mut up) => match read? {
                0 => return Ok(()),
                read => far.write_all(&up[..read]).await?,
            },
            read = far.read(&mut down), if now == State::Whole => match read? {
                0 => return Ok(()),
                read => near.write_all(&down[..read]).await?,
            },
            () = tokio::time::sleep(Duration::from_secs(60)) => return Ok(()),
        }
    }
}
