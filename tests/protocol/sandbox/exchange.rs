//! What the administrator of Exchange Online can have forgotten, in Exchange's own words.

use gatepost_sandbox::{Sandbox, Service, UpstreamMode};
use serde_json::Value;
use tokio::io::BufReader;

use super::mail::{ALICE, BOB, Peer, V2, dial, dial_smtp, post, sandbox, tls, xoauth2};

const DEFAULT: &str = "https://outlook.office365.com/.default";

/// A token of the application, got as Gatepost gets it.
async fn app_token(sandbox: &Sandbox) -> String {
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", sandbox.confidential_client_id()),
        ("client_secret", "sandbox-secret"),
        ("scope", DEFAULT),
    ];
    let (status, _, body) = post(sandbox, V2, &form).await.unwrap();
    assert_eq!(status, 200, "{body}");
    serde_json::from_str::<Value>(&body).unwrap()["access_token"].as_str().unwrap().to_owned()
}

/// The last reply over IMAP, POP3 and SMTP, up to the command after a successful login.
async fn replies(sandbox: &Sandbox, user: &str, token: &str) -> [String; 3] {
    let response = xoauth2(user, token);
    let mut imap = dial(sandbox, sandbox.imap()).await;
    imap.hear().await;
    let mut of_imap = imap.ask(&format!("a AUTHENTICATE XOAUTH2 {response}"), "a ").await.pop().unwrap();
    if of_imap.starts_with("a OK") {
        of_imap = imap.ask("b NAMESPACE", "b ").await.pop().unwrap();
    }
    let mut pop3 = dial(sandbox, sandbox.pop3()).await;
    pop3.hear().await;
    pop3.ask("AUTH XOAUTH2", "+").await;
    let mut of_pop3 = pop3.ask(&response, "").await.pop().unwrap();
    if of_pop3.starts_with("+OK") {
        of_pop3 = pop3.ask("STAT", "").await.pop().unwrap();
    }
    let mut plain = dial_smtp(sandbox).await;
    plain.ask("EHLO client.example", "250 ").await;
    plain.ask("STARTTLS", "220").await;
    let mut smtp = Peer(BufReader::new(tls(sandbox, plain.0.into_inner()).await.unwrap()));
    smtp.ask("EHLO client.example", "250 ").await;
    smtp.ask("AUTH XOAUTH2", "334").await;
    let of_smtp = smtp.ask(&response, "").await.pop().unwrap();
    [of_imap, of_pop3, of_smtp]
}

const REFUSED: [&str; 3] = [
    "a NO AUTHENTICATE failed.",
    "-ERR Authentication failure: unknown user name or bad password.",
    "535 5.7.3 Authentication unsuccessful [sandbox.outlook.office365.com]",
];
const OPEN: [&str; 3] = ["b OK NAMESPACE completed.", "+OK 5 ", "235 2.7.0 Authentication successful"];

fn begins(replies: &[String; 3], with: [&str; 3]) {
    for (reply, start) in replies.iter().zip(with) {
        assert!(reply.starts_with(start), "{start} is wanted: {reply}");
    }
}

#[tokio::test]
async fn a_token_without_a_role_is_issued_and_refused_by_exchange() {
    let sandbox = sandbox().await;
    sandbox.set_exchange_consent(Some(&["IMAP.AccessAsApp"]));
    let token = app_token(&sandbox).await;
    begins(&replies(&sandbox, ALICE, &token).await, [OPEN[0], REFUSED[1], REFUSED[2]]);
    sandbox.set_exchange_consent(None);
    begins(&replies(&sandbox, ALICE, &app_token(&sandbox).await).await, OPEN);
}

#[tokio::test]
async fn without_a_service_principal_the_application_opens_no_mailbox() {
    let sandbox = sandbox().await;
    sandbox.set_service_principal(false);
    let token = app_token(&sandbox).await;
    for mailbox in [ALICE, BOB] {
        begins(&replies(&sandbox, mailbox, &token).await, REFUSED);
    }
    // A user's token needs none.
    let users = sandbox.issue_token(ALICE).unwrap();
    begins(&replies(&sandbox, ALICE, users.expose()).await, OPEN);
}

#[tokio::test]
async fn one_mailbox_is_closed_to_the_application() {
    let sandbox = sandbox().await;
    sandbox.set_application_access(ALICE, false);
    let token = app_token(&sandbox).await;
    let not_connected = "b BAD User is authenticated but not connected.";
    begins(&replies(&sandbox, ALICE, &token).await, [not_connected, REFUSED[1], REFUSED[2]]);
    begins(&replies(&sandbox, BOB, &token).await, OPEN);
}

#[tokio::test]
async fn a_protocol_is_off_for_one_mailbox() {
    let sandbox = sandbox().await;
    let token = app_token(&sandbox).await;
    sandbox.set_protocol_enabled(ALICE, Service::Imap, false);
    begins(&replies(&sandbox, ALICE, &token).await, [REFUSED[0], OPEN[1], OPEN[2]]);
    begins(&replies(&sandbox, BOB, &token).await, OPEN);
    sandbox.set_protocol_enabled(ALICE, Service::Imap, true);
    sandbox.set_protocol_enabled(ALICE, Service::Pop3, false);
    sandbox.set_protocol_enabled(ALICE, Service::Smtp, false);
    let off = "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox.";
    begins(&replies(&sandbox, ALICE, &token).await, [OPEN[0], REFUSED[1], off]);
}

#[tokio::test]
async fn a_mailbox_without_a_licence_is_not_connected() {
    let sandbox = sandbox().await;
    sandbox.set_licence(ALICE, false);
    let token = app_token(&sandbox).await;
    let not_connected =
        ["b BAD User is authenticated but not connected.", "-ERR User is authenticated but not connected.", REFUSED[2]];
    begins(&replies(&sandbox, ALICE, &token).await, not_connected);
}

#[tokio::test]
async fn smtp_auth_is_barred_for_one_of_several_reasons() {
    let sandbox = sandbox().await;
    let token = app_token(&sandbox).await;
    let barred = "535 5.7.139 Authentication unsuccessful, ";
    for (mode, words) in [
        (UpstreamMode::SmtpAuthDisabled, format!("{barred}SmtpClientAuthentication is disabled for the Tenant.")),
        (UpstreamMode::SecurityDefaults, format!("{barred}user is locked by your organization's security defaults")),
        (UpstreamMode::PolicyNotMet, format!("{barred}the request did not meet the criteria")),
        (UpstreamMode::HighVolume, "501 5.5.124 Invalid XOAUTH2 auth data".to_owned()),
    ] {
        sandbox.set_upstream_mode(Service::Smtp, mode);
        let [.., smtp] = replies(&sandbox, ALICE, &token).await;
        assert!(smtp.starts_with(&words), "{smtp}");
    }
}

#[tokio::test]
async fn entra_names_the_application_in_its_sentences() {
    let sandbox = sandbox().await;
    let id = sandbox.confidential_client_id().to_owned();
    for (code, words) in [
        (7_000_229, format!("The client application {id} is missing service principal in the tenant ")),
        (65001, format!("not consented to use the application with ID '{id}' named 'Gatepost'.")),
        (7_000_222, format!("The provided client secret keys for app '{id}' are expired.")),
    ] {
        sandbox.set_sign_in_error(&id, Some(code));
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", &*id),
            ("client_secret", "sandbox-secret"),
            ("scope", DEFAULT),
        ];
        let (_, _, body) = post(&sandbox, V2, &form).await.unwrap();
        assert!(body.contains(&format!("AADSTS{code}: ")) && body.contains(&words), "{body}");
    }
}
