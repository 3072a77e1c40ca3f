//! POP3 commands after the login (RFC 1939 §5 to §7, RFC 2449 §5).

/// A parsed command. Numbers are message numbers; whether such a message exists is not checked
/// here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Stat,
    List(Option<u32>),
    Uidl(Option<u32>),
    Retr(u32),
    Top {
        number: u32,
        lines: u64,
    },
    Dele(u32),
    Rset,
    Noop,
    Capa,
    Quit,
    /// A command that is valid only before the login.
    BeforeLogin,
}

/// Why a line is not a valid command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CommandError {
    Unknown,
    Arguments,
}

/// Parses a line.
pub(super) fn parse(line: &[u8]) -> Result<Command, CommandError> {
    let mut words = line.split(|&octet| octet == b' ').filter(|word| !word.is_empty());
    let name = words.next().unwrap_or_default().to_ascii_uppercase();
    let arguments = (words.next(), words.next(), words.next());
    let command = match (name.as_slice(), arguments) {
        (b"STAT", (None, ..)) => Command::Stat,
        (b"LIST", (None, ..)) => Command::List(None),
        (b"LIST", (Some(number), None, _)) => Command::List(Some(message(number)?)),
        (b"UIDL", (None, ..)) => Command::Uidl(None),
        (b"UIDL", (Some(number), None, _)) => Command::Uidl(Some(message(number)?)),
        (b"RETR", (Some(number), None, _)) => Command::Retr(message(number)?),
        (b"TOP", (Some(number), Some(lines), None)) => Command::Top { number: message(number)?, lines: count(lines)? },
        (b"DELE", (Some(number), None, _)) => Command::Dele(message(number)?),
        (b"RSET", (None, ..)) => Command::Rset,
        (b"NOOP", (None, ..)) => Command::Noop,
        (b"CAPA", (None, ..)) => Command::Capa,
        (b"QUIT", _) => Command::Quit,
        (b"USER" | b"PASS" | b"AUTH" | b"APOP" | b"STLS", _) => Command::BeforeLogin,
        (b"STAT" | b"LIST" | b"UIDL" | b"RETR" | b"TOP" | b"DELE" | b"RSET" | b"NOOP" | b"CAPA", _) => {
            return Err(CommandError::Arguments);
        }
        _ => return Err(CommandError::Unknown),
    };
    Ok(command)
}

/// A message number. A number that is too large becomes one that no message has.
fn message(word: &[u8]) -> Result<u32, CommandError> {
    count(word).map(|number| u32::try_from(number).unwrap_or(u32::MAX))
}

/// A number of at most ten digits.
fn count(word: &[u8]) -> Result<u64, CommandError> {
    if word.len() > 10 || !word.iter().all(u8::is_ascii_digit) {
        return Err(CommandError::Arguments);
    }
    Ok(word.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands() {
        for (line, command) in [
            (&b"STAT"[..], Command::Stat),
            (b"stat ", Command::Stat),
            (b"LIST", Command::List(None)),
            (b"LIST 7", Command::List(Some(7))),
            (b"uidl  7 ", Command::Uidl(Some(7))),
            (b"RETR 0012", Command::Retr(12)),
            (b"RETR 9999999999", Command::Retr(u32::MAX)),
            (b"TOP 3 0", Command::Top { number: 3, lines: 0 }),
            (b"TOP 3 9999999999", Command::Top { number: 3, lines: 9_999_999_999 }),
            (b"DELE 1", Command::Dele(1)),
            (b"Rset", Command::Rset),
            (b"NOOP", Command::Noop),
            (b"CAPA", Command::Capa),
            (b"QUIT now", Command::Quit),
            (b"USER alice", Command::BeforeLogin),
            (b"STLS", Command::BeforeLogin),
        ] {
            assert_eq!(parse(line), Ok(command), "{:?}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn what_is_no_command() {
        for line in [&b""[..], b" ", b"XTND", b"STATUS", b"GET / HTTP/1.1", b"\xFF"] {
            assert_eq!(parse(line), Err(CommandError::Unknown), "{line:?}");
        }
        for line in [
            &b"RETR"[..],
            b"RETR x",
            b"RETR -1",
            b"RETR +1",
            b"RETR 1 2",
            b"TOP 1",
            b"TOP 1 x",
            b"TOP 1 2 3",
            b"STAT 1",
        ] {
            assert_eq!(parse(line), Err(CommandError::Arguments), "{line:?}");
        }
        assert_eq!(parse(b"RETR 99999999999"), Err(CommandError::Arguments));
        assert_eq!(parse(b"RETR 1.0"), Err(CommandError::Arguments));
    }
}
