//! Clients of a few lines, and the settings that they all need.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gatepost_sandbox::{SandboxAccount, SandboxConfig};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::origin::Origin;
use crate::common::wait::PATIENCE;
use crate::session::support::{ALICE, ALICES, BOB, BOBS, Setup, World};

pub(crate) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// Alice's and Bob's mailboxes behind an EWS and a Graph listener, with the sandbox as Microsoft.
pub(crate) fn with_sandbox() -> Setup {
    Setup {
        listeners: "
  ews: {bind: '127.0.0.1:0', upstream: 'localhost:{ews}'}
  graph: {bind: '127.0.0.1:0', upstream: 'localhost:{graph}'}"
            .to_owned(),
        ..Setup::default()
    }
}

/// The same with an origin of the test's own.
pub(super) fn with_origin(origin: &Origin) -> Setup {
    let port = origin.port;
    Setup {
        listeners: format!(
            "
  ews: {{bind: '127.0.0.1:0', upstream: 'localhost:{port}'}}
  graph: {{bind: '127.0.0.1:0', upstream: 'localhost:{port}'}}"
        ),
        trust: origin.ca.clone(),
        ..Setup::default()
    }
}

/// An application's own right to both mailboxes.
pub(crate) fn as_application(setup: Setup) -> Setup {
    Setup {
        microsoft: "  grant: client_credentials\n  client_id: '{confidential}'\n  client_secret: sandbox-secret",
        sandbox: SandboxConfig {
            accounts: vec![SandboxAccount::new(ALICE, ALICES), SandboxAccount::new(BOB, BOBS)],
            ..SandboxConfig::default()
        },
        accounts: format!("\n  - login: {ALICE}\n  - login: {BOB}"),
        ..setup
    }
}

/// What a client got.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// A connection by the library, HTTP/1.1 or HTTP/2.
pub(crate) enum Connection {
    Http1(hyper::client::conn::http1::SendRequest<Full<Bytes>>),
    Http2(hyper::client::conn::http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    pub(crate) async fn http_1(world: &World, listener: &str) -> Self {
        let socket = TcpStream::connect(world.address(listener)).await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.unwrap();
        tokio::spawn(connection);
        Self::Http1(sender)
    }

    pub(crate) async fn http_2(world: &World, listener: &str) -> Self {
        let socket = TcpStream::connect(world.address(listener)).await.unwrap();
        Self::http_2_over(socket).await
    }

    pub(crate) async fn http_2_over<S>(stream: S) -> Self
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let io = TokioIo::new(stream);
        let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        Self::Http2(sender)
    }

    pub(crate) async fn ask(&mut self, request: Request<Full<Bytes>>) -> Got {
        let answer = async {
            let answer = match self {
                Self::Http1(sender) => {
                    sender.ready().await.unwrap();
                    sender.send_request(request).await
                }
                Self::Http2(sender) => {
                    sender.ready().await.unwrap();
                    sender.send_request(request).await
                }
            };
            let (parts, body) = answer.unwrap().into_parts();
            let text = body.collect().await.unwrap().to_bytes();
            Got {
                status: parts.status.as_u16(),
                headers: parts.headers,
                text: String::from_utf8_lossy(&text).into_owned(),
            }
        };
        timeout(PATIENCE, answer).await.unwrap()
    }
}

/// A request with credentials, for `localhost`.
pub(crate) fn request(method: &str, path: &str, credentials: &str, body: &str) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
    if !credentials.is_empty() {
        request = request.header("authorization", credentials);
    }
    if body.contains("Envelope") {
        request = request.header("content-type", "text/xml; charset=utf-8");
    } else if !body.is_empty() {
        request = request.header("content-type", "application/json");
    }
    request.body(Full::new(Bytes::from(body.to_owned()))).unwrap()
}

pub(crate) fn envelope(header: &str, body: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         xmlns:t=\"http://schemas.microsoft.com/exchange/services/2006/types\" \
         xmlns:m=\"http://schemas.microsoft.com/exchange/services/2006/messages\">\
         <s:Header>{header}</s:Header><s:Body>{body}</s:Body></s:Envelope>"
    )
}

/// Everything that a listener answers to these octets, until it closes.
pub(crate) async fn raw(world: &World, listener: &str, octets: &[u8]) -> String {
    let mut socket = TcpStream::connect(world.address(listener)).await.unwrap();
    // It may close before it has read everything.
    let _refused = socket.write_all(octets).await;
    let mut answer = Vec::new();
    let _broken = timeout(PATIENCE, socket.read_to_end(&mut answer)).await.expect("the connection ends");
    String::from_utf8_lossy(&answer).into_owned()
}

/// The status of the first answer.
pub(crate) fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no status: {answer:?}"))
}

pub(crate) const OK: u16 = StatusCode::OK.as_u16();
