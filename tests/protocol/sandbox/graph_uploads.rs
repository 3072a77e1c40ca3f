//! Drafts and upload sessions of the sandbox's Graph: as strict as Microsoft.

use gatepost_sandbox::{Sandbox, Service};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};

use super::graph::Client;
use super::mail::{ALICE, BOB, sandbox};

const SIZE: usize = 3_000_002;

async fn body(answer: Response) -> Value {
    serde_json::from_str(&answer.text().await.unwrap()).unwrap()
}

async fn post(client: &Client, path: &str, body: Value) -> Response {
    client
        .request(Method::POST, path)
        .header("content-type", "application/json")
        .body(body.to_string())
        .send()
        .await
        .unwrap()
}

/// A draft to Bob: its path.
async fn draft(client: &Client) -> String {
    let message =
        json!({"subject": "s", "toRecipients": [{"emailAddress": {"address": BOB}}], "internetMessageId": "<7@x>"});
    let answer = post(client, "/me/messages", message).await;
    assert_eq!(answer.status(), 201);
    format!("/me/messages/{}", body(answer).await["id"].as_str().unwrap())
}

async fn open(client: &Client, draft: &str, size: usize) -> Response {
    let item = json!({"AttachmentItem": {"attachmentType": "file", "name": "scan.pdf", "size": size}});
    post(client, &format!("{draft}/attachments/createUploadSession"), item).await
}

/// A range for the address of a session, without a token.
fn put(sandbox: &Sandbox, url: &str, range: &str, content: Vec<u8>) -> RequestBuilder {
    let ca = reqwest::Certificate::from_pem(sandbox.ca_pem().as_bytes()).unwrap();
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([ca]).build().unwrap();
    http.put(url).header("content-range", range).body(content)
}

#[tokio::test]
async fn a_file_arrives_in_order_and_without_a_token() {
    let sandbox = sandbox().await;
    let alice = Client::of(&sandbox, ALICE);
    let draft = draft(&alice).await;
    for (size, status) in [(2_999_999, 400), ((150 << 20) + 1, 413)] {
        assert_eq!(open(&alice, &draft, size).await.status(), status);
    }
    let session = body(open(&alice, &draft, SIZE).await).await;
    assert_eq!(session["nextExpectedRanges"], json!(["0-"]));
    let url = session["uploadUrl"].as_str().unwrap();
    let ask = async |range: &str, length: usize, token: Option<&str>| {
        let request = put(&sandbox, url, range, vec![7; length]);
        let request = match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer)
    };
    let token = sandbox.issue_graph_token(Some(ALICE)).unwrap();
    assert_eq!(ask("bytes 0-9/3000002", 10, Some(token.expose())).await.0, 401);
    for (range, length, status) in [
        ("bytes 0-9/3000002", 9, 400),
        ("bytes 0-9", 10, 400),
        ("bytes 10-19/3000002", 10, 416),
        ("bytes 0-9/3000003", 10, 416),
        ("bytes 0-9/3000002", 10, 200),
        ("bytes 0-9/3000002", 10, 416),
    ] {
        assert_eq!(ask(range, length, None).await.0, status, "{range}");
    }
    // An upload that broke says where it goes on, and to nobody with a token.
    let ca = reqwest::Certificate::from_pem(sandbox.ca_pem().as_bytes()).unwrap();
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([ca]).build().unwrap();
    let shown = http.get(url).send().await.unwrap();
    assert_eq!(shown.status(), 200);
    assert_eq!(body(shown).await["nextExpectedRanges"], json!(["10"]));
    assert_eq!(http.get(url).bearer_auth(token.expose()).send().await.unwrap().status(), 401);
    let (status, answer) = ask("bytes 10-3000001/3000002", SIZE - 10, None).await;
    assert!(status == 201 && answer.headers().contains_key("location"));
    assert_eq!(ask("bytes 0-9/3000002", 10, None).await.0, 404, "the session is over");
    assert_eq!(http.get(url).send().await.unwrap().status(), 404);
    let listed = alice.request(Method::GET, &format!("{draft}/attachments?$select=id")).send().await.unwrap();
    let listed = body(listed).await;
    let files = listed["value"].as_array().unwrap();
    assert!(files.len() == 1 && files[0]["id"].is_string() && files[0]["contentBytes"].is_null(), "{listed}");

    assert_eq!(post(&alice, &format!("{draft}/send"), json!({})).await.status(), 202);
    assert_eq!((sandbox.messages(ALICE, "Drafts").len(), sandbox.messages(ALICE, "Sent Items").len()), (0, 1));
    let arrived = sandbox.messages(BOB, "INBOX").pop().unwrap();
    let text = String::from_utf8_lossy(&arrived);
    assert!(text.contains("filename=\"scan.pdf\"") && text.contains("Message-ID: <7@x>") && arrived.len() > SIZE);
    assert_eq!(sandbox.counters().calls_of(Service::Graph, ALICE, "PUT /upload/{id}"), 8);
}

#[tokio::test]
async fn a_sent_draft_keeps_its_immutable_id_and_a_deleted_one_ends_its_sessions() {
    let sandbox = sandbox().await;
    let alice = Client::of(&sandbox, ALICE);
    let immutable = |method: Method, path: &str| alice.request(method, path).header("prefer", "IdType=\"ImmutableId\"");
    let created = immutable(Method::POST, "/me/messages")
        .header("content-type", "application/json")
        .body(json!({"toRecipients": [{"emailAddress": {"address": BOB}}]}).to_string());
    let path = format!("/me/messages/{}", body(created.send().await.unwrap()).await["id"].as_str().unwrap());
    for is_draft in [true, false] {
        let shown = immutable(Method::GET, &format!("{path}?$select=isDraft")).send().await.unwrap();
        assert_eq!(body(shown).await["isDraft"], is_draft);
        if is_draft {
            let sent =
                immutable(Method::POST, &format!("{path}/send")).header("content-length", "0").send().await.unwrap();
            assert_eq!(sent.status(), 202);
        }
    }

    let draft = draft(&alice).await;
    let session = body(open(&alice, &draft, SIZE).await).await;
    assert_eq!(alice.request(Method::POST, &format!("{draft}/permanentDelete")).send().await.unwrap().status(), 204);
    let url = session["uploadUrl"].as_str().unwrap();
    let late = put(&sandbox, url, "bytes 0-9/3000002", vec![7; 10]).send().await.unwrap();
    assert_eq!(late.status(), 404);

    // Drafts need more than the permission to send, and have five fields of a program's own at most.
    sandbox.set_graph_consent(Some(&["Mail.Send"]));
    let sender = Client::of(&sandbox, ALICE);
    assert_eq!(post(&sender, "/me/messages", json!({})).await.status(), 403);
    let fields: Vec<_> = (0..6).map(|number| json!({"name": format!("x-{number}"), "value": "y"})).collect();
    let answer = post(&alice, "/me/messages", json!({"internetMessageHeaders": fields})).await;
    assert_eq!(answer.status(), 400);
    assert_eq!(body(answer).await["error"]["code"], "InvalidInternetMessageHeaderCollection");
}
