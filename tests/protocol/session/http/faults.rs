//! What Microsoft, or somebody in between, does wrong: the client hears what its protocol knows,
//! and never a challenge.

use std::sync::atomic::{AtomicUsize, Ordering};

use gatepost_sandbox::{EntraMode, HttpFault, Service};
use hyper::body::Bytes;

use super::client::{Connection, Got, OK, basic, envelope, request, with_origin, with_sandbox};
use super::origin::{Origin, Reply, reply};
use crate::session::support::{ALICE, ALICES, Setup, World};

async fn ews(world: &World, body: &str) -> Got {
    let mut connection = Connection::http_1(world, "ews").await;
    connection.ask(request("POST", "/EWS/Exchange.asmx", &basic(ALICE, ALICES), &envelope("", body))).await
}

async fn graph(world: &World) -> Got {
    let mut connection = Connection::http_1(world, "graph").await;
    connection.ask(request("GET", "/v1.0/me/messages", &basic(ALICE, ALICES), "")).await
}

/// To whom the token of the second request is not good enough.
async fn refuses_the_second() -> Origin {
    let count = AtomicUsize::new(0);
    let origin = Origin::start(move |_| match count.fetch_add(1, Ordering::Relaxed) {
        1 => reply("401 Unauthorized", "www-authenticate: Bearer\r\n", ""),
        _ => reply("200 OK", "content-type: text/xml\r\n", "<a/>"),
    });
    origin.await
}

#[tokio::test]
async fn a_stale_token_is_replaced_and_the_request_sent_again() {
    let origin = refuses_the_second().await;
    let world = with_origin(&origin).start().await;
    assert_eq!(ews(&world, "<first/>").await.status, OK);
    assert_eq!(ews(&world, "<second/>").await.status, OK);
    let seen = origin.seen();
    assert_eq!(seen.len(), 3);
    assert_eq!(seen[1].body, seen[2].body);
    assert_ne!(seen[1].field("authorization"), seen[2].field("authorization"));
}

#[tokio::test]
async fn a_request_too_large_to_be_held_is_to_be_repeated() {
    let origin = refuses_the_second().await;
    let world = with_origin(&origin).start().await;
    let large = format!("<a>{}</a>", "x".repeat(100_000));
    assert_eq!(ews(&world, &large).await.status, OK);
    let got = ews(&world, &large).await;
    assert_eq!((got.status, got.header("retry-after"), got.header("www-authenticate")), (503, "1", ""));
    assert!(got.text.contains("ErrorServerBusy") && got.text.contains("\"BackOffMilliseconds\">1000<"), "{got:?}");
    assert_eq!(ews(&world, &large).await.status, OK);
}

#[tokio::test]
async fn a_token_that_is_refused_when_fresh_is_nothing_that_a_password_could_mend() {
    let origin = Origin::start(|_| {
        reply("401 Unauthorized", "www-authenticate: Bearer\r\nx-ms-diagnostics: 2000008;reason=\"x\"\r\n", "go away")
    })
    .await;
    let world = with_origin(&origin).start().await;
    for got in [ews(&world, "<a/>").await, graph(&world).await] {
        assert_eq!((got.status, got.header("www-authenticate")), (403, ""));
        assert!(!got.text.contains("go away") && got.text.contains("Your password is not the problem"), "{got:?}");
    }
    assert!(world.log.has("cause=token-refused action_by=m365-admin") && world.log.has("`2000008`"));
}

#[tokio::test]
async fn ews_that_is_switched_off_is_explained() {
    let world = with_sandbox().start().await;
    world.sandbox.fail_http(Service::Ews, "", HttpFault::status(403), 1);
    let got = ews(&world, "<m:GetServerTimeZones/>").await;
    assert_eq!(got.status, 503, "{got:?}");
    assert!(got.text.contains("turned off or blocked"), "{got:?}");
    assert!(world.log.has("cause=ews-barred") && world.log.has("EwsAllowedAppIDs"));
}

#[tokio::test]
async fn a_refusal_of_ews_is_told_with_the_code_of_its_diagnostics() {
    let origin = Origin::start(|_| reply("403 Forbidden", "x-ms-diagnostics: 2000013;reason=\"x\"\r\n", "")).await;
    let world = with_origin(&origin).start().await;
    assert_eq!(ews(&world, "<a/>").await.status, 503);
    assert!(world.log.has("answered 403 (`2000013`): EWS is"));
    assert!(world.control.journal().failures().iter().any(|failure| failure.cause.name() == "ews-barred"));
}

