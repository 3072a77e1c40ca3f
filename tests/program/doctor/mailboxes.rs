//! Faults of mailboxes, which Exchange Online answers alike and only a comparison tells apart.

use gatepost_core::clock::Clock;
use gatepost_sandbox::{HttpFault, Service, UpstreamMode};

use super::support::{FAX, Fault, SCANNER, World, app_only, fault, play};

const FAILED: (&str, &str) = ("mailboxes", "failed");

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_mailboxes() {
    play(
        &app_only(&[SCANNER, FAX]),
        vec![
            fault(
                |world| world.sandbox.set_service_principal(false),
                FAILED,
                "IMAP: Exchange Online rejected a valid token for every mailbox",
                "`New-ServicePrincipal -AppId c41a6e5d-93b7-4d28-b0f2-7e8d4a9c1f36 -ObjectId ",
            ),
            fault(
                |world| world.sandbox.set_protocol_enabled(SCANNER, Service::Imap, false),
                FAILED,
                "IMAP: Exchange Online rejected a valid token, POP3 accepted it",
                "`Set-CASMailbox scanner@contoso.example -ImapEnabled $true`",
            ),
            fault(
                |world| {
                    world.sandbox.set_protocol_enabled(SCANNER, Service::Pop3, false);
                    world.sandbox.set_protocol_enabled(FAX, Service::Pop3, false);
                },
                FAILED,
                "(POP3 opens no mailbox, IMAP does)",
                "`Set-CASMailbox fax@contoso.example -PopEnabled $true`",
            ),
            fault(
                |world| world.sandbox.set_application_access(FAX, false),
                FAILED,
                "POP3: Exchange Online lets the application open other mailboxes, not this one",
                "`Add-MailboxPermission fax@contoso.example -User ",
            ),
            fault(
                |world| world.sandbox.set_protocol_enabled(SCANNER, Service::Smtp, false),
                FAILED,
                "SMTP: ",
                "SmtpClientAuthenticationDisabled $false",
            ),
            fault(
                |world| world.sandbox.set_upstream_mode(Service::Smtp, UpstreamMode::SmtpAuthDisabled),
                FAILED,
                "SMTP AUTH turned off for the tenant",
                "deliver: auto",
            ),
            fault(
                |world| world.sandbox.set_upstream_mode(Service::Smtp, UpstreamMode::SecurityDefaults),
                FAILED,
                "security defaults",
                "Conditional Access",
            ),
            fault(
                |world| world.sandbox.set_upstream_mode(Service::Smtp, UpstreamMode::HighVolume),
                FAILED,
                "High Volume Email",
                "smtp.office365.com:587",
            ),
            fault(
                |world| world.sandbox.fail_http(Service::Ews, "GetFolder", HttpFault::status(403), 9),
                FAILED,
                "EWS",
                "EwsAllowedAppIDs",
            ),
            fault(
                |world| world.sandbox.fail_http(Service::Graph, "", HttpFault::status(403), 99),
                FAILED,
                "HTTP 403",
                "Mail.ReadWrite",
            ),
            Fault {
                play: |world| world.sandbox.set_send_as(SCANNER, false),
                arguments: &["--send"],
                input: "",
                at: FAILED,
                text: "SendAsDenied",
                remedy: "Add-RecipientPermission scanner@contoso.example -Trustee ",
            },
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_without_a_license() {
    play(
        &app_only(&[SCANNER, FAX]),
        vec![fault(
            |world| world.sandbox.set_licence(SCANNER, false),
            FAILED,
            "accepted the token, but did not open the mailbox",
            "assign a license",
        )],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_mailbox_says_nothing_about_the_application_and_all_others() {
    let world = World::with(&app_only(&[SCANNER]), Clock::system()).await;
    world.sandbox.set_service_principal(false);
    let report = world.examine(&[], "");
    report.expect(FAILED, "IMAP: localhost", "`Get-ServicePrincipal | Where-Object AppId -eq ");
    let blames_all = |step: &&serde_json::Value| step["text"].as_str().unwrap().contains("every mailbox");
    assert_eq!(report.steps().iter().find(blames_all), None);

    world.sandbox.set_service_principal(true);
    world.sandbox.set_protocol_enabled(SCANNER, Service::Pop3, false);
    let report = world.examine(&[], "");
    report.expect(FAILED, "POP3: Exchange Online rejected a valid token, IMAP accepted it", "-PopEnabled $true");
}
