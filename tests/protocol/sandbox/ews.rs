//! EWS: finding, reading, sending, impersonation, faults.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gatepost_sandbox::{Attempts, HttpFault, Sandbox, SandboxAccount, Service};
use reqwest::Response;

use super::mail::{ALICE, BOB, sandbox};

/// A client with a token.
struct Client {
    http: reqwest::Client,
    address: String,
    token: String,
}

impl Client {
    fn new(sandbox: &Sandbox, token: &str) -> Self {
        let ca = reqwest::Certificate::from_pem(sandbox.ca_pem().as_bytes()).unwrap();
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([ca]).build().unwrap();
        let address = format!("https://localhost:{}/EWS/Exchange.asmx", sandbox.ews().port());
        Self { http, address, token: token.to_owned() }
    }

    fn of(sandbox: &Sandbox, user: &str) -> Self {
        Self::new(sandbox, sandbox.issue_token(user).unwrap().expose())
    }

    async fn post(&self, header: &str, body: &str, anchor: Option<&str>) -> Response {
        let envelope = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\
             <s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
             xmlns:t=\"http://schemas.microsoft.com/exchange/services/2006/types\" \
             xmlns:m=\"http://schemas.microsoft.com/exchange/services/2006/messages\">\
             <s:Header>{header}</s:Header><s:Body>{body}</s:Body></s:Envelope>"
        );
        let request = self.http.post(&self.address).bearer_auth(&self.token);
        let request = request.header("content-type", "text/xml; charset=utf-8").body(envelope);
        let request = anchor.iter().fold(request, |request, anchor| request.header("x-anchormailbox", *anchor));
        request.send().await.unwrap()
    }

    /// Status and text.
    async fn ask(&self, body: &str) -> (u16, String) {
        let answer = self.post("", body, None).await;
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// The text of an answer that went well.
    async fn done(&self, body: &str) -> String {
        let (status, text) = self.ask(body).await;
        assert!(status == 200 && text.contains("<m:ResponseCode>NoError<"), "{status} {text}");
        text
    }
}

/// What stands between two marks.
fn between<'a>(text: &'a str, before: &str, after: &str) -> Vec<&'a str> {
    text.split(before).skip(1).map(|rest| rest.split(after).next().unwrap()).collect()
}

fn find(traits: &str) -> String {
    format!(
        "<m:FindItem Traversal=\"Shallow\"><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties>\
         <t:FieldURI FieldURI=\"item:Subject\"/></t:AdditionalProperties></m:ItemShape>{traits}\
         <m:ParentFolderIds><t:DistinguishedFolderId Id=\"inbox\"/></m:ParentFolderIds></m:FindItem>"
    )
}

