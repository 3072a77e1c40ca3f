//! Parses addresses and the fields that list them (RFC 5322 §3.4, with the obsolete forms of §4.4
//! and the forms of old programs).

use std::collections::HashSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Range;

use super::lexer::{self, AddressError, Kind, Token, is_atom};

/// Longest address, in octets: 64 + `@` + 255 (RFC 5321 §4.5.3.1), and quotes.
const ADDRESS_OCTETS: usize = 400;

/// One address. Two addresses are equal if they differ only in case, in unneeded quotes, or in the
/// form of an international domain (RFC 5890), because Exchange does not distinguish those.
#[derive(Clone, Debug)]
pub struct Address {
    text: String,
    key: String,
}

impl Address {
    /// Parses one address, as in a list or an envelope.
    ///
    /// # Errors
    /// [`AddressError`] if the text is no address, or more than one.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        address(text.as_bytes(), &lexer::tokens(text.as_bytes())?)
    }

    /// The address in the form of a header field.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn new(local: &[u8], domain: &[u8]) -> Result<Self, AddressError> {
        let text = |octets| std::str::from_utf8(octets).map_err(|_| AddressError::Encoding);
        let (local, domain) = (text(local)?, text(domain)?);
        // An address that begins like an encoded word is a name, cut at a comma that RFC 2047 §5
        // does not allow in it.
        if local.is_empty() || local.starts_with("=?") {
            return Err(AddressError::NotAnAddress);
        }
        if local.chars().chain(domain.chars()).any(char::is_control) {
            return Err(AddressError::Encoding);
        }
        let key = format!("{}@{}", local.to_lowercase(), folded(domain)?);
        let text = match local.split('.').all(|word| !word.is_empty() && word.bytes().all(is_atom)) {
            true => format!("{local}@{domain}"),
            false => format!("\"{}\"@{domain}", local.replace('\\', "\\\\").replace('"', "\\\"")),
        };
        if text.len() > ADDRESS_OCTETS { Err(AddressError::TooLong) } else { Ok(Self { text, key }) }
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Address {}

impl Hash for Address {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The addresses in one field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressList {
    /// The addresses in order, without duplicates.
    pub addresses: Vec<Address>,
    /// The position of each address's display name in the value.
    pub names: Vec<Option<Range<usize>>>,
    /// Whether every reader understands it the same way, because it has no obsolete or merely
    /// common form.
    pub plain: bool,
}

impl AddressList {
    /// Parses a field's value, folded as received. An empty value, or one with only empty groups,
    /// has no addresses.
    ///
    /// Besides RFC 5322 with its obsolete forms, these forms are accepted, but make the list not
    /// `plain`: semicolons between addresses, a group without its end, brackets in display names. A
    /// display name that is an address must equal the address after it, because otherwise it is not
    /// certain who is meant.
    ///
    /// # Errors
    /// [`AddressError`] if somebody is named, but it is not certain who.
    pub fn parse(value: &[u8]) -> Result<Self, AddressError> {
        Self::read(value, None)
    }

    /// Parses a list in which names without a domain are users of `host`, as programs write them.
    /// Such a list is not `plain`.
    ///
    /// # Errors
    /// See [`Self::parse`].
    pub fn parse_on(value: &[u8], host: &str) -> Result<Self, AddressError> {
        Self::read(value, Some(host))
    }

    fn read(value: &[u8], host: Option<&str>) -> Result<Self, AddressError> {
        let tokens = lexer::tokens(value)?;
        let mut reader =
            Reader { value, host, rest: &tokens, list: Self { plain: true, ..Self::default() }, known: HashSet::new() };
        reader.list(false)?;
        Ok(reader.list)
    }
}

struct Reader<'a> {
    value: &'a [u8],
    /// Where names without a domain are users.
    host: Option<&'a str>,
    rest: &'a [Token],
    list: AddressList,
    known: HashSet<Address>,
}

