//! The build of a message (RFC 2045, RFC 2046): which octets are whose header and whose body.

use std::ops::Range;

/// Levels and parts beyond which a multipart is taken for one opaque part.
const DEPTH: usize = 16;
const PARTS: usize = 1_000;

/// A message, or a part of one. Ranges count from the start of the whole message.
#[derive(Debug)]
pub(super) struct Part {
    /// The header fields with the blank line behind them.
    pub(super) header: Range<usize>,
    pub(super) body: Range<usize>,
    pub(super) media: Media,
    pub(super) content: Content,
}

/// What a part holds.
#[derive(Debug)]
pub(super) enum Content {
    Leaf,
    Multipart(Vec<Part>),
    /// An enclosed message (`message/rfc822`).
    Message(Box<Part>),
}

/// A `Content-Type`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Media {
    pub(super) kind: String,
    pub(super) subtype: String,
    pub(super) parameters: Vec<(String, String)>,
}

impl Part {
    pub(super) fn parse(raw: &[u8]) -> Self {
        let mut parts_left = PARTS;
        parse(raw, 0..raw.len(), &Media::text_plain(), DEPTH, &mut parts_left)
    }

    /// The part with these numbers (RFC 9051 §6.4.5.1).
    pub(super) fn find(&self, numbers: &[u32]) -> Option<&Self> {
        let Some((&number, rest)) = numbers.split_first() else { return Some(self) };
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        let child = match &self.content {
            Content::Multipart(parts) => parts.get(index)?,
            // Part 1 of a message that is no multipart is its body.
            _ if index == 0 => self,
            _ => return None,
        };
        match (&child.content, rest.is_empty()) {
            (_, true) => Some(child),
            (Content::Message(message), false) => message.find(rest),
            (Content::Multipart(_), false) => child.find(rest),
            (Content::Leaf, false) => None,
        }
    }
}

fn parse(raw: &[u8], range: Range<usize>, default: &Media, depth: usize, parts_left: &mut usize) -> Part {
    let header_end = range.start + header_length(&raw[range.clone()]);
    let header = range.start..header_end;
    let body = header_end..range.end;
    let media = field(&raw[header.clone()], "content-type").and_then(|v| Media::parse(&v)).unwrap_or(default.clone());
    let mut content = Content::Leaf;
    if depth > 0 && media.kind == "multipart" {
        if let Some(ranges) = media.parameter("boundary").map(|boundary| divide(raw, body.clone(), boundary))
            && !ranges.is_empty()
            && ranges.len() <= *parts_left
        {
            *parts_left -= ranges.len();
            let default = if media.subtype == "digest" { Media::message() } else { Media::text_plain() };
            let parts = ranges.into_iter().map(|range| parse(raw, range, &default, depth - 1, parts_left)).collect();
            content = Content::Multipart(parts);
        }
    } else if depth > 0 && media.kind == "message" && media.subtype == "rfc822" {
        content = Content::Message(Box::new(parse(raw, body.clone(), &Media::text_plain(), depth - 1, parts_left)));
    }
    // What could not be divided is shown as one opaque part.
    let media = match (&content, media.kind.as_str()) {
        (Content::Leaf, "multipart" | "message") => Media::new("application", "octet-stream"),
        _ => media,
    };
    Part { header, body, media, content }
}

/// A message's header, with its blank line, and its body.
pub(super) fn split(raw: &[u8]) -> (&[u8], &[u8]) {
    raw.split_at(header_length(raw))
}

/// Octets of the header with its blank line; everything when there is none.
fn header_length(raw: &[u8]) -> usize {
    let mut at = 0;
    for line in raw.split_inclusive(|&octet| octet == b'\n') {
        at += line.len();
        if line == b"\r\n" || line == b"\n" {
            return at;
        }
    }
    raw.len()
}

/// The ranges between the delimiter lines. The line end before a delimiter belongs to the
/// delimiter.
fn divide(raw: &[u8], body: Range<usize>, boundary: &str) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let mut start = None;
    let mut at = body.start;
    for line in raw[body.clone()].split_inclusive(|&octet| octet == b'\n') {
        let after = at + line.len();
        if let Some(rest) = line.strip_prefix(b"--").and_then(|rest| rest.strip_prefix(boundary.as_bytes())) {
            let rest = rest.trim_ascii();
            if rest.is_empty() || rest == b"--" {
                if let Some(start) = start {
                    parts.push(start..without_line_end(raw, start, at));
                }
                if !rest.is_empty() {
                    return parts;
                }
                start = Some(after);
            }
        }
        at = after;
    }
    // The closing delimiter is missing: the last part reaches to the end.
    parts.extend(start.filter(|&start| start < body.end).map(|start| start..body.end));
    parts
}

fn without_line_end(raw: &[u8], start: usize, mut end: usize) -> usize {
    for octet in [b'\n', b'\r'] {
        if end > start && raw[end - 1] == octet {
            end -= 1;
        }
    }
    end
}

