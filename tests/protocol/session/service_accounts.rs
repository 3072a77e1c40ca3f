//! Sessions of accounts of Google Workspace for which a service account acts: nobody signs in, and a
//! token opens one mailbox.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gatepost::login::issue::{self, Order};
use gatepost_core::account::MailAddress;
use gatepost_core::clock::Clock;
use gatepost_core::failure::Refusal;
use gatepost_core::protocol::MailProtocol;
use gatepost_sandbox::{Attempts, Google, GoogleConfig, Sandbox, SandboxConfig, SeenRequest};
use serde_json::{Value, json};

use crate::common::directory::Directory;
use crate::session::submission_trusted::send;
use crate::session::support::{PROTOCOLS, Setup, World, service};

use MailProtocol::{Imap, Pop3, Smtp};

const GUS: &str = "gus@workspace.example";
/// A mailbox that Gus may open besides.
const OFFICE: &str = "office@workspace.example";
/// A mailbox with an account of its own, which opens another address.
const SCANNER: &str = "scanner@workspace.example";
/// Nobody at Google.
const NOBODY: &str = "nobody@workspace.example";

/// The service account.
const ROBOT: &str = "gatepost@sandbox.iam.gserviceaccount.com";
const MAIL: &str = "https://mail.google.com/";

/// Gatepost in front of Google with the key of a service account.
struct Workspace {
    world: World,
    google: Google,
    directory: Directory,
    /// By account.
    passwords: BTreeMap<&'static str, String>,
}

impl Workspace {
    async fn new() -> Self {
        Self::with(Clock::system(), "").await
    }

    /// `of_smtp`: further keys of the listener for SMTP.
    async fn with(clock: Clock, of_smtp: &str) -> Self {
        let sandbox = Sandbox::start(SandboxConfig { clock, ..SandboxConfig::default() }).await.unwrap();
        let google = sandbox.start_google(GoogleConfig::default()).await.unwrap();
        for user in [GUS, OFFICE] {
            google.add_account(user, "pw");
        }
        let directory = Directory::new();
        let path = directory.write("key.json", google.add_service_account(ROBOT).unwrap().json);
        google.set_delegation(ROBOT, &[MAIL]);
        let (imap, pop3, smtp) = (google.imap().port(), google.pop3().port(), google.smtps().port());
        let sections = format!(
            "providers:\n  google:\n    service_account_key: '{}'\n    grant: client_credentials\n    \
             token_url: {}/token\n    domains: [workspace.example]\n    \
             hosts: {{imap: 'localhost:{imap}', pop3: 'localhost:{pop3}', smtp: 'localhost:{smtp}', \
             smtp_tls: implicit}}\n",
            path.display(),
            google.base(),
        );
        // With `send_as` a login over SMTP does not sign in at the mail server yet.
        let sends_as = if of_smtp.is_empty() { String::new() } else { format!(", send_as: {OFFICE}") };
        let (usual, mut passwords) = (Setup::default(), BTreeMap::new());
        for login in [GUS, SCANNER, NOBODY] {
            let (name, protocols, from) = ("first".into(), Vec::new(), Vec::new());
            let order = Order { login: MailAddress::parse(login).unwrap(), name, protocols, from, expires_at: None };
            let made = issue::generate(&*usual.store, order, Clock::system().unix_time()).await;
            passwords.insert(login, made.unwrap().1.expose().to_owned());
        }
        let setup = Setup {
            listeners: usual.listeners.replace("{smtp}'", &format!("{{smtp}}'{of_smtp}")),
            accounts: format!(
                "\n  - {{login: {GUS}, mailboxes: {OFFICE}{sends_as}}}\n  - {{login: {SCANNER}, mailbox: {OFFICE}}}\n  \
                 - login: {NOBODY}"
            ),
            sections,
            limits: "  token_request: 5s\n  token_total: 5s",
            ..usual
        };
        Self { world: setup.start_at(sandbox).await, google, directory, passwords }
    }

    fn password(&self, login: &str) -> String {
        self.passwords[login].clone()
    }

    /// The requests for the tokens of a mailbox, or of nobody where Google refused.
    fn requests(&self, mailbox: &str) -> Attempts {
        self.google.counters().token_requests_of("jwt_bearer", mailbox)
    }

