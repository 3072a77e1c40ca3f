//! Faults of tenant, application, credential, permission and sign-in.

use gatepost_config::{State, StateKey};
use gatepost_core::account::MailAddress;
use gatepost_core::clock::{Clock, UnixTime};
use gatepost_core::secret::ClientSecret;
use gatepost_sandbox::{SandboxSecret, Service, UpstreamMode};
use gatepost_store::{SignIn, SignInKey};

use super::support::{ALICE, ALICES, ANNA, FAX, Fault, SCANNER, World, app_only, fault, play};
use crate::common::port::free_port;

fn secrets(world: &World, secret: &str, expired: bool) {
    let secret = ClientSecret::new(secret.to_owned());
    world.sandbox.set_client_secrets(vec![SandboxSecret { secret, expired }]);
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_the_application() {
    const ENTRA: (&str, &str) = ("entra", "failed");
    play(
        &app_only(&[SCANNER, FAX]),
        vec![
            fault(|world| secrets(world, "another", false), ENTRA, "AADSTS7000215", "client_secret"),
            fault(|world| secrets(world, "sandbox-secret", true), ENTRA, "AADSTS7000222", "create a secret"),
            fault(
                |world| world.replace("tenant: contoso.example", "tenant: contosso.example"),
                ENTRA,
                "tenant `contosso.example` does not exist in this cloud",
                "correct `tenant`, or set `cloud`",
            ),
            fault(
                |world| {
                    let client_id = world.sandbox.confidential_client_id().to_owned();
                    world.replace(&client_id, "2f5c7e10-0000-4000-8000-000000000001");
                },
                ENTRA,
                "application `2f5c7e10-0000-4000-8000-000000000001` does not exist in tenant `contoso.example`",
                "client_id",
            ),
            fault(
                |world| {
                    world.replace("{file: secret}", "[{file: secret, expires: 2026-11-20}]");
                },
                ENTRA,
                "client secret expired on 2026-11-20",
                "create a new one in Entra",
            ),
            fault(
                |world| {
                    assert!(world.gatepost(&["cert", "--key", "rsa"], "").status.success());
                    world.replace(
                        "client_secret: {file: secret}",
                        "client_certificate: {certificate: certs/server.pem, private_key: certs/server.key}",
                    );
                },
                ENTRA,
                "AADSTS700027",
                "",
            ),
            fault(
                |world| world.sandbox.set_sign_in_error(world.sandbox.confidential_client_id(), Some(7_000_229)),
                ENTRA,
                "AADSTS7000229",
                "",
            ),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_application_skips_its_mailboxes() {
    let world = World::new().await;
    secrets(&world, "another", false);
    let report = world.examine(&[], "");
    report.expect(("mailboxes", "skipped"), "Entra", "");
    assert_eq!(report.with("failed").iter().filter(|step| step["section"] == "entra").count(), 1);
    assert!(!report.steps().iter().any(|step| step["section"] == "mailboxes" && step["outcome"] != "skipped"));
    let requests = world.sandbox.counters();
    let requests = requests.token_requests_of("client_credentials", world.sandbox.confidential_client_id());
    assert_eq!(requests.refused, 2, "one for each resource");
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_permissions_are_named_with_the_page_for_consent() {
    play(
        &app_only(&[SCANNER]),
        vec![
            fault(
                |world| world.sandbox.set_exchange_consent(Some(&["POP.AccessAsApp", "SMTP.SendAsApp"])),
                ("permissions", "failed"),
                "IMAP.AccessAsApp is not in the token (it has POP.AccessAsApp, SMTP.SendAsApp",
                "/contoso.example/adminconsent?client_id=",
            ),
            fault(
                |world| world.sandbox.set_exchange_consent(Some(&["IMAP.AccessAsApp"])),
                ("permissions", "failed"),
                "listener `smtp` needs it",
                "add SMTP.SendAsApp and grant consent",
            ),
            fault(
                |world| world.sandbox.set_exchange_consent(Some(&["POP.AccessAsApp"])),
                ("mailboxes", "skipped"),
                "IMAP (permission)",
                "",
            ),
            fault(
                |world| world.sandbox.set_graph_consent(Some(&["Mail.ReadWrite"])),
                ("permissions", "warning"),
                "Mail.Send is not in the token (it has IMAP.AccessAsApp, ",
                "if no role gives it, add Mail.Send and grant consent",
            ),
            Fault {
                play: |world| world.sandbox.set_graph_consent(Some(&["Mail.ReadWrite"])),
                arguments: &["--send"],
                input: "",
                at: ("permissions", "failed"),
                text: "Mail.Send is not in the token",
                remedy: "add Mail.Send and grant consent",
            },
            fault(
                |world| world.sandbox.set_graph_consent(Some(&["User.Read.All"])),
                ("permissions", "failed"),
                "Mail.ReadWrite is not in the token",
                "add Mail.ReadWrite and grant consent",
            ),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_messages_through_graph_need_more_than_sending() {
    let world = World::new().await;
    world.sandbox.set_graph_consent(Some(&["Mail.Send"]));
    let says =
        |text: &str| world.examine(&[], "").steps().iter().any(|step| step["text"].as_str().unwrap().contains(text));
    assert!(!says("Mail.ReadWrite is not in the token"));
    world.replace("deliver: graph,", "deliver: graph, graph_large: draft,");
    let report = world.examine(&[], "");
    report.expect(
        ("permissions", "failed"),
        "Mail.ReadWrite is not in the token",
        "add Mail.ReadWrite and grant consent",
    );
    assert!(says("listener `devices` needs it"));
    world.sandbox.set_graph_consent(Some(&["Mail.Send", "Mail.ReadWrite"]));
    world.examine(&[], "").expect(("mailboxes", "ok"), "drafts through Graph: Inbox opens", "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_no_token_shows_is_found_by_the_answer_of_the_server() {
    let world = World::new().await;
    world.sandbox.set_exchange_consent(Some(&["POP.AccessAsApp"]));
    world.sandbox.set_graph_consent(Some(&[]));
    world.sandbox.set_exchange_roles(&["SMTP.SendAsApp", "full_access_as_app", "Mail.ReadWrite"]);
    let report = world.examine(&[], "");
    for permission in ["SMTP.SendAsApp", "full_access_as_app", "Mail.ReadWrite"] {
        let text = format!("{permission} is not in the token, but Exchange Online permits it (RBAC)");
        report.expect(("permissions", "ok"), &text, "");
    }
    for opened in ["SMTP: may send", "EWS: Inbox opens", "Graph: Inbox opens", "POP3: INBOX has 5 messages"] {
        report.expect(("mailboxes", "ok"), opened, "");
    }
    // Rejected, and no role can give it.
    report.expect(("permissions", "failed"), "IMAP.AccessAsApp is not in the token", "grant consent");
    report.expect(("mailboxes", "skipped"), "IMAP (permission)", "");
    // Nobody was asked.
    report.expect(("permissions", "warning"), "Mail.Send is not in the token", "if no role gives it");

    // A server that does not answer says nothing about a permission.
    world.sandbox.set_upstream_mode(Service::Smtp, UpstreamMode::Unavailable);
    let report = world.examine(&[], "");
    report.expect(("permissions", "warning"), "SMTP.SendAsApp is not in the token", "if no role gives it");
    report.expect(("mailboxes", "failed"), "SMTP: ", "");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_for_graph_alone_skips_nothing_of_exchange() {
    let accounts = format!("  - {{login: {ALICE}, grant: password}}\n");
    let world = World::with(&accounts, Clock::system()).await;
    public(&world);
    world.sandbox.set_graph_consent(Some(&[]));
    let report = world.examine(&["--login", ALICE], &format!("{ALICES}\n"));
    report.expect(("entra", "failed"), "AADSTS65001", "");
    report.expect(("mailboxes", "ok"), "IMAP: INBOX has 5 messages", "");
    report.expect(("mailboxes", "skipped"), "sending through Graph (Entra)", "");

    world.sandbox.set_graph_consent(None);
    world.sandbox.set_exchange_consent(Some(&[]));
    let report = world.examine(&["--login", ALICE], &format!("{ALICES}\n"));
    report.expect(("entra", "failed"), "AADSTS65001", "");
    report.expect(("mailboxes", "skipped"), "IMAP (Entra)", "");
    report.expect(("mailboxes", "ok"), "Graph: Inbox opens", "");
}

/// With the application that needs no secret, and `grant: password`.
fn public(world: &World) {
    world.replace(world.sandbox.confidential_client_id(), world.sandbox.public_client_id());
    world.replace("  client_secret: {file: secret}\n", "");
}

fn with_login(play: fn(&World), text: &'static str, remedy: &'static str) -> Fault {
    const { assert!(ALICE.len() == 21) };
    Fault {
        play,
        arguments: &["--login", ALICE],
        input: "correct-horse-battery\n",
        at: ("entra", "failed"),
        text,
        remedy,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_a_users_own_password() {
    let accounts = format!("  - {{login: {ALICE}, grant: password}}\n");
    play(
        &accounts,
        vec![
            fault(
                |world| world.replace("  client_secret: {file: secret}\n", ""),
                ("entra", "failed"),
                "AADSTS7000218",
                "public client flows",
            ),
            with_login(
                |world| {
                    public(world);
                    world.sandbox.set_sign_in_error(ALICE, Some(50_076));
                },
                "AADSTS50076",
                "",
            ),
            with_login(
                |world| {
                    public(world);
                    world.sandbox.set_sign_in_error(ALICE, Some(53_003));
                },
                "AADSTS53003",
                "",
            ),
            with_login(
                |world| {
                    public(world);
                    assert!(world.sandbox.set_password(ALICE, "another"));
                },
                "AADSTS50126",
                "password",
            ),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_password_is_asked_for_and_tried_once() {
    let accounts = format!("  - {{login: {ALICE}, grant: password}}\n");
    let world = World::with(&accounts, Clock::system()).await;
    public(&world);
    let report = world.examine(&[], "");
    report.expect(("entra", "ok"), "known, public client flows are allowed", "");
    report.expect(("mailboxes", "skipped"), "run `gatepost doctor --login alice@contoso.example`", "");
    assert_eq!(report.code, 0);
    let requests = || world.sandbox.counters().token_requests_of("password", ALICE);
    assert_eq!((requests().succeeded, requests().refused), (0, 0));

    let report = world.examine(&["--login", ALICE], &format!("{ALICES}\n"));
    report.expect(("entra", "ok"), "Entra accepts the password", "");
    report.expect(("mailboxes", "ok"), "IMAP: INBOX has 5 messages", "");
    report.expect(("mailboxes", "ok"), "EWS: Inbox opens", "");
    assert_eq!(report.code, 0);

    let report = world.examine(&["--login", ALICE], "wrong\n");
    report.expect(("entra", "failed"), "AADSTS50126", "");
    assert_eq!(requests().refused, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_missing_or_too_long_is_an_error_of_usage() {
    let world = World::with(&format!("  - {{login: {ALICE}, grant: password}}\n"), Clock::system()).await;
    public(&world);
    let too_long = "x".repeat(2_049);
    for (arguments, input, told) in [
        (&["doctor", "--login", ALICE][..], "", "the password is empty. Enter it at the prompt"),
        (&["doctor", "--login", ALICE], &too_long, "the password has more than 2048 bytes"),
        (&["doctor", ALICE], "", "run `gatepost doctor --login alice@contoso.example`"),
    ] {
        let output = world.gatepost(arguments, input);
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {complaint}");
        assert!(complaint.contains(told), "{arguments:?}: {complaint}");
    }
    let requests = world.sandbox.counters().token_requests_of("password", ALICE);
    assert_eq!((requests.succeeded, requests.refused), (0, 0));
    // The longest one is not cut.
    let report = world.examine(&["--login", ALICE], &format!("{}\r\n", "x".repeat(2_048)));
    report.expect(("entra", "failed"), "AADSTS50126", "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tried_password_and_a_sent_message_are_in_the_audit_log() {
    let accounts = format!("  - {{login: {ALICE}, grant: password}}\n");
    let world = World::with(&accounts, Clock::system()).await;
    public(&world);
    world.write(&format!("{}log: {{audit: {{file: audit.jsonl}}}}\n", world.read()));
    world.examine(&[], "");
    let audit = || std::fs::read_to_string(world.directory.file("audit.jsonl")).unwrap_or_default();
    assert_eq!(audit(), "");
    world.examine(&["--login", ALICE, "--send-test", ALICE], &format!("{ALICES}\n"));
    let audit = audit();
    for done in ["doctor-password", "doctor-message"] {
        let line = audit.lines().find(|line| line.contains(&format!("\"outcome\":\"{done}\""))).expect(&audit);
        assert!(line.contains("\"by\":\"command-line") && line.contains(ALICE), "{line}");
    }
    assert!(!audit.contains(ALICES), "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_has_signed_in() {
    let accounts = format!("  - {{login: {ANNA}, grant: device_code}}\n");
    play(
        &accounts,
        vec![fault(public, ("entra", "failed"), "anna@contoso.example", "gatepost login anna@contoso.example")],
    )
    .await;
}

/// Keeps a sign-in as `gatepost login` does.
async fn keep_sign_in(world: &World) {
    // The directory is made as the service makes it.
    world.add_passwords(&[ANNA]);
    let directory = world.directory.file("state");
    let key = StateKey::File(directory.join("state.key"));
    let store = gatepost_store::open(&State::Sqlite { directory, key }).await.unwrap();
    let key = SignInKey {
        login: MailAddress::parse(ANNA).unwrap(),
        authority: world.sandbox.authority(),
        tenant: "contoso.example".into(),
        client_id: world.sandbox.public_client_id().into(),
    };
    let sign_in = SignIn {
        refresh_token: world.sandbox.sign_in(ANNA).unwrap(),
        username: ANNA.into(),
        tenant_id: world.sandbox.tenant_id().into(),
        object_id: world.sandbox.object_id(ANNA),
        scope: "https://outlook.office.com/IMAP.AccessAsUser.All".into(),
        signed_in_at: UnixTime(1_795_957_955),
        rotated_at: UnixTime(1_795_957_955),
        refused: None,
    };
    store.put_sign_in(&key, &sign_in, None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_that_was_revoked_is_found_although_its_token_lives() {
    let accounts = format!("  - {{login: {ANNA}, grant: device_code}}\n");
    let world = World::with(&accounts, Clock::system()).await;
    public(&world);
    keep_sign_in(&world).await;
    let report = world.examine(&[], "");
    report.expect(("entra", "ok"), "signed in as anna@contoso.example on 2026-11-29", "");
    report.expect(("mailboxes", "ok"), "IMAP: INBOX has 5 messages", "");
    assert_eq!(report.code, 0);
    world.sandbox.end_sign_ins(ANNA, 50_173);
    let report = world.examine(&[], "");
    report.expect(("entra", "failed"), "AADSTS50173", "gatepost login anna@contoso.example");
    report.expect(("mailboxes", "skipped"), "Entra", "");
}

/// Names Microsoft's host, or almost. A proxy that is not there keeps the test off the Internet.
fn at_microsoft(world: &World, host: &str) {
    let authority = world.sandbox.authority();
    world.replace(&format!("authority: {authority}"), &format!("authority: https://{host}/"));
    let yaml = world.read();
    world.write(&format!("{yaml}forward_proxy: {{url: 'http://127.0.0.1:{}'}}\n", free_port()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_placeholder_and_a_misspelled_host_are_named_before_anybody_is_asked() {
    const CONFIGURATION: (&str, &str) = ("configuration", "failed");
    play(
        &app_only(&[SCANNER]),
        vec![
            fault(
                |world| {
                    let client_id = world.sandbox.confidential_client_id().to_owned();
                    world.replace(&client_id, "00000000-0000-0000-0000-000000000000");
                    at_microsoft(world, "login.microsoftonline.com");
                },
                CONFIGURATION,
                "is the placeholder of the documentation",
                "App registrations",
            ),
            fault(
                |world| at_microsoft(world, "login.microsoftonlin.com"),
                CONFIGURATION,
                "login.microsoftonlin.com",
                "login.microsoftonline.com",
            ),
        ],
    )
    .await;
}