/// The fields of a header: name in lower case, and the octets with name, folding and line end.
pub(super) fn fields(header: &[u8]) -> Vec<(String, &[u8])> {
    let mut fields: Vec<(String, Range<usize>)> = Vec::new();
    let mut at = 0;
    for line in header.split_inclusive(|&octet| octet == b'\n') {
        let range = at..at + line.len();
        at = range.end;
        match (line.first(), fields.last_mut()) {
            (Some(b' ' | b'\t'), Some((_, field))) => field.end = range.end,
            _ => {
                if let Some(colon) = line.iter().position(|&octet| octet == b':') {
                    fields.push((String::from_utf8_lossy(line[..colon].trim_ascii()).to_ascii_lowercase(), range));
                }
            }
        }
    }
    fields.into_iter().map(|(name, range)| (name, &header[range])).collect()
}

/// The value of the first field of that name (lower case), unfolded.
pub(super) fn field(header: &[u8], name: &str) -> Option<Vec<u8>> {
    let (_, octets) = fields(header).into_iter().find(|(found, _)| found == name)?;
    let colon = octets.iter().position(|&octet| octet == b':')?;
    let unfolded: Vec<u8> = octets[colon + 1..].iter().copied().filter(|octet| !b"\r\n".contains(octet)).collect();
    Some(unfolded.trim_ascii().to_vec())
}

impl Media {
    fn new(kind: &str, subtype: &str) -> Self {
        Self { kind: kind.to_owned(), subtype: subtype.to_owned(), parameters: Vec::new() }
    }

    fn text_plain() -> Self {
        let charset = ("charset".to_owned(), "us-ascii".to_owned());
        Self { parameters: vec![charset], ..Self::new("text", "plain") }
    }

    fn message() -> Self {
        Self::new("message", "rfc822")
    }

    fn parse(value: &[u8]) -> Option<Self> {
        let (head, parameters) = parameterised(value);
        let (kind, subtype) = head.split_once('/')?;
        let (kind, subtype) = (kind.trim().to_ascii_lowercase(), subtype.trim().to_ascii_lowercase());
        (!kind.is_empty() && !subtype.is_empty()).then_some(Self { kind, subtype, parameters })
    }

    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// A value with parameters, such as `attachment; filename="x"`: the head, and the parameters with
/// names in lower case.
pub(super) fn parameterised(value: &[u8]) -> (String, Vec<(String, String)>) {
    let text = String::from_utf8_lossy(value);
    let mut pieces = Vec::new();
    let (mut piece, mut quoted, mut escaped) = (String::new(), false, false);
    for c in text.chars() {
        match c {
            _ if escaped => {
                escaped = false;
                piece.push(c);
            }
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ';' if !quoted => pieces.push(std::mem::take(&mut piece)),
            c => piece.push(c),
        }
    }
    pieces.push(piece);
    let mut pieces = pieces.into_iter();
    let head = pieces.next().unwrap_or_default().trim().to_owned();
    let parameters = pieces
        .filter_map(|piece| {
            let (name, value) = piece.split_once('=')?;
            Some((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        })
        .collect();
    (head, parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NESTED: &str = "Content-Type: multipart/mixed;\r\n boundary=\"o;u\"\r\n\r\npreamble\r\n--o;u\r\n\r\nfirst\r\n\
        --o;u\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\nContent-Type: multipart/alternative; boundary=i\r\n\
        \r\n--i\r\n\r\nplain\r\n--i\r\nContent-Type: text/html\r\n\r\n<p>\r\n--i--\r\n\r\n--o;u--\r\nepilogue\r\n";

    fn text(range: &Range<usize>) -> &str {
        &NESTED[range.clone()]
    }

    #[test]
    fn parts_are_numbered_as_the_rfc_says() {
        let message = Part::parse(NESTED.as_bytes());
        assert_eq!(text(&message.find(&[1]).unwrap().body), "first");
        assert_eq!(message.find(&[2]).unwrap().media, Media::message());
        assert_eq!(text(&message.find(&[2, 1]).unwrap().body), "plain");
        assert_eq!(text(&message.find(&[2, 2]).unwrap().body), "<p>");
        assert_eq!(text(&message.find(&[2, 2]).unwrap().header), "Content-Type: text/html\r\n\r\n");
        for none in [&[3][..], &[1, 1], &[2, 3], &[2, 1, 1]] {
            assert!(message.find(none).is_none(), "{none:?}");
        }
    }

    #[test]
    fn a_simple_message_is_its_own_first_part() {
        let message = Part::parse(b"A: b\r\n\r\nbody");
        assert_eq!(message.find(&[1]).unwrap().body, 8..12);
        assert!(message.find(&[2]).is_none());
        assert_eq!(Part::parse(b"no header end").body, 13..13);
        assert_eq!(Part::parse(b"\r\nbody").header, 0..2);
    }

    #[test]
    fn hostile_builds_are_bounded() {
        let deep = "Content-Type: message/rfc822\r\n\r\n".repeat(1_000);
        Part::parse(deep.as_bytes());
        let wide = format!("Content-Type: multipart/mixed; boundary=x\r\n\r\n{}", "--x\r\n\r\n".repeat(5_000));
        assert!(matches!(Part::parse(wide.as_bytes()).content, Content::Leaf));
    }

    #[test]
    fn fields_are_unfolded() {
        let header = b"Subject: one\r\n two\r\nSUBJECT : three\r\nnonsense\r\n\r\n";
        assert_eq!(field(header, "subject").unwrap(), b"one two");
        assert_eq!(fields(header).len(), 2);
        assert_eq!(field(header, "from"), None);
    }
}
