//! Clients whose encryption does not fit the listener: one line says who, what, and what to change.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use gatepost_core::protocol::MailProtocol;
use rustls::{AlertDescription, ClientConnection, ConnectionTrafficSecrets};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::client::{starttls, with_tls};
use crate::common::wait::PATIENCE;
use crate::session::support::{Client, PROTOCOLS, Setup, World, connector, until};

/// The beginning of a hello of a client that offers all that is usual.
const HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
/// A hello in the form of SSL 2.0.
const OLD_HELLO: &[u8] = b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10";

const HTTP: [&str; 2] = ["ews", "graph"];

fn plain_http() -> &'static str {
    "
  ews: {bind: '127.0.0.1:0', upstream: 'localhost:{ews}'}
  graph: {bind: '127.0.0.1:0', upstream: 'localhost:{graph}'}"
}

/// The line about this end of a connection to this listener.
async fn line(world: &World, listener: &str, said: &str) -> String {
    let of_listener = format!("listener={listener} ");
    let wanted = |line: &str| line.contains(said) && line.contains(&of_listener) && !line.contains(" DEBUG ");
    until(said, || !world.log.lines(wanted).is_empty()).await;
    let lines = world.log.lines(wanted);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains(" INFO ") && lines[0].contains("peer=127.0.0."), "{lines:?}");
    lines.into_iter().next().unwrap()
}

#[tokio::test]
async fn tls_on_a_plain_port_ends_at_once_and_costs_nothing() {
    // A single penalty of any kind would close the source.
    let limits = "  penalty_no_login: 1h\n  penalty_timeout: 1h\n  penalty_garbage: 1h\n  penalty_http: 1h";
    for hello in [HELLO, OLD_HELLO] {
        let mut setup = Setup { penalise_loopback: true, ..Setup::limits(limits) };
        setup.listeners.push_str(plain_http());
        let world = setup.start().await;
        for name in PROTOCOLS.map(MailProtocol::name).into_iter().chain(HTTP) {
            let mut socket = TcpStream::connect(world.address(name)).await.unwrap();
            // In two pieces, as a network may deliver it.
            let (one, two) = hello.split_at(1);
            socket.write_all(one).await.unwrap();
            socket.write_all(two).await.unwrap();
            let mut heard = Vec::new();
            let _broke = timeout(PATIENCE, socket.read_to_end(&mut heard)).await.expect("it is closed");
            assert!(heard.iter().filter(|octet| **octet == b'\n').count() <= 1, "{name}: nothing but the greeting");
            let line = line(&world, name, "cause=tls-on-plain-port").await;
            assert!(line.contains("has `tls: none`. Gatepost admin: set `tls: implicit`"), "{line}");
            let of_listener = format!("listener={name} ");
            let again = || {
                let lines = |line: &str| line.contains("connection closed again: ") && line.contains(&of_listener);
                world.log.lines(lines).len()
            };
            assert_eq!(again(), 0, "{name}");
            let remedy =
                if HTTP.contains(&name) { "let the client use `http://`" } else { "turn encryption off in the client" };
            assert!(line.contains(remedy), "{line}");
            // A scan of ports must not fill the log.
            let mut socket = TcpStream::connect(world.address(name)).await.unwrap();
            socket.write_all(hello).await.unwrap();
            let _broke = timeout(PATIENCE, socket.read_to_end(&mut Vec::new())).await.expect("it is closed");
            until("it is told at the level of debug", || again() == 1).await;
        }
    }
}

#[tokio::test]
async fn tls_where_starttls_belongs_is_told_so() {
    let (world, _) = with_tls("").await;
    for protocol in PROTOCOLS {
        let name = format!("{}-starttls", protocol.name());
        let mut client = Client::connect(world.address(&name), protocol).await;
        client.line().await.unwrap();
        client.send(HELLO).await;
        assert_eq!(client.rest().await, "");
        let line = line(&world, &name, "cause=tls-on-plain-port").await;
        assert!(line.contains("Device owner: set the encryption of the client to STARTTLS"), "{line}");
    }
}

const REJECTED: &str = "the client rejects the certificate of this listener (TLS alert unknown_ca, 48). ";

#[tokio::test]
async fn a_client_that_rejects_the_certificate_is_told_as_one() {
    let (world, _) = with_tls("").await;
    let stranger = world.sandbox.ca_pem();
    for name in PROTOCOLS.map(MailProtocol::name).into_iter().chain(HTTP) {
        let name = format!("{name}-implicit");
        let socket = TcpStream::connect(world.address(&name)).await.unwrap();
        connector(stranger).connect("localhost".try_into().unwrap(), socket).await.unwrap_err();
        let line = line(&world, &name, "cause=certificate-rejected").await;
        assert!(line.contains(REJECTED), "{line}");
        assert!(line.contains("Gatepost admin: install the CA of `gatepost cert`"), "{line}");
    }
    for protocol in PROTOCOLS {
        let name = format!("{}-starttls", protocol.name());
        let mut client = Client::connect(world.address(&name), protocol).await;
        client.greet().await;
        let (command, end) = starttls(protocol);
        client.ask(command, end).await;
        assert!(client.try_tls(stranger).await.is_err());
        let line = line(&world, &name, "cause=certificate-rejected").await;
        assert!(line.contains("the client rejects the certificate"), "{line}");
    }
}

