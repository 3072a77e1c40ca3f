//! Graph: sending, reading, refusals, faults.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gatepost_sandbox::{
    Attempts, CertificateFault, HttpFault, Sandbox, SandboxAccount, SandboxConfig, Service, UpstreamMode,
};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};

use super::mail::{ALICE, BOB, V2, granted, refused, ropc, sandbox};

const SHARED: &str = "shared@contoso.example";

/// A client with a token.
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    token: String,
}

impl Client {
    fn new(sandbox: &Sandbox, token: &str) -> Self {
        let ca = reqwest::Certificate::from_pem(sandbox.ca_pem().as_bytes()).unwrap();
        let redirects = reqwest::redirect::Policy::none();
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([ca]).redirect(redirects).build().unwrap();
        Self { http, base: format!("https://localhost:{}/v1.0", sandbox.graph().port()), token: token.to_owned() }
    }

    pub(super) fn of(sandbox: &Sandbox, user: &str) -> Self {
        Self::new(sandbox, sandbox.issue_graph_token(Some(user)).unwrap().expose())
    }

    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token)
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.request(Method::GET, path).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        serde_json::from_str(&answer.text().await.unwrap()).unwrap()
    }

    async fn send_mime(&self, path: &str, message: &[u8]) -> Response {
        let request = self.request(Method::POST, path).header("content-type", "text/plain");
        request.body(STANDARD.encode(message)).send().await.unwrap()
    }
}

