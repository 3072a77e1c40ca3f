//! Requests that want somewhere else, or want to be read in two ways: none of them reaches
//! Microsoft, and what does carries nothing that is not for it.

use super::client::{Connection, OK, basic, envelope, raw, request, status, with_origin};
use super::origin::{Origin, reply};
use crate::session::support::{ALICE, ALICES, BOB, World};

async fn world() -> (Origin, World) {
    let origin = Origin::start(|_| reply("200 OK", "content-type: application/json\r\n", "{}")).await;
    let world = with_origin(&origin).start().await;
    (origin, world)
}

#[tokio::test]
async fn a_request_goes_to_the_one_origin_or_nowhere() {
    let (origin, world) = world().await;
    let alice = basic(ALICE, ALICES);
    let ask = async |target: &str, host: &str| {
        let octets =
            format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {alice}\r\nConnection: close\r\n\r\n");
        status(&raw(&world, "graph", octets.as_bytes()).await)
    };
    for host in [
        "evil.example",
        "graph.microsoft.com",
        "169.254.169.254",
        "metadata.google.internal",
        "[fd00:ec2::254]",
        "evil.example:443",
        "localhost.evil.example",
        "2130706433",
        "0x7f000001",
        "0.0.0.0",
        "[::]",
    ] {
        assert_eq!(ask("/v1.0/me/messages", host).await, 421, "{host}");
    }
    for host in ["localhost@evil.example", "alice:hunter2@localhost", "@localhost"] {
        assert_eq!(ask("/v1.0/me/messages", host).await, 400, "{host}");
    }
    let shown = world.log.lines(|line| ["hunter2", "localhost@evil"].iter().any(|secret| line.contains(secret)));
    assert_eq!(shown, Vec::<String>::new());
    for (target, wanted) in [
        ("http://169.254.169.254/latest/meta-data/", 400),
        ("https://graph.microsoft.com/v1.0/me/messages", 400),
        ("http://user:pass@evil.example/", 400),
        ("evil.example:443", 400),
        ("*", 400),
        ("//evil.example/v1.0/me/messages", 400),
        ("/v1.0/me/messages/../../../organization", 400),
        ("/v1.0/me/messages/%2e%2e/x", 400),
        ("/v1.0/me%2fmessages", 400),
        ("/v1.0/me/messages%00", 400),
        ("/v1.0/me/messages%5c..", 400),
        ("/v1.0/me;x/messages", 400),
        ("/v1.0/me//messages", 400),
        ("/v1.0/me/messages/%252e%252e", 400),
        ("/v1.0/me/messages/%c0%af", 400),
        ("/v1.0/users/bob@contoso.example/messages", 403),
        ("/v1.0/users", 403),
        ("/v1.0/me", 403),
        ("/v1.0/$batch", 403),
        ("/v1.0/me/drive", 403),
        ("/", 403),
        ("/EWS/Exchange.asmx", 403),
        ("/v2.0/me/messages", 403),
        ("/v1.0/me/events", 403),
    ] {
        assert_eq!(ask(target, "localhost").await, wanted, "{target}");
    }
    // The absolute form, as programs behind a configured proxy send it (RFC 9112 §3.2.2).
    assert_eq!(ask("http://localhost/v1.0/me/messages", "localhost").await, OK);
    assert_eq!(ask("HTTP://LocalHost:8443/v1.0/me/messages?$top=1", "localhost:8443").await, OK);
    assert_eq!(ask("http://evil.example/v1.0/me/messages", "evil.example").await, 421);
    assert_eq!(origin.seen().len(), 2);
    let (_, bob) = (BOB, ask("/v1.0/me/messages", "LOCALHOST:1234").await);
    assert_eq!(bob, OK);
    assert_eq!(origin.seen().len(), 3, "the last ones only");
}

