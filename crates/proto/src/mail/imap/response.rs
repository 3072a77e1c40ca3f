//! Parses the responses of an IMAP server that a login needs (RFC 9051 §7).

/// One line from a server, without its CRLF.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Response<'a> {
    /// `+ …` (§7.6).
    Continuation(&'a [u8]),
    /// `A1 OK …`, `* BYE …` (§7.1).
    Status(StatusResponse<'a>),
    /// `* CAPABILITY …`: the list (§7.2.2).
    Capability(&'a [u8]),
    /// Any other untagged response. With `literal`, that many octets and another line belong to it.
    Data {
        /// Octets of the literal at the end of the line.
        literal: Option<usize>,
    },
}

/// A status response.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct StatusResponse<'a> {
    /// The tag; `None` if untagged.
    pub(crate) tag: Option<&'a [u8]>,
    /// The status.
    pub(crate) status: Status,
    /// The response code, without its brackets.
    pub(crate) code: Option<&'a [u8]>,
    /// Status, code and text as received, for the log.
    pub(crate) words: &'a [u8],
}

/// The status of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Ok,
    No,
    Bad,
    Bye,
    Preauth,
}

impl<'a> StatusResponse<'a> {
    /// Whether the code has this name, such as `UNAVAILABLE`, compared without case.
    pub(crate) fn has_code(&self, name: &str) -> bool {
        self.code.is_some_and(|code| first_word(code).0.eq_ignore_ascii_case(name.as_bytes()))
    }

    /// The list in `[CAPABILITY …]`.
    pub(crate) fn capability(&self) -> Option<&'a [u8]> {
        let (name, list) = first_word(self.code?);
        name.eq_ignore_ascii_case(b"CAPABILITY").then_some(list)
    }
}

/// Parses one line; `None` if it is no response.
pub(crate) fn parse(line: &[u8]) -> Option<Response<'_>> {
    if let Some(text) = line.strip_prefix(b"+") {
        // Some servers leave out the space if nothing follows.
        return text.first().is_none_or(|first| *first == b' ').then(|| Response::Continuation(text.trim_ascii()));
    }
    let (tag, words) = first_word(line);
    let (name, rest) = first_word(words);
    let status = status(name);
    if tag == b"*" {
        Some(match status {
            Some(status) => Response::Status(StatusResponse { tag: None, status, code: code(rest), words }),
            None if name.is_empty() => return None,
            None if name.eq_ignore_ascii_case(b"CAPABILITY") => Response::Capability(rest),
            None => Response::Data { literal: literal(line) },
        })
    } else {
        let status = status.filter(|status| matches!(status, Status::Ok | Status::No | Status::Bad))?;
        let plain = !tag.is_empty() && tag.iter().all(u8::is_ascii_graphic);
        plain.then_some(Response::Status(StatusResponse { tag: Some(tag), status, code: code(rest), words }))
    }
}

/// Octets of the literal announced at the end of a line (§4.3); an impossible number saturates.
pub(crate) fn literal(line: &[u8]) -> Option<usize> {
    let inside = line.strip_suffix(b"}")?;
    let open = memchr::memrchr(b'{', inside)?;
    let digits = inside.get(open + 1..)?;
    let digits = digits.strip_suffix(b"+").unwrap_or(digits);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0_usize, |n, d| n.saturating_mul(10).saturating_add(usize::from(d - b'0'))))
}

fn status(name: &[u8]) -> Option<Status> {
    const NAMES: [(&str, Status); 5] = [
        ("OK", Status::Ok),
        ("NO", Status::No),
        ("BAD", Status::Bad),
        ("BYE", Status::Bye),
        ("PREAUTH", Status::Preauth),
    ];
    NAMES.iter().find(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes())).map(|(_, status)| *status)
}

fn code(text: &[u8]) -> Option<&[u8]> {
    let inside = text.strip_prefix(b"[")?;
    inside.get(..memchr::memchr(b']', inside)?)
}

/// Splits at the first space.
fn first_word(text: &[u8]) -> (&[u8], &[u8]) {
    let mut words = text.splitn(2, |octet| *octet == b' ');
    (words.next().unwrap_or_default(), words.next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status_of(line: &[u8]) -> StatusResponse<'_> {
        match parse(line) {
            Some(Response::Status(status)) => status,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn status_responses() {
        let greeting = status_of(b"* OK [CAPABILITY IMAP4rev1 SASL-IR] ready");
        assert_eq!((greeting.tag, greeting.status), (None, Status::Ok));
        assert_eq!(greeting.capability(), Some(&b"IMAP4rev1 SASL-IR"[..]));
        let exchange = status_of(b"* OK The Microsoft Exchange IMAP4 service is ready. [TQBXAEgA]");
        assert_eq!(exchange.code, None);
        let no = status_of(b"A1 no [unavailable] try again");
        assert_eq!((no.tag, no.status, no.has_code("UNAVAILABLE")), (Some(&b"A1"[..]), Status::No, true));
        assert_eq!(no.words, b"no [unavailable] try again");
        assert_eq!(status_of(b"A1 OK").status, Status::Ok);
    }

    #[test]
    fn a_literal_belongs_to_data_only() {
        assert_eq!(parse(b"* NAMESPACE (({3}"), Some(Response::Data { literal: Some(3) }));
        assert_eq!(parse(b"* NAMESPACE NIL NIL NIL"), Some(Response::Data { literal: None }));
        assert_eq!(parse(b"* X {99999999999999999999999999}"), Some(Response::Data { literal: Some(usize::MAX) }));
        assert_eq!(parse(b"* X {}"), Some(Response::Data { literal: None }));
        assert!(matches!(parse(b"* OK see {3}"), Some(Response::Status(_))));
    }

    #[test]
    fn continuations_with_and_without_space() {
        assert_eq!(parse(b"+"), Some(Response::Continuation(b"")));
        assert_eq!(parse(b"+ eyJ9"), Some(Response::Continuation(b"eyJ9")));
        assert_eq!(parse(b"+x"), None);
    }

    #[test]
    fn what_is_no_response() {
        for line in [&b""[..], b" ", b"* ", b"HTTP/1.1 400 Bad Request", b"A1 BYE x", b"A1 PREAUTH x", b"\xff OK"] {
            assert_eq!(parse(line), None, "{line:?}");
        }
    }
}
