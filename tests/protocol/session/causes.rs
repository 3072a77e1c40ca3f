//! One sentence for one cause: what an administrator has forgotten, told by the log with the names
//! and commands that mend it.

use gatepost_config::password_hash as password;
use gatepost_core::failure::Refusal;
use gatepost_core::protocol::MailProtocol;
use gatepost_core::secret::Password;
use gatepost_sandbox::{SandboxAccount, SandboxConfig, SandboxSecret, Service, UpstreamMode};

use crate::session::support::{ALICE, ALICES, BOB, BOBS, PROTOCOLS, Setup, World, service};

use MailProtocol::{Imap, Pop3, Smtp};

const OFFICE: &str = "office@contoso.example";

/// Alice's and Bob's mailboxes are opened by the application itself.
async fn app_only() -> World {
    let hash = |text: &str| password::hash(&Password::new(text.to_owned())).unwrap();
    let accounts = format!(
        "\n  - {{login: {ALICE}, passwords: ['{}']}}\n  - {{login: {BOB}, passwords: ['{}']}}",
        hash(ALICES),
        hash(BOBS)
    );
    Setup {
        accounts,
        microsoft: "  grant: client_credentials\n  client_id: '{confidential}'\n  client_secret: sandbox-secret",
        ..Setup::default()
    }
    .start()
    .await
}

/// The same, with Microsoft Graph for messages and for POP3.
async fn app_only_by_graph() -> World {
    let hash = password::hash(&Password::new(ALICES.to_owned())).unwrap();
    Setup {
        listeners: "
  pop3: {bind: '127.0.0.1:0', upstream: graph, graph: 'localhost:{graph}'}
  smtp: {bind: '127.0.0.1:0', deliver: graph, graph: 'localhost:{graph}'}"
            .to_owned(),
        accounts: format!("\n  - {{login: {ALICE}, passwords: ['{hash}']}}"),
        microsoft: "  grant: client_credentials\n  client_id: '{confidential}'\n  client_secret: sandbox-secret",
        ..Setup::default()
    }
    .start()
    .await
}

/// Sends a message, and returns the line of the log that says why it was not sent.
async fn not_sent(world: &World) -> String {
    let mut client = world.session(Smtp, ALICE, ALICES).await;
    client.ask(&format!("MAIL FROM:<{ALICE}>"), "250 ").await;
    client.ask(&format!("RCPT TO:<{BOB}>"), "250 ").await;
    client.ask("DATA", "354 ").await;
    let reply = client.ask(&format!("From: {ALICE}\r\nTo: {BOB}\r\n\r\nhello\r\n."), "").await;
    assert!(reply.starts_with("550 5.7.1 "), "{reply}");
    world.log.lines(|line| line.contains("outcome=not-sent")).last().unwrap().clone()
}

/// Refuses Alice's login, and returns the line of the log.
async fn line(world: &World, protocol: MailProtocol, refusal: Refusal, cause: &str) -> String {
    world.refuses(protocol, ALICE, ALICES, refusal, cause).await;
    let refused = world.log.lines(|line| line.contains("outcome=refused") && line.contains(ALICE));
    refused.last().unwrap().clone()
}

fn says(line: &str, words: &[&str]) {
    for words in words {
        assert!(line.contains(words), "`{words}` is wanted: {line}");
    }
}

fn hides(line: &str, words: &[&str]) {
    for words in words {
        assert!(!line.contains(words), "`{words}` has no place here: {line}");
    }
}

#[tokio::test]
async fn a_missing_role_is_named_with_those_that_are_there_and_with_the_address_to_consent() {
    let world = app_only().await;
    world.sandbox.set_exchange_consent(Some(&["IMAP.AccessAsApp"]));
    world.session(Imap, ALICE, ALICES).await.works().await;
    let id = world.sandbox.confidential_client_id();
    let consent = format!("{}contoso.example/adminconsent?client_id={id}", world.sandbox.authority());
    for (protocol, missing) in [(Pop3, "POP.AccessAsApp"), (Smtp, "SMTP.SendAsApp")] {
        let line = line(&world, protocol, Refusal::ContactAdmin, "permission-missing").await;
        says(
            &line,
            &[
                &format!("the token lacks {missing} (it has IMAP.AccessAsApp)"),
                &format!("Microsoft 365 admin: add {missing} to application {id} and grant consent: {consent}"),
            ],
        );
        hides(&line, &["AccessAsUser", "Get-ServicePrincipal", "app-only"]);
    }
}

