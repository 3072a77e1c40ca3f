//! As whom those may send who log in: what `sender` says on a listener and for an account, and which
//! mailboxes one login sends from (`send_as`).

use gatepost_core::protocol::MailProtocol::Smtp;
use gatepost_core::secret::Password;
use gatepost_sandbox::{SandboxAccount, SandboxConfig, Service, UpstreamMode};

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

/// The user name of a program that sends for many, and has no mailbox of its own.
const APP: &str = "app@contoso.example";
const APPS: &str = "a password of the program";
const SALES: &str = "sales@contoso.example";
const INFO: &str = "info@fabrikam.example";

/// A listener with these keys, and an account for the program with these.
async fn sends_for_many(listener: &str, account: &str, limits: &'static str) -> World {
    let hash = gatepost_config::password_hash::hash(&Password::new(APPS.into())).unwrap();
    let of_tenant = [SALES, INFO, BOB].map(|user| SandboxAccount::new(user, "known-to-entra-only")).into();
    let setup = Setup {
        listeners: format!("\n  smtp: {{bind: '127.0.0.1:0', {listener}}}"),
        accounts: format!(
            "\n  - {{login: {APP}, passwords: ['{hash}'], send_as: [{SALES}, Fabrikam.example], {account}}}"
        ),
        sandbox: SandboxConfig { accounts: of_tenant, ..SandboxConfig::default() },
        microsoft: "  grant: client_credentials\n  client_id: '{confidential}'\n  client_secret: sandbox-secret",
        limits,
        ..Setup::default()
    };
    setup.start().await
}

/// How many messages have left from a mailbox, over SMTP and through Graph.
fn left(world: &World, mailbox: &str) -> u64 {
    let counters = world.sandbox.counters();
    let logins = counters.logins_of(Service::Smtp, mailbox).succeeded;
    logins + counters.submissions.get(&(Service::Graph, mailbox.to_owned())).map_or(0, |sent| sent.succeeded)
}

fn message(from: &str) -> String {
    format!("From: {from}\r\nTo: {BOB}\r\n\r\ntext")
}

#[tokio::test]
async fn one_login_sends_as_many_mailboxes() {
    for listener in [BY_SMTP, BY_GRAPH, AUTO] {
        let world = sends_for_many(listener, "", "").await;
        let mut client = world.session(Smtp, APP, APPS).await;
        let idle = world.sandbox.counters();
        let nobody = !idle.connections.contains_key(&Service::Graph) && idle.logins.is_empty();
        assert!(nobody, "a mailbox was opened before anybody named one");
        for (number, mailbox) in [SALES, INFO, SALES].into_iter().enumerate() {
            let reply = send(&mut client, mailbox, BOB, &message(mailbox)).await;
            assert!(reply.starts_with("250 "), "{listener}, {mailbox}: {reply}");
            assert!(inbox(&world)[number].ends_with(&format!("{}\r\n", message(mailbox))));
            assert!(world.log.has(&format!("mailbox={mailbox} reply=\"250 ")), "{listener}");
        }
        assert_eq!((left(&world, SALES), left(&world, INFO), left(&world, APP)), (2, 1, 0), "{listener}");
    }
}

/// What sends with the sendmail command writes the user of the machine into MAIL FROM, and many
/// programs write their login there.
#[tokio::test]
async fn where_mail_from_names_nobody_from_decides() {
    for listener in [BY_SMTP, BY_GRAPH, AUTO] {
        let world = sends_for_many(listener, "sender: forced", "").await;
        let mut client = world.session(Smtp, APP, APPS).await;
        for (number, sender) in ["www-data@web-1.localdomain", "", APP].into_iter().enumerate() {
            let content =
                format!("X-Long: {}\r\nFrom: Sales <Sales@Contoso.example>\r\nTo: {BOB}\r\n\r\ntext", "x".repeat(900));
            let reply = send(&mut client, sender, BOB, &content).await;
            assert!(reply.starts_with("250 "), "{listener}, {sender}: {reply}");
            assert!(inbox(&world)[number].ends_with(&format!("{content}\r\n")), "{listener}");
        }
        client.ask("MAIL FROM:www-data", "250 ").await;
        client.ask("RSET", "250 ").await;
        // Exchange judges the recipients later than the client asks, and then for all of them.
        client.ask("MAIL FROM:<>", "250 ").await;
        client.ask("RCPT TO:<nobody@contoso.example>", "250 ").await;
        client.ask(&format!("RCPT TO:<{BOB}>"), "250 ").await;
        client.ask("DATA", "354 ").await;
        let content = format!("From: {INFO}\r\nTo: {BOB}, nobody@contoso.example\r\n\r\ntext\r\n.");
        let reply = client.ask(&content, "").await;
        if listener == BY_GRAPH {
            assert!(reply.starts_with("250 "), "{reply}");
        } else {
            assert!(reply.starts_with("550 5.1.10 "), "{listener}: {reply}");
            assert_eq!(inbox(&world).len(), 3, "{listener}");
        }
        // The session goes on.
        assert!(send(&mut client, INFO, BOB, &message(INFO)).await.starts_with("250 "), "{listener}");
    }
}

