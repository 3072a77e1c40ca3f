use std::net::SocketAddr;

use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use url::Url;

use crate::fake;
use crate::grant::{ClientProof, GrantRequest, TokenRequest};
use gatepost_config::{
    Accounts, Application, Cloud, Config, ForwardProxy, Limits, NoProxy, ProxyChoice, ProxyScheme, ProxyServer, Trust,
};
use gatepost_core::secret::{ClientSecret, ProxyPassword};
use gatepost_proto::tunnel::credentials::ProxyAuthentication;
use gatepost_proto::tunnel::socks::SocksError;

const TOKEN: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";

/// Speaks TLS as `localhost` and answers every request with the same octets.
struct Server {
    address: SocketAddr,
    trust: Trust,
    requests: tokio::sync::mpsc::Receiver<String>,
}

/// Trusts this authority, in PEM form, and no other.
fn trusting(authority: String) -> Trust {
    Trust {
        system_roots: false,
        additional_ca: Some(("ca.pem".into(), authority.into_bytes())),
        destinations: Vec::new(),
    }
}

/// Trusts an authority that the server does not use.
fn trusting_another() -> Trust {
    let mut params = rcgen::CertificateParams::new(["elsewhere".to_owned()]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, "Somebody Else");
    trusting(params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem())
}

/// One request: its head, and as much body as its `Content-Length` says.
async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut request = Vec::new();
    loop {
        if let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
            let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
            if request.len() >= end + 4 + length.unwrap_or(0) {
                return Some(String::from_utf8_lossy(&request).into_owned());
            }
        }
        if stream.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
    }
}

async fn answer(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), reply: &[u8]) -> Option<String> {
    let request = read_request(stream).await?;
    stream.write_all(reply).await.ok()?;
    stream.flush().await.ok()?;
    Some(request)
}

async fn serve(reply: impl Into<Vec<u8>>) -> Server {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let server = ServerConfig::builder_with_provider(gatepost_net::tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap();
    let server = server.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    let (acceptor, reply) = (TlsAcceptor::from(Arc::new(server)), reply.into());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, requests) = tokio::sync::mpsc::channel(8);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(mut stream) = acceptor.accept(stream).await
                && let Some(request) = answer(&mut stream, &reply).await
            {
                sender.send(request).await.unwrap();
                // The connection stays open: only the head tells where the answer ends.
                while stream.read_buf(&mut Vec::new()).await.is_ok_and(|octets| octets > 0) {}
            }
        }
    });
    Server { address, trust: trusting(made.cert.pem()), requests }
}

fn request(address: SocketAddr) -> TokenHttpRequest {
    let application = Application {
        issuer: gatepost_config::Issuer::Entra(gatepost_config::Entra {
            authority: Url::parse(&format!("https://localhost:{}/", address.port())).unwrap(),
            tenant: "t".into(),
            cloud: Cloud::Worldwide,
        }),
        client_id: "c".into(),
        credential: Arc::default(),
    };
    let (tenant, scope, grant) = ("t".into(), "s".into(), GrantRequest::ClientCredentials);
    let ask = TokenRequest { application: Arc::new(application), tenant, scope, grant };
    ask.request(&ClientProof::Secret(Arc::new(ClientSecret::new("s&cret".into()))))
}

fn endpoint(trust: Trust, limits: Limits, proxy: Option<ForwardProxy>) -> HttpEndpoint {
    let request = limits.token_request;
    let config = Config { forward_proxy: proxy.map(Arc::new), ..fake::config(Accounts::default(), limits) };
    let trust = Arc::new(UpstreamTrust::new(trust));
    HttpEndpoint::new(Arc::new(Dialer::new(Arc::new(config), Arc::clone(&trust))), trust, request)
}

async fn exchange(server: &Server) -> Result<Answer, TransportError> {
    endpoint(server.trust.clone(), Limits::default(), None).exchange(&request(server.address)).await
}

async fn fault(server: &Server) -> TransportFault {
    exchange(server).await.unwrap_err().fault
}

