//! The token endpoint and the mail protocols.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gatepost_core::clock::Clock;
use gatepost_sandbox::{
    Attempts, CertificateFault, EntraMode, Sandbox, SandboxAccount, SandboxConfig, Service, UpstreamMode,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub(crate) const ALICE: &str = "alice@contoso.example";
pub(crate) const BOB: &str = "bob@contoso.example";
pub(crate) const V2: &str = "contoso.example/oauth2/v2.0/token";

pub(crate) async fn sandbox() -> Sandbox {
    let config = SandboxConfig {
        accounts: vec![SandboxAccount::new(ALICE, "alice's secret"), SandboxAccount::new(BOB, "bob's secret")],
        clock: Clock::manual(),
        ..SandboxConfig::default()
    };
    Sandbox::start(config).await.unwrap()
}

/// A client that speaks in lines.
pub(super) struct Peer<S>(pub(super) BufReader<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    async fn write(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
        self.0.flush().await.unwrap();
    }

    pub(super) async fn say(&mut self, line: &str) {
        self.write(&format!("{line}\r\n")).await;
    }

    /// A line without its end; empty when the server has closed.
    pub(super) async fn hear(&mut self) -> String {
        let mut line = Vec::new();
        // A server that closes without close_notify has closed all the same.
        let _ = self.0.read_until(b'\n', &mut line).await;
        String::from_utf8(line).unwrap().trim_end().to_owned()
    }

    /// Says a line and hears until a line starts with `end`; all that was heard.
    pub(super) async fn ask(&mut self, line: &str, end: &str) -> Vec<String> {
        self.say(line).await;
        self.until(end).await
    }

    async fn until(&mut self, end: &str) -> Vec<String> {
        let mut heard = Vec::new();
        loop {
            let line = self.hear().await;
            assert!(heard.len() < 1_000, "closed before `{end}`: {heard:?}");
            let last = if end == "." { line == end } else { line.starts_with(end) };
            heard.push(line);
            if last {
                return heard;
            }
        }
    }

    async fn closed(&mut self) -> bool {
        let mut rest = Vec::new();
        let _ = self.0.read_to_end(&mut rest).await;
        rest.is_empty()
    }
}

pub(super) async fn tls(sandbox: &Sandbox, tcp: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(sandbox.ca_pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), tcp).await
}

pub(super) async fn dial(sandbox: &Sandbox, address: SocketAddr) -> Peer<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(address).await.unwrap();
    Peer(BufReader::new(tls(sandbox, tcp).await.unwrap()))
}

pub(super) async fn dial_smtp(sandbox: &Sandbox) -> Peer<TcpStream> {
    let mut peer = Peer(BufReader::new(TcpStream::connect(sandbox.smtp()).await.unwrap()));
    assert!(peer.hear().await.starts_with("220 "));
    peer
}

pub(super) fn xoauth2(user: &str, token: &str) -> String {
    STANDARD.encode(format!("user={user}\u{1}auth=Bearer {token}\u{1}\u{1}"))
}

/// Signed in to IMAP.
async fn imap(sandbox: &Sandbox, user: &str) -> Peer<TlsStream<TcpStream>> {
    let mut peer = dial(sandbox, sandbox.imap()).await;
    assert!(peer.hear().await.starts_with("* OK The Microsoft Exchange IMAP4 service is ready. ["));
    let token = sandbox.issue_token(user).unwrap();
    let heard = peer.ask(&format!("L AUTHENTICATE XOAUTH2 {}", xoauth2(user, token.expose())), "L ").await;
    assert_eq!(heard, ["L OK AUTHENTICATE completed."]);
    peer
}

