//! The framing of TLS: where a record begins and ends, and its type. RFC 8446 §5.1; RFC 5246 §6.2.

use rustls::{Error, InvalidMessage};

/// Octets before the content: type, version, length in two octets.
pub const HEADER: usize = 5;

/// Most plain octets of one record.
pub const MOST_PLAIN: usize = 16 * 1024;

/// The longest content of a record on the wire in TLS 1.2 (RFC 5246 §6.2.3).
pub const MOST_CONTENT_TLS12: usize = MOST_PLAIN + 2_048;

/// The longest content of a record on the wire in TLS 1.3 (RFC 8446 §5.2).
pub const MOST_CONTENT_TLS13: usize = MOST_PLAIN + 256;

/// What a record holds (RFC 8446 §B.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ContentType {
    /// Used only during a handshake.
    ChangeCipherSpec = 20,
    /// Two octets: the level and the description.
    Alert = 21,
    /// Tickets and key updates, in an established connection.
    Handshake = 22,
    /// The data of the connection.
    ApplicationData = 23,
}

impl ContentType {
    /// The type with this number; `None` for one that an established connection does not use.
    pub fn of(number: u8) -> Option<Self> {
        match number {
            20 => Some(Self::ChangeCipherSpec),
            21 => Some(Self::Alert),
            22 => Some(Self::Handshake),
            23 => Some(Self::ApplicationData),
            _ => None,
        }
    }
}

/// Length of the content of the record with this header, of which `most` octets are allowed on the
/// wire.
///
/// # Errors
/// There is no such type (RFC 5246 §6, RFC 8446 §5: `unexpected_message`), the content is too long
/// (`record_overflow`), or the octets are not TLS.
pub fn content_length(header: [u8; HEADER], most: usize) -> Result<usize, Error> {
    let [kind, major, _, high, low] = header;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if ContentType::of(kind).is_none() {
        Err(unexpected(kind))
    } else if major != 3 {
        Err(Error::InvalidMessage(InvalidMessage::UnknownProtocolVersion))
    } else if length > most {
        Err(Error::PeerSentOversizedRecord)
    } else {
        Ok(length)
    }
}

/// Length of the first record in `wire`, with its header, once it is complete. If
/// [`content_length`] refuses the header, the header alone counts as a record, so that the session
/// refuses it at once.
pub fn first_record(wire: &[u8], most: usize) -> Option<usize> {
    let header = wire.first_chunk::<HEADER>()?;
    let length = HEADER + content_length(*header, most).unwrap_or(0);
    (wire.len() >= length).then_some(length)
}

/// A record of this type is not allowed here.
pub(super) fn unexpected(kind: u8) -> Error {
    Error::InappropriateMessage {
        expect_types: vec![rustls::ContentType::ApplicationData],
        got_type: rustls::ContentType::from(kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(length: usize) -> Vec<u8> {
        let mut record = vec![23, 3, 3];
        record.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        record.resize(HEADER + length, 7);
        record
    }

    #[test]
    fn whole_records_are_told_from_incomplete_ones() {
        let wire = [record(3), record(300)].concat();
        for cut in 0..=wire.len() {
            assert_eq!(first_record(&wire[..cut], MOST_CONTENT_TLS13), (cut >= 8).then_some(8), "{cut}");
        }
        assert_eq!(first_record(&record(0), MOST_CONTENT_TLS13), Some(5));
    }

    #[test]
    fn what_is_no_record_is_refused_by_its_header() {
        let too_long = record(MOST_CONTENT_TLS13 + 1);
        for other in [&b"HTTP/1.1 400 Bad Request"[..], b"* OK ready", b"\x17\x04\x01\x01\x01\x01", &too_long[..5]] {
            assert_eq!(first_record(other, MOST_CONTENT_TLS13), Some(HEADER), "{other:?}");
        }
        assert_eq!(first_record(&too_long, MOST_CONTENT_TLS12), Some(too_long.len()));
        assert_eq!(first_record(&record(MOST_CONTENT_TLS12)[..5], MOST_CONTENT_TLS12), None);
    }

    #[test]
    fn the_types_of_records_have_their_numbers() {
        let known =
            [ContentType::ChangeCipherSpec, ContentType::Alert, ContentType::Handshake, ContentType::ApplicationData];
        assert_eq!((20..=23).map(ContentType::of).collect::<Vec<_>>(), known.map(Some));
        assert_eq!((ContentType::of(19), ContentType::of(24)), (None, None));
    }
}
