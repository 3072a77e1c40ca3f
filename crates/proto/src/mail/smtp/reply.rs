//! Replies of an SMTP server (RFC 5321 §4.2): those that Gatepost creates and those that it has
//! read.

use std::fmt;
use std::time::Duration;

use crate::mail::reply::retry_after;

/// A whole reply.
#[derive(Clone, PartialEq, Eq)]
pub struct Reply {
    /// The code of every line.
    pub(super) code: u16,
    /// The texts of the lines, at least one. An enhanced status code is at the beginning of the
    /// text (RFC 2034).
    pub(super) texts: Vec<Vec<u8>>,
}

impl Reply {
    /// Creates a reply with the enhanced status code `x.subject.detail` (RFC 3463). The class `x`
    /// is the first digit of `code`, as RFC 2034 demands, so the two cannot contradict each other.
    pub fn new(code: u16, [subject, detail]: [u16; 2], text: impl fmt::Display) -> Self {
        let mut reply = Self::plain(code, "");
        let text = format!("{}.{subject}.{detail} {text}", reply.class());
        reply.texts = vec![one_line(&text)];
        reply
    }

    /// Creates a reply without an enhanced status code. Greetings, the answer to EHLO and codes
    /// that begin with 3 have none.
    pub fn plain(code: u16, text: impl fmt::Display) -> Self {
        debug_assert!((200..=559).contains(&code), "not a reply code: {code}");
        Self { code, texts: vec![one_line(&text.to_string())] }
    }

    /// The code.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// 2 (done), 3 (go on), 4 (temporary) or 5 (permanent).
    pub fn class(&self) -> u16 {
        self.code / 100
    }

    /// Whether the class is 2 or 3.
    pub fn is_positive(&self) -> bool {
        matches!(self.class(), 2 | 3)
    }

    /// The enhanced status code of the first line, such as `5.7.1`, if there is one.
    pub fn status(&self) -> Option<&str> {
        let first = self.texts.first()?.split(|octet| *octet == b' ').next()?;
        let first = str::from_utf8(first).ok()?;
        let mut parts = first.split('.');
        let mut number = || parts.next()?.parse::<u16>().ok();
        let class = number()?;
        (number().is_some() && number().is_some() && parts.next().is_none() && class == self.class()).then_some(first)
    }

    /// Whether the first text begins with this enhanced status code, such as `5.7.139`.
    pub(crate) fn has_enhanced(&self, status: &str) -> bool {
        let first = self.texts.first().map_or(&b""[..], Vec::as_slice);
        first.split(|b| *b == b' ').next() == Some(status.as_bytes())
    }

    /// The pause that the server asks for, if it does.
    pub fn suggested_pause(&self) -> Option<Duration> {
        retry_after(&self.words())
    }

    /// Code and texts in one line, for the log.
    pub fn words(&self) -> Vec<u8> {
        let mut words = self.code.to_string().into_bytes();
        for text in &self.texts {
            words.push(b' ');
            words.extend_from_slice(text);
        }
        words
    }

    /// Appends the reply in the form of the protocol.
    pub fn write_to(&self, output: &mut Vec<u8>) {
        let last = self.texts.len().saturating_sub(1);
        for (at, text) in self.texts.iter().enumerate() {
            output.extend_from_slice(self.code.to_string().as_bytes());
            output.push(if at == last { b' ' } else { b'-' });
            output.extend_from_slice(text);
            output.extend_from_slice(b"\r\n");
        }
    }
}

/// Code and texts, with control characters escaped.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&gatepost_core::escape::escaped(&self.words(), 1_024))
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply({self})")
    }
}

/// Makes a text fit one line: control characters become spaces. A line has at most 512 octets (RFC
/// 5321 §4.5.3.1.5), with code, separator and CRLF.
fn one_line(text: &str) -> Vec<u8> {
    let mut line = String::new();
    for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if line.len() + c.len_utf8() > 506 {
            break;
        }
        line.push(c);
    }
    line.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(reply: &Reply) -> String {
        let mut output = Vec::new();
        reply.write_to(&mut output);
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn code_and_status_are_of_one_class() {
        let reply = Reply::new(550, [7, 1], "Not you");
        assert_eq!(wire(&reply), "550 5.7.1 Not you\r\n");
        assert_eq!((reply.status(), reply.class(), reply.is_positive()), (Some("5.7.1"), 5, false));
        assert_eq!(wire(&Reply::plain(354, "Go on")), "354 Go on\r\n");
        assert_eq!(Reply::plain(354, "Go on").status(), None);
        assert_eq!(Reply::plain(550, "4.7.1 contradicts itself").status(), None);
        for text in ["5", "5.7", "5.7. x", "5.7.x", "5.x.1", "5.7.1.1", "x.7.1"] {
            assert_eq!(Reply::plain(550, text).status(), None, "{text}");
        }
    }

    #[test]
    fn the_pause_that_a_reply_asks_for_is_known() {
        let throttled = Reply::new(450, [7, 3], "Throttled. Suggested Backoff Time: 5 seconds");
        assert_eq!(throttled.suggested_pause(), Some(Duration::from_secs(5)));
        assert_eq!(Reply::new(450, [7, 3], "Throttled").suggested_pause(), None);
    }

    #[test]
    fn a_reply_stays_in_its_line() {
        assert_eq!(wire(&Reply::new(250, [0, 0], "a\r\n250 b\0")), "250 2.0.0 a  250 b \r\n");
        assert_eq!(wire(&Reply::new(250, [0, 0], "ä".repeat(600))).len(), 512);
    }

    #[test]
    fn every_line_carries_the_code() {
        let reply = Reply { code: 550, texts: vec![b"5.7.1 no".to_vec(), b"5.7.1 see there".to_vec()] };
        assert_eq!(wire(&reply), "550-5.7.1 no\r\n550 5.7.1 see there\r\n");
        assert!(reply.has_enhanced("5.7.1"));
        assert_eq!(reply.to_string(), "550 5.7.1 no 5.7.1 see there");
    }
}
