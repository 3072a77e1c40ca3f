//! SEARCH (RFC 9051 §6.4.4): the keys, and whether a message matches them.
//!
//! Text is compared as it stands in the message, without regard to ASCII case; encoded words and
//! transfer encodings are not decoded.

use super::lexer::{CommandRefused, Lexer, Malformed, Parsed, SequenceSet, holds};
use crate::store::{Flags, Message};
use crate::{calendar, mime};

/// How deep keys may be nested.
const DEPTH: usize = 32;

/// A search key.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Key {
    All,
    /// Whether the flag is set (true) or not.
    Flag(Flags, bool),
    /// A keyword that is never kept, so that no message has it.
    Nothing,
    MessageNumbers(SequenceSet),
    Uids(SequenceSet),
    Received(Order, i64),
    /// Compares the `Date` field.
    Sent(Order, i64),
    Larger(u64),
    Smaller(u64),
    Header(String, Vec<u8>),
    Body(Vec<u8>),
    Text(Vec<u8>),
    Not(Box<Key>),
    Or(Box<Key>, Box<Key>),
    And(Vec<Key>),
}

/// How a date is compared with a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Before,
    On,
    Since,
}

impl Order {
    fn holds(self, day: i64, reference: i64) -> bool {
        match self {
            Self::Before => day < reference,
            Self::On => day == reference,
            Self::Since => day >= reference,
        }
    }
}

/// A whole search: an optional character set, and keys that must all match.
pub(super) fn program(lexer: &mut Lexer<'_>) -> Result<Key, CommandRefused> {
    let mut ahead = lexer.clone();
    if ahead.letters().is_ok_and(|word| word.eq_ignore_ascii_case("CHARSET")) {
        ahead.space()?;
        let charset = ahead.astring()?.to_ascii_uppercase();
        if charset != b"UTF-8" && charset != b"US-ASCII" {
            return Err(CommandRefused::Charset);
        }
        ahead.space()?;
        *lexer = ahead;
    }
    let mut keys = vec![key(lexer, DEPTH)?];
    while lexer.take(b' ') {
        keys.push(key(lexer, DEPTH)?);
    }
    Ok(Key::And(keys))
}

fn key(lexer: &mut Lexer<'_>, depth: usize) -> Parsed<Key> {
    let depth = depth.checked_sub(1).ok_or(Malformed)?;
    match lexer.peek() {
        Some(b'(') => {
            let keys = lexer.list(|lexer| key(lexer, depth))?;
            return if keys.is_empty() { Err(Malformed) } else { Ok(Key::And(keys)) };
        }
        Some(octet) if octet == b'*' || octet.is_ascii_digit() => return lexer.sequence_set().map(Key::MessageNumbers),
        _ => {}
    }
    let name = lexer.letters()?.to_ascii_uppercase();
    Ok(match name.as_str() {
        "ALL" => Key::All,
        "ANSWERED" => Key::Flag(Flags::ANSWERED, true),
        "DELETED" => Key::Flag(Flags::DELETED, true),
        "DRAFT" => Key::Flag(Flags::DRAFT, true),
        "FLAGGED" => Key::Flag(Flags::FLAGGED, true),
        "SEEN" => Key::Flag(Flags::SEEN, true),
        "UNANSWERED" => Key::Flag(Flags::ANSWERED, false),
        "UNDELETED" => Key::Flag(Flags::DELETED, false),
        "UNDRAFT" => Key::Flag(Flags::DRAFT, false),
        "UNFLAGGED" => Key::Flag(Flags::FLAGGED, false),
        "UNSEEN" => Key::Flag(Flags::SEEN, false),
        // No message is ever recent: \Recent is not kept.
        "NEW" | "RECENT" => Key::Nothing,
        "OLD" => Key::All,
        "KEYWORD" => keyword(lexer)?,
        "UNKEYWORD" => Key::Not(Box::new(keyword(lexer)?)),
        "UID" => {
            lexer.space()?;
            Key::Uids(lexer.sequence_set()?)
        }
        "BEFORE" => Key::Received(Order::Before, date(lexer)?),
        "ON" => Key::Received(Order::On, date(lexer)?),
        "SINCE" => Key::Received(Order::Since, date(lexer)?),
        "SENTBEFORE" => Key::Sent(Order::Before, date(lexer)?),
        "SENTON" => Key::Sent(Order::On, date(lexer)?),
        "SENTSINCE" => Key::Sent(Order::Since, date(lexer)?),
        "LARGER" => Key::Larger(size(lexer)?),
        "SMALLER" => Key::Smaller(size(lexer)?),
        "BCC" | "CC" | "FROM" | "SUBJECT" | "TO" => Key::Header(name.to_ascii_lowercase(), text(lexer)?),
        "HEADER" => {
            let field = String::from_utf8(text(lexer)?).map_err(|_| Malformed)?;
            Key::Header(field, text(lexer)?)
        }
        "BODY" => Key::Body(text(lexer)?),
        "TEXT" => Key::Text(text(lexer)?),
        "NOT" => {
            lexer.space()?;
            Key::Not(Box::new(key(lexer, depth)?))
        }
        "OR" => {
            lexer.space()?;
            let first = key(lexer, depth)?;
            lexer.space()?;
            Key::Or(Box::new(first), Box::new(key(lexer, depth)?))
        }
        _ => return Err(Malformed),
    })
}

