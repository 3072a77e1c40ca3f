//! Programs that speak EWS: exchangelib, the library behind most of Python's. First straight to the
//! sandbox with a token, which shows that the sandbox is good enough; then through Gatepost with a
//! password.

use std::process::Command;

use gatepost_sandbox::{Sandbox, Service};
use serde_json::json;

use super::microsoft::{ALICE, BOB, Gateway, MIME_DELIVERED, Microsoft, PASSWORD, application, python, settings};
use super::process::run;

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

/// Runs the script through Gatepost.
fn through(gateway: &Gateway, microsoft: &Microsoft, password: &str, what: &str) {
    let endpoint = format!("http://localhost:{}/EWS/Exchange.asmx", gateway.ews);
    let more = json!({"endpoint": endpoint, "password": password});
    python("ews.py", &settings(microsoft, more)).expect_success(what);
    assert_arrived(&microsoft.sandbox);
}

#[test]
#[ignore = "needs exchangelib: run tests/run"]
fn exchangelib_works_through_gatepost_with_the_persons_password() {
    let microsoft = Microsoft::start();
    let gateway = Gateway::start(&microsoft, "  - login: \"*@contoso.example\"\n");
    through(&gateway, &microsoft, PASSWORD, "as a person");
    let endpoint = format!("http://localhost:{}/EWS/Exchange.asmx", gateway.ews);
    let wrong = json!({"endpoint": endpoint, "password": "wrong", "expect_refusal": true});
    python("ews.py", &settings(&microsoft, wrong)).expect_success("with a wrong password");
    let requests = microsoft.sandbox.counters().token_requests_of("password", ALICE);
    assert_eq!((requests.succeeded, requests.refused), (1, 1), "one token serves all, a wrong password is tried once");
    gateway.stop(PASSWORD);
}

#[test]
#[ignore = "needs exchangelib: run tests/run"]
fn exchangelib_works_through_gatepost_as_an_application() {
    let microsoft = Microsoft::start();
    let (account, password) = application(&microsoft);
    let gateway = Gateway::start(&microsoft, &account);
    // It knows nothing of impersonation: the header is Gatepost's.
    through(&gateway, &microsoft, &password, "as an application");
    gateway.stop(&password);
}

#[test]
#[ignore = "needs exchangelib: run tests/run"]
fn exchangelib_finds_gatepost_by_autodiscover() {
    let microsoft = Microsoft::start();
    let certificates = microsoft.directory.path().join("certs");
    let mut cert = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    run(cert.arg("cert").arg("--directory").arg(&certificates)).expect_success("gatepost cert");
    let file = |name: &str| certificates.join(name).display().to_string();
    let tls = format!(", tls: implicit, certificate: {}, private_key: {}", file("server.pem"), file("server.key"));
    let gateway = Gateway::start_with(&microsoft, "  - login: \"*@contoso.example\"\n", &tls);
    let host = format!("localhost:{}", gateway.ews);
    let more = json!({
        "root": file("ca.pem"), "host": host, "password": PASSWORD, "other": BOB, "directory": microsoft.directory.path(),
    });
    python("autodiscover.py", &settings(&microsoft, more)).expect_success("by an address and a password");
    gateway.stop(PASSWORD);
}
