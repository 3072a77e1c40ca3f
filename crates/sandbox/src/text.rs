//! Text as people read it: encoded words (RFC 2047) and transfer encodings (RFC 2045 §6) taken off,
//! and put on.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};

/// Base64 with or without padding, because mail in the wild forgets its padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// A header field's text with its encoded words decoded.
pub(super) fn decoded(value: &[u8]) -> String {
    let value = String::from_utf8_lossy(value);
    let mut text = String::new();
    let mut rest = value.as_ref();
    let mut behind_word = false;
    while let Some(at) = rest.find("=?") {
        let (before, word) = rest.split_at(at);
        let Some((decoded, after)) = encoded_word(word) else {
            text.push_str(before);
            text.push_str("=?");
            rest = &word[2..];
            behind_word = false;
            continue;
        };
        // White space between two encoded words is no part of the text.
        if !(behind_word && before.trim().is_empty()) {
            text.push_str(before);
        }
        text.push_str(&decoded);
        rest = after;
        behind_word = true;
    }
    text.push_str(rest);
    text
}

/// The encoded word at the start of `text`, and what is behind it.
fn encoded_word(text: &str) -> Option<(String, &str)> {
    let (charset, rest) = text.strip_prefix("=?")?.split_once('?')?;
    let (encoding, rest) = rest.split_once('?')?;
    let (content, rest) = rest.split_once("?=")?;
    if content.contains(' ') {
        return None;
    }
    let octets = match encoding {
        "B" | "b" => LENIENT.decode(content).ok()?,
        "Q" | "q" => quoted_printable(content.replace('_', " ").as_bytes()),
        _ => return None,
    };
    Some((from_charset(&octets, charset), rest))
}

/// A body with its transfer encoding taken off.
pub(super) fn without_transfer_encoding(body: &[u8], encoding: &str) -> Vec<u8> {
    match encoding.trim().to_ascii_lowercase().as_str() {
        "base64" => {
            let dense: Vec<u8> = body.iter().copied().filter(|octet| !octet.is_ascii_whitespace()).collect();
            LENIENT.decode(dense).unwrap_or_default()
        }
        "quoted-printable" => quoted_printable(body),
        _ => body.to_vec(),
    }
}

/// Text in one of the character sets that the sandbox knows: UTF-8, and ISO 8859-1 for all others.
pub(super) fn from_charset(octets: &[u8], charset: &str) -> String {
    if charset.is_empty() || charset.eq_ignore_ascii_case("utf-8") || charset.eq_ignore_ascii_case("us-ascii") {
        String::from_utf8_lossy(octets).into_owned()
    } else {
        octets.iter().copied().map(char::from).collect()
    }
}

fn quoted_printable(body: &[u8]) -> Vec<u8> {
    let digit = |octet: u8| char::from(octet).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut out = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some((&octet, after)) = rest.split_first() {
        rest = after;
        if octet != b'=' {
            out.push(octet);
        } else if let Some(after) = after.strip_prefix(b"\r\n").or_else(|| after.strip_prefix(b"\n")) {
            rest = after;
        } else if let [high, low, after @ ..] = after
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            out.push(high * 16 + low);
            rest = after;
        } else {
            out.push(octet);
        }
    }
    out
}

/// A header field's text: as it is when it is plain ASCII, else as encoded words.
pub(super) fn encoded(text: &str) -> String {
    if text.bytes().all(|octet| (0x20..0x7f).contains(&octet)) && !text.contains("=?") {
        return text.to_owned();
    }
    let mut words: Vec<String> = vec![String::new()];
    for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        // At most 75 octets for a word (RFC 2047 §2).
        if words.last().is_some_and(|word| word.len() + c.len_utf8() > 45) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(c);
        }
    }
    let words: Vec<String> = words.iter().map(|word| format!("=?utf-8?B?{}?=", STANDARD.encode(word))).collect();
    words.join("\r\n ")
}

/// Octets in base64, in lines of 76 (RFC 2045 §6.8), each with its end.
pub(super) fn base64_lines(octets: &[u8]) -> String {
    let mut lines = String::with_capacity(octets.len() / 57 * 78 + 78);
    for line in octets.chunks(57) {
        STANDARD.encode_string(line, &mut lines);
        lines.push_str("\r\n");
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_words_are_decoded_and_the_space_between_them_vanishes() {
        for (value, text) in [
            ("plain", "plain"),
            ("=?utf-8?Q?J=C3=BCrgen_M=C3=BCller?= <j@x>", "Jürgen Müller <j@x>"),
            ("=?iso-8859-1?q?Gr=FC=DFe?= =?UTF-8?B?IGF1cw?=  K", "Grüße aus  K"),
            ("a =?utf-8?X?b?= =?", "a =?utf-8?X?b?= =?"),
        ] {
            assert_eq!(decoded(value.as_bytes()), text);
        }
    }

    #[test]
    fn what_is_encoded_is_decoded_again() {
        let long = "Grüße aus Köln, ".repeat(20);
        let folded = encoded(&long);
        assert!(folded.split("\r\n").all(|line| line.len() <= 76), "{folded}");
        assert_eq!(decoded(folded.replace("\r\n", "").as_bytes()), long);
        assert_eq!(encoded("plain"), "plain");
        let octets = [0xff; 100];
        assert_eq!(without_transfer_encoding(base64_lines(&octets).as_bytes(), "BASE64"), octets);
        assert_eq!(without_transfer_encoding(b"a=3Db=\r\nc=\n=x", "quoted-printable"), b"a=bc=x");
    }
}
