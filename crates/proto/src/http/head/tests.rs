use proptest::prelude::*;

use super::*;

const LIMITS: HeadLimits = HeadLimits { octets: 32 * 1024, fields: 100 };

fn judged(input: &[u8]) -> (Vec<u8>, Option<HeadError>, bool) {
    let (mut judge, mut out) = (HeadValidator::new(LIMITS), Vec::new());
    judge.feed(input, &mut out);
    (out, judge.flaw(), judge.is_broken())
}

/// Requests that are forwarded unchanged.
const SOUND: [&str; 18] = [
    "GET /v1.0/me/messages?$top=5 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "GET / HTTP/1.0\r\nHost: localhost\r\n\r\n",
    "POST /EWS/Exchange.asmx HTTP/1.1\r\nHost: localhost:8443\r\nContent-Length: 3\r\n\r\nabc",
    "POST / HTTP/1.1\r\nhost:localhost\r\ncontent-length:0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: Chunked\r\n\r\n03\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
    "GET / HTTP/1.1\r\nHost: localhost\r\nX-Text: caf\u{e9} \t tab\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: localhost\r\nX-Empty:\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: localhost\r\nX_Other: 1\r\n\r\n",
    "OPTIONS /v1.0 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "DELETE /a%20b HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "PATCH /users('a@b')/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}",
    "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET HTTPS://A:8443/v1.0?x=http://b/ HTTP/1.1\r\nHost: a:8443\r\n\r\n",
    "GET http://[::1]:80/ HTTP/1.0\r\nHost: [::1]:80\r\n\r\n",
    "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
];

#[test]
fn a_request_of_one_meaning_passes_as_it_is() {
    for request in SOUND {
        assert_eq!(judged(request.as_bytes()), (request.as_bytes().to_vec(), None, false), "{request}");
    }
}

#[test]
fn an_empty_line_in_front_is_dropped_and_a_second_one_is_none_of_a_request() {
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(judged(format!("\r\n{request}\r\n{request}").as_bytes()).0, request.repeat(2).as_bytes());
    assert_eq!(judged(format!("\r\n\r\n{request}").as_bytes()).1, Some(HeadError::RequestLine));
}

