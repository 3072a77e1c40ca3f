//! The socket of `gatepost sendmail`, by programs that speak SMTP over it.

use gatepost_core::protocol::MailProtocol::Smtp;
use tokio::net::UnixStream;

use crate::common::directory::Directory;
use crate::session::submission_trusted::{inbox, send, setup};
use crate::session::support::{Client, Setup, World, until};

const SCANNER: &str = "scanner@contoso.example";
const BOB: &str = "bob@contoso.example";

/// A service whose local programs send as the scanner; `keys` are of the section `sendmail`.
fn local(directory: &Directory, listener: &str, keys: &str) -> Setup {
    Setup {
        listeners: format!("\n  smtp: {{bind: '127.0.0.1:0', {listener}}}"),
        sections: format!("sendmail: {{login: {SCANNER}, socket: {}{keys}}}", directory.file("s").display()),
        ..setup("")
    }
}

const BY_SMTP: &str = "upstream: 'localhost:{smtp}'";

async fn program(directory: &Directory) -> (Client, String) {
    until("it listens", || directory.file("s").exists()).await;
    let socket = UnixStream::connect(directory.file("s")).await.unwrap();
    let mut program = Client::over(socket, Smtp);
    let greeting = program.hear("220 ").await;
    program.ask("EHLO localhost", "250 ").await;
    (program, greeting)
}

fn sent(world: &World) -> usize {
    inbox(world).len()
}

#[tokio::test]
async fn a_program_needs_no_login_and_gets_none() {
    let directory = Directory::new();
    let world = local(&directory, BY_SMTP, "").start().await;
    let (mut program, greeting) = program(&directory).await;
    assert!(greeting.ends_with(&format!(" ESMTP Gatepost, this user sends as <{SCANNER}>")), "{greeting}");
    assert!(!String::from_utf8_lossy(&program.heard).contains("AUTH"), "there is nothing to log in to");
    let reply = program.ask("AUTH PLAIN AHgAeQ==", "").await;
    assert!(reply.starts_with('5'), "{reply}");
    let content = "From: Backup <root@localhost>\r\nTo: x@y\r\n\r\nx\r\n";
    let reply = send(&mut program, "root@localhost", BOB, content).await;
    assert!(reply.starts_with("250 2.0.0 OK "), "{reply}");
    assert!(inbox(&world)[0].contains(&format!("\r\nFrom: Backup <{SCANNER}>\r\nReply-To: root@localhost\r\n")));
    assert!(world.log.has("peer=127.0.0.1:0"));
    // The listener itself trusts nobody.
    let mut stranger = Client::connect(world.address("smtp"), Smtp).await;
    stranger.greet().await;
    assert!(stranger.ask(&format!("MAIL FROM:<{SCANNER}>"), "").await.starts_with("530 "));
}

#[tokio::test]
async fn programs_send_through_graph_too() {
    let directory = Directory::new();
    let world = local(&directory, "deliver: graph, graph: 'localhost:{graph}'", &format!(", local_mail_to: {BOB}"));
    let world = world.start().await;
    let (mut program, _) = program(&directory).await;
    // `To: root` names nobody whom Graph knows: the envelope counts.
    let reply = send(&mut program, "", "root@localhost", "To: root\r\nSubject: cron\r\n\r\nx\r\n").await;
    assert!(reply.starts_with("250 "), "{reply}");
    let received = inbox(&world);
    assert!(
        received[0].contains("\r\nX-Original-To: root\r\n") || received[0].contains("Subject: cron"),
        "{received:?}"
    );
}

#[tokio::test]
async fn the_rule_holds_for_each_message_and_ends_with_the_configuration() {
    let directory = Directory::new();
    let world =
        local(&directory, BY_SMTP, ", recipient_domains: [contoso.example], messages_per_minute: 2").start().await;
    let (mut first, _) = program(&directory).await;
    let outside = send(&mut first, SCANNER, "a@example.org", "x").await;
    assert_eq!(outside, "550 5.7.1 This user may not send to <a@example.org>");
    assert!(world.log.has("in `sendmail` does not have its domain"));
    let local_name = send(&mut first, SCANNER, "root@LOCALHOST", "x").await;
    assert!(local_name.starts_with("550 5.1.1 No mailbox <root@LOCALHOST> on this machine"), "{local_name}");

    // What changes nothing for programs leaves them alone.
    world.reload(|yaml| yaml.replace("level: trace", "level: debug")).await.unwrap();
    first.works().await;
    world.reload(|yaml| yaml.replace("recipient_domains: [contoso.example], ", "")).await.unwrap();
    first.hear("421 4.3.2 ").await;
    assert_eq!(first.rest().await, "");
    let (mut second, _) = program(&directory).await;
    second.works().await;
    let refused = world.reload(|yaml| yaml.replace("/s,", "/other,")).await.unwrap_err().to_string();
    assert!(refused.contains("sendmail"), "{refused}");
}

#[tokio::test]
async fn a_stop_ends_waiting_programs_and_removes_the_socket() {
    let directory = Directory::new();
    let world = local(&directory, BY_SMTP, "").start().await;
    let (mut waiting, _) = program(&directory).await;
    world.stop.drain();
    waiting.hear("421 4.3.2 ").await;
    assert_eq!(world.serving.await.unwrap(), 0, "nothing was cut");
    assert!(!directory.file("s").exists());
}

#[tokio::test]
async fn a_message_that_has_begun_is_finished_before_the_end() {
    let directory = Directory::new();
    let world = local(&directory, BY_SMTP, "").start().await;
    let (mut busy, _) = program(&directory).await;
    for (line, end) in
        [(format!("MAIL FROM:<{SCANNER}>"), "250 "), (format!("RCPT TO:<{BOB}>"), "250 "), ("DATA".into(), "354 ")]
    {
        busy.ask(&line, end).await;
    }
    world.stop.drain();
    world.until("the socket is gone", || !directory.file("s").exists()).await;
    busy.ask("Subject: late\r\n\r\nx\r\n.", "250 ").await;
    busy.hear("421 4.3.2 ").await;
    assert_eq!(sent(&world), 1);
    assert_eq!(world.serving.await.unwrap(), 0, "nothing was cut");
}
