//! POP3 out of Graph: what a mail program reads and deletes is what lies in the Inbox, and no fault
//! on the way looks like something else.

use std::time::Duration;

use gatepost_config::password_hash::hash;
use gatepost_core::failure::Refusal;
use gatepost_core::protocol::MailProtocol;
use gatepost_core::secret::Password;
use gatepost_sandbox::{HttpFault, Service};

use crate::session::support::{ALICE, ALICES, BOB, BOBS, Client, Setup, World, xoauth2};

use MailProtocol::Pop3;

const LIST: &str = "GET /mailFolders/{id}/messages";
const VALUE: &str = "GET /messages/{id}/$value";
const DELETE: &str = "DELETE /messages/{id}";

fn setup() -> Setup {
    Setup {
        listeners: "\n  pop3: {bind: '127.0.0.1:0', upstream: graph, graph: 'localhost:{graph}'}".to_owned(),
        ..Setup::default()
    }
}

/// Alice with so many messages; the body of number `n` is the line `n`, and one that begins with a
/// dot.
async fn world(messages: usize) -> World {
    started(setup(), messages).await
}

async fn started(setup: Setup, messages: usize) -> World {
    let world = setup.start().await;
    world.sandbox.empty(ALICE);
    for number in 1..=messages {
        assert!(world.sandbox.deliver(ALICE, message(number).as_bytes()));
    }
    world
}

fn message(number: usize) -> String {
    format!("From: bob@contoso.example\r\nSubject: {number}\r\n\r\n{number}\r\n.dots\r\n")
}

/// The lines of a reply of several, without the first one and with the dots that were put in front
/// taken away.
async fn lines(client: &mut Client, command: &str) -> Vec<String> {
    client.ask(command, "+OK").await;
    let mut lines = Vec::new();
    loop {
        let line = client.line().await.expect("the reply breaks off");
        if line == "." {
            return lines;
        }
        lines.push(line.strip_prefix('.').unwrap_or(&line).to_owned());
    }
}

fn calls(world: &World, call: &str) -> u64 {
    world.sandbox.counters().calls_of(Service::Graph, ALICE, call)
}

#[tokio::test]
async fn messages_are_read_and_deleted_as_in_any_maildrop() {
    let world = world(3).await;
    let mut client = world.session(Pop3, ALICE, ALICES).await;
    assert!(client.ask("STAT", "").await.starts_with("+OK 3 "));
    assert_eq!(lines(&mut client, "LIST").await.len(), 3);
    let ids = lines(&mut client, "UIDL").await;
    for number in 1..=3 {
        let text = lines(&mut client, &format!("RETR {number}")).await.join("\r\n") + "\r\n";
        assert_eq!(text, message(number), "the oldest is the first");
        assert_eq!(client.ask(&format!("LIST {number}"), "").await, format!("+OK {number} {}", text.len()));
    }
    assert_eq!(lines(&mut client, "TOP 2 1").await, ["From: bob@contoso.example", "Subject: 2", "", "2"]);
    client.ask("DELE 2", "+OK").await;
    assert_eq!(client.ask("RETR 2", "").await, "-ERR There is no such message");
    assert_eq!(world.sandbox.messages(ALICE, "INBOX").len(), 3, "nothing is deleted before QUIT");
    assert_eq!(client.ask("QUIT", "").await, "+OK Bye, the marked messages are deleted");
    assert_eq!(client.rest().await, "");
    assert_eq!(world.sandbox.messages(ALICE, "INBOX").len(), 2);
    assert_eq!(world.sandbox.messages(ALICE, "Deleted Items").len(), 1);

    let mut client = world.session(Pop3, ALICE, ALICES).await;
    let ids_left = lines(&mut client, "UIDL").await;
    let unique = |line: &String| line.split_once(' ').unwrap().1.to_owned();
    assert_eq!(ids_left.iter().map(unique).collect::<Vec<_>>(), [unique(&ids[0]), unique(&ids[2])]);
    assert!(world.log.has("cause=quit") && world.log.has("deleted=1 left=0"));
}

