use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Frame;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::login::{Authenticator, LoginRequest};
use gatepost_config::environment::Environment;
use gatepost_config::load::load_text;
use gatepost_config::{ListenerBackend, Resource};
use gatepost_core::account::LoginName;
use gatepost_core::cause::Cause;
use gatepost_core::clock::Clock;
use gatepost_core::protocol::Protocol;
use gatepost_core::secret::Password;
use gatepost_net::dial::Dialer;
use gatepost_net::tls::client::UpstreamTrust;
use gatepost_oauth::fake::FakeEndpoint;
use gatepost_store::MemoryStore;

const APPLICATION: &str = "11111111-2222-3333-4444-555555555555";
const ALICE: &str = "alice@contoso.example";
const OFFICE: &str = "office@contoso.example";

/// A server that answers each request with the next of its replies.
struct Server {
    port: u16,
    ca: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(replies: Vec<String>) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let tls = ServerConfig::builder_with_provider(gatepost_net::tls::provider());
        let tls = tls.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let acceptor = TlsAcceptor::from(Arc::new(tls.with_single_cert(vec![made.cert.der().clone()], key).unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let to_seen = Arc::clone(&seen);
        tokio::spawn(async move {
            for reply in replies {
                let (socket, _) = listener.accept().await.unwrap();
                let mut stream = acceptor.accept(socket).await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"Envelope>") {
                    assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
                }
                to_seen.lock().push(String::from_utf8(request).unwrap());
                stream.write_all(reply.as_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
            }
        });
        Self { port, ca: made.cert.pem(), seen }
    }
}

impl Environment for Server {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Ok(self.ca.clone().into_bytes())
    }

    fn world_readable(&self, _: &Path) -> bool {
        false
    }

    fn run(&self, _: &[String], _: &[String]) -> Result<Vec<u8>, String> {
        Err("nothing runs here".into())
    }
}

fn reply(status: &str, fields: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{fields}\r\n{body}")
}

fn code(code: &str) -> String {
    format!("<m:ResponseCode>{code}</m:ResponseCode><m:MessageText>In words.</m:MessageText>")
}

/// A gateway to `server`, and Alice's login with this grant to this mailbox.
async fn logged_in(server: &Server, grant: &str, mailbox: &str) -> (Gateway, AuthorizedLogin) {
    // One of which the configuration alone cannot tell who signs in.
    let account = if grant == "password" { "'*'" } else { ALICE };
    let yaml = format!(
        "listeners: {{ews: {{bind: '127.0.0.1:0', upstream: 'localhost:{}'}}}}\n\
         microsoft: {{tenant: contoso.example, client_id: {APPLICATION}, client_secret: sandbox-secret, grant: {grant}}}\n\
         accounts: [{{login: {account}, mailbox: {mailbox}}}]\n\
         trust: {{system_roots: false, additional_ca: ca.pem}}\n",
        server.port
    );
    let config = load_text(Some((Path::new("proxy.yaml"), &yaml)), &[], &BTreeMap::new(), server).unwrap();
    let config = Arc::new(config);
    let listener = &config.listeners[0];
    let ListenerBackend::Http(http) = &listener.serves else { panic!("{:?}", listener.serves) };
    let trust = Arc::new(UpstreamTrust::new(config.trust.clone()));
    let dialer = Arc::new(Dialer::new(Arc::clone(&config), Arc::clone(&trust)));
    let gateway = Gateway::new(http.clone(), listener, dialer, trust, Duration::from_secs(60));

    let (store, endpoint) = (Arc::<MemoryStore>::default(), FakeEndpoint::with_password("right"));
    let gate = Authenticator::new(Arc::clone(&config), endpoint, store, Clock::system());
    let (login, password) = (LoginName::parse(ALICE).unwrap(), Password::new("right".to_owned()));
    let admitted = match grant {
        "client_credentials" => gate.admit_proved(&login, Resource::Exchange, Duration::ZERO).await,
        _ => {
            let request = LoginRequest {
                login: &login,
                acting_as: None,
                password: &password,
                source: [192, 0, 2, 1].into(),
                protocol: Protocol::Ews,
                resource: Resource::Exchange,
            };
            gate.admit(request, Duration::ZERO).await
        }
    };
    (gateway, admitted.unwrap())
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// The cause of a failure, or code and words of an error of EWS's own.
fn told(result: Result<(), Unserved>) -> Result<(), (Option<Cause>, String)> {
    result.map_err(|unserved| match unserved {
        Unserved::Failed(failure) => (Some(failure.cause), failure.to_string()),
        Unserved::Refused { code, words } => (None, format!("{code}: {words}")),
    })
}

/// A body of frames of these lengths.
struct Frames(Vec<usize>);

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = (!self.0.is_empty()).then(|| self.0.remove(0));
        Poll::Ready(next.map(|octets| Ok(Frame::data("x".repeat(octets).into()))))
    }
}

