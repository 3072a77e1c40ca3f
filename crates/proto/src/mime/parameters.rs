//! Fields of a value and parameters, such as Content-Type and Content-Disposition (RFC 2045 §5.1,
//! RFC 2183, RFC 2231).

use std::borrow::Cow;

use super::words::{self, hex};

/// Most parameters of a field. Further ones are left out.
const PARAMETERS: usize = 64;

/// A value with its parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameterized {
    /// The value before the first semicolon, in lower case.
    pub value: String,
    /// Names in lower case, and values without quotes.
    parameters: Vec<(String, Vec<u8>)>,
}

impl Parameterized {
    /// Reads a field's value, folded as received. Comments are left out.
    pub fn parse(field: &[u8]) -> Self {
        let mut pieces = pieces(field).into_iter();
        let value = String::from_utf8_lossy(pieces.next().unwrap_or_default().trim_ascii()).to_ascii_lowercase();
        let parameter = |piece: Vec<u8>| {
            let at = piece.iter().position(|octet| *octet == b'=')?;
            let (name, value) = piece.split_at(at);
            let name = String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase();
            Some((name, unquoted(value.get(1..)?.trim_ascii())))
        };
        Self { value, parameters: pieces.filter_map(parameter).take(PARAMETERS).collect() }
    }

    /// The octets of a parameter; `None` without it, or with two of them.
    pub fn parameter(&self, name: &str) -> Option<&[u8]> {
        let mut found = self.parameters.iter().filter(|(of, _)| of == name);
        let (_, value) = found.next()?;
        found.next().is_none().then_some(value)
    }

    /// The text of a parameter that people read, in each of the forms in which programs write it:
    /// RFC 2231, encoded words (RFC 2047), plain.
    pub fn text(&self, name: &str) -> Option<String> {
        if let Some(extended) = self.extended(name) {
            return Some(extended);
        }
        let (_, value) = self.parameters.iter().find(|(of, _)| of == name)?;
        Some(words::text(value))
    }

    /// `name*=charset'language'text`, `name*0=…; name*1=…`, and both together.
    fn extended(&self, name: &str) -> Option<String> {
        let find =
            |wanted: &str| self.parameters.iter().find(|(of, _)| of == wanted).map(|(_, value)| value.as_slice());
        if let Some(value) = find(&format!("{name}*")) {
            let (charset, text) = with_charset(value);
            return Some(words::decoded(&percent_decoded(text), charset.as_deref()).into_owned());
        }
        let (mut octets, mut charset) = (Vec::new(), None);
        for number in 0..PARAMETERS {
            if let Some(value) = find(&format!("{name}*{number}*")) {
                let text = if number == 0 {
                    let (of, text) = with_charset(value);
                    charset = of;
                    text
                } else {
                    value
                };
                octets.extend_from_slice(&percent_decoded(text));
            } else if let Some(value) = find(&format!("{name}*{number}")) {
                octets.extend_from_slice(value);
            } else if number == 0 {
                return None;
            } else {
                break;
            }
        }
        Some(words::decoded(&octets, charset.as_deref()).into_owned())
    }
}

/// Divides a value at its semicolons, without comments, folds and the quotes' own semicolons.
fn pieces(field: &[u8]) -> Vec<Vec<u8>> {
    let (mut pieces, mut piece) = (Vec::new(), Vec::new());
    let (mut quoted, mut comments) = (false, 0_usize);
    let mut octets = field.iter().copied().filter(|octet| !matches!(octet, b'\r' | b'\n'));
    while let Some(octet) = octets.next() {
        match octet {
            b'\\' if quoted || comments > 0 => {
                let next = octets.next();
                if comments == 0 {
                    piece.push(octet);
                    piece.extend(next);
                }
            }
            b'"' if comments == 0 => {
                quoted = !quoted;
                piece.push(octet);
            }
            b'(' if !quoted && (comments > 0 || !is_in_value(&piece)) => comments += 1,
            b')' if !quoted && comments > 0 => comments -= 1,
            _ if comments > 0 => {}
            b';' if !quoted => pieces.push(std::mem::take(&mut piece)),
            octet => piece.push(octet),
        }
    }
    pieces.push(piece);
    pieces
}

