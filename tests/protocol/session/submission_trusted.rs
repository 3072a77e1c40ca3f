//! Devices that cannot log in: what `trusted_senders` lets them do, and what not.

use gatepost::login::issue::{self, Order};
use gatepost_core::account::MailAddress;
use gatepost_core::protocol::MailProtocol::Smtp;
use gatepost_sandbox::{SandboxAccount, SandboxConfig, Service, UpstreamMode};
use gatepost_store::Store as _;

use crate::session::support::{Client, Setup, World, plain};

const SCANNER: &str = "scanner@contoso.example";
const BOB: &str = "bob@contoso.example";

/// A listener that trusts loopback, by this rule; without TLS, as for devices that know only
/// versions that are gone.
pub(super) fn setup(rule: &str) -> Setup {
    let of_tenant = [SCANNER, BOB].map(|user| SandboxAccount::new(user, "known-to-entra-only")).into();
    Setup {
        listeners: format!(
            "\n  smtp: {{bind: '127.0.0.1:0', upstream: 'localhost:{{smtp}}', trusted_senders: [{{from: 127.0.0.1, login: {SCANNER}{rule}}}]}}"
        ),
        accounts: format!("\n  - {{login: {SCANNER}, aliases: [scan7, copier@contoso.example]}}"),
        sandbox: SandboxConfig { accounts: of_tenant, ..SandboxConfig::default() },
        microsoft: "  grant: client_credentials\n  client_id: '{confidential}'\n  client_secret: sandbox-secret",
        ..Setup::default()
    }
}

pub(super) async fn device(world: &World) -> Client {
    let mut device = Client::connect(world.address("smtp"), Smtp).await;
    device.hear("220 ").await;
    device.ask("HELO scanner", "250 ").await;
    device
}

/// The replies to a message, up to the first that is none of the usual.
pub(super) async fn send(device: &mut Client, sender: &str, recipient: &str, content: &str) -> String {
    let mut reply = device.ask(&format!("MAIL FROM:<{sender}>"), "").await;
    for (usual, next) in
        [("250 ", format!("RCPT TO:<{recipient}>")), ("250 ", "DATA".into()), ("354 ", format!("{content}\r\n."))]
    {
        if !reply.starts_with(usual) {
            device.ask("RSET", "250 ").await;
            return reply;
        }
        reply = device.ask(&next, "").await;
    }
    reply
}

/// What Bob has received, besides the samples that lie there.
pub(super) fn inbox(world: &World) -> Vec<String> {
    let messages = world.sandbox.messages(BOB, "INBOX");
    let text = |content: &[u8]| String::from_utf8(content.to_vec()).unwrap();
    messages.iter().map(|content| text(content)).filter(|text| !text.contains("<sample-")).collect()
}

#[tokio::test]
async fn a_device_sends_as_its_mailbox_whatever_it_says() {
    let world = setup("").start().await;
    let mut device = device(&world).await;
    let content = "From: Copier <root@localhost>\r\nTo: Bob <bob@contoso.example>\r\n\r\nFrom: a@b\r\n";
    let reply = send(&mut device, "root@localhost", BOB, content).await;
    assert!(reply.starts_with("250 2.0.0 OK "), "{reply}");
    let received = inbox(&world);
    let expected = format!(
        "From: Copier <{SCANNER}>\r\nReply-To: root@localhost\r\nTo: Bob <bob@contoso.example>\r\n\r\nFrom: a@b\r\n\r\n"
    );
    assert!(received[0].ends_with(&expected), "{}", received[0]);
    assert!(world.log.has(&format!("account={SCANNER} trusted=127.0.0.1/32 way=smtp outcome=sent")));
    assert!(world.log.has("token=\"of a trusted sender\""));
    // No login was needed, and none is possible without a password of the account.
    let reply = world.reply(Smtp, SCANNER, "known-to-entra-only").await;
    assert!(reply.starts_with("535 "), "{reply}");
}