impl<'a> Reader<'a> {
    /// Parses up to the end, or up to the end of the group.
    fn list(&mut self, in_group: bool) -> Result<(), AddressError> {
        loop {
            let words = self.words();
            match self.sign() {
                Some(b'<') => {
                    self.mailbox(words)?;
                    match self.sign() {
                        Some(b';') if in_group => return Ok(()),
                        Some(b';') => self.list.plain = false,
                        Some(b',') => {}
                        None => return self.end(in_group),
                        _ => return Err(AddressError::Character),
                    }
                }
                Some(b':') if !in_group && !words.is_empty() && is_phrase(words) => {
                    self.list(true)?;
                    match self.sign() {
                        Some(b',') => {}
                        None => return Ok(()),
                        _ => return Err(AddressError::Character),
                    }
                }
                Some(b',') => self.bare(words)?,
                Some(b';') => {
                    self.bare(words)?;
                    if in_group {
                        return Ok(());
                    }
                    self.list.plain = false;
                }
                None => {
                    self.bare(words)?;
                    return self.end(in_group);
                }
                Some(_) => return Err(AddressError::Character),
            }
        }
    }

    /// Takes everything up to the next sign that cannot belong to a name or address.
    fn words(&mut self) -> &'a [Token] {
        let ends = |token: &Token| matches!(token.kind, Kind::Sign(sign) if !matches!(sign, b'.' | b'@'));
        let count = self.rest.iter().position(ends).unwrap_or(self.rest.len());
        let (words, rest) = self.rest.split_at(count);
        self.rest = rest;
        words
    }

    /// Takes the next token, which must be a sign; `None` at the end.
    fn sign(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        // A word where a sign must be counts as an unexpected sign.
        Some(if let Kind::Sign(sign) = first.kind { sign } else { 0 })
    }

    /// Parses an address without brackets, or nothing (RFC 5322 §4.4: empty elements).
    fn bare(&mut self, words: &[Token]) -> Result<(), AddressError> {
        if words.is_empty() {
            return Ok(());
        }
        self.add(words, None)
    }

    /// Parses what follows `<`.
    fn mailbox(&mut self, name: &[Token]) -> Result<(), AddressError> {
        let mut words = self.words();
        // A route (RFC 5322 §4.4): `@one,@two:` before the address.
        if words.first().is_some_and(is_at) {
            self.list.plain = false;
            loop {
                match self.sign() {
                    Some(b',') => {
                        self.words();
                    }
                    Some(b':') => break,
                    _ => return Err(AddressError::NotAnAddress),
                }
            }
            words = self.words();
        }
        if self.sign() != Some(b'>') {
            return Err(AddressError::Unbalanced);
        }
        if !is_phrase(name) {
            self.list.plain = false;
        }
        self.name_agrees(name, words)?;
        let display = name.first().zip(name.last()).map(|(first, last)| first.at.start..last.at.end);
        self.add(words, display)
    }

    /// Checks that a display name which looks like an address is the address after it.
    fn name_agrees(&self, name: &[Token], words: &[Token]) -> Result<(), AddressError> {
        if !name.iter().any(is_at) {
            return Ok(());
        }
        let told = address(self.value, name).map_err(|_| AddressError::TwoAddresses)?;
        let meant = self.address(words)?;
        if told.key.trim_matches('\'') == meant.key { Ok(()) } else { Err(AddressError::TwoAddresses) }
    }

    /// Parses an address, or the name of a user of the host.
    fn address(&self, words: &[Token]) -> Result<Address, AddressError> {
        match self.host {
            Some(host) if !words.iter().any(is_at) => user(self.value, words, host),
            _ => address(self.value, words),
        }
    }

    fn add(&mut self, words: &[Token], display: Option<Range<usize>>) -> Result<(), AddressError> {
        let address = self.address(words)?;
        self.list.plain &= words.iter().any(is_at);
        // Dots in the wrong position.
        if address.text.starts_with('"') && !matches!(words.first(), Some(Token { kind: Kind::Quoted(_), .. })) {
            self.list.plain = false;
        }
        if self.known.insert(address.clone()) {
            self.list.addresses.push(address);
            self.list.names.push(display);
        }
        Ok(())
    }

    /// The text ended, inside a group or outside.
    fn end(&mut self, in_group: bool) -> Result<(), AddressError> {
        self.list.plain &= !in_group;
        Ok(())
    }
}

