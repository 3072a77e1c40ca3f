use super::*;

fn password() -> ProxyAuthentication {
    ProxyAuthentication::Basic { username: "svc".into(), password: ProxyPassword::new("p:é".into()) }
}

/// Feeds the proxy's messages in chunks of every small size, which must all give the same result.
/// Returns what was sent, and the result.
fn exchange(
    authentication: &ProxyAuthentication,
    says: &[u8],
    closed: bool,
) -> (Vec<u8>, Option<Result<Vec<u8>, SocksErrorKind>>) {
    let in_chunks = |size: usize| {
        let mut machine = Socks::new("smtp.office365.com", 587, authentication).unwrap();
        let mut sent = machine.poll_output().unwrap();
        for chunk in says.chunks(size) {
            machine.handle_input(chunk);
            sent.extend(machine.poll_output().unwrap_or_default());
        }
        if closed {
            machine.handle_eof();
        }
        let event = machine.poll_event();
        assert!(machine.poll_event().is_none() && machine.poll_output().is_none());
        let outcome = event.map(|event| match event {
            SocksEvent::Tunnel { leftovers } => Ok(leftovers),
            SocksEvent::Failed(error) => Err(error.kind),
        });
        (sent, outcome)
    };
    let octet_by_octet = in_chunks(1);
    for size in [2, 3, 5, 64] {
        assert_eq!(in_chunks(size).1, octet_by_octet.1, "in chunks of {size}");
    }
    octet_by_octet
}

fn failure(says: &[u8]) -> SocksErrorKind {
    exchange(&ProxyAuthentication::None, says, false).1.unwrap().unwrap_err()
}

const GRANTED: [u8; 10] = [5, 0, 0, 1, 10, 0, 0, 1, 0x1F, 0x90];

#[test]
fn a_tunnel_without_authentication() {
    let says = [&[5, 0], &GRANTED[..], b"220 hello\r\n"].concat();
    let (sent, outcome) = exchange(&ProxyAuthentication::None, &says, false);
    assert_eq!(sent, [&[5, 1, 0, 5, 1, 0, 3, 18], &b"smtp.office365.com"[..], &[0x02, 0x4B]].concat());
    assert_eq!(outcome, Some(Ok(b"220 hello\r\n".to_vec())));
}

#[test]
fn a_tunnel_with_a_password() {
    let says = [&[5, 2, 1, 0], &GRANTED[..]].concat();
    let (sent, outcome) = exchange(&password(), &says, false);
    let expected = [&[5, 2, 0, 2, 1, 3], &b"svc"[..], &[4], "p:é".as_bytes(), &[5, 1, 0, 3, 18], b"smtp.office365.com"];
    assert_eq!(sent, [&expected.concat()[..], &[0x02, 0x4B]].concat());
    assert_eq!(outcome, Some(Ok(Vec::new())));
}

#[test]
fn a_password_is_not_sent_to_a_proxy_that_wants_none() {
    let (sent, outcome) = exchange(&password(), &[&[5, 0], &GRANTED[..]].concat(), false);
    assert!(outcome.unwrap().is_ok());
    assert!(!sent.windows(3).any(|part| part == b"svc"));
}

#[test]
fn addresses_of_every_kind_are_asked_for_and_skipped() {
    for (host, address) in [
        ("192.0.2.7", [&[1][..], &[192, 0, 2, 7]].concat()),
        ("2001:db8::1", [&[4, 0x20, 0x01, 0x0d, 0xb8][..], &[0; 11], &[1]].concat()),
        ("MAIL.example", [&[3, 12][..], b"mail.example"].concat()),
    ] {
        let none = ProxyAuthentication::None;
        let mut machine = Socks::new(host, 993, &none).unwrap();
        machine.handle_input(&[5, 0]);
        let sent = machine.poll_output().unwrap();
        assert_eq!(sent, [&[5, 1, 0, 5, 1, 0], &address[..], &[0x03, 0xE1]].concat(), "{host}");
    }
    for bound in [&[4; 17][..], &[3, 2, b'a', b'b'], &[3, 0]] {
        let says = [&[5, 0, 5, 0, 0], bound, &[0, 0], b"* OK"].concat();
        assert_eq!(exchange(&ProxyAuthentication::None, &says, false).1, Some(Ok(b"* OK".to_vec())), "{bound:?}");
    }
}

