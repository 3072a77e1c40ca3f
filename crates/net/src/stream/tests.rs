//! A stream whose peer sends what a well-behaved one would not, and reads nothing.

use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::tls::record::ContentType;
use crate::tls::session::tests::{key_update, open_all, pair, record};

/// Most memory that a connection may use before its login.
pub(crate) const MOST_KEPT: usize = 64 * 1024;

const HELLO: [u8; 9] = [1, 0, 0, 5, 3, 3, 0, 0, 0];

pub(crate) async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

fn stream(socket: TcpStream, session: Session) -> TlsStream {
    TlsStream {
        socket: socket.into(),
        session,
        wire: Vec::new(),
        plain: Vec::new(),
        sealed: Vec::new(),
        stopped: false,
    }
}

impl TlsStream {
    /// Octets of memory that depend on what the peer does.
    fn kept(&self) -> usize {
        self.wire.capacity() + self.plain.capacity() + self.sealed.capacity() + self.session.outbox().len()
    }
}

#[tokio::test]
async fn what_tls_owes_is_sent_though_nothing_is_written() {
    for version in [&TLS12, &TLS13] {
        let (mut client, server) = pair(version);
        let (near, mut far) = tcp_pair().await;
        let mut ours = stream(near, server);
        let asked = match version == &TLS13 {
            true => key_update(&mut client, 1),
            false => record(&mut client, ContentType::Handshake, &HELLO),
        };
        far.write_all(&asked).await.unwrap();
        far.shutdown().await.unwrap();
        assert_eq!(ours.read(&mut [0; 9]).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        drop(ours);
        let mut told = Vec::new();
        far.read_to_end(&mut told).await.unwrap();
        assert!(!told.is_empty(), "{version:?}: no answer");
        assert_eq!(open_all(&mut client, &told).unwrap(), b"");
    }
}

#[tokio::test]
async fn the_last_words_of_a_peer_that_takes_nothing_more_are_read_when_writing_has_stopped() {
    for version in [&TLS12, &TLS13] {
        let (client, mut server) = pair(version);
        let (near, mut far) = tcp_pair().await;
        let mut ours = Stream::Tls(Box::new(stream(near, client)));
        let large = vec![b'x'; 64 * 1_024 * 1_024];
        let stalled = tokio::time::timeout(std::time::Duration::from_millis(200), ours.write(&large)).await;
        assert!(stalled.is_err(), "{version:?}: all of it was taken");
        far.write_all(&record(&mut server, ContentType::ApplicationData, b"enough")).await.unwrap();
        ours.stop_writing();
        let mut heard = [0; 9];
        assert_eq!(ours.read(&mut heard).await.unwrap(), 6, "{version:?}");
        assert_eq!(&heard[..6], b"enough");
        assert_eq!(ours.write(b"more").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}

/// Sends a flood, piece by piece, and takes nothing, while the other end does `receiving`.
pub(crate) async fn under_flood<T>(
    mut far: TcpStream,
    flood: impl Iterator<Item = Vec<u8>>,
    receiving: impl Future<Output = T>,
) -> T {
    let flooding = async {
        for piece in flood {
            if far.write_all(&piece).await.is_err() {
                break;
            }
        }
        let _gone = far.shutdown().await;
        // Stays pending when the flood is no longer read.
        std::future::pending().await
    };
    tokio::select! {
        result = receiving => result,
        never = flooding => never,
    }
}

/// Number of pieces of a flood.
pub(crate) const PIECES: usize = 2_000;

/// The end that is flooded with one octet of data and 32 wishes to negotiate again, over and over;
/// and the flood.
pub(crate) fn wishes(from_client: bool) -> (Session, impl Iterator<Item = Vec<u8>>) {
    let (mut from, to) = from_to(&TLS12, from_client);
    let wish: &[u8] = if from_client { &HELLO } else { &[0, 0, 0, 0] };
    let piece = move |_| {
        let mut piece = record(&mut from, ContentType::ApplicationData, b"x");
        (0..32).for_each(|_| piece.extend(record(&mut from, ContentType::Handshake, wish)));
        piece
    };
    (to, (0..PIECES).map(piece))
}

/// The end that is flooded with requests for new keys, each paid for by [`PAID`] octets of data;
/// and the flood.
pub(crate) fn key_updates(from_client: bool) -> (Session, impl Iterator<Item = Vec<u8>>) {
    let (mut from, to) = from_to(&TLS13, from_client);
    let piece = move |_| {
        let mut piece = record(&mut from, ContentType::ApplicationData, &[7; PAID]);
        piece.extend(key_update(&mut from, 1));
        piece
    };
    (to, (0..PIECES).map(piece))
}

pub(crate) const PAID: usize = 1_024;

fn from_to(version: &'static SupportedProtocolVersion, from_client: bool) -> (Session, Session) {
    let (client, server) = pair(version);
    if from_client { (client, server) } else { (server, client) }
}

/// The most memory kept while the flood is read for as long as possible.
async fn kept((session, flood): (Session, impl Iterator<Item = Vec<u8>>)) -> usize {
    let (near, far) = tcp_pair().await;
    let mut ours = stream(near, session);
    let reading = async {
        let mut most = 0;
        while ours.read(&mut [0; 2_048]).await.is_ok_and(|read| read > 0) {
            most = most.max(ours.kept());
        }
        most.max(ours.kept())
    };
    under_flood(far, flood, reading).await
}

#[tokio::test]
async fn a_peer_that_reads_nothing_fills_no_memory() {
    for from_client in [true, false] {
        let most = kept(wishes(from_client)).await;
        assert!(most <= MOST_KEPT, "{most} octets kept of renegotiation");
        let most = kept(key_updates(from_client)).await;
        assert!(most <= MOST_KEPT, "{most} octets kept of key updates");
    }
}
#[tokio::test]
async fn nothing_is_sent_behind_what_failed() {
    let (mut client, server) = pair(&TLS13);
    let (near, mut far) = tcp_pair().await;
    let mut ours = stream(near, server);
    far.write_all(&[99, 3, 3, 0, 0]).await.unwrap();
    assert!(ours.read(&mut [0; 9]).await.is_err());
    assert!(ours.write(b"text").await.is_err());
    ours.end().await.unwrap();
    drop(ours);
    let mut told = Vec::new();
    far.read_to_end(&mut told).await.unwrap();
    let alert = rustls::Error::AlertReceived(rustls::AlertDescription::UnexpectedMessage);
    assert_eq!((told.len(), open_all(&mut client, &told)), (5 + 2 + 17, Err(alert)), "the alert alone");
}
