//! Forms that no browser would send, from somebody who has a session.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use crate::admin::http::{Browser, raw};
use crate::admin::support::{ALICE, ALICES, ANNA, World};

/// The fields that any form of the page has.
const FIELDS: [&str; 12] =
    ["account", "address", "device", "expires", "from", "id", "item", "login", "name", "protocol", "replace", "way"];

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(ANNA.to_owned()),
        Just(ALICE.to_owned()),
        select(&["", "0", "-1", "18446744073709551616", "imap", "page", "2026-11-31", "9999999-01-01"][..])
            .prop_map(str::to_owned),
        select(&["127.0.0.1/33", "::/129", "<script>alert(1)</script>", "\" onload=\"x", "\0", "../../etc"][..])
            .prop_map(str::to_owned),
        Just("a".repeat(3_000)),
        any::<String>(),
    ]
}

fn form() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    prop::collection::vec((select(&FIELDS[..]), value()), 0..8)
}

/// Whatever a form says, it is answered, what it says is escaped, and the page goes on.
#[tokio::test]
async fn every_form_is_answered_whatever_it_says() {
    let world = World::new().await;
    let visitor = world.visitor().await;
    let _session = world.imap(ALICE, ALICES).await.unwrap();
    assert_eq!(visitor.fill_in("/passwords/add", &[("login", ANNA), ("name", "Phone")]).await.status, 200);
    let page = visitor.visit("/").await;
    let mut runner = TestRunner::deterministic();
    for action in ["/passwords/add", "/passwords/revoke", "/sign-in", "/doctor", "/sessions/end"] {
        let action = visitor.at(action);
        let token = page.form_token(&action);
        for _ in 0..40 {
            let form = form().new_tree(&mut runner).unwrap().current();
            let mut fields: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, &**value)).collect();
            fields.push(("form", &token));
            let answer = visitor.post(&action, &fields).await;
            assert!((200..500).contains(&answer.status), "{action} {fields:?}: {answer:?}");
            assert!(!answer.body.contains("<script>alert"), "{action} {fields:?}");
            assert!(!answer.body.contains("\" onload=\""), "{action} {fields:?}");
        }
    }
    let page = visitor.visit("/").await;
    assert_eq!(page.status, 200);
    assert!(!page.body.contains("<script>alert"));
}

/// The form that opens a session comes from strangers, and need not be one.
#[tokio::test]
async fn a_stranger_s_form_of_any_octets_opens_no_session() {
    let world = World::new().await;
    let host = format!("127.0.0.1:{}", world.page.port());
    let mut runner = TestRunner::deterministic();
    let octets = prop_oneof![any::<String>(), "(token|link|form|%|&|=|\\+|;){0,40}", Just("%".repeat(30_000))];
    for target in ["/login", "/enter"] {
        for _ in 0..40 {
            let form = octets.new_tree(&mut runner).unwrap().current();
            let answer = raw(
                world.page,
                &format!(
                    "POST {target} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nConnection: close\r\n\
                     Content-Length: {}\r\n\r\n{form}",
                    form.len()
                ),
            )
            .await;
            assert!((400..500).contains(&answer.status), "{target} {form:?}: {answer:?}");
            assert!(answer.field("set-cookie").is_none(), "{target} {form:?}: {answer:?}");
        }
    }
    assert_eq!(Browser::new(world.page).get("/livez").await.status, 200);
}
