//! How an EWS client finds the listener, and the description of the service: Autodiscover, the WSDL
//! and its schemas.

use hyper::header::HeaderName;

use super::client::{Connection, Got, OK, basic, envelope, request, with_origin, with_sandbox};
use super::origin::{Origin, reply};
use crate::session::support::{ALICE, ALICES, BOB, Setup, World};

const POX: &str = "/autodiscover/autodiscover.xml";
const SOAP: &str = "/autodiscover/autodiscover.svc";

fn pox(address: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><Autodiscover \
         xmlns=\"http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006\"><Request>\
         <EMailAddress>{address}</EMailAddress><AcceptableResponseSchema>\
         http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a</AcceptableResponseSchema>\
         </Request></Autodiscover>"
    )
}

/// As the EWS Managed API asks.
fn soap(operation: &str, subjects: &str) -> String {
    let asked = format!(
        "<a:{operation}RequestMessage xmlns:a=\"http://schemas.microsoft.com/exchange/2010/Autodiscover\"><a:Request>\
         {subjects}<a:RequestedSettings><a:Setting>InternalEwsUrl</a:Setting><a:Setting>ExternalEwsUrl</a:Setting>\
         <a:Setting>UserDN</a:Setting></a:RequestedSettings></a:Request></a:{operation}RequestMessage>"
    );
    let action = format!("http://schemas.microsoft.com/exchange/2010/Autodiscover/Autodiscover/{operation}");
    envelope(&format!("<wsa:Action xmlns:wsa=\"http://www.w3.org/2005/08/addressing\">{action}</wsa:Action>"), &asked)
}

fn user(address: &str) -> String {
    let users = format!("<a:Users><a:User><a:Mailbox>{address}</a:Mailbox></a:User></a:Users>");
    soap("GetUserSettings", &users)
}

/// Asks under the name by which clients know the listener.
async fn ask(world: &World, path: &str, credentials: &str, body: &str) -> Got {
    let mut asked = request("POST", path, credentials, body);
    asked.headers_mut().insert("host", "gate.example:8444".parse().unwrap());
    asked.headers_mut().insert("content-type", "text/xml; charset=utf-8".parse().unwrap());
    Connection::http_1(world, "ews").await.ask(asked).await
}

fn named(setup: Setup, accounts: &str) -> Setup {
    let listeners = setup.listeners.replace("ews: {", "ews: {hosts: [gate.example], ");
    Setup { listeners, accounts: accounts.to_owned(), ..setup }
}

#[tokio::test]
async fn autodiscover_tells_the_address_that_the_client_used() {
    let origin = Origin::start(|_| reply("500 Internal Server Error", "", "")).await;
    let world = named(with_origin(&origin), "\n  - login: '*@contoso.example'").start().await;
    let alice = &basic(ALICE, ALICES);
    let ews = "http://gate.example:8444/EWS/Exchange.asmx";
    for path in [POX, "/AutoDiscover/AutoDiscover.xml", "/Autodiscover/autodiscover.XML/"] {
        let got = ask(&world, path, alice, &pox("Alice@Contoso.example")).await;
        assert_eq!((got.status, got.header("content-type")), (OK, "text/xml; charset=utf-8"), "{path}: {got:?}");
        assert_eq!(got.text.matches(&format!("<EwsUrl>{ews}</EwsUrl>")).count(), 2, "{got:?}");
    }
    for path in [SOAP, "/Autodiscover/Autodiscover.svc"] {
        let got = ask(&world, path, alice, &user(ALICE)).await;
        assert!(got.status == OK && got.text.matches(&format!("<Value>{ews}</Value>")).count() == 2, "{path}: {got:?}");
    }
    let domains = "<a:Domains><a:Domain>contoso.example</a:Domain><a:Domain>fabrikam.example</a:Domain></a:Domains>";
    let got = ask(&world, SOAP, alice, &soap("GetDomainSettings", domains)).await;
    assert!(got.text.matches(&format!("<Value>{ews}</Value>")).count() == 2, "{got:?}");
    assert!(got.text.contains("<ErrorCode>InvalidDomain</ErrorCode>"), "{got:?}");
    assert_eq!(origin.seen().len(), 0, "Gatepost answers by itself");
}

