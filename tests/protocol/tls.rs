//! The record layer against rustls itself, in both roles: every cipher of both versions, key
//! updates, tickets, alerts, records that were tampered with.

use std::sync::Arc;

use gatepost_config::Trust;
use gatepost_net::stream::Stream;
use gatepost_net::tls::client::UpstreamTrust;
use gatepost_net::tls::record::{MOST_CONTENT_TLS13, first_record};
use rustls::crypto::aws_lc_rs::cipher_suite as suites;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedCipherSuite};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

const SUITES: [SupportedCipherSuite; 9] = [
    suites::TLS13_AES_128_GCM_SHA256,
    suites::TLS13_AES_256_GCM_SHA384,
    suites::TLS13_CHACHA20_POLY1305_SHA256,
    suites::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    suites::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    suites::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    suites::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    suites::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    suites::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

struct Configs {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    /// Whom the client trusts, as PEM.
    ca: String,
}

impl Configs {
    /// One cipher suite only, on both ends.
    fn of(suite: SupportedCipherSuite) -> Self {
        let rsa =
            format!("{:?}", suite.suite()).contains("RSA_WITH") && !format!("{:?}", suite.suite()).contains("ECDSA");
        let algorithm = if rsa { &rcgen::PKCS_RSA_SHA256 } else { &rcgen::PKCS_ECDSA_P256_SHA256 };
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        let mut provider = (*gatepost_net::tls::provider()).clone();
        provider.cipher_suites = vec![suite];
        let provider = Arc::new(provider);
        let versions = &[suite.version()];
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .unwrap();
        server.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().unwrap();
        let client = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        let mut client = client.with_root_certificates(roots).with_no_client_auth();
        (server.enable_secret_extraction, client.enable_secret_extraction) = (true, true);
        Self { server: Arc::new(server), client: Arc::new(client), ca: certificate.pem() }
    }

    /// We are the client.
    async fn to_server(&self) -> (Stream, server::TlsStream<TcpStream>) {
        let (near, far) = tcp_pair().await;
        let (ours, theirs) = tokio::join!(
            Stream::Plain(near.into()).connect_tls(Arc::clone(&self.client), name()),
            TlsAcceptor::from(Arc::clone(&self.server)).accept(far),
        );
        (ours.unwrap(), theirs.unwrap())
    }

    /// We are the server.
    async fn to_client(&self) -> (Stream, client::TlsStream<TcpStream>) {
        let (near, far) = tcp_pair().await;
        let (ours, theirs) = tokio::join!(
            Stream::Plain(near.into()).accept_tls(Arc::clone(&self.server)),
            TlsConnector::from(Arc::clone(&self.client)).connect(name(), far),
        );
        (ours.unwrap(), theirs.unwrap())
    }
}

fn name() -> ServerName<'static> {
    ServerName::try_from("localhost").unwrap()
}

async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

async fn hears(stream: &mut Stream, expected: &[u8]) {
    let mut heard = Vec::new();
    let mut buffer = [0; 999];
    while heard.len() < expected.len() {
        let read = stream.read(&mut buffer).await.unwrap();
        assert_ne!(read, 0, "the stream ended early");
        heard.extend_from_slice(&buffer[..read]);
    }
    assert!(heard == expected);
}

/// More than one record's worth, both ways.
async fn converse<S: AsyncReadExt + AsyncWriteExt + Unpin>(ours: &mut Stream, theirs: &mut S, turns: usize) {
    for turn in 0..turns {
        let text: Vec<u8> = (0..turn * 20_011 % 60_000 + 1).map(|n| (n * 7 + turn) as u8).collect();
        let sending = async {
            theirs.write_all(&text).await.unwrap();
            theirs.flush().await.unwrap();
        };
        tokio::join!(sending, hears(ours, &text));
        let mut heard = vec![0; text.len()];
        let (written, read) = tokio::join!(ours.write(&text), theirs.read_exact(&mut heard));
        written.unwrap();
        read.unwrap();
        assert!(heard == text);
    }
}

#[tokio::test]
async fn every_cipher_of_both_versions_in_both_roles() {
    for suite in SUITES {
        let configs = Configs::of(suite);
        // The second connection resumes the first one's session.
        for resumed in [false, true] {
            let (mut ours, mut theirs) = configs.to_server().await;
            converse(&mut ours, &mut theirs, 4).await;
            let kind = theirs.get_ref().1.handshake_kind();
            assert_eq!(kind == Some(rustls::HandshakeKind::Resumed), resumed, "{suite:?} as client");
            ours.end().await;
            assert_eq!(theirs.read(&mut [0; 9]).await.unwrap(), 0, "a clean end");
            theirs.shutdown().await.unwrap();
            assert_eq!(ours.read(&mut [0; 9]).await.unwrap(), 0, "a clean end");
        }
        let fresh = Configs::of(suite);
        for resumed in [false, true] {
            let (mut ours, mut theirs) = fresh.to_client().await;
            converse(&mut ours, &mut theirs, 4).await;
            let kind = theirs.get_ref().1.handshake_kind();
            assert_eq!(kind == Some(rustls::HandshakeKind::Resumed), resumed, "{suite:?} as server");
        }
    }
}

