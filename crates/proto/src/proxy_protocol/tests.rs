use proptest::prelude::*;

use super::*;

type Outcome = Result<Option<Conveyed>, HeaderError>;

/// Reads a connection in the steps that the reader asks for, or in smaller ones. Returns the
/// outcome and the rest.
fn read(connection: &[u8], most: usize) -> (Outcome, &[u8]) {
    let (mut reader, mut rest) = (HeaderReader::default(), connection);
    loop {
        let (piece, behind) = rest.split_at(reader.wants().min(most).min(rest.len()));
        rest = behind;
        match reader.take(piece) {
            Ok(None) if !rest.is_empty() => {}
            outcome => return (outcome, rest),
        }
    }
}

fn v2(version: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut header = V2_SIGNATURE.to_vec();
    header.extend([version, family]);
    header.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
    header.extend(rest);
    header
}

const V4: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0xDC, 0x04, 0x03, 0xE1];

fn v6(source: &str) -> Vec<u8> {
    let mut block = source.parse::<Ipv6Addr>().unwrap().octets().to_vec();
    block.extend("2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
    block.extend([0xDC, 0x04, 0x03, 0xE1]);
    block
}

fn with(block: &[u8], extensions: &[u8]) -> Vec<u8> {
    [block, extensions].concat()
}

/// A header with the right checksum, or one that is off by this much.
fn summed(off: u32) -> Vec<u8> {
    let mut header = v2(0x21, 0x11, &with(&V4, &[4, 0, 2, 9, 9, CHECKSUM, 0, 4, 0, 0, 0, 0, 4, 0, 1, 9]));
    let sum = crc32c(header.iter().copied()).wrapping_add(off);
    let at = header.len() - 8;
    header[at..at + 4].copy_from_slice(&sum.to_be_bytes());
    header
}

fn is_client(text: &str) -> Outcome {
    Ok(Some(Conveyed::Client(text.parse().unwrap())))
}

fn cases() -> Vec<(Vec<u8>, Outcome)> {
    use HeaderError::{Checksum, Impossible, Malformed, Missing, TooLong};
    let impossible = |text: &str| Err(Impossible(text.parse().unwrap()));
    let mut cases: Vec<(Vec<u8>, _)> = Vec::new();
    for (line, outcome) in [
        ("PROXY TCP4 192.0.2.7 198.51.100.1 56324 993\r\n", is_client("192.0.2.7:56324")),
        ("PROXY TCP4 255.255.255.254 255.255.255.255 65535 65535\r\n", is_client("255.255.255.254:65535")),
        ("PROXY TCP4 192.0.2.7 127.0.0.1 0 0\r\n", is_client("192.0.2.7:0")),
        ("PROXY TCP6 2001:db8::7 2001:db8::1 56324 993\r\n", is_client("[2001:db8::7]:56324")),
        ("PROXY TCP6 ::ffff:192.0.2.7 ::1 56324 993\r\n", is_client("192.0.2.7:56324")),
        ("PROXY UNKNOWN\r\n", Ok(Some(Conveyed::Unknown))),
        ("PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", Ok(Some(Conveyed::Unknown))),
        ("PROXY UNKNOWN whatever this is\r\n", Ok(Some(Conveyed::Unknown))),
        ("PROXY TCP4 127.0.0.1 198.51.100.1 56324 993\r\n", impossible("127.0.0.1")),
        ("PROXY TCP4 127.9.9.9 198.51.100.1 56324 993\r\n", impossible("127.9.9.9")),
        ("PROXY TCP4 0.0.0.0 198.51.100.1 56324 993\r\n", impossible("0.0.0.0")),
        ("PROXY TCP4 255.255.255.255 198.51.100.1 56324 993\r\n", impossible("255.255.255.255")),
        ("PROXY TCP4 224.0.0.1 198.51.100.1 56324 993\r\n", impossible("224.0.0.1")),
        ("PROXY TCP6 ::1 2001:db8::1 56324 993\r\n", impossible("::1")),
        ("PROXY TCP6 :: 2001:db8::1 56324 993\r\n", impossible("::")),
        ("PROXY TCP6 ff02::1 2001:db8::1 56324 993\r\n", impossible("ff02::1")),
        ("PROXY TCP6 ::ffff:127.0.0.1 2001:db8::1 56324 993\r\n", impossible("127.0.0.1")),
        ("PROXY \r\n", Err(Malformed)),
        ("PROXY TCP4\r\n", Err(Malformed)),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\n", Err(Malformed)),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 56324 993 1\r\n", Err(Malformed)),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 56324 993 \r\n", Err(Malformed)),
        ("PROXY TCP4  192.0.2.7 198.51.100.1 56324 993\r\n", Err(Malformed)),
        ("PROXY tcp4 192.0.2.7 198.51.100.1 56324 993\r\n", Err(Malformed)),
        ("PROXY UDP4 192.0.2.7 198.51.100.1 56324 993\r\n", Err(Malformed)),
        ("PROXY TCP4 2001:db8::7 2001:db8::1 56324 993\r\n", Err(Malformed)),
        ("PROXY TCP6 192.0.2.7 198.51.100.1 56324 993\r\n", Err(Malformed)),
        ("PROXY TCP4 192.0.2.07 198.51.100.1 56324 993\r\n", Err(Malformed)),
        ("PROXY TCP4 192.0.2.256 198.51.100.1 56324 993\r\n", Err(Malformed)),
        ("PROXY TCP4 192.0.2.7 somewhere 56324 993\r\n", Err(Malformed)),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 65536 993\r\n", Err(Malformed)),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 +1 993\r\n", Err(Malformed)),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 01 993\r\n", Err(Malformed)),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 56324 x\r\n", Err(Malformed)),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 56324 993\n", Err(Malformed)),
        ("PROXY TCP4 192.0.2.7\r 198.51.100.1 56324 993\r\n", Err(Malformed)),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 5\n324 993\r\n", Err(Malformed)),
        ("proxy TCP4 192.0.2.7 198.51.100.1 56324 993\r\n", Err(Missing)),
        ("PROXYTCP4 192.0.2.7 198.51.100.1 56324 993\r\n", Err(Missing)),
        ("a LOGIN alice@contoso.com secret\r\n", Err(Missing)),
        ("\x16\x03\x01\x02\0\x01\0\x01\x7c\x03\x03", Err(Missing)),
        ("\r\n\r\n\0\r\nQUIX\n", Err(Missing)),
        ("\r\n\r\n\r\n", Err(Missing)),
        ("PROXY TCP4 192.0.2.7", Ok(None)),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 56324 993\r", Ok(None)),
        ("", Ok(None)),
        ("P", Ok(None)),
    ] {
        cases.push((line.into(), outcome));
    }
    cases.push((format!("PROXY UNKNOWN {}\r\n", "x".repeat(91)).into(), Ok(Some(Conveyed::Unknown))));
    cases.push((format!("PROXY UNKNOWN {}\r\n", "x".repeat(92)).into(), Err(TooLong)));
    let mapped = v6("::ffff:127.0.0.1");
    cases.extend([
        (v2(0x21, 0x11, &V4), is_client("192.0.2.7:56324")),
        (v2(0x21, 0x21, &v6("2001:db8::7")), is_client("[2001:db8::7]:56324")),
        (v2(0x21, 0x21, &v6("::ffff:192.0.2.7")), is_client("192.0.2.7:56324")),
        (v2(0x21, 0x11, &with(&V4, &[4, 0, 3, 1, 2, 3, 0xEA, 0, 0])), is_client("192.0.2.7:56324")),
        (v2(0x21, 0x31, &[0; 216]), Ok(Some(Conveyed::Unknown))),
        (v2(0x21, 0x00, &[]), Ok(Some(Conveyed::Unknown))),
        (v2(0x21, 0x00, &[1, 2, 3]), Ok(Some(Conveyed::Unknown))),
        (v2(0x20, 0x00, &[]), Ok(Some(Conveyed::Itself))),
        (v2(0x20, 0x11, &V4), Ok(Some(Conveyed::Itself))),
        (v2(0x20, 0xFF, &[7; 99]), Ok(Some(Conveyed::Itself))),
        (summed(0), is_client("192.0.2.7:56324")),
        (summed(1), Err(Checksum)),
        (v2(0x21, 0x11, &with(&V4, &[CHECKSUM, 0, 3, 0, 0, 0])), Err(Malformed)),
        (v2(0x21, 0x11, &[127, 0, 0, 1, 198, 51, 100, 1, 0, 1, 0, 2]), impossible("127.0.0.1")),
        (v2(0x21, 0x21, &v6("::1")), impossible("::1")),
        (v2(0x21, 0x21, &mapped), impossible("127.0.0.1")),
        (v2(0x21, 0x11, &V4[..11]), Err(Malformed)),
        (v2(0x21, 0x21, &V4), Err(Malformed)),
        (v2(0x21, 0x31, &[0; 215]), Err(Malformed)),
        (v2(0x21, 0x12, &V4), Err(Malformed)),
        (v2(0x21, 0x41, &V4), Err(Malformed)),
        (v2(0x22, 0x11, &V4), Err(Malformed)),
        (v2(0x11, 0x11, &V4), Err(Malformed)),
        (v2(0x21, 0x11, &with(&V4, &[4, 0])), Err(Malformed)),
        (v2(0x21, 0x11, &with(&V4, &[4, 0, 2, 9])), Err(Malformed)),
        (v2(0x20, 0x00, &vec![0; 4_080]), Ok(Some(Conveyed::Itself))),
        (v2(0x20, 0x00, &vec![0; 4_081]), Err(TooLong)),
        (v2(0x21, 0x11, &V4)[..20].to_vec(), Ok(None)),
    ]);
    cases
}

