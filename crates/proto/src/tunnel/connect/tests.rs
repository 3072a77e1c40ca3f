use super::*;

const BASIC: &str = "Basic c3ZjLW1haWw6czNjcmV0OsOp";

/// What the proxy sends on a connection, and whether it then closes it.
type Connection<'a> = (&'a [u8], bool);

/// The outcome of a handshake.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    /// The challenges that the authenticator received.
    challenges: Vec<Challenge>,
    /// The credentials in the requests: an empty text for none, and `-` between connections.
    requests: Vec<String>,
    /// How it ended, if it did.
    end: Option<Result<Vec<u8>, ConnectErrorKind>>,
}

/// Runs a handshake whose authenticator gives these answers in order, and then repeats the last
/// one.
fn converse(
    scheme: Option<Scheme>,
    answers: &[Result<Option<&str>, AuthenticationError>],
    connections: &[Connection<'_>],
) -> Outcome {
    let in_chunks = |size: usize| {
        let mut machine = Connect::new("smtp.office365.com", 587, scheme).unwrap();
        let mut outcome = Outcome { challenges: Vec::new(), requests: Vec::new(), end: None };
        let mut answers = answers.iter().chain(answers.last().into_iter().cycle());
        let mut connections = connections.iter().copied();
        let (mut said, mut closes) = connections.next().unwrap();
        loop {
            if let Some(request) = machine.poll_output() {
                let request = String::from_utf8(request).unwrap();
                let fields = request.strip_suffix("\r\n\r\n").unwrap().lines();
                let shown = fields.filter_map(|line| line.strip_prefix("Proxy-Authorization: ")).collect();
                outcome.requests.push(shown);
            }
            match machine.poll_event() {
                Some(ConnectEvent::Challenge(challenge)) => {
                    outcome.challenges.push(challenge);
                    let answer = answers.next().unwrap().clone();
                    let secret = |text: &str| ProxyAuthorization::new(text.to_owned());
                    machine.handle_answer(answer.map(|text| text.map(secret)));
                }
                Some(ConnectEvent::Reconnect) => {
                    outcome.requests.push("-".into());
                    (said, closes) = connections.next().expect("another connection");
                    machine.handle_connected();
                }
                Some(ConnectEvent::Tunnel { leftovers }) => outcome.end = Some(Ok([&leftovers, said].concat())),
                Some(ConnectEvent::Failed(error)) => outcome.end = Some(Err(error.kind)),
                None if !said.is_empty() => {
                    let (chunk, rest) = said.split_at(size.min(said.len()));
                    machine.handle_input(chunk);
                    said = rest;
                }
                None if closes => {
                    closes = false;
                    machine.handle_eof();
                }
                None => break,
            }
            if outcome.end.is_some() {
                break;
            }
        }
        machine.handle_eof();
        assert!(outcome.end.is_none() || (machine.poll_event().is_none() && machine.poll_output().is_none()));
        outcome
    };
    let whole = in_chunks(usize::MAX);
    for size in [1, 2, 3, 5, 64] {
        assert_eq!(in_chunks(size), whole, "in chunks of {size}");
    }
    whole
}

/// Runs one connection, with an authenticator that has one answer if there is a scheme.
fn answer(scheme: Option<Scheme>, octets: &[u8], closed: bool) -> Option<Result<Vec<u8>, ConnectErrorKind>> {
    let answers = [Ok(Some(BASIC)), Err(AuthenticationError::Refused)];
    converse(scheme, &answers, &[(octets, closed)]).end
}

fn tunnel(octets: &[u8]) -> Vec<u8> {
    answer(None, octets, false).unwrap().unwrap()
}

fn failure(octets: &[u8]) -> ConnectErrorKind {
    answer(None, octets, false).unwrap().unwrap_err()
}

fn error(kind: ConnectErrorKind) -> ConnectError {
    ConnectError { destination: "outlook.office365.com:993".into(), kind }
}

fn refused(status: u16, schemes: &[&str], configured: Option<Scheme>) -> ConnectError {
    let schemes = schemes.iter().map(|scheme| (*scheme).to_owned()).collect();
    error(ConnectErrorKind::Refused { status, reason: "Reason".into(), schemes, configured })
}

#[test]
fn nothing_but_a_host_gets_into_the_request() {
    for host in ["", "a b", "a\r\nEvil: 1", "a/b", "a@b", "a:1", "[::1", "a\0"] {
        let error = Connect::new(host, 993, None).err().unwrap();
        assert_eq!(error.kind, ConnectErrorKind::Destination, "{host:?}");
        assert!(!error.to_string().contains(['\r', '\n', '\0']));
    }
}

#[test]
fn any_2xx_opens_the_tunnel_and_nothing_behind_it_is_lost() {
    assert_eq!(tunnel(b"HTTP/1.1 200 Connection established\r\n\r\n"), b"");
    assert_eq!(tunnel(b"HTTP/1.0 200 OK\r\nVia: x\r\n\r\n220 ready\r\n"), b"220 ready\r\n");
    assert_eq!(tunnel(b"HTTP/1.1 204\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n220 x"), b"220 x");
    assert_eq!(tunnel(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n\r\n\r\n"), b"\r\n\r\n");
}

#[test]
fn an_incomplete_answer_is_waited_for() {
    for octets in [&b""[..], b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"] {
        assert_eq!(answer(Some(Scheme::Basic), octets, false), None);
        assert_eq!(answer(Some(Scheme::Basic), octets, true), Some(Err(ConnectErrorKind::Closed)), "{octets:?}");
    }
}

#[test]
fn refusals_are_typed() {
    for status in [101, 302, 400, 403, 405, 407, 408, 429, 501, 502, 503, 504, 599] {
        let kind = failure(format!("HTTP/1.1 {status} A\tB\r\nContent-Length: 5\r\n\r\nhello").as_bytes());
        let reason = "A\\x09B".into();
        assert_eq!(kind, ConnectErrorKind::Refused { status, reason, schemes: vec![], configured: None });
    }
    let long = format!("HTTP/1.1 403 {}\r\n\r\n", "x".repeat(1_000));
    assert!(
        matches!(failure(long.as_bytes()), ConnectErrorKind::Refused { reason, .. } if reason.len() == REASON_OCTETS)
    );
}

#[test]
fn garbage_is_typed() {
    for octets in [
        &b"SSH-2.0-OpenSSH_9.2\r\n"[..],
        b"\x15\x03\x01\x00\x02\x02\x16",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 600 x\r\n\r\n",
        b"HTTP/1.1 099 x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"* OK ready\r\n",
    ] {
        let outcome = answer(None, octets, true).unwrap();
        assert!(matches!(outcome, Err(ConnectErrorKind::NotHttp(_))), "{octets:?}");
    }
    assert_eq!(failure(b"* OK ready\r\n"), ConnectErrorKind::NotHttp("* OK ready".into()));
    assert_eq!(failure(&[b'x'; 64]), ConnectErrorKind::NotHttp("x".repeat(64)));
}

#[test]
fn every_bound_is_met() {
    let head = |value: usize| format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "x".repeat(value));
    let frame = head(0).len();
    assert_eq!(tunnel(format!("{}y", head(HEAD_OCTETS - frame)).as_bytes()), b"y");
    assert_eq!(failure(head(HEAD_OCTETS - frame + 1).as_bytes()), ConnectErrorKind::TooLong);
    assert_eq!(failure(head(HEAD_OCTETS).strip_suffix("\r\n\r\n").unwrap().as_bytes()), ConnectErrorKind::TooLong);
    let fields = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(FIELDS + 1));
    assert_eq!(failure(fields.as_bytes()), ConnectErrorKind::TooLong);
    let interim = "HTTP/1.1 102 Processing\r\n\r\n";
    let after = |count: u8| interim.repeat(count.into()) + "HTTP/1.1 200 OK\r\n\r\n";
    assert_eq!(tunnel(after(INTERIM_REPLIES).as_bytes()), b"");
    assert_eq!(failure(after(INTERIM_REPLIES + 1).as_bytes()), ConnectErrorKind::TooLong);
}

#[test]
fn a_reply_in_pieces_of_one_octet_is_read_in_linear_work() {
    let fields = |count: usize| format!("HTTP/1.1 200 OK\r\n{}\r\n", "Name: value\r\n".repeat(count));
    let interim = format!("HTTP/1.1 102 Processing\r\n{}\r\n", "A: b\r\n".repeat(FIELDS)).repeat(8);
    for reply in [
        fields(FIELDS),
        fields(10_000),
        interim + &fields(FIELDS),
        format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "x".repeat(HEAD_OCTETS - 30)),
        "\r\n".repeat(HEAD_OCTETS),
        "x".repeat(HEAD_OCTETS),
    ] {
        let mut machine = Connect::new("smtp.office365.com", 587, None).unwrap();
        let mut received = 0;
        for octet in reply.as_bytes() {
            machine.handle_input(&[*octet]);
            received += 1;
            if machine.poll_event().is_some() {
                break;
            }
        }
        assert!(machine.examined <= 4 * received, "{} octets were looked at of {received}", machine.examined);
    }
}