/// Whether the piece ends within a parameter's value. Programs write `filename=Scan(2).pdf`, and a
/// comment after a blank.
fn is_in_value(piece: &[u8]) -> bool {
    piece.contains(&b'=') && !piece.last().is_some_and(u8::is_ascii_whitespace)
}

fn unquoted(value: &[u8]) -> Vec<u8> {
    let Some(inside) = value.strip_prefix(b"\"") else { return value.to_vec() };
    let mut text = Vec::with_capacity(inside.len());
    let mut octets = inside.iter().copied();
    while let Some(octet) = octets.next() {
        match octet {
            b'"' => break,
            // Windows programs write paths without doubling the backslash, but never a quote.
            b'\\' => match octets.next() {
                Some(next @ (b'"' | b'\\')) => text.push(next),
                Some(next) => text.extend([octet, next]),
                None => text.push(octet),
            },
            octet => text.push(octet),
        }
    }
    text
}

fn with_charset(value: &[u8]) -> (Option<String>, &[u8]) {
    let mut parts = value.splitn(3, |octet| *octet == b'\'');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(charset), Some(_language), Some(text)) => (Some(String::from_utf8_lossy(charset).into_owned()), text),
        _ => (None, value),
    }
}

/// Decodes `%` with two digits, and leaves any other.
pub fn percent_decoded(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'%') {
        return Cow::Borrowed(text);
    }
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        match (first, after) {
            (b'%', [high, low, after @ ..]) if hex(*high, *low).is_some() => {
                octets.extend(hex(*high, *low));
                rest = after;
            }
            _ => {
                octets.push(first);
                rest = after;
            }
        }
    }
    Cow::Owned(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_every_form_that_programs_write() {
        for (field, expected) in [
            (&b"attachment; filename=scan.pdf"[..], Some("scan.pdf")),
            (b"attachment; FileName = \"a; \\\"b\\\" (c).pdf\" ", Some("a; \"b\" (c).pdf")),
            (
                b"attachment; filename*=utf-8''%C3%9Cbersicht%20M%e4rz.pdf; filename=\"x.pdf\"",
                Some("\u{dc}bersicht M\u{fffd}rz.pdf"),
            ),
            (
                b"attachment;\r\n filename*0*=iso-8859-1'de'%DCber;\r\n filename*1=\"sicht 7\";\r\n filename*2*=%2Epdf",
                Some("\u{dc}bersicht 7.pdf"),
            ),
            (b"attachment; filename=\"=?utf-8?B?w5xiZXJzaWNodC5wZGY=?=\"", Some("\u{dc}bersicht.pdf")),
            (b"attachment; filename=\"\xDCbersicht.pdf\"", Some("\u{dc}bersicht.pdf")),
            (b"attachment (a comment; filename=x); filename=\"C:\\scans\\1.pdf\"", Some("C:\\scans\\1.pdf")),
            (b"attachment; filename=Scan(2).pdf (second)", Some("Scan(2).pdf")),
            (b"attachment; filename=(1).pdf; x=y", Some("(1).pdf")),
            (b"attachment(a; filename=x); filename= (a comment) 1.pdf", Some("1.pdf")),
            (b"attachment (a \\) ; filename=x); filename=y", Some("y")),
            (b"attachment (a \" b); filename=x", Some("x")),
            (b"attachment; filename=a\\; x=y", Some("a\\")),
            (b"attachment; filename*1=x", None),
            (b"inline", None),
        ] {
            assert_eq!(Parameterized::parse(field).text("filename").as_deref(), expected, "{}", field.escape_ascii());
        }
        assert_eq!(Parameterized::parse(b" Attachment ; x=y").value, "attachment");
    }

    #[test]
    fn a_parameter_that_occurs_twice_means_nothing() {
        let read = Parameterized::parse(b"multipart/mixed; boundary=a; boundary=b; charset=\"utf-8\"");
        assert_eq!((read.parameter("boundary"), read.parameter("charset")), (None, Some(&b"utf-8"[..])));
        assert_eq!(read.value, "multipart/mixed");
        assert!(Parameterized::parse(&b"a; b=c".repeat(1_000)).parameters.len() <= PARAMETERS);
    }
}