/// Whether RFC 5322 §3.2.5 and §4.1 allow these words as a display name.
fn is_phrase(words: &[Token]) -> bool {
    let allowed = |token: &Token| matches!(token.kind, Kind::Atom | Kind::Quoted(_) | Kind::Sign(b'.'));
    words.iter().all(allowed)
}

fn is_at(token: &Token) -> bool {
    token.kind == Kind::Sign(b'@')
}

/// Parses `local@domain`, which must be all of the text.
fn address(value: &[u8], words: &[Token]) -> Result<Address, AddressError> {
    let at = words.iter().position(is_at).ok_or(AddressError::NotAnAddress)?;
    let apart = words.iter().skip(1).any(|token| token.apart);
    let (local_words, domain_words) = words.split_at(at);
    let domain_words = domain_words.split_first().map_or(domain_words, |(_, rest)| rest);
    let text = |token: &Token| value.get(token.at.clone()).unwrap_or_default().to_vec();
    let mut local = Vec::new();
    let mut after_word = false;
    for token in local_words {
        let word = match &token.kind {
            Kind::Sign(b'.') => {
                local.push(b'.');
                after_word = false;
                continue;
            }
            Kind::Atom => text(token),
            Kind::Quoted(content) => content.clone(),
            _ => return Err(AddressError::NotAnAddress),
        };
        // Two adjacent words are a name, not an address.
        if std::mem::replace(&mut after_word, true) {
            return Err(AddressError::NotAnAddress);
        }
        local.extend(word);
    }
    let domain = match domain_words {
        [Token { kind: Kind::Literal, at, .. }] => value.get(at.clone()).unwrap_or_default().to_vec(),
        _ => {
            let mut domain = Vec::new();
            for (number, token) in domain_words.iter().enumerate() {
                match token.kind {
                    Kind::Atom if number % 2 == 0 => domain.extend(text(token)),
                    Kind::Sign(b'.') if number % 2 == 1 => domain.push(b'.'),
                    _ => return Err(AddressError::NotAnAddress),
                }
            }
            if domain_words.len() % 2 == 0 {
                return Err(AddressError::NotAnAddress);
            }
            domain
        }
    };
    if apart { Err(AddressError::Apart) } else { Address::new(&local, &domain) }
}

/// Parses the name of a user of this host, which has no quotes, spaces or letters beyond ASCII.
fn user(value: &[u8], words: &[Token], host: &str) -> Result<Address, AddressError> {
    let (Some(first), Some(last)) = (words.first(), words.last()) else { return Err(AddressError::NotAnAddress) };
    let name = value.get(first.at.start..last.at.end).unwrap_or_default();
    let is_name = name.iter().all(|octet| octet.is_ascii() && (is_atom(*octet) || *octet == b'.'));
    if is_name { Address::new(name, host.as_bytes()) } else { Err(AddressError::NotAnAddress) }
}

/// A domain in the form for comparison.
fn folded(domain: &str) -> Result<String, AddressError> {
    if domain.is_ascii() {
        return Ok(domain.to_ascii_lowercase());
    }
    // This is a browser's parser: it drops characters, treats others as dots, and decodes percent
    // signs.
    let labels = |domain: &str| domain.split('.').count();
    let whole = |ascii: &str| ascii.split('.').all(|label| !label.is_empty()) && labels(ascii) == labels(domain);
    match url::Host::parse(domain) {
        Ok(url::Host::Domain(ascii)) if !domain.contains('%') && whole(&ascii) => Ok(ascii),
        _ => Err(AddressError::Encoding),
    }
}

#[cfg(test)]
mod tests;
