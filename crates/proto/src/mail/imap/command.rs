//! IMAP commands before the login (RFC 9051 §6.1, §6.2, §9; RFC 2971; RFC 4959; RFC 7888).
//!
//! A command is parsed as a whole: its line, and after each `{n}` at a line's end the octets of the
//! literal and the rest of the line. [`announced_literal`] alone decides where it ends, before
//! anything is parsed. So the octets of a literal are never taken for a command, however malformed
//! the line is.

use zeroize::Zeroizing;

use crate::mail::machine::is_well_formed;

/// Longest tag accepted, in octets.
const TAG_OCTETS: usize = 64;

/// Most pairs of an ID command (RFC 2971 §3.3).
const ID_PAIRS: usize = 30;

/// Most digits of a literal's size, enough for all 32-bit numbers.
const SIZE_DIGITS: usize = 10;

/// A parsed command.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command<'a> {
    Capability,
    Noop,
    Logout,
    StartTls,
    Id,
    Login {
        name: Zeroizing<Vec<u8>>,
        password: Zeroizing<Vec<u8>>,
    },
    Authenticate {
        mechanism: &'a [u8],
        initial: Option<&'a [u8]>,
    },
    /// An IMAP command that is valid only after the login.
    AfterLogin,
    /// A well-formed command that IMAP does not have, or that is not served.
    Unknown,
}

/// The announcement of a literal at the end of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Literal {
    /// `None` if the number is too large.
    pub(super) octets: Option<usize>,
    /// Whether the client waits for a continuation before it sends the octets.
    pub(super) synchronising: bool,
}

/// The literal that a line announces, if any: `{n}` or `{n+}` at its end, whatever precedes it.
pub(super) fn announced_literal(line: &[u8]) -> Option<Literal> {
    let line = line.strip_suffix(b"}")?;
    let (line, synchronising) = line.strip_suffix(b"+").map_or((line, true), |line| (line, false));
    let digits = line.iter().rev().take_while(|octet| octet.is_ascii_digit()).count();
    let (begin, digits) = line.split_at(line.len() - digits);
    if digits.is_empty() || begin.last() != Some(&b'{') {
        return None;
    }
    Some(Literal { octets: number(digits), synchronising })
}

fn number(digits: &[u8]) -> Option<usize> {
    // Only digits, because `parse` would also accept a sign.
    if digits.len() > SIZE_DIGITS || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The tag at the beginning of a command, and what follows it (RFC 9051 §9: any ASTRING-CHAR except
/// `+`).
pub(super) fn tag(command: &[u8]) -> Option<(&str, &[u8])> {
    // The search ends at the longest tag, because a line is examined each time that a piece of it
    // arrives.
    let end = command.iter().take(TAG_OCTETS + 1).position(|&octet| octet == b' ')?;
    let (tag, rest) = command.split_at_checked(end)?;
    let is_tag_char = |b: &u8| b.is_ascii_graphic() && !b"(){%*\"\\+".contains(b);
    let good = !tag.is_empty() && tag.iter().all(is_tag_char);
    // The text is ASCII, so this does not fail.
    good.then(|| std::str::from_utf8(tag).ok()).flatten().zip(rest.get(1..))
}

/// True if a line, perhaps incomplete, begins an AUTHENTICATE command, which may be longer than
/// others.
pub(super) fn begins_authenticate(line: &[u8]) -> bool {
    const NAME: &[u8] = b"AUTHENTICATE ";
    tag(line).is_some_and(|(_, rest)| rest.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME)))
}

/// True if a command begins with LOGIN.
pub(super) fn begins_login(line: &[u8]) -> bool {
    const NAME: &[u8] = b"LOGIN ";
    tag(line).is_some_and(|(_, rest)| rest.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME)))
}