#[tokio::test]
async fn a_session_that_does_not_end_with_quit_deletes_nothing() {
    let world = world(2).await;
    let mut client = world.session(Pop3, ALICE, ALICES).await;
    client.ask("DELE 1", "+OK").await;
    drop(client);
    world.until("the session ended", || world.log.has("cause=client-ended")).await;
    assert_eq!(world.sandbox.messages(ALICE, "INBOX").len(), 2);
    assert_eq!(calls(&world, DELETE), 0);
}

#[tokio::test]
async fn commands_may_come_before_the_replies_to_those_before_them() {
    let world = world(2).await;
    let mut client = world.client(Pop3).await;
    client
        .send(format!(
            "USER {ALICE}\r\nPASS {ALICES}\r\nSTAT\r\nRETR 1\r\nNOOP\r\nDELE 1\r\nRETR 2\r\nQUIT\r\nNOOP\r\n"
        ))
        .await;
    let said = client.rest().await;
    let texts: Vec<_> = [1, 2].map(|number| message(number).replace("\r\n.", "\r\n..")).into();
    let begin = "+OK\r\n+OK Logged in\r\n+OK 2 ";
    let end = format!(
        "\r\n+OK Message follows\r\n{}.\r\n+OK\r\n+OK Marked for deletion\r\n+OK Message follows\r\n{}.\r\n\
         +OK Bye, the marked messages are deleted\r\n",
        texts[0], texts[1]
    );
    assert!(said.starts_with(begin) && said.ends_with(&end), "{said}");
    assert_eq!(world.sandbox.messages(ALICE, "INBOX").len(), 1);
}

#[tokio::test]
async fn five_thousand_messages_are_listed_with_six_requests() {
    let world = world(5_001).await;
    let mut client = world.session(Pop3, ALICE, ALICES).await;
    assert_eq!(calls(&world, LIST), 1, "the login waits for the first part only");
    let ids = lines(&mut client, "UIDL").await;
    assert_eq!(ids.len(), 5_001);
    let unique: std::collections::HashSet<_> = ids.iter().map(|line| line.split_once(' ').unwrap().1).collect();
    assert_eq!(unique.len(), 5_001);
    assert!(ids.iter().all(|line| line.split_once(' ').unwrap().1.len() <= 70));
    assert_eq!(lines(&mut client, "LIST").await.len(), 5_001);
    assert!(client.ask("STAT", "").await.starts_with("+OK 5001 "));
    assert_eq!(calls(&world, LIST), 6);
    assert_eq!(lines(&mut client, "TOP 5001 0").await[1], "Subject: 5001");
    assert_eq!((calls(&world, LIST), calls(&world, VALUE)), (6, 1));
}

#[tokio::test]
async fn of_more_messages_than_fit_the_oldest_are_shown() {
    let world = started(Setup { limits: "  maildrop_messages: 1500", ..setup() }, 2_100).await;
    let mut client = world.session(Pop3, ALICE, ALICES).await;
    assert!(client.ask("STAT", "").await.starts_with("+OK 1500 "));
    assert_eq!(calls(&world, LIST), 2);
    assert_eq!(lines(&mut client, "TOP 1500 0").await[1], "Subject: 1500");
    assert!(world.log.has("raise `limits.maildrop_messages`"));
}

#[tokio::test]
async fn an_empty_inbox_is_no_fault() {
    let world = world(0).await;
    let mut client = world.session(Pop3, ALICE, ALICES).await;
    assert_eq!(client.ask("STAT", "").await, "+OK 0 0");
    assert_eq!(lines(&mut client, "LIST").await, Vec::<String>::new());
    assert_eq!(client.ask("RETR 1", "").await, "-ERR There is no such message");
    assert_eq!(client.ask("QUIT", "").await, "+OK Bye");
}