#[tokio::test]
async fn a_missing_scope_is_named_as_a_user_needs_it() {
    let world = World::new().await;
    world.sandbox.set_exchange_consent(Some(&["POP.AccessAsUser.All"]));
    let line = line(&world, Imap, Refusal::ContactAdmin, "permission-missing").await;
    says(&line, &["the token lacks IMAP.AccessAsUser.All (it has POP.AccessAsUser.All)", "adminconsent?client_id="]);
    hides(&line, &["AccessAsApp", "ServicePrincipal"]);
}

#[tokio::test]
async fn a_missing_service_principal_is_registered_with_the_ids_of_the_token() {
    let world = app_only().await;
    world.sandbox.set_service_principal(false);
    let id = world.sandbox.confidential_client_id();
    let object = world.sandbox.object_id(id);
    for (protocol, permission) in [(Imap, "IMAP.AccessAsApp"), (Pop3, "POP.AccessAsApp"), (Smtp, "SMTP.SendAsApp")] {
        let line = line(&world, protocol, Refusal::ContactAdmin, "token-refused").await;
        says(
            &line,
            &[
                &format!("rejected an access token that has {permission}"),
                &format!("`Get-ServicePrincipal | Where-Object AppId -eq {id}`"),
                &format!("`New-ServicePrincipal -AppId {id} -ObjectId {object}`"),
                &format!("`Add-MailboxPermission {ALICE} -User {object} -AccessRights FullAccess`"),
            ],
        );
        hides(&line, &["AccessAsUser", "SMTP.Send ", "grant consent"]);
    }
}

#[tokio::test]
async fn a_mailbox_that_is_closed_to_the_application_is_opened_by_name() {
    let world = app_only().await;
    world.sandbox.set_application_access(ALICE, false);
    let object = world.sandbox.object_id(world.sandbox.confidential_client_id());
    let add = format!("`Add-MailboxPermission {ALICE} -User {object} -AccessRights FullAccess`");
    for (protocol, cause) in [(Imap, "mailbox-not-connected"), (Pop3, "token-refused"), (Smtp, "token-refused")] {
        says(&line(&world, protocol, Refusal::ContactAdmin, cause).await, &[&add]);
    }
    world.session(Imap, BOB, BOBS).await.works().await;
}

#[tokio::test]
async fn a_protocol_that_is_off_is_turned_on_for_the_mailbox() {
    let world = World::new().await;
    for (protocol, cause, cmdlet) in [
        (Imap, "token-refused", "`Set-CASMailbox alice@contoso.example -ImapEnabled $true`"),
        (Pop3, "token-refused", "`Set-CASMailbox alice@contoso.example -PopEnabled $true`"),
        (Smtp, "protocol-disabled", "`Set-CASMailbox alice@contoso.example -SmtpClientAuthenticationDisabled $false`"),
    ] {
        world.sandbox.set_protocol_enabled(ALICE, service(protocol), false);
        let line = line(&world, protocol, Refusal::ContactAdmin, cause).await;
        says(&line, &[cmdlet]);
        hides(&line, &["ServicePrincipal", "AccessAsApp", "Add-MailboxPermission"]);
    }
}

#[tokio::test]
async fn a_mailbox_without_a_license_is_told_alike_over_imap_and_pop3() {
    for is_app_only in [true, false] {
        let world = if is_app_only { app_only().await } else { World::new().await };
        world.sandbox.set_licence(ALICE, false);
        for protocol in [Imap, Pop3] {
            let line = line(&world, protocol, Refusal::ContactAdmin, "mailbox-not-connected").await;
            says(&line, &["accepted the token", "assign a license with Exchange Online to alice@contoso.example"]);
            hides(&line, &["rejected", "refused the token"]);
        }
    }
}