#[tokio::test]
async fn with_http_2_the_same_holds() {
    let (origin, world) = world().await;
    let alice = basic(ALICE, ALICES);
    let ask = async |uri: &str, field: Option<(&'static str, &str)>| {
        let mut connection = Connection::http_2(&world, "graph").await;
        let mut asked = request("GET", uri, &alice, "");
        asked.headers_mut().remove("host");
        if let Some((name, value)) = field {
            asked.headers_mut().insert(name, value.parse().unwrap());
        }
        connection.ask(asked).await.status
    };
    assert_eq!(ask("http://evil.example/v1.0/me/messages", None).await, 421);
    assert_eq!(ask("http://169.254.169.254/v1.0/me/messages", None).await, 421);
    assert_eq!(ask("http://localhost/v1.0/me/messages", Some(("host", "evil.example"))).await, 400);
    assert_eq!(ask("http://localhost/v1.0//me/messages", None).await, 400);
    assert_eq!(ask("http://localhost/v1.0/me/messages/%2e%2e/x", None).await, 400);
    assert_eq!(ask("http://localhost/v1.0/me/messages", Some(("x_anchormailbox", BOB))).await, 400);
    assert_eq!(ask("http://localhost/v1.0/me/messages", Some(("content_length", "5"))).await, 400);
    assert_eq!(ask("http://localhost/v1.0/me/messages", Some(("origin", "http://localhost"))).await, 403);
    assert_eq!(ask("http://localhost/v1.0/organization", None).await, 403);
    let many: Vec<_> = (0..120).map(|number| format!("x-{number}")).collect();
    let mut asked = request("GET", "http://localhost/v1.0/me/messages", &alice, "");
    for name in &many {
        asked.headers_mut().insert(hyper::header::HeaderName::try_from(name.as_str()).unwrap(), "1".parse().unwrap());
    }
    assert_eq!(Connection::http_2(&world, "graph").await.ask(asked).await.status, 431);
    assert_eq!(origin.seen().len(), 0);
    assert_eq!(ask("http://localhost/v1.0/me/messages", None).await, OK);
    assert_eq!(origin.seen().len(), 1);
}

#[tokio::test]
async fn web_pages_are_not_served() {
    let (origin, world) = world().await;
    let alice = basic(ALICE, ALICES);
    let mut connection = Connection::http_1(&world, "graph").await;
    for from in ["https://evil.example", "null", "http://localhost"] {
        let mut asked = request("GET", "/v1.0/me/messages", &alice, "");
        asked.headers_mut().insert("origin", from.parse().unwrap());
        let got = connection.ask(asked).await;
        assert_eq!((got.status, got.header("access-control-allow-origin")), (403, ""), "{from}");
    }
    let mut preflight = request("OPTIONS", "/v1.0/me/messages", "", "");
    preflight.headers_mut().insert("access-control-request-method", "GET".parse().unwrap());
    assert_eq!(connection.ask(preflight).await.status, 403);
    assert_eq!(connection.ask(request("OPTIONS", "/v1.0/me/messages", &alice, "")).await.status, 405);
    assert_eq!(origin.seen().len(), 0);
}