#[tokio::test]
async fn every_message_arrives_whole_whatever_its_lines_end_in() {
    let world = world(0).await;
    let mut large = b"Subject: large\r\n\r\n".to_vec();
    while large.len() < 2_000_000 {
        large.extend_from_slice(format!(".{}\r\n", large.len()).as_bytes());
    }
    let messages: [(&[u8], &[u8]); 5] = [
        (b"Subject: no end\r\n\r\nend", b"Subject: no end\r\n\r\nend\r\n"),
        (b"Subject: unix\n\n.\n..\nend\n", b"Subject: unix\r\n\r\n.\r\n..\r\nend\r\n"),
        (b"Subject: header", b"Subject: header\r\n"),
        (b"Subject: 8 bit\r\n\r\n\xE4\xF6\r\n", b"Subject: 8 bit\r\n\r\n\xE4\xF6\r\n"),
        (&large, &large),
    ];
    for (stored, _) in messages {
        assert!(world.sandbox.deliver(ALICE, stored));
    }
    let mut client = world.session(Pop3, ALICE, ALICES).await;
    client.send("RETR 1\r\nRETR 2\r\nRETR 3\r\nRETR 4\r\nRETR 5\r\nQUIT\r\n").await;
    let said = client.rest_octets().await;
    let mut expected = Vec::new();
    for (_, sent) in messages {
        expected.extend_from_slice(b"+OK Message follows\r\n");
        for line in sent.split_inclusive(|octet| *octet == b'\n') {
            if line.starts_with(b".") {
                expected.push(b'.');
            }
            expected.extend_from_slice(line);
        }
        expected.extend_from_slice(b".\r\n");
    }
    expected.extend_from_slice(b"+OK Bye\r\n");
    assert!(said == expected, "{} octets, {} were expected", said.len(), expected.len());
}

#[tokio::test]
async fn a_message_that_breaks_off_is_not_taken_for_complete() {
    let world = world(1).await;
    let mut client = world.session(Pop3, ALICE, ALICES).await;
    client.ask("STAT", "+OK").await;
    world.sandbox.fail_http(Service::Graph, VALUE, HttpFault::CutInAnswer, 1);
    client.ask("RETR 1", "+OK").await;
    let rest = client.rest().await;
    assert!(!rest.contains("\r\n.\r\n") && rest.len() < message(1).len(), "{rest}");
    world.until("the session ended", || world.log.has("cause=message-broke")).await;
    assert!(world.log.has("broke in the middle of an answer"));
}

#[tokio::test]
async fn a_message_that_is_gone_is_told_and_the_session_goes_on() {
    let world = world(2).await;
    let mut client = world.session(Pop3, ALICE, ALICES).await;
    client.ask("STAT", "+OK").await;
    world.sandbox.fail_http(Service::Graph, VALUE, HttpFault::code(404, "ErrorItemNotFound"), 1);
    assert_eq!(client.ask("RETR 1", "").await, "-ERR That message has been deleted or moved elsewhere");
    assert_eq!(lines(&mut client, "RETR 2").await[1], "Subject: 2");
    client.ask("DELE 1", "+OK").await;
    world.sandbox.fail_http(Service::Graph, DELETE, HttpFault::code(404, "ErrorItemNotFound"), 1);
    assert!(client.ask("QUIT", "").await.starts_with("+OK"), "what is gone need not be deleted");
}

