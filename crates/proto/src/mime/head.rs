//! Finds the end of a message's header and the fields in it (RFC 5322 §2.2).

use std::ops::Range;

use memchr::{memchr, memchr2, memchr3};

use super::MimeError;

/// Longest header, with the empty line after it. A thousand recipients need about 64 KiB.
pub const HEAD_OCTETS: usize = 256 * 1_024;

/// The header of a message.
#[derive(Clone, Debug)]
pub struct Head<'a> {
    octets: &'a [u8],
    fields: Vec<Field>,
    body: usize,
}

/// The positions of a header field and its parts, counted from the start of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The name, without its colon.
    pub name: Range<usize>,
    /// The text after the colon, folded as received, without the last CRLF.
    pub value: Range<usize>,
    /// The whole field, with the last CRLF.
    pub all: Range<usize>,
    /// Whether no reader can overlook the field: the colon directly follows the name, and no line
    /// before it looks blank without being empty. (RFC 5322 §4.2 and §4.5 allow both, but readers
    /// interpret them differently.)
    pub plain: bool,
}

impl<'a> Head<'a> {
    /// Parses the header of `message`. The end of the message may be missing once the header is
    /// complete.
    ///
    /// # Errors
    /// A [`MimeError`] if it is uncertain which fields there are. A message may have no header (it
    /// then begins with an empty line), or no body.
    pub fn parse(message: &'a [u8]) -> Result<Self, MimeError> {
        first_line(message)?;
        let mut fields: Vec<Field> = Vec::new();
        let (mut at, mut number, mut plain) = (0, 0_usize, true);
        loop {
            let Some(rest) = message.get(at..).filter(|rest| !rest.is_empty()) else {
                return Ok(Self { octets: message, fields, body: at });
            };
            number += 1;
            let line = line(rest)?;
            let next = at + line.len();
            if next > HEAD_OCTETS {
                return Err(MimeError::HeadTooLarge);
            }
            let text = line.strip_suffix(b"\r\n").unwrap_or(line);
            if text.is_empty() {
                return Ok(Self { octets: message, fields, body: next });
            }
            let content = at + text.len();
            if text.starts_with(b" ") || text.starts_with(b"\t") {
                let Some(field) = fields.last_mut() else { return Err(MimeError::NoHeader) };
                field.value.end = content;
                field.all.end = next;
                plain &= !is_blank(text);
            } else {
                let (name, colon) = field_name(text).ok_or(match number {
                    1 => MimeError::NoHeader,
                    _ => MimeError::NotAField(number),
                })?;
                fields.push(Field {
                    name: at..at + name,
                    value: at + colon + 1..content,
                    all: at..next,
                    plain: plain && name == colon,
                });
            }
            at = next;
        }
    }

    /// The end of a message's header, with the empty line after it; `None` if it is not among these
    /// octets. `message` must begin at its start, and `searched` is how much of it was there the
    /// last time.
    pub fn end(message: &[u8], searched: usize) -> Option<usize> {
        if message.starts_with(b"\r\n") {
            return Some(2);
        }
        let from = searched.saturating_sub(3);
        memchr::memmem::find(message.get(from..)?, b"\r\n\r\n").map(|at| from + at + 4)
    }

    /// The fields, in order.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The fields with this name, compared without case.
    pub fn named(&self, name: &str) -> impl Iterator<Item = &Field> {
        self.fields.iter().filter(move |field| self.slice(&field.name).eq_ignore_ascii_case(name.as_bytes()))
    }

    /// The value of a field, folded as received.
    pub fn value(&self, field: &Field) -> &'a [u8] {
        self.slice(&field.value)
    }

    /// The start of the body.
    pub fn body(&self) -> usize {
        self.body
    }

    pub(super) fn slice(&self, range: &Range<usize>) -> &'a [u8] {
        self.octets.get(range.clone()).unwrap_or_default()
    }
}

/// Checks that all lines of a message end in CRLF, and that it has no NUL (RFC 5322 §2.3).
///
/// # Errors
/// [`MimeError::BareLineEnd`] and [`MimeError::Nul`].
pub fn check_lines(message: &[u8]) -> Result<(), MimeError> {
    let mut rest = message;
    while let Some(at) = memchr3(b'\r', b'\n', 0, rest) {
        let (_, found) = rest.split_at(at);
        rest = match found {
            [b'\r', b'\n', rest @ ..] => rest,
            [0, ..] => return Err(MimeError::Nul),
            _ => return Err(MimeError::BareLineEnd),
        };
    }
    Ok(())
}

/// Checks for what some programs put before the first field.
fn first_line(message: &[u8]) -> Result<(), MimeError> {
    const MARKS: [&[u8]; 3] = [b"\xEF\xBB\xBF", b"\xFF\xFE", b"\xFE\xFF"];
    if MARKS.iter().any(|mark| message.starts_with(mark)) {
        return Err(MimeError::ByteOrderMark);
    }
    let separator = message.strip_prefix(b">").unwrap_or(message).strip_prefix(b"From ");
    match separator.map(<[u8]>::trim_ascii_start) {
        // `From :` is a field with an obsolete space.
        Some(rest) if !rest.starts_with(b":") => Err(MimeError::MboxLine),
        _ => Ok(()),
    }
}

/// The first line with its CRLF, which the last line of a message may not have.
fn line(rest: &[u8]) -> Result<&[u8], MimeError> {
    let within = rest.get(..HEAD_OCTETS).unwrap_or(rest);
    let (line, text) = match memchr(b'\n', within) {
        Some(end) => {
            let line = rest.get(..=end).unwrap_or_default();
            (line, line.strip_suffix(b"\r\n").ok_or(MimeError::BareLineEnd)?)
        }
        None if within.len() < rest.len() => return Err(MimeError::HeadTooLarge),
        None => (rest, rest),
    };
    match memchr2(b'\r', 0, text).and_then(|at| text.get(at)) {
        None => Ok(line),
        Some(0) => Err(MimeError::Nul),
        Some(_) => Err(MimeError::BareLineEnd),
    }
}

