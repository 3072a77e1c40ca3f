//! The words of an IMAP command (RFC 9051 §9), read from one contiguous piece of octets with its
//! literals in place.

use std::ops::RangeInclusive;

/// The command does not have the form that the grammar asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

pub(super) type Parsed<T> = Result<T, Malformed>;

/// Why a command is refused before it is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CommandRefused {
    Unknown,
    Arguments,
    /// A SEARCH in a character set other than US-ASCII and UTF-8.
    Charset,
}

impl From<Malformed> for CommandRefused {
    fn from(_: Malformed) -> Self {
        Self::Arguments
    }
}

/// What is left of a command.
#[derive(Clone, Debug)]
pub(super) struct Lexer<'a> {
    rest: &'a [u8],
}

/// Numbers as a client names them; `*` is the largest there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SequenceSet(Vec<(Bound, Bound)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    Number(u32),
    Largest,
}

impl SequenceSet {
    /// The ranges meant when `largest` is the largest number in use: ascending, without overlap.
    pub(super) fn resolve(&self, largest: u32) -> Vec<RangeInclusive<u32>> {
        let value = |bound: Bound| match bound {
            Bound::Number(number) => number,
            Bound::Largest => largest,
        };
        let mut ranges: Vec<(u32, u32)> =
            self.0.iter().map(|&(a, b)| (value(a).min(value(b)), value(a).max(value(b)))).collect();
        ranges.sort_unstable();
        let mut merged: Vec<RangeInclusive<u32>> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(previous) if first <= previous.end().saturating_add(1) => {
                    *previous = *previous.start()..=last.max(*previous.end());
                }
                _ => merged.push(first..=last),
            }
        }
        merged
    }
}

/// Whether one of the ascending ranges holds `number`.
pub(super) fn holds(ranges: &[RangeInclusive<u32>], number: u32) -> bool {
    let after = ranges.partition_point(|range| *range.start() <= number);
    after > 0 && ranges[after - 1].contains(&number)
}

/// Octets of an atom, such as a command or a flag.
fn is_atom(octet: u8) -> bool {
    octet > 0x20 && octet < 0x7f && !b"(){%*\"\\]".contains(&octet)
}

/// Octets of an unquoted mailbox name or string: also `]`.
fn is_astring(octet: u8) -> bool {
    is_atom(octet) || octet == b']' || octet >= 0x80
}

impl<'a> Lexer<'a> {
    pub(super) fn new(octets: &'a [u8]) -> Self {
        Self { rest: octets }
    }

    pub(super) fn at_end(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn end(&self) -> Parsed<()> {
        if self.at_end() { Ok(()) } else { Err(Malformed) }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Takes `octet` if it comes next.
    pub(super) fn take(&mut self, octet: u8) -> bool {
        let next = self.peek() == Some(octet);
        if next {
            self.rest = &self.rest[1..];
        }
        next
    }

    pub(super) fn expect(&mut self, octet: u8) -> Parsed<()> {
        if self.take(octet) { Ok(()) } else { Err(Malformed) }
    }

    pub(super) fn space(&mut self) -> Parsed<()> {
        self.expect(b' ')
    }

    fn run(&mut self, of: impl Fn(u8) -> bool) -> Parsed<&'a str> {
        let end = self.rest.iter().position(|&octet| !of(octet)).unwrap_or(self.rest.len());
        let (run, rest) = self.rest.split_at(end);
        if run.is_empty() {
            return Err(Malformed);
        }
        self.rest = rest;
        std::str::from_utf8(run).map_err(|_| Malformed)
    }

    /// An atom.
    pub(super) fn atom(&mut self) -> Parsed<&'a str> {
        self.run(is_atom)
    }

