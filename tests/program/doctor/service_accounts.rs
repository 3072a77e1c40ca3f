//! Accounts of Google Workspace for which a service account acts.

use gatepost_core::clock::Clock;
use gatepost_sandbox::{Google, GoogleConfig};

use super::support::{Report, World};

const GUS: &str = "gus@workspace.example";
const OFFICE: &str = "office@workspace.example";
const NOBODY: &str = "nobody@workspace.example";
const ROBOT: &str = "gatepost@sandbox.iam.gserviceaccount.com";
const MAIL: &str = "https://mail.google.com/";

/// A configuration with a service account's key.
struct Workspace {
    world: World,
    google: Google,
}

impl Workspace {
    async fn new(accounts: &[&str]) -> Self {
        let world = World::with("", Clock::system()).await;
        let google = world.sandbox.start_google(GoogleConfig::default()).await.unwrap();
        for user in [GUS, OFFICE] {
            google.add_account(user, "pw");
        }
        world.directory.write("key.json", google.add_service_account(ROBOT).unwrap().json);
        google.set_delegation(ROBOT, &[MAIL]);
        let accounts: String = accounts.iter().map(|login| format!("  - login: {login}\n")).collect();
        let listener = |protocol: &str, port: u16| format!("  {protocol}: {{bind: '127.0.0.1:{port}'}}\n");
        let port = crate::common::port::free_port;
        world.write(&format!(
            "listeners:\n{}{}{}providers:\n  google:\n    service_account_key: key.json\n    grant: client_credentials\n    \
             token_url: {}/token\n    domains: workspace.example\n    hosts: {{imap: 'localhost:{}', pop3: 'localhost:{}', \
             smtp: 'localhost:{}', smtp_tls: implicit}}\n\
             accounts:\n{accounts}\
             trust: {{system_roots: false, additional_ca: ca.pem}}\n\
             state: {{directory: state}}\n",
            listener("imap", world.port),
            listener("pop3", port()),
            listener("smtp", port()),
            google.base(),
            google.imap().port(),
            google.pop3().port(),
            google.smtps().port(),
        ));
        Self { world, google }
    }

    fn examine(&self) -> Report {
        self.world.examine(&[], "")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_mailboxes_of_one_key_are_healthy_without_a_sign_in() {
    let of = Workspace::new(&[GUS, OFFICE]).await;
    of.world.add_passwords(&[GUS, OFFICE]);
    let report = of.examine();
    assert_eq!(report.with("failed"), Vec::<&serde_json::Value>::new());
    assert_eq!(report.code, 0);
    report.expect(("entra", "ok"), "key accepted", "");
    for mailbox in [GUS, OFFICE] {
        for service in ["IMAP", "POP3", "SMTP"] {
            let is_it = |step: &serde_json::Value| {
                let text = step["text"].as_str().unwrap();
                step["subject"] == mailbox && step["outcome"] == "ok" && text.starts_with(&format!("{service}: "))
            };
            assert!(report.steps().iter().any(is_it), "{service} {mailbox}: {:#?}", report.steps());
        }
        assert_eq!(of.google.counters().token_requests_of("jwt_bearer", mailbox).succeeded, 1, "{mailbox}");
    }
    assert!(!report.document.to_string().contains("Exchange Online"), "{:#?}", report.steps());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_service_account_is_told_once() {
    let of = Workspace::new(&[GUS, OFFICE]).await;
    of.world.add_passwords(&[GUS, OFFICE]);
    of.google.set_delegation(ROBOT, &[]);
    let report = of.examine();
    report.expect(
        ("entra", "failed"),
        "Google refused the token request",
        "API controls > Domain-wide delegation), and add client ID 112233445566778899000",
    );
    assert_eq!(report.with("failed").len(), 1, "{:#?}", report.with("failed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_that_google_does_not_know_is_told_beside_the_others() {
    let of = Workspace::new(&[GUS, NOBODY]).await;
    of.world.add_passwords(&[GUS, NOBODY]);
    let report = of.examine();
    report.expect(("entra", "failed"), &format!("there is no user `{NOBODY}`"), "primary address");
    report.expect(("entra", "ok"), "key accepted", "");
    report.expect(("mailboxes", "ok"), "IMAP: ", "");
}