#[test]
fn the_code_and_the_words_of_an_answer_are_found() {
    let fault = "<s:Fault><faultcode>a:E</faultcode><faultstring xml:lang=\"en-US\">No mailbox.</faultstring><detail>\
                 <e:ResponseCode xmlns:e=\"x\">ErrorNonExistentMailbox</e:ResponseCode></detail></s:Fault>";
    assert_eq!(value(fault, "ResponseCode"), Some("ErrorNonExistentMailbox"));
    assert_eq!(value(fault, "faultstring"), Some("No mailbox."));
    assert_eq!(value(fault, "MessageText"), None);
    assert_eq!(value("<m:ResponseCodes>no</m:ResponseCodes>", "ResponseCode"), None);
    assert_eq!(value("ResponseCode", "ResponseCode"), None);
    assert_eq!(value("<MessageText/>no", "MessageText"), None);
    assert_eq!(value("<MessageTexts>no</MessageTexts><m:MessageText> yes <", "MessageText"), Some("yes"));
}

#[test]
fn only_an_answer_without_an_error_opens_the_inbox() {
    let answer = |code: &str, words: &str| format!("<m:ResponseCode>{code}</m:ResponseCode>{words}");
    let refused = |status, body: &str| match opened(status, body) {
        Err(Unserved::Refused { code, words }) => Some((code, words)),
        Err(Unserved::Failed(failure)) => panic!("{failure}"),
        Ok(()) => None,
    };
    let (no, words) = ("ErrorAccessDenied", "<m:MessageText>Not you.</m:MessageText><faultstring>x</faultstring>");
    assert_eq!(refused(200, &answer("NoError", "")), None);
    assert_eq!(refused(500, &answer("NoError", "")), Some(("NoError".into(), String::new())));
    assert_eq!(refused(200, &answer(no, words)), Some((no.into(), "Not you.".into())));
    assert_eq!(refused(500, "<faultstring>Broken</faultstring>"), Some((String::new(), "Broken".into())));
    assert_eq!(refused(200, ""), Some((String::new(), String::new())));
}

#[tokio::test]
async fn of_an_answer_only_the_beginning_is_read() {
    let frames = |octets: &[usize]| Frames(octets.to_vec());
    let end = soon();
    assert_eq!(read(frames(&[1, 2, 3]), end).await, "xxxxxx");
    assert_eq!(read(frames(&[ANSWER_OCTETS - 1, 1]), end).await.len(), ANSWER_OCTETS);
    assert_eq!(read(frames(&[ANSWER_OCTETS - 1, 2, 1]), end).await.len(), ANSWER_OCTETS - 1);
    assert_eq!(read(frames(&[1, ANSWER_OCTETS]), end).await.len(), 1);
    assert_eq!(read(frames(&[ANSWER_OCTETS + 1]), end).await.len(), 0);
}