    /// A word of letters, digits, dots and hyphens, which ends before a bracket.
    pub(super) fn word(&mut self) -> Parsed<&'a str> {
        self.run(|octet| octet.is_ascii_alphanumeric() || b".-".contains(&octet))
    }

    /// Letters only.
    pub(super) fn letters(&mut self) -> Parsed<&'a str> {
        self.run(|octet| octet.is_ascii_alphabetic())
    }

    /// A flag, with its backslash if it has one.
    pub(super) fn flag(&mut self) -> Parsed<String> {
        let backslash = if self.take(b'\\') { "\\" } else { "" };
        Ok(format!("{backslash}{}", self.atom()?))
    }

    /// A number, zero included.
    pub(super) fn number(&mut self) -> Parsed<u32> {
        self.run(|octet| octet.is_ascii_digit())?.parse().map_err(|_| Malformed)
    }

    /// What the client sends as a string: quoted, or a literal.
    pub(super) fn string(&mut self) -> Parsed<Vec<u8>> {
        if self.take(b'"') {
            let mut text = Vec::new();
            loop {
                let (&octet, rest) = self.rest.split_first().ok_or(Malformed)?;
                self.rest = rest;
                match octet {
                    b'"' => return Ok(text),
                    b'\\' => {
                        let (&escaped, rest) = self.rest.split_first().ok_or(Malformed)?;
                        self.rest = rest;
                        text.push(escaped);
                    }
                    b'\r' | b'\n' => return Err(Malformed),
                    octet => text.push(octet),
                }
            }
        }
        self.literal().map(<[u8]>::to_vec)
    }

    /// A literal, with or without `+`. The reader has put its octets behind the line that announces
    /// it.
    pub(super) fn literal(&mut self) -> Parsed<&'a [u8]> {
        self.expect(b'{')?;
        let octets = usize::try_from(self.number()?).map_err(|_| Malformed)?;
        self.take(b'+');
        self.expect(b'}')?;
        self.expect(b'\r')?;
        self.expect(b'\n')?;
        let (literal, rest) = self.rest.split_at_checked(octets).ok_or(Malformed)?;
        self.rest = rest;
        Ok(literal)
    }

    /// A string, quoted or not.
    pub(super) fn astring(&mut self) -> Parsed<Vec<u8>> {
        match self.peek() {
            Some(b'"' | b'{') => self.string(),
            _ => self.run(is_astring).map(|text| text.as_bytes().to_vec()),
        }
    }

    /// A mailbox name. It stays in the encoding of the client: names are compared, not shown.
    pub(super) fn mailbox(&mut self) -> Parsed<String> {
        String::from_utf8(self.astring()?).map_err(|_| Malformed)
    }

    /// A pattern for LIST: like a mailbox name, with wildcards.
    pub(super) fn pattern(&mut self) -> Parsed<String> {
        match self.peek() {
            Some(b'"' | b'{') => self.mailbox(),
            _ => self.run(|octet| is_astring(octet) || b"%*".contains(&octet)).map(str::to_owned),
        }
    }

    /// A set of message numbers or UIDs.
    pub(super) fn sequence_set(&mut self) -> Parsed<SequenceSet> {
        let mut ranges = Vec::new();
        loop {
            let first = self.bound()?;
            let last = if self.take(b':') { self.bound()? } else { first };
            ranges.push((first, last));
            if !self.take(b',') {
                return Ok(SequenceSet(ranges));
            }
        }
    }

    fn bound(&mut self) -> Parsed<Bound> {
        if self.take(b'*') {
            return Ok(Bound::Largest);
        }
        match self.number()? {
            0 => Err(Malformed),
            number => Ok(Bound::Number(number)),
        }
    }

    /// `(item item …)`, possibly empty.
    pub(super) fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        self.expect(b'(')?;
        let mut items = Vec::new();
        while !self.take(b')') {
            if !items.is_empty() {
                self.space()?;
            }
            items.push(item(self)?);
        }
        Ok(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_come_in_three_forms() {
        let mut lexer = Lexer::new(b"plain] \"quo\\\"ted\\\\\" {3}\r\na\r\n {2+}\r\n() ");
        assert_eq!(lexer.astring().unwrap(), b"plain]");
        lexer.space().unwrap();
        assert_eq!(lexer.astring().unwrap(), b"quo\"ted\\");
        lexer.space().unwrap();
        assert_eq!(lexer.astring().unwrap(), b"a\r\n");
        lexer.space().unwrap();
        assert_eq!(lexer.astring().unwrap(), b"()");
        assert_eq!(lexer.end(), Err(Malformed));
        for bad in [&b"\"open"[..], b"{5}\r\nabc", b"{5}abcde", b"(", b"", b"\"a\r\nb\""] {
            assert_eq!(Lexer::new(bad).astring(), Err(Malformed), "{bad:?}");
        }
    }

    #[test]
    fn sets_are_resolved_ascending_and_merged() {
        let set = Lexer::new(b"9,2:4,*:7,5").sequence_set().unwrap();
        assert_eq!(set.resolve(8), [2..=5, 7..=9]);
        let ranges = set.resolve(3);
        assert_eq!(ranges, [2..=7, 9..=9]);
        assert!(holds(&ranges, 2) && holds(&ranges, 7) && holds(&ranges, 9));
        assert!(!holds(&ranges, 1) && !holds(&ranges, 8) && !holds(&ranges, 10));
        for bad in [&b"0"[..], b"1,", b"1:", b"a", b"4294967296"] {
            assert_eq!(Lexer::new(bad).sequence_set(), Err(Malformed), "{bad:?}");
        }
    }

    #[test]
    fn lists_are_divided_by_single_spaces() {
        let flags = Lexer::new(b"(\\Seen $MDNSent)").list(Lexer::flag).unwrap();
        assert_eq!(flags, ["\\Seen", "$MDNSent"]);
        assert_eq!(Lexer::new(b"()").list(Lexer::flag).unwrap(), Vec::<String>::new());
        assert!(Lexer::new(b"(a  b)").list(Lexer::flag).is_err());
        assert!(Lexer::new(b"(a").list(Lexer::flag).is_err());
    }
}