#[tokio::test]
async fn plain_text_on_a_tls_port_is_told_as_such() {
    let (world, _) = with_tls("").await;
    for protocol in PROTOCOLS {
        let name = format!("{}-implicit", protocol.name());
        let mut client = Client::connect(world.address(&name), protocol).await;
        client.send("EHLO client.example\r\n").await;
        client.rest_octets().await;
        let line = line(&world, &name, "cause=plaintext-on-tls-port").await;
        assert!(
            line.contains("the client began without TLS") && line.contains("Device owner: set the encryption"),
            "{line}"
        );
    }
    for name in HTTP.map(|name| format!("{name}-implicit")) {
        let mut socket = TcpStream::connect(world.address(&name)).await.unwrap();
        socket.write_all(b"POST /EWS/Exchange.asmx HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let _broke = timeout(PATIENCE, socket.read_to_end(&mut Vec::new())).await.expect("it is closed");
        let line = line(&world, &name, "cause=plaintext-on-tls-port").await;
        assert!(line.contains("`https://` in the client in place of `http://`"), "{line}");
    }
}

#[tokio::test]
async fn plain_text_behind_starttls_is_told_as_a_change_on_the_path() {
    let (world, _) = with_tls("").await;
    for protocol in PROTOCOLS {
        let name = format!("{}-starttls", protocol.name());
        let mut client = Client::connect(world.address(&name), protocol).await;
        client.greet().await;
        let (command, end) = starttls(protocol);
        client.ask(command, end).await;
        client.send("NOOP still readable\r\n").await;
        client.rest_octets().await;
        let line = line(&world, &name, "cause=plaintext-on-tls-port").await;
        assert!(line.contains("the client asked for STARTTLS and then went on without TLS. Device owner: "), "{line}");
    }
}

/// The record of TLS 1.3 with a fatal alert from a client whose handshake is over.
fn alert(connection: ClientConnection, description: AlertDescription) -> Vec<u8> {
    let (number, secrets) = connection.dangerous_extract_secrets().unwrap().tx;
    let ConnectionTrafficSecrets::Aes256Gcm { key, iv } = secrets else { panic!("another cipher suite") };
    let mut nonce: [u8; 12] = iv.as_ref().try_into().unwrap();
    nonce.iter_mut().skip(4).zip(number.to_be_bytes()).for_each(|(octet, number)| *octet ^= number);
    // Level, description, and the type of the content (RFC 8446 §5.2).
    let mut sealed = vec![2, u8::from(description), 21];
    let head = [23, 3, 3, 0, 3 + 16];
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).unwrap());
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(head), &mut sealed).unwrap();
    [&head[..], &sealed].concat()
}

