//! A client asks for a mailbox besides its own: behind its user name, or as the identity to act as.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gatepost::login::issue::{self, Order};
use gatepost_core::account::MailAddress;
use gatepost_core::clock::Clock;
use gatepost_core::failure::Refusal;
use gatepost_core::protocol::MailProtocol;
use gatepost_sandbox::{SandboxAccount, SandboxConfig};

use crate::session::support::{ALICE, ALICES, BOB, BOBS, Client, PROTOCOLS, Setup, World, is_accepted, service};

const OFFICE: &str = "office@contoso.example";
const SALES: &str = "sales@fabrikam.example";
/// Alice may open it in Exchange, but it is not listed.
const BOSS: &str = "boss@contoso.example";

fn tenant() -> SandboxConfig {
    let shared = |address| SandboxAccount { delegates: vec![ALICE.into()], ..SandboxAccount::new(address, "nobody") };
    let accounts = vec![
        SandboxAccount::new(ALICE, ALICES),
        SandboxAccount::new(BOB, BOBS),
        shared(OFFICE),
        shared(SALES),
        shared(BOSS),
    ];
    SandboxConfig { accounts, ..SandboxConfig::default() }
}

async fn with_accounts(accounts: &str) -> World {
    Setup { accounts: accounts.to_owned(), sandbox: tenant(), ..Setup::default() }.start().await
}

/// The reply to PLAIN with these identities.
async fn plain(client: &mut Client, acting_as: &str, user: &str, password: &str) -> String {
    let message = STANDARD.encode(format!("{acting_as}\0{user}\0{password}"));
    match client.protocol {
        MailProtocol::Imap => client.ask(&format!("a AUTHENTICATE PLAIN {message}"), "a ").await,
        MailProtocol::Pop3 => {
            client.ask("AUTH PLAIN", "+ ").await;
            client.ask(&message, "").await
        }
        MailProtocol::Smtp => client.ask(&format!("AUTH PLAIN {message}"), "").await,
    }
}

#[tokio::test]
async fn a_shared_mailbox_is_opened_by_its_delegate() {
    let world =
        with_accounts(&format!("\n  - {{login: {ALICE}, aliases: [ali], mailboxes: [{OFFICE}, {SALES}]}}")).await;
    let forms = [
        ("", "alice@contoso.example\\office", OFFICE),
        ("", "alice@contoso.example/office", OFFICE),
        ("", "ALICE@Contoso.example\\Office@CONTOSO.example", OFFICE),
        ("", "alice@contoso.example/sales@fabrikam.example", SALES),
        ("", "ali\\sales", SALES),
        (OFFICE, ALICE, OFFICE),
        ("Office", "ali", OFFICE),
        (ALICE, "alice@contoso.example\\office", OFFICE),
        (OFFICE, "alice@contoso.example\\office", OFFICE),
        ("ali", ALICE, ALICE),
        ("alice", ALICE, ALICE),
    ];
    for protocol in PROTOCOLS {
        for (acting_as, user, mailbox) in forms {
            let before = world.sandbox.counters().logins_of(service(protocol), mailbox).succeeded;
            let mut client = world.client(protocol).await;
            let reply = plain(&mut client, acting_as, user, ALICES).await;
            assert!(is_accepted(protocol, &reply), "{user} as {acting_as}: {reply}");
            client.works().await;
            let opened = world.sandbox.counters().logins_of(service(protocol), mailbox).succeeded;
            assert_eq!(opened, before + 1, "{user} as {acting_as}");
        }
    }
    assert_eq!(world.sandbox.counters().http_requests, 1, "one token of Alice for all of them");
    let opened = format!("account={ALICE} outcome=accepted token=cached mailbox={OFFICE}");
    assert!(world.log.has(&opened));
}