/// All known inputs on which two readers have disagreed.
const SMUGGLING: [(&str, HeadError); 91] = [
    ("GET / HTTP/1.1\nHost: a\n\n", HeadError::LineEnd),
    ("GET / HTTP/1.1\r\nHost: a\n\r\n", HeadError::LineEnd),
    ("GET / HTTP/1.1\r\nHost: a\r\n\n", HeadError::LineEnd),
    ("GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", HeadError::LineEnd),
    ("GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", HeadError::LineEnd),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n", HeadError::LineEnd),
    ("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::LineEnd),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n", HeadError::Folded),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n\t2\r\n\r\n", HeadError::Folded),
    ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", HeadError::Folded),
    ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n 1\r\n\r\nx", HeadError::Folded),
    ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", HeadError::Coding),
    ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", HeadError::Field),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 1\r\n\r\nx", HeadError::Field),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", HeadError::Field),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n", HeadError::Field),
    ("GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", HeadError::Field),
    ("GET / HTTP/1.1\r\nHost: a\r\n: empty\r\n\r\n", HeadError::Field),
    ("GET / HTTP/1.1\r\nHost: a\r\nX(Y): 1\r\n\r\n", HeadError::Field),
    ("GET / HTTP/1.1\r\nHost: a\r\nX\u{e9}: 1\r\n\r\n", HeadError::Field),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: \x0b1\r\n\r\n", HeadError::Field),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n", HeadError::Field),
    ("GET / HTTP/1.1\r\nHost: a\r\nContent\x0bLength: 1\r\n\r\nx", HeadError::Field),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy", HeadError::Length),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", HeadError::Length),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\nx", HeadError::Length),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx", HeadError::Length),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\nx", HeadError::Length),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\nx", HeadError::Length),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1.0\r\n\r\nx", HeadError::Length),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 \t1\r\n\r\nx", HeadError::Length),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n", HeadError::Length),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\nx", HeadError::Length),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551617\r\n\r\nx", HeadError::Length),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HeadError::TwoLengths,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        HeadError::TwoLengths,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n",
        HeadError::TwoLengths,
    ),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", HeadError::Coding),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", HeadError::Coding),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HeadError::Coding,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
        HeadError::Coding,
    ),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", HeadError::Coding),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", HeadError::Coding),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", HeadError::Coding),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;x\r\n\r\n0\r\n\r\n", HeadError::Coding),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \r\n\r\n", HeadError::Coding),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", HeadError::Field),
    ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", HeadError::Coding),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n",
        HeadError::LookAlike,
    ),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent_Length: 3\r\n\r\nabc", HeadError::LookAlike),
    ("GET / HTTP/1.1\r\nHost: a\r\nX_AnchorMailbox: b@c\r\n\r\n", HeadError::LookAlike),
    ("GET / HTTP/1.1\r\nHost: a\r\nX_Forwarded_For: 1.2.3.4\r\n\r\n", HeadError::LookAlike),
    ("GET / HTTP/1.1\r\nHost: a\r\nX-MS_CLIENT-PRINCIPAL: x\r\n\r\n", HeadError::LookAlike),
    ("GET / HTTP/1.1\r\nHost: a\r\nProxy_Authorization: x\r\n\r\n", HeadError::LookAlike),
    ("GET / HTTP/1.1\r\n\r\n", HeadError::Host),
    ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", HeadError::Host),
    ("GET / HTTP/1.1\r\nHost: a\r\nhOST: b\r\n\r\n", HeadError::Host),
    ("GET / HTTP/1.0\r\n\r\n", HeadError::Host),
    ("GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", HeadError::Target),
    ("GET http://a:80/ HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Target),
    ("GET http://x@a/ HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Target),
    ("GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Target),
    ("GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Target),
    ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Target),
    ("GET https://169.254.169.254/ HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Target),
    ("GET a:443 HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Target),
    ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Target),
    ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Target),
    ("GET /a\\b HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Target),
    ("GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Target),
    ("GET @a HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Target),
    ("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::RequestLine),
    ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::RequestLine),
    ("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::RequestLine),
    ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", HeadError::RequestLine),
    (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::RequestLine),
    ("GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", HeadError::RequestLine),
    ("GET /\r\n\r\n", HeadError::RequestLine),
    ("get / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::RequestLine),
    ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Method),
    ("REFUSED /slow HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Method),
    ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", HeadError::Method),
    ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", HeadError::Version),
    ("GET / FTP/1.1\r\nHost: a\r\n\r\n", HeadError::RequestLine),
    ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::LineEnd),
    ("\0GET / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::LineEnd),
    ("GET http:///a HTTP/1.1\r\nHost:\r\n\r\n", HeadError::Target),
    ("GET http://x@a/ HTTP/1.1\r\nHost: x@a\r\n\r\n", HeadError::Target),
    ("POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\nContent-Length: 1\r\n\r\nx", HeadError::Expectation),
    ("GET / HTTP/1.1\r\nHost: a\r\nExpect:\r\n\r\n", HeadError::Expectation),
    ("GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nExpect: 100-continue\r\n\r\n", HeadError::Expectation),
];

#[test]
fn what_two_readers_could_understand_differently_is_refused_and_nothing_behind_it_is_seen() {
    for (request, flaw) in SMUGGLING {
        let smuggled = format!("{request}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
        let (out, found, _) = judged(smuggled.as_bytes());
        assert_eq!(found, Some(flaw), "{request:?}");
        let own = format!("REFUSED /{} HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n", flaw.word());
        assert_eq!(String::from_utf8_lossy(&out), own, "{request:?}");
        // The same after a valid request on the same connection.
        let behind = format!("GET /first HTTP/1.1\r\nHost: a\r\n\r\n{smuggled}");
        assert_eq!(
            String::from_utf8_lossy(&judged(behind.as_bytes()).0),
            format!("GET /first HTTP/1.1\r\nHost: a\r\n\r\n{own}")
        );
    }
}

/// Chunks about which readers disagree: the connection ends in the middle of the body.
#[test]
fn a_body_that_is_not_chunks_as_it_says_ends_the_connection() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in [
        ";x=y\r\nabc\r\n0\r\n\r\n",
        "3;x\ny\r\nabc\r\n0\r\n\r\n",
        "3;x\ry\r\nabc\r\n0\r\n\r\n",
        "3;\0\r\nabc\r\n0\r\n\r\n",
        "3 \r\nabc\r\n0\r\n\r\n",
        " 3\r\nabc\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "+3\r\nabc\r\n0\r\n\r\n",
        "-1\r\nabc\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nabc0\r\n\r\n",
        "\r\n3\r\nabc\r\n0\r\n\r\n",
        "3\r\nabc\r\n\r\n",
        "0\r\nX: trailer\n\r\n",
        "0\r\nX: trailer\r\n folded\r\n\r\n",
        "0\r\nno colon\r\n\r\n",
        "0\r\nX : y\r\n\r\n",
        "0\r\nX: \0\r\n\r\n",
        "0\n\n",
        "0\r\n\n",
        "FFFFFFFFFFFFFFFFF\r\nabc",
        "1000000000000003\r\nabc\r\n0\r\n\r\n",
        "g\r\n",
        "\r\n\r\n",
        ";\r\n\r\n",
        "0\r\n\rX",
    ] {
        let (out, flaw, broken) = judged(format!("{head}{body}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        assert!(broken && flaw == Some(HeadError::Coding), "{body:?}");
        assert!(!String::from_utf8_lossy(&out).contains("smuggled"), "{body:?}");
    }
}

/// The library sees the body without them.
#[test]
fn extensions_zeros_and_trailers_are_left_out() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let next = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
    for (body, seen) in [
        ("3;x=y\r\nabc\r\n0;z\r\n\r\n", "3\r\nabc\r\n0\r\n\r\n"),
        ("3;x=\"a;\t\u{e9}\"\r\nabc\r\n0\r\n\r\n", "3\r\nabc\r\n0\r\n\r\n"),
        ("00000000000000000000003\r\nabc\r\n0000000000000000000\r\n\r\n", "03\r\nabc\r\n0\r\n\r\n"),
        ("3\r\nabc\r\n0\r\nX: y\r\nContent-Length: 5\r\nHost: evil\r\n\r\n", "3\r\nabc\r\n0\r\n\r\n"),
    ] {
        let (out, flaw, broken) = judged(format!("{head}{body}{next}").as_bytes());
        assert_eq!(String::from_utf8_lossy(&out), format!("{head}{seen}{next}"), "{body:?}");
        assert!(flaw.is_none() && !broken);
    }
    // These parts do not count as body, but they are limited as well.
    for (before, piece, behind) in [("", "0", "3\r\n"), ("3;", "x", "\r\n"), ("0\r\n", "X: y\r\n", "\r\n")] {
        let most = 16 * 1_024 / piece.len();
        let sized = |count: usize| format!("{head}{before}{}{behind}", piece.repeat(count));
        assert!(!judged(sized(most - 8).as_bytes()).2, "{piece:?}");
        assert_eq!(judged(sized(most + 8).as_bytes()).1, Some(HeadError::Coding), "{piece:?}");
    }
    // The semicolon is left out too, and the last octet that may be is the 16384th.
    for (count, flaw) in [(LEFT_OUT - 1, None), (LEFT_OUT, Some(HeadError::Coding))] {
        assert_eq!(judged(format!("{head}3;{}\r\n", "x".repeat(count)).as_bytes()).1, flaw, "{count}");
    }
}

#[test]
fn a_head_has_its_bounds() {
    let fields = |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 1\r\n".repeat(count - 1));
    assert_eq!(judged(fields(100).as_bytes()).1, None);
    assert_eq!(judged(fields(101).as_bytes()).1, Some(HeadError::TooLong));
    let sized = |octets: usize| {
        let head = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n";
        head.replace("X: ", &format!("X: {}", "y".repeat(octets - head.len())))
    };
    assert_eq!(judged(sized(32 * 1024).as_bytes()).1, None);
    assert_eq!(judged(sized(32 * 1024 + 1).as_bytes()).1, Some(HeadError::TooLong));
    // A head of the greatest length may still get its end.
    assert_eq!(judged(&[b'G'; LIMITS.octets]), (Vec::new(), None, false));
    assert_eq!(judged(&[b'G'; LIMITS.octets + 1]).1, Some(HeadError::TooLong));
    // A head that never ends.
    assert_eq!(judged(&[b'G'; 40_000]).1, Some(HeadError::TooLong));
}

#[test]
fn a_head_that_takes_too_long_is_refused() {
    let (mut judge, mut out) = (HeadValidator::new(LIMITS), Vec::new());
    assert!(judge.in_head() && !judge.head_begun());
    judge.feed(b"GET / HT", &mut out);
    assert!(judge.head_begun() && out.is_empty());
    judge.expire(&mut out);
    assert_eq!(judge.flaw(), Some(HeadError::Slow));
    assert!(out.starts_with(b"REFUSED /slow "));
}

#[test]
fn a_head_that_begins_with_a_line_end_or_nul_is_refused_before_it_is_complete() {
    for input in ["\nG", "\0G"] {
        assert_eq!(judged(input.as_bytes()).1, Some(HeadError::LineEnd), "{input:?}");
    }
}

/// The octets that are passed by are counted like those that are fed, so that the next head is
/// looked for at its place.
#[test]
fn a_body_is_counted_to_its_end_whether_fed_or_passed_by() {
    let smuggled = b"GET /smuggled HTTP/1.1\nHost: a\n\n";
    let sized = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", smuggled.len());
    let chunked = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n", smuggled.len());
    for (head, end) in [(sized, ""), (chunked, "\r\n0\r\n\r\n")] {
        for passes in [[false, false], [true, true], [false, true], [true, false]] {
            let (mut judge, mut out) = (HeadValidator::new(LIMITS), Vec::new());
            assert_eq!(judge.body_ahead(), 0);
            judge.feed(head.as_bytes(), &mut out);
            let mut ahead = smuggled.len() as u64;
            for (part, passes) in [&smuggled[..20], &smuggled[20..]].into_iter().zip(passes) {
                assert!(judge.body_ahead() == ahead && !judge.in_head() && !judge.head_begun(), "{head:?} {passes:?}");
                if passes {
                    judge.pass(part.len() as u64);
                    out.extend_from_slice(part);
                } else {
                    judge.feed(part, &mut out);
                }
                ahead -= part.len() as u64;
            }
            assert_eq!(judge.body_ahead(), 0);
            let next = format!("{end}GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
            judge.feed(next.as_bytes(), &mut out);
            assert!(judge.in_head() && judge.flaw().is_none() && !judge.is_broken(), "{head:?} {passes:?}");
            assert_eq!(out, [head.as_bytes(), smuggled, next.as_bytes()].concat(), "{head:?} {passes:?}");
        }
    }
}

#[test]
fn each_flaw_is_answered_with_the_status_that_says_what_to_change() {
    for flaw in HeadError::ALL {
        let status = match flaw.word() {
            "method" => 501,
            "version" => 505,
            "expectation" => 417,
            "too-long" => 431,
            "slow" => 408,
            _ => 400,
        };
        assert_eq!(flaw.status(), status, "{}", flaw.word());
    }
}

#[test]
fn each_flaw_is_found_by_its_path() {
    for flaw in HeadError::ALL {
        assert_eq!(HeadError::of_path(&format!("/{}", flaw.word())), Some(flaw));
    }
    assert_eq!(HeadError::of_path("/other"), None);
}

proptest! {
    /// However the octets are split, the result is the same.
    #[test]
    fn divisions_do_not_matter(which in 0..SOUND.len() + SMUGGLING.len(), cuts in proptest::collection::vec(1_usize..9, 1..40)) {
        let input = match SOUND.get(which) {
            Some(sound) => sound,
            None => SMUGGLING[which - SOUND.len()].0,
        }.as_bytes();
        let (mut judge, mut out) = (HeadValidator::new(LIMITS), Vec::new());
        let (mut rest, mut cuts) = (input, cuts.into_iter().cycle());
        while !rest.is_empty() {
            let ahead = judge.body_ahead();
            if ahead > 0 {
                let length = rest.len().min(usize::try_from(ahead).unwrap()).min(2);
                out.extend_from_slice(&rest[..length]);
                judge.pass(length as u64);
                rest = &rest[length..];
                continue;
            }
            let (now, later) = rest.split_at(cuts.next().unwrap().min(rest.len()));
            judge.feed(now, &mut out);
            rest = later;
        }
        prop_assert_eq!((out, judge.flaw(), judge.is_broken()), judged(input));
    }

    #[test]
    fn anything_may_arrive(input in proptest::collection::vec(any::<u8>(), 0..400)) {
        judged(&input);
    }
}
