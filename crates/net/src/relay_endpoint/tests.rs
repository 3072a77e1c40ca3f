//! One connection of a relay whose peer sends what a well-behaved one would not, and reads nothing.

use std::future::poll_fn;

use tokio::net::TcpStream;

use super::*;
use crate::stream::tests::{MOST_KEPT, PAID, PIECES, key_updates, tcp_pair, under_flood, wishes};

const BUFFER_BYTES: usize = 64 * 1024;

impl RelayEndpoint {
    /// Octets of memory that remain between two reads and depend on what the peer does.
    fn kept(&self) -> usize {
        let kept = |tls: &Tls| tls.wire.capacity() + tls.plain.capacity() + tls.session.outbox().len();
        self.tls.as_deref().map_or(0, kept)
    }
}

/// Receives a flood for as long as it can. The result is the most memory kept, and the amount of
/// data received.
async fn flooded((session, flood): (Session, impl Iterator<Item = Vec<u8>>)) -> (usize, usize) {
    let (near, far): (TcpStream, TcpStream) = tcp_pair().await;
    let mut side = RelayEndpoint::tls(near.into(), session, Vec::new(), Vec::new(), Vec::new());
    let receiving = async {
        let (mut most, mut received) = (0, 0);
        let mut buffer = Buffer::take(BUFFER_BYTES);
        while let Ok(octets @ 1..) = poll_fn(|cx| side.poll_receive(cx, &mut buffer)).await {
            received += octets;
            most = most.max(side.kept());
        }
        (most.max(side.kept()), received)
    };
    under_flood(far, flood, receiving).await
}

#[tokio::test]
async fn a_peer_that_reads_nothing_fills_no_memory() {
    for from_client in [true, false] {
        let (kept, received) = flooded(wishes(from_client)).await;
        assert!(kept <= MOST_KEPT, "{kept} octets kept");
        assert_eq!(received, 1, "the second wish ends it");
        let (kept, received) = flooded(key_updates(from_client)).await;
        assert!(kept <= MOST_KEPT, "{kept} octets kept");
        assert_eq!(received, PIECES * PAID);
    }
}
