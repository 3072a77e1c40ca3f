//! How connections end: what TLS (RFC 8446 §6.1) and HTTP/2 (RFC 9113 §6.8) owe a client.

use hyper::body::Bytes;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::client::{basic, with_origin, with_sandbox};
use super::origin::{Origin, Reply};
use crate::common::directory::Directory;
use crate::session::support::{ALICE, ALICES, Setup, World, offering};

const GOAWAY: u8 = 7;

/// A listener for Graph with TLS, which leads to this port, and its certificate.
async fn with_tls(setup: Setup, port: &str) -> (World, String) {
    let directory = Directory::new();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let files = [directory.write("c.pem", made.cert.pem()), directory.write("c.key", made.signing_key.serialize_pem())];
    let [certificate, key] = files.each_ref().map(|path| path.display());
    let listeners = format!(
        "\n  graph: {{bind: '127.0.0.1:0', tls: implicit, certificate: '{certificate}', private_key: '{key}', upstream: 'localhost:{port}'}}"
    );
    (Setup { listeners, ..setup }.start().await, made.cert.pem())
}

/// A connection with TLS of a client that speaks `offer` and has said this.
async fn said_to(world: &World, pem: &str, offer: &str, said: &[u8]) -> TlsStream<TcpStream> {
    let socket = TcpStream::connect(world.address("graph")).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = offering(pem, &[offer]).connect(name, socket).await.unwrap();
    stream.write_all(said).await.unwrap();
    stream.flush().await.unwrap();
    stream
}

#[tokio::test]
async fn an_answer_that_breaks_off_has_no_orderly_end_and_a_refusal_has() {
    let (send, parts) = tokio::sync::mpsc::channel::<Bytes>(4);
    let parts = std::sync::Mutex::new(Some(parts));
    let origin = Origin::start(move |_| Reply::Stream(parts.lock().unwrap().take().unwrap())).await;
    let (world, pem) = with_tls(with_origin(&origin), &origin.port.to_string()).await;
    let begun = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n";
    send.send(begun.into()).await.unwrap();
    drop(send);
    let asked =
        format!("GET /v1.0/me/messages HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\n\r\n", basic(ALICE, ALICES));
    let broken = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\0\0\0\0\0\0";
    for (offer, said, orderly) in [("http/1.1", asked.as_bytes(), false), ("h2", broken, true)] {
        let mut stream = said_to(&world, &pem, offer, said).await;
        let mut heard = Vec::new();
        let ended = stream.read_to_end(&mut heard).await;
        assert_eq!(ended.is_ok(), orderly, "{offer}: {ended:?} after {}", heard.escape_ascii());
        assert!(orderly || heard.ends_with(b"abc\r\n"), "{}", heard.escape_ascii());
    }
}

#[tokio::test]
async fn whoever_does_not_log_in_in_time_is_told_the_end() {
    let setup = Setup { limits: "  pre_auth: 300ms", ..with_sandbox() };
    let (world, pem) = with_tls(setup, "{graph}").await;
    let settings = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for (offer, said) in [
        ("h2", &b""[..]),
        ("h2", settings),
        ("http/1.1", b""),
        ("http/1.1", b"GET /v1.0/me/mess"),
        ("http/1.1", b"GET /v1.0/me/messages HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ] {
        let mut stream = said_to(&world, &pem, offer, said).await;
        // Without close_notify it is an error (`UnexpectedEof`).
        let mut heard = Vec::new();
        let ended = stream.read_to_end(&mut heard).await;
        assert!(ended.is_ok(), "{offer} {}: {ended:?}", said.escape_ascii());
        if said == settings {
            let mut rest = heard.as_slice();
            let mut kinds = Vec::new();
            while let [a, b, c, kind, behind @ ..] = rest {
                kinds.push(*kind);
                rest = &behind[5 + u32::from_be_bytes([0, *a, *b, *c]) as usize..];
            }
            assert!(kinds.contains(&GOAWAY), "{kinds:?}");
        }
    }
    assert_eq!(world.log.lines(|line| line.contains("outcome=closed cause=timeout")).len(), 5);
}