#[tokio::test]
async fn a_sender_that_nobody_can_read_is_thrown_away_like_any_other() {
    let unreadable =
        ["<Copier, 2nd floor> SIZE=9", "root", "<root>", "Copier <root@localhost>", "<kopierer@b\u{fc}ro>", ""];
    let world = setup(", messages_per_minute: 1000").start().await;
    let mut forced = device(&world).await;
    for sender in unreadable {
        for (line, end) in [
            (format!("MAIL FROM:{sender}"), "250 "),
            (format!("RCPT TO:<{BOB}>"), "250 "),
            ("DATA".to_owned(), "354 "),
            ("Subject: scan\r\n\r\nx\r\n.".to_owned(), "250 2.0.0 OK "),
        ] {
            let reply = forced.ask(&line, "").await;
            assert!(reply.starts_with(end), "{sender}: {reply}");
        }
    }
    let received = inbox(&world);
    assert_eq!(received.len(), unreadable.len());
    assert!(received.iter().all(|message| message.contains(&format!("\r\nFrom: {SCANNER}\r\n"))), "{received:?}");
    // Where the sender counts, it must be one.
    let world = setup(", sender: checked").start().await;
    let mut checked = device(&world).await;
    for sender in unreadable {
        let reply = checked.ask(&format!("MAIL FROM:{sender}"), "").await;
        assert!(reply.starts_with("501 5.1.7 ") || reply.starts_with("553 5.6.7 "), "{sender}: {reply}");
    }
}

#[tokio::test]
async fn a_device_sends_as_the_mailboxes_of_its_account() {
    let world = Setup {
        accounts: format!("\n  - {{login: {SCANNER}, send_as: [{BOB}]}}"),
        ..setup(", messages_per_minute: 100")
    };
    let world = world.start().await;
    let mut device = device(&world).await;
    for (sender, from) in [(BOB, "x@y"), ("copier", BOB), ("root@localhost", "root@localhost")] {
        for (line, end) in [
            (format!("MAIL FROM:<{sender}>"), "250 "),
            (format!("RCPT TO:<{BOB}>"), "250 "),
            ("DATA".to_owned(), "354 "),
            (format!("From: {from}\r\n\r\n."), "250 2.0.0 OK "),
        ] {
            device.ask(&line, end).await;
        }
    }
    let of_mailbox = |mailbox| world.sandbox.counters().logins_of(Service::Smtp, mailbox).succeeded;
    assert_eq!((of_mailbox(BOB), of_mailbox(SCANNER)), (1, 1), "the second message uses the first one's connection");
    let received = inbox(&world);
    for (message, mailbox) in received.iter().zip([BOB, BOB, SCANNER]) {
        assert!(message.contains(&format!("\r\nFrom: {mailbox}\r\n")), "{message}");
    }
}

#[tokio::test]
async fn a_device_that_is_checked_must_name_its_account() {
    let world = setup(", sender: checked").start().await;
    let mut device = device(&world).await;
    for good in [SCANNER, "Copier@Contoso.example", ""] {
        let content = if good.is_empty() { "To: x@y\r\n\r\n".into() } else { format!("From: {good}\r\n\r\n") };
        let reply = send(&mut device, good, BOB, &content).await;
        // Exchange itself knows nothing of the alias.
        assert!(reply.starts_with("250 ") || reply.starts_with("550 5.7.60"), "{good}: {reply}");
    }
    let reply = send(&mut device, "boss@contoso.example", BOB, "From: x@y\r\n\r\n").await;
    assert_eq!(reply, "550 5.7.60 Not allowed to send as <boss@contoso.example>");
    let before = inbox(&world).len();
    let reply = send(&mut device, SCANNER, BOB, "From: boss@contoso.example\r\n\r\n").await;
    assert_eq!(reply, "550 5.7.60 Not allowed to send as <boss@contoso.example>");
    assert_eq!(inbox(&world).len(), before);
    assert!(world.log.has("trusted=127.0.0.1/32 outcome=not-sent cause=sender-not-allowed"));
}