#[tokio::test]
async fn temporary_faults_of_a_command_are_told_as_such() {
    let world = world(1).await;
    let mut client = world.session(Pop3, ALICE, ALICES).await;
    client.ask("STAT", "+OK").await;
    for (fault, times, cause) in [
        (HttpFault::status(503), 3, "throttled"),
        (HttpFault::status(500), 3, "upstream-failed"),
        (HttpFault::status(401), 2, "token-expired"),
        (HttpFault::Cut, 3, "upstream-broke"),
        (HttpFault::Html, 1, "not-graph"),
        (HttpFault::Redirect, 1, "not-graph"),
        (HttpFault::throttled(Duration::from_secs(3_000)), 1, "throttled"),
    ] {
        world.sandbox.fail_http(Service::Graph, VALUE, fault.clone(), times);
        let reply = client.ask("RETR 1", "").await;
        assert!(reply.starts_with("-ERR [SYS/TEMP] "), "{fault:?}: {reply}");
        assert!(world.log.has(&format!("outcome=degraded cause={cause} ")), "{fault:?}");
        world.sandbox.clear_http_faults(Service::Graph);
    }
}

#[tokio::test]
async fn a_short_wait_is_waited_and_a_lost_connection_is_opened_anew() {
    let world = world(1).await;
    let mut client = world.session(Pop3, ALICE, ALICES).await;
    for fault in [HttpFault::throttled(Duration::from_secs(1)), HttpFault::status(502), HttpFault::Cut] {
        world.sandbox.fail_http(Service::Graph, VALUE, fault, 1);
        assert_eq!(lines(&mut client, "RETR 1").await[1], "Subject: 1");
    }
}

#[tokio::test]
async fn what_was_not_deleted_is_told() {
    let world = world(9).await;
    let mut client = world.session(Pop3, ALICE, ALICES).await;
    for number in 1..=9 {
        client.ask(&format!("DELE {number}"), "+OK").await;
    }
    world.sandbox.fail_http(Service::Graph, DELETE, HttpFault::code(403, "ErrorAccessDenied"), 2);
    assert!(
        client.ask("QUIT", "").await.starts_with("-ERR [SYS/TEMP] 2 marked messages were not deleted, try again later")
    );
    assert_eq!(world.sandbox.messages(ALICE, "INBOX").len(), 2);
    assert!(world.log.has("deleted=7 left=2") && world.log.has("mailbox-denied"));
    assert!(world.sandbox.counters().concurrent_calls[&(Service::Graph, ALICE.to_owned())] <= 4);
}

#[tokio::test]
async fn where_nothing_can_be_deleted_it_is_not_tried_for_long_and_all_of_it_is_told() {
    let world = world(20).await;
    let mut client = world.session(Pop3, ALICE, ALICES).await;
    for number in 1..=20 {
        client.ask(&format!("DELE {number}"), "+OK").await;
    }
    world.sandbox.fail_http(Service::Graph, DELETE, HttpFault::code(403, "ErrorAccessDenied"), 20);
    let reply = client.ask("QUIT", "").await;
    assert!(reply.starts_with("-ERR [SYS/TEMP] 20 marked messages were not deleted, try again later"), "{reply}");
    // The fifth that fails is the last, and three others are under way then.
    assert_eq!(calls(&world, DELETE), 8);
    assert!(world.log.has("deleted=0 left=20"));
    assert_eq!(world.sandbox.messages(ALICE, "INBOX").len(), 20);
}

#[tokio::test]
async fn the_end_of_a_session_is_told_with_what_went_over_it() {
    let world = world(3).await;
    let mut client = world.session(Pop3, ALICE, ALICES).await;
    client.heard.clear();
    let commands = ["STAT", "UIDL", "RETR 1", "RETR 2", "QUIT"];
    for command in commands {
        match command {
            "STAT" | "QUIT" => drop(client.ask(command, "+OK").await),
            _ => drop(lines(&mut client, command).await),
        }
    }
    assert_eq!(client.rest().await, "");
    let sent: usize = commands.iter().map(|command| command.len() + 2).sum();
    world.until("the session ended", || world.log.has("outcome=ended")).await;
    let told = format!("bytes_sent={sent} bytes_received={}", client.heard.len());
    let ended = world.log.lines(|line| line.contains("outcome=ended"));
    assert!(ended.len() == 1 && ended[0].ends_with(&told), "{told}: {ended:?}");
}

