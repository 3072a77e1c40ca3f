//! Finds the parts of a message (RFC 2045, RFC 2046) while its octets pass: where each begins and
//! ends, what it is, and how it is written. No content is kept.
//!
//! Nothing is guessed. A structure that two readers could divide differently is a
//! [`StructureError`].

use std::ops::Range;

use memchr::memchr3_iter;

use super::parameters::Parameterized;
use super::transfer::TransferEncoding;
use super::{Head, MimeError};

/// Most parts of a message. Exchange takes 250 attachments.
pub const PARTS: usize = 250;
/// Deepest nesting of multiparts.
const DEPTH: usize = 8;
/// Longest header of a part.
const PART_HEAD_OCTETS: usize = 32 * 1_024;
/// Longest boundary (RFC 2046 §5.1.1).
const BOUNDARY_OCTETS: usize = 70;
/// How much of a line is kept: a boundary with its hyphens, and white space after it.
const LINE_OCTETS: usize = 200;

/// Why the parts of a message cannot be found, as the end of the sentence "the message …".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StructureError {
    /// Its lines or its header have no one meaning.
    #[error(transparent)]
    Mime(#[from] MimeError),
    /// It has more than [`PARTS`].
    #[error("has more than {PARTS} parts")]
    TooManyParts,
    /// It has more than eight multiparts in each other.
    #[error("has more than {DEPTH} multiparts in each other")]
    TooDeep,
    /// The header of a part is too long, or is none.
    #[error("has a part with a header that cannot be read")]
    PartHead,
    /// A multipart names no boundary, more than one, or that of another.
    #[error("has a multipart part without a boundary of its own")]
    Boundary,
    /// A multipart has no end, so that something may be missing.
    #[error("has a multipart part without its end")]
    Unclosed,
    /// A part has a transfer encoding that is not known, or a multipart has one.
    #[error("has a part with a transfer encoding that does not exist")]
    Encoding,
}

/// One part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The multipart that it is in, as an index of the list of parts. `None` for the message itself,
    /// which is the first part.
    pub parent: Option<usize>,
    /// Content-Type; `text/plain` if there is none.
    pub media: Parameterized,
    /// Content-Disposition.
    pub disposition: Parameterized,
    /// Content-Transfer-Encoding.
    pub encoding: TransferEncoding,
    /// Content-ID, without its brackets.
    pub content_id: Option<String>,
    /// Where its octets are, counted from the start of the message. Empty for a multipart.
    pub body: Range<u64>,
}

impl Part {
    /// Reads the header of a part.
    ///
    /// # Errors
    /// [`StructureError::Mime`] when a field occurs twice, [`StructureError::Encoding`].
    pub fn read(head: &Head<'_>, parent: Option<usize>) -> Result<Self, StructureError> {
        let only = |name: &'static str| {
            let mut fields = head.named(name);
            let field = fields.next().map(|field| head.value(field));
            if fields.next().is_some() { Err(MimeError::Repeated(name)) } else { Ok(field) }
        };
        let media = only("Content-Type")?.map(Parameterized::parse).filter(|media| !media.value.is_empty());
        let encoding = only("Content-Transfer-Encoding")?.unwrap_or_default();
        let encoding = TransferEncoding::parse(encoding).ok_or(StructureError::Encoding)?;
        let media = media.unwrap_or_else(|| Parameterized::parse(b"text/plain"));
        let id = only("Content-ID")?.map(|id| String::from_utf8_lossy(id.trim_ascii()).into_owned());
        Ok(Self {
            parent,
            disposition: only("Content-Disposition")?.map(Parameterized::parse).unwrap_or_default(),
            encoding,
            content_id: id.map(|id| id.trim_matches(['<', '>']).to_owned()).filter(|id| !id.is_empty()),
            media,
            body: 0..0,
        })
    }

    /// Whether it has parts of its own.
    pub fn is_multipart(&self) -> bool {
        self.media.value.starts_with("multipart/")
    }
}

