//! Nothing fails in silence: what no refused login is, has its line with cause and remedy, is
//! counted, and is shown on the status page.

use gatepost_core::failure::Refusal;
use gatepost_core::protocol::MailProtocol::{self, Imap, Smtp};
use gatepost_sandbox::{SandboxAccount, SandboxConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::submission_trusted::send;
use crate::session::support::{ALICE, ALICES, BOB, BOBS, Client, PROTOCOLS, Setup, World, is_accepted, plain};

/// The lines with this cause.
fn lines(world: &World, cause: &str) -> Vec<String> {
    world.log.lines(|line| line.contains(&format!("cause={cause} ")))
}

/// How often the status page has this cause, and who must act.
fn shown(world: &World, cause: &str) -> (u64, &'static str) {
    let all = world.control.journal().failures();
    let of_cause: Vec<_> = all.into_iter().filter(|failure| failure.cause.name() == cause).collect();
    (of_cause.iter().map(|failure| failure.count).sum(), of_cause.first().map_or("", |failure| failure.actor.label()))
}

fn is_counted(world: &World, series: &str) -> bool {
    world.control.journal().metrics().text().lines().any(|line| line == series)
}

#[tokio::test]
async fn a_relayed_message_that_exchange_refuses_is_told_with_the_command_that_helps() {
    let world = World::new().await;
    let mut client = world.session(Smtp, ALICE, ALICES).await;
    // The client hears Exchange's own words, at once and unchanged.
    let reply = send(&mut client, BOB, BOB, "Subject: s\r\n\r\nText").await;
    assert_eq!(reply, "550 5.7.60 SMTP; Client does not have permissions to send as this sender");
    world.until("it is told", || !lines(&world, "send-as-denied").is_empty()).await;
    let told = lines(&world, "send-as-denied");
    assert!(told.len() == 1 && told[0].contains(" WARN "), "{told:?}");
    for words in [
        format!("message not sent, because mailbox `{ALICE}` may not send as `{BOB}`"),
        format!("Microsoft 365 admin: run `Add-RecipientPermission {BOB} -Trustee {ALICE} -AccessRights SendAs`"),
        "`550 5.7.60 SMTP; ".to_owned(),
        format!("account={ALICE} "),
        "action_by=m365-admin ".to_owned(),
    ] {
        assert!(told[0].contains(&words), "{words}: {told:?}");
    }
    assert_eq!(shown(&world, "send-as-denied"), (1, "Microsoft 365 admin"));
    assert!(is_counted(&world, "gatepost_mail_refused_total{cause=\"send-as-denied\"} 1"));
    // The session goes on.
    assert!(send(&mut client, ALICE, BOB, "Subject: s\r\n\r\nText").await.starts_with("250 "));
}

#[tokio::test]
async fn a_relayed_recipient_that_exchange_refuses_is_the_clients_own_affair() {
    let world = World::new().await;
    let mut client = world.session(Smtp, ALICE, ALICES).await;
    // With the commands behind it, which fail only because this one does.
    client.send(format!("MAIL FROM:<{ALICE}>\r\nRCPT TO:<nobody@contoso.example>\r\nDATA\r\n")).await;
    for reply in ["250 ", "550 5.1.10 ", "503 "] {
        client.hear(reply).await;
    }
    world.until("it is told", || !lines(&world, "recipient-refused").is_empty()).await;
    let told = lines(&world, "recipient-refused");
    assert!(told.len() == 1 && told[0].contains(" INFO ") && told[0].contains("Device owner: correct"), "{told:?}");
    assert!(told[0].contains("recipient `nobody@contoso.example` refused: "), "{told:?}");
    assert_eq!(shown(&world, "recipient-refused"), (1, "Device owner"));
    // A list of wrong recipients does not fill the log, and all of them count.
    client.ask("RSET", "250 ").await;
    client.ask(&format!("MAIL FROM:<{ALICE}>"), "250 ").await;
    for _ in 0..30 {
        client.ask("RCPT TO:<nobody@contoso.example>", "550 ").await;
    }
    world.until("all are counted", || shown(&world, "recipient-refused").0 == 31).await;
    assert_eq!(lines(&world, "recipient-refused").len(), 20);
    assert!(is_counted(&world, "gatepost_mail_refused_total{cause=\"recipient-refused\"} 31"));
}

#[tokio::test]
async fn a_trusted_device_that_sends_elsewhere_is_told_which_rule_to_change() {
    let mut setup = super::submission_trusted::setup(", recipient_domains: [contoso.example]");
    setup.limits = "";
    let world = setup.start().await;
    let mut device = Client::connect(world.address("smtp"), Smtp).await;
    device.hear("220 ").await;
    device.ask("HELO scanner", "250 ").await;
    let reply = send(&mut device, "root@localhost", "x@fabrikam.example", "Subject: s\r\n\r\nText").await;
    assert_eq!(reply, "550 5.7.1 This device may not send to <x@fabrikam.example>");
    let told = lines(&world, "recipient-not-allowed");
    assert!(told.len() == 1 && told[0].contains(" WARN "), "{told:?}");
    let remedy =
        "Gatepost admin: if the device may send there, add `fabrikam.example` to `recipient_domains` of that rule.";
    assert!(told[0].contains("recipient `x@fabrikam.example` refused") && told[0].contains(remedy), "{told:?}");
    assert_eq!(shown(&world, "recipient-not-allowed"), (1, "Gatepost admin"));
}

#[tokio::test]
async fn a_client_outside_allow_from_is_shown_and_logged_once() {
    let listeners =
        "\n  imap: {bind: '127.0.0.1:0', upstream: 'localhost:{imap}', allow_from: 192.0.2.0/24}".to_owned();
    let world = Setup { listeners, ..Setup::default() }.start().await;
    for _ in 0..3 {
        let mut socket = TcpStream::connect(world.address("imap")).await.unwrap();
        let _broke = socket.read_to_end(&mut Vec::new()).await;
    }
    world.until("all are counted", || shown(&world, "not-allowed").0 == 3).await;
    let told = world.log.lines(|line| line.contains("cause=not-allowed") && !line.contains(" DEBUG "));
    assert!(told.len() == 1 && told[0].contains(" INFO "), "{told:?}");
    assert!(told[0].contains("Gatepost admin: add 127.0.0.1 to `allow_from` if it belongs to a client."), "{told:?}");
    assert!(is_counted(&world, "gatepost_connections_closed_total{cause=\"not-allowed\"} 3"));
}

#[tokio::test]
async fn a_request_on_a_mail_port_is_told_once_and_a_probe_is_not() {
    let world = World::new().await;
    for protocol in PROTOCOLS {
        for _ in 0..3 {
            let mut socket = TcpStream::connect(world.address(protocol.name())).await.unwrap();
            socket.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
            let _broke = socket.read_to_end(&mut Vec::new()).await;
        }
        // A probe whether the port is open.
        drop(TcpStream::connect(world.address(protocol.name())).await.unwrap());
    }
    world.until("all are counted", || shown(&world, "http").0 == 9).await;
    world
        .until("the probes are over", || {
            is_counted(&world, "gatepost_connections_closed_total{cause=\"client-left\"} 3")
        })
        .await;
    let told = world.log.lines(|line| line.contains("outcome=closed") && !line.contains(" DEBUG "));
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told.iter().all(|line| line.contains(" INFO ") && line.contains("cause=http action_by=client-owner")));
    assert_eq!(shown(&world, "client-left"), (0, ""));
}

