//! Finds the end of a message's header and the fields in it (RFC 5322 §2.2), as mail servers do
//! that take what is no header for the beginning of the text.

use std::borrow::Cow;
use std::ops::Range;

use memchr::{memchr, memchr2, memchr3};

use super::MimeError;

/// Longest header, with the empty line after it. A thousand recipients need about 64 KiB, and
/// Exchange takes no longer one either.
pub const HEAD_OCTETS: usize = 256 * 1_024;
/// What an editor may put before the first field of a file in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The header of a message, in a form that every reader ends in the same place.
#[derive(Clone, Debug)]
pub struct Head<'a> {
    octets: Cow<'a, [u8]>,
    fields: Vec<Field>,
    body: usize,
    is_mended: bool,
}

/// The positions of a header field and its parts, counted from the start of [`Head::octets`].
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

/// A change of a header: the octets that go, counted from the start of [`Head::octets`], and those
/// that take their place. An empty range only inserts.
pub type Change = (Range<usize>, Vec<u8>);

impl<'a> Head<'a> {
    /// Parses the header of `message`. The end of the message may be missing once the header is
    /// complete.
    ///
    /// A message may have no header, or no body. A line that is no field ends the header, as
    /// sendmail and Postfix do it; the empty line that is missing before it is added. A byte order
    /// mark and the `From ` line of an mbox file are left out.
    ///
    /// # Errors
    /// A [`MimeError`] if the header has no clear lines, or is too long.
    pub fn parse(message: &'a [u8]) -> Result<Self, MimeError> {
        let unmarked = message.strip_prefix(BYTE_ORDER_MARK).unwrap_or(message);
        let text = if is_mailbox_line(unmarked) {
            unmarked.get(line(unmarked)?.len()..).unwrap_or_default()
        } else {
            unmarked
        };
        let skipped = message.len() - text.len();
        let mut fields: Vec<Field> = Vec::new();
        let (mut at, mut plain) = (0, true);
        let is_complete = loop {
            let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) else { break true };
            let line = line(rest)?;
            let next = at + line.len();
            if next > HEAD_OCTETS {
                return Err(MimeError::HeadTooLarge);
            }
            let content = line.strip_suffix(b"\r\n").unwrap_or(line);
            if content.is_empty() {
                at = next;
                break true;
            }
            let end = at + content.len();
            if content.starts_with(b" ") || content.starts_with(b"\t") {
                let Some(field) = fields.last_mut() else { break false };
                field.value.end = end;
                field.all.end = next;
                plain &= !is_blank(content);
            } else {
                let Some((name, colon)) = field_name(content) else { break false };
                fields.push(Field {
                    name: at..at + name,
                    value: at + colon + 1..end,
                    all: at..next,
                    plain: plain && name == colon,
                });
            }
            at = next;
        };
        let header = text.get(..at).unwrap_or_default();
        let octets = if is_complete { Cow::Borrowed(header) } else { [header, b"\r\n"].concat().into() };
        Ok(Self { octets, fields, body: skipped + at, is_mended: skipped > 0 || !is_complete })
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

    /// The header, with the empty line after it if the message has a body.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Whether the header is not as it was received, because it began or ended unclearly.
    pub fn is_mended(&self) -> bool {
        self.is_mended
    }

    /// The fields, in order.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The fields with this name, compared without case.
    pub fn named(&self, name: &str) -> impl Iterator<Item = &Field> {
        self.fields.iter().filter(move |field| self.name(field).eq_ignore_ascii_case(name.as_bytes()))
    }

    /// The name of a field, as received.
    pub fn name(&self, field: &Field) -> &[u8] {
        self.slice(&field.name)
    }

    /// The value of a field, folded as received.
    pub fn value(&self, field: &Field) -> &[u8] {
        self.slice(&field.value)
    }

    /// The start of the body in the message.
    pub fn body(&self) -> usize {
        self.body
    }

    /// The header with these changes, which must not overlap. Insertions in one place keep their
    /// order.
    pub fn edited(&self, mut changes: Vec<Change>) -> Vec<u8> {
        changes.sort_by_key(|(range, _)| (range.start, range.end));
        let mut edited = Vec::with_capacity(self.octets.len());
        let mut at = 0;
        for (range, text) in changes {
            edited.extend_from_slice(self.slice(&(at..range.start)));
            edited.extend_from_slice(&text);
            at = range.end;
        }
        edited.extend_from_slice(self.slice(&(at..self.octets.len())));
        edited
    }

