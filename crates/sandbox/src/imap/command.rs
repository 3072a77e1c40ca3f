//! IMAP commands as values (RFC 9051 §6, as far as Exchange Online offers them).

use super::attribute::{Attribute, attributes};
use super::lexer::{CommandRefused, Lexer, Malformed, Parsed, SequenceSet};
use super::search::{Key, program};
use crate::calendar;
use crate::store::Flags;

/// A command without its tag.
#[derive(Debug, PartialEq)]
pub(super) enum Command {
    Capability,
    Noop,
    Check,
    Logout,
    Id,
    Namespace,
    Idle,
    Login,
    Authenticate {
        mechanism: String,
        initial: Option<Vec<u8>>,
    },
    List {
        reference: String,
        pattern: String,
        subscribed_only: bool,
    },
    Status {
        mailbox: String,
        items: Vec<StatusItem>,
    },
    Select {
        mailbox: String,
        read_only: bool,
    },
    Create(String),
    Delete(String),
    Rename {
        from: String,
        to: String,
    },
    Subscribe {
        mailbox: String,
        subscribed: bool,
    },
    Append {
        mailbox: String,
        flags: Flags,
        received_at: Option<i64>,
        content: Vec<u8>,
    },
    Close,
    Unselect,
    /// EXPUNGE or, with UIDs, UID EXPUNGE.
    Expunge(Option<SequenceSet>),
    Search {
        program: Key,
        by_uid: bool,
    },
    Fetch {
        set: SequenceSet,
        attributes: Vec<Attribute>,
        by_uid: bool,
    },
    Store {
        set: SequenceSet,
        change: FlagChange,
        flags: Flags,
        silent: bool,
        by_uid: bool,
    },
    Copy {
        set: SequenceSet,
        mailbox: String,
        by_uid: bool,
    },
    Move {
        set: SequenceSet,
        mailbox: String,
        by_uid: bool,
    },
}

/// What STORE does with the flags that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FlagChange {
    Replace,
    Add,
    Remove,
}

/// What STATUS tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StatusItem {
    Messages,
    Recent,
    UidNext,
    UidValidity,
    Unseen,
}

impl Command {
    /// Reads what follows the tag and its space.
    pub(super) fn parse(octets: &[u8]) -> Result<Self, CommandRefused> {
        let mut lexer = Lexer::new(octets);
        let name = lexer.atom().map_err(|_| CommandRefused::Unknown)?.to_ascii_uppercase();
        let command = match name.as_str() {
            "UID" => {
                lexer.space()?;
                let name = lexer.atom()?.to_ascii_uppercase();
                on_messages(&name, &mut lexer, true)?
            }
            name @ ("FETCH" | "STORE" | "SEARCH" | "COPY" | "MOVE" | "EXPUNGE") => {
                on_messages(name, &mut lexer, false)?
            }
            name => on_session_or_folders(name, &mut lexer)?,
        };
        lexer.end()?;
        Ok(command)
    }
}

fn on_session_or_folders(name: &str, lexer: &mut Lexer<'_>) -> Result<Command, CommandRefused> {
    Ok(match name {
        "CAPABILITY" => Command::Capability,
        "NOOP" => Command::Noop,
        "CHECK" => Command::Check,
        "LOGOUT" => Command::Logout,
        "NAMESPACE" => Command::Namespace,
        "IDLE" => Command::Idle,
        "CLOSE" => Command::Close,
        "UNSELECT" => Command::Unselect,
        "ID" => {
            lexer.space()?;
            parameters(lexer)?;
            Command::Id
        }
        "LOGIN" => {
            for _ in 0..2 {
                lexer.space()?;
                lexer.astring()?;
            }
            Command::Login
        }
        "AUTHENTICATE" => {
            lexer.space()?;
            let mechanism = lexer.atom()?.to_ascii_uppercase();
            let initial = if lexer.take(b' ') { Some(lexer.astring()?) } else { None };
            Command::Authenticate { mechanism, initial }
        }
        "LIST" | "LSUB" => {
            lexer.space()?;
            let reference = lexer.mailbox()?;
            lexer.space()?;
            Command::List { reference, pattern: lexer.pattern()?, subscribed_only: name == "LSUB" }
        }
        "STATUS" => {
            let mailbox = mailbox(lexer)?;
            lexer.space()?;
            Command::Status { mailbox, items: lexer.list(status_item)? }
        }
        "SELECT" => Command::Select { mailbox: mailbox(lexer)?, read_only: false },
        "EXAMINE" => Command::Select { mailbox: mailbox(lexer)?, read_only: true },
        "CREATE" => Command::Create(mailbox(lexer)?),
        "DELETE" => Command::Delete(mailbox(lexer)?),
        "RENAME" => Command::Rename { from: mailbox(lexer)?, to: mailbox(lexer)? },
        "SUBSCRIBE" => Command::Subscribe { mailbox: mailbox(lexer)?, subscribed: true },
        "UNSUBSCRIBE" => Command::Subscribe { mailbox: mailbox(lexer)?, subscribed: false },
        "APPEND" => append(lexer)?,
        _ => return Err(CommandRefused::Unknown),
    })
}

