//! Requests that succeed, and what is told to those who have no right to: through the sandbox's EWS
//! and Graph.

use gatepost::login::issue::{self, Order};
use gatepost_core::account::MailAddress;
use gatepost_core::clock::Clock;
use gatepost_sandbox::{SandboxAccount, SandboxConfig, Service};
use gatepost_store::{DevicePasswordId, Store as _};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::client::{Connection, OK, as_application, basic, envelope, raw, request, status, with_origin, with_sandbox};
use super::origin::{Origin, reply};
use crate::common::directory::Directory;
use crate::session::support::{ALICE, ALICES, BOB, BOBS, Setup, World};

const EWS: &str = "/EWS/Exchange.asmx";
const GET_INBOX: &str = "<m:GetFolder><m:FolderShape><t:BaseShape>Default</t:BaseShape></m:FolderShape>\
     <m:FolderIds><t:DistinguishedFolderId Id=\"inbox\"/></m:FolderIds></m:GetFolder>";

/// A device password of its own for each, and a Gatepost for them.
async fn with_passwords(setup: Setup) -> (World, [(DevicePasswordId, String); 2]) {
    let mut made = Vec::new();
    for login in [ALICE, BOB] {
        let login = MailAddress::parse(login).unwrap();
        let order = Order { login, name: "ERP".into(), protocols: Vec::new(), from: Vec::new(), expires_at: None };
        let (record, password) = issue::generate(&*setup.store, order, Clock::system().unix_time()).await.unwrap();
        made.push((record.id, password.expose().to_owned()));
    }
    (setup.start().await, made.try_into().unwrap())
}

#[tokio::test]
async fn a_password_opens_ews_and_graph_over_both_versions_of_http() {
    let world = with_sandbox().start().await;
    let alice = basic(ALICE, ALICES);
    let ews = |path: &str| request("POST", path, &alice, &envelope("", GET_INBOX));
    let graph = |path: &str| request("GET", path, &alice, "");
    for mut connection in [Connection::http_1(&world, "ews").await, Connection::http_2(&world, "ews").await] {
        // The same connection serves several.
        for _ in 0..3 {
            let path =
                if matches!(connection, Connection::Http2(_)) { format!("http://localhost{EWS}") } else { EWS.into() };
            let got = connection.ask(ews(&path)).await;
            assert!(got.status == OK && got.text.contains("<m:ResponseCode>NoError<"), "{got:?}");
            assert!(got.header("set-cookie").starts_with("exchangecookie="), "{got:?}");
        }
    }
    for mut connection in [Connection::http_1(&world, "graph").await, Connection::http_2(&world, "graph").await] {
        let base = if matches!(connection, Connection::Http2(_)) { "http://localhost" } else { "" };
        let got = connection.ask(graph(&format!("{base}/v1.0/me/messages?$top=1"))).await;
        assert!(got.status == OK && got.text.contains("\"value\":["), "{got:?}");
    }
    // One line for each connection and login, not for each request.
    let accepted = format!("account={ALICE} outcome=accepted");
    assert_eq!(world.log.lines(|line| line.contains(&accepted)).len(), 4);
    world
        .until("the sessions have ended", || {
            world.log.lines(|line| line.contains(&format!("account={ALICE} outcome=ended"))).len() == 4
        })
        .await;
    // A token for each of the two services.
    assert_eq!(world.sandbox.counters().http_requests, 2);
}