#[tokio::test]
async fn autodiscover_answers_for_what_the_account_may_open_and_after_a_login() {
    let origin = Origin::start(|_| reply("500 Internal Server Error", "", "")).await;
    let world = named(with_origin(&origin), "\n  - login: '*@contoso.example'").start().await;
    let alice = &basic(ALICE, ALICES);
    for (path, body, unknown) in [(POX, pox(BOB), "<ErrorCode>500<"), (SOAP, user(BOB), "<ErrorCode>InvalidUser<")] {
        for credentials in ["", &basic(ALICE, "wrong")] {
            let got = ask(&world, path, credentials, &body).await;
            assert!(got.status == 401 && got.header("www-authenticate").starts_with("Basic "), "{got:?}");
        }
        let got = ask(&world, path, alice, &body).await;
        assert!(got.status == OK && got.text.contains(unknown) && !got.text.contains("gate.example"), "{got:?}");
    }
    let refused = world.log.lines(|line| line.contains("cause=acting-as-not-allowed"));
    assert_eq!(refused.len(), 2, "{refused:?}");
    let told =
        format!("account={ALICE} outcome=refused cause=acting-as-not-allowed action_by=gatepost-admin status=200 ");
    assert!(refused.iter().all(|line| line.contains(" WARN request refused: ") && line.contains(&told)), "{refused:?}");

    let accounts = format!("\n  - {{login: {ALICE}, mailboxes: [{BOB}]}}");
    let world = named(with_origin(&origin), &accounts).start().await;
    for (path, body) in [(POX, pox(BOB)), (SOAP, user(BOB))] {
        let got = ask(&world, path, alice, &body).await;
        assert!(got.status == OK && got.text.contains("http://gate.example:8444/EWS/"), "{got:?}");
    }
}

#[tokio::test]
async fn a_question_that_cannot_be_read_is_refused() {
    let world = named(with_sandbox(), "\n  - login: '*'").start().await;
    let alice = &basic(ALICE, ALICES);
    let long = pox(&"a".repeat(300 * 1024));
    for (body, status) in [("", 400), ("<x/>", 400), ("<!DOCTYPE x><x/>", 400), (long.as_str(), 413)] {
        assert_eq!(ask(&world, POX, alice, body).await.status, status, "{:?}", body.get(..20));
    }
    let mut compressed = request("POST", POX, alice, "x");
    compressed.headers_mut().insert(HeaderName::from_static("content-encoding"), "gzip".parse().unwrap());
    assert_eq!(Connection::http_1(&world, "ews").await.ask(compressed).await.status, 415);
    let got = Connection::http_1(&world, "ews").await.ask(request("GET", POX, alice, "")).await;
    assert_eq!((got.status, got.header("allow")), (405, "POST"));
    // As the EWS Managed API begins.
    for (path, told) in [(POX, "True"), ("/EWS/Exchange.asmx", "")] {
        let got = Connection::http_1(&world, "ews").await.ask(request("GET", path, "", "")).await;
        assert_eq!((got.status, got.header("x-soap-enabled")), (401, told), "{path}");
    }
    let got = Connection::http_1(&world, "graph").await.ask(request("POST", POX, alice, "")).await;
    assert_eq!(got.status, 403, "Graph has none");
}

#[tokio::test]
async fn the_description_of_ews_is_passed_on_and_a_slash_at_the_end_is_nothing() {
    let world = with_sandbox().start().await;
    let alice = &basic(ALICE, ALICES);
    let mut connection = Connection::http_1(&world, "ews").await;
    for (path, has) in [
        ("/EWS/Services.wsdl", "schemaLocation=\"messages.xsd\""),
        ("/ews/services.wsdl", "<wsdl:definitions"),
        ("/EWS/messages.xsd", "schemaLocation=\"types.xsd\""),
        ("/ews/Types.xsd", "<xs:schema"),
    ] {
        let got = connection.ask(request("GET", path, "", "")).await;
        assert_eq!(got.status, 401, "{path}: {got:?}");
        let got = connection.ask(request("GET", path, alice, "")).await;
        assert!(got.status == OK && got.text.contains(has), "{path}: {got:?}");
        assert_eq!(got.header("content-type"), "text/xml");
        let got = connection.ask(request("POST", path, alice, "")).await;
        assert_eq!((got.status, got.header("allow")), (405, "GET"), "{path}");
    }
    let body = envelope("", "<m:GetServerTimeZones/>");
    let got = connection.ask(request("POST", "/EWS/Exchange.asmx/", alice, &body)).await;
    assert!(got.status == OK && got.text.contains("NoError"), "{got:?}");
    let got = connection.ask(request("POST", "/EWS/Exchange.asmx//", alice, &body)).await;
    assert_eq!(got.status, 400);
}
