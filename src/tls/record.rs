//! The framing of TLS: where a record begins and ends, and what it says it holds. RFC 8446 §5.1; RFC 5246 §6.2.

/// Octets before the content: type, version, length in two octets.
pub const HEADER: usize = 5;

/// Most plain octets of one record.
pub const MOST_PLAIN: usize = 16 * 1024;

/// The longest content of a record on the wire (RFC 5246 §6.2.3; RFC 8446 §5.2 allows less).
pub const MOST_CONTENT: usize = MOST_PLAIN + 2_048;

/// What a record holds (RFC 8446 §B.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ContentType {
    /// Only meaningful during a handshake.
    ChangeCipherSpec = 20,
    /// Two octets: how bad, and what.
    Alert = 21,
    /// Tickets and key updates, once a connection stands.
    Handshake = 22,
    /// What the connection is for.
    ApplicationData = 23,
}

impl ContentType {
    /// The type with this number; `None` for one that has no place in a standing connection.
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

/// Length of the first record in `wire`, with its header, once it is whole. Of what cannot be a record the header counts as
/// one, so that whoever opens it refuses it at once.
pub fn first_record(wire: &[u8]) -> Option<usize> {
    let [kind, major, _, high, low] = wire.first_chunk::<HEADER>()?;
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if ContentType::of(*kind).is_none() || *major != 3 || length > MOST_CONTENT {
        return Some(HEADER);
    }
    (wire.len() >= HEADER + length).then_some(HEADER + length)
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
            assert_eq!(first_record(&wire[..cut]), (cut >= 8).then_some(8), "{cut}");
        }
        assert_eq!(first_record(&record(0)), Some(5));
    }

    #[test]
    fn what_is_no_record_is_refused_by_its_header() {
        for other in [&b"HTTP/1.1 400 Bad Request"[..], b"* OK ready", b"\x17\x04\x01\x01\x01\x01"] {
            assert_eq!(first_record(other), Some(HEADER), "{other:?}");
        }
        let too_long = u16::try_from(MOST_CONTENT + 1).unwrap().to_be_bytes();
        assert_eq!(first_record(&[23, 3, 3, too_long[0], too_long[1]]), Some(HEADER));
    }
}