#[tokio::test]
async fn a_mailbox_is_asked_for_whatever_its_address_holds() {
    const ODD: &str = "r&d#^~!$%+'-/=?_`{|}.x@contoso.example";
    let odd = || vec![SandboxAccount::new(ODD, ALICES)];
    let sandbox = || SandboxConfig { accounts: odd(), ..SandboxConfig::default() };
    let setup = as_application(with_sandbox());
    let accounts = format!("\n  - login: \"{ODD}\"");
    let setup = Setup { accounts, sandbox: sandbox(), ..setup };
    let login = MailAddress::parse(ODD).unwrap();
    let order = Order { login, name: "ERP".into(), protocols: Vec::new(), from: Vec::new(), expires_at: None };
    let (_, password) = issue::generate(&*setup.store, order, Clock::system().unix_time()).await.unwrap();
    let world = setup.start().await;
    let credentials = basic(ODD, password.expose());
    let mut ews = Connection::http_1(&world, "ews").await;
    let got = ews.ask(request("POST", EWS, &credentials, &envelope("", GET_INBOX))).await;
    assert!(got.status == OK && got.text.contains("<m:ResponseCode>NoError<"), "{got:?}");
    let mut graph = Connection::http_1(&world, "graph").await;
    let got = graph.ask(request("GET", "/v1.0/me/messages", &credentials, "")).await;
    assert!(got.status == OK && got.text.contains("\"value\":["), "{got:?}");
}

#[tokio::test]
async fn an_application_acts_for_the_mailbox_of_the_credentials_only() {
    let (world, [(_, alices), (_, bobs)]) = with_passwords(as_application(with_sandbox())).await;
    let mut ews = Connection::http_1(&world, "ews").await;
    let other = format!(
        "<t:ExchangeImpersonation><t:ConnectingSID><t:PrimarySmtpAddress>{BOB}</t:PrimarySmtpAddress></t:ConnectingSID>\
         </t:ExchangeImpersonation>"
    );
    for header in ["", &other] {
        let got = ews.ask(request("POST", EWS, &basic(ALICE, &alices), &envelope(header, GET_INBOX))).await;
        assert!(got.status == OK && got.text.contains("<m:ResponseCode>NoError<"), "{got:?}");
    }
    let mut graph = Connection::http_1(&world, "graph").await;
    world.sandbox.deliver(BOB, b"Subject: for Bob alone\r\n\r\nx\r\n");
    let bobs = basic(BOB, &bobs);
    for own in ["/v1.0/me/messages", &format!("/v1.0/users/{BOB}/messages"), &format!("/v1.0/users('{BOB}')/messages")]
    {
        let got = graph.ask(request("GET", own, &bobs, "")).await;
        assert!(got.status == OK && got.text.contains("for Bob alone"), "{own}: {got:?}");
    }
    let got = graph.ask(request("GET", &format!("/v1.0/users/{BOB}/messages"), &basic(ALICE, &alices), "")).await;
    assert_eq!((got.status, got.text.contains("accessDenied")), (403, true), "{got:?}");
    let got = graph.ask(request("GET", "/v1.0/organization", &bobs, "")).await;
    assert_eq!(got.status, 403, "{got:?}");
    let got = graph.ask(request("POST", "/v1.0/$batch", &bobs, "{}")).await;
    assert_eq!(got.status, 403, "{got:?}");
}

