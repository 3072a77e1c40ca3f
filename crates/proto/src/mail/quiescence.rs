//! Detects whether a session may be sent a farewell, and what an SMTP server refuses, from what is
//! relayed.
//!
//! After the login Gatepost does not change a session. But a server that ends it sends `* BYE` (RFC
//! 9051 §7.1.5) or `421` (RFC 5321 §3.8), which is allowed whenever a response is complete.
//!
//! An SMTP session is followed command by command. Of an IMAP session only the last line of each
//! chunk is read: the client has its answer and has sent nothing since, or it waits in IDLE.
//! Together with some time without data, that is certain enough. It can be wrong if the octets of a
//! message look like an answer and the server pauses directly after them for seconds. Then the
//! client takes the farewell for a part of the message, and the connection ends within it, as it
//! would have done at the end of the drain.

use std::time::Duration;

use super::reply;
use super::smtp::{RefusedCommand, TransactionTracker};
use gatepost_core::protocol::MailProtocol;

/// Longest last line that is examined; a longer one is no short answer.
const LINE_BYTES: usize = 512;

/// Why a session at rest is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// The service stops.
    Stopping,
    /// Another session of the mailbox waits for the place.
    Yielding,
}

/// Tracks whether a session is at rest.
#[derive(Debug)]
pub struct QuiescenceDetector {
    session: Session,
    /// What the server said last, and nobody since, asks for this pause.
    pause: Option<Duration>,
}

/// A session, by protocol.
#[derive(Debug)]
enum Session {
    Imap(State),
    /// POP3 has no farewell.
    Pop3,
    /// Boxed, because most sessions are IMAP.
    Smtp(Box<TransactionTracker>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A command is being answered, or data is being transferred.
    Busy,
    /// The command was IDLE, so that the session is at rest after its continuation.
    Settling,
    /// All commands are answered.
    AtRest,
}

impl QuiescenceDetector {
    /// Creates the detector of a session whose login was just answered.
    pub fn after_login(protocol: MailProtocol) -> Self {
        let session = match protocol {
            MailProtocol::Imap => Session::Imap(State::AtRest),
            MailProtocol::Pop3 => Session::Pop3,
            MailProtocol::Smtp => Session::Smtp(Box::default()),
        };
        Self { session, pause: None }
    }

    /// Notes octets that the client sent.
    pub fn client_said(&mut self, octets: &[u8]) {
        self.pause = None;
        match &mut self.session {
            Session::Imap(state) => *state = if ends_in_idle(octets) { State::Settling } else { State::Busy },
            Session::Pop3 => {}
            Session::Smtp(tracker) => tracker.client_said(octets),
        }
    }

    /// Notes octets that the server sent.
    pub fn server_said(&mut self, octets: &[u8]) {
        self.pause = pause(octets);
        match &mut self.session {
            Session::Imap(state) => *state = last_line(octets).map_or(State::Busy, |line| imap(*state, line)),
            Session::Pop3 => {}
            Session::Smtp(tracker) => tracker.server_said(octets),
        }
    }

    /// Returns the next command of an SMTP transaction that the server has refused. See
    /// [`TransactionTracker::take_refused`].
    pub fn take_refused(&mut self) -> Option<RefusedCommand> {
        match &mut self.session {
            Session::Smtp(tracker) => tracker.take_refused(),
            Session::Imap(_) | Session::Pop3 => None,
        }
    }

    /// Returns the sender of the next message that the server has accepted over SMTP. See
    /// [`TransactionTracker::take_accepted`].
    pub fn take_accepted(&mut self) -> Option<Option<String>> {
        match &mut self.session {
            Session::Smtp(tracker) => tracker.take_accepted(),
            Session::Imap(_) | Session::Pop3 => None,
        }
    }

    /// Whether the client has sent a message by SMTP since its login.
    pub fn has_sent(&self) -> bool {
        matches!(&self.session, Session::Smtp(tracker) if tracker.has_sent())
    }

    /// How long the server wants no further session of the mailbox, if that was its last word. It
    /// counts only if the server ends the session with it: before, it may be the text of a message.
    pub fn pause(&self) -> Option<Duration> {
        self.pause
    }

    /// The farewell that may be sent now; `None` if none may be sent.
    pub fn farewell(&self, why: Farewell) -> Option<&'static [u8]> {
        match (&self.session, why) {
            (Session::Imap(State::AtRest), Farewell::Stopping) => {
                Some(b"* BYE The service is stopping, connect again\r\n")
            }
            (Session::Smtp(tracker), _) if tracker.is_at_rest() => Some(match why {
                Farewell::Stopping => b"421 4.3.2 The service is stopping, connect again\r\n",
                Farewell::Yielding => b"421 4.3.2 Another session of this mailbox waits, connect again\r\n",
            }),
            _ => None,
        }
    }
}

