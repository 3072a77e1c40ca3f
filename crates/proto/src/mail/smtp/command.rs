//! SMTP commands before the login (RFC 5321 §4.1, RFC 3207 §4, RFC 4954 §4).

/// A parsed command.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command<'a> {
    /// The name that the client gives, if any, is not checked (RFC 5321 §4.1.4).
    Ehlo,
    Helo,
    /// `false` if there is an argument, which the command does not have.
    StartTls(bool),
    /// `None` if there is no mechanism, or too many arguments.
    Auth(Option<Auth<'a>>),
    Noop,
    Rset,
    Vrfy,
    Help,
    Quit,
    /// A command of a mail transaction.
    Transaction,
    /// Known, but not for a submission service.
    NotImplemented,
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

/// True if a line is a MAIL command.
pub(super) fn begins_message(line: &[u8]) -> bool {
    line.get(..5).is_some_and(|begin| begin.eq_ignore_ascii_case(b"MAIL "))
}

/// Parses a line. Several spaces between words, and blanks at the end, are accepted, because old
/// devices send them.
pub(super) fn parse(line: &[u8]) -> Command<'_> {
    let mut words = line.split(|&octet| octet == b' ').filter(|word| !word.is_empty());
    let name = words.next().unwrap_or_default().to_ascii_uppercase();
    match name.as_slice() {
        b"EHLO" => Command::Ehlo,
        b"HELO" => Command::Helo,
        b"STARTTLS" => Command::StartTls(words.next().is_none()),
        b"AUTH" => Command::Auth(auth(words)),
        b"NOOP" => Command::Noop,
        b"RSET" => Command::Rset,
        b"VRFY" => Command::Vrfy,
        b"HELP" => Command::Help,
        b"QUIT" => Command::Quit,
        b"MAIL" | b"RCPT" | b"DATA" | b"BDAT" | b"BURL" => Command::Transaction,
        b"EXPN" | b"TURN" | b"ETRN" | b"SEND" | b"SOML" | b"SAML" => Command::NotImplemented,
        _ => Command::Unknown,
    }
}

fn auth<'a>(mut words: impl Iterator<Item = &'a [u8]>) -> Option<Auth<'a>> {
    let auth = Auth { mechanism: words.next()?, initial: words.next() };
    words.next().is_none().then_some(auth)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auth_as_old_clients_send_it() {
        let auth = |mechanism, initial| Command::Auth(Some(Auth { mechanism, initial }));
        assert_eq!(parse(b"AUTH PLAIN"), auth(b"PLAIN", None));
        assert_eq!(parse(b"auth login YQ=="), auth(b"login", Some(b"YQ==")));
        assert_eq!(parse(b"AUTH  LOGIN "), auth(b"LOGIN", None));
        assert_eq!(parse(b"AUTH"), Command::Auth(None));
        assert_eq!(parse(b"AUTH PLAIN a b"), Command::Auth(None));
        assert!(begins_auth(b"auth l"));
        assert!(!begins_auth(b"AUTHOR"));
    }

    #[test]
    fn commands_in_any_case_and_with_blanks() {
        assert_eq!(parse(b"ehlo my_scanner "), Command::Ehlo);
        assert_eq!(parse(b"EHLO"), Command::Ehlo);
        assert_eq!(parse(b"quit \x1b[A"), Command::Quit);
        assert_eq!(parse(b"MAIL FROM:<a@b>"), Command::Transaction);
        assert_eq!(parse(b"STARTTLS"), Command::StartTls(true));
        assert_eq!(parse(b"STARTTLS x"), Command::StartTls(false));
        assert_eq!(parse(b"ETRN x"), Command::NotImplemented);
        for unknown in [&b""[..], b"LHLO x", b"XCLIENT NAME=x", b"MAILFROM:<a@b>"] {
            assert_eq!(parse(unknown), Command::Unknown, "{unknown:?}");
        }
    }
}
