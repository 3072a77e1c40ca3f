//! Postfix's load generator, as a device that cannot be discouraged.

use std::process::{Command, Stdio};

use super::world::{ARCHIVE, Queued, Way, mailbox};
use crate::common::wait::until;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Postfix: run tests/run"]
async fn all_that_smtp_source_sends_arrives_once() {
    const MESSAGES: usize = 500;
    let queued = Queued::new(1, Way::Smtp, "  messages_per_minute: 10000").await;
    // It cannot choose its own address.
    let yaml = std::fs::read_to_string(queued.world.path("proxy.yaml")).unwrap();
    queued.world.write("proxy.yaml", &yaml.replace("{from: 127.0.1.1,", "{from: 127.0.0.1,"));
    let _program = queued.start();
    let mut source = Command::new("smtp-source");
    source
        .args(["-s", "20", "-m", &MESSAGES.to_string(), "-l", "20000", "-f", &mailbox(1), "-t", ARCHIVE])
        .arg(format!("inet:{}", queued.listener))
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || source.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    until("the queue is empty", async || queued.list().is_empty()).await;
    let deliveries = queued.world.sandbox.deliveries();
    let names: std::collections::HashSet<_> = deliveries.iter().map(|delivery| &delivery.message_id).collect();
    assert_eq!((deliveries.len(), names.len()), (MESSAGES, MESSAGES));
}