#[tokio::test]
async fn a_request_with_two_meanings_is_refused_and_ends_the_connection() {
    let (origin, world) = world().await;
    let alice = basic(ALICE, ALICES);
    let sound = format!("GET /v1.0/me/messages HTTP/1.1\r\nHost: localhost\r\nAuthorization: {alice}\r\n\r\n");
    let smuggled = sound.replace("messages", "messages/smuggled");
    let credentials = format!("Host: localhost\r\nAuthorization: {alice}\r\n");
    let mut refused = 0;
    for (head, wanted) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", 400),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", 400),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", 400),
        ("Content-Length: 5, 5\r\n", 400),
        ("Content-Length: +5\r\n", 400),
        ("Content-Length : 5\r\n", 400),
        ("Content_Length: 5\r\n", 400),
        ("Transfer-Encoding: xchunked\r\n", 400),
        ("Transfer-Encoding: identity\r\n", 400),
        ("Transfer-Encoding: chunked, identity\r\n", 400),
        ("Transfer-Encoding : chunked\r\n", 400),
        ("Transfer-Encoding\t: chunked\r\n", 400),
        ("Transfer_Encoding: chunked\r\n", 400),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400),
        ("X: 1\r\n 2\r\n", 400),
        ("X: 1\nContent-Length: 5\r\n", 400),
        ("X: 1\rContent-Length: 5\r\n", 400),
        ("X: 1\0\r\n", 400),
        ("Host: evil.example\r\n", 400),
        ("X Y: 1\r\n", 400),
        ("X_Forwarded_For: 127.0.0.1\r\n", 400),
        ("Expect: something\r\n", 417),
    ] {
        let request = format!("POST /v1.0/me/sendMail HTTP/1.1\r\n{credentials}{head}\r\n0\r\n\r\n");
        let answer = raw(&world, "graph", format!("{sound}{request}{smuggled}").as_bytes()).await;
        let codes: Vec<_> = answer.split("HTTP/1.1 ").skip(1).map(|one| one[..3].parse::<u16>().unwrap()).collect();
        assert_eq!(codes, [OK, wanted], "{head:?}: {answer}");
        assert!(answer.contains("connection: close"), "{head:?}: {answer}");
        refused += 1;
    }
    for (line, wanted) in [
        ("CONNECT graph.microsoft.com:443 HTTP/1.1", 400),
        ("PRI * HTTP/2.0", 501),
        ("GET / HTTP/3.0", 505),
        ("REFUSED /slow HTTP/1.1", 501),
        ("GET /v1.0/me/messages", 400),
        ("GET  /v1.0/me/messages HTTP/1.1", 400),
    ] {
        let answer = raw(&world, "graph", format!("{sound}{line}\r\n{credentials}\r\n{smuggled}").as_bytes()).await;
        let codes: Vec<_> = answer.split("HTTP/1.1 ").skip(1).map(|one| one[..3].parse::<u16>().unwrap()).collect();
        assert_eq!(codes, [OK, wanted], "{line:?}: {answer}");
        refused += 1;
    }
    let seen = origin.seen();
    assert_eq!(seen.len(), refused, "the sound ones in front, and nothing else");
    assert!(seen.iter().all(|seen| seen.line() == "GET /v1.0/me/messages HTTP/1.1"));
}

#[tokio::test]
async fn chunks_with_two_meanings_never_become_a_request() {
    let (origin, world) = world().await;
    let head = format!(
        "POST /v1.0/me/sendMail HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n",
        basic(ALICE, ALICES)
    );
    let smuggled = "GET /v1.0/me/messages/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for body in [
        "2;x\n{}\r\n0\r\n\r\n",
        "2\n{}\r\n0\r\n\r\n",
        "0x2\r\n{}\r\n0\r\n\r\n",
        "2\r\n{}0\r\n\r\n",
        "0\r\nX 1\r\n\r\n",
        "0\r\nX: 1\n\r\n",
        "-2\r\n{}",
        "2 \r\n{}\r\n0\r\n\r\n",
    ] {
        let answer = raw(&world, "graph", format!("{head}{body}{smuggled}").as_bytes()).await;
        assert!(answer.contains(" 400 ") && answer.contains("its chunks are malformed"), "{body:?}: {answer}");
    }
    assert_eq!(origin.seen().len(), 0);
}

#[tokio::test]
async fn extensions_of_chunks_leading_zeros_and_trailers_are_left_out() {
    let (origin, world) = world().await;
    let head = format!(
        "POST /v1.0/me/sendMail HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\nContent-Type: application/json\r\n\
         Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n",
        basic(ALICE, ALICES)
    );
    let bodies = [
        "2;a=b\r\n{}\r\n0;c\r\n\r\n",
        "000000000000000000002\r\n{}\r\n0\r\n\r\n",
        "2\r\n{}\r\n0\r\nX: y\r\nHost: evil\r\n\r\n",
    ];
    for body in bodies {
        let answer = raw(&world, "graph", format!("{head}{body}").as_bytes()).await;
        assert_eq!(status(&answer), OK, "{body:?}: {answer}");
    }
    let seen = origin.seen();
    assert_eq!(seen.len(), bodies.len());
    assert!(seen.iter().all(|seen| seen.text() == "{}" && seen.field("x").is_empty()), "{seen:?}");
}

