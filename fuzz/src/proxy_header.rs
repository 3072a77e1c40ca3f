//! What a load balancer says about a connection.

use gatepost_proto::proxy_protocol::{Conveyed, HeaderError, HeaderReader};

/// The first octet is the size of the pieces; the others are the connection.
pub fn check(data: &[u8]) {
    let Some((&size, connection)) = data.split_first() else { return };
    let (whole, taken) = read(connection, usize::MAX);
    assert_eq!(read(connection, usize::from(size).max(1)).0, whole);
    if let Ok(Some(conveyed)) = whole {
        assert_eq!(read(&connection[..taken], usize::MAX), (whole, taken), "what follows a header changes nothing");
        assert!(read(&connection[..taken - 1], usize::MAX).0 == Ok(None), "an octet too many was read");
        if let Conveyed::Client(client) = conveyed {
            assert!(!client.ip().to_canonical().is_loopback());
        }
    }
}

/// What the header says, and how long it is.
fn read(connection: &[u8], most: usize) -> (Result<Option<Conveyed>, HeaderError>, usize) {
    let (mut reader, mut taken) = (HeaderReader::default(), 0);
    loop {
        let length = reader.wants().min(most).min(connection.len() - taken);
        let piece = &connection[taken..taken + length];
        taken += length;
        match reader.take(piece) {
            Ok(None) if taken < connection.len() => {}
            outcome => return (outcome, taken),
        }
    }
}
