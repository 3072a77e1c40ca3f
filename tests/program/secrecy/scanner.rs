//! Finds secrets in whatever was written, whole or in part, in every form in which software is apt
//! to write them.

use std::collections::HashSet;
use std::fmt::Write as _;

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// So many characters in a row are a leak.
const WINDOW: usize = 8;

/// Windows begin so far apart: whatever holds eleven characters of a secret holds a whole window.
const STRIDE: usize = 4;

/// Of a long secret (a token) so many windows are looked for.
const WINDOWS: usize = 40;

/// The secrets, in all their forms.
pub(crate) struct Scanner {
    /// Name and form of each needle.
    needles: Vec<(String, &'static str)>,
    automaton: AhoCorasick,
}

impl Scanner {
    pub(crate) fn new(secrets: &[(&str, String)]) -> Self {
        let (mut needles, mut texts, mut known) = (Vec::new(), Vec::new(), HashSet::new());
        for (name, secret) in secrets {
            let secret: Vec<char> = secret.chars().collect();
            assert!(secret.len() >= 2 * WINDOW, "{name} is too short to be told from chance");
            let stride = STRIDE.max(secret.len() / WINDOWS);
            let last = secret.len() - WINDOW;
            for start in (0..last).step_by(stride).chain([last]) {
                let window: String = secret[start..start + WINDOW].iter().collect();
                for (form, text) in forms(&window) {
                    if known.insert(text.clone()) {
                        needles.push(((*name).to_owned(), form));
                        texts.push(text);
                    }
                }
            }
        }
        Self { needles, automaton: AhoCorasick::new(texts).unwrap() }
    }

