//! nodemailer, with which most programs written for Node.js send mail. Its pool keeps five
//! connections open, and Microsoft bears three of a mailbox.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::cloud::{Cloud, LOGIN, PASSWORD};
use super::process::{free_port, run};

/// Where Debian keeps the package.
const LIBRARIES: &str = "/usr/share/nodejs";

const MESSAGES: usize = 50;

#[test]
#[ignore = "needs Dovecot, Squid and mail clients: run tests/run"]
fn the_default_pool_loses_no_message() {
    let cloud = Cloud::start([]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real/pool.js");
    for keys in ["", ", legacy: true"] {
        let port = free_port();
        let listener = format!("  smtp: {{bind: '127.0.0.1:{port}', upstream: '{{smtp}}'{keys}}}");
        let gatepost = cloud.gatepost(&listener, "", &[port]);
        let settings = json!({"port": port, "login": LOGIN, "password": PASSWORD, "messages": MESSAGES});
        let mut node = Command::new("node");
        node.env("NODE_PATH", LIBRARIES).arg(&script).arg(settings.to_string());
        run(&mut node).expect_success(&format!("nodemailer {keys}"));
        let arrived: Vec<String> = cloud
            .sandbox
            .messages(LOGIN, "INBOX")
            .iter()
            .map(|text| String::from_utf8_lossy(text).into_owned())
            .collect();
        cloud.sandbox.empty(LOGIN);
        assert_eq!(arrived.len(), 2 * MESSAGES);
        for number in 0..2 * MESSAGES {
            let subject = format!("Subject: number {number}.");
            assert_eq!(arrived.iter().filter(|message| message.contains(&subject)).count(), 1, "{subject}");
        }
        let log = gatepost.stop();
        assert!(!log.contains("outcome=refused"), "{log}");
    }
}
