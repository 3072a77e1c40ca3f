//! Recognizes a server that greets in plain text where TLS comes first: a wrong port, or a wrong
//! `upstream_tls`.

use std::io;

use gatepost_core::escape::escaped;

/// Most octets that are looked at, and shown.
pub(crate) const OCTETS: usize = 64;

/// The first octets of the other side are text. It is the content of an [`io::Error`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it greets in plain text (`{0}`)")]
pub struct PlainText(String);

impl PlainText {
    /// The plain text in `error`, if there is one.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    /// Judges the first octets that were received: at least four of printable ASCII are no record
    /// of TLS, whose first octets are below 0x20 (RFC 8446 §5.1).
    pub(crate) fn in_octets(first: &[u8]) -> Option<Self> {
        let line = first.split(|octet| matches!(octet, b'\r' | b'\n')).next().unwrap_or_default();
        let is_text = line.len() >= 4 && line.iter().all(|octet| (0x20..0x7f).contains(octet));
        let line: Vec<u8> = line.iter().copied().filter(|octet| *octet != b'`').collect();
        is_text.then(|| Self(escaped(&line, OCTETS)))
    }
}

#[cfg(test)]
impl PlainText {
    /// The error of a server that greets so.
    pub(crate) fn in_octets_for_test(greeting: &str) -> io::Error {
        Self::in_octets(greeting.as_bytes()).unwrap().into()
    }
}

impl From<PlainText> for io::Error {
    fn from(text: PlainText) -> Self {
        Self::new(io::ErrorKind::InvalidData, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_is_text_and_a_record_is_not() {
        let seen = |octets: &[u8]| PlainText::in_octets(octets).map(|text| text.to_string());
        assert_eq!(seen(b"220 smtp.x ready\r\n").as_deref(), Some("it greets in plain text (`220 smtp.x ready`)"));
        assert_eq!(seen(b"* OK `x`").as_deref(), Some("it greets in plain text (`* OK x`)"));
        for octets in [&b""[..], b"22", b"\x16\x03\x01\x00\x05", b"\x15\x03\x03", b"22\x000", "22é0".as_bytes()] {
            assert_eq!(seen(octets), None, "{octets:?}");
        }
    }
}