    fn logins(&self, protocol: MailProtocol, mailbox: &str) -> Attempts {
        self.google.counters().logins_of(service(protocol), mailbox)
    }

    fn last_assertion(&self) -> (SeenRequest, Value, Value) {
        let asked = self.google.last_request("/token").unwrap();
        let assertion = asked.parameter("assertion").unwrap().to_owned();
        let part = |n: usize| -> Value {
            let part = assertion.split('.').nth(n).unwrap();
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
        };
        let (header, claims) = (part(0), part(1));
        (asked, header, claims)
    }
}

fn succeeded(succeeded: u64) -> Attempts {
    Attempts { succeeded, refused: 0 }
}

#[tokio::test]
async fn nobody_signs_in_and_one_token_serves_all_protocols() {
    let of = Workspace::new().await;
    let password = of.password(GUS);
    let mut client = of.world.session(Imap, GUS, &password).await;
    client.ask("b SELECT INBOX", "b OK").await;
    client.ask("c FETCH 1 (BODY.PEEK[HEADER])", "c OK").await;
    assert!(String::from_utf8_lossy(&client.heard).contains("Subject: "));
    let mut client = of.world.session(Pop3, GUS, &password).await;
    client.ask("RETR 1", "+OK").await;
    client.hear(".").await;
    let mut client = of.world.session(Smtp, GUS, &password).await;
    client.ask(&format!("MAIL FROM:<{GUS}>"), "250 ").await;
    client.ask("RCPT TO:<somebody@elsewhere.example>", "250 ").await;
    client.ask("DATA", "354 ").await;
    client.ask(&format!("From: {GUS}\r\nTo: somebody@elsewhere.example\r\nSubject: x\r\n\r\nx\r\n."), "250 ").await;
    assert_eq!(of.world.sandbox.outbox().len(), 1);
    assert_eq!(of.requests(GUS), succeeded(1));
    for protocol in PROTOCOLS {
        assert_eq!(of.logins(protocol, GUS), succeeded(1), "{protocol:?}");
    }

    let (asked, header, claims) = of.last_assertion();
    for name in ["client_id", "client_secret", "scope"] {
        assert_eq!(asked.parameter(name), None, "{name}");
    }
    let file = std::fs::read_to_string(of.directory.file("key.json")).unwrap();
    let file: Value = serde_json::from_str(&file).unwrap();
    assert_eq!(header, json!({"alg": "RS256", "typ": "JWT", "kid": file["private_key_id"]}));
    let lifetime = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
    assert!(lifetime <= 3_600, "{lifetime}");
    assert_eq!(claims["aud"], format!("{}/token", of.google.base()));
    assert_eq!((&claims["iss"], &claims["sub"], &claims["scope"]), (&json!(ROBOT), &json!(GUS), &json!(MAIL)));

    let key = file["private_key"].as_str().unwrap().lines().nth(5).unwrap();
    let assertion = asked.parameter("assertion").unwrap();
    assert!(!of.world.log.has(key) && !of.world.log.has(assertion), "a secret is in the log");
    assert_eq!(of.world.sandbox.foreign_tokens(), []);
}

#[tokio::test]
async fn each_mailbox_has_a_token_of_its_own() {
    let of = Workspace::new().await;
    let (gus, scanner) = (of.password(GUS), of.password(SCANNER));
    // Gus and the scanner open the same mailbox in two ways, by one token.
    let both = format!("{GUS}\\{OFFICE}");
    for (name, password, mailbox) in [(GUS, &gus, GUS), (&*both, &gus, OFFICE), (SCANNER, &scanner, OFFICE)] {
        for protocol in PROTOCOLS {
            let before = of.logins(protocol, mailbox);
            of.world.session(protocol, name, password).await.works().await;
            let after = Attempts { succeeded: before.succeeded + 1, ..before };
            assert_eq!(of.logins(protocol, mailbox), after, "{name} {protocol:?}");
        }
    }
    assert_eq!(
        (of.requests(GUS), of.requests(OFFICE), of.requests(SCANNER)),
        (succeeded(1), succeeded(1), succeeded(0))
    );
    // A mailbox that is not listed asks nobody.
    let asked = of.google.requests().len();
    let other = format!("{GUS}\\{SCANNER}");
    of.world.refuses(Imap, &other, &gus, Refusal::NotAuthorized, "acting-as-not-allowed").await;
    of.world.refuses(Imap, GUS, "wrong", Refusal::InvalidCredentials, "wrong-password").await;
    assert_eq!(of.google.requests().len(), asked);
}