#[tokio::test]
async fn the_body_of_a_get_is_refused_however_it_is_framed() {
    let (origin, world) = world().await;
    let alice = basic(ALICE, ALICES);
    for framed in ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"] {
        let request =
            format!("GET /v1.0/me/messages HTTP/1.1\r\nHost: localhost\r\nAuthorization: {alice}\r\n{framed}");
        let answer = raw(&world, "graph", request.as_bytes()).await;
        assert!(status(&answer) == 400 && answer.contains("GET with a body"), "{framed}: {answer}");
    }
    assert_eq!(origin.seen().len(), 0);
    // One that turns out to be empty is none.
    for framed in ["Content-Length: 0\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"] {
        let request = format!(
            "GET /v1.0/me/messages HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: {alice}\r\n{framed}"
        );
        assert_eq!(status(&raw(&world, "graph", request.as_bytes()).await), OK);
    }
}

#[tokio::test]
async fn a_method_that_is_not_served_is_answered_with_those_that_are() {
    let (origin, world) = world().await;
    let alice = basic(ALICE, ALICES);
    for (listener, path, method, allowed) in [
        ("graph", "/v1.0/me/messages", "HEAD", "GET, POST, PATCH, PUT, DELETE"),
        ("graph", "/v1.0/me/messages", "OPTIONS", "GET, POST, PATCH, PUT, DELETE"),
        ("ews", "/EWS/Exchange.asmx", "GET", "POST"),
    ] {
        let got = Connection::http_1(&world, listener).await.ask(request(method, path, &alice, "")).await;
        assert_eq!((got.status, got.header("allow")), (405, allowed), "{method} {path}");
    }
    assert_eq!(origin.seen().len(), 0);
}

#[tokio::test]
async fn a_cast_or_an_expansion_leads_out_of_the_paths_nowhere() {
    let (origin, world) = world().await;
    let alice = basic(ALICE, ALICES);
    let mut connection = Connection::http_1(&world, "graph").await;
    for target in [
        "/v1.0/me/messages/AA/microsoft.graph.eventMessage/event/attendees",
        "/v1.0/me/messages/AA/Microsoft.Graph.EventMessage/event",
        "/v1.0/me/messages/AA/%6dicrosoft.graph.eventMessage/event",
        "/v1.0/me/messages/microsoft.graph.eventMessage",
        "/v1.0/me/messages?$expand=microsoft.graph.eventMessage/event",
        "/v1.0/me/messages?%24expand=Microsoft.Graph.EventMessage%2Fevent($expand=calendar)",
        "/v1.0/me/messages?$top=1&expand=attachments,microsoft.graph.eventMessage/event",
        "/v1.0/me/messages?$EXPAND=%6Dicrosoft.graph.eventMessage/event",
        "/v1.0/me/messages?$expand=microsoft.graph.itemAttachment/item,microsoft.graph.eventMessage/event",
    ] {
        assert_eq!(connection.ask(request("GET", target, &alice, "")).await.status, 403, "{target}");
    }
    assert_eq!(origin.seen().len(), 0);
    for target in [
        "/v1.0/me/messages/AA?$expand=attachments,singleValueExtendedProperties($filter=id%20eq%20'String%200x1A')",
        "/v1.0/me/messages/AA/attachments/BB?$expand=microsoft.graph.itemattachment/item",
        "/v1.0/me/messages?$search=%22microsoft.graph.eventMessage%22",
    ] {
        assert_eq!(connection.ask(request("GET", target, &alice, "")).await.status, OK, "{target}");
    }
}