/// The lengths of a field's name and of what precedes its colon. RFC 5322 §4.5 allows white space
/// in between.
fn field_name(line: &[u8]) -> Option<(usize, usize)> {
    let colon = memchr(b':', line)?;
    let name = line.get(..colon)?.trim_ascii_end();
    let printable = |octet: &u8| octet.is_ascii_graphic();
    (!name.is_empty() && name.iter().all(printable)).then_some((name.len(), colon))
}

fn is_blank(line: &[u8]) -> bool {
    line.iter().all(|octet| matches!(octet, b' ' | b'\t'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(message: &[u8]) -> Result<Vec<String>, MimeError> {
        let head = Head::parse(message)?;
        Ok(head.fields().iter().map(|field| String::from_utf8_lossy(head.slice(&field.name)).into_owned()).collect())
    }

    #[test]
    fn fields_lie_one_behind_the_other_and_the_body_behind_them() {
        let message = b"From: a\r\n b\r\nX-Empty:\r\nTo :\tc \r\n\r\nbody: x\r\n";
        let head = Head::parse(message).unwrap();
        let parts: Vec<_> = head.fields().iter().map(|f| (head.slice(&f.name), head.value(f), f.plain)).collect();
        assert_eq!(parts, [(&b"From"[..], &b" a\r\n b"[..], true), (b"X-Empty", b"", true), (b"To", b"\tc ", false)]);
        assert_eq!(&message[head.body()..], b"body: x\r\n");
        assert_eq!(head.fields().iter().map(|field| field.all.clone()).collect::<Vec<_>>(), [0..13, 13..23, 23..32]);
    }

    #[test]
    fn a_header_may_be_empty_or_all_there_is() {
        assert_eq!(names(b"\r\nbody").unwrap(), [""; 0]);
        assert_eq!(names(b"").unwrap(), [""; 0]);
        assert_eq!(names(b"A: b\r\nC: d").unwrap(), ["A", "C"]);
        assert_eq!(Head::parse(b"A: b\r\n").unwrap().body(), 6);
    }

    #[test]
    fn what_is_no_header_is_refused() {
        for (message, flaw) in [
            (&b"Hello world\r\n\r\n"[..], MimeError::NoHeader),
            (b" folded\r\nA: b\r\n\r\n", MimeError::NoHeader),
            (b" \r\nA: b\r\n\r\n", MimeError::NoHeader),
            (b": no name\r\n\r\n", MimeError::NoHeader),
            (b"Hello you: there\r\n\r\n", MimeError::NoHeader),
            (b"A: b\r\nHello\r\n\r\n", MimeError::NotAField(2)),
            (b"A: b\r\n c\r\nB\xC3\xB6: c\r\n\r\n", MimeError::NotAField(3)),
            (b"From a@x Mon Nov 23 09:00:00 2026\r\nA: b\r\n\r\n", MimeError::MboxLine),
            (b">From a@x Mon Nov 23 09:00:00 2026\r\nA: b\r\n\r\n", MimeError::MboxLine),
            (b"\xEF\xBB\xBFFrom: a@x\r\n\r\n", MimeError::ByteOrderMark),
            (b"\xFF\xFEF\0r\0o\0m\0:\0", MimeError::ByteOrderMark),
            (b"A: b\nC: d\r\n\r\n", MimeError::BareLineEnd),
            (b"A: b\rC: d\r\n\r\n", MimeError::BareLineEnd),
            (b"A: b\r", MimeError::BareLineEnd),
            (b"A: b\r\r\n\r\n", MimeError::BareLineEnd),
            (b"A: b\0\r\n\r\n", MimeError::Nul),
        ] {
            assert_eq!(names(message), Err(flaw), "{}", message.escape_ascii());
        }
    }

    #[test]
    fn a_header_has_a_bound() {
        let field = b"X: 0123456789\r\n";
        let most = HEAD_OCTETS / field.len();
        let mut message = field.repeat(most);
        assert!(names(&message).is_ok());
        message.extend_from_slice(&field.repeat(2));
        assert_eq!(names(&message), Err(MimeError::HeadTooLarge));
        assert_eq!(names(&[b"X: ".to_vec(), vec![b'x'; HEAD_OCTETS]].concat()), Err(MimeError::HeadTooLarge));
    }

    #[test]
    fn the_end_is_found_however_the_message_arrives() {
        let message = b"A: b\r\nC: d\r\n\r\n\r\n\r\nbody";
        let found = (0..=message.len()).find_map(|length| Head::end(&message[..length], length.saturating_sub(1)));
        assert_eq!(found, Some(14));
        assert_eq!(Head::end(message, 0), Some(Head::parse(message).unwrap().body()));
        assert_eq!(Head::end(b"\r\nbody", 0), Some(2));
        assert_eq!(Head::end(b"A: b\r\n", 0), None);
    }

    #[test]
    fn lines_end_in_crlf_throughout() {
        assert_eq!(check_lines(b"a\r\n\r\n.\r\nb"), Ok(()));
        for message in [&b"a\nb"[..], b"a\rb", b"a\r\r\n", b"\n", b"a\r"] {
            assert_eq!(check_lines(message), Err(MimeError::BareLineEnd), "{}", message.escape_ascii());
        }
        assert_eq!(check_lines(b"a\0\r\n"), Err(MimeError::Nul));
    }
}