#[tokio::test]
async fn a_message_of_another_mailbox_is_sent_with_the_token_of_that_one() {
    let of = Workspace::with(Clock::system(), ", sender: checked").await;
    let password = of.password(GUS);
    let mut client = of.world.session(Smtp, GUS, &password).await;
    for sender in [GUS, OFFICE] {
        let reply = send(&mut client, sender, "somebody@elsewhere.example", &format!("From: {sender}\r\n\r\nx")).await;
        assert!(reply.starts_with("250 "), "{sender}: {reply}");
        assert_eq!((of.requests(sender), of.logins(Smtp, sender)), (succeeded(1), succeeded(1)), "{sender}");
    }
}

#[tokio::test]
async fn a_missing_delegation_and_an_unknown_mailbox_are_told_apart() {
    let of = Workspace::new().await;
    let (gus, nobody) = (of.password(GUS), of.password(NOBODY));
    for protocol in PROTOCOLS {
        of.world.refuses(protocol, NOBODY, &nobody, Refusal::ContactAdmin, "no-mailbox").await;
    }
    assert!(of.world.log.has(&format!("there is no user `{NOBODY}`")));
    // What is refused to one mailbox is not refused to another.
    of.world.session(Imap, GUS, &gus).await.works().await;

    let of = Workspace::new().await;
    let gus = of.password(GUS);
    of.google.set_delegation(ROBOT, &[]);
    let asked = of.google.requests().len();
    for protocol in PROTOCOLS {
        of.world.refuses(protocol, GUS, &gus, Refusal::ContactAdmin, "provider-refused").await;
    }
    assert_eq!(of.google.requests().len(), asked + 1, "Google is asked once");
    let file: Value = serde_json::from_str(&std::fs::read_to_string(of.directory.file("key.json")).unwrap()).unwrap();
    let id = file["client_id"].as_str().unwrap();
    assert!(of.world.log.has(&format!("Domain-wide delegation), and add client ID {id} with scope {MAIL}")));
}

#[tokio::test]
async fn a_key_that_was_deleted_is_replaced_without_a_reload() {
    let of = Workspace::new().await;
    let (gus, scanner) = (of.password(GUS), of.password(SCANNER));
    // Another key of the same service account. The old one is deleted.
    let new = of.google.add_service_account(ROBOT).unwrap().json;
    of.google.set_delegation(ROBOT, &[MAIL]);
    of.world.refuses(Imap, SCANNER, &scanner, Refusal::ContactAdmin, "provider-refused").await;
    assert!(of.world.log.has("is deleted, disabled or expired"));
    of.directory.replace("key.json", &new);
    of.world.session(Imap, GUS, &gus).await.works().await;
}

#[tokio::test]
async fn another_service_account_is_used_after_a_reload() {
    const OTHER: &str = "other@sandbox.iam.gserviceaccount.com";
    let of = Workspace::new().await;
    let (gus, scanner) = (of.password(GUS), of.password(SCANNER));
    of.world.session(Imap, GUS, &gus).await.works().await;
    let other = of.google.add_service_account(OTHER).unwrap().json;
    of.google.set_delegation(OTHER, &[MAIL]);
    of.directory.replace("key.json", &other);
    of.world.session(Imap, SCANNER, &scanner).await.works().await;
    assert_eq!(of.last_assertion().2["iss"], ROBOT);
    assert!(of.world.log.has(&format!("it holds a key of the service account `{OTHER}`")));
    of.world.reload(str::to_owned).await.unwrap();
    for (name, password) in [(GUS, &gus), (SCANNER, &scanner)] {
        of.world.session(Imap, name, password).await.works().await;
        assert_eq!(of.last_assertion().2["iss"], OTHER, "{name}");
    }
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_corrected_by_that_of_google() {
    let clock = Clock::manual();
    let of = Workspace::with(clock, "").await;
    let password = of.password(GUS);
    of.world.sandbox.advance(Duration::from_secs(2 * 3_600));
    of.world.session(Imap, GUS, &password).await.works().await;
    assert_eq!(of.requests(GUS), succeeded(1));
    assert_eq!(of.requests(""), Attempts { succeeded: 0, refused: 1 }, "the answer tells the time");
}