#[tokio::test]
async fn mail_is_found_read_marked_moved_and_deleted() {
    let sandbox = sandbox().await;
    let alice = Client::of(&sandbox, ALICE);
    let folders = "<m:GetFolder><m:FolderShape><t:BaseShape>Default</t:BaseShape></m:FolderShape><m:FolderIds>\
        <t:DistinguishedFolderId Id=\"inbox\"/><t:DistinguishedFolderId Id=\"calendar\"/></m:FolderIds></m:GetFolder>";
    let (_, folders) = alice.ask(folders).await;
    assert!(folders.contains("<t:TotalCount>5</t:TotalCount>") && folders.contains("ErrorFolderNotFound"), "{folders}");
    let page = alice
        .done(&find("<m:IndexedPageItemView MaxEntriesReturned=\"2\" Offset=\"1\" BasePoint=\"Beginning\"/>"))
        .await;
    assert!(
        page.contains("IndexedPagingOffset=\"3\" TotalItemsInView=\"5\" IncludesLastItemInRange=\"false\""),
        "{page}"
    );
    assert_eq!(between(&page, "<t:Subject>", "<"), ["Scanned document", "Grüße aus Köln"]);
    assert!(!page.contains("MimeContent"));
    let ids = between(&page, "<t:ItemId Id=\"", "\"");
    let get = |id: &str| {
        format!(
            "<m:GetItem><m:ItemShape><t:BaseShape>AllProperties</t:BaseShape><t:IncludeMimeContent>true</t:IncludeMimeContent>\
             </m:ItemShape><m:ItemIds><t:ItemId Id=\"{id}\"/></m:ItemIds></m:GetItem>"
        )
    };
    let item = alice.done(&get(ids[1])).await;
    let mime = STANDARD.decode(between(&item, "CharacterSet=\"UTF-8\">", "<")[0]).unwrap();
    assert_eq!(mime, *sandbox.messages(ALICE, "INBOX")[2]);
    assert!(item.contains("Schöne Grüße!") && item.contains("<t:Name>Jürgen Müller</t:Name>"), "{item}");
    let mark = format!(
        "<m:UpdateItem MessageDisposition=\"SaveOnly\" ConflictResolution=\"AutoResolve\"><m:ItemChanges><t:ItemChange>\
         <t:ItemId Id=\"{}\"/><t:Updates><t:SetItemField><t:FieldURI FieldURI=\"message:IsRead\"/><t:Message>\
         <t:IsRead>true</t:IsRead></t:Message></t:SetItemField></t:Updates></t:ItemChange></m:ItemChanges></m:UpdateItem>",
        ids[1]
    );
    alice.done(&mark).await;
    let unread = "<m:Restriction><t:IsEqualTo><t:FieldURI FieldURI=\"message:IsRead\"/><t:FieldURIOrConstant>\
        <t:Constant Value=\"false\"/></t:FieldURIOrConstant></t:IsEqualTo></m:Restriction>";
    assert!(alice.done(&find(unread)).await.contains("TotalItemsInView=\"4\""));
    let delete = |kind: &str, id: &str| {
        format!("<m:DeleteItem DeleteType=\"{kind}\"><m:ItemIds><t:ItemId Id=\"{id}\"/></m:ItemIds></m:DeleteItem>")
    };
    alice.done(&delete("MoveToDeletedItems", ids[0])).await;
    alice.done(&delete("HardDelete", ids[1])).await;
    for id in [ids[0], ids[1]] {
        assert!(alice.ask(&get(id)).await.1.contains("<m:ResponseCode>ErrorItemNotFound<"));
    }
    let left = |folder| sandbox.messages(ALICE, folder).len();
    assert_eq!((left("INBOX"), left("Deleted Items")), (3, 1));
    assert!(alice.ask(&get("bm9uc2Vuc2U=")).await.1.contains("ErrorInvalidIdMalformed"));
    // A delegate's rights end at the mailboxes that they are for.
    assert!(Client::of(&sandbox, BOB).ask(&get(ids[0])).await.1.contains("ErrorAccessDenied"));
    assert_eq!(sandbox.counters().calls_of(Service::Ews, ALICE, "DeleteItem"), 2);
}

#[tokio::test]
async fn attachments_are_read() {
    let sandbox = sandbox().await;
    let alice = Client::of(&sandbox, ALICE);
    let newest_last = "<m:SortOrder><t:FieldOrder Order=\"Ascending\"><t:FieldURI FieldURI=\"item:DateTimeReceived\"/>\
        </t:FieldOrder></m:SortOrder>";
    let page = alice.done(&find(newest_last)).await;
    let id = between(&page, "<t:ItemId Id=\"", "\"")[1];
    let item = format!(
        "<m:GetItem><m:ItemShape><t:BaseShape>Default</t:BaseShape></m:ItemShape><m:ItemIds><t:ItemId Id=\"{id}\"/>\
         </m:ItemIds></m:GetItem>"
    );
    let item = alice.done(&item).await;
    let id = between(&item, "<t:AttachmentId Id=\"", "\"")[0];
    let get =
        format!("<m:GetAttachment><m:AttachmentIds><t:AttachmentId Id=\"{id}\"/></m:AttachmentIds></m:GetAttachment>");
    let attachment = alice.done(&get).await;
    let content = STANDARD.decode(between(&attachment, "<t:Content>", "<")[0]).unwrap();
    assert!(content.starts_with(b"Position,Amount"));
}

fn create(disposition: &str, message: &str) -> String {
    format!(
        "<m:CreateItem MessageDisposition=\"{disposition}\"><m:Items><t:Message>{message}</t:Message></m:Items></m:CreateItem>"
    )
}

