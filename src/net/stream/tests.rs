//! A stream whose peer says what a well-behaved one would not, and reads nothing.

use rustls::version::{TLS12, TLS13};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::tls::record::ContentType;
use crate::tls::session::tests::{key_update, open_all, pair, record};

/// What memory a connection may take before its login.
pub(in crate::net) const MOST_KEPT: usize = 64 * 1024;

pub(in crate::net) const HELLO: [u8; 9] = [1, 0, 0, 5, 3, 3, 0, 0, 0];

pub(in crate::net) async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

fn stream(socket: TcpStream, session: Session) -> TlsStream {
    TlsStream { socket: socket.into(), session, wire: Vec::new(), plain: Vec::new(), sealed: Vec::new() }
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

/// Sends `flood`, piece by piece, and takes nothing; the other end reads for as long as it can. The result is the most that
/// it kept.
async fn kept(mut ours: TlsStream, mut far: TcpStream, mut flood: impl FnMut() -> Option<Vec<u8>>) -> usize {
    let flooding = async {
        while let Some(piece) = flood() {
            if far.write_all(&piece).await.is_err() {
                break;
            }
        }
        let _gone = far.shutdown().await;
    };
    let reading = async {
        let mut most = 0;
        while ours.read(&mut [0; 2_048]).await.is_ok_and(|read| read > 0) {
            most = most.max(ours.kept());
        }
        most.max(ours.kept())
    };
    // A flood that is not read any more never ends.
    tokio::select! {
        most = reading => most,
        never = async { flooding.await; std::future::pending().await } => never,
    }
}

#[tokio::test]
async fn a_peer_that_reads_nothing_fills_no_memory() {
    for from_client in [true, false] {
        // One octet of data and 32 wishes to negotiate again, over and over.
        let (client, server) = pair(&TLS12);
        let (mut from, to) = if from_client { (client, server) } else { (server, client) };
        let wish: &[u8] = if from_client { &HELLO } else { &[0, 0, 0, 0] };
        let (near, far) = tcp_pair().await;
        let mut pieces = 2_000;
        let most = kept(stream(near, to), far, || {
            pieces -= 1;
            let mut piece = record(&mut from, ContentType::ApplicationData, b"x");
            (0..32).for_each(|_| piece.extend(record(&mut from, ContentType::Handshake, wish)));
            (pieces > 0).then_some(piece)
        })
        .await;
        assert!(most <= MOST_KEPT, "{most} octets kept of renegotiation");

        // Requests for new keys, all of them paid for.
        let (client, server) = pair(&TLS13);
        let (mut from, to) = if from_client { (client, server) } else { (server, client) };
        let (near, far) = tcp_pair().await;
        let mut pieces = 2_000;
        let most = kept(stream(near, to), far, || {
            pieces -= 1;
            let mut piece = record(&mut from, ContentType::ApplicationData, &[7; 1_024]);
            piece.extend(key_update(&mut from, 1));
            (pieces > 0).then_some(piece)
        })
        .await;
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
