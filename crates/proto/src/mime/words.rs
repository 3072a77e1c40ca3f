//! Text in header fields: encoded words (RFC 2047), and the charsets of text.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};
use memchr::memmem;

/// Base64 as encoded words have it: some programs leave the padding out.
const WORD: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Returns the text of a field's value, unfolded, with its encoded words decoded. A word that
/// cannot be decoded stays as it is. Octets beyond ASCII are UTF-8 (RFC 6532), otherwise Windows-1252.
pub fn text(value: &[u8]) -> String {
    let value: Vec<u8> = value.iter().copied().filter(|octet| !matches!(octet, b'\r' | b'\n')).collect();
    let mut rest = value.trim_ascii();
    // A character may be divided between two words of one charset, so their octets are joined.
    let (mut text, mut open) = (String::new(), None::<(&'static Encoding, Vec<u8>)>);
    while let Some(at) = memmem::find(rest, b"=?") {
        let (before, word) = rest.split_at(at);
        let Some((charset, octets, after)) = encoded_word(word) else {
            close(&mut text, open.take());
            text.push_str(&raw(before));
            text.push_str("=?");
            rest = word.get(2..).unwrap_or_default();
            continue;
        };
        // White space between two encoded words is none of the text (RFC 2047 §6.2).
        let joins = open.is_some() && before.iter().all(u8::is_ascii_whitespace);
        match &mut open {
            Some((of, so_far)) if joins && *of == charset => so_far.extend(octets),
            _ => {
                close(&mut text, open.take());
                if !joins {
                    text.push_str(&raw(before));
                }
                open = Some((charset, octets));
            }
        }
        rest = after;
    }
    close(&mut text, open);
    text.push_str(&raw(rest));
    text
}

/// Returns octets as text. A charset that is not known, or none, is taken for UTF-8 if the octets
/// are, otherwise for Windows-1252. What is not of a charset becomes U+FFFD.
pub fn decoded<'a>(octets: &'a [u8], charset: Option<&str>) -> Cow<'a, str> {
    match charset.and_then(|label| known(label.as_bytes())) {
        // What says that it is ASCII often is not.
        Some(encoding) if encoding != WINDOWS_1252 || std::str::from_utf8(octets).is_err() => encoding.decode(octets).0,
        _ => raw(octets),
    }
}

/// Returns octets as text, of which nothing is lost. What says that it is ASCII or UTF-8, or says
/// nothing, is UTF-8 if the octets are, otherwise Windows-1252. `None` if the charset is not known
/// or the octets are not of it.
pub fn exact<'a>(octets: &'a [u8], charset: Option<&str>) -> Option<Cow<'a, str>> {
    let encoding = charset.map_or(Some(UTF_8), |label| known(label.as_bytes()))?;
    let is_either = encoding == UTF_8 || encoding == WINDOWS_1252;
    let (text, _, is_damaged) = if is_either { UTF_8 } else { encoding }.decode(octets);
    match is_damaged {
        false => Some(text),
        true => is_either.then(|| raw(octets)),
    }
}

/// Whether text of this charset can be decoded.
pub fn is_known(charset: &str) -> bool {
    known(charset.as_bytes()).is_some()
}

/// The encoding of a charset. Those of which nothing is decoded for safety, such as ISO-2022-KR,
/// are not known.
fn known(charset: &[u8]) -> Option<&'static Encoding> {
    Encoding::for_label_no_replacement(charset)
}

fn close(text: &mut String, open: Option<(&'static Encoding, Vec<u8>)>) {
    if let Some((encoding, octets)) = open {
        text.push_str(&encoding.decode(&octets).0);
    }
}

fn raw(octets: &[u8]) -> Cow<'_, str> {
    let encoding = if std::str::from_utf8(octets).is_ok() { UTF_8 } else { WINDOWS_1252 };
    encoding.decode_without_bom_handling(octets).0
}