/// Takes the octets of a message, after its header, as they come.
#[derive(Debug)]
pub struct StructureReader {
    parts: Vec<Part>,
    /// The multiparts around the present place, with their boundaries.
    open: Vec<(usize, Vec<u8>)>,
    /// What the present line belongs to.
    within: Within,
    /// The offset of the next octet, and of the present line.
    at: u64,
    line_at: u64,
    /// The beginning of the present line, without its end.
    line: Vec<u8>,
    /// A CR was the last octet.
    after_cr: bool,
}

#[derive(Debug)]
enum Within {
    /// The header of a part.
    Head(Vec<u8>),
    /// The content of this part.
    Leaf(usize),
    /// What is around the parts of a multipart, and is not shown.
    Around,
}

impl StructureReader {
    /// Creates a reader for the octets after the header.
    ///
    /// # Errors
    /// See [`StructureError`].
    pub fn new(head: &Head<'_>) -> Result<Self, StructureError> {
        let at = head.body() as u64;
        let mut reader = Self {
            parts: Vec::new(),
            open: Vec::new(),
            within: Within::Around,
            at,
            line_at: at,
            line: Vec::new(),
            after_cr: false,
        };
        reader.begin(head)?;
        Ok(reader)
    }

    /// Takes the next octets.
    ///
    /// # Errors
    /// See [`StructureError`]. The reader is of no further use then.
    pub fn feed(&mut self, octets: &[u8]) -> Result<(), StructureError> {
        let mut start = 0;
        for found in memchr3_iter(b'\r', b'\n', 0, octets) {
            if self.after_cr && (found != start || octets.get(found) != Some(&b'\n')) {
                return Err(MimeError::BareLineEnd.into());
            }
            self.keep(octets.get(start..found).unwrap_or_default())?;
            start = found + 1;
            self.at += 1;
            match octets.get(found) {
                Some(b'\r') => self.after_cr = true,
                Some(b'\n') if self.after_cr => {
                    self.after_cr = false;
                    self.end_line()?;
                }
                Some(0) => return Err(MimeError::Nul.into()),
                _ => return Err(MimeError::BareLineEnd.into()),
            }
        }
        if start < octets.len() && self.after_cr {
            return Err(MimeError::BareLineEnd.into());
        }
        self.keep(octets.get(start..).unwrap_or_default())
    }

    /// Returns the parts: the message itself, and what is in it, in their order.
    ///
    /// # Errors
    /// See [`StructureError`].
    pub fn finish(mut self) -> Result<Vec<Part>, StructureError> {
        if self.after_cr {
            return Err(MimeError::BareLineEnd.into());
        }
        if self.at > self.line_at {
            // A last line without its end may be the last boundary, or belongs to the text.
            self.end_line()?;
        }
        if !self.open.is_empty() || matches!(self.within, Within::Head(_)) {
            return Err(StructureError::Unclosed);
        }
        if let Within::Leaf(part) = self.within {
            self.end_leaf(part, self.at);
        }
        Ok(self.parts)
    }

    /// Keeps what is needed of a line.
    fn keep(&mut self, text: &[u8]) -> Result<(), StructureError> {
        self.at += text.len() as u64;
        let most = match &self.within {
            Within::Head(head) if head.len() + self.line.len() + text.len() > PART_HEAD_OCTETS => {
                return Err(StructureError::PartHead);
            }
            Within::Head(_) => PART_HEAD_OCTETS,
            Within::Leaf(_) | Within::Around => LINE_OCTETS,
        };
        let room = most.saturating_sub(self.line.len()).min(text.len());
        self.line.extend_from_slice(text.get(..room).unwrap_or_default());
        Ok(())
    }

    fn end_line(&mut self) -> Result<(), StructureError> {
        let line = std::mem::take(&mut self.line);
        let begins_at = std::mem::replace(&mut self.line_at, self.at);
        if let Some((level, is_last)) = self.boundary(&line) {
            return self.at_boundary(level, is_last, begins_at);
        }
        let Within::Head(head) = &mut self.within else { return Ok(()) };
        head.extend_from_slice(&line);
        head.extend_from_slice(b"\r\n");
        if !line.is_empty() {
            return Ok(());
        }
        let head = std::mem::take(head);
        let head = Head::parse(&head)?;
        if head.is_mended() { Err(StructureError::PartHead) } else { self.begin(&head) }
    }

