//! Small clients for the tests of this crate: one request over HTTPS, and lines over TLS.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::Url;

use crate::{Sandbox, SandboxConfig};
use gatepost_core::clock::Clock;

/// A sandbox without accounts, whose clock the test moves.
pub(crate) async fn sandbox() -> Sandbox {
    Sandbox::start(SandboxConfig { clock: Clock::manual(), ..SandboxConfig::default() }).await.unwrap()
}

pub(crate) async fn tls(sandbox: &Sandbox, tcp: TcpStream) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(sandbox.ca_pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), tcp).await.unwrap()
}

/// An answer over HTTPS.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Heard {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// Status, `error` and `error_description`.
    pub(crate) fn refusal(&self) -> (u16, String, String) {
        let json = self.json();
        let text = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
        (self.status, text("error"), text("error_description"))
    }

    /// The parameters with which the browser goes back.
    pub(crate) fn redirect(&self) -> BTreeMap<String, String> {
        let location = self.headers.get("location").unwrap_or_else(|| panic!("no redirect: {}", self.body));
        Url::parse(location).unwrap().query_pairs().into_owned().collect()
    }
}

/// Asks for an address; with a form it posts.
pub(crate) async fn ask(sandbox: &Sandbox, url: &str, form: Option<&[(&str, &str)]>) -> Heard {
    ask_with(sandbox, url, form, "").await
}

/// The same with further lines in the head, each with its end.
pub(crate) async fn ask_with(sandbox: &Sandbox, url: &str, form: Option<&[(&str, &str)]>, head: &str) -> Heard {
    let url = Url::parse(url).unwrap();
    let address: SocketAddr = (std::net::Ipv4Addr::LOCALHOST, url.port().unwrap()).into();
    let mut stream = tls(sandbox, TcpStream::connect(address).await.unwrap()).await;
    let body = form
        .map_or(String::new(), |form| url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish());
    let method = if form.is_some() { "POST" } else { "GET" };
    let target = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost:{}\r\nConnection: close\r\n{head}\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        url.port().unwrap(),
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A server that closes without close_notify has closed all the same.
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let header = |line: &str| {
        let (name, value) = line.split_once(':').unwrap();
        (name.to_lowercase(), value.trim().to_owned())
    };
    Heard { status, headers: lines.map(header).collect(), body: body.to_owned() }
}

/// An address with parameters.
pub(crate) fn address(base: &str, parameters: &[(&str, &str)]) -> String {
    Url::parse_with_params(base, parameters).unwrap().into()
}

/// The claims of a JWT.
pub(crate) fn claims(token: &Value) -> Value {
    let body = token.as_str().unwrap().split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).unwrap()).unwrap()
}

/// The PKCE challenge of a verifier.
pub(crate) fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes()))
}

/// A client that speaks in lines.
pub(crate) struct Peer<S>(pub(crate) BufReader<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub(crate) async fn say(&mut self, line: &str) {
        self.0.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
        self.0.flush().await.unwrap();
    }

    /// A line without its end; empty when the server has closed.
    pub(crate) async fn hear(&mut self) -> String {
        let mut line = Vec::new();
        let _ = self.0.read_until(b'\n', &mut line).await;
        String::from_utf8(line).unwrap().trim_end().to_owned()
    }

    /// Says a line, and hears one.
    pub(crate) async fn ask(&mut self, line: &str) -> String {
        self.say(line).await;
        self.hear().await
    }

    /// Says a line, and hears all up to one that starts so.
    pub(crate) async fn ask_until(&mut self, line: &str, end: &str) -> Vec<String> {
        self.say(line).await;
        let mut heard = Vec::new();
        loop {
            let line = self.hear().await;
            assert!(heard.len() < 100, "not `{end}`: {heard:?}");
            let is_last = if end == "." { line == end } else { line.starts_with(end) };
            heard.push(line);
            if is_last {
                return heard;
            }
        }
    }
}

pub(crate) async fn dial(sandbox: &Sandbox, address: SocketAddr) -> Peer<TlsStream<TcpStream>> {
    Peer(BufReader::new(tls(sandbox, TcpStream::connect(address).await.unwrap()).await))
}

/// A connection to SMTP after STARTTLS and EHLO.
pub(crate) async fn dial_submission(sandbox: &Sandbox, address: SocketAddr) -> Peer<TlsStream<TcpStream>> {
    let mut peer = Peer(BufReader::new(TcpStream::connect(address).await.unwrap()));
    assert!(peer.hear().await.starts_with("220 "));
    peer.ask_until("EHLO client.example", "250 ").await;
    assert!(peer.ask("STARTTLS").await.starts_with("220 "));
    let mut peer = Peer(BufReader::new(tls(sandbox, peer.0.into_inner()).await));
    peer.ask_until("EHLO client.example", "250 ").await;
    peer
}

pub(crate) fn xoauth2(user: &str, token: &str) -> String {
    STANDARD.encode(format!("user={user}\u{1}auth=Bearer {token}\u{1}\u{1}"))
}

pub(crate) fn oauthbearer(user: &str, token: &str) -> String {
    STANDARD.encode(format!("n,a={user},\u{1}host=x\u{1}port=993\u{1}auth=Bearer {token}\u{1}\u{1}"))
}

/// A JWT signed with a key in PEM form by the algorithm RS256, whatever its header says.
pub(crate) fn signed(pem: &str, header: &Value, claims: &Value) -> String {
    let der: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let pair = RsaKeyPair::from_pkcs8(&STANDARD.decode(der).unwrap()).unwrap();
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let signed = format!("{}.{}", encode(header), encode(claims));
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}
