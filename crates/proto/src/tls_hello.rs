//! The first octets of a client that speaks TLS.

/// Whether these first octets of a connection begin a TLS handshake: a record of that type (RFC 8446
/// §5.1), or the hello in the form of SSL 2.0 that old clients send for all versions (RFC 5246
/// §E.2). `None` if more octets are needed.
pub fn begins_tls(octets: &[u8]) -> Option<bool> {
    match octets {
        [] | [0x16] => None,
        [0x16, major, ..] => Some(*major == 3),
        [0x80..=0xFF, _, kind, major, ..] => Some(*kind == 1 && *major == 3),
        [0x80..=0xFF, ..] => None,
        _ => Some(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_is_told_from_commands_by_its_first_octets() {
        for (octets, told) in [
            (&b""[..], None),
            (b"\x16", None),
            (b"\x16\x03", Some(true)),
            (b"\x16\x03\x01\x00\xf0\x01", Some(true)),
            (b"\x80", None),
            (b"\x80\x2e\x01", None),
            (b"\x80\x2e\x01\x03\x01", Some(true)),
            (b"\x80\x2e\x02\x03", Some(false)),
            (b"\x16\n", Some(false)),
            (b"a LOGIN", Some(false)),
            ("äußerst".as_bytes(), Some(false)),
        ] {
            assert_eq!(begins_tls(octets), told, "{octets:?}");
        }
    }
}