#[tokio::test]
async fn a_delegate_without_a_right_is_let_into_the_shared_mailbox() {
    let accounts = format!("\n  - {{login: {ALICE}, mailbox: {OFFICE}}}");
    let world = Setup {
        accounts,
        sandbox: SandboxConfig {
            accounts: [ALICE, OFFICE].map(|user| SandboxAccount::new(user, ALICES)).into(),
            ..SandboxConfig::default()
        },
        ..Setup::default()
    }
    .start()
    .await;
    for (protocol, cause) in [(Imap, "mailbox-not-connected"), (Pop3, "token-refused"), (Smtp, "token-refused")] {
        let line = line(&world, protocol, Refusal::ContactAdmin, cause).await;
        says(&line, &[&format!("`Add-MailboxPermission {OFFICE} -User {ALICE} -AccessRights FullAccess`")]);
        hides(&line, &["ServicePrincipal", "AccessAsApp"]);
    }
}

#[tokio::test]
async fn the_reasons_of_a_barred_smtp_have_remedies_of_their_own() {
    let world = World::new().await;
    let cmdlet = "`Set-CASMailbox alice@contoso.example -SmtpClientAuthenticationDisabled $false`";
    for (mode, message, remedy, absent) in [
        (UpstreamMode::SmtpAuthDisabled, "turned off for the tenant", cmdlet, "security defaults"),
        (UpstreamMode::SecurityDefaults, "because of the tenant's security defaults", "Conditional Access", cmdlet),
        (UpstreamMode::PolicyNotMet, "because of a policy", "find the sign-in of alice@contoso.example", cmdlet),
    ] {
        world.sandbox.set_upstream_mode(Service::Smtp, mode);
        let line = line(&world, Smtp, Refusal::ContactAdmin, "protocol-disabled").await;
        says(&line, &[message, remedy, "535 5.7.139", "set `deliver: auto` on the listener"]);
        hides(&line, &[absent]);
    }
}

#[tokio::test]
async fn high_volume_email_is_not_mistaken_for_a_broken_server() {
    let world = World::new().await;
    world.sandbox.set_upstream_mode(Service::Smtp, UpstreamMode::HighVolume);
    let line = line(&world, Smtp, Refusal::ContactAdmin, "token-not-understood").await;
    says(
        &line,
        &[
            "is for accounts of High Volume Email (HVE) only, and alice@contoso.example is none",
            "Gatepost admin: set `upstream: smtp.office365.com:587` on the listener",
        ],
    );
}

#[tokio::test]
async fn implicit_tls_at_a_port_that_greets_in_plain_text_names_the_key() {
    let listeners = "\n  smtp: {bind: '127.0.0.1:0', upstream: 'localhost:{smtp}', upstream_tls: implicit}".to_owned();
    let world = Setup { listeners, ..Setup::default() }.start().await;
    let line = line(&world, Smtp, Refusal::Unavailable, "upstream-tls-failed").await;
    says(&line, &["greets in plain text (`220 ", "Gatepost admin: remove `upstream_tls: implicit` from the listener"]);
    hides(&line, &["InvalidContentType", "corrupt message"]);
}

#[tokio::test]
async fn an_expired_secret_says_of_which_application() {
    let world = app_only().await;
    let secret = gatepost_core::secret::ClientSecret::new("sandbox-secret".to_owned());
    world.sandbox.set_client_secrets(vec![SandboxSecret { secret, expired: true }]);
    let id = world.sandbox.confidential_client_id();
    let line = line(&world, Imap, Refusal::ContactAdmin, "entra-configuration").await;
    says(
        &line,
        &[
            &format!("AADSTS7000222`: the client secret of application `{id}` has expired"),
            &format!("create a secret for application {id}"),
            "trace id",
        ],
    );
    hides(&line, &["certificate `"]);
}