#[test]
fn refusals_are_told_apart() {
    assert_eq!(failure(&[5, 0xFF]), SocksErrorKind::Method { offered_password: false });
    assert_eq!(
        exchange(&password(), &[5, 0xFF], false).1,
        Some(Err(SocksErrorKind::Method { offered_password: true }))
    );
    for version in [1, 5] {
        assert_eq!(exchange(&password(), &[5, 2, version, 1], false).1, Some(Err(SocksErrorKind::Credentials)));
    }
    for code in 1..=u8::MAX {
        let kind = failure(&[5, 0, 5, code]);
        assert_eq!(kind, SocksErrorKind::Refused(code));
        let error = SocksError { destination: "outlook.office365.com:993".into(), kind };
        assert_eq!(error.permanent(), !matches!(code, 1 | 3..=6), "{code}");
    }
    for (says, octet) in [(&b"HTTP/1.1 400 Bad Request\r\n"[..], b'H'), (&[5, 2], 2), (&[0, 90], 0)] {
        assert_eq!(failure(says), SocksErrorKind::NotSocks(octet));
    }
    assert_eq!(failure(&[5, 0, 5, 0, 0, 9]), SocksErrorKind::NotSocks(9));
    assert_eq!(failure(&[5, 0, 4]), SocksErrorKind::NotSocks(4));
}

#[test]
fn an_end_in_the_middle_is_told_and_silence_is_waited_out() {
    let says = [&[5, 2, 1, 0], &GRANTED[..]].concat();
    for length in 0..says.len() {
        assert_eq!(exchange(&password(), &says[..length], false).1, None);
        assert_eq!(exchange(&password(), &says[..length], true).1, Some(Err(SocksErrorKind::Closed)));
    }
}

#[test]
fn nothing_but_a_host_gets_into_the_request() {
    for host in ["", "a b", "a\r\nb", "a/b", "[::1]x", &format!("{}.example", "a".repeat(260))] {
        let error = Socks::new(host, 993, &ProxyAuthentication::None).err().unwrap();
        assert_eq!(error.kind, SocksErrorKind::Destination, "{host:?}");
    }
    for (username, password) in [("", "x"), ("x", ""), (&*"x".repeat(256), "x"), ("x", &*"x".repeat(256))] {
        let authentication =
            ProxyAuthentication::Basic { username: username.into(), password: ProxyPassword::new(password.into()) };
        let error = Socks::new("host", 993, &authentication).err().unwrap();
        assert_eq!(error.kind, SocksErrorKind::Unsendable);
    }
}

#[test]
fn a_refusal_says_what_its_code_means_and_an_end_may_be_tried_again() {
    for (code, meaning) in [
        (1, "general failure"),
        (2, "not allowed by its rules"),
        (3, "network unreachable"),
        (4, "host unreachable"),
        (5, "connection refused"),
        (6, "TTL expired"),
        (7, "command not supported"),
        (8, "address type not supported"),
        (9, "unassigned"),
    ] {
        let error = SocksError { destination: "a:993".into(), kind: SocksErrorKind::Refused(code) };
        assert_eq!(
            error.to_string(),
            format!("the SOCKS proxy answered `{code}` ({meaning}) to the request for `a:993`")
        );
    }
    let permanent = |kind| SocksError { destination: "a:993".into(), kind }.permanent();
    assert!(!permanent(SocksErrorKind::Closed));
    for kind in [
        SocksErrorKind::Method { offered_password: true },
        SocksErrorKind::Credentials,
        SocksErrorKind::NotSocks(b'H'),
        SocksErrorKind::Destination,
        SocksErrorKind::Unsendable,
    ] {
        assert!(permanent(kind.clone()), "{kind:?}");
    }
}