/// What Microsoft refuses passes unchanged, and is told: the client's own log has only a number.
#[tokio::test]
async fn what_microsoft_refuses_after_the_login_is_told_once_a_minute_and_passes_unchanged() {
    let world = with_sandbox().start().await;
    let counted = |series: &str| world.control.journal().metrics().text().lines().any(|line| line == series);
    for (service, status, code, cause, level, label) in [
        (Service::Graph, 403, "ErrorAccessDenied", "request-denied", " WARN ", "Microsoft 365 admin"),
        (Service::Graph, 500, "ErrorInternalServerError", "upstream-failed", " WARN ", "No action needed"),
        (Service::Ews, 500, "ErrorImpersonateUserDenied", "request-denied", " WARN ", "Microsoft 365 admin"),
        (Service::Ews, 500, "ErrorSchemaValidation", "request-refused", " INFO ", "Device owner"),
    ] {
        let (name, before) = match service {
            Service::Ews => ("ews", world.log.lines(|line| line.contains("request failed: ")).len()),
            _ => ("graph", world.log.lines(|line| line.contains("request failed: ")).len()),
        };
        for _ in 0..3 {
            world.sandbox.fail_http(service, "", HttpFault::code(status, code), 1);
            let got = match service {
                Service::Ews => ews(&world, "<m:GetServerTimeZones/>").await,
                _ => graph(&world).await,
            };
            assert!(got.status == status && got.text.contains(code), "{got:?}");
        }
        let series = format!("gatepost_requests_refused_total{{protocol=\"{name}\",cause=\"{cause}\"}} 3");
        world.until("all are counted", || counted(&series)).await;
        let lines = world.log.lines(|line| line.contains("request failed: "));
        assert_eq!(lines.len(), before + 1, "{lines:?}");
        let line = lines.last().unwrap();
        let words =
            [level, &format!("cause={cause} "), &format!("HTTP {status} `{code}`"), &format!(". {label}: "), ALICE];
        assert!(words.iter().all(|words| line.contains(words)), "{words:?}: {line}");
        let shown = world.control.journal().failures();
        assert!(
            shown
                .iter()
                .any(|failure| failure.cause.name() == cause && &*failure.listener == name && failure.count == 3)
        );
    }
}

#[tokio::test]
async fn throttling_is_handed_on_in_the_words_of_the_protocol() {
    let origin = Origin::start(|seen| match seen.line().contains("/EWS/") {
        true => reply("503 Service Unavailable", "retry-after: 42\r\ncontent-type: text/html\r\n", "<h1>busy</h1>"),
        false => reply(
            "429 Too Many Requests",
            "retry-after: 17\r\ncontent-type: application/json\r\n",
            "{\"error\":{\"code\":\"x\"}}",
        ),
    })
    .await;
    let world = with_origin(&origin).start().await;
    let got = ews(&world, "<a/>").await;
    assert_eq!((got.status, got.header("retry-after")), (503, "42"));
    assert!(got.text.contains("ErrorServerBusy") && got.text.contains("\"BackOffMilliseconds\">42000<"), "{got:?}");
    let got = graph(&world).await;
    assert_eq!((got.status, got.header("retry-after"), got.text.as_str()), (429, "17", "{\"error\":{\"code\":\"x\"}}"));
}

#[tokio::test]
async fn a_page_of_somebody_in_between_is_not_repeated() {
    let origin =
        Origin::start(|_| reply("502 Bad Gateway", "content-type: text/html\r\n", "<h1>secret-proxy-7</h1>")).await;
    let world = with_origin(&origin).start().await;
    for got in [ews(&world, "<a/>").await, graph(&world).await] {
        assert!(got.status == 502 && !got.text.contains("secret-proxy-7"), "{got:?}");
    }
}

#[tokio::test]
async fn a_page_of_a_web_filter_is_no_answer_of_ews() {
    let world = with_sandbox().start().await;
    world.sandbox.fail_http(Service::Ews, "", HttpFault::Html, 1);
    let got = ews(&world, "<m:GetServerTimeZones/>").await;
    assert!(got.status == 502 && !got.text.contains("<html"), "{got:?}");
    assert!(world.log.has("cause=upstream-garbage"));
    assert_eq!(ews(&world, "<m:GetServerTimeZones/>").await.status, OK);
}