/// EWS opens the mailbox of the token, whatever the request says; Graph is asked for the right one.
#[tokio::test]
async fn with_a_users_token_ews_opens_the_mailbox_of_that_user_only() {
    const SHARED: &str = "office@contoso.example";
    let accounts = || SandboxConfig {
        accounts: vec![
            SandboxAccount::new(ALICE, ALICES),
            SandboxAccount { delegates: vec![ALICE.into()], ..SandboxAccount::new(SHARED, "x") },
        ],
        ..SandboxConfig::default()
    };
    let world = Setup {
        sandbox: accounts(),
        accounts: format!("\n  - login: {ALICE}\n  - {{login: '*', mailbox: {SHARED}}}"),
        ..with_sandbox()
    }
    .start()
    .await;
    let world = &world;
    let ask = async |user: &str| {
        let mut ews = Connection::http_1(world, "ews").await;
        ews.ask(request("POST", EWS, &basic(user, ALICES), &envelope("", GET_INBOX))).await
    };
    assert_eq!(ask(ALICE).await.status, OK);
    let opened = world.sandbox.counters().calls_of(Service::Ews, ALICE, "GetFolder");
    // The same person, whose login is to open another mailbox.
    world.reload(|yaml| yaml.replace(&format!("  - login: {ALICE}\n"), "")).await.unwrap();
    let got = ask(ALICE).await;
    assert!(got.status == 403 && got.text.contains("Not allowed to use this mailbox"), "{got:?}");
    assert_eq!(world.sandbox.counters().calls_of(Service::Ews, ALICE, "GetFolder"), opened);
    let refused = world.log.lines(|line| line.contains("cause=ews-other-mailbox"));
    assert!(refused.len() == 1 && refused[0].contains(SHARED), "{refused:?}");
    let mut graph = Connection::http_1(world, "graph").await;
    world.sandbox.deliver(SHARED, b"Subject: for the office\r\n\r\nx\r\n");
    let got = graph.ask(request("GET", "/v1.0/me/messages", &basic(ALICE, ALICES), "")).await;
    assert!(got.status == OK && got.text.contains("for the office"), "{got:?}");
}

#[tokio::test]
async fn a_mailbox_behind_the_user_name_is_opened_if_it_is_listed() {
    const SHARED: &str = "office@contoso.example";
    let tenant = || SandboxConfig {
        accounts: vec![
            SandboxAccount::new(ALICE, ALICES),
            SandboxAccount { delegates: vec![ALICE.into()], ..SandboxAccount::new(SHARED, "x") },
        ],
        ..SandboxConfig::default()
    };
    let accounts = || format!("\n  - {{login: {ALICE}, mailboxes: [{SHARED}]}}");
    let world = Setup { sandbox: tenant(), accounts: accounts(), ..with_sandbox() }.start().await;
    world.sandbox.deliver(SHARED, b"Subject: for the office\r\n\r\nx\r\n");
    let (shared, other) = ("alice@contoso.example\\office", "alice@contoso.example/bob");
    let mut graph = Connection::http_1(&world, "graph").await;
    for path in ["/v1.0/me/messages", &format!("/v1.0/users/{SHARED}/messages")] {
        let got = graph.ask(request("GET", path, &basic(shared, ALICES), "")).await;
        assert!(got.status == OK && got.text.contains("for the office"), "{path}: {got:?}");
    }
    let got = graph.ask(request("GET", "/v1.0/me/messages", &basic(ALICE, ALICES), "")).await;
    assert!(got.status == OK && !got.text.contains("for the office"), "the same connection, her own: {got:?}");
    let got = graph.ask(request("GET", "/v1.0/me/messages", &basic(other, ALICES), "")).await;
    assert!(got.status == 403 && got.text.contains("Not allowed to use this mailbox"), "{got:?}");
    let mut ews = Connection::http_1(&world, "ews").await;
    let got = ews.ask(request("POST", EWS, &basic(other, ALICES), &envelope("", GET_INBOX))).await;
    assert!(got.status == 403 && got.text.contains("Not allowed to use this mailbox"), "{got:?}");
    for listener in ["ews", "graph"] {
        let mut connection = Connection::http_1(&world, listener).await;
        for user in [shared, other] {
            let got = connection.ask(request("POST", EWS, &basic(user, "wrong"), "")).await;
            assert_eq!(got.status, 401, "{got:?}");
        }
    }

    // In EWS an application acts for the mailbox.
    let setup = Setup { sandbox: tenant(), accounts: accounts(), ..as_application(with_sandbox()) };
    let login = MailAddress::parse(ALICE).unwrap();
    let order = Order { login, name: "ERP".into(), protocols: Vec::new(), from: Vec::new(), expires_at: None };
    let (_, password) = issue::generate(&*setup.store, order, Clock::system().unix_time()).await.unwrap();
    let world = setup.start().await;
    let mut ews = Connection::http_1(&world, "ews").await;
    let got = ews.ask(request("POST", EWS, &basic(shared, password.expose()), &envelope("", GET_INBOX))).await;
    assert!(got.status == OK && got.text.contains("<m:ResponseCode>NoError<"), "{got:?}");
    assert_eq!(world.sandbox.counters().calls_of(Service::Ews, SHARED, "GetFolder"), 1);
}