#[tokio::test]
async fn what_reaches_microsoft_carries_the_token_and_nothing_of_the_client_that_is_not_for_it() {
    let origin = Origin::start(|_| {
        let fields = "content-type: text/xml\r\nwww-authenticate: Bearer realm=x\r\nproxy-authenticate: NTLM\r\n\
             set-cookie: ClientId=1; path=/\r\nset-cookie: X-BackEndOverrideCookie=s~1; domain=x; secure\r\n\
             connection: x-internal\r\nx-internal: 1\r\nstrict-transport-security: max-age=1\r\nalt-svc: h3\r\n\
             access-control-allow-origin: *\r\nrequest-id: 7\r\n";
        reply("200 OK", fields, "<a/>")
    })
    .await;
    let world = with_origin(&origin).start().await;
    let mut connection = Connection::http_1(&world, "ews").await;
    let body = envelope("", "<a/>");
    let mut asked = request("POST", "/ews/exchange.asmx?x=http://evil.example", &basic(ALICE, ALICES), &body);
    for (name, value) in [
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", "evil.example"),
        ("forwarded", "for=1.2.3.4"),
        ("proxy-authorization", "Basic eDp5"),
        ("x-ms-client-principal-name", BOB),
        ("x-ms-token-aad-id-token", "x"),
        ("x-anchormailbox", BOB),
        ("x-http-method-override", "DELETE"),
        ("x-original-url", "/owa"),
        ("te", "trailers"),
        ("connection", "x-hop, keep-alive"),
        ("x-hop", "1"),
        ("x_odd", "1"),
        ("via", "1.1 x"),
        ("expect", "100-continue"),
        ("cookie", "secret=1; X-BackEndOverrideCookie=s~0"),
        ("user-agent", "ERP/1.0"),
        ("soapaction", "x"),
        ("x-preferserveraffinity", "true"),
    ] {
        asked.headers_mut().insert(hyper::header::HeaderName::from_static(name), value.parse().unwrap());
    }
    let got = connection.ask(asked).await;
    assert_eq!(got.status, OK);
    let mut names: Vec<_> = got.headers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-length", "content-type", "date", "request-id", "set-cookie"]);
    assert_eq!(got.header("set-cookie"), "X-BackEndOverrideCookie=s~1; Path=/; HttpOnly");

    let seen = origin.seen().remove(0);
    assert_eq!(seen.line(), "POST /EWS/Exchange.asmx HTTP/1.1");
    let mut names: Vec<_> =
        seen.head.lines().skip(1).filter_map(|line| line.split_once(": ")).map(|(name, _)| name).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "authorization",
            "content-length",
            "content-type",
            "cookie",
            "host",
            "soapaction",
            "user-agent",
            "x-anchormailbox",
            "x-preferserveraffinity"
        ]
    );
    assert!(seen.field("authorization").starts_with("Bearer ") && !seen.head.contains("Basic"));
    assert_eq!(seen.field("x-anchormailbox"), ALICE);
    assert_eq!(seen.field("cookie"), "X-BackEndOverrideCookie=s~0");
    assert_eq!(seen.field("host"), "localhost");
    assert_eq!(seen.text(), body);
    assert!(!world.log.has("Bearer ey"), "no token is logged");
}

#[tokio::test]
async fn what_is_no_soap_goes_nowhere() {
    let (origin, world) = world().await;
    let alice = basic(ALICE, ALICES);
    let mut connection = Connection::http_1(&world, "ews").await;
    let good = envelope("", "<a/>");
    for (content_type, body, wanted) in [
        ("text/xml", "{}", 400),
        ("text/xml", "<!DOCTYPE x [<!ENTITY a \"b\">]><x/>", 400),
        ("text/xml", "<x/>", 400),
        ("text/xml", "", 400),
        ("text/xml; charset=utf-16", good.as_str(), 415),
        ("application/json", good.as_str(), 415),
        ("", good.as_str(), 415),
        ("text/xml", "<?xml version='1.0' encoding='utf-16'?><x/>", 400),
    ] {
        let mut asked = request("POST", "/EWS/Exchange.asmx", &alice, body);
        asked.headers_mut().remove("content-type");
        if !content_type.is_empty() {
            asked.headers_mut().insert("content-type", content_type.parse().unwrap());
        }
        if connection_is_over(&connection) {
            connection = Connection::http_1(&world, "ews").await;
        }
        let got = connection.ask(asked).await;
        assert_eq!(got.status, wanted, "{body}");
        if wanted == 400 {
            assert!(got.text.contains("<e:ResponseCode>ErrorInvalidRequest</e:ResponseCode>"), "{got:?}");
        }
    }
    assert_eq!(origin.seen().len(), 0);
}

fn connection_is_over(connection: &Connection) -> bool {
    matches!(connection, Connection::Http1(sender) if sender.is_closed())
}