    fn slice(&self, range: &Range<usize>) -> &[u8] {
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

/// Whether a message begins with the separator of an mbox file, which is not part of it.
fn is_mailbox_line(message: &[u8]) -> bool {
    let separator = message.strip_prefix(b">").unwrap_or(message).strip_prefix(b"From ");
    // `From :` is a field with an obsolete space.
    separator.is_some_and(|rest| !rest.trim_ascii_start().starts_with(b":"))
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

    /// The names of the fields, and the body.
    fn parts(message: &[u8]) -> Result<(Vec<String>, &[u8]), MimeError> {
        let head = Head::parse(message)?;
        let names = head.fields().iter().map(|field| String::from_utf8_lossy(head.name(field)).into_owned());
        Ok((names.collect(), &message[head.body()..]))
    }

    #[test]
    fn fields_lie_one_behind_the_other_and_the_body_behind_them() {
        let message = b"From: a\r\n b\r\nX-Empty:\r\nTo :\tc \r\n\r\nbody: x\r\n";
        let head = Head::parse(message).unwrap();
        let parts: Vec<_> = head.fields().iter().map(|f| (head.name(f), head.value(f), f.plain)).collect();
        assert_eq!(parts, [(&b"From"[..], &b" a\r\n b"[..], true), (b"X-Empty", b"", true), (b"To", b"\tc ", false)]);
        assert_eq!((&message[head.body()..], head.is_mended()), (&b"body: x\r\n"[..], false));
        assert_eq!(head.octets(), &message[..head.body()]);
        assert_eq!(head.fields().iter().map(|field| field.all.clone()).collect::<Vec<_>>(), [0..13, 13..23, 23..32]);
    }

    #[test]
    fn a_header_may_be_empty_or_all_there_is() {
        for (message, names, body) in [
            (&b"\r\nbody"[..], vec![], &b"body"[..]),
            (b"", vec![], b""),
            (b"A: b\r\nC: d", vec!["A", "C"], b""),
            (b"A: b\r\n", vec!["A"], b""),
        ] {
            assert_eq!(parts(message).unwrap(), (names.into_iter().map(str::to_owned).collect(), body));
            assert!(!Head::parse(message).unwrap().is_mended());
        }
    }

    #[test]
    fn what_is_no_field_ends_the_header() {
        for (message, header, body) in [
            (&b"Hello world\r\n\r\n"[..], &b"\r\n"[..], &b"Hello world\r\n\r\n"[..]),
            (b" folded\r\nA: b\r\n\r\n", b"\r\n", b" folded\r\nA: b\r\n\r\n"),
            (b": no name\r\n\r\n", b"\r\n", b": no name\r\n\r\n"),
            (b"A: b\r\nHello you: there\r\nTo: c\r\n\r\n", b"A: b\r\n\r\n", b"Hello you: there\r\nTo: c\r\n\r\n"),
            (b"A: b\r\n c\r\nB\xC3\xB6: c\r\n\r\n", b"A: b\r\n c\r\n\r\n", b"B\xC3\xB6: c\r\n\r\n"),
            (b"A: b\r\nThe text.", b"A: b\r\n\r\n", b"The text."),
            (b"\xFF\xFEA: b\r\n\r\n", b"\r\n", b"\xFF\xFEA: b\r\n\r\n"),
        ] {
            let head = Head::parse(message).unwrap();
            assert_eq!((head.octets(), &message[head.body()..]), (header, body), "{}", message.escape_ascii());
            assert!(head.is_mended());
        }
    }

    #[test]
    fn what_lies_before_the_first_field_is_left_out() {
        for before in
            ["From a@x Mon Nov 23 09:00:00 2026\r\n", ">From a@x\r\n", "\u{feff}", "\u{feff}From a@x Mon Nov 23\r\n"]
        {
            let message = format!("{before}A: b\r\n\r\ntext");
            let head = Head::parse(message.as_bytes()).unwrap();
            assert_eq!((head.octets(), &message[head.body()..]), (&b"A: b\r\n\r\n"[..], "text"), "{before:?}");
            assert!(head.is_mended());
        }
        assert_eq!(parts(b"From : a@x\r\n\r\n").unwrap().0, ["From"]);
    }

    #[test]
    fn lines_that_readers_end_in_different_places_are_refused() {
        for (message, flaw) in [
            (&b"A: b\nC: d\r\n\r\n"[..], MimeError::BareLineEnd),
            (b"A: b\rC: d\r\n\r\n", MimeError::BareLineEnd),
            (b"A: b\r", MimeError::BareLineEnd),
            (b"A: b\r\r\n\r\n", MimeError::BareLineEnd),
            (b"From a@x\nA: b\r\n\r\n", MimeError::BareLineEnd),
            (b"A: b\0\r\n\r\n", MimeError::Nul),
        ] {
            assert_eq!(parts(message), Err(flaw), "{}", message.escape_ascii());
        }
    }

    #[test]
    fn a_header_has_a_bound() {
        let field = b"X: 0123456789\r\n";
        let most = HEAD_OCTETS / field.len();
        let mut message = field.repeat(most);
        assert!(parts(&message).is_ok());
        message.extend_from_slice(&field.repeat(2));
        assert_eq!(parts(&message), Err(MimeError::HeadTooLarge));
        assert_eq!(parts(&[b"X: ".to_vec(), vec![b'x'; HEAD_OCTETS]].concat()), Err(MimeError::HeadTooLarge));
    }

    #[test]
    fn changes_are_made_in_their_places() {
        let head = Head::parse(b"To: a\r\nCc: b\r\n\r\nTo: body").unwrap();
        let insert = |text: &str| (0..0, text.as_bytes().to_vec());
        let changes = vec![(7..14, Vec::new()), (0..3, b"X-To:".to_vec()), insert("A: 1\r\n"), insert("B: 2\r\n")];
        assert_eq!(head.edited(changes), b"A: 1\r\nB: 2\r\nX-To: a\r\n\r\n");
        assert_eq!(head.edited(Vec::new()), head.octets());
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