#[tokio::test]
async fn a_device_writes_to_whom_it_may_and_no_more_often_than_it_may() {
    // A minute is longer than a command may take, so nobody waits for a turn.
    let setup = setup(", recipient_domains: [Contoso.example], messages_per_minute: 2");
    let world = Setup { limits: "  smtp_command: 30s", ..setup }.start().await;
    let mut first = device(&world).await;
    let reply = send(&mut first, "a@b", "somebody@fabrikam.example", "\r\n").await;
    assert_eq!(reply, "550 5.7.1 This device may not send to <somebody@fabrikam.example>");
    assert!(send(&mut first, "a@b", BOB, "\r\n").await.starts_with("250 "));
    let reply = send(&mut device(&world).await, "a@b", BOB, "\r\n").await;
    assert_eq!(reply, "450 4.7.1 More than 2 messages in a minute, try again later");
    assert_eq!(inbox(&world).len(), 1);
    // Each line says once what was refused.
    assert!(world.log.has("recipient `somebody@fabrikam.example` refused, because "));
    assert!(!world.log.has("message or recipient refused: "));
}

/// Many devices have no queue, and lose a message that is refused.
#[tokio::test]
async fn a_device_that_sends_too_often_waits_for_its_turn() {
    let world = setup(", messages_per_minute: 2").start().await;
    let mut device = device(&world).await;
    // Time passes while everybody waits.
    tokio::time::pause();
    let begin = tokio::time::Instant::now();
    for number in 1..=4 {
        assert!(send(&mut device, "a@b", BOB, "\r\n").await.starts_with("250 "), "{number}");
        assert!(number <= 2 || begin.elapsed().as_secs() >= 60, "{number} after {:?}", begin.elapsed());
    }
}

#[tokio::test]
async fn a_device_that_waits_for_its_turn_learns_that_it_has_none() {
    let rule = ", messages_per_minute: 1";
    for stops in [false, true] {
        let world = setup(rule).start().await;
        let mut device = device(&world).await;
        assert!(send(&mut device, "a@b", BOB, "\r\n").await.starts_with("250 "));
        assert!(!world.log.has("The next one waits"), "the first one did not");
        device.send("MAIL FROM:<a@b>\r\n").await;
        world.until("it waits", || world.log.has("messages in a minute. The next one waits")).await;
        let reply = if stops {
            world.stop.drain();
            "421 4.3.2 The service is stopping, try again later\r\n"
        } else {
            world.reload(|yaml| yaml.replace(rule, ", messages_per_minute: 2")).await.unwrap();
            "421 4.3.2 This device is trusted no longer\r\n"
        };
        assert_eq!(device.rest().await, reply);
    }
}

#[tokio::test]
async fn who_is_trusted_may_log_in_all_the_same() {
    let setup = setup("");
    let order = Order {
        login: MailAddress::parse(SCANNER).unwrap(),
        name: "Scanner".into(),
        protocols: Vec::new(),
        from: Vec::new(),
        expires_at: None,
    };
    let store = std::sync::Arc::clone(&setup.store);
    let (made, password) =
        issue::generate(&*store, order, gatepost_core::clock::Clock::system().unix_time()).await.unwrap();
    let world = setup.start().await;
    let mut client = world.session(Smtp, SCANNER, password.expose()).await;
    assert!(send(&mut client, SCANNER, BOB, &format!("From: {SCANNER}\r\n\r\n")).await.starts_with("250 "));
    let lines = world.log.lines(|line| line.contains("outcome=sent"));
    assert!(lines[0].contains("Scanner") && !lines[0].contains("trusted="), "{lines:?}");
    // With its login it is held to what Exchange allows, and to nothing else.
    let reply = send(&mut client, BOB, BOB, "From: bob@contoso.example\r\n\r\n").await;
    assert!(reply.starts_with("550 5.7.60"), "{reply}");
    // The password ends, and the session with it.
    store.revoke_device_password(&made.id).await.unwrap();
    assert_eq!(client.rest().await, "421 4.7.0 The password is not valid any longer\r\n");
    // A wrong one is no way in, and takes nothing from what the address may do.
    let mut device = device(&world).await;
    device.ask(&format!("AUTH PLAIN {}", plain(SCANNER, "guess")), "535 ").await;
    assert!(send(&mut device, "a@b", BOB, "\r\n").await.starts_with("250 "));
}

