//! For programs: health and metrics.

use gatepost_core::account::MailAddress;
use gatepost_core::clock::UnixTime;
use gatepost_sandbox::EntraMode;
use gatepost_store::{DevicePassword, DevicePasswordId, Store as _, Verifier};

use crate::admin::http::Browser;
use crate::admin::support::{ALICE, ALICES, ANNA, World};
use crate::common::wait::until;

#[tokio::test]
async fn an_outage_of_entra_is_no_reason_to_replace_this_process() {
    let world = World::new().await;
    let probe = Browser::new(world.page);
    let mut alice = world.imap(ALICE, ALICES).await.unwrap();
    world.sandbox.set_entra_mode(EntraMode::Down);
    let reply = world.imap(ANNA, "x").await.err().unwrap();
    assert!(reply.contains("AUTHENTICATIONFAILED"), "that is judged here: {reply}");
    let reply = world.imap("bob@contoso.example", "x").await.err().unwrap();
    assert!(reply.contains("UNAVAILABLE"), "{reply}");
    let (live, ready) = (probe.get("/livez").await, probe.get("/readyz").await);
    assert_eq!((live.status, &*live.body), (200, "ok\n"));
    assert_eq!((ready.status, &*ready.body), (200, "ready\n"));
    assert!(alice.ask("NOOP").await.starts_with("a OK"));
    assert!(world.imap(ALICE, ALICES).await.is_ok(), "her token still lives");
}

#[tokio::test]
async fn a_service_that_drains_is_alive_and_not_ready() {
    let world = World::new().await;
    let probe = Browser::new(world.page);
    let mut alice = world.imap(ALICE, ALICES).await.unwrap();
    world.stop.drain();
    until("it is not ready any longer", async || probe.get("/readyz").await.status == 503).await;
    assert_eq!(probe.get("/readyz").await.body, "not ready\n", "a word, and no detail");
    assert_eq!(probe.get("/livez").await.status, 200);
    assert!(probe.get("/metrics").await.body.contains("\ngatepost_draining 1\n"));
    assert!(alice.ask("LOGOUT").await.starts_with("a OK"));
}

#[tokio::test]
async fn what_happens_is_counted() {
    let world = World::new().await;
    let probe = Browser::new(world.page);
    let mut alice = world.imap(ALICE, ALICES).await.unwrap();
    let second = world.imap(ALICE, ALICES).await.unwrap();
    assert!(world.imap(ALICE, "wrong-password").await.is_err());
    assert!(alice.ask("NOOP").await.starts_with("a OK"));
    let answer = probe.get("/metrics").await;
    assert_eq!(answer.field("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = answer.body;
    for line in [
        "gatepost_sessions{protocol=\"imap\"} 2",
        "gatepost_logins_total{protocol=\"imap\",outcome=\"accepted\",cause=\"none\"} 2",
        "gatepost_logins_total{protocol=\"imap\",outcome=\"refused\",cause=\"wrong-password\"} 1",
        "gatepost_token_requests_total{grant=\"password\",outcome=\"granted\"} 1",
        "gatepost_token_requests_total{grant=\"password\",outcome=\"refused\"} 1",
        "gatepost_token_cache_hits_total 1",
        "gatepost_token_request_seconds_count 2",
        "gatepost_upstream_connect_seconds_count 2",
        "gatepost_ready 1",
        "gatepost_draining 0",
        "gatepost_panics_total 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    let octets = |text: &str| {
        let line = "gatepost_relayed_bytes_total{protocol=\"imap\",direction=\"received\"} ";
        text.lines().find_map(|found| found.strip_prefix(line)).unwrap().parse::<u64>().unwrap()
    };
    let before = octets(&text);
    assert!(before > 0, "also of sessions that live");
    drop(second);
    assert!(alice.ask("LOGOUT").await.starts_with("a OK"));
    drop(alice);
    until("both have ended", async || {
        probe.get("/metrics").await.body.contains("\ngatepost_sessions{protocol=\"imap\"} 0\n")
    })
    .await;
    let text = probe.get("/metrics").await.body;
    assert!(octets(&text) > before, "{text}");
    assert!(
        text.contains("gatepost_connections_closed_total{cause=\"client-ended\"}") || text.contains("upstream-ended"),
        "{text}"
    );
}

#[tokio::test]
async fn ten_thousand_accounts_and_hostile_names_make_no_further_series() {
    let world = World::with("  - {login: '*@fabrikam.example', grant: authorization_code}\n").await;
    for number in 0..10_000 {
        let password = DevicePassword {
            id: DevicePasswordId(format!("id{number}")),
            login: MailAddress::parse(&format!("account-{number}@fabrikam.example")).unwrap(),
            name: "Scanner".to_owned(),
            protocols: Vec::new(),
            from: Vec::new(),
            created_at: UnixTime(1_800_000_000),
            expires_at: None,
            verifier: Verifier::Generated([7; 32]),
            last_use: None,
        };
        world.store.add_device_password(&password).await.unwrap();
    }
    let probe = Browser::new(world.page);
    for number in 0..40 {
        assert!(world.imap(&format!("account-{number}@fabrikam.example"), "x").await.is_err());
        assert!(world.imap(&format!("hostile{{{number}}}@contoso.example"), "x").await.is_err());
    }
    let text = probe.get("/metrics").await.body;
    let series = text.lines().filter(|line| !line.starts_with('#')).count();
    assert!(series <= 500, "{series}");
    for private in ["account-", "hostile", "contoso", "fabrikam", "127.0.0.1", "@"] {
        assert!(!text.contains(private), "{private}: {text}");
    }
    // The page stays a page.
    let visitor = world.visitor().await;
    let page = visitor.visit("/").await.body;
    assert!(page.contains("These are the first 200 of 10001"), "{}", page.len());
    assert!(page.len() < 1_000_000, "{}", page.len());
    let status: serde_json::Value = serde_json::from_str(&visitor.visit("/status.json").await.body).unwrap();
    assert_eq!(status["accounts_total"], 10_001);
}