/// Parses what follows the tag. `None` if it is no command, or if its arguments are wrong.
pub(super) fn parse(rest: &[u8]) -> Option<Command<'_>> {
    let end = rest.iter().position(|&octet| octet == b' ').unwrap_or(rest.len());
    let (name, arguments) = rest.split_at(end);
    let name = name.to_ascii_uppercase();
    // A literal at the end of LOGIN may end in blanks. Elsewhere they mean nothing.
    let arguments = if name == b"LOGIN" { arguments } else { arguments.trim_ascii_end() };
    match (name.as_slice(), arguments) {
        (b"CAPABILITY", b"") => Some(Command::Capability),
        (b"NOOP", b"") => Some(Command::Noop),
        (b"LOGOUT", b"") => Some(Command::Logout),
        (b"STARTTLS", b"") => Some(Command::StartTls),
        (b"ID", arguments) => id(arguments),
        (b"LOGIN", arguments) => login(arguments),
        (b"AUTHENTICATE", arguments) => authenticate(arguments),
        (name, _) if AFTER_LOGIN.contains(&name) => Some(Command::AfterLogin),
        // Their arguments are wrong.
        (b"CAPABILITY" | b"NOOP" | b"LOGOUT" | b"STARTTLS", _) => None,
        _ => is_well_formed(rest).then_some(Command::Unknown),
    }
}

/// Commands that clients send directly after their login. If they come too early, that is no sign
/// of an attack.
const AFTER_LOGIN: [&[u8]; 21] = [
    b"APPEND",
    b"CHECK",
    b"CLOSE",
    b"CREATE",
    b"DELETE",
    b"ENABLE",
    b"EXAMINE",
    b"EXPUNGE",
    b"FETCH",
    b"GETQUOTAROOT",
    b"IDLE",
    b"LIST",
    b"LSUB",
    b"NAMESPACE",
    b"RENAME",
    b"SEARCH",
    b"SELECT",
    b"STATUS",
    b"STORE",
    b"SUBSCRIBE",
    b"UID",
];

fn login(arguments: &[u8]) -> Option<Command<'_>> {
    let (name, rest) = login_string(arguments.strip_prefix(b" ")?)?;
    let (password, rest) = login_string(rest.strip_prefix(b" ")?)?;
    rest.iter().all(|&octet| octet == b' ').then_some(Command::Login { name, password })
}

fn authenticate(arguments: &[u8]) -> Option<Command<'_>> {
    let mut words = arguments.strip_prefix(b" ")?.split(|&octet| octet == b' ');
    let mechanism = words.next().filter(|mechanism| !mechanism.is_empty())?;
    let initial = words.next();
    words.next().is_none().then_some(Command::Authenticate { mechanism, initial })
}

/// `NIL`, or one flat list of at most [`ID_PAIRS`] pairs. Nothing of it is kept, because it is not
/// reliable.
fn id(arguments: &[u8]) -> Option<Command<'_>> {
    let arguments = arguments.strip_prefix(b" ")?;
    if arguments.eq_ignore_ascii_case(b"NIL") {
        return Some(Command::Id);
    }
    let mut rest = arguments.strip_prefix(b"(")?;
    let mut strings = 0;
    while rest != b")" {
        if strings == 2 * ID_PAIRS {
            return None;
        }
        if strings > 0 {
            rest = rest.strip_prefix(b" ")?;
        }
        (_, rest) = string(rest)?;
        strings += 1;
    }
    (strings % 2 == 0).then_some(Command::Id)
}

/// An astring (RFC 9051 §9) and what follows it. Octets beyond ASCII are accepted, for RFC 9051
/// §4.3 and for old clients with passwords in a code page. What looks like an atom may also hold
/// `%`, `*`, `\` and `]`, for scripts that do not quote a password.
fn string(input: &[u8]) -> Option<(Zeroizing<Vec<u8>>, &[u8])> {
    match input.split_first()? {
        (b'"', rest) => quoted(rest),
        (b'{', _) => literal(input),
        _ => atom(input, b"(){\""),
    }
}

/// An argument of LOGIN: the same, and what looks like an atom may also hold parentheses and
/// braces, unless it has the form of a literal.
fn login_string(input: &[u8]) -> Option<(Zeroizing<Vec<u8>>, &[u8])> {
    match input.first()? {
        b'"' => string(input),
        b'{' if has_form_of_literal(input) => literal(input),
        _ => atom(input, b"\""),
    }
}

/// Octets up to the next blank, control or one of `excluded`.
fn atom<'a>(input: &'a [u8], excluded: &[u8]) -> Option<(Zeroizing<Vec<u8>>, &'a [u8])> {
    let is_atom_char = |b: &u8| *b > b' ' && *b != 0x7f && !excluded.contains(b);
    let end = input.iter().position(|octet| !is_atom_char(octet)).unwrap_or(input.len());
    let (atom, rest) = input.split_at(end);
    (!atom.is_empty()).then(|| (Zeroizing::new(atom.to_vec()), rest))
}

