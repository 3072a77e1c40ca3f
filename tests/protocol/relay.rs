//! The relay over real sockets: byte-exact both ways, half-close, back-pressure, limits, and what a
//! broken side looks like from the other.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use gatepost_net::relay::{End, RelayLimits, Report, relay};
use gatepost_net::stream::Stream;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const LIMITS: RelayLimits = RelayLimits {
    idle: Duration::from_secs(60),
    half_closed: Duration::from_secs(60),
    write_stall: Duration::from_secs(60),
    buffer_bytes: 64 * 1024,
};

async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

fn tls_configs() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = gatepost_net::tls::provider();
    let server =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
    let mut server = server.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut client = client.with_root_certificates(roots).with_no_client_auth();
    (server.enable_secret_extraction, client.enable_secret_extraction) = (true, true);
    (Arc::new(server), Arc::new(client))
}

/// A relay between two connections; the outer ends are the test's.
struct Rig<C, U> {
    client: C,
    upstream: U,
    relay: JoinHandle<Report>,
}

async fn plain(limits: RelayLimits) -> Rig<TcpStream, TcpStream> {
    let (client, inner_client) = tcp_pair().await;
    let (inner_upstream, upstream) = tcp_pair().await;
    let (a, b) = (Stream::Plain(inner_client.into()).into_side(), Stream::Plain(inner_upstream.into()).into_side());
    Rig { client, upstream, relay: tokio::spawn(relay(a, b, Vec::new(), Vec::new(), limits)) }
}

/// TLS on both sides, as with a listener that has implicit TLS.
async fn tls(
    limits: RelayLimits,
) -> Rig<tokio_rustls::client::TlsStream<TcpStream>, tokio_rustls::server::TlsStream<TcpStream>> {
    let (server, client) = tls_configs();
    let name = ServerName::try_from("localhost").unwrap();
    let (outer_client, inner_client) = tcp_pair().await;
    let (inner_upstream, outer_upstream) = tcp_pair().await;
    let connector = tokio_rustls::TlsConnector::from(Arc::clone(&client));
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(&server));
    let (a, b, outer_client, outer_upstream) = tokio::join!(
        Stream::Plain(inner_client.into()).accept_tls(server),
        Stream::Plain(inner_upstream.into()).connect_tls(client, name.clone()),
        connector.connect(name, outer_client),
        acceptor.accept(outer_upstream),
    );
    let (a, b) = (a.unwrap().into_side(), b.unwrap().into_side());
    Rig {
        client: outer_client.unwrap(),
        upstream: outer_upstream.unwrap(),
        relay: tokio::spawn(relay(a, b, Vec::new(), Vec::new(), limits)),
    }
}

/// Bytes that repeat nowhere near.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed;
    (0..bytes)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u8
        })
        .collect()
}

async fn both_ways<C, U>(rig: Rig<C, U>)
where
    C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    U: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    const BYTES: usize = 24 * 1024 * 1024 + 12_345;
    let (up, down) = (Arc::new(noise(1, BYTES)), Arc::new(noise(2, BYTES)));
    async fn end<S: AsyncRead + AsyncWrite + Unpin>(stream: S, send: Arc<Vec<u8>>) -> Vec<u8> {
        let (mut read, mut write) = tokio::io::split(stream);
        let sending = async {
            // Pieces of odd lengths, from one octet to more than a buffer.
            let mut rest = &send[..];
            let mut size = 1;
            while !rest.is_empty() {
                let (piece, more) = rest.split_at(size.min(rest.len()));
                write.write_all(piece).await.unwrap();
                rest = more;
                size = size * 3 % 200_001 + 1;
            }
            write.shutdown().await.unwrap();
        };
        let receiving = async {
            let mut all = Vec::new();
            read.read_to_end(&mut all).await.unwrap();
            all
        };
        tokio::join!(sending, receiving).1
    }
    let client = tokio::spawn(end(rig.client, Arc::clone(&up)));
    let upstream = tokio::spawn(end(rig.upstream, Arc::clone(&down)));
    assert!(client.await.unwrap() == *down, "the client received what the upstream sent");
    assert!(upstream.await.unwrap() == *up, "the upstream received what the client sent");
    let report = rig.relay.await.unwrap();
    assert_eq!((report.sent, report.received), (BYTES as u64, BYTES as u64));
    assert!(matches!(report.end, End::Client | End::Upstream), "{report:?}");
}

#[tokio::test]
async fn bytes_arrive_as_they_were_sent_plain() {
    both_ways(plain(LIMITS).await).await;
}

#[tokio::test]
async fn bytes_arrive_as_they_were_sent_tls() {
    both_ways(tls(LIMITS).await).await;
}

#[tokio::test]
async fn a_buffer_smaller_than_a_record_does_as_well() {
    both_ways(tls(RelayLimits { buffer_bytes: 4 * 1024, ..LIMITS }).await).await;
}