#[tokio::test]
async fn a_message_of_which_the_client_wants_the_beginning_does_not_cost_the_connection() {
    let world = world(0).await;
    let long = format!("Subject: long\r\n\r\n{}", "line\r\n".repeat(8_000));
    assert!(world.sandbox.deliver(ALICE, long.as_bytes()));
    let mut client = world.session(Pop3, ALICE, ALICES).await;
    client.ask("STAT", "+OK").await;
    let connections = || world.sandbox.counters().connections_to(Service::Graph);
    let before = connections();
    for _ in 0..5 {
        assert_eq!(lines(&mut client, "TOP 1 1").await, ["Subject: long", "", "line"]);
    }
    assert_eq!((connections(), calls(&world, VALUE)), (before, 5));
}

#[tokio::test]
async fn a_mailbox_that_cannot_be_read_shows_at_the_login() {
    let world = world(1).await;
    for (fault, times, refusal, cause) in [
        (HttpFault::code(403, "ErrorAccessDenied"), 1, Refusal::ContactAdmin, "mailbox-denied"),
        (HttpFault::code(404, "MailboxNotEnabledForRESTAPI"), 1, Refusal::ContactAdmin, "no-mailbox"),
        (HttpFault::status(503), 3, Refusal::Unavailable, "throttled"),
        (HttpFault::Cut, 3, Refusal::Unavailable, "upstream-broke"),
        (HttpFault::Html, 1, Refusal::Unavailable, "not-graph"),
        (HttpFault::throttled(Duration::from_secs(3_000)), 1, Refusal::Unavailable, "throttled"),
    ] {
        world.sandbox.fail_http(Service::Graph, LIST, fault, times);
        world.refuses(Pop3, ALICE, ALICES, refusal, cause).await;
        world.sandbox.clear_http_faults(Service::Graph);
    }
}

#[tokio::test]
async fn without_consent_to_read_the_tenants_administrator_is_named() {
    let world = world(1).await;
    world.sandbox.set_graph_consent(Some(&["Mail.Send"]));
    world.refuses(Pop3, ALICE, ALICES, Refusal::ContactAdmin, "permission-missing").await;
    assert!(world.log.has("the token lacks Mail.ReadWrite (it has Mail.Send)"));
}

#[tokio::test]
async fn a_token_that_is_refused_is_replaced_once() {
    let world = world(2).await;
    let mut client = world.session(Pop3, ALICE, ALICES).await;
    client.ask("QUIT", "+OK").await;
    // The token of the first login is at hand; a revoked one looks like that.
    world.sandbox.fail_http(Service::Graph, LIST, HttpFault::status(401), 1);
    let mut client = world.session(Pop3, ALICE, ALICES).await;
    assert!(client.ask("STAT", "").await.starts_with("+OK 2 "));
}

#[tokio::test]
async fn an_application_gets_another_token_in_the_middle_of_a_session() {
    let hash = hash(&Password::new("of-the-ticket-system".into())).unwrap();
    let setup = Setup {
        microsoft: "  grant: client_credentials\n  client_id: '{confidential}'\n  client_secret: sandbox-secret\n",
        accounts: format!("\n  - {{login: '{ALICE}', passwords: ['{hash}']}}"),
        ..setup()
    };
    let world = started(setup, 3).await;
    let mut client = world.session(Pop3, ALICE, "of-the-ticket-system").await;
    client.ask("STAT", "+OK").await;
    world.sandbox.fail_http(Service::Graph, VALUE, HttpFault::status(401), 1);
    assert_eq!(lines(&mut client, "RETR 1").await[1], "Subject: 1");
    client.ask("DELE 1", "+OK").await;
    client.ask("DELE 2", "+OK").await;
    assert!(client.ask("QUIT", "").await.starts_with("+OK"));
    assert_eq!(world.sandbox.messages(ALICE, "INBOX").len(), 1);
}