#[tokio::test]
async fn entras_refusals_have_the_names_in_them() {
    for (code, cause, words) in [
        (65001, "entra-configuration", "grant consent: https://localhost:"),
        (7_000_229, "entra-configuration", "run `az ad sp create --id "),
        (50055, "entra-password-expired", "the password of `alice@contoso.example` has expired"),
        (50144, "entra-password-expired", "has expired in the on-premises directory"),
        (50076, "entra-configuration", "set `grant: authorization_code` or `grant: device_code` for the account"),
    ] {
        let world = World::new().await;
        world.sandbox.set_sign_in_error(ALICE, Some(code));
        says(&line(&world, Imap, Refusal::ContactAdmin, cause).await, &[words, &format!("AADSTS{code}")]);
    }
}

/// Entra is not asked again about a password that it refused, and what it said is not forgotten.
#[tokio::test]
async fn an_unknown_user_stays_one_when_the_answer_comes_from_memory() {
    let world = World::new().await;
    world.sandbox.set_sign_in_error(ALICE, Some(50034));
    for protocol in PROTOCOLS {
        let line = line(&world, protocol, Refusal::InvalidCredentials, "wrong-password").await;
        says(&line, &["AADSTS50034", "does not exist", "user name"]);
    }
    assert_eq!(world.sandbox.counters().token_requests_of("password", ALICE).refused, 1);
}

#[tokio::test]
async fn a_code_without_an_entry_is_told_in_microsofts_own_words() {
    let world = World::new().await;
    world.sandbox.set_sign_in_error(ALICE, Some(7_999_999));
    world.refuses(Imap, ALICE, ALICES, Refusal::ContactAdmin, "sign-in-needed").await;
    assert!(world.log.has("AADSTS7999999`: Microsoft says \"The request was refused\" (trace id "));
}

#[tokio::test]
async fn a_message_that_graph_refuses_tells_a_missing_permission_from_a_missing_scope() {
    let world = app_only_by_graph().await;
    world.sandbox.set_graph_consent(Some(&["Mail.Read"]));
    let line = not_sent(&world).await;
    says(&line, &["the token lacks Mail.Send (it has Mail.Read)", "grant consent: https://localhost:"]);
    says(&line, &["ErrorAccessDenied", "cause=permission-missing"]);
    hides(&line, &["message not sent: The message was not sent"]);

    let world = app_only_by_graph().await;
    world.sandbox.set_application_access(ALICE, false);
    let line = not_sent(&world).await;
    let id = world.sandbox.confidential_client_id();
    says(
        &line,
        &[
            "although the token has Mail.Send",
            &format!("`Test-ServicePrincipalAuthorization -Identity {id} -Resource {ALICE}`"),
            "cause=send-denied",
        ],
    );
    hides(&line, &["grant consent"]);
}

#[tokio::test]
async fn a_mailbox_that_graph_does_not_open_is_explained_alike() {
    let world = app_only_by_graph().await;
    world.sandbox.set_graph_consent(Some(&["Mail.Send"]));
    let told = line(&world, Pop3, Refusal::ContactAdmin, "permission-missing").await;
    says(&told, &["the token lacks Mail.ReadWrite (it has Mail.Send)"]);

    let world = app_only_by_graph().await;
    world.sandbox.set_application_access(ALICE, false);
    let told = line(&world, Pop3, Refusal::ContactAdmin, "mailbox-denied").await;
    says(&told, &["although the token has Mail.ReadWrite", "Test-ServicePrincipalAuthorization"]);
}

/// Mail and token requests go through the same proxy, and its faults are the same.
#[tokio::test]
async fn a_proxy_that_is_down_is_told_alike_for_tokens_and_for_mail() {
    let nobody = crate::common::port::free_address();
    let sections = format!("forward_proxy: {{url: 'http://{nobody}'}}");
    let world = Setup { sections, ..Setup::default() }.start().await;
    let token = line(&world, Imap, Refusal::Unavailable, "proxy-unreachable").await;
    let of_mail = world.log.lines(|line| line.contains("could not learn what the upstream announces"));
    let words =
        format!("cannot connect to the proxy http://{nobody}: connection refused. Network admin: start the proxy");
    for line in [&token, of_mail.last().unwrap()] {
        says(line, &[&words]);
        hides(line, &["os error", "microsoft.authority", "client error"]);
    }
}
