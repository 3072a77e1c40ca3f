//! The button of the status page.

use gatepost_sandbox::{Service, UpstreamMode};

use crate::admin::support::{ANNA, World};
#[cfg(unix)]
use crate::common::wait::PATIENCE;

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

#[cfg(unix)]
#[tokio::test]
async fn the_page_and_the_socket_have_two_examinations_together() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixStream;

    let world = World::new().await;
    world.sandbox.set_upstream_mode(Service::Imap, UpstreamMode::Hang);
    let visitor = world.visitor().await;
    let mut examinations = Vec::new();
    for _ in 0..2 {
        let mut stream = UnixStream::connect(&world.socket).await.unwrap();
        stream.write_all(b"POST /doctor HTTP/1.1\r\nHost: gatepost\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        // It has begun.
        tokio::time::timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap();
        examinations.push(stream);
    }
    let answer = visitor.fill_in("/doctor", &[("login", ANNA)]).await;
    assert_eq!(answer.status, 409, "{answer:?}");
}