/// True for `{n}` and `{n+}`, up to a blank or the end of the line.
fn has_form_of_literal(input: &[u8]) -> bool {
    let end = input.iter().position(|octet| octet.is_ascii_whitespace()).unwrap_or(input.len());
    announced_literal(input.split_at(end).0).is_some()
}

/// The rest of a quoted string, whose only escapes are `\"` and `\\`. A backslash before anything
/// else stands for itself, for scripts that quote a password without escaping it.
fn quoted(mut rest: &[u8]) -> Option<(Zeroizing<Vec<u8>>, &[u8])> {
    let mut text = Zeroizing::new(Vec::with_capacity(rest.len()));
    loop {
        match rest {
            [b'"', after @ ..] => return Some((text, after)),
            [b'\\', octet @ (b'"' | b'\\'), after @ ..] => {
                text.push(*octet);
                rest = after;
            }
            [] | [b'\\'] | [b'\r' | b'\n' | b'\0', ..] => return None,
            [octet, after @ ..] => {
                text.push(*octet);
                rest = after;
            }
        }
    }
}

fn literal(input: &[u8]) -> Option<(Zeroizing<Vec<u8>>, &[u8])> {
    let end = input.iter().position(|&octet| octet == b'\r')?;
    let (announcement, rest) = input.split_at(end);
    // The opening brace is the first octet, so nothing else can precede the number.
    let inner = announcement.strip_prefix(b"{")?.strip_suffix(b"}")?;
    let count = number(inner.strip_suffix(b"+").unwrap_or(inner))?;
    let (octets, rest) = rest.strip_prefix(b"\r\n")?.split_at_checked(count)?;
    (!octets.contains(&b'\0')).then(|| (Zeroizing::new(octets.to_vec()), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed_login(arguments: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        match parse(&[b"LOGIN ", arguments].concat())? {
            Command::Login { name, password } => Some((name.to_vec(), password.to_vec())),
            other => panic!("expected LOGIN, not {other:?}"),
        }
    }

    #[test]
    fn login_takes_every_form_of_string() {
        for arguments in [
            &b"joe secret"[..],
            b"\"joe\" \"secret\"",
            b"joe \"secret\"",
            b"{3}\r\njoe {6}\r\nsecret",
            b"{3+}\r\njoe {6+}\r\nsecret",
            b"joe {6+}\r\nsecret",
            b"\"joe\" secret",
        ] {
            assert_eq!(parsed_login(arguments), Some((b"joe".to_vec(), b"secret".to_vec())), "{arguments:?}");
        }
    }

    #[test]
    fn strings_hold_what_they_may() {
        assert_eq!(parsed_login(b"joe \"a \\\"b\\\\\"").unwrap().1, b"a \"b\\");
        assert_eq!(parsed_login(b"joe {4}\r\na\r\nb").unwrap().1, b"a\r\nb");
        assert_eq!(parsed_login(b"joe \"\xe4\xc3\xa4\"").unwrap().1, b"\xe4\xc3\xa4");
        assert_eq!(parsed_login(b"joe p%*]\\").unwrap().1, b"p%*]\\");
        assert_eq!(parsed_login(b"\"\" {0}\r\n"), Some((vec![], vec![])));
    }

    #[test]
    fn what_has_one_meaning_is_taken() {
        for (arguments, password) in [
            (&b"joe (secret)"[..], &b"(secret)"[..]),
            (b"joe s{cr(e)t", b"s{cr(e)t"),
            (b"joe {secret}", b"{secret}"),
            (b"joe {6-}", b"{6-}"),
            (b"joe secret  ", b"secret"),
            (b"joe \"a\\b\\\\\" ", b"a\\b\\"),
            (b"joe {7}\r\nsecret  ", b"secret "),
        ] {
            assert_eq!(parsed_login(arguments), Some((b"joe".to_vec(), password.to_vec())), "{arguments:?}");
        }
        assert_eq!(parse(b"NOOP  "), Some(Command::Noop));
        assert_eq!(parse(b"ID NIL "), Some(Command::Id));
        assert_eq!(parse(b"AUTHENTICATE PLAIN "), Some(Command::Authenticate { mechanism: b"PLAIN", initial: None }));
    }

    #[test]
    fn malformed_logins() {
        for arguments in [
            &b""[..],
            b"joe",
            b"joe ",
            b"joe  secret",
            b"joe secret more",
            b"\"joe secret",
            b"\"joe\"secret",
            b"joe \"a\\",
            b"joe \"a\\\"",
            b"joe s\"cret\"",
            b"joe {6} ",
            b"joe {6+} x",
            b"joe {6}\r\nshort",
            b"joe {3}\r\na\0b",
            b"joe {3}\nabc",
            b"joe {99999999999}\r\nabc",
            b"joe {+1}\r\na",
            b"joe {6}",
            b"joe a\x01b",
        ] {
            assert_eq!(parsed_login(arguments), None, "{arguments:?}");
        }
    }

    #[test]
    fn a_literal_is_announced_by_the_end_of_a_line() {
        let literal = |octets, synchronising| Some(Literal { octets, synchronising });
        for (line, announced) in [
            (&b"a LOGIN {3}"[..], literal(Some(3), true)),
            (b"a LOGIN {3+}", literal(Some(3), false)),
            (b"x{0000000007}", literal(Some(7), true)),
            (b"\"{5}", literal(Some(5), true)),
            (b"{12345678901}", literal(None, true)),
            (b"{12345678901+}", literal(None, false)),
            (b"{}", None),
            (b"{+}", None),
            (b"{3-}", None),
            (b"3}", None),
            (b"{3} ", None),
            (b"{{3}", literal(Some(3), true)),
            (b"", None),
        ] {
            assert_eq!(announced_literal(line), announced, "{line:?}");
        }
    }

    #[test]
    fn tags_are_checked() {
        assert_eq!(tag(b"a1 NOOP"), Some(("a1", &b"NOOP"[..])));
        assert_eq!(tag(b"]. x"), Some(("].", &b"x"[..])));
        let longest = "a".repeat(TAG_OCTETS);
        assert_eq!(tag(format!("{longest} x").as_bytes()), Some((&*longest, &b"x"[..])));
        let long = [&[b'a'; 65][..], b" NOOP"].concat();
        for bad in [&b""[..], b"a1", b" NOOP", b"+ NOOP", b"a* NOOP", b"a\x01 NOOP", b"\xe4 NOOP", &long] {
            assert_eq!(tag(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn authenticate_with_and_without_initial_response() {
        let parsed = |line: &'static [u8]| parse(line);
        assert_eq!(parsed(b"authenticate plain"), Some(Command::Authenticate { mechanism: b"plain", initial: None }));
        assert_eq!(
            parsed(b"AUTHENTICATE PLAIN ="),
            Some(Command::Authenticate { mechanism: b"PLAIN", initial: Some(b"=") })
        );
        for bad in [&b"AUTHENTICATE"[..], b"AUTHENTICATE ", b"AUTHENTICATE PLAIN a b"] {
            assert_eq!(parsed(bad), None, "{bad:?}");
        }
        assert!(begins_authenticate(b"a authenticate PLA"));
        assert!(!begins_authenticate(b"a AUTHENTICATE"));
        assert!(!begins_authenticate(b"AUTHENTICATE PLAIN x"));
    }

    #[test]
    fn id_is_flat_and_short() {
        let pairs = |count: usize| format!("ID ({})", vec!["\"k\" NIL"; count].join(" "));
        assert_eq!(parse(b"ID NIL"), Some(Command::Id));
        assert_eq!(parse(b"id (\"name\" \"x\" \"version\" {1}\r\ny)"), Some(Command::Id));
        assert_eq!(parse(b"ID ()"), Some(Command::Id));
        assert_eq!(parse(pairs(30).as_bytes()), Some(Command::Id));
        for bad in
            [&b"ID"[..], b"ID (", b"ID (\"a\")", b"ID ((\"a\" \"b\"))", b"ID (\"a\" \"b\") x", pairs(31).as_bytes()]
        {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn other_commands() {
        assert_eq!(parse(b"capability"), Some(Command::Capability));
        assert_eq!(parse(b"SELECT INBOX"), Some(Command::AfterLogin));
        assert_eq!(parse(b"FROBNICATE now"), Some(Command::Unknown));
        for bad in [&b""[..], b"NOOP x", b"STARTTLS now", b"Host: x", b"{FROBNICATE"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