#[tokio::test]
async fn a_sender_outside_the_list_is_refused_or_becomes_the_accounts_own() {
    for (rule, at_mail) in [("sender: free", false), ("sender: checked", true)] {
        for listener in [BY_SMTP, BY_GRAPH] {
            let world = sends_for_many(listener, rule, "").await;
            let mut client = world.session(Smtp, APP, APPS).await;
            let refused = "550 5.7.60 Not allowed to send as <boss@contoso.example>";
            let reply = client.ask("MAIL FROM:<boss@contoso.example>", "").await;
            assert_eq!(reply == refused, at_mail, "{reply}");
            client.ask("RSET", "250 ").await;
            for sender in ["", "boss@contoso.example"] {
                let reply = send(&mut client, sender, BOB, &message("boss@contoso.example")).await;
                assert_eq!(reply, refused, "{rule}, {sender}");
            }
            assert!(world.log.has("cause=sender-not-allowed"));
            let heard = world.sandbox.counters();
            assert!(heard.logins.is_empty() && heard.submissions.is_empty(), "Microsoft heard of it");
        }
    }
    let world = sends_for_many(BY_SMTP, &format!("sender: forced, mailbox: {INFO}"), "").await;
    let mut client = world.session(Smtp, APP, APPS).await;
    let reply = send(&mut client, "root@localhost", BOB, &message("Boss <boss@contoso.example>")).await;
    assert!(reply.starts_with("250 "), "{reply}");
    assert!(inbox(&world)[0].contains(&format!("From: Boss <{INFO}>\r\nReply-To: boss@contoso.example\r\n")));
}

#[tokio::test]
async fn each_mailbox_has_its_own_places() {
    let world = sends_for_many(BY_SMTP, "", "  mailbox_wait: 0s\n  smtp_sessions_per_mailbox: 1").await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(world.session(Smtp, APP, APPS).await);
    }
    let [first, second, third] = &mut clients[..] else { panic!("three") };
    first.ask(&format!("MAIL FROM:<{SALES}>"), "250 ").await;
    let reply = second.ask(&format!("MAIL FROM:<{SALES}>"), "").await;
    assert!(reply.starts_with("450 4.3.2 "), "{reply}");
    second.ask(&format!("MAIL FROM:<{INFO}>"), "250 ").await;
    // Whose mailbox From decides takes no place before it has.
    third.ask("MAIL FROM:<>", "250 ").await;
    first.ask("RSET", "250 ").await;
    assert!(send(first, SALES, BOB, &message(SALES)).await.starts_with("250 "));
}

/// What From decides about is not known to be small when it begins.
#[tokio::test]
async fn a_detour_that_is_found_in_the_message_is_taken() {
    let world = sends_for_many(AUTO, "sender: forced", "").await;
    world.sandbox.set_upstream_mode(Service::Smtp, UpstreamMode::SmtpAuthDisabled);
    let mut client = world.session(Smtp, APP, APPS).await;
    let reply = send(&mut client, "root@localhost", BOB, &message(SALES)).await;
    assert!(reply.contains("Accepted by Microsoft Graph"), "{reply}");
    let large = format!("{}\r\n{}", message(SALES), "x\r\n".repeat(1_100_000));
    let reply = send(&mut client, "root@localhost", BOB, &large).await;
    assert!(reply.starts_with("552 5.3.4 "), "{reply}");
    client.ask("MAIL FROM:<> SIZE=3000001", "250 ").await;
    client.ask(&format!("RCPT TO:<{BOB}>"), "250 ").await;
    client.ask("DATA", "354 ").await;
    assert!(client.ask(&format!("{}\r\n.", message(SALES)), "").await.starts_with("552 5.3.4 "));
    assert_eq!(inbox(&world).len(), 1);
}

/// With a user's token Exchange decides, and a client's own token stays with the mailbox that it
/// named.
#[tokio::test]
async fn a_delegate_sends_as_the_mailboxes_that_exchange_lets_it() {
    let shared = |address| SandboxAccount { delegates: vec![ALICE.into()], ..SandboxAccount::new(address, "nobody") };
    let accounts = vec![SandboxAccount::new(ALICE, ALICES), SandboxAccount::new(BOB, BOBS), shared(SALES)];
    let setup = Setup {
        accounts: format!("\n  - {{login: {ALICE}, send_as: [{SALES}, {BOB}]}}"),
        sandbox: SandboxConfig { accounts, ..SandboxConfig::default() },
        ..Setup::default()
    };
    let world = setup.start().await;
    let mut client = world.session(Smtp, ALICE, ALICES).await;
    for mailbox in [SALES, ALICE] {
        assert!(send(&mut client, mailbox, BOB, &message(mailbox)).await.starts_with("250 "), "{mailbox}");
    }
    let reply = send(&mut client, BOB, BOB, &message(BOB)).await;
    assert!(!reply.starts_with("250 "), "{reply}");
    assert_eq!((left(&world, SALES), left(&world, ALICE), left(&world, BOB)), (1, 1, 0));
    let token = world.sandbox.issue_token(ALICE).unwrap();
    let mut client = world.client(Smtp).await;
    client.ask(&format!("AUTH XOAUTH2 {}", xoauth2(ALICE, token.expose())), "235 ").await;
    assert!(send(&mut client, SALES, BOB, &message(SALES)).await.starts_with("250 "), "Exchange lets Alice");
    assert_eq!((left(&world, SALES), left(&world, ALICE)), (1, 2));
}
