//! What something that only plays Graph can do with octets, and an HTTP library would not.

use std::sync::{Arc, Mutex};

use gatepost::graph::{GraphClient, NotSent, Sent};
use gatepost_config::Origin;
use gatepost_net::dial::Dialer;
use gatepost_net::tls::client::UpstreamTrust;
use gatepost_proto::mail::smtp::Envelope;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::session::graph_mail::{bearer, sandbox};
use crate::session::support::{ALICE, Setup};

/// What is done with a connection.
#[derive(Clone)]
enum Play {
    /// Each whole request gets the next of these octets; then the connection ends.
    Answers(Vec<String>),
    /// The answer comes when the head of the request is there; the rest is never read.
    Early(&'static str),
    /// The octets behind the head are sent for as long as somebody takes them.
    Endless(&'static str),
}

/// A server, and how many octets of body each request had that it has read.
struct Fake {
    graph: GraphClient,
    bodies: Arc<Mutex<Vec<usize>>>,
}

/// Serves one connection after the other as the plays say.
async fn fake(plays: Vec<Play>) -> Fake {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let tls = ServerConfig::builder_with_provider(gatepost_net::tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let bodies = Arc::<Mutex<Vec<usize>>>::default();
    let counted = Arc::clone(&bodies);
    tokio::spawn(async move {
        let mut plays = plays.into_iter();
        while let Ok((socket, _)) = listener.accept().await {
            let Some(play) = plays.next() else { return };
            let Ok(stream) = acceptor.accept(socket).await else { continue };
            // The connection may break in any place; that is what it is for.
            let _ = perform(play, stream, &counted).await;
        }
    });
    let setup = Setup { trust: certificate.pem(), ..Setup::default() };
    let config = Arc::new(setup.config(&sandbox().await));
    let trust = Arc::new(UpstreamTrust::new(config.trust.clone()));
    let dialer = Arc::new(Dialer::new(Arc::clone(&config), Arc::clone(&trust)));
    let origin = Origin { host: "localhost".into(), port, name: "localhost".into() };
    Fake { graph: GraphClient::new(origin, dialer, trust, &config.limits), bodies }
}

async fn perform(play: Play, mut stream: TlsStream<TcpStream>, bodies: &Mutex<Vec<usize>>) -> std::io::Result<()> {
    match play {
        Play::Answers(answers) => {
            for answer in answers {
                let length = head(&mut stream).await?;
                let mut body = vec![0; length];
                stream.read_exact(&mut body).await?;
                bodies.lock().unwrap().push(length);
                stream.write_all(answer.as_bytes()).await?;
            }
        }
        Play::Early(answer) => {
            head(&mut stream).await?;
            stream.write_all(answer.as_bytes()).await?;
        }
        Play::Endless(answer) => {
            let length = head(&mut stream).await?;
            stream.read_exact(&mut vec![0; length]).await?;
            bodies.lock().unwrap().push(length);
            stream.write_all(answer.as_bytes()).await?;
            loop {
                stream.write_all(&[b'x'; 4_096]).await?;
            }
        }
    }
    stream.shutdown().await
}

/// Reads the head of a request, and says how long its body is.
async fn head(stream: &mut TlsStream<TcpStream>) -> std::io::Result<usize> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    assert!(head.starts_with("post /v1.0/users/alice%40contoso.example/sendmail http/1.1\r\n"), "{head}");
    for field in
        ["host: localhost\r\n", "content-type: text/plain\r\n", "authorization: bearer ", "client-request-id: "]
    {
        assert!(head.contains(field), "{field} is missing: {head}");
    }
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    Ok(length.unwrap().parse().unwrap())
}

async fn send(fake: &Fake, octets: usize) -> Result<Sent, NotSent> {
    let envelope = Envelope { recipients: vec!["anna@fabrikam.example".into()], ..Envelope::default() };
    // A Message-ID of two words is not looked for in Sent Items.
    let mut message = b"To: anna@fabrikam.example\r\nMessage-ID: a b\r\n\r\n".to_vec();
    message.resize(octets, b'x');
    fake.graph.send_mail(&bearer(&sandbox().await, ALICE), &envelope, message).await
}

const ACCEPTED: &str = "HTTP/1.1 202 Accepted\r\nrequest-id: 0a1b\r\nContent-Length: 0\r\n\r\n";

#[tokio::test]
async fn connections_are_used_again_until_they_are_said_to_end() {
    let last = ACCEPTED.replace("Content-Length", "Connection: close\r\nContent-Length");
    let fake = fake(vec![Play::Answers(vec![ACCEPTED.into(), last]), Play::Answers(vec![ACCEPTED.into()])]).await;
    for _ in 0..3 {
        let sent = send(&fake, 100).await.unwrap();
        assert_eq!(sent.reply.to_string(), "250 2.0.0 Accepted by Microsoft Graph, request 0a1b");
    }
    assert_eq!(*fake.bodies.lock().unwrap(), [136; 3]);
}

#[tokio::test]
async fn an_interim_answer_is_not_the_answer() {
    let fake = fake(vec![Play::Answers(vec![format!("HTTP/1.1 100 Continue\r\n\r\n{ACCEPTED}")])]).await;
    assert!(send(&fake, 100).await.is_ok());
}

#[tokio::test]
async fn half_an_answer_leaves_the_outcome_open_and_nothing_is_repeated() {
    for answer in ["HTTP/1.1 202", "HTTP/1.1 202 Accepted\r\nrequest-id: 0a1b\r\n", "SSH-2.0-x\r\n", ""] {
        let fake = fake(vec![Play::Answers(vec![answer.into()]), Play::Answers(vec![ACCEPTED.into()])]).await;
        let not_sent = send(&fake, 100).await.unwrap_err();
        assert!(not_sent.reply.to_string().starts_with("451 4.4.2 "), "{answer:?}: {not_sent:?}");
        assert_eq!((not_sent.failure.cause.name(), fake.bodies.lock().unwrap().len()), ("outcome-unknown", 1));
    }
}

#[tokio::test]
async fn an_answer_before_the_whole_message_was_read_counts() {
    let early = "HTTP/1.1 413 Payload Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let fake = fake(vec![Play::Early(early)]).await;
    let not_sent = send(&fake, 100).await.unwrap_err();
    assert!(not_sent.reply.to_string().starts_with("552 5.3.4 "), "{not_sent:?}");
}

#[tokio::test]
async fn an_answer_that_never_ends_is_read_to_its_bound() {
    let head = "HTTP/1.1 403 Forbidden\r\nrequest-id: 0a1b\r\n\r\n";
    let fake = fake(vec![Play::Endless(head)]).await;
    let not_sent = send(&fake, 100).await.unwrap_err();
    assert!(not_sent.reply.to_string().starts_with("550 5.7.1 "), "{not_sent:?}");
    assert!(not_sent.failure.message.contains("request-id 0a1b"), "{not_sent:?}");
}

#[tokio::test]
async fn a_head_that_never_ends_leaves_the_outcome_open() {
    let fake = fake(vec![Play::Endless("HTTP/1.1 202 Accepted\r\nx: ")]).await;
    let not_sent = send(&fake, 100).await.unwrap_err();
    assert!(not_sent.reply.to_string().starts_with("451 4.4.2 "), "{not_sent:?}");
}

#[tokio::test]
async fn the_wait_that_a_proxy_names_is_not_graphs() {
    let from_proxy = "HTTP/1.1 503 Busy\r\nRetry-After: 30\r\nContent-Length: 0\r\n\r\n".to_owned();
    let fake = fake(vec![Play::Answers(vec![from_proxy, ACCEPTED.into()])]).await;
    let not_sent = send(&fake, 100).await.unwrap_err();
    assert!(not_sent.reply.to_string().starts_with("451 4.3.2 "), "{not_sent:?}");
    assert!(send(&fake, 100).await.is_ok(), "the mailbox is not closed");
}
