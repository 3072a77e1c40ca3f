//! Requests that are refused for another reason than their login. The log says why, under the name
//! of the session that the client was told.

use super::client::{Connection, Got, basic, envelope, raw, request, with_sandbox};
use crate::session::support::{ALICE, ALICES, World};

/// The name of the session that an answer tells.
fn session(text: &str) -> &str {
    let named = text.split_once("(session ").and_then(|(_, rest)| rest.split_once(')'));
    named.unwrap_or_else(|| panic!("no session is named: {text}")).0
}

/// The only line about this session that a refused request or login left.
fn line(world: &World, session: &str) -> String {
    let named = format!("session={session} ");
    let lines = world.log.lines(|line| line.contains(&named) && line.contains("outcome=refused"));
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.into_iter().next().unwrap()
}

#[tokio::test]
async fn each_refused_request_is_in_the_log_with_its_cause_status_and_session() {
    let world = with_sandbox().start().await;
    let alice = &basic(ALICE, ALICES);
    let (messages, ews) = ("/v1.0/me/messages", "/EWS/Exchange.asmx");
    let soap = &envelope("", "<m:GetServerTimeZones/>");
    let barred = &envelope("", "<m:GetClientAccessToken/>");
    let whole = "text/xml; charset=utf-8";
    for (listener, method, path, credentials, field, body, status, cause, said) in [
        (
            "graph",
            "GET",
            "/v1.0/organization",
            alice.as_str(),
            ("a", "b"),
            "",
            403,
            "refused",
            "path=/v1.0/organization",
        ),
        ("graph", "OPTIONS", messages, alice, ("a", "b"), "", 405, "refused", "method=OPTIONS"),
        (
            "graph",
            "GET",
            messages,
            alice,
            ("host", "old.example:80"),
            "",
            421,
            "unknown-host",
            "add `old.example` to `hosts`",
        ),
        ("graph", "GET", messages, "", ("origin", "null"), "", 403, "refused", "Requests of web pages are not served"),
        ("graph", "GET", "/v1.0//me", alice, ("a", "b"), "", 400, "refused", "path=/v1.0//me"),
        ("graph", "GET", messages, "Bearer eyJ0", ("a", "b"), "", 401, "refused", "Only HTTP Basic is served here"),
        ("graph", "GET", messages, "Basic ?", ("a", "b"), "", 400, "malformed-login", "Authorization field"),
        ("ews", "POST", "/owa/", alice, ("content-type", whole), soap, 404, "refused", "path=/owa/"),
        ("ews", "GET", ews, alice, ("a", "b"), "", 405, "refused", "method=GET"),
        ("ews", "POST", ews, alice, ("content-type", "text/plain"), soap, 415, "refused", "must be text/xml"),
        ("ews", "POST", ews, alice, ("content-type", whole), barred, 403, "refused", "this operation is not served"),
    ] {
        let mut asked = request(method, path, credentials, body);
        asked.headers_mut().insert(hyper::header::HeaderName::from_static(field.0), field.1.parse().unwrap());
        let Got { status: told, text, .. } = Connection::http_1(&world, listener).await.ask(asked).await;
        assert_eq!(told, status, "{method} {path}: {text}");
        let line = line(&world, session(&text));
        let (named, answered) = (format!("outcome=refused cause={cause} action_by="), format!(" status={status} "));
        assert!(line.contains(&named) && line.contains(&answered) && line.contains(said), "{line}");
        assert!(line.contains(" INFO request refused: "), "{line}");
        assert!(line.contains(&format!("listener={listener} peer=127.0.0.1:")), "{line}");
        // The account is named if its password was right.
        let admitted = credentials == alice && !matches!(status, 421) && field.0 != "origin";
        assert_eq!(line.contains(&format!("account={ALICE} ")), admitted, "{line}");
    }
    // A head that cannot be read has no path.
    let text = raw(&world, "graph", b"GET /v1.0/me HTTP/1.1\r\nHost: localhost\r\nX Y: 1\r\n\r\n").await;
    let refused = line(&world, session(&text));
    assert!(
        refused.contains("cause=refused action_by=client-owner status=400") && !refused.contains(" path="),
        "{refused}"
    );
    // Over HTTP/2 the host is a part of the target.
    let mut asked = request("GET", "http://old.example/v1.0/me/messages", alice, "");
    asked.headers_mut().remove("host");
    let got = Connection::http_2(&world, "graph").await.ask(asked).await;
    assert!(line(&world, session(&got.text)).contains("status=421 host=old.example"), "{got:?}");

    let counted = world.control.shared().journal.metrics().text();
    for (protocol, cause, count) in
        [("graph", "refused", 6), ("graph", "unknown-host", 2), ("graph", "malformed-login", 1), ("ews", "refused", 4)]
    {
        let series = format!("gatepost_requests_refused_total{{protocol=\"{protocol}\",cause=\"{cause}\"}} {count}\n");
        assert!(counted.contains(&series), "{series}{counted}");
    }
}

#[tokio::test]
async fn a_challenge_is_no_refusal_and_a_refused_login_is_one_line() {
    let world = with_sandbox().start().await;
    let mut connection = Connection::http_1(&world, "graph").await;
    let challenged = connection.ask(request("GET", "/v1.0/me/messages", "", "")).await;
    assert_eq!(challenged.status, 401);
    assert!(!world.log.has("outcome=refused"));
    let refused = connection.ask(request("GET", "/v1.0/me/messages", &basic(ALICE, "wrong"), "")).await;
    assert_eq!(refused.status, 401);
    let line = line(&world, session(&refused.text));
    assert!(line.contains("login refused: ") && line.contains("cause=wrong-password"), "{line}");
}
