//! Messages that are looked for: what a person may do meanwhile, and what is known of them after a kill.

use std::time::Duration;

use gatepost_sandbox::{HttpFault, Service, SmtpFault};

use super::devices::{Connection, Told, send};
use super::world::{ARCHIVE, Queued, Way};
use crate::common::wait::until;

#[tokio::test(flavor = "multi_thread")]
async fn a_person_need_not_wait_for_the_look_for_a_message() {
    let queued = Queued::new(1, Way::Graph, "  messages_per_minute: 10000").await;
    let sandbox = &queued.world.sandbox;
    sandbox.fail_http(Service::Graph, "sendMail", HttpFault::status(504), 1);
    let _program = queued.start();
    assert_eq!(send(1, queued.listener, "<once@devices.example>", 500).await, Told::Accepted);
    until("it is looked for", async || queued.list_of(&["looking"]).len() == 1).await;
    assert!(sandbox.deliveries().is_empty());
    queued.command(&["retry", "1"]);
    until("it is delivered", async || sandbox.deliveries().len() == 1 && queued.list().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_refused_is_named_after_a_kill_although_the_others_have_the_message() {
    let queued = Queued::new(1, Way::Smtp, "  messages_per_minute: 10000").await;
    let sandbox = &queued.world.sandbox;
    // Exchange has the message, and its reply does not come while the service lives.
    sandbox.fail_smtp(SmtpFault::Slow(Duration::from_secs(3_600)), 1);
    let mut program = queued.start();
    let mut connection = Connection::open(1, queued.listener).await.unwrap();
    let nobody = "nobody@contoso.example";
    connection.begin_to(&[nobody, ARCHIVE], 1, "<part@devices.example>", 500).await.unwrap();
    assert_eq!(connection.end().await, Told::Accepted);
    until("the others have it", async || sandbox.deliveries().len() == 1).await;
    program.kill();
    let _program = queued.start();
    until("the other is named", async || queued.list_of(&["failed"]).len() == 1).await;
    let failed = queued.list().remove(0);
    assert_eq!(failed["recipients"], serde_json::json!([nobody]));
    let what = failed["reason"]["what"].as_str().unwrap();
    assert!(what.contains(nobody) && what.contains("(the others have the message)"), "{what}");
    assert_eq!(sandbox.deliveries().len(), 1);
}