#[test]
fn a_body_in_pieces_of_one_octet_is_read_past_in_linear_work() {
    let line = "x".repeat(900);
    for body in [
        format!("1;{line}\r\nx\r\n").repeat(20) + "0\r\n\r\n",
        format!("0\r\n{}\r\n", format!("A: {line}\r\n").repeat(20)),
        format!("1;{line}{line}"),
        format!("0\r\n{line}{line}"),
    ] {
        let mut fields = [httparse::EMPTY_HEADER; 1];
        let mut reply = httparse::Response::new(&mut fields);
        reply.parse(b"HTTP/1.1 407 x\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        let mut read_past = Body::of(&reply).unwrap();
        let (mut input, mut received) = (Vec::new(), 0);
        for octet in body.as_bytes() {
            input.push(*octet);
            received += 1;
            if read_past.skip(&mut input) != Some(false) {
                break;
            }
        }
        assert!(read_past.examined <= 4 * received, "{} octets were looked at of {received}", read_past.examined);
    }
}

#[test]
fn challenges_are_told_from_their_parameters() {
    let head = "HTTP/1.1 407 Proxy Authentication Required\r\n\
        Proxy-Authenticate: Negotiate, NTLM TlRMTVNTUAAC==, Basic realm=\"a, Evil \\\" , b\", charset = \"UTF-8\"\r\n\
        proxy-authenticate: basic realm=x, Digest qop=\"auth\", algorithm=MD5, , =\r\n\
        Content-Length: 0\r\n\r\n";
    let Some(Err(ConnectErrorKind::Refused { schemes, .. })) = answer(Some(Scheme::Basic), head.as_bytes(), false)
    else {
        panic!("a refusal")
    };
    assert_eq!(schemes, ["Negotiate", "NTLM", "Basic", "Digest"]);
    let parameters = |scheme| {
        let outcome =
            converse(Some(scheme), &[Ok(None), Err(AuthenticationError::Refused)], &[(head.as_bytes(), false)]);
        let Some(Challenge::Continue(parameters)) = outcome.challenges.last() else { panic!("a challenge") };
        parameters.clone()
    };
    assert_eq!(parameters(Scheme::Negotiate), "");
    assert_eq!(parameters(Scheme::Ntlm), "TlRMTVNTUAAC==");
    assert_eq!(parameters(Scheme::Basic), "realm=\"a, Evil \\\" , b\", charset = \"UTF-8\"");
    assert_eq!(parameters(Scheme::Digest), "qop=\"auth\", algorithm=MD5");
}

#[test]
fn a_failure_says_what_happened_and_whether_it_lasts() {
    let forbidden = refused(403, &[], None);
    assert_eq!(forbidden.to_string(), "the proxy answered `403 Reason` to CONNECT `outlook.office365.com:993`");

    for status in [408, 429, 500, 502, 503, 504] {
        assert!(!refused(status, &[], None).permanent(), "{status}");
    }
    for status in [101, 302, 400, 403, 404, 405, 407, 501, 505] {
        assert!(refused(status, &[], None).permanent(), "{status}");
    }
    assert!(!error(ConnectErrorKind::Closed).permanent());
}

#[test]
fn a_proxy_that_was_told_a_password_is_not_quoted() {
    // The proxy repeats the credentials wherever it can: in the reason, as a scheme, and instead of
    // HTTP.
    let head = b"HTTP/1.1 407 c3ZjOnNlY3JldA\r\nProxy-Authenticate: c3ZjOnNlY3JldA, NTLM\r\n\r\n";
    let Some(Err(kind)) = answer(Some(Scheme::Basic), head, false) else { panic!("a refusal") };
    let schemes = vec!["NTLM".to_owned()];
    assert_eq!(
        kind,
        ConnectErrorKind::Refused { status: 407, reason: String::new(), schemes, configured: Some(Scheme::Basic) }
    );
    let garbage = b"Proxy-Authorization: Basic c3ZjOnNlY3JldA\r\n\r\n";
    let Some(Err(kind)) = answer(Some(Scheme::Basic), garbage, true) else { panic!("a refusal") };
    assert_eq!(
        error(kind).to_string(),
        "the proxy answered something other than HTTP to CONNECT `outlook.office365.com:993`"
    );
}

/// A 407 with `fields`, each with its line end, and with `body`.
fn challenge(fields: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 407 Who?\r\n{fields}\r\n{body}").into_bytes()
}

const OPEN: &[u8] = b"HTTP/1.1 200 Open\r\n\r\n* OK hello\r\n";
const ANSWERS: [Result<Option<&str>, AuthenticationError>; 2] = [Ok(Some("NTLM one")), Ok(Some("NTLM two"))];

/// Runs an NTLM handshake over these connections, with two answers.
fn rounds(connections: &[Connection<'_>]) -> Outcome {
    converse(Some(Scheme::Ntlm), &ANSWERS, connections)
}

#[test]
fn a_second_round_goes_over_the_same_connection() {
    let bodies = [
        ("Content-Length: 5\r\n", "HTTP/".to_owned()),
        ("Content-Length: 0\r\nProxy-Connection: keep-alive\r\n", String::new()),
        ("Transfer-Encoding: chunked\r\n", "3;x=y\r\nabc\r\n00A\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n".to_owned()),
        ("Content-Length: 262144\r\n", "x".repeat(262_144)),
    ];
    for (framing, body) in bodies {
        let first = challenge(&format!("{framing}Proxy-Authenticate: NTLM abc=\r\n"), &body);
        let outcome = rounds(&[(&[&first, OPEN].concat(), false)]);
        assert_eq!(outcome.challenges, [Challenge::Start, Challenge::Continue("abc=".into())], "{framing}");
        assert_eq!(outcome.requests, ["NTLM one", "NTLM two"]);
        assert_eq!(outcome.end, Some(Ok(b"* OK hello\r\n".to_vec())));
    }
}

#[test]
fn where_the_proxy_closes_the_scheme_begins_anew() {
    let closing = [
        ("Connection: close\r\nContent-Length: 0\r\n", String::new(), false),
        ("Proxy-Connection: x, Close\r\nContent-Length: 0\r\n", String::new(), false),
        // The body ends only with the connection, is too long, or is malformed.
        ("", "<html>".into(), true),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", "hello".into(), false),
        ("Content-Length: +5\r\n", "hello".into(), false),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "hello".into(), false),
        ("Content-Length: 262145\r\n", String::new(), false),
        ("Transfer-Encoding: chunked\r\n", "zz\r\n".into(), false),
        ("Transfer-Encoding: chunked\r\n", "1\r\nab\r\n".into(), false),
        ("Transfer-Encoding: chunked\r\n", "40001\r\n".into(), false),
        ("Transfer-Encoding: chunked\r\n", "1\r\na\r\n".repeat(50_000), false),
        ("Transfer-Encoding: chunked\r\n", format!("0\r\n{}", "x".repeat(1_024)), false),
        ("Transfer-Encoding: chunked\r\n", format!("0;{}\r\n\r\n", "x".repeat(1_021)), false),
        ("Transfer-Encoding: chunked\r\n", format!("0\r\nX: {}\r\n\r\n", "x".repeat(1_020)), false),
        // Cut off in the body.
        ("Content-Length: 5\r\n", "hell".into(), true),
        ("Transfer-Encoding: chunked\r\n", "5\r\n".into(), true),
        // The connection closes directly after the body.
        ("Content-Length: 5\r\n", "hello".into(), true),
    ];
    for (framing, body, closed) in closing {
        let first = challenge(&format!("{framing}Proxy-Authenticate: NTLM abc=\r\n"), &body);
        let outcome = rounds(&[(&first, closed), (OPEN, false)]);
        assert_eq!(outcome.end, Some(Ok(b"* OK hello\r\n".to_vec())), "{framing}");
        let (last, again) = (outcome.challenges.last(), outcome.requests.last());
        assert!(last == Some(&Challenge::Start) && again.is_some(), "{outcome:?}");
        assert_eq!(outcome.requests[outcome.requests.len() - 2], "-");
    }
}

#[test]
fn a_scheme_of_single_requests_goes_on_over_another_connection() {
    let first = challenge("Connection: close\r\nProxy-Authenticate: Digest nonce=x\r\n", "");
    let answers = [Ok(None), Ok(Some("Digest answer"))];
    let outcome = converse(Some(Scheme::Digest), &answers, &[(&first, true), (OPEN, false)]);
    assert_eq!(outcome.challenges, [Challenge::Start, Challenge::Continue("nonce=x".into())]);
    assert_eq!(outcome.requests, ["", "-", "Digest answer"]);
    assert!(matches!(outcome.end, Some(Ok(_))));
    // HTTP/1.0 closes unless the reply says otherwise.
    let old = String::from_utf8(first)
        .unwrap()
        .replace("1.1 407", "1.0 407")
        .replace("Connection: close", "Content-Length: 0");
    assert!(converse(Some(Scheme::Digest), &answers, &[(old.as_bytes(), true), (OPEN, false)]).requests.len() == 3);
    let kept = old.replace("Content-Length", "Proxy-Connection: Keep-Alive\r\nContent-Length");
    assert!(
        converse(Some(Scheme::Digest), &answers, &[(&[kept.as_bytes(), OPEN].concat(), false)]).requests.len() == 2
    );
}

#[test]
fn a_refusal_is_not_taken_for_a_closed_connection() {
    let token = challenge("Content-Length: 0\r\nProxy-Authenticate: NTLM abc=\r\n", "");
    let no_token = challenge("Connection: close\r\nProxy-Authenticate: NTLM\r\n", "");
    let answers = [Ok(Some("NTLM one")), Ok(Some("NTLM two")), Err(AuthenticationError::Refused)];
    let outcome = converse(Some(Scheme::Ntlm), &answers, &[(&[token, no_token].concat(), true)]);
    assert_eq!(outcome.challenges.last(), Some(&Challenge::Continue(String::new())));
    assert_eq!(outcome.requests, ["NTLM one", "NTLM two"]);
    assert!(matches!(outcome.end, Some(Err(ConnectErrorKind::Refused { status: 407, .. }))));
}

#[test]
fn a_proxy_that_asks_for_ever_is_left() {
    let kept = challenge("Content-Length: 0\r\nProxy-Authenticate: NTLM abc=\r\n", "");
    let outcome = rounds(&[(&kept.repeat(20), false)]);
    assert_eq!(outcome.requests.len(), 1 + usize::from(ROUNDS));
    assert!(matches!(outcome.end, Some(Err(ConnectErrorKind::Refused { status: 407, .. }))));
    let closing = challenge("Connection: close\r\nProxy-Authenticate: NTLM abc=\r\n", "");
    let outcome = rounds(&vec![(&*closing, true); usize::from(CONNECTIONS)]);
    assert_eq!(outcome.requests, ["NTLM one", "-", "NTLM two", "-", "NTLM two"]);
    assert!(matches!(outcome.end, Some(Err(ConnectErrorKind::Refused { status: 407, .. }))));
    // The proxy closes twice instead of giving a second answer.
    let outcome = rounds(&[(&kept, true), (&kept, true)]);
    assert_eq!(outcome.requests, ["NTLM one", "NTLM two", "-", "NTLM two", "NTLM two"]);
    assert_eq!(outcome.end, Some(Err(ConnectErrorKind::Closed)));
}

#[test]
fn another_scheme_than_the_configured_one_gets_nothing() {
    for scheme in Scheme::ALL {
        let others = Scheme::ALL.into_iter().filter(|other| *other != scheme);
        let fields: String = others.map(|other| format!("Proxy-Authenticate: {} x=\r\n", other.name())).collect();
        let outcome = converse(Some(scheme), &[Ok(None)], &[(&challenge(&fields, ""), true)]);
        assert_eq!(outcome.requests, [""]);
        let Some(Err(kind)) = outcome.end else { panic!("a refusal") };
        assert!(matches!(kind, ConnectErrorKind::Refused { status: 407, .. }), "{kind:?}");
    }
}

#[test]
fn what_the_authenticator_cannot_do_ends_it() {
    let wrong = AuthenticationError::Challenge { scheme: Scheme::Ntlm, reason: "it is cut short".into() };
    let first = challenge("Content-Length: 0\r\nProxy-Authenticate: NTLM abc=\r\n", "");
    let outcome = converse(Some(Scheme::Ntlm), &[Ok(None), Err(wrong.clone())], &[(&first, false)]);
    assert_eq!(outcome.end, Some(Err(ConnectErrorKind::Authentication(wrong.clone()))));
    let error = error(ConnectErrorKind::Authentication(wrong));
    assert_eq!(
        error.to_string(),
        "the proxy's NTLM challenge cannot be answered: it is cut short, at CONNECT `outlook.office365.com:993`"
    );
    assert!(error.permanent());
}

#[test]
fn a_proxy_that_shows_itself_is_looked_at_before_the_tunnel_opens() {
    for field in ["Proxy-Authenticate", "Proxy-Authentication-Info"] {
        let reply = format!("HTTP/1.1 200 OK\r\n{field}: Negotiate dG9rZW4=\r\n\r\n* OK hello\r\n").into_bytes();
        let good = [Ok(Some("Negotiate one")), Ok(None)];
        let outcome = converse(Some(Scheme::Negotiate), &good, &[(&reply, false)]);
        assert_eq!(outcome.challenges, [Challenge::Start, Challenge::Last("dG9rZW4=".into())]);
        assert_eq!(outcome.end, Some(Ok(b"* OK hello\r\n".to_vec())));
        let bad = [Ok(Some("Negotiate one")), Err(AuthenticationError::NotProven)];
        let outcome = converse(Some(Scheme::Negotiate), &bad, &[(&reply, false)]);
        let not_proven = ConnectErrorKind::Authentication(AuthenticationError::NotProven);
        assert_eq!(outcome.end, Some(Err(not_proven)));
    }
}