#[tokio::test]
async fn messages_are_sent_as_mime_and_in_pieces() {
    let sandbox = sandbox().await;
    let alice = Client::of(&sandbox, ALICE);
    let mime = b"To: bob@contoso.example\r\nBcc: x@fabrikam.example\r\nSubject: \xfc\r\n\r\nbody\n";
    let content = format!("<t:MimeContent CharacterSet=\"UTF-8\">{}</t:MimeContent>", STANDARD.encode(mime));
    alice.done(&create("SendOnly", &content)).await;
    let delivered = b"To: bob@contoso.example\r\nSubject: \xfc\r\n\r\nbody\n";
    assert_eq!(*sandbox.messages(BOB, "INBOX")[5], *delivered);
    assert_eq!(sandbox.outbox()[0].recipients, ["x@fabrikam.example"]);
    assert!(sandbox.messages(ALICE, "Sent Items").is_empty());
    let pieces = |from: &str| {
        format!(
            "<t:Subject>a &lt; b</t:Subject><t:Body BodyType=\"Text\">Grüße\nhier</t:Body><t:ToRecipients><t:Mailbox>\
             <t:EmailAddress>{BOB}</t:EmailAddress></t:Mailbox></t:ToRecipients>{from}"
        )
    };
    alice.done(&create("SendAndSaveCopy", &pieces(""))).await;
    let arrived = String::from_utf8(sandbox.messages(BOB, "INBOX")[6].to_vec()).unwrap();
    assert!(arrived.contains("Subject: a < b\r\n") && arrived.contains(&STANDARD.encode("Grüße\nhier")), "{arrived}");
    assert_eq!(sandbox.messages(ALICE, "Sent Items").len(), 1);

    let draft = alice.done(&create("SaveOnly", &pieces(""))).await;
    let id = between(&draft, "<t:ItemId Id=\"", "\"")[0];
    let send =
        format!("<m:SendItem SaveItemToFolder=\"true\"><m:ItemIds><t:ItemId Id=\"{id}\"/></m:ItemIds></m:SendItem>");
    assert_eq!(sandbox.messages(ALICE, "Drafts").len(), 1);
    alice.done(&send).await;
    assert!(sandbox.messages(ALICE, "Drafts").is_empty());
    assert_eq!((sandbox.messages(ALICE, "Sent Items").len(), sandbox.messages(BOB, "INBOX").len()), (2, 8));

    let from_bob = format!("<t:From><t:Mailbox><t:EmailAddress>{BOB}</t:EmailAddress></t:Mailbox></t:From>");
    for (message, code) in [
        (pieces(&from_bob), "ErrorSendAsDenied"),
        ("<t:Subject>nobody</t:Subject>".to_owned(), "ErrorInvalidRecipients"),
        ("<t:MimeContent>?</t:MimeContent>".to_owned(), "ErrorMimeContentInvalidBase64String"),
    ] {
        let (status, text) = alice.ask(&create("SendOnly", &message)).await;
        assert!(status == 200 && text.contains(&format!("<m:ResponseCode>{code}<")), "{text}");
    }
    assert_eq!(sandbox.counters().submissions_of(Service::Ews, ALICE), Attempts { succeeded: 3, refused: 2 });
}

