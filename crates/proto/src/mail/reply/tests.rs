use super::transcript::{TOKEN, bearer};
use super::*;

fn lines(limits: Limits, input: &[u8]) -> (Vec<Vec<u8>>, Option<&'static str>) {
    let mut lines = Lines::new(Arc::new(limits));
    let mut taken = Vec::new();
    for byte in input {
        lines.buffer.push(*byte);
        loop {
            match lines.next() {
                Ok(Some(line)) => taken.push(line),
                Ok(None) => break,
                Err(why) => return (taken, Some(why)),
            }
        }
    }
    (taken, None)
}

#[test]
fn lines_end_in_crlf_only() {
    let (taken, error) = lines(Limits::default(), b"a\r\n\r\nb\r\nc");
    assert_eq!((taken, error), (vec![b"a".to_vec(), b"".to_vec(), b"b".to_vec()], None));
    for input in [&b"a\n"[..], b"a\rb\r\n", b"a\0\r\n", b"a\r\r\n"] {
        assert!(lines(Limits::default(), input).1.is_some(), "{input:?}");
    }
}

#[test]
fn the_time_that_exchange_names_is_read() {
    let millis = |words: &str| retry_after(words.as_bytes()).map(|time| time.as_millis());
    for (words, time) in [
        ("G2 BAD Request is throttled. Suggested Backoff Time: 89117 milliseconds", Some(89_117)),
        ("-ERR Request is throttled. Suggested Backoff Time:299961 Milliseconds.", Some(299_961)),
        ("Suggested backoff time: 5 seconds", Some(5_000)),
        ("Suggested Backoff Time: 99999999999999999999 milliseconds", None),
        ("Suggested Backoff Time: 5 minutes", None),
        ("Suggested Backoff Time: soon", None),
        ("Suggested Backoff Time:", None),
        ("Request is throttled. 89117 milliseconds", None),
    ] {
        assert_eq!(millis(words), time, "{words}");
    }
}

#[test]
fn every_bound_is_met() {
    let limits = || Limits { upstream_line_bytes: 8, upstream_lines: 3, upstream_bytes: 20, ..Limits::default() };
    assert_eq!(lines(limits(), b"123456\r\n").1, None);
    assert_eq!(lines(limits(), b"1234567\r\n").1, Some("a line that is too long"));
    assert_eq!(lines(limits(), b"123456789").1, Some("a line that is too long"));
    assert_eq!(lines(limits(), b"1\r\n2\r\n3\r\n").1, None);
    assert_eq!(lines(limits(), b"1\r\n2\r\n3\r\n4\r\n").1, Some("more lines before the login than any server needs"));
    let (taken, error) = lines(limits(), b"123456\r\n123456\r\n12345");
    assert_eq!((taken.len(), error), (2, Some("more bytes before the login than any server needs")));
    assert_eq!(lines(limits(), b"123456\r\n12\r\n123456\r\n").1, None);
    assert_eq!(lines(limits(), b"123456\r\n12\r\n123456789").1, Some("a line that is too long"));
}

#[test]
fn a_skipped_literal_counts() {
    let mut lines = Lines::new(Arc::new(Limits { upstream_bytes: 20, ..Limits::default() }));
    lines.skip = 5;
    lines.buffer.extend(b"a\nb");
    assert_eq!(lines.next(), Ok(None));
    lines.buffer.extend(b"\r\nrest\r\n");
    assert_eq!(lines.next(), Ok(Some(b"rest".to_vec())));
    lines.skip = 10;
    assert!(lines.next().is_err());
    lines.skip = 9;
    assert_eq!(lines.next(), Ok(None));
}

#[test]
fn the_response_is_microsofts_form() {
    let expected = format!("user=alice@contoso.com\x01auth=Bearer {TOKEN}\x01\x01");
    assert_eq!(STANDARD.decode(xoauth2::initial_response(&bearer()).as_bytes()).unwrap(), expected.as_bytes());
}

#[test]
fn challenges_are_decoded_with_suspicion() {
    let status = |json: &str| challenge_status(STANDARD.encode(json).as_bytes());
    assert_eq!(status(r#"{"status":"401","schemes":"bearer","scope":"https://x"}"#).as_deref(), Some("401"));
    assert_eq!(status(r#"{"status":400}"#).as_deref(), Some("400"));
    for hostile in ["", "{}", r#"{"status":"4\r\n01"}"#, r#"{"status":"12345678901234567"}"#, "[[[[", "\u{ff}"] {
        assert_eq!(status(hostile), None, "{hostile}");
    }
    assert_eq!(challenge_status(b"not base64"), None);
}

#[test]
fn a_detail_never_holds_the_token() {
    let response = xoauth2::initial_response(&bearer());
    let secrets: [&[u8]; 2] = [response.as_bytes(), TOKEN.as_bytes()];
    assert_eq!(excerpt(format!("bad {TOKEN} here").as_bytes(), DETAIL_OCTETS, &secrets), "bad (secret) here");
    assert_eq!(excerpt(format!("x{}", &response[5..60]).as_bytes(), DETAIL_OCTETS, &secrets), "x(secret)");
    assert_eq!(
        excerpt(b"AM3PR05CA0094.eurprd05.prod.outlook.com", DETAIL_OCTETS, &secrets),
        "AM3PR05CA0094.eurprd05.prod.outlook.com"
    );
}

#[test]
fn only_plain_capabilities_are_kept() {
    let long = [b'x'; CAPABILITY_OCTETS + 1];
    let entries: [&[u8]; 6] = [b"IDLE", b"", b"a\tb", b"\xff", &long, b"SIZE 1"];
    assert_eq!(capabilities(entries.into_iter()).0, ["IDLE", "SIZE 1"]);
    assert_eq!(capabilities([&b"x"[..]; 1_000].into_iter()).0.len(), CAPABILITIES);
}

#[test]
fn octets_of_lines_that_were_taken_are_not_kept() {
    let mut lines = Lines::new(Arc::new(Limits::default()));
    lines.buffer.extend(b"a\r\nb\r\nhalf");
    while let Ok(Some(_)) = lines.next() {}
    assert_eq!(lines.buffer, b"half");
}