#[tokio::test]
async fn a_name_of_no_account_is_told_with_its_source_and_its_form() {
    let world = Setup { accounts: format!("\n  - login: {ALICE}"), ..Setup::default() }.start().await;
    for protocol in PROTOCOLS {
        for (name, told) in [
            (
                "sc7x9",
                "no account or alias matches the user name `sc…9 (5 characters)` from 127.0.0.1. Gatepost admin: add",
            ),
            (
                "CONTOSO\\bob",
                "from 127.0.0.1, which has the form `DOMAIN\\\\user`. Gatepost admin: add it as an alias of",
            ),
        ] {
            let mut client = world.client(protocol).await;
            let message = plain(name, ALICES);
            let reply = match protocol {
                Imap => client.ask(&format!("a AUTHENTICATE PLAIN {message}"), "a ").await,
                MailProtocol::Pop3 | Smtp => client.ask(&format!("AUTH PLAIN {message}"), "").await,
            };
            world.was_refused(protocol, &reply, Refusal::InvalidCredentials, "unknown-account");
            assert!(world.log.lines(|line| line.contains(told)).iter().all(|line| line.contains(" INFO ")));
            assert!(
                world.log.has(told) || world.log.has(&told.replace("\\\\", "\\")),
                "{told}: {:?}",
                lines(&world, "unknown-account")
            );
        }
    }
}