/// Splits `=?charset?encoding?text?=` off. Returns the charset, the decoded octets, and the rest.
fn encoded_word(word: &[u8]) -> Option<(&'static Encoding, Vec<u8>, &[u8])> {
    let mut parts = word.get(2..)?.splitn(3, |octet| *octet == b'?');
    let (charset, encoding, rest) = (parts.next()?, parts.next()?, parts.next()?);
    // RFC 2231 §5: a language may follow the charset.
    let charset = known(charset.split(|octet| *octet == b'*').next()?)?;
    let end = memmem::find(rest, b"?=")?;
    let (text, after) = (rest.get(..end)?, rest.get(end + 2..)?);
    let octets = match encoding {
        b"B" | b"b" => WORD.decode(text).ok()?,
        b"Q" | b"q" => q(text)?,
        _ => return None,
    };
    Some((charset, octets, after))
}

fn q(text: &[u8]) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(octet) = rest.next() {
        octets.push(match octet {
            b'_' => b' ',
            b'=' => hex(*rest.next()?, *rest.next()?)?,
            other => *other,
        });
    }
    Some(octets)
}

/// The octet of two hexadecimal digits.
pub(super) fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |octet: u8| char::from(octet).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_words_become_text() {
        for (value, expected) in [
            (&b" Plain  text "[..], "Plain  text"),
            (b"=?utf-8?B?R3LDvMOfZQ==?= aus =?ISO-8859-1?Q?K=F6ln_7?=", "Gr\u{fc}\u{df}e aus K\u{f6}ln 7"),
            // White space between words is none, and a character may be divided.
            (b"=?utf-8?B?R3LD?=\r\n =?UTF-8?B?vMOfZQ?=", "Gr\u{fc}\u{df}e"),
            (b"=?utf-8*de?q?a?= =?iso-8859-15?q?=A4?=", "a\u{20ac}"),
            (b"=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "\u{65e5}\u{672c}"),
            (
                b"=?x-none?B?YQ==?= =?utf-8?X?a?= =?utf-8?Q?=zz?= =?",
                "=?x-none?B?YQ==?= =?utf-8?X?a?= =?utf-8?Q?=zz?= =?",
            ),
            (b"=?iso-2022-kr?B?GyQpQw4lQg8=?=", "=?iso-2022-kr?B?GyQpQw4lQg8=?="),
            ("K\u{f6}ln".as_bytes(), "K\u{f6}ln"),
            (b"K\xF6ln", "K\u{f6}ln"),
        ] {
            assert_eq!(text(value), expected, "{}", value.escape_ascii());
        }
    }

    #[test]
    fn a_charset_that_is_wrong_does_not_spoil_the_text() {
        assert_eq!(decoded(b"\xC3\xA4", Some("us-ascii")), "\u{e4}");
        assert_eq!(decoded(b"\xE4", Some("US-ASCII")), "\u{e4}");
        assert_eq!(decoded(b"\xE4", None), "\u{e4}");
        assert_eq!(decoded(b"\xA4", Some("iso-8859-15")), "\u{20ac}");
        assert!(is_known("utf-8") && is_known("Windows-1250") && !is_known("x-unknown"));
    }

    #[test]
    fn exact_text_loses_nothing() {
        for (octets, charset, expected) in [
            (&b"Gr\xFC\xDFe"[..], Some("utf-8"), Some("Gr\u{fc}\u{df}e")),
            (b"Gr\xFC\xDFe", None, Some("Gr\u{fc}\u{df}e")),
            (b"\xC3\xBC", Some("iso-8859-1"), Some("\u{fc}")),
            (b"\xEF\xBB\xBFa", Some("utf-8"), Some("a")),
            (b"\xFE\xFF\0a", Some("utf-16"), Some("a")),
            (b"\xA4", Some("iso-8859-15"), Some("\u{20ac}")),
            (b"\x82", Some("shift_jis"), None),
            (b"a", Some("x-unknown"), None),
        ] {
            assert_eq!(exact(octets, charset).as_deref(), expected, "{} {charset:?}", octets.escape_ascii());
        }
        for charset in ["iso-2022-kr", "iso-2022-cn", "hz-gb-2312", "replacement"] {
            assert!(!is_known(charset) && exact(b"text", Some(charset)).is_none(), "{charset}");
            assert_eq!(decoded(b"text", Some(charset)), "text", "{charset}");
        }
    }
}