#[tokio::test]
async fn what_is_not_listed_is_refused_after_the_password_only() {
    let world = with_accounts(&format!("\n  - {{login: {ALICE}, mailboxes: [{OFFICE}]}}\n  - login: {BOB}")).await;
    let before = world.upstream_connections();
    for protocol in PROTOCOLS {
        for (acting_as, user, password) in [
            ("", "alice@contoso.example\\boss", ALICES),
            ("", "alice@contoso.example/boss@contoso.example", ALICES),
            ("", "alice@contoso.example\\office\\x", ALICES),
            ("", "alice@contoso.example\\of fice", ALICES),
            (BOSS, ALICE, ALICES),
            (BOSS, "alice@contoso.example\\office", ALICES),
            ("", "bob@contoso.example\\office", BOBS),
            (OFFICE, BOB, BOBS),
        ] {
            let mut client = world.client(protocol).await;
            let reply = plain(&mut client, acting_as, user, password).await;
            world.was_refused(protocol, &reply, Refusal::NotAuthorized, "acting-as-not-allowed");
            let mut client = world.client(protocol).await;
            let reply = plain(&mut client, acting_as, user, "wrong").await;
            world.was_refused(protocol, &reply, Refusal::InvalidCredentials, "wrong-password");
        }
        let mut client = world.client(protocol).await;
        let reply = plain(&mut client, "", "carol@contoso.example\\office", ALICES).await;
        world.was_refused(protocol, &reply, Refusal::InvalidCredentials, "unknown-account");
    }
    assert_eq!(world.upstream_connections(), before);
}

#[tokio::test]
async fn exchange_may_decide_which_mailboxes_open() {
    let world = with_accounts("\n  - {login: '*', mailboxes: '*'}").await;
    for protocol in PROTOCOLS {
        for user in ["alice@contoso.example\\boss", "alice@contoso.example/sales@fabrikam.example"] {
            let mut client = world.client(protocol).await;
            let reply = plain(&mut client, "", user, ALICES).await;
            assert!(is_accepted(protocol, &reply), "{user}: {reply}");
        }
        let mut client = world.client(protocol).await;
        let reply = plain(&mut client, "", "alice@contoso.example\\bob", ALICES).await;
        assert!(!is_accepted(protocol, &reply), "{reply}");
        assert_eq!(world.sandbox.counters().logins_of(service(protocol), BOB).succeeded, 0);
    }
}

/// Also with a device password, where the token is renewed without the client.
#[tokio::test]
async fn graph_sends_from_and_reads_the_shared_mailbox() {
    let setup = Setup {
        listeners: "
  pop3: {bind: '127.0.0.1:0', upstream: graph, graph: 'localhost:{graph}'}
  smtp: {bind: '127.0.0.1:0', deliver: graph, graph: 'localhost:{graph}'}"
            .to_owned(),
        microsoft: "  grant: client_credentials\n  client_id: '{confidential}'\n  client_secret: sandbox-secret",
        accounts: format!("\n  - {{login: {ALICE}, mailboxes: [{OFFICE}]}}"),
        sandbox: tenant(),
        ..Setup::default()
    };
    let login = MailAddress::parse(ALICE).unwrap();
    let order = Order { login, name: "copier".into(), protocols: Vec::new(), from: Vec::new(), expires_at: None };
    let (_, password) = issue::generate(&*setup.store, order, Clock::system().unix_time()).await.unwrap();
    let world = setup.start().await;
    let user = "alice@contoso.example\\office";
    let mut smtp = world.session(MailProtocol::Smtp, user, password.expose()).await;
    for _ in 0..2 {
        for (line, end) in [
            (format!("MAIL FROM:<{OFFICE}>"), "250 "),
            (format!("RCPT TO:<{OFFICE}>"), "250 "),
            ("DATA".to_owned(), "354 "),
            (format!("From: {OFFICE}\r\nTo: {OFFICE}\r\nSubject: shared\r\n\r\nx\r\n."), "250 "),
        ] {
            smtp.ask(&line, end).await;
        }
    }
    // Each mailbox of the sandbox begins with the same messages.
    let mut counts = Vec::new();
    for user in [ALICE, user] {
        let mut pop3 = world.session(MailProtocol::Pop3, user, password.expose()).await;
        let reply = pop3.ask("STAT", "+OK").await;
        counts.push(reply.split(' ').nth(1).unwrap().parse::<u32>().unwrap());
    }
    assert_eq!(counts[1], counts[0] + 2, "{counts:?}");
}
