//! The button of the status page.

use gatepost_sandbox::{Service, UpstreamMode};

use crate::admin::support::{ANNA, World};

#[tokio::test]
async fn the_page_examines_one_account_or_all_and_shows_each_step() {
    let world = World::new().await;
    let visitor = world.visitor().await;
    let page = visitor.visit("/").await.body;
    assert!(page.contains("Run doctor for all") && page.contains(&format!("aria-label=\"Run doctor for {ANNA}\"")));
    let without_form = visitor.post(&visitor.at("/doctor"), &[("login", ANNA)]).await;
    assert_eq!(without_form.status, 403, "{without_form:?}");

    let answer = visitor.fill_in("/doctor", &[("login", ANNA)]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    for part in [
        "<h2>Configuration</h2>",
        "<h2>Network</h2>",
        "<span class=\"pill bad\">Failed</span>",
        "<span class=\"turn\">",
        "<code>gatepost login anna@contoso.example</code>",
        "<h2>Clients</h2>",
    ] {
        assert!(answer.body.contains(part), "{part}: {}", answer.body);
    }

    world.sandbox.set_upstream_mode(Service::Imap, UpstreamMode::Refuse);
    let answer = visitor.fill_in("/doctor", &[("login", "")]).await;
    assert!(answer.body.contains("upstream-unreachable") || answer.body.contains("Network admin:"), "{}", answer.body);

    let answer = visitor.fill_in("/doctor", &[("login", "no\u{1}name")]).await;
    assert_eq!(answer.status, 400, "{answer:?}");
}
