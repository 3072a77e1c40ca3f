//! A healthy Gatepost.

use gatepost_core::clock::Clock;

use super::support::{World, app_only, numbered};

#[tokio::test(flavor = "multi_thread")]
async fn ten_accounts_are_healthy_without_a_service() {
    let names: Vec<String> = (0..10).map(numbered).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let world = World::with(&app_only(&names), Clock::system()).await;
    world.add_passwords(&names);
    let report = world.examine(&[], "");
    assert_eq!(report.with("failed"), Vec::<&serde_json::Value>::new());
    assert_eq!((report.code, report.document["running"].as_bool()), (0, Some(false)));
    for service in ["IMAP", "POP3", "SMTP", "EWS", "Graph", "sending through Graph"] {
        for name in &names {
            let is_it = |step: &&serde_json::Value| {
                let text = step["text"].as_str().unwrap();
                step["subject"] == **name && step["outcome"] == "ok" && text.starts_with(&format!("{service}: "))
            };
            assert!(report.steps().iter().any(|step| is_it(&step)), "{service} {name}: {:#?}", report.steps());
        }
    }
    // One request for each resource, and no message.
    let counters = world.sandbox.counters();
    let requests = counters.token_requests_of("client_credentials", world.sandbox.confidential_client_id());
    assert_eq!(requests.succeeded, 2);
    assert!(names.iter().all(|name| world.sandbox.messages(name, "Sent Items").is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_to_people_has_a_block_for_each_section() {
    let world = World::new().await;
    let output = world.gatepost(&["doctor", "scanner@contoso.example"], "");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.starts_with("No service is running here. Checking proxy.yaml in this process (pid "), "{text}");
    for title in ["Configuration   ", "Host            ", "Network         OK\n", "Entra           OK\n"] {
        assert!(text.contains(&format!("\n{title}")), "{title}: {text}");
    }
    for title in ["Permissions     OK\n", "Mailboxes       OK\n", "Clients         1 problem\n"] {
        assert!(text.contains(&format!("\n{title}")), "{title}: {text}");
    }
    assert!(
        text.contains(
            "no device password, so no client can log in\n          \
             Gatepost admin: run `gatepost password add scanner@contoso.example --name NAME`\n"
        ),
        "{text}"
    );
    assert!(!text.contains("fax@contoso.example"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
    assert!(text.contains("\n1 problem"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_sent_only_on_demand() {
    let world = World::new().await;
    let report = world.examine(&["--send", "scanner@contoso.example"], "");
    report.expect(("mailboxes", "ok"), "SMTP: sent a message to scanner@contoso.example", "");
    report.expect(("mailboxes", "ok"), "sending through Graph: sent a message to scanner@contoso.example", "");
    let sent = world.sandbox.messages("scanner@contoso.example", "Sent Items");
    assert_eq!(sent.len(), 2);
    assert!(String::from_utf8_lossy(&sent[0]).contains("Test message of gatepost doctor"));
    world.examine(&["--send-test", "fax@contoso.example", "scanner@contoso.example"], "");
    let received = world.sandbox.messages("fax@contoso.example", "INBOX");
    let is_test = |message: &std::sync::Arc<[u8]>| String::from_utf8_lossy(message).contains("of gatepost doctor");
    assert_eq!(received.iter().filter(|message| is_test(message)).count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_tell_usage_and_configuration_apart() {
    let world = World::new().await;
    for (arguments, code, told) in [
        (&["doctor", "--from", "somewhere"][..], 2, "--from"),
        (&["doctor", "--send", "--send-test", "a@b.example"], 2, "cannot be used with"),
        (&["doctor", "a@b.example", "--login", "a@b.example"], 2, "cannot be used with"),
        (&["doctor", "-c", "absent.yaml"], 3, "absent.yaml"),
        (&["doctor", "--set", "limits.connect=soon"], 3, "limits.connect"),
        (&["doctor", "--socket", "absent.sock"], 1, "absent.sock"),
    ] {
        let output = world.gatepost(arguments, "");
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {complaint}");
        assert!(complaint.contains(told), "{arguments:?}: {complaint}");
    }
    let tls = "listeners.imap.tls=implicit";
    let pair = ["listeners.imap.certificate=certs/server.pem", "listeners.imap.private_key=other/server.key"];
    for directory in ["certs", "other"] {
        assert!(world.gatepost(&["cert", "--directory", directory], "").status.success());
    }
    for (settings, told) in [
        // A token for another service, an authority that is none, a key of another certificate.
        (&["microsoft.scope=https://graph.microsoft.com/.default"][..], "opens no mailbox over IMAP"),
        (&["microsoft.authority=http://login.microsoftonline.com/"], "must use `https`"),
        (&["microsoft.authority=https://login.microsoftonline.com/contoso.com/"], "more than the host"),
        (&[tls, pair[0], pair[1]], "private_key"),
    ] {
        let settings = settings.iter().flat_map(|setting| ["--set", setting]);
        let output = world.gatepost(&["doctor"].into_iter().chain(settings).collect::<Vec<_>>(), "");
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{told}: {complaint}");
        assert!(complaint.contains(told), "{told}: {complaint}");
    }
    let report = world.examine(&["nobody@elsewhere.example"], "");
    report.expect(
        ("configuration", "failed"),
        "no account or alias matches nobody@elsewhere.example",
        "`login: nobody@elsewhere.example`",
    );
}
