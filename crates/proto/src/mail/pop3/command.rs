//! POP3 commands before the login (RFC 1939 §7, RFC 2449 §5, RFC 2595 §4, RFC 5034 §4).

use crate::mail::machine::is_well_formed;

/// A parsed command.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command<'a> {
    Capa,
    User(&'a [u8]),
    Pass(&'a [u8]),
    /// Without a mechanism, it asks for the list of mechanisms.
    Auth(Option<Auth<'a>>),
    Stls,
    Noop,
    Quit,
    /// A POP3 command that is valid only after the login.
    AfterLogin,
    /// A well-formed command that POP3 does not have, or that is not served (`APOP`, `UTF8`).
    Unknown,
}

/// The arguments of AUTH.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Auth<'a> {
    pub(super) mechanism: &'a [u8],
    pub(super) initial: Option<&'a [u8]>,
}

/// True if a line, perhaps incomplete, begins an AUTH command, which may be longer than others.
pub(super) fn begins_auth(line: &[u8]) -> bool {
    line.get(..5).is_some_and(|begin| begin.eq_ignore_ascii_case(b"AUTH "))
}

/// Parses a line. `None` if it is no command, or if its arguments are wrong.
pub(super) fn parse(line: &[u8]) -> Option<Command<'_>> {
    let end = line.iter().position(|&octet| octet == b' ').unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    // Spaces belong to a password (RFC 1939 §7), so only the first one after the name separates the
    // argument.
    let argument = rest.strip_prefix(b" ").unwrap_or_default();
    let name = name.to_ascii_uppercase();
    match (name.as_slice(), argument.trim_ascii()) {
        (b"CAPA", b"") => Some(Command::Capa),
        (b"USER", user) => Some(Command::User(user)),
        (b"PASS", _) => Some(Command::Pass(argument)),
        (b"AUTH", arguments) => auth(arguments).map(Command::Auth),
        (b"STLS", b"") => Some(Command::Stls),
        (b"NOOP", b"") => Some(Command::Noop),
        (b"QUIT", _) => Some(Command::Quit),
        (b"STAT" | b"LIST" | b"UIDL" | b"RETR" | b"DELE" | b"RSET" | b"TOP", _) => Some(Command::AfterLogin),
        // Their arguments are wrong.
        (b"CAPA" | b"STLS" | b"NOOP", _) => None,
        _ => is_well_formed(line).then_some(Command::Unknown),
    }
}

fn auth(arguments: &[u8]) -> Option<Option<Auth<'_>>> {
    let mut words = arguments.split(|&octet| octet == b' ').filter(|word| !word.is_empty());
    let Some(mechanism) = words.next() else { return Some(None) };
    let initial = words.next();
    words.next().is_none().then_some(Some(Auth { mechanism, initial }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_keeps_its_spaces() {
        assert_eq!(parse(b"PASS  a b "), Some(Command::Pass(b" a b ")));
        assert_eq!(parse(b"pass"), Some(Command::Pass(b"")));
    }

    #[test]
    fn a_user_has_no_blanks_around_it() {
        assert_eq!(parse(b"user alice@contoso.com  "), Some(Command::User(b"alice@contoso.com")));
        assert_eq!(parse(b"USER"), Some(Command::User(b"")));
    }

    #[test]
    fn auth_with_and_without_arguments() {
        let auth = |mechanism, initial| Some(Command::Auth(Some(Auth { mechanism, initial })));
        assert_eq!(parse(b"AUTH"), Some(Command::Auth(None)));
        assert_eq!(parse(b"AUTH "), Some(Command::Auth(None)));
        assert_eq!(parse(b"auth plain"), auth(b"plain", None));
        assert_eq!(parse(b"AUTH PLAIN ="), auth(b"PLAIN", Some(b"=")));
        assert_eq!(parse(b"AUTH PLAIN a b"), None);
        assert!(begins_auth(b"auth p"));
        assert!(!begins_auth(b"AUTH"));
    }

    #[test]
    fn other_commands() {
        assert_eq!(parse(b"QUIT now"), Some(Command::Quit));
        assert_eq!(parse(b"RETR 1"), Some(Command::AfterLogin));
        for unknown in [&b"APOP a b"[..], b"UTF8", b"LANG *", b"EHLO x"] {
            assert_eq!(parse(unknown), Some(Command::Unknown), "{unknown:?}");
        }
        for bad in [&b""[..], b" CAPA", b"CAPA x", b"STLS x", b"Host: x", b"AP\x01P"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