/// The last line of a chunk without its end, if the chunk ends with it and holds all of it.
fn last_line(octets: &[u8]) -> Option<&[u8]> {
    let text = octets.strip_suffix(b"\r\n")?;
    let tail = text.get(text.len().saturating_sub(LINE_BYTES)..)?;
    match memchr::memrchr(b'\n', tail) {
        Some(at) => tail.get(at + 1..),
        None => (tail.len() == text.len()).then_some(tail),
    }
}

/// The pause that one of the last two lines asks for. Behind a refusal Exchange says `* BYE`.
fn pause(octets: &[u8]) -> Option<Duration> {
    let tail = octets.get(octets.len().saturating_sub(LINE_BYTES)..)?;
    let lines = tail.strip_suffix(b"\r\n")?.rsplit(|octet| *octet == b'\n');
    lines.take(2).find_map(reply::retry_after)
}

/// RFC 2177: `tag IDLE`.
fn ends_in_idle(octets: &[u8]) -> bool {
    let word = last_line(octets).and_then(|line| line.split(|b| *b == b' ').nth(1));
    word.is_some_and(|word| word.eq_ignore_ascii_case(b"IDLE"))
}

fn imap(before: State, line: &[u8]) -> State {
    let mut words = line.split(|b| *b == b' ');
    let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    match first {
        // A literal follows, whatever the line says.
        _ if line.ends_with(b"}") => State::Busy,
        // `+ idling`; any other continuation begins a literal or an exchange.
        b"+" if before == State::Settling => State::AtRest,
        // Untagged data in IDLE or after a command does not change the state.
        b"*" => before,
        b"+" | b"" => State::Busy,
        _ => match second {
            b"OK" | b"NO" | b"BAD" if is_tag(first) => State::AtRest,
            _ => State::Busy,
        },
    }
}

