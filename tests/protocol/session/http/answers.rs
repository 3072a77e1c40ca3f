//! What of Microsoft's answers is changed on the way to the client, and what a request without a
//! body tells Microsoft.

use super::client::{Connection, Got, OK, basic, envelope, request, with_origin};
use super::origin::{Origin, reply};
use crate::session::support::{ALICE, ALICES, Setup, World};

async fn ask(world: &World, method: &str, path: &str) -> Got {
    Connection::http_1(world, "graph").await.ask(request(method, path, &basic(ALICE, ALICES), "")).await
}

#[tokio::test]
async fn links_are_rewritten_in_json_that_can_be_read_and_nowhere_else() {
    const LINK: &str = "{\"@odata.nextLink\":\"https://localhost/v1.0/me/messages?$skip=1\"}";
    let origin = Origin::start(|seen| {
        let fields = match seen.line().split(' ').nth(1).unwrap() {
            "/v1.0/me/messages/AA/$value" => "content-type: text/plain\r\n",
            "/v1.0/me/messages/BB" => "content-type: application/json\r\ncontent-encoding: gzip\r\n",
            _ => "content-type: application/json\r\n",
        };
        reply("200 OK", fields, LINK)
    })
    .await;
    let world = with_origin(&origin).start().await;
    let got = ask(&world, "GET", "/v1.0/me/messages").await;
    assert_eq!((got.status, got.text), (OK, LINK.replace("https:", "http:")));
    // A message that has such a link in its text, and what only the client can unpack.
    for path in ["/v1.0/me/messages/AA/$value", "/v1.0/me/messages/BB"] {
        let got = ask(&world, "GET", path).await;
        assert_eq!((got.status, got.text.as_str()), (OK, LINK), "{path}");
        assert_eq!(got.header("content-length"), LINK.len().to_string(), "{path}");
    }
}

#[tokio::test]
async fn an_answer_that_ends_within_a_link_is_passed_on_to_its_last_octet() {
    const WHOLE: &str = "{\"@odata.nextLink\":\"https://localhost/v1.0/me/messages?$skip=1\"}";
    let origin = Origin::start(|seen| {
        let length = seen.line().split(['=', ' ']).nth(2).unwrap().parse().unwrap();
        reply("200 OK", "content-type: application/json\r\n", &WHOLE[..length])
    })
    .await;
    let world = with_origin(&origin).start().await;
    let mut connection = Connection::http_1(&world, "graph").await;
    for length in 1..=WHOLE.len() {
        let path = format!("/v1.0/me/messages?$top={length}");
        let got = connection.ask(request("GET", &path, &basic(ALICE, ALICES), "")).await;
        assert_eq!(got.text.replace("http:", "https:"), WHOLE[..length], "{length}: {got:?}");
    }
}

#[tokio::test]
async fn what_only_a_proxy_or_another_protocol_could_use_never_reaches_the_client() {
    for (status, fields) in [
        ("407 Proxy Authentication Required", "proxy-authenticate: NTLM\r\n"),
        ("101 Switching Protocols", "connection: upgrade\r\nupgrade: websocket\r\n"),
    ] {
        let origin = Origin::start(move |seen| {
            let kind = if seen.line().contains("/EWS/") { "text/xml" } else { "application/json" };
            reply(status, &format!("content-type: {kind}\r\n{fields}"), "")
        })
        .await;
        let world = with_origin(&origin).start().await;
        let body = envelope("", "<a/>");
        let asked = request("POST", "/EWS/Exchange.asmx", &basic(ALICE, ALICES), &body);
        let of_ews = Connection::http_1(&world, "ews").await.ask(asked).await;
        for got in [of_ews, ask(&world, "GET", "/v1.0/me/messages").await] {
            assert_eq!((got.status, got.header("proxy-authenticate")), (502, ""), "{status}: {got:?}");
        }
    }
}

#[tokio::test]
async fn a_request_that_could_have_a_body_says_that_it_has_none() {
    let origin = Origin::start(|_| reply("200 OK", "content-type: application/json\r\n", "{}")).await;
    let world = with_origin(&origin).start().await;
    for (method, length) in [("DELETE", "0"), ("POST", "0"), ("PATCH", "0"), ("GET", "")] {
        assert_eq!(ask(&world, method, "/v1.0/me/messages/AA").await.status, OK, "{method}");
        assert_eq!(origin.seen().last().unwrap().field("content-length"), length, "{method}");
    }
}

#[tokio::test]
async fn a_question_to_autodiscover_may_be_as_long_as_the_limit() {
    const LIMIT: usize = 16 * 1_024;
    let origin = Origin::start(|_| reply("500 Internal Server Error", "", "")).await;
    let world = Setup { limits: "  soap_head: 16KiB", ..with_origin(&origin) }.start().await;
    let pox = |length: usize| {
        let asked = format!(
            "<Autodiscover xmlns=\"http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006\">\
             <Request><EMailAddress>{ALICE}</EMailAddress><AcceptableResponseSchema>\
             http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a</AcceptableResponseSchema>\
             </Request></Autodiscover>"
        );
        format!("{asked}{}", " ".repeat(length - asked.len()))
    };
    for (length, told) in [(1_000, OK), (LIMIT, OK), (LIMIT + 1, 413)] {
        let mut asked = request("POST", "/autodiscover/autodiscover.xml", &basic(ALICE, ALICES), &pox(length));
        asked.headers_mut().insert("content-type", "text/xml".parse().unwrap());
        let got = Connection::http_1(&world, "ews").await.ask(asked).await;
        assert_eq!(got.status, told, "{length}: {got:?}");
    }
}