/// Status and code of a refusal.
async fn refusal(answer: Response) -> (u16, String) {
    let status = answer.status().as_u16();
    let body: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let error = &body["error"];
    assert!(error["message"].is_string() && error["innerError"]["request-id"].is_string(), "{body}");
    (status, error["code"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_message_goes_out_with_the_same_octets_but_for_bcc() {
    let sandbox = sandbox().await;
    let alice = Client::of(&sandbox, ALICE);
    let message =
        b"From: Alice <alice@contoso.example>\r\nTo: bob@contoso.example\r\nBcc: hidden@fabrikam.example,\r\n \
        Bob <BOB@contoso.example>\r\nSubject: 8-bit \xfc\r\nX-Odd:  two  spaces \r\n\r\n.\r\nbody\0\nno end";
    let without = b"From: Alice <alice@contoso.example>\r\nTo: bob@contoso.example\r\n\
        Subject: 8-bit \xfc\r\nX-Odd:  two  spaces \r\n\r\n.\r\nbody\0\nno end";
    let answer = alice.send_mime("/me/sendMail", message).await;
    assert_eq!(answer.status(), 202);
    assert!(answer.headers().contains_key("request-id"));
    assert_eq!(answer.text().await.unwrap(), "");
    let arrived = sandbox.messages(BOB, "INBOX");
    assert_eq!((arrived.len(), &*arrived[5]), (6, &without[..]), "once, although named twice");
    let outbox = sandbox.outbox();
    assert_eq!(
        (outbox[0].recipients.as_slice(), &*outbox[0].content),
        (&["hidden@fabrikam.example".into()][..], &without[..])
    );
    assert_eq!(*sandbox.messages(ALICE, "Sent Items")[0], *message);
    let counters = sandbox.counters();
    assert_eq!(counters.submissions_of(Service::Graph, ALICE), Attempts { succeeded: 1, refused: 0 });
    assert_eq!(counters.calls_of(Service::Graph, ALICE, "POST /sendMail"), 1);
    // What nobody takes comes back by mail.
    let lost = b"To: nobody@contoso.example\r\n\r\n";
    assert_eq!(alice.send_mime(&format!("/users/{ALICE}/sendMail"), lost).await.status(), 202);
    let report = String::from_utf8(sandbox.messages(ALICE, "INBOX").pop().unwrap().to_vec()).unwrap();
    assert!(report.contains("Final-Recipient: rfc822;nobody@contoso.example"), "{report}");
}

#[tokio::test]
async fn a_message_in_json_goes_out_too() {
    let sandbox = sandbox().await;
    let alice = Client::of(&sandbox, ALICE);
    let body = json!({
        "message": {
            "subject": "Grüße",
            "body": {"contentType": "HTML", "content": "<p>Köln</p>"},
            "toRecipients": [{"emailAddress": {"address": BOB}}],
            "internetMessageHeaders": [{"name": "x-device", "value": "7"}],
            "attachments": [{"@odata.type": "#microsoft.graph.fileAttachment", "name": "a.txt", "contentBytes": "YWJj"}],
        },
        "saveToSentItems": false,
    });
    let request = |body: &Value| {
        let request = alice.request(Method::POST, "/me/sendMail").header("content-type", "application/json");
        request.body(body.to_string()).send()
    };
    assert_eq!(request(&body).await.unwrap().status(), 202);
    assert!(sandbox.messages(ALICE, "Sent Items").is_empty());
    let bob = Client::of(&sandbox, BOB);
    let newest = bob.get("/me/mailFolders/inbox/messages?$top=1").await["value"][0].clone();
    assert_eq!((newest["subject"].as_str(), newest["hasAttachments"].as_bool()), (Some("Grüße"), Some(true)));
    assert_eq!(newest["body"], json!({"contentType": "html", "content": "<p>Köln</p>"}));
    assert_eq!(newest["from"]["emailAddress"]["address"], ALICE);
    let mut bad = body.clone();
    bad["message"]["internetMessageHeaders"][0]["name"] = json!("Received");
    assert_eq!(refusal(request(&bad).await.unwrap()).await, (400, "InvalidInternetMessageHeader".into()));
    assert_eq!(refusal(request(&json!(7)).await.unwrap()).await, (400, "BadRequest".into()));
}

#[tokio::test]
async fn send_mail_refuses_as_microsoft_does() {
    let sandbox = sandbox().await;
    let alice = Client::of(&sandbox, ALICE);
    let large = [&b"To: bob@contoso.example\r\n\r\n"[..], &vec![b'x'; 3 << 20]].concat();
    for (message, expected) in [
        (&b"Subject: nobody\r\n\r\n"[..], (400, "ErrorInvalidRecipients")),
        (b"To: undisclosed-recipients:;\r\n\r\n", (400, "ErrorInvalidRecipients")),
        (b"To: bob\r\n\r\n", (400, "ErrorInvalidRecipients")),
        (b"From: bob@contoso.example\r\nTo: bob@contoso.example\r\n\r\n", (403, "ErrorSendAsDenied")),
        (b"", (400, "ErrorMimeContentInvalid")),
        (&large, (413, "ErrorMessageSizeExceeded")),
    ] {
        let refused = refusal(alice.send_mime("/me/sendMail", message).await).await;
        assert_eq!((refused.0, refused.1.as_str()), expected);
    }
    for body in ["VG86IGJvYg", "VG86IGJv\r\nYg==", "VG86IGJvYg==\r\n", "To: bob", "-_8="] {
        let request = alice.request(Method::POST, "/me/sendMail").header("content-type", "text/plain; charset=utf-8");
        let refused = refusal(request.body(body).send().await.unwrap()).await;
        assert_eq!(refused, (400, "ErrorMimeContentInvalidBase64String".into()), "{body}");
    }
    assert_eq!(sandbox.messages(BOB, "INBOX").len(), 5, "nothing was sent");
    assert_eq!(sandbox.counters().submissions_of(Service::Graph, ALICE), Attempts { succeeded: 0, refused: 4 });
}

#[tokio::test]
async fn tokens_must_be_graphs_and_permit_what_is_asked() {
    let sandbox = sandbox().await;
    sandbox.add_account(SandboxAccount {
        delegates: vec![ALICE.to_owned()],
        app_access: false,
        ..SandboxAccount::new(SHARED, "x")
    });
    let exchange = sandbox.issue_token(ALICE).unwrap();
    let app = sandbox.issue_graph_token(None).unwrap();
    let get = async |token: &str, path: &str| {
        let answer = Client::new(&sandbox, token).request(Method::GET, path).send().await.unwrap();
        if answer.status() == 200 { (200, String::new()) } else { refusal(answer).await }
    };
    for (token, path, status, code) in [
        (exchange.expose(), "/me/messages", 401, "InvalidAuthenticationToken"),
        ("nonsense", "/me/messages", 401, "InvalidAuthenticationToken"),
        (app.expose(), "/me/messages", 400, "BadRequest"),
        (app.expose(), "/users/nobody@contoso.example/messages", 404, "ErrorInvalidUser"),
        (app.expose(), "/users/shared@contoso.example/messages", 403, "ErrorAccessDenied"),
        (app.expose(), "/users/alice@contoso.example/messages", 200, ""),
        (app.expose(), "/users/alice@contoso.example", 403, "Authorization_RequestDenied"),
        (app.expose(), "/groups", 400, "BadRequest"),
    ] {
        assert_eq!(get(token, path).await, (status, code.to_owned()), "{path}");
    }
    assert_eq!(get(app.expose(), &format!("/users/{}/messages", sandbox.object_id(ALICE))).await.0, 200);
    let alice = Client::of(&sandbox, ALICE);
    assert_eq!(alice.get("/me").await["mail"], ALICE);
    assert!(alice.get(&format!("/users/{SHARED}/messages")).await["value"].is_array(), "a delegate reads");
    let answer = alice.request(Method::GET, "/users/bob%40contoso.example/messages").send().await.unwrap();
    assert_eq!(refusal(answer).await, (403, "ErrorAccessDenied".into()));
    let answer = Client::new(&sandbox, "x").request(Method::GET, "/me").header("client-request-id", "c0ffee").send();
    let answer = answer.await.unwrap();
    assert!(answer.headers()["www-authenticate"].to_str().unwrap().starts_with("Bearer "));
    assert_eq!(answer.headers()["client-request-id"], "c0ffee");

    sandbox.set_graph_consent(Some(&["Mail.Send"]));
    let alice = Client::of(&sandbox, ALICE);
    let answer = alice.request(Method::GET, "/me/messages").send().await.unwrap();
    assert_eq!(refusal(answer).await, (403, "ErrorAccessDenied".into()));
    assert_eq!(alice.send_mime("/me/sendMail", b"To: bob@contoso.example\r\n\r\n").await.status(), 202);
    sandbox.advance(Duration::from_secs(3_600));
    let answer = alice.request(Method::GET, "/me").send().await.unwrap();
    assert_eq!(refusal(answer).await, (401, "InvalidAuthenticationToken".into()));
}

#[tokio::test]
async fn entra_sells_graph_tokens_for_every_grant() {
    let sandbox = sandbox().await;
    let defaults = SandboxConfig::default();
    let message = b"To: bob@contoso.example\r\n\r\n";
    let mut form = ropc(&defaults.public_client_id, "alice's secret");
    for (scope, sent) in [
        ("https://graph.microsoft.com/.default", 202),
        ("https://graph.microsoft.com/Mail.Send offline_access", 202),
        ("Mail.Send", 202),
        ("https://graph.microsoft.com/Mail.Read", 403),
    ] {
        form[2] = ("scope", scope);
        let token = granted(&sandbox, V2, &form).await["access_token"].as_str().unwrap().to_owned();
        let answer = Client::new(&sandbox, &token).send_mime("/me/sendMail", message).await;
        assert_eq!(answer.status(), sent, "{scope}");
    }
    form[2] = ("scope", "https://graph.microsoft.com/Mail.Send https://outlook.office.com/SMTP.Send");
    assert_eq!(refused(&sandbox, V2, &form).await, (400, 70011));
    sandbox.set_graph_consent(Some(&["Mail.Read"]));
    form[2] = ("scope", "https://graph.microsoft.com/Mail.Send");
    assert_eq!(refused(&sandbox, V2, &form).await, (400, 65001));
    sandbox.set_graph_consent(Some(&[]));
    let app = [
        ("grant_type", "client_credentials"),
        ("client_id", defaults.confidential_client_id.as_str()),
        ("client_secret", "sandbox-secret"),
        ("scope", "https://graph.microsoft.com/.default"),
    ];
    let token = granted(&sandbox, V2, &app).await["access_token"].as_str().unwrap().to_owned();
    let answer = Client::new(&sandbox, &token).send_mime("/users/alice@contoso.example/sendMail", message).await;
    assert_eq!(refusal(answer).await, (403, "ErrorAccessDenied".into()), "granted without any permission");
    // A sign-in buys tokens of both resources.
    sandbox.set_graph_consent(None);
    let refresh = sandbox.sign_in(ALICE).unwrap();
    for scope in ["https://outlook.office.com/.default", "https://graph.microsoft.com/.default offline_access"] {
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", defaults.public_client_id.as_str()),
            ("refresh_token", refresh.expose()),
            ("scope", scope),
        ];
        granted(&sandbox, V2, &form).await;
    }
}

#[tokio::test]
async fn messages_are_listed_in_pages_and_read_as_they_are() {
    let sandbox = sandbox().await;
    let alice = Client::of(&sandbox, ALICE);
    let mut path = "/me/mailFolders/inbox/messages?$select=id,receivedDateTime,isRead&$top=2\
        &$expand=singleValueExtendedProperties($filter=id eq 'Integer 0x0E08')"
        .to_owned();
    let mut ids = Vec::new();
    loop {
        let page = alice.get(&path).await;
        for message in page["value"].as_array().unwrap() {
            assert_eq!(message["singleValueExtendedProperties"][0]["id"], "Integer 0xe08");
            assert_eq!((&message["isRead"], &message["subject"]), (&json!(false), &Value::Null));
            ids.push(message["id"].as_str().unwrap().to_owned());
        }
        let Some(next) = page["@odata.nextLink"].as_str() else { break };
        assert!(page["value"].as_array().unwrap().len() == 2, "{page}");
        path = next.strip_prefix(&alice.base).unwrap().to_owned();
    }
    assert_eq!(ids.len(), 5);
    let oldest = sandbox.messages(ALICE, "INBOX")[0].clone();
    let value = alice.request(Method::GET, &format!("/me/messages/{}/$value", ids[4])).send().await.unwrap();
    assert_eq!(value.bytes().await.unwrap(), *oldest, "newest first");
    let ordered = alice.get("/me/messages?$orderby=receivedDateTime&$select=subject&$count=true").await;
    assert_eq!(
        (&ordered["value"][0]["subject"], &ordered["@odata.count"]),
        (&json!("Welcome to your mailbox"), &json!(5))
    );
    let answer = alice.request(Method::GET, "/me/messages?$top=1001").send().await.unwrap();
    assert_eq!(refusal(answer).await, (400, "BadRequest".into()));
    let answer = alice.request(Method::GET, &format!("/me/messages/{}", ids[0].to_lowercase())).send().await.unwrap();
    assert_eq!(refusal(answer).await, (404, "ErrorItemNotFound".into()));
    let attachments = alice.get(&format!("/me/messages/{}/attachments", ids[3])).await;
    let attachment = &attachments["value"][0];
    assert_eq!((&attachment["name"], attachments["value"].as_array().unwrap().len()), (&json!("positions.csv"), 1));
    let path = format!("/me/messages/{}/attachments/{}", ids[3], attachment["id"].as_str().unwrap());
    assert_eq!(alice.get(&path).await["contentBytes"], attachment["contentBytes"]);
    let value = alice.request(Method::GET, &format!("{path}/$value")).send().await.unwrap();
    assert!(value.bytes().await.unwrap().starts_with(b"Position,Amount"));
    let elsewhere = path.replace(&ids[3], &ids[2]);
    let answer = alice.request(Method::GET, &elsewhere).send().await.unwrap();
    assert_eq!(refusal(answer).await, (404, "ErrorItemNotFound".into()), "it is of another message");
    let folders = alice.get("/me/mailFolders?$top=100").await;
    let names: Vec<_> =
        folders["value"].as_array().unwrap().iter().map(|f| f["displayName"].as_str().unwrap()).collect();
    assert!(names.contains(&"Inbox") && names.contains(&"Deleted Items"), "{names:?}");
    assert_eq!(alice.get("/me/mailFolders/inbox").await["totalItemCount"], 5);
}

#[tokio::test]
async fn an_identifier_outlives_a_move_only_if_it_is_immutable() {
    let sandbox = sandbox().await;
    let alice = Client::of(&sandbox, ALICE);
    let ids = async |prefer: &str| -> Vec<String> {
        let request = alice.request(Method::GET, "/me/mailFolders/inbox/messages?$select=id").header("prefer", prefer);
        let page: Value = serde_json::from_str(&request.send().await.unwrap().text().await.unwrap()).unwrap();
        page["value"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap().to_owned()).collect()
    };
    let (plain, immutable) = (ids("").await, ids("outlook.timezone=\"UTC\", IdType=\"ImmutableId\"").await);
    assert_ne!(plain[0], immutable[0]);
    let request = alice.request(Method::PATCH, &format!("/me/messages/{}", immutable[0]));
    let request = request.header("content-type", "application/json").body(r#"{"isRead":true}"#);
    assert_eq!(request.send().await.unwrap().status(), 200);
    assert_eq!(alice.get("/me/mailFolders/inbox").await["unreadItemCount"], 4);
    let delete = async |id: &str| {
        alice.request(Method::DELETE, &format!("/me/messages/{id}")).send().await.unwrap().status().as_u16()
    };
    assert_eq!(delete(&plain[0]).await, 204);
    assert_eq!(delete(&plain[0]).await, 404, "it moved");
    let moved = alice.get(&format!("/me/messages/{}?$select=parentFolderId,isRead", immutable[0])).await;
    let deleted_items = alice.get("/me/mailFolders/deletedItems").await;
    assert_eq!((&moved["parentFolderId"], &moved["isRead"]), (&deleted_items["id"], &json!(true)));
    assert_eq!(delete(&immutable[0]).await, 204);
    assert_eq!(delete(&immutable[0]).await, 404, "gone for good");
    assert!(sandbox.messages(ALICE, "Deleted Items").is_empty());
    let request = alice.request(Method::POST, &format!("/me/messages/{}/move", plain[1]));
    let answer = request.body(r#"{"destinationId":"archive"}"#).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    assert_eq!((sandbox.messages(ALICE, "Archive").len(), sandbox.messages(ALICE, "INBOX").len()), (1, 3));
}

#[tokio::test]
async fn drafts_are_kept_and_sent() {
    let sandbox = sandbox().await;
    let alice = Client::of(&sandbox, ALICE);
    let answer = alice.send_mime("/me/messages", b"To: bob@contoso.example\r\nSubject: draft\r\n\r\n").await;
    assert_eq!(answer.status(), 201);
    let draft: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!((&draft["isDraft"], &draft["subject"]), (&json!(true), &json!("draft")));
    let send = format!("/me/messages/{}/send", draft["id"].as_str().unwrap());
    assert_eq!(alice.request(Method::POST, &send).send().await.unwrap().status(), 202);
    assert_eq!(alice.request(Method::POST, &send).send().await.unwrap().status(), 404);
    assert_eq!(sandbox.messages(BOB, "INBOX").len(), 6);
    assert!(sandbox.messages(ALICE, "Drafts").is_empty());
}

#[tokio::test]
async fn more_than_four_calls_at_once_are_throttled() {
    let sandbox = sandbox().await;
    sandbox.fail_http(Service::Graph, "GET /messages", HttpFault::Hang, 4);
    let clients: Vec<Client> = (0..4).map(|_| Client::of(&sandbox, ALICE)).collect();
    let hanging: Vec<_> =
        clients.iter().map(|client| tokio::spawn(client.request(Method::GET, "/me/messages").send())).collect();
    while sandbox.counters().calls_of(Service::Graph, ALICE, "GET /messages") < 4 {
        tokio::task::yield_now().await;
    }
    let answer = clients[0].request(Method::GET, "/me/messages").send().await.unwrap();
    assert!(answer.headers().contains_key("retry-after"));
    assert_eq!(refusal(answer).await, (429, "ApplicationThrottled".into()));
    assert_eq!(Client::of(&sandbox, BOB).get("/me").await["mail"], BOB, "another mailbox has places of its own");
    sandbox.clear_http_faults(Service::Graph);
    for call in hanging {
        assert_eq!(call.await.unwrap().unwrap().status(), 200);
    }
    assert_eq!(sandbox.counters().concurrent_calls[&(Service::Graph, ALICE.to_owned())], 5);
    clients[0].get("/me/messages").await;
}

#[tokio::test]
async fn graph_fails_on_demand() {
    let sandbox = sandbox().await;
    let alice = Client::of(&sandbox, ALICE);
    let message = b"To: bob@contoso.example\r\n\r\n";
    let sent = || sandbox.messages(BOB, "INBOX").len() - 5;
    let send = || {
        alice.request(Method::POST, "/me/sendMail").header("content-type", "text/plain").body(STANDARD.encode(message))
    };
    for (fault, status, code) in [
        (HttpFault::status(400), 400, "ErrorInvalidRequest"),
        (HttpFault::status(401), 401, "InvalidAuthenticationToken"),
        (HttpFault::code(403, "Authorization_RequestDenied"), 403, "Authorization_RequestDenied"),
        (HttpFault::status(404), 404, "MailboxNotEnabledForRESTAPI"),
        (HttpFault::status(413), 413, "ErrorMessageSizeExceeded"),
        (HttpFault::throttled(Duration::from_secs(17)), 429, "ApplicationThrottled"),
        (HttpFault::status(500), 500, "ErrorInternalServerError"),
        (HttpFault::status(503), 503, "ServiceUnavailable"),
        (HttpFault::status(504), 504, "UnknownError"),
    ] {
        sandbox.fail_http(Service::Graph, "POST /sendMail", fault, 1);
        let answer = send().send().await.unwrap();
        let retry_after = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(retry_after.as_deref(), (status == 429).then_some("17"));
        assert_eq!(refusal(answer).await, (status, code.to_owned()));
    }
    assert_eq!(sent(), 0);
    for (fault, status, done) in [
        (HttpFault::OkNotDone, 200, 0),
        (HttpFault::Html, 200, 0),
        (HttpFault::Redirect, 307, 0),
        (HttpFault::Slow(Duration::from_millis(1)), 202, 1),
        (HttpFault::Drip(Duration::from_millis(1)), 202, 2),
    ] {
        sandbox.fail_http(Service::Graph, "", fault.clone(), 1);
        let answer = send().send().await.unwrap();
        assert_eq!((answer.status().as_u16(), sent()), (status, done), "{fault:?}");
    }
    // A new connection for each: on one that was used before, a client may repeat by itself.
    for (fault, done) in [(HttpFault::Cut, 2), (HttpFault::CutWhenDone, 3)] {
        sandbox.fail_http(Service::Graph, "", fault.clone(), 1);
        let alice = Client::of(&sandbox, ALICE);
        let send = alice.request(Method::POST, "/me/sendMail").header("content-type", "text/plain");
        assert!(send.body(STANDARD.encode(message)).send().await.is_err(), "{fault:?}");
        assert_eq!(sent(), done, "{fault:?}");
    }
    sandbox.fail_http(Service::Graph, "GET /messages", HttpFault::CutInAnswer, 1);
    let answer = alice.request(Method::GET, "/me/messages").send().await.unwrap();
    assert!(answer.text().await.is_err(), "the answer breaks off");
    sandbox.fail_http(Service::Graph, "GET /", HttpFault::Drip(Duration::ZERO), 1);
    assert_eq!(alice.get("/me").await["mail"], ALICE);
    sandbox.fail_http(Service::Graph, "/sendMail", HttpFault::HangWhenDone, 1);
    let hanging = tokio::spawn(send().send());
    while sent() < 4 {
        tokio::task::yield_now().await;
    }
    sandbox.clear_http_faults(Service::Graph);
    assert_eq!(hanging.await.unwrap().unwrap().status(), 202);
    for mode in
        [UpstreamMode::Refuse, UpstreamMode::SpeaksBeforeTls, UpstreamMode::BadCertificate(CertificateFault::WrongName)]
    {
        sandbox.set_upstream_mode(Service::Graph, mode);
        assert!(Client::of(&sandbox, ALICE).request(Method::GET, "/me").send().await.is_err(), "{mode:?}");
    }
    sandbox.set_upstream_mode(Service::Graph, UpstreamMode::Unavailable);
    let answer = Client::of(&sandbox, ALICE).request(Method::GET, "/me").send().await.unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(sandbox.counters().submissions_of(Service::Graph, ALICE).succeeded, 4);
}
