//! Programs that speak EWS: exchangelib, the library behind most of Python's. First straight to the sandbox with a token,
//! which shows that the sandbox is good enough; then through Gatepost with a password.

use gatepost::sandbox::{Sandbox, Service};
use serde_json::json;

use super::microsoft::{ALICE, BOB, MIME_DELIVERED, Microsoft, python, settings};

/// What the script has done, seen from the other side.
fn assert_arrived(sandbox: &Sandbox) {
    let inbox = sandbox.messages(BOB, "INBOX");
    assert_eq!(inbox.len(), 7);
    let composed = String::from_utf8(inbox[5].to_vec()).unwrap();
    assert!(
        composed.contains("filename=\"Zahlen.bin\"") && composed.contains("From: <alice@contoso.example>"),
        "{composed}"
    );
    assert_eq!(String::from_utf8_lossy(&inbox[6]), String::from_utf8_lossy(MIME_DELIVERED));
    assert_eq!(sandbox.outbox()[0].recipients, ["hidden@fabrikam.example"]);
    assert_eq!(sandbox.counters().submissions_of(Service::Ews, ALICE).succeeded, 3);
}

#[test]
#[ignore = "needs exchangelib: run tests/run"]
fn exchangelib_works_with_the_sandbox_itself() {
    let endpoint =
        |microsoft: &Microsoft| format!("https://localhost:{}/EWS/Exchange.asmx", microsoft.sandbox.ews().port());
    let microsoft = Microsoft::start();
    let token = microsoft.sandbox.issue_token(ALICE).unwrap();
    let more = json!({"endpoint": endpoint(&microsoft), "token": token.expose()});
    python("ews.py", &settings(&microsoft, more)).expect_success("as a person");
    assert_arrived(&microsoft.sandbox);

    let microsoft = Microsoft::start();
    let token = microsoft.sandbox.issue_app_token().unwrap();
    let more = json!({"endpoint": endpoint(&microsoft), "token": token.expose(), "impersonates": true});
    python("ews.py", &settings(&microsoft, more)).expect_success("as an application");
    assert_arrived(&microsoft.sandbox);
}