#[tokio::test]
async fn many_logins_at_once_resume_sessions() {
    const AT_ONCE: usize = 16;
    let mut configs = Configs::of(suites::TLS13_AES_256_GCM_SHA384);
    let additional_ca = Some(("ca.pem".into(), configs.ca.clone().into_bytes()));
    let trust = UpstreamTrust::new(Trust { system_roots: false, additional_ca, destinations: Vec::new() });
    configs.client = Arc::new(trust.records_config().await.unwrap());
    for round in 0..3 {
        let mut open = Vec::new();
        for _ in 0..AT_ONCE {
            open.push(configs.to_server().await);
        }
        let kinds = open.iter().map(|(_, theirs)| theirs.get_ref().1.handshake_kind());
        let resumed = kinds.filter(|kind| *kind == Some(rustls::HandshakeKind::Resumed)).count();
        assert_eq!(resumed, if round == 0 { 0 } else { AT_ONCE }, "round {round}");
        for (ours, theirs) in &mut open {
            // Brings the tickets.
            converse(ours, theirs, 1).await;
        }
    }
}

#[tokio::test]
async fn keys_are_updated_whoever_asks() {
    for suite in [suites::TLS13_AES_128_GCM_SHA256, suites::TLS13_CHACHA20_POLY1305_SHA256] {
        let configs = Configs::of(suite);
        let (mut ours, mut theirs) = configs.to_server().await;
        for _ in 0..5 {
            // It asks for ours as well.
            theirs.get_mut().1.refresh_traffic_keys().unwrap();
            converse(&mut ours, &mut theirs, 3).await;
        }
        let (mut ours, mut theirs) = configs.to_client().await;
        for _ in 0..5 {
            theirs.get_mut().1.refresh_traffic_keys().unwrap();
            converse(&mut ours, &mut theirs, 3).await;
        }
    }
}

/// Three records between two TLS ends, changed on the way: what was read of them, and how reading
/// ended.
async fn tampered(change: impl Fn(&mut Vec<Vec<u8>>)) -> (Vec<u8>, std::io::Error) {
    let configs = Configs::of(suites::TLS13_AES_128_GCM_SHA256);
    let (near, mut inner) = tcp_pair().await;
    let (mut outer, far) = tcp_pair().await;
    let accepting = tokio::spawn(TlsAcceptor::from(Arc::clone(&configs.server)).accept(far));
    let connecting = tokio::spawn(Stream::Plain(near.into()).connect_tls(Arc::clone(&configs.client), name()));
    let both = async { (connecting.await.unwrap().unwrap(), accepting.await.unwrap().unwrap()) };
    let (mut ours, mut theirs) = tokio::select! {
        both = both => both,
        _ = tokio::io::copy_bidirectional(&mut inner, &mut outer) => unreachable!("neither end closes"),
    };
    for text in [b"one", b"two", b"six"] {
        theirs.write_all(text).await.unwrap();
        theirs.flush().await.unwrap();
    }
    // The server's tickets may stand in front.
    let (mut wire, mut records) = (Vec::new(), Vec::new());
    while records.iter().filter(|record: &&Vec<u8>| record.len() == 5 + 3 + 17).count() < 3 {
        outer.read_buf(&mut wire).await.unwrap();
        while let Some(length) = first_record(&wire, MOST_CONTENT_TLS13) {
            records.push(wire.drain(..length).collect());
        }
    }
    let mut texts = records.split_off(records.len() - 3);
    change(&mut texts);
    inner.write_all(&[records, texts].concat().concat()).await.unwrap();
    let mut heard = Vec::new();
    let error = loop {
        let mut buffer = [0; 99];
        match ours.read(&mut buffer).await {
            Ok(0) => panic!("a clean end"),
            Ok(read) => heard.extend_from_slice(&buffer[..read]),
            Err(error) => break error,
        }
    };
    assert!(inner.read(&mut [0; 64]).await.unwrap() >= 5 + 2 + 17, "the peer is told");
    (heard, error)
}

#[tokio::test]
async fn what_was_changed_on_the_way_is_refused() {
    type Change = fn(&mut Vec<Vec<u8>>);
    let changes: [(Change, &[u8]); 7] = [
        (|texts| texts[0][5] ^= 1, b""),
        (|texts| *texts[1].last_mut().unwrap() ^= 0x80, b"one"),
        (|texts| texts.swap(0, 1), b""),
        (|texts| texts.insert(1, texts[0].clone()), b"one"),
        (|texts| drop(texts.remove(1)), b"one"),
        // A record cut short, and an alert in the clear.
        (|texts| texts[2][4] -= 1, b"onetwo"),
        (|texts| texts.insert(1, vec![21, 3, 3, 0, 2, 1, 0]), b"one"),
    ];
    for (number, (change, expected)) in changes.into_iter().enumerate() {
        let (heard, error) = tampered(change).await;
        assert_eq!((&heard[..], error.kind()), (expected, std::io::ErrorKind::InvalidData), "{number}: {error}");
    }
}