fn keyword(lexer: &mut Lexer<'_>) -> Parsed<Key> {
    lexer.space()?;
    let flag = Flags::named(&lexer.flag()?);
    Ok(if flag == Flags::default() { Key::Nothing } else { Key::Flag(flag, true) })
}

fn date(lexer: &mut Lexer<'_>) -> Parsed<i64> {
    let date = String::from_utf8(text(lexer)?).map_err(|_| Malformed)?;
    calendar::parse_date(&date).ok_or(Malformed)
}

fn size(lexer: &mut Lexer<'_>) -> Parsed<u64> {
    lexer.space()?;
    lexer.number().map(u64::from)
}

/// Text to look for, in lower case.
fn text(lexer: &mut Lexer<'_>) -> Parsed<Vec<u8>> {
    lexer.space()?;
    Ok(lexer.astring()?.to_ascii_lowercase())
}

/// The numbers of one message, and the largest of each kind in its folder.
#[derive(Clone, Copy)]
pub(super) struct MessageNumbers {
    pub(super) number: u32,
    pub(super) largest_number: u32,
    pub(super) uid: u32,
    pub(super) largest_uid: u32,
}

impl Key {
    /// Whether the message matches.
    pub(super) fn matches(&self, numbers: MessageNumbers, message: &Message) -> bool {
        let raw = &message.content;
        match self {
            Self::All => true,
            Self::Nothing => false,
            Self::Flag(flag, set) => message.flags.intersects(*flag) == *set,
            Self::MessageNumbers(set) => holds(&set.resolve(numbers.largest_number), numbers.number),
            Self::Uids(set) => holds(&set.resolve(numbers.largest_uid), numbers.uid),
            Self::Received(order, day) => order.holds(calendar::day_of(message.received_at), *day),
            Self::Sent(order, day) => mime::field(mime::split(raw).0, "date")
                .and_then(|date| calendar::parse_message_day(&String::from_utf8_lossy(&date)))
                .is_some_and(|sent| order.holds(sent, *day)),
            Self::Larger(octets) => raw.len() as u64 > *octets,
            Self::Smaller(octets) => (raw.len() as u64) < *octets,
            Self::Header(name, wanted) => mime::fields(mime::split(raw).0).iter().any(|(found, field)| {
                let value = &field[field.iter().position(|&octet| octet == b':').map_or(0, |colon| colon + 1)..];
                found == name && contains(value, wanted)
            }),
            Self::Body(wanted) => contains(mime::split(raw).1, wanted),
            Self::Text(wanted) => contains(raw, wanted),
            Self::Not(key) => !key.matches(numbers, message),
            Self::Or(first, second) => first.matches(numbers, message) || second.matches(numbers, message),
            Self::And(keys) => keys.iter().all(|key| key.matches(numbers, message)),
        }
    }
}

/// Whether `octets` hold `wanted` in any case; `wanted` is in lower case already.
fn contains(octets: &[u8], wanted: &[u8]) -> bool {
    wanted.is_empty() || memchr::memmem::find(&octets.to_ascii_lowercase(), wanted).is_some()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn found(program_text: &str) -> bool {
        let raw = "Date: Wed, 17 Jul 1996 02:23:25 -0700\r\nFrom: Terry <gray@cac.example>\r\nSubject: One\r\n two\r\n\r\nBody text\r\n";
        let message = Message {
            content: Arc::from(raw.as_bytes()),
            flags: Flags::SEEN,
            received_at: calendar::parse_date_time("18-Jul-1996 00:00:01 +0000").unwrap(),
            identity: 1,
        };
        let numbers = MessageNumbers { number: 2, largest_number: 4, uid: 20, largest_uid: 40 };
        let mut lexer = Lexer::new(program_text.as_bytes());
        let key = program(&mut lexer).unwrap();
        lexer.end().unwrap();
        key.matches(numbers, &message)
    }

    #[test]
    fn keys_match() {
        for text in [
            "ALL",
            "SEEN UNDELETED",
            "2:3",
            "*:1",
            "UID 20",
            "ON 18-Jul-1996",
            "SINCE 18-Jul-1996 BEFORE \"19-Jul-1996\"",
            "SENTON 17-Jul-1996",
            "FROM GRAY",
            "SUBJECT {3}\r\ntwo",
            "HEADER subject \"\"",
            "BODY text",
            "TEXT terry",
            "NOT DELETED",
            "OR DELETED (SEEN FROM terry)",
            "LARGER 10 SMALLER 1000",
            "CHARSET UTF-8 UNKEYWORD $Label1",
            "OLD",
        ] {
            assert!(found(text), "{text}");
        }
        for text in [
            "UNSEEN",
            "3:*",
            "UID 21:40",
            "BEFORE 18-Jul-1996",
            "SENTON 18-Jul-1996",
            "BODY terry",
            "TO gray",
            "NEW",
            "HEADER X-None \"\"",
            "NOT (SEEN ALL)",
            "KEYWORD x",
            "SUBJECT three",
        ] {
            assert!(!found(text), "{text}");
        }
    }

    #[test]
    fn what_is_no_search_is_refused() {
        let deep = "NOT ".repeat(100) + "ALL";
        for text in ["FROB", "", "()", "SINCE yesterday", "OR ALL", "FROM", deep.as_str()] {
            assert!(program(&mut Lexer::new(text.as_bytes())).is_err(), "{text}");
        }
        assert_eq!(program(&mut Lexer::new(b"CHARSET KOI8-R ALL")), Err(CommandRefused::Charset));
    }
}