/// The first refusal asks Entra, and the others are answered from memory: all say the same.
#[tokio::test]
async fn a_refusal_from_memory_names_the_same_cause_as_the_first() {
    let accounts = "\n  - login: '*@contoso.example'".to_owned();
    let world = Setup { accounts, ..Setup::default() }.start().await;
    for _ in 0..2 {
        for protocol in PROTOCOLS {
            let nobody = "nobody@contoso.example";
            world.refuses(protocol, nobody, ALICES, Refusal::InvalidCredentials, "wrong-password").await;
        }
    }
    let told = world.log.lines(|line| line.contains("login refused"));
    assert_eq!(told.len(), 6);
    let remedy = |line: &String| {
        line.split_once(". Device owner: ").map(|(_, rest)| rest.split(". ").next().unwrap().to_owned())
    };
    for line in &told {
        assert!(line.contains("AADSTS50034") && line.contains("not exist in"), "{line}");
        assert!(remedy(line).is_some_and(|of| Some(of) == remedy(&told[0])), "{line}");
    }
    assert_eq!(world.sandbox.counters().token_requests_of("password", "nobody@contoso.example").refused, 1);
    // One line for each refusal.
    let doubled = world.log.lines(|line| line.contains("no token") && !line.contains(" DEBUG "));
    assert_eq!(doubled.len(), 0, "{doubled:?}");
}

#[tokio::test]
async fn a_spent_budget_says_how_many_from_where_until_when_and_what_to_run() {
    let world = World::new().await;
    for guess in 0..5 {
        world.refuses(Imap, BOB, &format!("guess-{guess}"), Refusal::InvalidCredentials, "wrong-password").await;
    }
    // The address never logged in, so that it has used up its share.
    for protocol in PROTOCOLS {
        world.refuses(protocol, BOB, BOBS, Refusal::Unavailable, "guess-budget-spent").await;
    }
    let told = lines(&world, "guess-budget-spent");
    assert!(told.iter().all(|line| line.contains(" WARN ")), "{told:?}");
    for words in [
        format!("`{BOB}` used up the 5 wrong passwords in two hours that addresses without an earlier login have"),
        "the last of them from 127.0.0.1 (of 8 in all)".to_owned(),
        "no new password is tried until 2".to_owned(),
        format!("Gatepost admin: fix the device at 127.0.0.1, then run `gatepost account unlock {BOB}`."),
    ] {
        assert!(told[0].contains(&words), "{words}: {told:?}");
    }
    let client = world.reply(Imap, ALICE, ALICES).await;
    assert!(is_accepted(Imap, &client), "{client}");
}

#[tokio::test]
async fn a_password_on_the_wire_is_a_warning() {
    let listeners = "
  imap: {bind: '127.0.0.1:0', upstream: 'localhost:{imap}', tls: none, allow_plaintext_from: 192.0.2.0/24}
  pop3: {bind: '127.0.0.1:0', upstream: 'localhost:{pop3}', tls: none, allow_plaintext_from: 192.0.2.0/24}
  smtp: {bind: '127.0.0.1:0', upstream: 'localhost:{smtp}', tls: none, allow_plaintext_from: 192.0.2.0/24}"
        .to_owned();
    let sandbox = SandboxConfig { accounts: vec![SandboxAccount::new(ALICE, ALICES)], ..SandboxConfig::default() };
    let world = Setup { listeners, sandbox, ..Setup::default() }.start().await;
    for protocol in PROTOCOLS {
        let mut client = world.client(protocol).await;
        match protocol {
            Imap => client.send(format!("a LOGIN {ALICE} {ALICES}\r\n")).await,
            MailProtocol::Pop3 => client.send(format!("USER {ALICE}\r\nPASS {ALICES}\r\n")).await,
            Smtp => client.send(format!("AUTH PLAIN {}\r\n", plain(ALICE, ALICES))).await,
        }
        let listener = format!("listener={} ", protocol.name());
        world
            .until("it is told", || lines(&world, "plaintext-login").iter().any(|line| line.contains(&listener)))
            .await;
    }
    let told = lines(&world, "plaintext-login");
    let good = |line: &String| {
        line.contains(" WARN ") && line.contains("Gatepost admin: turn on TLS in the client and change")
    };
    assert!(told.iter().all(good), "{told:?}");
    assert!(!world.log.has(ALICES));
}
