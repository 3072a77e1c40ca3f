//! The queue on the page.

use gatepost_store::queue::State;
use serde_json::Value;

use crate::admin::http::Browser;
use crate::admin::support::TOKEN;
use crate::cli::queue::World;
use crate::common::port::free_address;

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_wait_for_a_person_are_shown_retried_and_discarded() {
    let world = World::new().await;
    let page = free_address();
    world.add(&format!("admin: {{bind: '{page}', token: {TOKEN}}}\n"));
    let _service = world.serve(page.port());
    let visitor = Browser::new(page);
    assert_eq!(visitor.post("/login", &[("token", TOKEN)]).await.status, 303);
    let status = async || -> Value { serde_json::from_str(&visitor.visit("/status.json").await.body).unwrap() };
    let shown = status().await;
    assert_eq!((&shown["queue"]["states"]["failed"], &shown["queue"]["states"]["unknown"]), (&1.into(), &1.into()));
    assert_eq!(shown["queue"]["list"][0]["id"], 2, "those for a person come first");
    let html = visitor.visit("/").await.body;
    for words in [
        "Messages of the queue need you: 1 not sent, 1 of unknown outcome",
        "Microsoft 365 admin: allow the mailbox to send as this sender.",
        "<dd class=\"quiet\">2 for you</dd>",
        "Send message 3 again? It may arrive twice.",
    ] {
        assert!(html.contains(words), "{words} in {html}");
    }
    assert_eq!(visitor.fill_in("/queue/discard", &[("id", "3")]).await.status, 303);
    assert!(world.states().await.iter().all(|(id, _)| *id != 3));
    assert_eq!(visitor.fill_in("/queue/retry", &[("id", "2")]).await.status, 303);
    assert!(world.states().await.iter().all(|(id, state)| *id != 2 || *state != State::Failed));
    let gone = visitor.fill_in("/queue/retry", &[("id", "nonsense")]).await;
    assert!(gone.status == 409 && gone.body.contains("There is no such message."), "{gone:?}");
    // Without a form of the session nothing is changed.
    let forged = visitor.post(&visitor.at("/queue/discard"), &[("id", "1"), ("form", "x")]).await;
    assert_eq!(forged.status, 403);
    let acts = world.audit();
    for (outcome, id) in [("queue-discarded", 3), ("queue-retried", 2)] {
        assert!(acts.iter().any(|(done, _, told)| done == outcome && *told == format!("message {id}")), "{acts:?}");
    }
}
