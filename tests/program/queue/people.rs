//! What a person may do while a message is being looked for.

use gatepost_sandbox::{HttpFault, Service};

use super::devices::{Told, send};
use super::world::{Queued, Way};
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