fn on_messages(name: &str, lexer: &mut Lexer<'_>, by_uid: bool) -> Result<Command, CommandRefused> {
    if name == "EXPUNGE" {
        let uids = if by_uid { Some(set(lexer)?) } else { None };
        return Ok(Command::Expunge(uids));
    }
    if name == "SEARCH" {
        lexer.space()?;
        return Ok(Command::Search { program: program(lexer)?, by_uid });
    }
    if !matches!(name, "FETCH" | "STORE" | "COPY" | "MOVE") {
        return Err(CommandRefused::Unknown);
    }
    let set = set(lexer)?;
    Ok(match name {
        "FETCH" => {
            lexer.space()?;
            Command::Fetch { set, attributes: attributes(lexer)?, by_uid }
        }
        "STORE" => {
            lexer.space()?;
            let change = match (lexer.take(b'+'), lexer.take(b'-')) {
                (true, false) => FlagChange::Add,
                (false, true) => FlagChange::Remove,
                (false, false) => FlagChange::Replace,
                (true, true) => return Err(CommandRefused::Arguments),
            };
            let silent = match lexer.word()?.to_ascii_uppercase().as_str() {
                "FLAGS" => false,
                "FLAGS.SILENT" => true,
                _ => return Err(CommandRefused::Arguments),
            };
            lexer.space()?;
            Command::Store { set, change, flags: flags(lexer)?, silent, by_uid }
        }
        "COPY" => Command::Copy { set, mailbox: mailbox(lexer)?, by_uid },
        _ => Command::Move { set, mailbox: mailbox(lexer)?, by_uid },
    })
}

fn set(lexer: &mut Lexer<'_>) -> Parsed<SequenceSet> {
    lexer.space()?;
    lexer.sequence_set()
}

fn mailbox(lexer: &mut Lexer<'_>) -> Parsed<String> {
    lexer.space()?;
    lexer.mailbox()
}

/// The argument of ID (RFC 2971): NIL or a list of strings and NILs.
fn parameters(lexer: &mut Lexer<'_>) -> Parsed<()> {
    if lexer.peek() == Some(b'(') {
        lexer.list(Lexer::astring).map(|_| ())
    } else if lexer.atom()?.eq_ignore_ascii_case("NIL") {
        Ok(())
    } else {
        Err(Malformed)
    }
}

fn status_item(lexer: &mut Lexer<'_>) -> Parsed<StatusItem> {
    match lexer.atom()?.to_ascii_uppercase().as_str() {
        "MESSAGES" => Ok(StatusItem::Messages),
        "RECENT" => Ok(StatusItem::Recent),
        "UIDNEXT" => Ok(StatusItem::UidNext),
        "UIDVALIDITY" => Ok(StatusItem::UidValidity),
        "UNSEEN" => Ok(StatusItem::Unseen),
        _ => Err(Malformed),
    }
}

/// Flags with or without parentheses; those that are not kept are dropped.
fn flags(lexer: &mut Lexer<'_>) -> Parsed<Flags> {
    let names = if lexer.peek() == Some(b'(') {
        lexer.list(Lexer::flag)?
    } else {
        let mut names = vec![lexer.flag()?];
        while lexer.take(b' ') {
            names.push(lexer.flag()?);
        }
        names
    };
    Ok(names.iter().fold(Flags::default(), |flags, name| flags.with(Flags::named(name))))
}

fn append(lexer: &mut Lexer<'_>) -> Parsed<Command> {
    let mailbox = mailbox(lexer)?;
    lexer.space()?;
    let mut kept = Flags::default();
    if lexer.peek() == Some(b'(') {
        kept = flags(lexer)?;
        lexer.space()?;
    }
    let mut received_at = None;
    if lexer.peek() == Some(b'"') {
        let date = String::from_utf8(lexer.string()?).map_err(|_| Malformed)?;
        received_at = Some(calendar::parse_date_time(&date).ok_or(Malformed)?);
        lexer.space()?;
    }
    Ok(Command::Append { mailbox, flags: kept, received_at, content: lexer.literal()?.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read() {
        let append = Command::parse(b"append \"Sent Items\" (\\Seen) \" 7-Feb-1994 21:52:25 -0800\" {4}\r\na\r\nb");
        assert_eq!(
            append,
            Ok(Command::Append {
                mailbox: "Sent Items".into(),
                flags: Flags::SEEN,
                received_at: Some(760_686_745),
                content: b"a\r\nb".to_vec()
            })
        );
        let store = Command::parse(b"UID STORE 4:* -FLAGS.SILENT \\Seen \\Deleted").unwrap();
        let Command::Store { change, flags, silent, by_uid, .. } = store else { panic!("{store:?}") };
        assert_eq!((change, silent, by_uid), (FlagChange::Remove, true, true));
        assert_eq!(flags, Flags::SEEN.with(Flags::DELETED));
        assert_eq!(
            Command::parse(b"LSUB \"\" %"),
            Ok(Command::List { reference: String::new(), pattern: "%".into(), subscribed_only: true })
        );
        assert_eq!(Command::parse(b"ID (\"name\" \"x\" \"version\" NIL)"), Ok(Command::Id));
        assert_eq!(
            Command::parse(b"authenticate xoauth2 dXNlcg=="),
            Ok(Command::Authenticate { mechanism: "XOAUTH2".into(), initial: Some(b"dXNlcg==".to_vec()) })
        );
    }

    #[test]
    fn what_is_not_understood_is_told_apart() {
        assert_eq!(Command::parse(b"FROB"), Err(CommandRefused::Unknown));
        assert_eq!(Command::parse(b"UID FROB 1"), Err(CommandRefused::Unknown));
        for bad in ["NOOP x", "SELECT", "STATUS INBOX (FROB)", "STORE 1 FLAG (x)", "COPY 0 x", "APPEND x \"y\""] {
            assert_eq!(Command::parse(bad.as_bytes()), Err(CommandRefused::Arguments), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_input_panics(line in "(UID )?(SEARCH|FETCH|STORE|LIST|APPEND|ID|STATUS) [ ()A-Z0-9.\\[\\]<>{}:*,\"\\\\\r\n]{0,60}") {
            let _ = Command::parse(line.as_bytes());
        }
    }
}