#[tokio::test]
async fn each_status_is_told_as_what_a_client_would_meet() {
    const XML: &str = "content-type: text/xml; charset=utf-8\r\n";
    const HTML: &str = "content-type: text/html\r\n";
    const CODE: &str = "x-ms-diagnostics: 2000008;reason=\"x\"\r\n";
    let cases = [
        (reply("200 OK", XML, &code("NoError")), None, None),
        (reply("200 OK", XML, &code("ErrorAccessDenied")), None, Some("ErrorAccessDenied: In words.")),
        (reply("500 Error", XML, &code("ErrorServerBusy")), None, Some("ErrorServerBusy: In words.")),
        // A page of somebody in between, whatever stands in it.
        (reply("200 OK", HTML, &code("NoError")), Some(Cause::UpstreamGarbage), Some("something else than XML")),
        (reply("200 OK", "", &code("NoError")), Some(Cause::UpstreamGarbage), Some("something else than XML")),
        (reply("500 Error", HTML, &code("ErrorServerBusy")), None, Some(": HTTP 500")),
        (reply("503 Busy", XML, &code("ErrorServerBusy")), None, Some(": HTTP 503")),
        (reply("401 Unauthorized", CODE, ""), Some(Cause::TokenRefused), Some("access token (`2000008`)")),
        (reply("403 Forbidden", CODE, ""), Some(Cause::EwsBarred), Some("403 (`2000008`)")),
        (reply("403 Forbidden", XML, &code("NoError")), Some(Cause::EwsBarred), Some(APPLICATION)),
        (reply("302 Found", "location: https://evil.example/\r\n", ""), Some(Cause::Redirected), Some("not followed")),
        (reply("399 Odd", XML, &code("NoError")), Some(Cause::Redirected), Some("not followed")),
    ];
    let server = Server::start(cases.iter().map(|(reply, ..)| reply.clone()).collect()).await;
    let (gateway, admission) = logged_in(&server, "client_credentials", ALICE).await;
    for (reply, cause, words) in cases {
        let told = told(gateway.probe_ews(&admission, soon()).await);
        match words {
            None => assert_eq!(told, Ok(()), "{reply}"),
            Some(words) => {
                let (of, told) = told.expect_err(&reply);
                assert!(of == cause && told.contains(words), "{reply}: {of:?} {told}");
            }
        }
    }
}

#[tokio::test]
async fn the_inbox_is_asked_for_as_a_client_would_and_an_application_says_for_whom() {
    let opens = || reply("200 OK", "content-type: text/xml\r\n", &code("NoError"));
    for (grant, mailbox, acts) in
        [("client_credentials", ALICE, true), ("client_credentials", OFFICE, true), ("password", ALICE, false)]
    {
        let server = Server::start(vec![opens()]).await;
        let (gateway, admission) = logged_in(&server, grant, mailbox).await;
        assert_eq!(told(gateway.probe_ews(&admission, soon()).await), Ok(()), "{grant} {mailbox}");
        let seen = server.seen.lock().remove(0);
        assert!(seen.starts_with("POST /EWS/Exchange.asmx HTTP/1.1\r\n"), "{seen}");
        let anchor = format!("x-anchormailbox: {mailbox}\r\n");
        for field in ["authorization: Bearer t1\r\n", "content-type: text/xml; charset=utf-8\r\n", &*anchor] {
            assert!(seen.contains(field), "{field}: {seen}");
        }
        assert!(seen.contains("<t:DistinguishedFolderId Id=\"inbox\"/>"), "{seen}");
        let identity = format!("<t:PrimarySmtpAddress>{mailbox}</t:PrimarySmtpAddress>");
        assert_eq!((seen.contains(&identity), seen.contains("Impersonation")), (acts, acts), "{seen}");
    }
}

#[tokio::test]
async fn with_a_users_token_another_mailbox_is_not_even_asked_for() {
    let server = Server::start(vec![reply("200 OK", "content-type: text/xml\r\n", &code("NoError"))]).await;
    let (gateway, admission) = logged_in(&server, "password", OFFICE).await;
    let (cause, words) = told(gateway.probe_ews(&admission, soon()).await).unwrap_err();
    assert_eq!(cause, Some(Cause::EwsOtherMailbox));
    assert!(words.contains(ALICE) && words.contains(OFFICE), "{words}");
    assert!(server.seen.lock().is_empty());
}

#[tokio::test]
async fn a_server_that_is_gone_or_late_is_told_as_such() {
    let server = Server::start(Vec::new()).await;
    let (gateway, admission) = logged_in(&server, "client_credentials", ALICE).await;
    assert_eq!(
        told(gateway.probe_ews(&admission, Instant::now()).await),
        Err((None, ": no answer in time".to_owned()))
    );
    let (cause, words) = told(gateway.probe_ews(&admission, soon()).await).unwrap_err();
    assert_eq!(cause, Some(Cause::UpstreamUnreachable), "{words}");
}