#[tokio::test]
async fn what_hands_out_tokens_goes_nowhere() {
    let world = with_sandbox().start().await;
    let mut ews = Connection::http_1(&world, "ews").await;
    let body = envelope("", "<m:GetClientAccessToken><m:TokenRequests/></m:GetClientAccessToken>");
    let got = ews.ask(request("POST", EWS, &basic(ALICE, ALICES), &body)).await;
    assert!(got.status == 403 && got.text.contains("not served"), "{got:?}");
    assert_eq!(world.sandbox.counters().calls_of(Service::Ews, ALICE, "GetClientAccessToken"), 0);
}

#[tokio::test]
async fn paging_comes_back_to_the_listener() {
    let world = with_sandbox().start().await;
    for number in 0..7 {
        world.sandbox.deliver(ALICE, format!("Subject: page {number}\r\n\r\nx\r\n").as_bytes());
    }
    let mut graph = Connection::http_1(&world, "graph").await;
    let mut next = "/v1.0/me/mailFolders/inbox/messages?$top=2&$select=subject".to_owned();
    let mut subjects = 0;
    for _ in 0..20 {
        let got = graph.ask(request("GET", &next, &basic(ALICE, ALICES), "")).await;
        assert_eq!(got.status, OK, "{got:?}");
        let page: serde_json::Value = serde_json::from_str(&got.text).unwrap();
        subjects += page["value"].as_array().unwrap().len();
        let Some(link) = page["@odata.nextLink"].as_str() else {
            assert!(subjects >= 7);
            return;
        };
        next = link.strip_prefix("http://localhost").unwrap_or_else(|| panic!("{link}")).to_owned();
    }
    panic!("the last page does not come");
}

#[tokio::test]
async fn whoever_says_nothing_is_asked_for_basic_and_for_nothing_else() {
    let world = with_sandbox().start().await;
    let mut connection = Connection::http_1(&world, "ews").await;
    // As .NET begins: the whole request, without credentials; the same connection then goes on.
    let got = connection.ask(request("POST", EWS, "", &envelope("", GET_INBOX))).await;
    assert_eq!(got.status, 401);
    let challenges: Vec<_> = got.headers.get_all("www-authenticate").iter().collect();
    assert_eq!(challenges, ["Basic realm=\"Gatepost\", charset=\"UTF-8\""]);
    let got = connection.ask(request("POST", EWS, &basic(ALICE, ALICES), &envelope("", GET_INBOX))).await;
    assert_eq!(got.status, OK, "{got:?}");
    for other in ["Bearer abc", "Negotiate TlRMTVNTUAAB", "Digest username=\"x\""] {
        let got = connection.ask(request("POST", EWS, other, &envelope("", GET_INBOX))).await;
        assert!(got.status == 401 && got.header("www-authenticate").starts_with("Basic "), "{got:?}");
    }
    assert_eq!(world.sandbox.counters().http_requests, 1);
}

#[tokio::test]
async fn a_wrong_password_is_401_and_the_third_one_ends_the_connection() {
    let world = with_sandbox().start().await;
    let mut connection = Connection::http_1(&world, "graph").await;
    for attempt in 1..=3 {
        let wrong = basic(ALICE, &format!("wrong-{attempt}"));
        let got = connection.ask(request("GET", "/v1.0/me/messages", &wrong, "")).await;
        assert!(got.status == 401 && got.text.contains("\"code\":\"unauthenticated\""), "{got:?}");
        assert_eq!(got.header("connection") == "close", attempt == 3, "{got:?}");
    }
    let refused = world.log.lines(|line| line.contains("outcome=refused cause=wrong-password"));
    assert_eq!(refused.len(), 3);
    let over_http_2 = &mut Connection::http_2(&world, "graph").await;
    let got = over_http_2
        .ask(request("GET", "http://localhost/v1.0/me/messages", &basic("nobody@elsewhere.example", "x"), ""))
        .await;
    assert!(got.status == 401 && got.header("connection").is_empty(), "{got:?}");
}

