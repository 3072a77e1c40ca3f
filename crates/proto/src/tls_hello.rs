//! The first octets of a client that speaks TLS: whether they are a hello, and what the client
//! offers in it.

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

/// What a client cannot do that TLS 1.2 needs here: ECDHE key exchange, together with AES-GCM or
/// ChaCha20-Poly1305. `None` if it can, or if `octets` are not the beginning of a hello.
pub fn lacks(octets: &[u8]) -> Option<Lack> {
    let suites = suites(octets)?;
    // RFC 5289, RFC 8422, RFC 7905: with an ECDSA certificate, then with an RSA certificate.
    let ecdsa = |suite: &u16| matches!(suite, 0xC02B | 0xC02C | 0xCCA9);
    let rsa = |suite: &u16| matches!(suite, 0xC02F | 0xC030 | 0xCCA8);
    let cbc = |suite: &u16| matches!(suite, 0xC006..=0xC014 | 0xC023..=0xC028);
    match (suites.iter().any(ecdsa), suites.iter().any(rsa)) {
        (true, true) => None,
        (true, false) => Some(Lack::RsaCertificates),
        (false, true) => Some(Lack::EcdsaCertificates),
        (false, false) if suites.iter().any(cbc) => Some(Lack::AuthenticatedEncryption),
        (false, false) => Some(Lack::KeyExchange),
    }
}

/// See [`lacks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// Ephemeral elliptic curves (ECDHE). The client knows only RSA key exchange, or DHE.
    KeyExchange,
    /// AES-GCM and ChaCha20-Poly1305 with ECDHE. The client knows only CBC there.
    AuthenticatedEncryption,
    /// Servers with an ECDSA key. It knows those with an RSA key only.
    EcdsaCertificates,
    /// Servers with an RSA key. It knows those with an ECDSA key only.
    RsaCertificates,
}

/// The cipher suites of a hello, as far as they are in its first record (RFC 8446 §4.1.2), or in the
/// form of SSL 2.0 (RFC 5246 §E.2).
fn suites(octets: &[u8]) -> Option<Vec<u16>> {
    if begins_tls(octets) != Some(true) {
        return None;
    }
    if octets.first().is_some_and(|first| *first >= 0x80) {
        let (count, _) = octets.get(5..)?.split_first_chunk()?;
        let list = beginning(octets.get(11..)?, u16::from_be_bytes(*count));
        // The other ciphers are those of SSL 2.0.
        let modern = |cipher: &[u8]| match cipher {
            [0, high, low] => Some(u16::from_be_bytes([*high, *low])),
            _ => None,
        };
        return Some(list.chunks_exact(3).filter_map(modern).collect());
    }
    // Header of the record, header of the message, version, random.
    let (session, rest) = octets.get(5 + 4 + 2 + 32..)?.split_first()?;
    let (length, list) = rest.get(usize::from(*session)..)?.split_first_chunk()?;
    let list = beginning(list, u16::from_be_bytes(*length));
    Some(list.chunks_exact(2).filter_map(|suite| suite.first_chunk().map(|suite| u16::from_be_bytes(*suite))).collect())
}

fn beginning(octets: &[u8], length: u16) -> &[u8] {
    octets.get(..usize::from(length)).unwrap_or(octets)
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

    /// A hello of TLS 1.2 with these cipher suites.
    fn hello(suites: &[u16]) -> Vec<u8> {
        let mut octets = b"\x16\x03\x01\x00\x40\x01\x00\x00\x3c\x03\x03".to_vec();
        octets.extend_from_slice(&[7; 32]);
        octets.extend_from_slice(b"\x02ID");
        octets.extend_from_slice(&u16::try_from(suites.len() * 2).unwrap().to_be_bytes());
        suites.iter().for_each(|suite| octets.extend_from_slice(&suite.to_be_bytes()));
        octets.extend_from_slice(b"\x01\x00");
        octets
    }

    #[test]
    fn what_a_client_lacks_is_read_from_its_cipher_suites() {
        for (suites, lack) in [
            // TLS 1.3, ECDHE with AES-GCM for both kinds of certificate.
            (&[0x1301, 0xC02B, 0xC02F][..], None),
            (&[0xC02F, 0xC030, 0x009C], Some(Lack::EcdsaCertificates)),
            (&[0xC02C], Some(Lack::RsaCertificates)),
            // ECDHE with AES-CBC, and RSA with AES-GCM.
            (&[0xC013, 0xC028, 0x009C], Some(Lack::AuthenticatedEncryption)),
            // RSA and DHE.
            (&[0x009C, 0x002F, 0x000A], Some(Lack::KeyExchange)),
            (&[0x009E, 0x0033], Some(Lack::KeyExchange)),
            (&[], Some(Lack::KeyExchange)),
        ] {
            assert_eq!(lacks(&hello(suites)), lack, "{suites:x?}");
        }
        let old = b"\x80\x2e\x01\x03\x01\x00\x06\x00\x00\x00\x10\x00\xc0\x14\x01\x00\x80";
        assert_eq!(lacks(old), Some(Lack::AuthenticatedEncryption));
        assert_eq!(lacks(b"* OK ready\r\n"), None);
    }

    proptest::proptest! {
        #[test]
        fn any_octets_are_read_without_a_panic(octets: Vec<u8>, cut in 0_usize..100) {
            begins_tls(&octets);
            lacks(&octets);
            let hello = hello(&[0xC02F, 0xC013, 0x002F]);
            lacks(hello.get(..cut.min(hello.len())).unwrap());
        }
    }
}
