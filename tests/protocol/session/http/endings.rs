//! How connections end: what TLS (RFC 8446 §6.1) and HTTP/2 (RFC 9113 §6.8) owe a client.

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::client::with_sandbox;
use crate::common::directory::Directory;
use crate::session::support::{Setup, offering};

const GOAWAY: u8 = 7;

#[tokio::test]
async fn whoever_does_not_log_in_in_time_is_told_the_end() {
    let directory = Directory::new();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let files = [directory.write("c.pem", made.cert.pem()), directory.write("c.key", made.signing_key.serialize_pem())];
    let [certificate, key] = files.each_ref().map(|path| path.display());
    let listeners = format!(
        "\n  graph: {{bind: '127.0.0.1:0', tls: implicit, certificate: '{certificate}', private_key: '{key}', upstream: 'localhost:{{graph}}'}}"
    );
    let world = Setup { listeners, limits: "  pre_auth: 300ms", ..with_sandbox() }.start().await;
    drop(directory);
    let settings = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for (offer, said) in [
        ("h2", &b""[..]),
        ("h2", settings),
        ("http/1.1", b""),
        ("http/1.1", b"GET /v1.0/me/mess"),
        ("http/1.1", b"GET /v1.0/me/messages HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ] {
        let socket = TcpStream::connect(world.address("graph")).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = offering(&made.cert.pem(), &[offer]).connect(name, socket).await.unwrap();
        stream.write_all(said).await.unwrap();
        stream.flush().await.unwrap();
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
