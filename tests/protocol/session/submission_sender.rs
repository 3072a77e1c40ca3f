//! As whom those may send who log in: what `sender` says on a listener and for an account.

use gatepost_core::protocol::MailProtocol::Smtp;

use crate::session::submission_trusted::{inbox, send};
use crate::session::support::{ALICE, ALICES, BOB, BOBS, Client, Setup, World, xoauth2};

/// What a program writes that knows nothing of mailboxes.
const FROM_ROOT: &str = "From: Cron <root@localhost>\r\nTo: x@y\r\n\r\ntext";

const BY_SMTP: &str = "upstream: 'localhost:{smtp}'";
const BY_GRAPH: &str = "deliver: graph, graph: 'localhost:{graph}'";
const AUTO: &str = "deliver: auto, upstream: 'localhost:{smtp}', graph: 'localhost:{graph}'";

/// A listener with these keys, and these accounts besides everybody.
async fn world(listener: &str, accounts: &str) -> World {
    let setup = Setup {
        listeners: format!("\n  smtp: {{bind: '127.0.0.1:0', {listener}}}"),
        accounts: format!("\n  - login: '*'{accounts}"),
        ..Setup::default()
    };
    setup.start().await
}

/// What becomes of [`FROM_ROOT`] when it must be from this mailbox.
fn from(mailbox: &str) -> String {
    format!("From: Cron <{mailbox}>\r\nReply-To: root@localhost\r\nTo: x@y\r\n\r\ntext\r\n")
}

#[tokio::test]
async fn a_program_that_logs_in_sends_as_its_mailbox_whatever_it_says() {
    for listener in [BY_SMTP, BY_GRAPH, AUTO] {
        let world = world(&format!("{listener}, sender: forced"), "").await;
        let mut client = world.session(Smtp, ALICE, ALICES).await;
        let content = FROM_ROOT.replace("x@y", BOB);
        for sender in ["root@localhost", "", BOB] {
            let reply = send(&mut client, sender, BOB, &content).await;
            assert!(reply.starts_with("250 "), "{listener}, {sender}: {reply}");
        }
        // What cannot be read is thrown away as well.
        client.ask("MAIL FROM: Cron on web-1 SIZE=100", "250 ").await;
        client.ask("RSET", "250 ").await;
        let received = inbox(&world);
        assert_eq!(received.len(), 3);
        let expected = from(ALICE).replace("x@y", BOB);
        assert!(received.iter().all(|message| message.ends_with(&expected)), "{listener}: {received:?}");
    }
}

#[tokio::test]
async fn the_account_decides_before_the_listener() {
    for (rule, account) in [("free", "forced"), ("forced", "free")] {
        let world =
            world(&format!("{BY_SMTP}, sender: {rule}"), &format!("\n  - {{login: {ALICE}, sender: {account}}}")).await;
        for (user, password, other) in [(ALICE, ALICES, BOB), (BOB, BOBS, ALICE)] {
            let mut client = world.session(Smtp, user, password).await;
            let reply = send(&mut client, other, BOB, FROM_ROOT).await;
            if (account == "forced") == (user == ALICE) {
                assert!(reply.starts_with("250 "), "{user}: {reply}");
                assert!(inbox(&world).last().unwrap().ends_with(&from(user)), "{user}");
            } else {
                assert!(reply.starts_with("550 5.7.60 SMTP; "), "{user}: {reply}");
            }
        }
    }
}

#[tokio::test]
async fn a_sender_that_is_checked_is_one_of_the_account() {
    let account = format!("\n  - {{login: {ALICE}, aliases: [ali, ali@contoso.example], mailboxes: [{BOB}]}}");
    let world = world(&format!("{BY_GRAPH}, sender: checked"), &account).await;
    let mut client = world.session(Smtp, "ali", ALICES).await;
    for (sender, from) in [(ALICE, "ALICE@Contoso.example"), ("", ALICE), ("ali@contoso.example", ALICE), (BOB, ALICE)]
    {
        let reply = send(&mut client, sender, BOB, &format!("From: {from}\r\n\r\n")).await;
        assert!(reply.starts_with("250 "), "{sender}, {from}: {reply}");
    }
    let sent = world.sandbox.counters().submissions;
    let refused = "550 5.7.60 Not allowed to send as <boss@contoso.example>";
    assert_eq!(send(&mut client, "boss@contoso.example", BOB, "\r\n").await, refused);
    for field in ["From: boss@contoso.example", "From: alice@contoso.example\r\nSender: Boss <boss@contoso.example>"] {
        assert_eq!(send(&mut client, ALICE, BOB, &format!("{field}\r\n\r\n")).await, refused, "{field}");
    }
    assert_eq!(world.sandbox.counters().submissions, sent, "Microsoft heard of it");
    let lines = world.log.lines(|line| line.contains("outcome=not-sent") && line.contains("cause=sender-not-allowed"));
    assert_eq!(lines.len(), 3);
    assert!(
        lines.iter().all(|line| line.contains("the account `alice@contoso.example` may not send as `boss@")),
        "{lines:?}"
    );
}

#[tokio::test]
async fn a_clients_own_token_does_not_choose_the_sender_either() {
    let world = world(BY_SMTP, &format!("\n  - {{login: {ALICE}, sender: forced}}")).await;
    for (user, forced) in [(ALICE, true), (BOB, false)] {
        let token = world.sandbox.issue_token(user).unwrap();
        let mut client: Client = world.client(Smtp).await;
        client.ask(&format!("AUTH XOAUTH2 {}", xoauth2(user, token.expose())), "235 ").await;
        let reply = send(&mut client, "root@localhost", BOB, FROM_ROOT).await;
        assert!(reply.starts_with(if forced { "250 " } else { "550 5.7.60 SMTP; " }), "{user}: {reply}");
    }
    assert!(inbox(&world)[0].ends_with(&from(ALICE)));
}

/// Nothing of the rule is left when a reload takes it back, and a new session is relayed again.
#[tokio::test]
async fn a_reload_changes_the_rule() {
    let rule = format!("\n  - {{login: {ALICE}, sender: forced}}");
    let world = world(BY_SMTP, &rule).await;
    let mut before = world.session(Smtp, ALICE, ALICES).await;
    assert!(send(&mut before, BOB, BOB, FROM_ROOT).await.starts_with("250 "));
    world.reload(|yaml| yaml.replace(&rule, "")).await.unwrap();
    for client in [&mut before, &mut world.session(Smtp, ALICE, ALICES).await] {
        let reply = send(client, BOB, BOB, FROM_ROOT).await;
        assert!(reply.starts_with("550 5.7.60 SMTP; "), "{reply}");
    }
    assert_eq!(inbox(&world).len(), 1);
}