/// Signed in to SMTP.
pub(super) async fn smtp(sandbox: &Sandbox, user: &str) -> Peer<TlsStream<TcpStream>> {
    let mut plain = dial_smtp(sandbox).await;
    let offered = plain.ask("EHLO client.example", "250 ").await;
    assert!(offered.contains(&"250-STARTTLS".to_owned()) && offered.contains(&"250-SIZE 157286400".to_owned()));
    assert!(!offered.iter().any(|line| line.contains("AUTH")), "{offered:?}");
    assert_eq!(plain.ask("STARTTLS", "2").await, ["220 2.0.0 SMTP server ready"]);
    let mut peer = Peer(BufReader::new(tls(sandbox, plain.0.into_inner()).await.unwrap()));
    let offered = peer.ask("EHLO client.example", "250 ").await;
    assert!(offered.contains(&"250-AUTH LOGIN XOAUTH2".to_owned()), "{offered:?}");
    assert_eq!(peer.ask("AUTH XOAUTH2", "3").await, ["334"]);
    let token = sandbox.issue_token(user).unwrap();
    assert_eq!(peer.ask(&xoauth2(user, token.expose()), "").await, ["235 2.7.0 Authentication successful"]);
    peer
}

/// Status, `Retry-After`, body.
pub(crate) async fn post(
    sandbox: &Sandbox,
    path: &str,
    form: &[(&str, &str)],
) -> Result<(u16, Option<String>, String), reqwest::Error> {
    let ca = reqwest::Certificate::from_pem(sandbox.ca_pem().as_bytes())?;
    let redirects = reqwest::redirect::Policy::none();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([ca]).redirect(redirects).build()?;
    let answer = client.post(format!("{}{path}", sandbox.authority())).form(form).send().await?;
    let retry_after = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
    Ok((answer.status().as_u16(), retry_after, answer.text().await?))
}

pub(crate) fn ropc<'a>(client_id: &'a str, password: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("grant_type", "password"),
        ("client_id", client_id),
        ("scope", "https://outlook.office.com/.default"),
        ("username", "Alice@contoso.example"),
        ("password", password),
    ]
}