    /// The multipart whose boundary the line is, and whether it is the last one.
    fn boundary(&self, line: &[u8]) -> Option<(usize, bool)> {
        let line = line.strip_prefix(b"--")?;
        self.open.iter().enumerate().rev().find_map(|(level, (_, boundary))| {
            let rest = line.strip_prefix(boundary.as_slice())?;
            let (rest, is_last) = rest.strip_prefix(b"--").map_or((rest, false), |rest| (rest, true));
            rest.iter().all(|octet| matches!(octet, b' ' | b'\t')).then_some((level, is_last))
        })
    }

    fn at_boundary(&mut self, level: usize, is_last: bool, begins_at: u64) -> Result<(), StructureError> {
        if level + 1 != self.open.len() {
            return Err(StructureError::Unclosed);
        }
        match self.within {
            // The line end before a boundary belongs to it (RFC 2046 §5.1.1).
            Within::Leaf(part) => self.end_leaf(part, begins_at.saturating_sub(2)),
            Within::Head(_) => return Err(StructureError::PartHead),
            Within::Around => {}
        }
        self.within = if is_last {
            self.open.pop();
            Within::Around
        } else {
            Within::Head(Vec::new())
        };
        Ok(())
    }

    fn end_leaf(&mut self, part: usize, end: u64) {
        if let Some(Part { body, .. }) = self.parts.get_mut(part) {
            body.end = end.max(body.start);
        }
    }