/// Some judge the certificate when the server takes the handshake for done.
#[tokio::test]
async fn a_client_that_rejects_the_certificate_after_the_handshake_is_told_as_one() {
    let (world, pem) = with_tls("").await;
    for name in PROTOCOLS.map(MailProtocol::name).into_iter().chain(HTTP) {
        let name = format!("{name}-implicit");
        let mut config = (**connector(&pem).config()).clone();
        config.enable_secret_extraction = true;
        let connector = TlsConnector::from(Arc::new(config));
        let socket = TcpStream::connect(world.address(&name)).await.unwrap();
        let stream = connector.connect("localhost".try_into().unwrap(), socket).await.unwrap();
        let (mut socket, connection) = stream.into_inner();
        socket.write_all(&alert(connection, AlertDescription::UnknownCA)).await.unwrap();
        let _broke = timeout(PATIENCE, socket.read_to_end(&mut Vec::new())).await.expect("it is closed");
        let line = line(&world, &name, "cause=certificate-rejected").await;
        assert!(line.contains(REJECTED), "{line}");
        let of_peer = format!("peer={} ", socket.local_addr().unwrap());
        let closed = world.log.lines(|line| line.contains(&of_peer) && line.contains("outcome=closed"));
        assert_eq!(closed.len(), 1, "{closed:?}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_login_is_noted_as_broken() {
    let world = World::new().await;
    for protocol in PROTOCOLS {
        let mut socket = TcpStream::connect(world.address(protocol.name())).await.unwrap();
        socket.read_u8().await.unwrap();
        // Its end is a reset.
        socket2::SockRef::from(&socket).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        let from = format!("peer={} ", socket.local_addr().unwrap());
        drop(socket);
        let lines = || world.log.lines(|line| line.contains(&from) && line.contains("outcome=closed"));
        until("its end is noted", || !lines().is_empty()).await;
        let said = ["cause=client-broke", " DEBUG ", "the client's connection broke: "];
        assert!(lines().len() == 1 && said.iter().all(|said| lines()[0].contains(said)), "{:?}", lines());
    }
}

#[tokio::test]
async fn who_waits_for_a_greeting_on_a_tls_port_is_told_as_such_and_a_probe_is_not() {
    let (world, _) = with_tls("  tls_handshake: 1s").await;
    for protocol in PROTOCOLS {
        let name = format!("{}-implicit", protocol.name());
        // A probe whether the port is open.
        drop(TcpStream::connect(world.address(&name)).await.unwrap());
        let mut client = Client::connect(world.address(&name), protocol).await;
        client.rest_octets().await;
        let line = line(&world, &name, "cause=tls-timeout").await;
        assert!(line.contains("the client sent nothing within 1s") && line.contains("Device owner: "), "{line}");
    }
    // Who has begun with TLS does not wait for a greeting, and over HTTP nobody does.
    for (listener, said) in [("imap-implicit", HELLO), ("ews-implicit", b""), ("graph-implicit", HELLO)] {
        let mut socket = TcpStream::connect(world.address(listener)).await.unwrap();
        socket.write_all(said).await.unwrap();
        let _broke = timeout(PATIENCE, socket.read_to_end(&mut Vec::new())).await.expect("it is closed");
        let from = format!("listener={listener} peer={} ", socket.local_addr().unwrap());
        let lines = || world.log.lines(|line| line.contains(&from) && line.contains("cause=tls-timeout"));
        until("it is noted", || !lines().is_empty()).await;
        let text = "the client did not finish the TLS handshake in time";
        assert!(lines().len() == 1 && lines()[0].contains(" DEBUG ") && lines()[0].contains(text), "{:?}", lines());
    }
    let probes = || world.log.lines(|line| line.contains("cause=client-left"));
    until("the probes are noted", || probes().len() == PROTOCOLS.len()).await;
    assert!(probes().iter().all(|line| line.contains(" DEBUG ")), "{:?}", probes());
}

/// A hello of a client of this version with these cipher suites, X25519 and P-256, and signatures
/// with SHA-256.
fn hello(version: [u8; 2], suites: &[u16]) -> Vec<u8> {
    let groups = b"\x00\x0a\x00\x06\x00\x04\x00\x1d\x00\x17";
    let signatures = b"\x00\x0d\x00\x06\x00\x04\x04\x03\x04\x01";
    let points = b"\x00\x0b\x00\x02\x01\x00";
    let extensions = [&groups[..], signatures, points].concat();
    let mut body = version.to_vec();
    body.extend_from_slice(&[7; 32]);
    body.push(0);
    body.extend_from_slice(&u16::try_from(suites.len() * 2).unwrap().to_be_bytes());
    suites.iter().for_each(|suite| body.extend_from_slice(&suite.to_be_bytes()));
    body.extend_from_slice(b"\x01\x00");
    body.extend_from_slice(&u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend_from_slice(&extensions);
    let length = u16::try_from(body.len()).unwrap();
    let mut record = b"\x16\x03\x01".to_vec();
    record.extend_from_slice(&(length + 4).to_be_bytes());
    record.extend_from_slice(b"\x01\x00");
    record.extend_from_slice(&length.to_be_bytes());
    record.extend_from_slice(&body);
    record
}

#[tokio::test]
async fn what_the_tls_of_an_old_client_lacks_is_named() {
    let clients = [
        (hello([3, 1], &[0x002F]), "the client offers TLS 1.0 at most, and TLS 1.2 is needed. Device owner: "),
        (hello([3, 2], &[0xC013]), "the client offers TLS 1.1 at most, "),
        (
            hello([3, 3], &[0x009C, 0x002F]),
            "offers TLS 1.2 without ECDHE key exchange, only RSA or DHE. Device owner: ",
        ),
        (hello([3, 3], &[0x009E, 0x0033]), "offers TLS 1.2 without ECDHE key exchange, only RSA or DHE. "),
        (hello([3, 3], &[0xC009, 0xC013]), "without ECDHE with AES-GCM or ChaCha20-Poly1305, only with CBC. "),
        (
            hello([3, 3], &[0xC02F, 0xC030]),
            "for RSA certificates only, and this listener has another one. Gatepost admin: ",
        ),
        (OLD_HELLO.to_vec(), "the client offers SSL 2.0 at most, "),
    ];
    for (hello, told) in clients {
        let (world, _) = with_tls("").await;
        for name in PROTOCOLS.map(MailProtocol::name).into_iter().chain(HTTP) {
            let name = format!("{name}-implicit");
            let mut socket = TcpStream::connect(world.address(&name)).await.unwrap();
            socket.write_all(&hello).await.unwrap();
            let _broke = timeout(PATIENCE, socket.read_to_end(&mut Vec::new())).await.expect("it is closed");
            let line = line(&world, &name, "cause=tls-too-old").await;
            assert!(line.contains(told), "{told}: {line}");
        }
    }
}