#[tokio::test]
async fn a_form_goes_out_and_the_answer_comes_back() {
    let mut server = serve("HTTP/1.1 429 Too Many\r\nRetry-After: 7\r\nContent-Length: 5\r\n\r\n{\"a\"}").await;
    let answer = exchange(&server).await.unwrap();
    assert_eq!((answer.status, answer.retry_after.as_deref(), &answer.body[..]), (429, Some("7"), &b"{\"a\"}"[..]));
    let request = server.requests.recv().await.unwrap();
    assert!(request.starts_with("POST /t/oauth2/v2.0/token HTTP/1.1\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\ngrant_type=client_credentials&client_id=c&scope=s&client_secret=s%26cret"));
    let head = request.to_lowercase();
    for header in
        ["content-type: application/x-www-form-urlencoded\r\n", "user-agent: gatepost/", "client-request-id: "]
    {
        assert!(head.contains(header), "{header}");
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let mut server = serve("HTTP/1.1 307 Away\r\nLocation: https://evil.example/\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(exchange(&server).await.unwrap().status, 307);
    assert!(server.requests.recv().await.is_some());
    assert!(server.requests.try_recv().is_err());
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let announced = format!("HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n{}", " ".repeat(300_000));
    assert_eq!(fault(&serve(announced).await).await, TransportFault::TooLong);
    let chunk = format!("40000\r\n{}\r\n", " ".repeat(0x40000));
    let chunked = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}{chunk}");
    assert_eq!(fault(&serve(chunked).await).await, TransportFault::TooLong);
}

#[tokio::test]
async fn an_answer_of_the_greatest_length_is_read() {
    let body = " ".repeat(ANSWER_OCTETS);
    let whole = format!("HTTP/1.1 200 OK\r\nContent-Length: {ANSWER_OCTETS}\r\n\r\n{body}");
    assert_eq!(exchange(&serve(whole).await).await.unwrap().body.len(), ANSWER_OCTETS);
}

#[tokio::test]
async fn a_request_to_graph_carries_the_token_and_its_text() {
    let text = r#"{"keyId":"k"}"#;
    for (json, method, end) in [(Some(text), "POST", text), (None, "GET", "")] {
        let mut server = serve(TOKEN).await;
        let endpoint = endpoint(server.trust.clone(), Limits::default(), None);
        let url = Url::parse(&format!("https://localhost:{}/v1.0/applications", server.address.port())).unwrap();
        let json = json.map(|json| Zeroizing::new(json.to_owned()));
        assert_eq!(endpoint.ask_graph(&url, &AccessToken::new("e.y.J".into()), json).await.unwrap().status, 200);
        let request = server.requests.recv().await.unwrap();
        assert!(request.starts_with(&format!("{method} /v1.0/applications HTTP/1.1\r\n")), "{request}");
        assert!(request.contains("authorization: Bearer e.y.J\r\n"), "{request}");
        assert!(request.ends_with(&format!("\r\n\r\n{end}")), "{request}");
    }
}

#[tokio::test]
async fn what_is_no_http_or_breaks_off_is_no_answer() {
    assert_eq!(fault(&serve("* OK IMAP4rev1 ready\r\n").await).await, TransportFault::Broken);
    let limits = Limits { token_request: Duration::from_millis(50), ..Limits::default() };
    let half = serve("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}").await;
    let error = endpoint(half.trust.clone(), limits, None).exchange(&request(half.address)).await.unwrap_err();
    assert_eq!(error.fault, TransportFault::Timeout);
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused_before_anything_is_sent() {
    let mut server = serve(TOKEN).await;
    server.trust = trusting_another();
    let error = exchange(&server).await.unwrap_err();
    assert_eq!(error.fault, TransportFault::Certificate, "{error}");
    assert!(error.detail.contains("issued by `CN=rcgen self signed cert`, which is not trusted"), "{error}");
    assert!(server.requests.try_recv().is_err());
}

#[tokio::test]
async fn nobody_there_is_a_fault_of_the_connection() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = endpoint(trusting_another(), Limits::default(), None).exchange(&request(address)).await.unwrap_err();
    assert_eq!(error.fault, TransportFault::Connect);
    assert!(!error.detail.contains("/t/oauth2"), "{error}");
}

#[tokio::test]
async fn a_proxy_gets_its_password_and_its_refusals_are_told_apart() {
    for (reply, fault) in [
        (
            "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
            TransportFault::ProxyAuthentication,
        ),
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", TransportFault::ProxyRefused),
        ("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", TransportFault::ProxyUnable),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            answer(&mut stream, reply.as_bytes()).await.unwrap()
        });
        let proxy = ForwardProxy {
            choice: ProxyChoice::Servers(vec![ProxyServer {
                scheme: ProxyScheme::Http,
                host: "127.0.0.1".into(),
                port,
            }]),
            authentication: Some(ProxyAuthentication::Basic {
                username: "svc".into(),
                password: ProxyPassword::new("p:w".into()),
            }),
            no_proxy: NoProxy::default(),
        };
        let endpoint = endpoint(trusting_another(), Limits::default(), Some(proxy));
        let error = endpoint.exchange(&request(SocketAddr::from(([127, 0, 0, 1], 9)))).await.unwrap_err();
        assert_eq!(error.fault, fault, "{error}");
        let asked = asked.await.unwrap().to_lowercase();
        assert!(asked.starts_with("connect localhost:9 http/1.1\r\n"), "{asked}");
        assert!(asked.contains("proxy-authorization: basic c3zjonA6dw==".to_lowercase().as_str()), "{asked}");
    }
}