    /// Name of the first secret that stands in the text, its form, and what stands around it.
    pub(crate) fn find(&self, text: &[u8]) -> Option<(&str, &'static str, String)> {
        let found = self.automaton.find(text)?;
        let (name, form) = &self.needles[found.pattern().as_usize()];
        let around = &text[found.start().saturating_sub(200)..text.len().min(found.end() + 200)];
        Some((name, form, String::from_utf8_lossy(around).into_owned()))
    }
}

/// The ways in which a piece of text can stand in other text.
fn forms(text: &str) -> Vec<(&'static str, Vec<u8>)> {
    let octets = text.as_bytes();
    let plain = |b: u8| b.is_ascii_alphanumeric();
    let each = |form: &dyn Fn(u8) -> String| octets.iter().map(|b| form(*b)).collect::<String>().into_bytes();
    let escaped =
        |escape: &dyn Fn(u8) -> String| each(&|b| if plain(b) { char::from(b).to_string() } else { escape(b) });
    let json = serde_json::to_string(text).unwrap();
    let html = |c: char| match c {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '"' => "&quot;".to_owned(),
        '\'' => "&#39;".to_owned(),
        _ => c.to_string(),
    };
    let mut forms = vec![
        ("raw", octets.to_vec()),
        ("reversed", text.chars().rev().collect::<String>().into_bytes()),
        ("lower case", text.to_lowercase().into_bytes()),
        ("upper case", text.to_uppercase().into_bytes()),
        ("Windows-1252", text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect()),
        ("hex", each(&|b| format!("{b:02x}"))),
        ("HEX", each(&|b| format!("{b:02X}"))),
        ("hex dump", each(&|b| format!("{b:02x} ")).trim_ascii_end().to_vec()),
        ("percent-encoded", escaped(&|b| format!("%{b:02X}"))),
        ("percent-encoded in lower case", escaped(&|b| format!("%{b:02x}"))),
        ("form-encoded", url::form_urlencoded::byte_serialize(octets).collect::<String>().into_bytes()),
        ("quoted-printable", escaped(&|b| format!("={b:02X}"))),
        ("JSON", json.as_bytes()[1..json.len() - 1].to_vec()),
        ("JSON in ASCII", text.chars().fold(String::new(), json_in_ascii).into_bytes()),
        ("debug", text.escape_debug().to_string().into_bytes()),
        ("escaped octets", octets.escape_ascii().to_string().into_bytes()),
        ("octal", escaped(&|b| format!("\\{b:03o}"))),
        ("list of octets", format!("{octets:?}").trim_matches(['[', ']']).as_bytes().to_vec()),
        ("HTML", text.chars().map(html).collect::<String>().into_bytes()),
        ("HTML in numbers", escaped(&|b| format!("&#{b};"))),
        ("UTF-16LE", text.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("UTF-16BE", text.encode_utf16().flat_map(u16::to_be_bytes).collect()),
    ];
    for before in 0..3 {
        // What stands before is not known; the characters that depend on this text alone are.
        let padded = [&vec![b'?'; before], octets].concat();
        let own = (8 * before).div_ceil(6)..8 * padded.len() / 6;
        forms.push(("base64", STANDARD_NO_PAD.encode(&padded).as_bytes()[own.clone()].to_vec()));
        forms.push(("base64url", URL_SAFE_NO_PAD.encode(&padded).as_bytes()[own].to_vec()));
    }
    forms
}

fn json_in_ascii(mut text: String, c: char) -> String {
    match c {
        '"' | '\\' => text.extend(['\\', c]),
        ' '..='~' => text.push(c),
        // All of the tests' characters are below U+10000.
        _ => write!(text, "\\u{:04x}", u32::from(c)).unwrap(),
    }
    text
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::secrecy::canaries;

    /// The text in each form, as it would be found: by other means than the scanner's where there
    /// are any.
    fn written(all: &str) -> Vec<(&'static str, Vec<u8>)> {
        let octets = |form: &dyn Fn(&u8) -> String| all.bytes().map(|b| form(&b)).collect::<String>().into_bytes();
        vec![
            ("raw", all.as_bytes().to_vec()),
            ("reversed", all.chars().rev().collect::<String>().into_bytes()),
            ("lower", all.to_lowercase().into_bytes()),
            ("upper", all.to_uppercase().into_bytes()),
            ("base64", STANDARD.encode(all).into_bytes()),
            ("base64url", URL_SAFE_NO_PAD.encode(all).into_bytes()),
            ("hex", octets(&|b| format!("{b:02x}"))),
            ("HEX", octets(&|b| format!("{b:02X}"))),
            ("hex dump", octets(&|b| format!("{b:02x} "))),
            (
                "percent",
                octets(&|b| if b.is_ascii_alphanumeric() { char::from(*b).into() } else { format!("%{b:02x}") }),
            ),
            ("form", url::form_urlencoded::byte_serialize(all.as_bytes()).collect::<String>().into_bytes()),
            ("JSON", serde_json::to_vec(all).unwrap()),
            ("debug", format!("{all:?}").into_bytes()),
            ("octets", format!("{:?}", all.as_bytes()).into_bytes()),
            ("UTF-16LE", all.encode_utf16().flat_map(u16::to_le_bytes).collect()),
            ("UTF-16BE", all.encode_utf16().flat_map(u16::to_be_bytes).collect()),
        ]
    }

    /// The same by Python's libraries, for each text; nothing where there is no Python.
    fn written_by_python(texts: &[String]) -> Vec<Vec<String>> {
        const SCRIPT: &str = "\
import base64, binascii, html, json, quopri, sys, urllib.parse
def forms(text):
    octets = text.encode()
    return [base64.b64encode(octets).decode(), base64.urlsafe_b64encode(octets).decode(), octets.hex(), octets.hex(' '),
            urllib.parse.quote(text, safe=''), urllib.parse.quote_plus(text), json.dumps(text), html.escape(text),
            repr(octets), repr(list(octets)), ''.join('=%02X' % b if not chr(b).isalnum() or b > 127 else chr(b) for b in octets)]
json.dump([forms(text) for text in json.loads(sys.argv[1])], sys.stdout)";
        let argument = serde_json::to_string(texts).unwrap();
        let Ok(output) = Command::new("python3").args(["-c", SCRIPT, &argument]).output() else {
            return vec![Vec::new(); texts.len()];
        };
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
    }

    #[test]
    fn what_is_planted_is_found_in_every_form_and_alignment() {
        let scanner = Scanner::new(&canaries::ALL.map(|(name, secret)| (name, secret.to_owned())));
        let expect = |name: &str, form: &str, text: &[u8]| {
            let line = [b"a line with ", text, b" in it"].concat();
            let found = scanner.find(&line).unwrap_or_else(|| panic!("{name} as {form} is missed"));
            assert_eq!(found.0, name, "{form}");
        };
        for (before, behind) in [("", ""), ("user=a ", " "), ("x", "yz"), ("\u{1}\u{1}", "\u{1}")] {
            let texts = canaries::ALL.map(|(_, secret)| format!("{before}{secret}{behind}"));
            let by_python = written_by_python(&texts);
            for (((name, _), all), by_python) in canaries::ALL.iter().zip(&texts).zip(by_python) {
                written(all).iter().for_each(|(form, text)| expect(name, form, text));
                by_python.iter().for_each(|text| expect(name, "what Python writes", text.as_bytes()));
            }
        }
    }

    #[test]
    fn a_part_is_found_and_other_text_is_not() {
        let (name, secret) = canaries::ALL[0];
        let scanner = Scanner::new(&[(name, secret.to_owned())]);
        let characters: Vec<char> = secret.chars().collect();
        for part in characters.windows(WINDOW + STRIDE - 1) {
            assert!(scanner.find(part.iter().collect::<String>().as_bytes()).is_some());
        }
        assert!(scanner.find(characters[..WINDOW].iter().collect::<String>().as_bytes()).is_some(), "a cut-off one");
        for other in canaries::ALL.iter().skip(1) {
            assert!(scanner.find(other.1.as_bytes()).is_none());
        }
        assert!(scanner.find(include_bytes!("../../../README.md")).is_none());
    }
}
