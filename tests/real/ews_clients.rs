//! Programs that speak EWS: exchangelib, the library behind most of Python's. First straight to the sandbox with a token,
//! which shows that the sandbox is good enough; then through Gatepost with a password.

use std::path::Path;
use std::process::Command;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gatepost::sandbox::Sandbox;
use serde_json::{Value, json};

use super::microsoft::{ALICE, BOB, Microsoft};
use super::process::{Finished, run};

/// A message of a client's own making.
const MIME: &[u8] =
    b"To: <bob@contoso.example>\r\nBcc: <hidden@fabrikam.example>\r\nSubject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\r\n\
    X-Odd:  two  spaces \r\n\r\n.\r\nbody\r\n";

/// Python with the packages of `requirements.txt`, which `tests/install` puts in place.
pub(crate) fn python(script: &str, settings: &Value) -> Finished {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(root.join("target/python/bin/python"));
    run(command.arg("-B").arg(root.join("tests/real").join(script)).arg(settings.to_string()))
}

/// What the script needs to know besides where and how it logs in.
fn settings(microsoft: &Microsoft, more: Value) -> Value {
    let digest = |octets: &[u8]| -> String {
        digest::digest(&digest::SHA256, octets).as_ref().iter().map(|octet| format!("{octet:02x}")).collect()
    };
    let messages = microsoft.sandbox.messages(ALICE, "INBOX");
    let mut settings = json!({
        "root": microsoft.root,
        "login": ALICE,
        "to": BOB,
        "mime": STANDARD.encode(MIME),
        "digests": messages.iter().map(|message| digest(message)).collect::<Vec<_>>(),
    });
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    settings
}

/// What the script has done, seen from the other side.
fn assert_arrived(sandbox: &Sandbox) {
    let inbox = sandbox.messages(BOB, "INBOX");
    assert_eq!(inbox.len(), 7);
    let composed = String::from_utf8(inbox[5].to_vec()).unwrap();
    assert!(
        composed.contains("filename=\"Zahlen.bin\"") && composed.contains("From: <alice@contoso.example>"),
        "{composed}"
    );
    let without_bcc = String::from_utf8_lossy(MIME).replace("Bcc: <hidden@fabrikam.example>\r\n", "");
    assert_eq!(String::from_utf8_lossy(&inbox[6]), without_bcc);
    assert_eq!(sandbox.outbox()[0].recipients, ["hidden@fabrikam.example"]);
    assert_eq!(sandbox.counters().submissions_of(gatepost::sandbox::Service::Ews, ALICE).succeeded, 3);
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