#[tokio::test]
async fn leftovers_go_first() {
    let (mut client, inner_client) = tcp_pair().await;
    let (inner_upstream, mut upstream) = tcp_pair().await;
    let (a, b) = (Stream::Plain(inner_client.into()).into_side(), Stream::Plain(inner_upstream.into()).into_side());
    client.write_all(b"second").await.unwrap();
    upstream.write_all(b"zweitens").await.unwrap();
    let relay = tokio::spawn(relay(a, b, b"first ".to_vec(), b"erstens ".to_vec(), LIMITS));
    let mut buffer = [0; 12];
    upstream.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"first second");
    let mut buffer = [0; 16];
    client.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"erstens zweitens");
    drop((client, upstream));
    relay.await.unwrap();
}

#[tokio::test]
async fn one_direction_goes_on_after_the_other_ended() {
    let Rig { mut client, mut upstream, relay } = plain(LIMITS).await;
    client.write_all(b"QUIT\r\n").await.unwrap();
    client.shutdown().await.unwrap();
    let mut all = Vec::new();
    upstream.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, b"QUIT\r\n");
    upstream.write_all(b"+OK later\r\n").await.unwrap();
    drop(upstream);
    let mut all = Vec::new();
    client.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, b"+OK later\r\n");
    assert!(matches!(relay.await.unwrap().end, End::Client));
}

#[tokio::test]
async fn close_notify_becomes_a_clean_end() {
    let Rig { mut client, mut upstream, relay } = tls(LIMITS).await;
    upstream.write_all(b"* BYE\r\n").await.unwrap();
    upstream.shutdown().await.unwrap();
    let mut all = Vec::new();
    client.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, b"* BYE\r\n");
    client.shutdown().await.unwrap();
    assert!(matches!(relay.await.unwrap().end, End::Upstream));
}

#[tokio::test]
async fn a_truncated_tls_stream_is_not_a_clean_end() {
    let Rig { mut client, mut upstream, relay } = tls(LIMITS).await;
    upstream.write_all(b"half of a mess").await.unwrap();
    upstream.flush().await.unwrap();
    let (socket, _) = upstream.into_inner();
    drop(socket);
    let mut all = Vec::new();
    let error = client.read_to_end(&mut all).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof), "{error:?}");
    let report = relay.await.unwrap();
    assert!(matches!(report.end, End::UpstreamBroke(_)), "{report:?}");
    assert_eq!(report.received, 14);
}

#[tokio::test]
async fn a_reset_is_passed_on_as_one() {
    let Rig { client, mut upstream, relay } = plain(LIMITS).await;
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    let error = upstream.read(&mut [0; 1]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(matches!(relay.await.unwrap().end, End::ClientBroke(_)));
}

#[tokio::test]
async fn a_receiver_that_does_not_take_stops_the_sender() {
    let Rig { client, mut upstream, relay } = tls(LIMITS).await;
    // Send until nothing more goes for a while; what fits is kernel buffers and one buffer of the
    // relay.
    let piece = vec![7; 1024 * 1024];
    let mut taken = 0;
    while tokio::time::timeout(Duration::from_millis(500), upstream.write_all(&piece)).await.is_ok() {
        taken += piece.len();
        assert!(taken < 64 * 1024 * 1024, "the relay takes without end");
    }
    relay.abort();
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn a_silent_session_ends_at_the_idle_limit() {
    let Rig { client, upstream, relay } = plain(LIMITS).await;
    let before = tokio::time::Instant::now();
    assert!(matches!(relay.await.unwrap().end, End::Idle));
    assert!(before.elapsed() >= LIMITS.idle);
    drop((client, upstream));
}

#[tokio::test(start_paused = true)]
async fn a_half_closed_session_ends_at_its_own_limit() {
    let limits = RelayLimits { idle: Duration::from_secs(3_600), ..LIMITS };
    let Rig { mut client, upstream, relay } = plain(limits).await;
    let before = tokio::time::Instant::now();
    client.shutdown().await.unwrap();
    assert!(matches!(relay.await.unwrap().end, End::HalfClosed));
    assert!(before.elapsed() < Duration::from_secs(3_600));
    drop(upstream);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_takes_nothing_ends_the_session() {
    let limits = RelayLimits { idle: Duration::from_secs(3_600), ..LIMITS };
    let Rig { client, upstream, relay } = plain(limits).await;
    let before = tokio::time::Instant::now();
    let flood = tokio::spawn(async move {
        let mut upstream = upstream;
        let piece = vec![7; 1024 * 1024];
        while upstream.write_all(&piece).await.is_ok() {}
    });
    assert!(matches!(relay.await.unwrap().end, End::Stalled));
    assert!(before.elapsed() < Duration::from_secs(3_600));
    flood.await.unwrap();
    drop(client);
}
