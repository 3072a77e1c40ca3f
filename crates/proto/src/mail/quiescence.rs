//! Detects whether a session may be sent a shutdown message, from the ends of the relayed chunks.
//!
//! After the login Gatepost does not parse a session. But a server that stops sends `* BYE` (RFC
//! 9051 §7.1.5) or `421` (RFC 5321 §3.8), which is allowed whenever a response is complete. Here
//! that is decided from the last line of each chunk: the client has its answer and has sent nothing
//! since, or it waits in IDLE. Together with some time without data, that is certain enough. It can
//! be wrong if the octets of a message look like an answer and the server pauses directly after
//! them for seconds. Then the client takes the shutdown message for a part of the message, and the
//! connection ends within it, as it would have done at the end of the drain.

use gatepost_core::protocol::MailProtocol;

/// Longest last line that is examined; a longer one is no short answer.
const LINE_BYTES: usize = 512;

/// Tracks whether a session is at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuiescenceDetector {
    protocol: MailProtocol,
    state: State,
    has_refused_bare_lf: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A command is being answered, or data is being transferred.
    Busy,
    /// After the answer to the last command the session is at rest: the command was IDLE, or ends a
    /// mail transaction.
    Settling,
    /// All commands are answered.
    AtRest,
}

impl QuiescenceDetector {
    /// Creates the detector of a session whose login was just answered.
    pub fn after_login(protocol: MailProtocol) -> Self {
        Self { protocol, state: State::AtRest, has_refused_bare_lf: false }
    }

    /// Notes octets that the client sent.
    pub fn client_said(&mut self, octets: &[u8]) {
        let settles = match self.protocol {
            MailProtocol::Imap => ends_in_idle(octets),
            MailProtocol::Smtp => ends_transaction(octets),
            MailProtocol::Pop3 => false,
        };
        self.state = if settles { State::Settling } else { State::Busy };
    }

    /// Notes octets that the server sent.
    pub fn server_said(&mut self, octets: &[u8]) {
        let Some(line) = last_line(octets) else {
            self.state = State::Busy;
            return;
        };
        self.state = match self.protocol {
            MailProtocol::Imap => imap(self.state, line),
            MailProtocol::Smtp => {
                // Exchange: `550 5.6.11 SMTPSEND.BareLinefeedsAreIllegal`.
                self.has_refused_bare_lf |= line.starts_with(b"550 5.6.11 ");
                smtp(self.state, line)
            }
            MailProtocol::Pop3 => State::Busy,
        };
    }

    /// Whether the server has refused a message for its bare LFs, which a relay passes on.
    pub fn has_refused_bare_lf(&self) -> bool {
        self.has_refused_bare_lf
    }

    /// The shutdown message that may be sent now; `None` if none may be sent.
    pub fn goodbye(&self) -> Option<&'static [u8]> {
        match (self.state, self.protocol) {
            (State::AtRest, MailProtocol::Imap) => Some(b"* BYE The service is stopping, connect again\r\n"),
            (State::AtRest, MailProtocol::Smtp) => Some(b"421 4.3.2 The service is stopping, connect again\r\n"),
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

/// Whether no mail transaction is open after the answer to these octets, the last that a client
/// sent: they end a message, or are a command that begins none.
fn ends_transaction(octets: &[u8]) -> bool {
    const HARMLESS: [&[u8]; 5] = [b"NOOP", b"RSET", b"EHLO", b"HELO", b"VRFY"];
    if octets == b".\r\n" || octets.ends_with(b"\r\n.\r\n") {
        return true;
    }
    let alone = memchr::memchr(b'\n', octets) == Some(octets.len().saturating_sub(1));
    let verb = octets.get(..4).unwrap_or_default();
    alone && HARMLESS.iter().any(|harmless| verb.eq_ignore_ascii_case(harmless))
}

fn smtp(before: State, line: &[u8]) -> State {
    // The last line of a reply: three digits, then a space or the end of the line (RFC 5321 §4.2).
    let ends_reply = match line {
        [b'2' | b'4' | b'5', a, b] | [b'2' | b'4' | b'5', a, b, b' ', ..] => a.is_ascii_digit() && b.is_ascii_digit(),
        _ => false,
    };
    match before {
        State::Settling if ends_reply => State::AtRest,
        before => before,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use MailProtocol::{Imap, Pop3, Smtp};

    /// Whether a shutdown message is possible after an exchange; lines with `C` come from the
    /// client.
    fn after(protocol: MailProtocol, exchange: &[&str]) -> bool {
        let mut detector = QuiescenceDetector::after_login(protocol);
        for said in exchange {
            match said.split_at(1) {
                ("C", octets) => detector.client_said(octets.as_bytes()),
                (_, octets) => detector.server_said(octets.as_bytes()),
            }
        }
        detector.goodbye().is_some()
    }

    #[test]
    fn a_session_is_at_rest_after_its_login_and_after_each_answer() {
        assert!(after(Imap, &[]) && after(Smtp, &[]));
        assert!(after(Imap, &["Ca1 NOOP\r\n", "Sa1 OK NOOP completed.\r\n"]));
        assert!(after(Imap, &["Ca1 SELECT x\r\n", "S* 3 EXISTS\r\n", "S* OK [UNSEEN 1]\r\na1 NO none\r\n"]));
        assert!(after(Imap, &["Ca1 NOOP\r\n", "Sa1 OK NOOP completed.\r\n", "S* 4 EXISTS\r\n"]));
    }

    #[test]
    fn whoever_waits_in_idle_is_at_rest_and_whoever_leaves_it_is_not() {
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
        ] {
            assert!(!after(Imap, busy), "{busy:?}");
        }
    }

    #[test]
    fn a_mail_transaction_is_not_disturbed() {
        let (mail, rcpt) = ("CMAIL FROM:<a@b>\r\n", "CRCPT TO:<c@d>\r\n");
        let (ok, go, done) = ("S250 2.1.0 Ok\r\n", "S354 Start mail input\r\n", "S250 2.0.0 Ok, queued\r\n");
        let exchange = [mail, ok, rcpt, ok, "CDATA\r\n", go, "CSubject: x\r\n\r\ntext\r\n", "C.\r\n", done];
        for length in 1..exchange.len() {
            assert!(!after(Smtp, &exchange[..length]), "{:?}", &exchange[..length]);
        }
        assert!(after(Smtp, &exchange));
        assert!(after(Smtp, &[mail, ok, "CRSET\r\n", "S250 2.0.0 Reset\r\n"]));
        assert!(!after(Smtp, &["CNOOP\r\nMAIL FROM:<a@b>\r\n", ok]));
        assert!(!after(Smtp, &["CEHLO x\r\n", "S250-x\r\n"]));
        assert!(after(Smtp, &["CEHLO x\r\n", "S250-x\r\n250 SIZE 1\r\n"]));
    }

    #[test]
    fn pop3_knows_no_goodbye() {
        assert!(!after(Pop3, &[]) && !after(Pop3, &["CNOOP\r\n", "S+OK\r\n"]));
    }

    #[test]
    fn long_lines_are_no_answers() {
        let long = format!("S{} OK x\r\n", "a".repeat(600));
        assert!(!after(Imap, &["Ca1 NOOP\r\n", &long]));
        assert!(after(Imap, &["Ca1 NOOP\r\n", &format!("S* {}\r\na1 OK x\r\n", "a".repeat(600))]));
    }
}
