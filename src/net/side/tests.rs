//! A side of a relay whose peer says what a well-behaved one would not, and reads nothing.

use std::future::poll_fn;

use rustls::version::{TLS12, TLS13};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::*;
use crate::net::stream::tests::{HELLO, MOST_KEPT, tcp_pair};
use crate::tls::record::ContentType;
use crate::tls::session::tests::{key_update, pair, record};

const BUFFER_BYTES: usize = 64 * 1024;

impl Side {
    /// Octets of memory that stay between two reads and depend on what the peer does.
    fn kept(&self) -> usize {
        let kept = |tls: &Tls| tls.wire.capacity() + tls.plain.capacity() + tls.session.outbox().len();
        self.tls.as_deref().map_or(0, kept)
    }
}

/// Sends `flood`, piece by piece, and takes nothing; the other end receives for as long as it can. The result is the most that
/// it kept, and how much data it received.
async fn flooded(session: Session, mut flood: impl FnMut() -> Option<Vec<u8>>) -> (usize, usize) {
    let (near, mut far): (TcpStream, TcpStream) = tcp_pair().await;
    let mut side = Side::tls(near.into(), session, Vec::new(), Vec::new(), Vec::new());
    let flooding = async {
        while let Some(piece) = flood() {
            if far.write_all(&piece).await.is_err() {
                break;
            }
        }
        let _gone = far.shutdown().await;
    };
    let receiving = async {
        let (mut most, mut received) = (0, 0);
        let mut buffer = Buffer::take(BUFFER_BYTES);
        while let Ok(octets @ 1..) = poll_fn(|cx| side.poll_receive(cx, &mut buffer)).await {
            received += octets;
            most = most.max(side.kept());
        }
        (most.max(side.kept()), received)
    };
    // A flood that is not read any more never ends.
    tokio::select! {
        result = receiving => result,
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
        let mut pieces = 2_000;
        let (kept, received) = flooded(to, || {
            pieces -= 1;
            let mut piece = record(&mut from, ContentType::ApplicationData, b"x");
            (0..32).for_each(|_| piece.extend(record(&mut from, ContentType::Handshake, wish)));
            (pieces > 0).then_some(piece)
        })
        .await;
        assert!(kept <= MOST_KEPT, "{kept} octets kept");
        assert_eq!(received, 1, "the second wish ends it");

        // Requests for new keys, all of them paid for.
        let (client, server) = pair(&TLS13);
        let (mut from, to) = if from_client { (client, server) } else { (server, client) };
        let mut pieces = 2_000;
        let (kept, received) = flooded(to, || {
            pieces -= 1;
            let mut piece = record(&mut from, ContentType::ApplicationData, &[7; 1_024]);
            piece.extend(key_update(&mut from, 1));
            (pieces > 0).then_some(piece)
        })
        .await;
        assert!(kept <= MOST_KEPT, "{kept} octets kept");
        assert_eq!(received, 1_999 * 1_024);
    }
}