/// What the session goes on by without its password is the account as it was at the login.
#[tokio::test]
async fn an_account_that_changed_gets_no_other_token_in_the_middle_of_a_session() {
    let [first, second] = ["the-first-one", "the-second-one"].map(|word| hash(&Password::new(word.into())).unwrap());
    let setup = Setup {
        microsoft: "  grant: client_credentials\n  client_id: '{confidential}'\n  client_secret: sandbox-secret\n",
        accounts: format!("\n  - {{login: '{ALICE}', passwords: ['{first}']}}"),
        ..setup()
    };
    let world = started(setup, 3).await;
    let mut client = world.session(Pop3, ALICE, "the-first-one").await;
    client.ask("STAT", "+OK").await;
    world.reload(|yaml| yaml.replace(&first, &second)).await.unwrap();
    assert_eq!(lines(&mut client, "RETR 1").await[1], "Subject: 1", "its token is good");
    world.sandbox.fail_http(Service::Graph, VALUE, HttpFault::status(401), 1);
    client.ask("RETR 1", "-ERR [SYS/PERM]").await;
    assert!(world.log.has("cause=account-changed"));
}

#[tokio::test]
async fn a_maildrop_is_open_once() {
    let world = world(1).await;
    let mut first = world.session(Pop3, ALICE, ALICES).await;
    world.refuses(Pop3, ALICE, ALICES, Refusal::Limit, "maildrop-in-use").await;
    let _bob = world.session(Pop3, BOB, BOBS).await;
    first.ask("QUIT", "+OK").await;
    world.session(Pop3, ALICE, ALICES).await;
}

#[tokio::test]
async fn a_wrong_password_is_never_shown_to_graph() {
    let world = world(1).await;
    world.refuses(Pop3, ALICE, "wrong-password", Refusal::InvalidCredentials, "wrong-password").await;
    assert_eq!(calls(&world, LIST), 0);
}

#[tokio::test]
async fn a_client_with_a_token_of_its_own_needs_one_for_graph() {
    let world = world(1).await;
    let log_in = |token: String| {
        let world = &world;
        async move {
            let mut client = world.client(Pop3).await;
            client.ask("AUTH XOAUTH2", "+").await;
            client.ask(&xoauth2(ALICE, &token), "").await
        }
    };
    let graph = world.sandbox.issue_graph_token(Some(ALICE)).unwrap().expose().to_owned();
    assert!(log_in(graph).await.starts_with("+OK"));
    let exchange = world.sandbox.issue_token(ALICE).unwrap().expose().to_owned();
    let reply = log_in(exchange).await;
    world.was_refused(Pop3, &reply, Refusal::InvalidCredentials, "token-refused");
}

#[tokio::test]
async fn an_idle_session_ends_without_deleting() {
    let world = started(Setup { limits: "  pop3_idle: 300ms", ..setup() }, 1).await;
    let mut client = world.session(Pop3, ALICE, ALICES).await;
    client.ask("DELE 1", "+OK").await;
    assert_eq!(client.rest().await, "");
    world.until("the session ended", || world.log.has("cause=idle")).await;
    assert_eq!(world.sandbox.messages(ALICE, "INBOX").len(), 1);
}

#[tokio::test]
async fn what_is_announced_holds_before_and_after_the_login() {
    let world = world(0).await;
    let mut client = world.client(Pop3).await;
    let before = lines(&mut client, "CAPA").await;
    client.ask(&format!("USER {ALICE}"), "+OK").await;
    client.ask(&format!("PASS {ALICES}"), "+OK").await;
    let after = lines(&mut client, "CAPA").await;
    for capability in ["TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "EXPIRE NEVER"] {
        assert!(before.iter().any(|line| line == capability) && after.iter().any(|line| line == capability));
    }
    assert!(before.iter().chain(&after).all(|line| line != "PIPELINING" && line != "UTF8"));
}
