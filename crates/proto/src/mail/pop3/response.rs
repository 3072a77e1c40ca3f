//! Parses the replies of a POP3 server that a login needs (RFC 1939 §3, RFC 2449 §8, RFC 5034 §4).

/// One line from a server, without its CRLF.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Response<'a> {
    /// `+OK …`.
    Ok,
    /// `-ERR …`.
    Err {
        /// The response code, such as `SYS/TEMP`, without its brackets.
        code: Option<&'a [u8]>,
    },
    /// `+ …`: a challenge. Some servers leave out the space if nothing follows.
    Challenge(&'a [u8]),
}

/// Parses the first line of a reply; `None` if it is none.
pub(crate) fn parse(line: &[u8]) -> Option<Response<'_>> {
    let end = memchr::memchr(b' ', line).unwrap_or(line.len());
    let (name, text) = line.split_at(end);
    let text = text.trim_ascii();
    if name == b"+" {
        Some(Response::Challenge(text))
    } else if name.eq_ignore_ascii_case(b"+OK") {
        Some(Response::Ok)
    } else if name.eq_ignore_ascii_case(b"-ERR") {
        let inside = text.strip_prefix(b"[");
        let code = inside.and_then(|inside| inside.get(..memchr::memchr(b']', inside)?));
        Some(Response::Err { code })
    } else {
        None
    }
}

/// One line of a multi-line reply. `None` at its end, otherwise the line without its stuffed dot.
pub(crate) fn listed(line: &[u8]) -> Option<&[u8]> {
    match line {
        b"." => None,
        [b'.', rest @ ..] => Some(rest),
        line => Some(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies() {
        assert_eq!(parse(b"+OK"), Some(Response::Ok));
        assert_eq!(parse(b"+ok ready <1@x>"), Some(Response::Ok));
        assert_eq!(parse(b"+"), Some(Response::Challenge(b"")));
        assert_eq!(parse(b"+ "), Some(Response::Challenge(b"")));
        assert_eq!(parse(b"+ eyJ9"), Some(Response::Challenge(b"eyJ9")));
        assert_eq!(parse(b"-ERR [SYS/TEMP] later"), Some(Response::Err { code: Some(b"SYS/TEMP") }));
        assert_eq!(parse(b"-ERR no"), Some(Response::Err { code: None }));
        for line in [&b""[..], b"+OKAY", b"OK", b"-ERRx", b"++", b"220 x"] {
            assert_eq!(parse(line), None, "{line:?}");
        }
    }

    #[test]
    fn lists_end_at_the_dot_alone() {
        assert_eq!(listed(b"."), None);
        assert_eq!(listed(b".."), Some(&b"."[..]));
        assert_eq!(listed(b"TOP"), Some(&b"TOP"[..]));
    }
}