#[tokio::test]
async fn an_application_must_impersonate_and_anchor_the_same_mailbox() {
    let sandbox = sandbox().await;
    sandbox.add_account(SandboxAccount { app_access: false, ..SandboxAccount::new("closed@contoso.example", "x") });
    let app = Client::new(&sandbox, sandbox.issue_app_token().unwrap().expose());
    let header = |kind: &str, who: &str| {
        format!(
            "<t:ExchangeImpersonation><t:ConnectingSID><t:{kind}>{who}</t:{kind}></t:ConnectingSID></t:ExchangeImpersonation>"
        )
    };
    let alice = header("PrimarySmtpAddress", "Alice@contoso.example");
    for (header, anchor, status, says) in [
        (alice.clone(), None, 200, "TotalItemsInView=\"5\""),
        (alice.clone(), Some("alice@CONTOSO.example"), 200, "NoError"),
        (header("PrincipalName", ALICE), None, 200, "NoError"),
        (alice, Some(BOB), 500, ""),
        (String::new(), None, 500, "ExchangeImpersonation SOAP header must be present for this type of OAuth token."),
        (
            header("SmtpAddress", "nobody@contoso.example"),
            None,
            500,
            "<e:ResponseCode xmlns:e=\"http://schemas.microsoft.com/exchange/services/2006/errors\">ErrorNonExistentMailbox<",
        ),
        (header("SmtpAddress", "closed@contoso.example"), None, 500, "a:ErrorImpersonateUserDenied</faultcode>"),
        (header("SID", ALICE), None, 500, "ErrorNonExistentMailbox"),
    ] {
        let answer = app.post(&header, &find(""), anchor).await;
        let (found, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        assert!(found == status && text.contains(says), "{header} {anchor:?}: {found} {text}");
    }
    // A person impersonates nobody.
    let person = Client::of(&sandbox, ALICE);
    let answer = person.post(&header("SmtpAddress", BOB), &find(""), None).await;
    assert!(answer.text().await.unwrap().contains("ErrorImpersonateUserDenied"));
    assert_eq!(person.post(&header("SmtpAddress", ALICE), &find(""), None).await.status(), 200);
}

#[tokio::test]
async fn only_exchanges_tokens_open_the_door() {
    let sandbox = sandbox().await;
    let graph = sandbox.issue_graph_token(Some(ALICE)).unwrap();
    for (token, diagnostics) in [("nonsense", "2000001"), (graph.expose(), "2000003")] {
        let answer = Client::new(&sandbox, token).post("", &find(""), None).await;
        assert_eq!(answer.status(), 401);
        let schemes: Vec<_> =
            answer.headers().get_all("www-authenticate").iter().map(|value| value.to_str().unwrap()).collect();
        assert!(schemes[0].starts_with("Bearer client_id=") && schemes[1].starts_with("Basic "), "{schemes:?}");
        assert!(answer.headers()["x-ms-diagnostics"].to_str().unwrap().starts_with(diagnostics));
    }
    let alice = Client::of(&sandbox, ALICE);
    for (body, code) in [
        ("<m:GetDelegate/>", "a:ErrorInvalidRequest</faultcode>"),
        ("", "a:ErrorSchemaValidation</faultcode>"),
        ("<m:GetItem", "a:ErrorSchemaValidation</faultcode>"),
    ] {
        let (status, text) = alice.ask(body).await;
        assert!(status == 500 && text.contains(code), "{body}: {text}");
    }
    let elsewhere = alice.address.replace("Exchange.asmx", "Services.wsdl");
    let answer = alice.http.post(elsewhere).bearer_auth(&alice.token).header("content-type", "text/xml").send().await;
    assert_eq!(answer.unwrap().status(), 404);
}

#[tokio::test]
async fn ews_fails_on_demand() {
    let sandbox = sandbox().await;
    let alice = Client::of(&sandbox, ALICE);
    for (fault, status, says) in [
        (HttpFault::status(403), 403, "EWS is disabled"),
        (HttpFault::status(401), 401, ""),
        (HttpFault::status(503), 503, ""),
        (
            HttpFault::throttled(Duration::from_millis(1_500)),
            500,
            "<t:Value Name=\"BackOffMilliseconds\">1500</t:Value>",
        ),
        (HttpFault::code(500, "ErrorInternalServerTransientError"), 500, "a:ErrorInternalServerTransientError<"),
        (HttpFault::Html, 200, "Web filter"),
    ] {
        sandbox.fail_http(Service::Ews, "FindItem", fault.clone(), 1);
        let (found, text) = alice.ask(&find("")).await;
        assert!(found == status && text.contains(says), "{fault:?}: {found} {text}");
    }
    alice.done(&find("")).await;
    let answer = alice.post("", &find(""), None).await;
    assert!(answer.headers().get_all("set-cookie").iter().count() == 1);
    let affine = alice.http.post(&alice.address).bearer_auth(&alice.token).header("content-type", "text/xml");
    let answer = affine.header("x-preferserveraffinity", "true").body("<x/>").send().await.unwrap();
    let cookies: Vec<_> = answer.headers().get_all("set-cookie").iter().map(|value| value.to_str().unwrap()).collect();
    assert!(cookies[1].starts_with("X-BackEndOverrideCookie="), "{cookies:?}");
}

#[tokio::test]
async fn new_mail_is_told_while_the_answer_is_open() {
    let sandbox = sandbox().await;
    let alice = Client::of(&sandbox, ALICE);
    let subscribe = "<m:Subscribe><m:StreamingSubscriptionRequest><t:FolderIds><t:DistinguishedFolderId Id=\"inbox\"/>\
        </t:FolderIds><t:EventTypes><t:EventType>NewMailEvent</t:EventType></t:EventTypes></m:StreamingSubscriptionRequest>\
        </m:Subscribe>";
    let subscribed = alice.done(subscribe).await;
    let id = between(&subscribed, "<m:SubscriptionId>", "<")[0];
    let get = format!(
        "<m:GetStreamingEvents><m:SubscriptionIds><t:SubscriptionId>{id}</t:SubscriptionId></m:SubscriptionIds>\
         <m:ConnectionTimeout>1</m:ConnectionTimeout></m:GetStreamingEvents>"
    );
    let mut answer = alice.post("", &get, None).await;
    assert_eq!(answer.headers()["transfer-encoding"], "chunked");
    let mut next = async || String::from_utf8(answer.chunk().await.unwrap().unwrap_or_default().to_vec()).unwrap();
    assert!(next().await.contains("<m:ConnectionStatus>OK<"));
    sandbox.deliver(ALICE, b"Subject: now\r\n\r\n");
    let event = next().await;
    let id = between(&event, "<t:NewMailEvent>", "</t:NewMailEvent>")[0];
    assert!(id.contains("<t:ItemId Id=\""), "{event}");
    sandbox.advance(Duration::from_secs(60));
    assert!(next().await.contains("<m:ConnectionStatus>Closed<"));
    assert_eq!(next().await, "", "the answer ends");
}