#[tokio::test]
async fn redirects_are_not_followed_and_lead_nowhere_else() {
    let count = AtomicUsize::new(0);
    const TO: [(&str, &str, u16, &str); 12] = [
        ("302 Found", "https://evil.example/", 502, ""),
        ("301 Moved", "http://localhost/v1.0/me", 502, ""),
        ("307 Temporary Redirect", "//evil.example/", 502, ""),
        ("308 Permanent Redirect", "https://localhost.evil.example/", 502, ""),
        ("302 Found", "https://localhost@evil.example/", 502, ""),
        ("303 See Other", "javascript:alert(1)", 502, ""),
        ("302 Found", "http://169.254.169.254/latest/meta-data/", 502, ""),
        ("302 Found", "/\\evil.example/", 502, ""),
        ("302 Found", "https://localhost/v1.0/me/messages", 302, "http://localhost/v1.0/me/messages"),
        ("302 Found", "/v1.0/me/messages", 302, "/v1.0/me/messages"),
        (
            "201 Created",
            "https://localhost/v1.0/users('x')/messages('y')",
            201,
            "http://localhost/v1.0/users('x')/messages('y')",
        ),
        ("201 Created", "https://evil.example/x", 201, ""),
    ];
    let origin = Origin::start(move |_| {
        let (status, to, ..) = TO[count.fetch_add(1, Ordering::Relaxed)];
        reply(status, &format!("location: {to}\r\ncontent-type: application/json\r\n"), "{}")
    })
    .await;
    let world = with_origin(&origin).start().await;
    for (_, to, status, location) in TO {
        let got = graph(&world).await;
        assert_eq!((got.status, got.header("location")), (status, location), "{to}");
    }
    assert_eq!(origin.seen().len(), TO.len(), "each was asked once");
    assert!(world.log.has("cause=redirected"));
}

#[tokio::test]
async fn the_mailbox_has_places_and_who_finds_none_may_come_again() {
    let origin = Origin::start(|_| Reply::Silence).await;
    let setup = with_origin(&origin);
    let world = Setup { limits: "  graph_requests_per_mailbox: 2\n  mailbox_wait: 200ms", ..setup }.start().await;
    let mut held = Vec::new();
    for number in 1..=2 {
        let mut connection = Connection::http_1(&world, "graph").await;
        held.push(tokio::spawn(async move {
            connection.ask(request("GET", "/v1.0/me/messages", &basic(ALICE, ALICES), "")).await
        }));
        world.until("it is under way", || origin.seen().len() == number).await;
    }
    let got = graph(&world).await;
    assert!(got.status == 429 && !got.header("retry-after").is_empty(), "{got:?}");
    assert!(got.text.contains("activityLimitReached"), "{got:?}");
    held.into_iter().for_each(|task| task.abort());
    // Both have left: their places are free.
    world.until("the connections are gone", || world.log.lines(|line| line.contains("outcome=ended")).len() >= 2).await;
    assert_eq!(origin.seen().len(), 2);
}

#[tokio::test]
async fn silence_ends_in_504_and_an_unreachable_origin_in_502() {
    let origin = Origin::start(|_| Reply::Silence).await;
    let setup = with_origin(&origin);
    let world = Setup { limits: "  http_answer: 200ms", ..setup }.start().await;
    let got = graph(&world).await;
    assert!(got.status == 504 && !got.header("retry-after").is_empty(), "{got:?}");
    drop(world);
    let setup = with_origin(&origin);
    drop(origin);
    let world = setup.start().await;
    for got in [graph(&world).await, ews(&world, "<a/>").await] {
        assert_eq!(got.status, 502, "{got:?}");
    }
    assert!(world.log.has("cause=upstream-unreachable"));
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_whole_for_the_client_either() {
    let (send, parts) = tokio::sync::mpsc::channel::<Bytes>(4);
    let parts = std::sync::Mutex::new(Some(parts));
    let origin = Origin::start(move |_| Reply::Stream(parts.lock().unwrap().take().unwrap())).await;
    let world = with_origin(&origin).start().await;
    let asked =
        format!("GET /v1.0/me/messages HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\n\r\n", basic(ALICE, ALICES));
    send.send(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n".into(),
    )
    .await
    .unwrap();
    drop(send);
    let answer = super::client::raw(&world, "graph", asked.as_bytes()).await;
    assert!(answer.contains("abc") && !answer.ends_with("0\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn while_entra_is_down_the_password_is_not_at_fault() {
    let world = Setup { limits: "  token_request: 1s\n  token_total: 1s", ..with_sandbox() }.start().await;
    world.sandbox.set_entra_mode(EntraMode::ServerError);
    for got in [ews(&world, "<m:GetServerTimeZones/>").await, graph(&world).await] {
        assert_eq!((got.status, got.header("retry-after"), got.header("www-authenticate")), (503, "30", ""), "{got:?}");
    }
}