/// RFC 9051 §9: any characters of an astring but `+`. Mail programs use short tags.
fn is_tag(word: &[u8]) -> bool {
    word.len() <= 32 && word.iter().all(|b| b.is_ascii_graphic() && !b"(){%*\"\\+".contains(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use MailProtocol::{Imap, Pop3, Smtp};

    /// Whether a farewell is possible after an exchange; lines with `C` come from the
    /// client.
    fn after(protocol: MailProtocol, exchange: &[&str]) -> bool {
        let mut detector = QuiescenceDetector::after_login(protocol);
        for said in exchange {
            match said.split_at(1) {
                ("C", octets) => detector.client_said(octets.as_bytes()),
                (_, octets) => detector.server_said(octets.as_bytes()),
            }
        }
        detector.farewell(Farewell::Stopping).is_some()
    }

    #[test]
    fn a_session_is_at_rest_after_its_login_and_after_each_answer() {
        assert!(after(Imap, &[]) && after(Smtp, &[]));
        assert!(after(Imap, &["Ca1 NOOP\r\n", "Sa1 OK NOOP completed.\r\n"]));
        assert!(after(Imap, &["Ca1 SELECT x\r\n", "S* 3 EXISTS\r\n", "S* OK [UNSEEN 1]\r\na1 NO none\r\n"]));
        assert!(after(Imap, &["Ca1 NOOP\r\n", "Sa1 OK NOOP completed.\r\n", "S* 4 EXISTS\r\n"]));
    }

    #[test]
    fn a_session_that_waits_in_idle_is_at_rest_and_one_that_leaves_it_is_not() {
        let idle = ["Cx7 idle\r\n", "S+ IDLE accepted, awaiting DONE command.\r\n"];
        assert!(after(Imap, &idle));
        assert!(after(Imap, &[idle[0], idle[1], "S* 4 EXISTS\r\n* 1 RECENT\r\n"]));
        assert!(!after(Imap, &[idle[0]]));
        assert!(!after(Imap, &[idle[0], idle[1], "CDONE\r\n"]));
        assert!(after(Imap, &[idle[0], idle[1], "CDONE\r\n", "Sx7 OK IDLE completed.\r\n"]));
    }

    #[test]
    fn nothing_is_said_within_a_command_an_answer_or_a_literal() {
        for busy in [
            &["Ca1 FETCH 1 BODY[]\r\n"][..],
            &["Ca1 FETCH 1 BODY[]\r\n", "S* 1 FETCH (BODY[] {42}\r\n"],
            &["Ca1 FETCH 1 BODY[]\r\n", "S* 1 FETCH (BODY[] {42}\r\n", "SDear Bob,\r\n"],
            &["Ca1 FETCH 1 BODY[]\r\n", "Sa1 OK FETCH compl"],
            &["Ca1 FETCH 1 BODY[]\r\n", "S* 1 FETCH (FLAGS ())\r\n"],
            &["Ca1 APPEND x {42}\r\n", "S+ Ready for literal\r\n"],
            &["Ca1 APPEND x {42}\r\n", "S+ Ready for literal\r\n", "Cidle idle\r"],
            &["Ca1 FETCH 1 BODY[]\r\n", "Sthat is OK\r\n"],
            &["Ca1 FETCH 1 BODY[]\r\n", "S(that OK\r\n"],
            &["Ca1 FETCH 1 BODY[]\r\n", "Sth\u{e4}t OK\r\n"],
        ] {
            assert!(!after(Imap, busy), "{busy:?}");
        }
    }

    #[test]
    fn a_mail_transaction_is_not_disturbed() {
        let (mail, ok) = ("CMAIL FROM:<a@b>\r\n", "S250 2.1.0 Ok\r\n");
        assert!(!after(Smtp, &[mail]) && !after(Smtp, &[mail, ok]));
        assert!(after(Smtp, &[mail, ok, "CRSET\r\n", "S250 2.0.0 Reset\r\n"]));
    }

    #[test]
    fn of_smtp_alone_it_is_known_what_was_sent_and_refused() {
        for protocol in [Imap, Pop3, Smtp] {
            let mut detector = QuiescenceDetector::after_login(protocol);
            assert!(!detector.has_sent());
            for (command, reply) in [
                ("MAIL FROM:<a@b>\r\n", "250 Ok\r\n"),
                ("RCPT TO:<c@d>\r\n", "550 5.1.1 who\r\n"),
                ("BDAT 1 LAST\r\nx", "250 Ok\r\n"),
            ] {
                detector.client_said(command.as_bytes());
                detector.server_said(reply.as_bytes());
            }
            let known = protocol == Smtp;
            assert_eq!(detector.has_sent(), known);
            assert_eq!(detector.take_refused().is_some(), known);
            assert_eq!(detector.take_accepted(), known.then(|| Some("a@b".to_owned())));
        }
    }

    #[test]
    fn the_pause_that_the_server_asks_for_last_is_known() {
        let throttled = "a7 BAD Request is throttled. Suggested Backoff Time: 89117 milliseconds\r\n";
        let pause = Some(Duration::from_millis(89_117));
        for (said, known) in [
            (throttled.to_owned(), pause),
            (format!("* 3 EXISTS\r\n{throttled}* BYE Connection closed. 14\r\n"), pause),
            (format!("{throttled}* BYE a\r\n* BYE b\r\n"), None),
            (throttled.trim_end().to_owned(), None),
        ] {
            let mut detector = QuiescenceDetector::after_login(Imap);
            detector.server_said(said.as_bytes());
            assert_eq!(detector.pause(), known, "{said}");
            detector.client_said(b"a8 NOOP\r\n");
            assert_eq!(detector.pause(), None);
        }
    }

    #[test]
    fn only_smtp_yields() {
        let farewell = |protocol| QuiescenceDetector::after_login(protocol).farewell(Farewell::Yielding);
        assert!(farewell(Smtp).is_some_and(|words| words.starts_with(b"421 4.3.2 ")));
        assert_eq!((farewell(Imap), farewell(Pop3)), (None, None));
    }

    #[test]
    fn pop3_knows_no_goodbye() {
        assert!(!after(Pop3, &[]) && !after(Pop3, &["CNOOP\r\n", "S+OK\r\n"]));
    }

    #[test]
    fn long_lines_are_no_answers() {
        let tag = |octets| format!("S{} OK x\r\n", "a".repeat(octets));
        assert!(after(Imap, &["Ca1 NOOP\r\n", &tag(32)]));
        assert!(!after(Imap, &["Ca1 NOOP\r\n", &tag(33)]) && !after(Imap, &["Ca1 NOOP\r\n", &tag(600)]));
        assert!(after(Imap, &["Ca1 NOOP\r\n", &format!("S* {}\r\na1 OK x\r\n", "a".repeat(600))]));
    }
}