#[tokio::test]
async fn a_fault_that_passes_never_loses_a_devices_message() {
    let world = setup("").start().await;
    world.sandbox.set_upstream_mode(Service::Smtp, UpstreamMode::Unavailable);
    let mut device = device(&world).await;
    let reply = send(&mut device, "a@b", BOB, "\r\n").await;
    assert!(reply.starts_with("451 4.4.1 Temporarily unavailable, try again later (session "), "{reply}");
    assert!(world.log.has("cause=upstream-unavailable"));
    world.sandbox.set_upstream_mode(Service::Smtp, UpstreamMode::Normal);
    assert!(send(&mut device, "a@b", BOB, "\r\n").await.starts_with("250 "), "on the same connection");
}

#[tokio::test]
async fn a_device_that_is_trusted_no_longer_sends_no_longer() {
    let rule = format!("trusted_senders: [{{from: 127.0.0.1, login: {SCANNER}}}]");
    let changes = [
        ("legacy: true".to_owned(), "the rule is gone"),
        (rule.replace("127.0.0.1", "127.0.0.9"), "it is for another address"),
        (rule.replace("}]", ", sender: checked}]"), "it says something else"),
    ];
    let hash =
        gatepost_config::password_hash::hash(&gatepost_core::secret::Password::new("a password".into())).unwrap();
    for (other, what) in changes {
        // It may log in as well, so that the configuration is none of a listener without use.
        let accounts = format!("\n  - {{login: {SCANNER}, passwords: ['{hash}']}}");
        let world = Setup { accounts, ..setup("") }.start().await;
        let (mut busy, mut new) = (device(&world).await, device(&world).await);
        assert!(send(&mut busy, "a@b", BOB, "\r\n").await.starts_with("250 "));
        // A reload that does not concern it.
        world.reload(|yaml| yaml.replace("failure_delay: 0s", "failure_delay: 1ms")).await.unwrap();
        assert!(send(&mut busy, "a@b", BOB, "\r\n").await.starts_with("250 "), "{what}");
        let before = inbox(&world).len();
        world.reload(|yaml| yaml.replace(&rule, &other)).await.unwrap();
        // Who waits between two messages need not ask.
        assert_eq!(busy.rest().await, "421 4.3.2 This device is trusted no longer\r\n", "{what}");
        let reply = new.ask("MAIL FROM:<a@b>", "").await;
        assert!(reply.starts_with("421 4.7.0 Invalid user name or password (session "), "{what}: {reply}");
        assert_eq!(new.rest().await, "");
        assert_eq!(inbox(&world).len(), before);
        assert_eq!(world.log.lines(|line| line.contains("cause=not-trusted")).len(), 2, "{what}");
    }
}

/// The password is proved once, and the session goes on without it: for as long as the account is
/// what it was.
#[tokio::test]
async fn a_session_sends_no_longer_than_its_account_is_as_it_was() {
    let hash = |password: &str| {
        gatepost_config::password_hash::hash(&gatepost_core::secret::Password::new(password.into())).unwrap()
    };
    let (old, new) = (hash("the first password"), hash("the second password"));
    let account = format!("\n  - {{login: {SCANNER}, passwords: ['{old}']}}");
    for (changed, reply) in [
        (account.replace(&old, &new), "421 4.7.0 "),
        (account.replace("}", ", aliases: [scan7]}"), "421 4.7.0 "),
        (format!("\n  - {{login: {BOB}, passwords: ['{old}']}}"), "421 4.7.0 "),
    ] {
        let listeners = "\n  smtp: {bind: '127.0.0.1:0', upstream: 'localhost:{smtp}', legacy: true}".to_owned();
        let world = Setup { listeners, accounts: account.clone(), ..setup("") }.start().await;
        let mut client = world.session(Smtp, SCANNER, "the first password").await;
        assert!(send(&mut client, SCANNER, BOB, &format!("From: {SCANNER}\r\n\r\n")).await.starts_with("250 "));
        world.reload(|yaml| yaml.replace("failure_delay: 0s", "failure_delay: 1ms")).await.unwrap();
        assert!(send(&mut client, SCANNER, BOB, &format!("From: {SCANNER}\r\n\r\n")).await.starts_with("250 "));
        world.reload(|yaml| yaml.replace(&account, &changed)).await.unwrap();
        let heard = client.ask(&format!("MAIL FROM:<{SCANNER}>"), "").await;
        assert!(heard.starts_with(reply), "{heard}");
        assert_eq!(client.rest().await, "");
    }
}