pub(crate) async fn granted(sandbox: &Sandbox, path: &str, form: &[(&str, &str)]) -> Value {
    let (status, _, body) = post(sandbox, path, form).await.unwrap();
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

/// Status and AADSTS code.
pub(crate) async fn refused(sandbox: &Sandbox, path: &str, form: &[(&str, &str)]) -> (u16, u64) {
    let (status, _, body) = post(sandbox, path, form).await.unwrap();
    let body: Value = serde_json::from_str(&body).unwrap();
    let code = body["error_codes"][0].as_u64().unwrap();
    assert!(body["error_description"].as_str().unwrap().starts_with(&format!("AADSTS{code}: ")));
    (status, code)
}

#[tokio::test]
async fn entra_grants_tokens_that_the_services_accept() {
    let sandbox = sandbox().await;
    let defaults = SandboxConfig::default();
    let by_user = granted(&sandbox, V2, &ropc(&defaults.public_client_id, "alice's secret")).await;
    assert_eq!((by_user["token_type"].as_str(), by_user["expires_in"].as_u64()), (Some("Bearer"), Some(3_600)));
    assert!(by_user["scope"].as_str().unwrap().contains("https://outlook.office.com/IMAP.AccessAsUser.All"));

    let app = [
        ("grant_type", "client_credentials"),
        ("client_id", defaults.confidential_client_id.as_str()),
        ("client_secret", "sandbox-secret"),
        ("scope", "https://outlook.office365.com/.default"),
    ];
    let by_app = granted(&sandbox, V2, &app).await;
    assert_eq!(by_app.get("scope"), None);

    let mut v1 = ropc(&defaults.public_client_id, "alice's secret");
    v1[2] = ("resource", "https://partner.outlook.cn");
    let by_v1 = granted(&sandbox, "contoso.example/oauth2/token", &v1).await;
    assert_eq!((by_v1["expires_in"].as_str(), by_v1["resource"].as_str()), (Some("3600"), Some(v1[2].1)));

    for answer in [by_user, by_app, by_v1] {
        let mut peer = dial(&sandbox, sandbox.pop3()).await;
        peer.hear().await;
        assert_eq!(peer.ask("AUTH XOAUTH2", "").await, ["+"]);
        let response = xoauth2(ALICE, answer["access_token"].as_str().unwrap());
        assert_eq!(peer.ask(&response, "").await, ["+OK User successfully authenticated."]);
    }
    let counters = sandbox.counters();
    assert_eq!(counters.token_requests_of("password", ALICE), Attempts { succeeded: 2, refused: 0 });
    assert_eq!(counters.token_requests_of("client_credentials", app[1].1), Attempts { succeeded: 1, refused: 0 });
    assert_eq!(counters.logins_of(Service::Pop3, ALICE), Attempts { succeeded: 3, refused: 0 });
    assert_eq!(counters.connections_to(Service::Pop3), 3);
    sandbox.shutdown().await;
}

#[tokio::test]
async fn entra_refuses_as_microsoft_does() {
    let sandbox = sandbox().await;
    let defaults = SandboxConfig::default();
    let (public, confidential) = (&defaults.public_client_id, &defaults.confidential_client_id);
    let with = |name: &'static str, value: &'static str| {
        let mut form = ropc(public, "alice's secret");
        form.retain(|(found, _)| *found != name);
        form.push((name, value));
        form
    };
    for (form, expected) in [
        (with("grant_type", ""), (400, 900_144)),
        (with("grant_type", "urn:ietf:params:oauth:grant-type:saml2-bearer"), (400, 70003)),
        (with("client_id", "nobody"), (400, 700_016)),
        (with("client_secret", "x"), (401, 700_025)),
        (with("scope", "https://outlook.office.com/Nonsense"), (400, 70011)),
        (with("resource", "https://outlook.office.com"), (400, 901_002)),
        (with("username", "nobody@contoso.example"), (400, 50034)),
        (with("password", "wrong"), (400, 50126)),
        (with("password", ""), (400, 900_144)),
        (ropc(confidential, "alice's secret"), (401, 7_000_218)),
    ] {
        assert_eq!(refused(&sandbox, V2, &form).await, expected, "{form:?}");
    }
    let app = [
        ("grant_type", "client_credentials"),
        ("client_id", confidential.as_str()),
        ("client_secret", "wrong"),
        ("scope", "https://outlook.office365.com/.default"),
    ];
    assert_eq!(refused(&sandbox, V2, &app).await, (401, 7_000_215));
    let right = ropc(public, "alice's secret");
    assert_eq!(refused(&sandbox, "elsewhere.example/oauth2/v2.0/token", &right).await, (400, 90002));
    assert_eq!(refused(&sandbox, "common/oauth2/v2.0/token", &right).await, (400, 9_001_023));
    sandbox.set_sign_in_error(ALICE, Some(50076));
    assert_eq!(refused(&sandbox, V2, &right).await, (400, 50076));
    sandbox.set_sign_in_error(ALICE, None);
    for n in 0..10 {
        refused(&sandbox, V2, &ropc(public, &n.to_string())).await;
    }
    assert_eq!(refused(&sandbox, V2, &right).await, (400, 50053));
    sandbox.advance(Duration::from_secs(60));
    granted(&sandbox, V2, &right).await;
}

#[tokio::test]
async fn entra_fails_on_demand() {
    let sandbox = sandbox().await;
    let defaults = SandboxConfig::default();
    let form = ropc(&defaults.public_client_id, "alice's secret");
    sandbox.set_entra_mode(EntraMode::Down);
    assert!(post(&sandbox, V2, &form).await.is_err());
    sandbox.set_entra_mode(EntraMode::Throttled { retry_after: Duration::from_secs(17) });
    let (status, retry_after, _) = post(&sandbox, V2, &form).await.unwrap();
    assert_eq!((status, retry_after.as_deref()), (429, Some("17")));
    for (mode, status, json) in [
        (EntraMode::Html, 200, false),
        (EntraMode::TruncatedJson, 200, false),
        (EntraMode::Oversize, 200, false),
        (EntraMode::OkWithError, 200, true),
        (EntraMode::ServerError, 503, true),
        (EntraMode::Redirect, 307, false),
        (EntraMode::Slow(Duration::from_millis(1)), 200, true),
    ] {
        sandbox.set_entra_mode(mode.clone());
        let (found, _, body) = post(&sandbox, V2, &form).await.unwrap();
        assert_eq!((found, serde_json::from_str::<Value>(&body).is_ok()), (status, json), "{mode:?}");
    }
    // Modes that do not look at the request issue nothing.
    assert_eq!(sandbox.counters().token_requests_of("password", ALICE).succeeded, 2);
}

#[tokio::test]
async fn imap_takes_only_xoauth2() {
    let sandbox = sandbox().await;
    let mut peer = dial(&sandbox, sandbox.imap()).await;
    peer.hear().await;
    let capabilities = peer.ask("A CAPABILITY", "A ").await.remove(0);
    assert!(capabilities.contains("AUTH=XOAUTH2 LOGINDISABLED SASL-IR"), "{capabilities}");
    assert_eq!(peer.ask("A LOGIN alice {3+}\r\nabc", "A ").await, ["A NO LOGIN failed."]);
    assert_eq!(peer.ask("A AUTHENTICATE PLAIN AGEAYg==", "A ").await, ["A NO AUTHENTICATE failed."]);
    assert_eq!(peer.ask("A SELECT INBOX", "A ").await, ["A BAD Command received in Invalid state."]);
    let alice = sandbox.issue_token(ALICE).unwrap();
    assert_eq!(peer.ask("A AUTHENTICATE XOAUTH2", "+").await, ["+"]);
    let damaged = format!("{}x", alice.expose());
    assert_eq!(peer.ask(&xoauth2(ALICE, &damaged), "A ").await, ["A NO AUTHENTICATE failed."]);
    // The token is good, but not for this mailbox: the next command shows it.
    let login = format!("A AUTHENTICATE XOAUTH2 {}", xoauth2(BOB, alice.expose()));
    assert_eq!(peer.ask(&login, "A ").await, ["A OK AUTHENTICATE completed."]);
    assert_eq!(
        peer.ask("B NAMESPACE", "*").await,
        ["B BAD User is authenticated but not connected.", "* BYE Connection closed. 14"]
    );
    assert!(peer.closed().await);
    assert_eq!(sandbox.counters().logins_of(Service::Imap, BOB), Attempts { succeeded: 0, refused: 1 });
}

#[tokio::test]
async fn an_imap_session_ends_with_its_token() {
    let sandbox = sandbox().await;
    let mut quiet = imap(&sandbox, ALICE).await;
    let mut idle = imap(&sandbox, ALICE).await;
    assert_eq!(idle.ask("B IDLE", "+").await, ["+ IDLE accepted, awaiting DONE command."]);
    let token = sandbox.issue_token(ALICE).unwrap();
    sandbox.advance(Duration::from_secs(3_600));
    for peer in [&mut quiet, &mut idle] {
        assert_eq!(peer.hear().await, "* BYE Session invalidated - AccessTokenExpired");
        assert!(peer.closed().await);
    }
    let mut peer = dial(&sandbox, sandbox.imap()).await;
    peer.hear().await;
    let login = format!("A AUTHENTICATE XOAUTH2 {}", xoauth2(ALICE, token.expose()));
    assert_eq!(peer.ask(&login, "A ").await, ["A NO AUTHENTICATE failed."]);
}

#[tokio::test]
async fn imap_reads_appends_and_deletes() {
    let sandbox = sandbox().await;
    let mut peer = imap(&sandbox, ALICE).await;
    let listed = peer.ask("A LIST \"\" *", "A ").await;
    assert!(listed.contains(&"* LIST (\\HasNoChildren \\Trash) \"/\" \"Deleted Items\"".to_owned()), "{listed:?}");
    let selected = peer.ask("A SELECT inbox", "A ").await;
    assert_eq!(selected[0], "* 5 EXISTS");
    assert_eq!(selected.last().unwrap(), "A OK [READ-WRITE] SELECT completed.");
    let found = peer.ask("A UID SEARCH SUBJECT invoice NOT SEEN", "A ").await;
    assert_eq!(found[0], "* SEARCH 2");
    let fetched = peer.ask("A UID FETCH 2 (BODY[2.MIME]<0.4> BODYSTRUCTURE BODY[])", "A ").await;
    assert_eq!(fetched[0], "* 2 FETCH (UID 2 BODY[2.MIME]<0> {4}");
    assert!(fetched.iter().any(|line| line.ends_with("FLAGS (\\Seen))")), "{fetched:?}");

    // A literal that waits for leave, one that does not, pipelined commands behind it, and one that
    // is too large.
    assert_eq!(peer.ask("A APPEND Drafts (\\Draft) {11}", "+").await, ["+ Ready for additional command text."]);
    assert!(peer.ask("A: b\r\n\r\nfoo", "A ").await[0].starts_with("A OK [APPENDUID "));
    let heard = peer.ask("B APPEND INBOX {5+}\r\nC: d\n\r\nC NOOP", "C ").await;
    assert_eq!((heard[0].as_str(), heard.last().unwrap().as_str()), ("* 6 EXISTS", "C OK NOOP completed."));
    assert_eq!(peer.ask("D APPEND INBOX {99999999}", "D").await, ["D NO [TOOBIG] The literal is too large."]);

    assert!(peer.ask("E UID MOVE 6 Archive", "E ").await.contains(&"* 6 EXPUNGE".to_owned()));
    assert_eq!(peer.ask("F STORE 1:2 +FLAGS.SILENT (\\Deleted)", "F ").await, ["F OK STORE completed."]);
    assert_eq!(peer.ask("F EXPUNGE", "F ").await, ["* 1 EXPUNGE", "* 1 EXPUNGE", "F OK EXPUNGE completed."]);
    assert_eq!(peer.ask("F FETCH 4 UID", "F ").await, ["F BAD The specified message set is invalid."]);
    assert_eq!(sandbox.messages(ALICE, "INBOX").len(), 3);
    assert_eq!(*sandbox.messages(ALICE, "Drafts")[0], *b"A: b\r\n\r\nfoo");
    assert_eq!(peer.ask("G LOGOUT", "G ").await[1], "G OK LOGOUT completed.");
    assert!(peer.closed().await);
}

#[tokio::test]
async fn a_sent_message_reaches_an_idle_client() {
    let sandbox = sandbox().await;
    let mut bob = imap(&sandbox, BOB).await;
    bob.ask("A SELECT INBOX", "A ").await;
    bob.ask("B IDLE", "+").await;
    let mut peer = smtp(&sandbox, ALICE).await;
    peer.say(&format!("MAIL FROM:<{ALICE}> SIZE=20\r\nRCPT TO:<{BOB}>\r\nRCPT TO:<x@fabrikam.example>")).await;
    let heard = peer.ask("RCPT TO:<nobody@contoso.example>\r\nDATA", "354").await;
    assert!(heard[3].starts_with("550 5.1.10 "), "{heard:?}");
    let heard = peer.ask("Subject: hi\r\n\r\n..dot\r\n.", "").await;
    assert!(heard[0].starts_with("250 2.0.0 OK <"), "{heard:?}");

    assert_eq!((bob.hear().await, bob.hear().await), ("* 6 EXISTS".to_owned(), "* 0 RECENT".to_owned()));
    assert_eq!(bob.ask("DONE", "B ").await, ["B OK IDLE completed."]);
    let message: &[u8] = b"Subject: hi\r\n\r\n.dot\r\n";
    assert!(sandbox.messages(BOB, "INBOX").last().unwrap().ends_with(message));
    assert_eq!(*sandbox.messages(ALICE, "Sent Items")[0], *message);
    let outbox = sandbox.outbox();
    assert_eq!((outbox[0].recipients.join(" ").as_str(), &*outbox[0].content), ("x@fabrikam.example", message));
}

#[tokio::test]
async fn smtp_is_as_strict_as_microsoft() {
    let sandbox = sandbox().await;
    let mut plain = dial_smtp(&sandbox).await;
    plain.ask("EHLO x", "250 ").await;
    assert_eq!(plain.ask("AUTH XOAUTH2", "").await, ["504 5.7.4 Unrecognized authentication type"]);
    assert_eq!(plain.ask("MAIL FROM:<a@b>", "").await, ["530 5.7.57 Client not authenticated to send mail."]);
    assert!(plain.ask("STARTTLS\r\nNOOP", "").await[0].starts_with("554 "), "nothing may follow STARTTLS");

    let mut peer = smtp(&sandbox, ALICE).await;
    peer.ask(&format!("MAIL FROM:<{BOB}>"), "250").await;
    peer.ask(&format!("RCPT TO:<{BOB}>"), "250").await;
    peer.write("BDAT 3\r\nabcBDAT 2 LAST\r\nde").await;
    assert_eq!(peer.hear().await, "250 2.6.0 CHUNK received OK, 3 octets");
    assert_eq!(peer.hear().await, "550 5.7.60 SMTP; Client does not have permissions to send as this sender");
    let oversize = peer.ask(&format!("MAIL FROM:<{ALICE}> SIZE=157286401"), "").await;
    assert_eq!(oversize, ["552 5.3.4 Message size exceeds fixed maximum message size"]);
    assert!(sandbox.messages(ALICE, "Sent Items").is_empty());
}

#[tokio::test]
async fn pop3_takes_two_lines_and_deletes_at_quit_only() {
    let sandbox = sandbox().await;
    let token = sandbox.issue_token(ALICE).unwrap();
    let mut peer = dial(&sandbox, sandbox.pop3()).await;
    peer.hear().await;
    assert_eq!(peer.ask("CAPA", ".").await, ["+OK", "TOP", "UIDL", "SASL XOAUTH2", "."]);
    peer.ask("USER x", "+OK").await;
    assert_eq!(peer.ask("PASS y", "").await, ["-ERR Logon failure: unknown user name or bad password."]);
    let one_line = peer.ask("AUTH XOAUTH2 dXNlcj0=", "").await;
    assert_eq!(one_line, ["-ERR Protocol error. Connection is closed. 10"]);
    assert!(peer.closed().await);

    for (quits, left) in [(false, 5), (true, 4)] {
        let mut peer = dial(&sandbox, sandbox.pop3()).await;
        peer.hear().await;
        peer.ask("AUTH XOAUTH2", "+").await;
        peer.ask(&xoauth2(ALICE, token.expose()), "+OK").await;
        assert!(peer.ask("STAT", "").await[0].starts_with("+OK 5 "));
        let message = peer.ask("RETR 1", ".").await;
        assert!(message.contains(&"..".to_owned()), "a line with a dot only is stuffed: {message:?}");
        peer.ask("DELE 2", "+OK").await;
        if quits {
            peer.ask("QUIT", "+OK").await;
            assert!(peer.closed().await);
        }
        drop(peer);
        assert_eq!(sandbox.messages(ALICE, "INBOX").len(), left);
    }
}

#[tokio::test]
async fn upstreams_fail_on_demand() {
    let sandbox = sandbox().await;
    let connect = || TcpStream::connect(sandbox.imap());
    sandbox.set_upstream_mode(Service::Imap, UpstreamMode::Refuse);
    let mut octet = [0];
    assert!(!matches!(connect().await.unwrap().read(&mut octet).await, Ok(1)));
    for fault in [CertificateFault::UntrustedAuthority, CertificateFault::WrongName, CertificateFault::Expired] {
        sandbox.set_upstream_mode(Service::Imap, UpstreamMode::BadCertificate(fault));
        assert!(tls(&sandbox, connect().await.unwrap()).await.is_err(), "{fault:?}");
    }
    sandbox.set_upstream_mode(Service::Imap, UpstreamMode::SpeaksBeforeTls);
    assert_eq!(connect().await.unwrap().read(&mut octet).await.unwrap(), 1);
    assert_eq!(octet, *b"*");
    sandbox.set_upstream_mode(Service::Imap, UpstreamMode::Bye);
    assert_eq!(dial(&sandbox, sandbox.imap()).await.hear().await, "* BYE Connection is closed. 13");
    sandbox.set_upstream_mode(Service::Imap, UpstreamMode::Preauth);
    assert!(dial(&sandbox, sandbox.imap()).await.hear().await.starts_with("* PREAUTH "));
    let token = sandbox.issue_token(ALICE).unwrap();
    let login = format!("A AUTHENTICATE XOAUTH2 {}", xoauth2(ALICE, token.expose()));
    for (mode, reply) in [
        (UpstreamMode::NotConnected, "A OK AUTHENTICATE completed."),
        (UpstreamMode::Unavailable, "A NO [UNAVAILABLE] Server Unavailable. 15"),
    ] {
        sandbox.set_upstream_mode(Service::Imap, mode);
        let mut peer = dial(&sandbox, sandbox.imap()).await;
        peer.hear().await;
        assert_eq!(peer.ask(&login, "A ").await, [reply]);
        assert!(peer.ask("A SELECT INBOX", "A ").await[0].starts_with("A BAD "));
    }

    sandbox.set_upstream_mode(Service::Smtp, UpstreamMode::SmtpAuthDisabled);
    let mut plain = dial_smtp(&sandbox).await;
    plain.ask("EHLO x", "250 ").await;
    plain.ask("STARTTLS", "2").await;
    let mut peer = Peer(BufReader::new(tls(&sandbox, plain.0.into_inner()).await.unwrap()));
    peer.ask("EHLO x", "250 ").await;
    for (token, reply) in [
        ("x", "535 5.7.3 "),
        (
            token.expose(),
            "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant.",
        ),
    ] {
        peer.ask("AUTH XOAUTH2", "3").await;
        let refused = peer.ask(&xoauth2(ALICE, token), "").await;
        assert!(refused[0].starts_with(reply), "{refused:?}");
    }
    sandbox.set_upstream_mode(Service::Smtp, UpstreamMode::NoStartTls);
    let mut peer = dial_smtp(&sandbox).await;
    assert!(!peer.ask("EHLO x", "250 ").await.iter().any(|line| line.contains("STARTTLS")));
    assert_eq!(peer.ask("STARTTLS", "").await, ["500 5.3.3 Unrecognized command"]);
    sandbox.set_upstream_mode(Service::Smtp, UpstreamMode::SpeaksBeforeTls);
    let mut peer = dial_smtp(&sandbox).await;
    peer.ask("EHLO x", "250 ").await;
    assert_eq!(peer.ask("STARTTLS", "250").await.len(), 2);
    sandbox.set_upstream_mode(Service::Smtp, UpstreamMode::Hang);
    let mut hanging = TcpStream::connect(sandbox.smtp()).await.unwrap();
    sandbox.shutdown().await;
    assert!(!matches!(hanging.read(&mut octet).await, Ok(1)), "shutting down ends even what hangs");
}

#[tokio::test]
async fn the_sandbox_stays_on_loopback() {
    let config = SandboxConfig { address: "0.0.0.0".parse().unwrap(), ..SandboxConfig::default() };
    assert!(Sandbox::start(config).await.is_err());
    let sandbox = sandbox().await;
    assert!(sandbox.deliver(ALICE, b"Subject: x\r\n\r\n"));
    assert!(!sandbox.deliver("nobody@contoso.example", b"Subject: x\r\n\r\n"));
    assert_eq!(sandbox.messages(ALICE, "INBOX").len(), 6);
}
