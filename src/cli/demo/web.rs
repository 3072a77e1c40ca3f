//! An old program that uses HTTP with a password: one call to EWS, one to Graph.

use anyhow::{Context, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::page;
use super::scene::{Client, EWS_PATH, GRAPH_PATH, PATIENCE};

/// Asks EWS for the subjects of the three newest messages.
pub(super) const FIND_ITEM: &str = "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
    xmlns:m=\"http://schemas.microsoft.com/exchange/services/2006/messages\" \
    xmlns:t=\"http://schemas.microsoft.com/exchange/services/2006/types\">\
    <s:Header><t:RequestServerVersion Version=\"Exchange2016\"/></s:Header><s:Body><m:FindItem Traversal=\"Shallow\">\
    <m:ItemShape><t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties><t:FieldURI FieldURI=\"item:Subject\"/>\
    </t:AdditionalProperties></m:ItemShape><m:IndexedPageItemView MaxEntriesReturned=\"3\" Offset=\"0\" \
    BasePoint=\"Beginning\"/><m:ParentFolderIds><t:DistinguishedFolderId Id=\"inbox\"/></m:ParentFolderIds></m:FindItem>\
    </s:Body></s:Envelope>\n";

/// Most octets of an answer. Those of the demonstration are far smaller.
const ANSWER_OCTETS: usize = 1 << 20;

/// Lists the newest messages over EWS.
pub(super) async fn list_by_ews(port: u16, client: &Client<'_>) -> anyhow::Result<()> {
    page::client(&format!("POST {EWS_PATH} HTTP/1.1"));
    let request = Request::builder().method(Method::POST).uri(EWS_PATH);
    let request = request.header(header::CONTENT_TYPE, "text/xml; charset=utf-8");
    let answer = call(port, client, request, FIND_ITEM).await?;
    let subjects = answer.split("<t:Subject>").skip(1).filter_map(|rest| rest.split_once("</t:Subject>"));
    for (subject, _) in subjects {
        page::server(&format!("… <t:Subject>{subject}</t:Subject> …"));
    }
    Ok(())
}

/// Lists the newest messages over Graph.
pub(super) async fn list_by_graph(port: u16, client: &Client<'_>) -> anyhow::Result<()> {
    page::client(&format!("GET {GRAPH_PATH} HTTP/1.1"));
    let answer = call(port, client, Request::builder().uri(GRAPH_PATH), "").await?;
    let answer: Value = serde_json::from_str(&answer).context("the answer is JSON")?;
    let messages = answer.get("value").and_then(Value::as_array).context("the answer has messages")?;
    for subject in messages.iter().filter_map(|message| message.get("subject")) {
        page::server(&format!("… \"subject\": {subject} …"));
    }
    Ok(())
}

async fn call(
    port: u16,
    client: &Client<'_>,
    request: hyper::http::request::Builder,
    body: &'static str,
) -> anyhow::Result<String> {
    let Client { login, password } = client;
    let basic = format!("Basic {}", STANDARD.encode(format!("{login}:{password}")));
    page::client(&format!("Authorization: {basic}"));
    let request = request
        .header(header::HOST, format!("127.0.0.1:{port}"))
        .header(header::AUTHORIZATION, basic)
        .body(Full::new(Bytes::from_static(body.as_bytes())))?;
    let exchange = async {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        page::server(&format!("HTTP/1.1 {status}"));
        let body = Limited::new(answer.into_body(), ANSWER_OCTETS).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("read the answer: {error}"))?.to_bytes();
        connection.abort();
        ensure!(status == StatusCode::OK, "{}", String::from_utf8_lossy(&body));
        anyhow::Ok(String::from_utf8_lossy(&body).into_owned())
    };
    timeout(PATIENCE, exchange).await?
}