    /// Begins the part with this header.
    fn begin(&mut self, head: &Head<'_>) -> Result<(), StructureError> {
        let index = self.parts.len();
        if index == PARTS {
            return Err(StructureError::TooManyParts);
        }
        let mut part = Part::read(head, self.open.last().map(|(part, _)| *part))?;
        self.within = if part.is_multipart() {
            if self.open.len() == DEPTH {
                return Err(StructureError::TooDeep);
            }
            if part.encoding != TransferEncoding::Identity {
                return Err(StructureError::Encoding);
            }
            let boundary = part.media.parameter("boundary").unwrap_or_default().to_vec();
            let is_one = (1..=BOUNDARY_OCTETS).contains(&boundary.len()) && boundary.last() != Some(&b' ');
            if !is_one || self.open.iter().any(|(_, other)| *other == boundary) {
                return Err(StructureError::Boundary);
            }
            self.open.push((index, boundary));
            Within::Around
        } else {
            part.body = self.at..self.at;
            Within::Leaf(index)
        };
        self.parts.push(part);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NESTED: &str = "To: a@b\r\nContent-Type: multipart/mixed;\r\n boundary=\"o;u\"\r\n\r\npreamble\r\n--o;u\r\n\r\n\
        first\r\n\r\n--o;u \t\r\nContent-Type: multipart/related; boundary=o;u\r\n\r\n--o\r\nContent-Type: text/html\r\n\
        Content-ID: <1@x>\r\n\r\n<p>\r\n--other\r\n--o\r\nContent-Type: image/png; name=\"\u{fc}.png\"\r\n\
        Content-Disposition: inline\r\nContent-Transfer-Encoding: Base64\r\n\r\n--o--\r\n--o;u--\r\nepilogue\r\n";

    /// The parts, for pieces of every size, which must always be the same.
    fn parts(message: &[u8]) -> Result<Vec<Part>, StructureError> {
        let read = |size: usize| {
            let head = Head::parse(message)?;
            let mut reader = StructureReader::new(&head)?;
            for piece in message[head.body()..].chunks(size) {
                reader.feed(piece)?;
            }
            reader.finish()
        };
        let whole = read(message.len().max(1));
        for size in [1, 2, 3, 7] {
            assert_eq!(read(size), whole, "{}", message.escape_ascii());
        }
        whole
    }

    fn bodies(message: &str) -> Vec<&str> {
        let place = |offset: u64| usize::try_from(offset).unwrap();
        let parts = parts(message.as_bytes()).unwrap();
        let leaves = parts.iter().filter(|part| !part.is_multipart());
        leaves.map(|part| &message[place(part.body.start)..place(part.body.end)]).collect()
    }

    #[test]
    fn parts_are_found_with_what_they_are() {
        assert_eq!(bodies(NESTED), ["first\r\n", "<p>\r\n--other", ""]);
        let parts = parts(NESTED.as_bytes()).unwrap();
        let parents: Vec<_> = parts.iter().map(|part| part.parent).collect();
        assert_eq!(parents, [None, Some(0), Some(0), Some(2), Some(2)]);
        assert_eq!((parts[1].media.value.as_str(), parts[3].content_id.as_deref()), ("text/plain", Some("1@x")));
        assert_eq!(
            (parts[4].media.text("name").as_deref(), parts[4].encoding),
            (Some("\u{fc}.png"), TransferEncoding::Base64)
        );
        assert_eq!(parts[4].disposition.value, "inline");
    }

    #[test]
    fn a_message_may_be_one_part() {
        assert_eq!(bodies("A: b\r\n\r\ntext\r\n--x\r\n"), ["text\r\n--x\r\n"]);
        assert_eq!(bodies("A: b\r\n\r\n"), [""]);
        assert_eq!(bodies("The text\r\nends"), ["The text\r\nends"]);
    }

    #[test]
    fn the_last_line_may_have_no_end() {
        assert_eq!(bodies("Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\na\r\n--x--"), ["a"]);
    }

    #[test]
    fn what_could_be_divided_otherwise_is_refused() {
        let mixed = |rest: &str| format!("Content-Type: multipart/mixed; boundary=x\r\n\r\n{rest}");
        let deep =
            (0..=DEPTH).map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n")).collect();
        for (message, error) in [
            (mixed("--x\r\n\r\nno end\r\n"), StructureError::Unclosed),
            (mixed("--x\r\nA: b\r\n"), StructureError::Unclosed),
            (mixed("--x\r\nno field\r\n\r\n--x--\r\n"), StructureError::PartHead),
            (mixed("--x\r\nA: b\r\n--x--\r\n"), StructureError::PartHead),
            (mixed(&format!("--x\r\nA: {}\r\n\r\n--x--\r\n", "a".repeat(PART_HEAD_OCTETS))), StructureError::PartHead),
            (mixed("--x\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x--\r\n"), StructureError::Boundary),
            (
                mixed("--x\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n--y\r\n\r\n--x--\r\n"),
                StructureError::Unclosed,
            ),
            (mixed(&"--x\r\n\r\n".repeat(PARTS)), StructureError::TooManyParts),
            (mixed("--x\r\n\r\na\nb\r\n--x--\r\n"), MimeError::BareLineEnd.into()),
            (mixed("--x\r\n\r\na\rb\r\n--x--\r\n"), MimeError::BareLineEnd.into()),
            (mixed("--x\r\n\r\na\0\r\n--x--\r\n"), MimeError::Nul.into()),
            (mixed("--x--\r"), MimeError::BareLineEnd.into()),
            (mixed("--x\r\nContent-Transfer-Encoding: uu\r\n\r\n--x--\r\n"), StructureError::Encoding),
            ("Content-Type: multipart/mixed\r\n\r\n".into(), StructureError::Boundary),
            ("Content-Type: multipart/mixed; boundary=a; boundary=b\r\n\r\n".into(), StructureError::Boundary),
            ("Content-Type: a/b\r\nContent-Type: c/d\r\n\r\n".into(), MimeError::Repeated("Content-Type").into()),
            (
                "Content-Type: multipart/mixed; boundary=x\r\nContent-Transfer-Encoding: base64\r\n\r\n".into(),
                StructureError::Encoding,
            ),
            (deep, StructureError::TooDeep),
        ] {
            assert_eq!(parts(message.as_bytes()), Err(error), "{message:.300}");
        }
    }

    #[test]
    fn long_lines_are_not_kept() {
        let head = Head::parse(b"A: b\r\n\r\n").unwrap();
        let mut reader = StructureReader::new(&head).unwrap();
        reader.feed(&b"x".repeat(1 << 20)).unwrap();
        assert!(reader.line.capacity() <= 2 * LINE_OCTETS);
        assert_eq!(reader.finish().unwrap()[0].body, 8..8 + (1 << 20));
    }
}