#[tokio::test]
async fn a_body_is_asked_for_when_its_credentials_are_good() {
    let world = with_sandbox().start().await;
    let body = envelope("", GET_INBOX);
    let head = |credentials: &str| {
        format!(
            "POST {EWS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml\r\nContent-Length: {}\r\n\
             Expect: 100-continue\r\n{credentials}\r\n",
            body.len()
        )
    };
    let good = format!("Authorization: {}\r\nConnection: close\r\n", basic(ALICE, ALICES));
    let mut socket = TcpStream::connect(world.address("ews")).await.unwrap();
    socket.write_all(head(&good).as_bytes()).await.unwrap();
    let mut said = [0; 25];
    socket.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"HTTP/1.1 100 Continue\r\n\r\n");
    socket.write_all(body.as_bytes()).await.unwrap();
    let mut rest = String::new();
    socket.read_to_string(&mut rest).await.unwrap();
    assert_eq!(status(&rest), OK, "{rest}");
    // Without them it is not, and what would have to be taken for the body never arrives.
    let refused = raw(&world, "ews", head("").as_bytes()).await;
    assert!(status(&refused) == 401 && refused.contains("\r\nconnection: close\r\n"), "{refused}");
    assert_eq!(refused.matches("HTTP/1.1").count(), 1, "{refused}");
}

