//! Splits a structured header field into tokens (RFC 5322 §3.2), without the white space, folds and
//! comments between them.

use std::ops::Range;

/// Deepest nesting of comments that is accepted.
const COMMENT_DEPTH: usize = 32;

/// Why an address, or a list of addresses, cannot be parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is a character that is not allowed in this position.
    #[error("a character stands where none can")]
    Character,
    /// A quote, bracket or parenthesis is not closed.
    #[error("a quote, bracket or parenthesis is never closed")]
    Unbalanced,
    /// There is a name that is not `local@domain`.
    #[error("a name stands where an address should")]
    NotAnAddress,
    /// The text beside an address is another address, so it is not certain who is meant.
    #[error("two addresses follow each other without quotes or comma")]
    TwoAddresses,
    /// There is white space or a comment inside an address (RFC 5322 §4.4 allows it, but few
    /// readers know).
    #[error("an address has blanks or a comment inside")]
    Apart,
    /// An address has octets that are not UTF-8 (RFC 6532), or an invalid domain.
    #[error("an address holds characters that are none")]
    Encoding,
    /// An address is too long.
    #[error("an address is too long")]
    TooLong,
}

/// A word or sign, and its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) at: Range<usize>,
    /// Whether white space or a comment precedes it.
    pub(super) apart: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Letters, digits, and whatever else a word may hold without quotes; every octet beyond ASCII
    /// is one of them (RFC 6532 §3.2).
    Atom,
    /// The content of a quoted string, without quotes and backslashes.
    Quoted(Vec<u8>),
    /// A domain literal, with its brackets.
    Literal,
    /// One of `<>@,;:.`
    Sign(u8),
}

/// All tokens of a field's value.
pub(super) fn tokens(value: &[u8]) -> Result<Vec<Token>, AddressError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    loop {
        let start = at;
        at = skip_white_space_and_comments(value, at)?;
        let apart = at > start;
        let Some(&first) = value.get(at) else { return Ok(tokens) };
        let (kind, end) = match first {
            b'"' => quoted(value, at)?,
            b'[' => (Kind::Literal, literal(value, at)?),
            b'<' | b'>' | b'@' | b',' | b';' | b':' | b'.' => (Kind::Sign(first), at + 1),
            _ if is_atom(first) => (Kind::Atom, at + run(value, at, is_atom)),
            _ => return Err(AddressError::Character),
        };
        tokens.push(Token { kind, at: at..end, apart });
        at = end;
    }
}

/// `atext` of RFC 5322 §3.2.3, as RFC 6532 extends it. All octets beyond ASCII are accepted,
/// because only in an address does it matter which of them are characters.
pub(super) fn is_atom(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || octet >= 0x80 || b"!#$%&'*+-/=?^_`{|}~".contains(&octet)
}

fn run(value: &[u8], at: usize, of: impl Fn(u8) -> bool) -> usize {
    value.iter().skip(at).take_while(|octet| of(**octet)).count()
}

fn is_white_space(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t' | b'\r' | b'\n')
}

fn skip_white_space_and_comments(value: &[u8], mut at: usize) -> Result<usize, AddressError> {
    loop {
        at += run(value, at, is_white_space);
        if value.get(at) != Some(&b'(') {
            return Ok(at);
        }
        at = comment(value, at)?;
    }
}

/// The end of the comment that begins at `at`.
fn comment(value: &[u8], at: usize) -> Result<usize, AddressError> {
    let mut depth = 0;
    let mut octets = value.iter().enumerate().skip(at);
    while let Some((at, octet)) = octets.next() {
        match octet {
            b'(' if depth == COMMENT_DEPTH => return Err(AddressError::Unbalanced),
            b'(' => depth += 1,
            b')' if depth == 1 => return Ok(at + 1),
            b')' => depth -= 1,
            b'\\' => drop(octets.next()),
            octet if is_control(*octet) => return Err(AddressError::Character),
            _ => {}
        }
    }
    Err(AddressError::Unbalanced)
}

fn quoted(value: &[u8], at: usize) -> Result<(Kind, usize), AddressError> {
    let mut content = Vec::new();
    let mut octets = value.iter().enumerate().skip(at + 1);
    while let Some((at, &octet)) = octets.next() {
        match octet {
            b'"' => return Ok((Kind::Quoted(content), at + 1)),
            b'\\' => match octets.next() {
                Some((_, &octet)) if !is_control(octet) && !is_white_space(octet) || octet == b' ' => {
                    content.push(octet)
                }
                Some(_) => return Err(AddressError::Character),
                None => break,
            },
            // In a fold, the white space belongs to the content (RFC 5322 §3.2.4), but CR and LF do
            // not.
            b'\r' | b'\n' => {}
            octet if is_control(octet) => return Err(AddressError::Character),
            octet => content.push(octet),
        }
    }
    Err(AddressError::Unbalanced)
}

fn literal(value: &[u8], at: usize) -> Result<usize, AddressError> {
    let inside = run(value, at + 1, |octet| octet.is_ascii_graphic() && !b"[]\\".contains(&octet) || octet == b' ');
    let end = at + 1 + inside;
    if value.get(end) == Some(&b']') { Ok(end + 1) } else { Err(AddressError::Unbalanced) }
}

fn is_control(octet: u8) -> bool {
    (octet < 0x20 && !is_white_space(octet)) || octet == 0x7F
}
