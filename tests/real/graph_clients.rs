//! Programs that speak Graph: curl, and Python's requests. First straight to the sandbox with a
//! token, which shows that the sandbox is good enough; then through Gatepost with a password.

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gatepost_sandbox::{Sandbox, Service};
use serde_json::json;

use super::microsoft::{ALICE, BOB, Gateway, MIME, MIME_DELIVERED, Microsoft, PASSWORD, application, python, settings};
use super::process::{Finished, run};

/// curl at a Graph that is at `base`.
fn curl(microsoft: &Microsoft, arguments: &[&str], url: &str) -> Finished {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "60", "--cacert"]).arg(&microsoft.root);
    run(command.args(["--write-out", "\n%{http_code}"]).args(arguments).arg(url))
}

/// What the script has done, seen from the other side.
fn assert_arrived(sandbox: &Sandbox) {
    let inbox = sandbox.messages(BOB, "INBOX");
    assert_eq!(inbox.len(), 7);
    assert_eq!(String::from_utf8_lossy(&inbox[5]), String::from_utf8_lossy(MIME_DELIVERED));
    let composed = String::from_utf8(inbox[6].to_vec()).unwrap();
    assert!(
        composed.contains("filename=\"Zahlen.bin\"") && composed.contains("From: <alice@contoso.example>"),
        "{composed}"
    );
    assert_eq!(sandbox.outbox()[0].recipients, ["hidden@fabrikam.example"]);
    assert_eq!(sandbox.messages(ALICE, "Sent Items").len(), 2);
    assert_eq!(sandbox.counters().submissions_of(Service::Graph, ALICE).succeeded, 2);
}

#[test]
#[ignore = "needs Python's requests: run tests/run"]
fn requests_works_with_the_sandbox_itself() {
    let microsoft = Microsoft::start();
    let token = microsoft.sandbox.issue_graph_token(Some(ALICE)).unwrap();
    let base = format!("https://localhost:{}/v1.0", microsoft.sandbox.graph().port());
    let more = json!({"base": base, "token": token.expose()});
    python("graph.py", &settings(&microsoft, more)).expect_success("requests");
    assert_arrived(&microsoft.sandbox);
}

#[test]
#[ignore = "needs curl: run tests/run"]
fn curl_works_with_the_sandbox_itself() {
    let microsoft = Microsoft::start();
    let token = microsoft.sandbox.issue_graph_token(Some(ALICE)).unwrap();
    let base = format!("https://localhost:{}/v1.0", microsoft.sandbox.graph().port());
    let bearer = format!("Authorization: Bearer {}", token.expose());
    send_and_list(&microsoft, &["--header", &bearer], &base);
}

/// Sends a message from a file as base64, and finds it with the recipient's.
fn send_and_list(microsoft: &Microsoft, login: &[&str], base: &str) {
    let file = microsoft.directory.write("message.b64", STANDARD.encode(MIME));
    let data = format!("@{}", file.display());
    let mut arguments = login.to_vec();
    arguments.extend(["--header", "Content-Type: text/plain", "--data-binary", &data]);
    let sent = curl(microsoft, &arguments, &format!("{base}/me/sendMail")).expect_success("curl");
    assert_eq!(String::from_utf8_lossy(&sent.stdout), "\n202");
    assert_eq!(*microsoft.sandbox.messages(BOB, "INBOX")[5], *MIME_DELIVERED);
    let listed = curl(microsoft, login, &format!("{base}/me/mailFolders/sentitems/messages?$select=subject"));
    let listed = String::from_utf8(listed.expect_success("curl").stdout).unwrap();
    assert!(listed.contains("\"subject\":\"Grüße\"") && listed.ends_with("\n200"), "{listed}");
}

#[test]
#[ignore = "needs Python's requests: run tests/run"]
fn requests_works_through_gatepost() {
    let microsoft = Microsoft::start();
    let gateway = Gateway::start(&microsoft, "  - login: \"*@contoso.example\"\n");
    let base = format!("http://localhost:{}/v1.0", gateway.graph);
    let more = json!({"base": base, "password": PASSWORD});
    python("graph.py", &settings(&microsoft, more)).expect_success("as a person");
    assert_arrived(&microsoft.sandbox);
    gateway.stop(PASSWORD);

    let microsoft = Microsoft::start();
    let (account, password) = application(&microsoft);
    let gateway = Gateway::start(&microsoft, &account);
    let base = format!("http://localhost:{}/v1.0", gateway.graph);
    let more = json!({"base": base, "password": password});
    python("graph.py", &settings(&microsoft, more)).expect_success("as an application, for which there is no /me");
    assert_arrived(&microsoft.sandbox);
    gateway.stop(&password);
}

#[test]
#[ignore = "needs curl: run tests/run"]
fn curl_works_through_gatepost() {
    let microsoft = Microsoft::start();
    let gateway = Gateway::start(&microsoft, "  - login: \"*@contoso.example\"\n");
    let base = format!("http://localhost:{}/v1.0", gateway.graph);
    send_and_list(&microsoft, &["--user", &format!("{ALICE}:{PASSWORD}")], &base);
    let refused = curl(&microsoft, &["--user", &format!("{ALICE}:wrong"), "--head"], &format!("{base}/me/messages"));
    let refused = String::from_utf8(refused.stdout).unwrap();
    assert!(refused.ends_with("\n401") && refused.to_lowercase().contains("www-authenticate: basic"), "{refused}");
    gateway.stop(PASSWORD);
}