#[tokio::test]
async fn with_tls_both_versions_are_offered_and_others_are_refused() {
    let directory = Directory::new();
    let made = rcgen::generate_simple_self_signed(vec!["gateway.corp.example".to_owned()]).unwrap();
    let certificate = directory.write("server.pem", made.cert.pem());
    let key = directory.write("server.key", made.signing_key.serialize_pem());
    let origin = Origin::start(|_| reply("200 OK", "content-type: text/xml\r\n", "<a/>")).await;
    let setup = with_origin(&origin);
    let listeners = format!(
        "
  ews: {{bind: '127.0.0.1:0', tls: implicit, certificate: '{}', private_key: '{}', upstream: 'localhost:{}'}}",
        certificate.display(),
        key.display(),
        origin.port
    );
    let world = Setup { listeners, ..setup }.start().await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let connect = async |protocols: &[&str]| {
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_root_certificates(roots.clone()).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let socket = TcpStream::connect(world.address("ews")).await.unwrap();
        let name = ServerName::try_from("gateway.corp.example").unwrap();
        TlsConnector::from(std::sync::Arc::new(config)).connect(name, socket).await
    };
    let alice = basic(ALICE, ALICES);
    let stream = connect(&["h2", "http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut connection = Connection::http_2_over(stream).await;
    let mut asked = request("POST", &format!("https://gateway.corp.example{EWS}"), &alice, &envelope("", "<a/>"));
    asked.headers_mut().remove("host");
    assert_eq!(connection.ask(asked).await.status, OK, "the certificate's name is one of the listener's");
    for protocols in [&["http/1.1"][..], &[]] {
        let mut stream = connect(protocols).await.unwrap();
        let get = format!(
            "GET {EWS} HTTP/1.1\r\nHost: gateway.corp.example\r\nAuthorization: {alice}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(get.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert_eq!(status(&String::from_utf8_lossy(&answer)), 405);
    }
    assert!(connect(&["imap"]).await.is_err());
}

#[tokio::test]
async fn a_revoked_password_ends_its_connections() {
    let (world, [(id, alices), _]) = with_passwords(as_application(with_sandbox())).await;
    let mut connection = Connection::http_1(&world, "graph").await;
    let alice = basic(ALICE, &alices);
    assert_eq!(connection.ask(request("GET", "/v1.0/me/messages", &alice, "")).await.status, OK);
    assert!(world.store.revoke_device_password(&id).await.unwrap());
    world.until("the connection has ended", || world.log.has("outcome=ended cause=password-ended")).await;
    let mut again = Connection::http_1(&world, "graph").await;
    assert_eq!(again.ask(request("GET", "/v1.0/me/messages", &alice, "")).await.status, 401);
}

#[tokio::test]
async fn two_accounts_never_share_a_connection_to_microsoft() {
    let origin = Origin::start(|seen| {
        // Whose request it is, told by the header that Gatepost sets.
        reply("200 OK", "content-type: text/xml\r\n", &format!("<a>{}</a>", seen.field("x-anchormailbox")))
    })
    .await;
    let world = with_origin(&origin).start().await;
    let one = async |user: &str, password: &str| {
        let mut connection = Connection::http_1(&world, "ews").await;
        for number in 0..1_500 {
            let body = envelope("", &format!("<n>{user} {number}</n>"));
            let got = connection.ask(request("POST", EWS, &basic(user, password), &body)).await;
            assert_eq!((got.status, got.text.as_str()), (OK, format!("<a>{user}</a>").as_str()));
        }
    };
    // And one connection that both use in turn.
    let both = async || {
        let mut connection = Connection::http_1(&world, "ews").await;
        for number in 0..1_000 {
            let (user, password) = if number % 2 == 0 { (ALICE, ALICES) } else { (BOB, BOBS) };
            let got = connection
                .ask(request("POST", EWS, &basic(user, password), &envelope("", &format!("<n>{user}</n>"))))
                .await;
            assert_eq!(got.text, format!("<a>{user}</a>"));
        }
    };
    tokio::join!(one(ALICE, ALICES), one(BOB, BOBS), both());
    let seen = origin.seen();
    assert_eq!(seen.len(), 4_000);
    let mut of_connection = std::collections::HashMap::new();
    let mut tokens = std::collections::HashMap::new();
    for request in &seen {
        let user = request.field("x-anchormailbox").to_owned();
        assert!(request.text().contains(&user), "{}", request.text());
        assert_eq!(*of_connection.entry(request.connection).or_insert_with(|| user.clone()), user);
        let token = request.field("authorization").to_owned();
        assert_eq!(*tokens.entry(user).or_insert_with(|| token.clone()), token);
    }
    assert_ne!(tokens[ALICE], tokens[BOB]);
}

#[tokio::test]
async fn stopping_lets_a_request_finish_and_then_says_so() {
    let (send, parts) = tokio::sync::mpsc::channel(4);
    let parts = std::sync::Mutex::new(Some(parts));
    let origin = Origin::start(move |_| super::origin::Reply::Stream(parts.lock().unwrap().take().unwrap())).await;
    let world = with_origin(&origin).start().await;
    let mut working = Connection::http_1(&world, "graph").await;
    let idle = TcpStream::connect(world.address("graph")).await.unwrap();
    let asked = working.ask(request("GET", "/v1.0/me/messages", &basic(ALICE, ALICES), ""));
    let rest = async {
        send.send("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n{\"a\":".into())
            .await
            .unwrap();
        world.until("the request is under way", || world.log.has("request answered")).await;
        world.stop.drain();
        send.send("1}".into()).await.unwrap();
        drop(send);
    };
    let (got, ()) = tokio::join!(asked, rest);
    assert_eq!((got.status, got.text.as_str()), (OK, "{\"a\":1}"));
    let mut idle = idle;
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap(), 0);
    assert_eq!(world.serving.await.unwrap(), 0, "nobody was cut");
}