#[tokio::test]
async fn a_destination_of_no_proxy_goes_straight() {
    let mut server = serve(TOKEN).await;
    let proxy = ForwardProxy {
        choice: ProxyChoice::Servers(vec![ProxyServer {
            scheme: ProxyScheme::Http,
            host: "127.0.0.1".into(),
            port: 9,
        }]),
        authentication: Some(ProxyAuthentication::None),
        no_proxy: NoProxy::default().with_loopback(),
    };
    let endpoint = endpoint(server.trust.clone(), Limits::default(), Some(proxy));
    assert_eq!(endpoint.exchange(&request(server.address)).await.unwrap().status, 200);
    assert!(server.requests.recv().await.is_some());
}

#[test]
fn what_fails_on_the_way_is_told_apart() {
    let destination = || "login.example:443".to_owned();
    let socks = |kind| ConnectorError::Dial(DialError::Socks(SocksError { destination: destination(), kind }));
    for (kind, fault) in [
        (SocksErrorKind::Credentials, TransportFault::ProxyAuthentication),
        (SocksErrorKind::Method { offered_password: true }, TransportFault::ProxyAuthentication),
        (SocksErrorKind::Refused(1), TransportFault::ProxyUnable),
        (SocksErrorKind::Refused(2), TransportFault::ProxyRefused),
        (SocksErrorKind::Refused(3), TransportFault::ProxyUnable),
        (SocksErrorKind::Refused(6), TransportFault::ProxyUnable),
        (SocksErrorKind::Refused(7), TransportFault::ProxyRefused),
        (SocksErrorKind::Closed, TransportFault::ProxyRefused),
    ] {
        assert_eq!(connection_fault(&socks(kind.clone())), fault, "{kind:?}");
    }
    let tls = |error| ConnectorError::Tls(io::Error::new(io::ErrorKind::InvalidData, error));
    let expired = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
    assert_eq!(connection_fault(&tls(expired)), TransportFault::Certificate);
    assert_eq!(connection_fault(&tls(rustls::Error::HandshakeNotComplete)), TransportFault::Connect);
    let plain = ConnectorError::Tls(io::Error::from(io::ErrorKind::UnexpectedEof));
    assert_eq!(connection_fault(&plain), TransportFault::Connect);
    assert_eq!(connection_fault(&ConnectorError::EarlyBytes), TransportFault::Connect);
    assert_eq!(connection_fault(&ConnectorError::Address), TransportFault::Setup);
}

#[test]
fn a_guid_has_its_form() {
    let id = guid();
    assert_eq!(id.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
    assert_eq!(&id[14..15], "4");
    // RFC 9562 §4.1 and §4.2: the other bits stay random.
    let ids: Vec<String> = (0..500).map(|_| guid()).collect();
    let digits = |at: usize| ids.iter().map(|id| id.as_bytes()[at]).collect::<std::collections::BTreeSet<u8>>();
    assert_eq!(digits(14), [b'4'].into());
    assert_eq!(digits(19), [b'8', b'9', b'a', b'b'].into());
    for at in [15, 20] {
        assert_eq!(digits(at), b"0123456789abcdef".iter().copied().collect(), "{at}");
    }
    assert_ne!(id, guid());
}