#[test]
fn headers() {
    let cases = cases();
    assert!(cases.len() >= 60);
    for (header, outcome) in cases {
        for most in [usize::MAX, 1, 5] {
            assert_eq!(read(&header, most).0, outcome, "{}", header.escape_ascii());
        }
    }
}

#[test]
fn what_stands_behind_a_header_is_not_touched() {
    for (mut header, outcome) in cases() {
        if matches!(outcome, Ok(Some(_))) {
            let length = header.len();
            header.extend_from_slice(b"\x16\x03\x01PROXY \r\n");
            assert_eq!(read(&header, usize::MAX), (outcome, &header[length..]), "{}", header.escape_ascii());
        }
    }
}

#[test]
fn the_checksum_is_crc_32c() {
    // RFC 3720 §B.4.
    assert_eq!(crc32c([0_u8; 32].into_iter()), 0x8A91_36AA);
    assert_eq!(crc32c((0..32).map(|octet: u8| octet)), 0x46DD_794E);
    assert_eq!(crc32c(b"123456789".iter().copied()), 0xE306_9283);
}

proptest! {
    #[test]
    fn nothing_hostile_does_harm(
        start in prop::sample::select(vec![&b""[..], b"PROXY ", b"PROXY TCP4 ", V2_SIGNATURE, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0"]),
        noise in prop::collection::vec(any::<u8>(), 0..200),
        most in 1_usize..40,
    ) {
        let connection = [start, &noise].concat();
        let (whole, _) = read(&connection, usize::MAX);
        prop_assert_eq!(read(&connection, most).0, whole);
    }
}
