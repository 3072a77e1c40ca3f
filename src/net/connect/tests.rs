use super::*;
use crate::secret::ProxyPassword;

fn basic() -> ProxyAuthentication {
    ProxyAuthentication::Basic { username: "svc-mail".into(), password: ProxyPassword::new("s3cret:é".into()) }
}

fn start(authentication: &ProxyAuthentication) -> Connect {
    Connect::new("smtp.office365.com", 587, authentication).unwrap()
}

/// Feeds the answer in chunks of every small size; all must come to the same.
fn answer(
    authentication: &ProxyAuthentication,
    octets: &[u8],
    closed: bool,
) -> Option<Result<Vec<u8>, ConnectErrorKind>> {
    let in_chunks = |size: usize| {
        let mut machine = start(authentication);
        octets.chunks(size).for_each(|chunk| machine.handle_input(chunk));
        if closed {
            machine.handle_eof();
        }
        let event = machine.poll_event();
        assert!(machine.poll_event().is_none());
        event.map(|event| match event {
            ConnectEvent::Tunnel { leftovers } => Ok(leftovers),
            ConnectEvent::Failed(error) => Err(error.kind),
        })
    };
    let whole = in_chunks(octets.len().max(1));
    for size in [1, 2, 3, 5, 64] {
        assert_eq!(in_chunks(size), whole, "in chunks of {size}");
    }
    whole
}

fn tunnel(octets: &[u8]) -> Vec<u8> {
    answer(&ProxyAuthentication::None, octets, false).unwrap().unwrap()
}

fn failure(octets: &[u8]) -> ConnectErrorKind {
    answer(&ProxyAuthentication::None, octets, false).unwrap().unwrap_err()
}

fn error(kind: ConnectErrorKind) -> ConnectError {
    ConnectError { destination: "outlook.office365.com:993".into(), kind }
}

fn refused(status: u16, schemes: &[&str], authenticated: bool) -> ConnectError {
    let schemes = schemes.iter().map(|scheme| (*scheme).to_owned()).collect();
    error(ConnectErrorKind::Refused { status, reason: "Reason".into(), schemes, authenticated })
}

#[test]
fn the_request() {
    let request = |host: &str, authentication: &ProxyAuthentication| {
        let mut machine = Connect::new(host, 993, authentication).unwrap();
        let request = String::from_utf8(machine.poll_output().unwrap()).unwrap();
        assert_eq!(machine.poll_output(), None);
        request.replace(env!("CARGO_PKG_VERSION"), "VERSION")
    };
    assert_eq!(
        request("outlook.office365.com", &ProxyAuthentication::None),
        "CONNECT outlook.office365.com:993 HTTP/1.1\r\nHost: outlook.office365.com:993\r\n\
         User-Agent: Gatepost/VERSION\r\n\r\n"
    );
    assert_eq!(
        request("2001:db8::1", &basic()),
        "CONNECT [2001:db8::1]:993 HTTP/1.1\r\nHost: [2001:db8::1]:993\r\nUser-Agent: Gatepost/VERSION\r\n\
         Proxy-Authorization: Basic c3ZjLW1haWw6czNjcmV0OsOp\r\n\r\n"
    );
}

#[test]
fn nothing_but_a_host_gets_into_the_request() {
    for host in ["", "a b", "a\r\nEvil: 1", "a/b", "a@b", "a:1", "[::1", "a\0"] {
        let error = Connect::new(host, 993, &ProxyAuthentication::None).err().unwrap();
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
        assert_eq!(answer(&basic(), octets, false), None);
        assert_eq!(answer(&basic(), octets, true), Some(Err(ConnectErrorKind::Closed)), "{octets:?}");
    }
}

#[test]
fn refusals_are_typed() {
    for status in [101, 302, 400, 403, 405, 407, 408, 429, 501, 502, 503, 504, 599] {
        let kind = failure(format!("HTTP/1.1 {status} A\tB\r\nContent-Length: 5\r\n\r\nhello").as_bytes());
        let reason = "A\\x09B".into();
        assert_eq!(kind, ConnectErrorKind::Refused { status, reason, schemes: vec![], authenticated: false });
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
        let outcome = answer(&ProxyAuthentication::None, octets, true).unwrap();
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
fn challenges_are_told_from_their_parameters() {
    let head = "HTTP/1.1 407 Proxy Authentication Required\r\n\
        Proxy-Authenticate: Negotiate, NTLM TlRMTVNTUAAC==, Basic realm=\"a, Evil \\\" , b\", charset = \"UTF-8\"\r\n\
        proxy-authenticate: basic realm=x, Digest qop=\"auth\", algorithm=MD5, , =\r\n\r\n";
    let Some(Err(ConnectErrorKind::Refused { schemes, authenticated, .. })) = answer(&basic(), head.as_bytes(), false)
    else {
        panic!()
    };
    assert_eq!(schemes, ["Negotiate", "NTLM", "Basic", "Digest"]);
    assert!(authenticated);
}

#[test]
fn each_failure_says_whose_turn_it_is() {
    let forbidden = refused(403, &[], false);
    assert_eq!(forbidden.to_string(), "the forward proxy answered `403 Reason` to CONNECT `outlook.office365.com:993`");
    assert!(forbidden.permanent() && forbidden.actor() == Actor::Network);
    assert!(forbidden.remedy().contains("ask for CONNECT to `outlook.office365.com:993` to be allowed"));

    let without_password = refused(407, &["NTLM", "Basic"], false);
    assert!(without_password.permanent() && without_password.actor() == Actor::Operator);
    assert!(without_password.remedy().contains("`forward_proxy.password`; the proxy offers `NTLM`, `Basic`"));
    let wrong_password = refused(407, &["Basic"], true);
    assert!(wrong_password.remedy().contains("the proxy refused them"));
    let not_basic = refused(407, &["NTLM"], true);
    assert!(not_basic.actor() == Actor::Network && not_basic.remedy().contains("the proxy offers `NTLM`"));

    for status in [408, 429, 500, 502, 503, 504] {
        assert!(!refused(status, &[], false).permanent(), "{status}");
    }
    for status in [101, 302, 400, 403, 404, 405, 407, 501, 505] {
        assert!(refused(status, &[], false).permanent(), "{status}");
    }
    assert_eq!(error(ConnectErrorKind::NotHttp("x".into())).actor(), Actor::Operator);
    assert!(!error(ConnectErrorKind::Closed).permanent());
}

#[test]
fn a_proxy_that_was_told_a_password_is_not_quoted() {
    // It repeats the credentials wherever it can: in the reason, as a scheme, and instead of HTTP.
    let head = b"HTTP/1.1 407 c3ZjOnNlY3JldA\r\nProxy-Authenticate: c3ZjOnNlY3JldA, NTLM\r\n\r\n";
    let Some(Err(kind)) = answer(&basic(), head, false) else { panic!("a refusal") };
    let schemes = vec!["NTLM".to_owned()];
    assert_eq!(kind, ConnectErrorKind::Refused { status: 407, reason: String::new(), schemes, authenticated: true });
    let garbage = b"Proxy-Authorization: Basic c3ZjOnNlY3JldA\r\n\r\n";
    let Some(Err(kind)) = answer(&basic(), garbage, true) else { panic!("a refusal") };
    assert_eq!(
        error(kind).to_string(),
        "the forward proxy answered something other than HTTP to CONNECT `outlook.office365.com:993`"
    );
}
