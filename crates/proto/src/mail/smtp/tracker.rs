//! Follows a relayed SMTP session (RFC 5321, RFC 2920, RFC 3030) just far enough to know what is
//! open (an unanswered command, half a line, or a mail transaction) and what the server refuses.
//!
//! It changes and refuses nothing. If it cannot follow the session, it loses track for good, and
//! the session counts as busy until its end.

use std::collections::VecDeque;

use memchr::memchr;

use super::refusal::{RefusedCommand, Stage};
use super::reply::Reply;
use super::response;
use gatepost_core::escape::escaped;

/// Most unanswered commands. A client that pipelines more is not followed.
const UNANSWERED: usize = 1_000;

/// How much of a command line is kept: `MAIL FROM:` and the longest path need 266 octets (RFC 5321
/// §4.5.3.1.3).
const COMMAND_HEAD: usize = 320;

/// How much of a reply line is kept: the longest that Exchange Online is seen to send with a code
/// and its meaning.
const REPLY_HEAD: usize = 256;

/// How many lines of a refusal are kept.
const REPLY_LINES: usize = 4;

/// How many unanswered commands keep the address that they name. The others are reported without
/// it.
const NAMED: usize = 32;

/// How many refusals, and how many accepted messages, are kept until they are taken. A client that pipelines gets more of them at
/// once only if it names many wrong recipients, and further ones are left out.
const REFUSED: usize = 16;

/// What ends the content of a message (RFC 5321 §4.1.1.4).
const END_OF_CONTENT: &[u8; 5] = b"\r\n.\r\n";

/// Tracks what is open in a session after its login.
#[derive(Debug, Default)]
pub struct TransactionTracker {
    client: Sending,
    /// The beginning of the command line that the client has not ended yet.
    command: Vec<u8>,
    unanswered: VecDeque<Unanswered>,
    /// The beginning of the reply line that the server has not ended yet.
    reply: Vec<u8>,
    /// The lines before it, if the reply is a refusal.
    refusal: Vec<Vec<u8>>,
    in_transaction: bool,
    /// Whether the transaction has a recipient.
    has_recipient: bool,
    has_sent: bool,
    /// The sender of the transaction.
    sender: Option<String>,
    /// Whether something was refused since the last transaction began.
    has_refused: bool,
    refused: VecDeque<RefusedCommand>,
    /// The senders of messages that the server has accepted.
    accepted: VecDeque<Option<String>>,
}

/// A command that the server has not answered.
#[derive(Debug)]
struct Unanswered {
    command: Command,
    /// The address that it names.
    address: Option<Box<[u8]>>,
}

/// What the client is sending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Sending {
    #[default]
    Commands,
    /// The content of a message after DATA. So many octets of [`END_OF_CONTENT`] were the last.
    Content(usize),
    /// The rest of a chunk, in octets, after BDAT.
    Chunk(u64),
    /// Something that cannot be followed.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Mail,
    Recipient,
    Data,
    EndOfContent,
    Chunk,
    LastChunk,
    /// RSET, EHLO or HELO.
    Reset,
    Other,
}

impl TransactionTracker {
    /// Whether nothing is open, so that the server may end the session (RFC 5321 §3.8).
    pub fn is_at_rest(&self) -> bool {
        self.client == Sending::Commands
            && self.command.is_empty()
            && self.unanswered.is_empty()
            && self.reply.is_empty()
            && !self.in_transaction
    }

    /// Whether the client has sent a message.
    pub fn has_sent(&self) -> bool {
        self.has_sent
    }

    /// Returns the next command that the server has refused. At most 16 are kept until
    /// they are taken.
    pub fn take_refused(&mut self) -> Option<RefusedCommand> {
        self.refused.pop_front()
    }

    /// Returns the sender of the next message that the server has accepted; `None` inside for `<>`.
    /// At most 16 are kept until they are taken.
    pub fn take_accepted(&mut self) -> Option<Option<String>> {
        self.accepted.pop_front()
    }

    /// Notes octets that the client sent.
    pub fn client_said(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() {
            let taken = match &mut self.client {
                Sending::Unknown => return,
                Sending::Commands => self.take_command(octets),
                Sending::Content(matched) => match end_of_content(matched, octets) {
                    Some(end) => {
                        self.client = Sending::Commands;
                        self.expect(Command::EndOfContent, None);
                        end
                    }
                    None => return,
                },
                Sending::Chunk(left) => {
                    let taken = octets.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= taken as u64;
                    if *left == 0 {
                        self.client = Sending::Commands;
                    }
                    taken
                }
            };
            octets = octets.get(taken..).unwrap_or_default();
        }
    }

    /// Notes octets that the server sent.
    pub fn server_said(&mut self, octets: &[u8]) {
        for part in octets.split_inclusive(|octet| *octet == b'\n') {
            let room = REPLY_HEAD.saturating_sub(self.reply.len());
            self.reply.extend(part.iter().take(room));
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.reply);
                self.take_reply_line(line.trim_ascii_end());
            }
        }
    }

    fn take_reply_line(&mut self, line: &[u8]) {
        let Some(line) = response::parse(line) else { return self.lose_track() };
        let (code, last) = (line.code, line.last);
        if code >= 400 && self.refusal.len() < REPLY_LINES {
            self.refusal.push(line.text.to_vec());
        }
        if last {
            let texts = std::mem::take(&mut self.refusal);
            self.answered(code, texts);
        }
    }

    /// Takes octets up to the end of a command line. Returns how many.
    fn take_command(&mut self, octets: &[u8]) -> usize {
        // Nothing may follow DATA before its reply (RFC 2920 §3.1).
        if self.unanswered.back().is_some_and(|last| last.command == Command::Data) {
            self.lose_track();
            return octets.len();
        }
        let end = memchr(b'\n', octets);
        let part = octets.get(..end.unwrap_or(octets.len())).unwrap_or_default();
        let room = COMMAND_HEAD.saturating_sub(self.command.len());
        self.command.extend(part.iter().take(room));
        let Some(end) = end else { return octets.len() };
        let line = std::mem::take(&mut self.command);
        self.begin(&line);
        end + 1
    }

    fn begin(&mut self, line: &[u8]) {
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let verb = words.next().unwrap_or_default().to_ascii_uppercase();
        let command = match &*verb {
            b"MAIL" => Command::Mail,
            b"RCPT" => Command::Recipient,
            b"DATA" => Command::Data,
            b"RSET" | b"EHLO" | b"HELO" => Command::Reset,
            b"BDAT" => {
                let size = words.next().and_then(|size| std::str::from_utf8(size).ok()?.parse().ok());
                let Some(size) = size else { return self.lose_track() };
                if size > 0 {
                    self.client = Sending::Chunk(size);
                }
                match words.next() {
                    Some(last) if last.eq_ignore_ascii_case(b"LAST") => Command::LastChunk,
                    _ => Command::Chunk,
                }
            }
            // The end follows, and before it the replies to what was said before.
            b"QUIT" => {
                self.expect(Command::Other, None);
                self.client = Sending::Unknown;
                return;
            }
            // Another protocol follows.
            b"STARTTLS" | b"AUTH" => return self.lose_track(),
            _ => Command::Other,
        };
        let names = matches!(command, Command::Mail | Command::Recipient) && self.unanswered.len() < NAMED;
        self.expect(command, names.then(|| address(line)).flatten());
    }

    fn expect(&mut self, command: Command, address: Option<&[u8]>) {
        if self.unanswered.len() < UNANSWERED {
            self.unanswered.push_back(Unanswered { command, address: address.map(Into::into) });
        } else {
            self.lose_track();
        }
    }

    fn answered(&mut self, code: u16, texts: Vec<Vec<u8>>) {
        let Some(Unanswered { command, address }) = self.unanswered.pop_front() else {
            // A reply that nobody asked for. It may refuse the message before its end.
            if code >= 400 && matches!(self.client, Sending::Content(_)) {
                self.note_refused(Command::EndOfContent, None, Reply { code, texts });
            }
            return self.lose_track();
        };
        let address = address.map(|address| escaped(&address, COMMAND_HEAD));
        if code >= 400 {
            self.note_refused(command, address.as_deref(), Reply { code, texts });
        }
        match (command, code) {
            (Command::Data, 354) => self.client = Sending::Content(2),
            // The end of the session, or a question.
            (_, 421 | 300..=399) => self.lose_track(),
            (Command::Mail, 200..=299) => {
                (self.in_transaction, self.has_recipient, self.has_refused) = (true, false, false);
                self.sender = address;
            }
            (Command::Recipient, 200..=299) => self.has_recipient = true,
            (Command::Reset, 200..=299) => (self.in_transaction, self.has_recipient) = (false, false),
            // Whatever the reply to the content, the server has forgotten the transaction (RFC 5321
            // §4.1.1.4).
            (Command::LastChunk, 200..=299) | (Command::EndOfContent, _) => {
                if code < 300 && self.accepted.len() < REFUSED {
                    self.accepted.push_back(self.sender.clone());
                }
                (self.in_transaction, self.has_recipient, self.has_sent) = (false, false, true);
            }
            _ => {}
        }
    }

    /// Notes a refused command of a transaction, unless it was refused only because one before it
    /// was.
    fn note_refused(&mut self, command: Command, address: Option<&str>, reply: Reply) {
        let stage = match command {
            Command::Mail => Stage::Sender,
            Command::Recipient => Stage::Recipient,
            Command::Data | Command::EndOfContent | Command::Chunk | Command::LastChunk => Stage::Content,
            Command::Reset | Command::Other => return,
        };
        // Without a sender, or without a recipient.
        let follows = reply.code() == 503 || command == Command::Data && reply.code() == 554 && !self.has_recipient;
        if self.has_refused && follows {
            return;
        }
        self.has_refused = true;
        if self.refused.len() >= REFUSED {
            return;
        }
        let named = address.map(str::to_owned);
        let (sender, recipient) = match stage {
            Stage::Sender => (named, None),
            Stage::Recipient => (self.sender.clone(), named),
            Stage::Content => (self.sender.clone(), None),
        };
        self.refused.push_back(RefusedCommand { stage, reply, sender, recipient });
    }

    fn lose_track(&mut self) {
        let (refused, accepted) = (std::mem::take(&mut self.refused), std::mem::take(&mut self.accepted));
        *self = Self { client: Sending::Unknown, refused, accepted, ..Self::default() };
    }
}

/// Returns the address between the angle brackets of MAIL or RCPT; `None` if there is none, as in
/// `<>`.
fn address(line: &[u8]) -> Option<&[u8]> {
    let begin = memchr(b'<', line)? + 1;
    let rest = line.get(begin..)?;
    rest.get(..memchr(b'>', rest)?).filter(|address| !address.is_empty())
}

/// Returns where the content of a message ends in `octets`. `matched` is how much of
/// [`END_OF_CONTENT`] was matched before, and is kept for the next octets.
fn end_of_content(matched: &mut usize, octets: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(octet) = octets.get(at) {
        at += 1;
        if END_OF_CONTENT.get(*matched) == Some(octet) {
            *matched += 1;
            if *matched == END_OF_CONTENT.len() {
                return Some(at);
            }
        } else if *octet == b'\r' {
            *matched = 1;
        } else {
            *matched = 0;
            at += memchr(b'\r', octets.get(at..)?)?;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A session with each turn of the dialogue; lines with `C` come from the client.
    const MESSAGE: [&str; 10] = [
        "CMAIL FROM:<a@b>\r\n",
        "S250 2.1.0 Ok\r\n",
        "CRCPT TO:<c@d>\r\n",
        "S250 2.1.5 Ok\r\n",
        "CDATA\r\n",
        "S354 Start mail input\r\n",
        "CSubject: x\r\n\r\n.\r.\n\r\r\n..\r\n.text\r\n",
        "C.\r\n",
        "S250-2.0.0 Ok,",
        "S queued\r\n250 2.0.0 done\r\n",
    ];

    fn follow(tracker: &mut TransactionTracker, turn: &str) {
        match turn.split_at(1) {
            ("C", octets) => tracker.client_said(octets.as_bytes()),
            (_, octets) => tracker.server_said(octets.as_bytes()),
        }
    }

    fn rests_after(turns: &[&str]) -> bool {
        let mut tracker = TransactionTracker::default();
        turns.iter().for_each(|turn| follow(&mut tracker, turn));
        tracker.is_at_rest()
    }

    #[test]
    fn a_session_rests_before_and_behind_a_message_and_never_within_it() {
        for length in 1..MESSAGE.len() {
            assert!(!rests_after(&MESSAGE[..length]), "{:?}", &MESSAGE[..length]);
        }
        assert!(rests_after(&[]) && rests_after(&MESSAGE));
        let mut tracker = TransactionTracker::default();
        MESSAGE.iter().for_each(|turn| {
            assert!(!tracker.has_sent());
            follow(&mut tracker, turn);
        });
        assert!(tracker.has_sent());
        let twice = [MESSAGE, MESSAGE].concat();
        assert!(!rests_after(&twice[..11]) && rests_after(&twice));
    }

    #[test]
    fn commands_without_a_transaction_leave_nothing_open() {
        for turns in [
            &["CNOOP\r\n", "S250 2.0.0 OK\r\n"][..],
            &["CEHLO x\r\n", "S250-x\r\n250-SIZE 1\r\n250 DSN\r\n"],
            &["CFROB\r\n", "S500 5.3.3 Unrecognized command\r\n"],
            &["CMAIL FROM:<a@b>\r\n", "S550 5.7.60 no\r\n"],
            &["CRCPT TO:<c@d>\r\nDATA\r\n", "S503 no\r\n503 no\r\n"],
            &["CMAIL FROM:<a@b>\r\n", "S250 Ok\r\n", "CRSET\r\n", "S250 2.0.0 Resetting\r\n"],
            &["CMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n", "S250 a\r\n250 b\r\n354 c\r\n", "C.\r\n", "S554 no\r\n"],
            &["CMAIL FROM:<a@b>\r\n", "S250 a\r\n", "CBDAT 0 LAST\r\n", "S250 b\r\n"],
            &["CMAIL FROM:<a@b>\r\n", "S250 a\r\n", "CBDAT 4 LAST\r\nDATA", "S250 b\r\n"],
        ] {
            assert!(!rests_after(&turns[..turns.len() - 1]) && rests_after(turns), "{turns:?}");
        }
    }

    #[test]
    fn half_of_anything_is_no_rest() {
        for turns in [
            &["CNO"][..],
            &["CNOOP\r\n", "S250"],
            &["CNOOP\r\n", "S250 OK"],
            &["CNOOP\r\nNOOP\r\n", "S250 OK\r\n"],
            &["CNOOP\r\n", "S250 OK\r\n25"],
            // What looks like a command is content, and what looks like the end of it is a chunk.
            &["CMAIL FROM:<a@b>\r\nDATA\r\n", "S250 a\r\n354 b\r\n", "CRSET\r\n", "CNOOP\r\n"],
            &["CMAIL FROM:<a@b>\r\n", "S250 a\r\n", "CBDAT 5\r\n", "C\r\n.\r\n", "S250 b\r\n"],
            &["CMAIL FROM:<a@b>\r\n", "S250 a\r\n", "CBDAT 9 LAST\r\n", "CRSET\r\n"],
            &["CMAIL FROM:<a@b>\r\n", "S250 a\r\n", "CBDAT 0 FIRST\r\n", "S250 b\r\n"],
            // The first transaction stays open whatever becomes of the second command.
            &["CMAIL FROM:<a@b>\r\n", "S250 a\r\n", "CMAIL FROM:<a@b>\r\n", "S503 b\r\n"],
        ] {
            assert!(!rests_after(turns), "{turns:?}");
        }
    }

    #[test]
    fn a_session_that_cannot_be_followed_is_busy_for_good() {
        for turns in [
            &["S421 4.4.2 Connection timed out\r\n"][..],
            &["CNOOP\r\n", "S421 4.3.2 bye\r\n"],
            &["CNOOP\r\n", "S* OK\r\n"],
            &["CQUIT\r\n", "S221 bye\r\n"],
            &["CAUTH LOGIN\r\n", "S334 VXNlcm5hbWU6\r\n"],
            &["CHELP\r\n", "S334 what\r\n"],
            &["CBDAT many LAST\r\n", "S501 no\r\n"],
            &["CSTARTTLS\r\n", "S220 go ahead\r\n"],
            &["CAUTH PLAIN AHgAeQ==\r\n", "S235 welcome\r\n"],
            &["CMAIL FROM:<a@b>\r\nDATA\r\nSubject: too soon\r\n.\r\n", "S250 a\r\n354 b\r\n250 c\r\n"],
        ] {
            let more = [turns, &["CNOOP\r\n", "S250 OK\r\n"]].concat();
            assert!(!rests_after(turns) && !rests_after(&more), "{turns:?}");
        }
        let mut tracker = TransactionTracker::default();
        tracker.client_said("NOOP\r\n".repeat(UNANSWERED + 1).as_bytes());
        tracker.server_said("250 OK\r\n".repeat(UNANSWERED + 1).as_bytes());
        assert!(!tracker.is_at_rest());
    }

    /// What was refused after these turns: where, the code, the sender and the recipient.
    fn refused(turns: &[&str]) -> Vec<(Stage, String, Option<String>, Option<String>)> {
        let mut tracker = TransactionTracker::default();
        turns.iter().for_each(|turn| follow(&mut tracker, turn));
        let told = |it: RefusedCommand| (it.stage, it.reply.to_string(), it.sender, it.recipient);
        std::iter::from_fn(|| tracker.take_refused()).map(told).collect()
    }

    #[test]
    fn each_refused_command_of_a_transaction_is_told_once_with_its_addresses() {
        let (sender, wrong) = (Some("a@b".to_owned()), Some("c@d".to_owned()));
        let mail = ["CMAIL FROM:<a@b> SIZE=5\r\n", "S250 Ok\r\n"];
        let with = |turns: &[&'static str]| [&mail[..], turns].concat();
        assert_eq!(refused(&MESSAGE), []);
        assert_eq!(
            refused(&["CMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n", "S550 5.7.60 no\r\n503 b\r\n503 c\r\n"]),
            [(Stage::Sender, "550 5.7.60 no".to_owned(), sender.clone(), None)]
        );
        assert_eq!(
            refused(&with(&["CRCPT TO:<c@d>\r\nDATA\r\n", "S550 5.1.", "S10 who\r\n554 5.5.1 no recipients\r\n"])),
            [(Stage::Recipient, "550 5.1.10 who".to_owned(), sender.clone(), wrong.clone())]
        );
        let content = "CDATA\r\n";
        assert_eq!(
            refused(&with(&[content, "S354 b\r\n", "C.\r\n", "S554-5.2.252 SendAsDenied;\r\n554 5.2.252 x\r\n"])),
            [(Stage::Content, "554 5.2.252 SendAsDenied; 5.2.252 x".to_owned(), sender.clone(), None)]
        );
        // The client has said QUIT behind the message, or the server ends the session.
        for reply in ["451 4.3.2 later", "421 4.3.2 later"] {
            let last = format!("S{reply}\r\n");
            let turns = [&with(&[content, "S354 b\r\n", "C.\r\nQUIT\r\n"])[..], &[&*last]].concat();
            assert_eq!(refused(&turns), [(Stage::Content, reply.to_owned(), sender.clone(), None)]);
        }
        assert_eq!(
            refused(&with(&["CBDAT 9 LAST\r\n123456789", "S552 5.3.4 too large\r\n"])),
            [(Stage::Content, "552 5.3.4 too large".to_owned(), sender, None)]
        );
        // The server does not wait for the end of the message.
        for reply in ["552 5.3.4 too large", "550 5.6.11 bare LF", "421 4.3.2 bye"] {
            let last = format!("S{reply}\r\n");
            let turns = [&with(&[content, "S354 b\r\n", "CSubject: x\r\n"])[..], &[&*last]].concat();
            assert_eq!(refused(&turns), [(Stage::Content, reply.to_owned(), Some("a@b".to_owned()), None)]);
        }
        // One recipient was accepted, so the refusal of DATA has a reason of its own.
        let two = "CRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\nDATA\r\n";
        let told = refused(&with(&[two, "S550 5.1.10 who\r\n250 Ok\r\n554 5.7.0 no\r\n"]));
        assert_eq!(told.iter().map(|it| it.0).collect::<Vec<_>>(), [Stage::Recipient, Stage::Content]);
        // Neither belongs to a message.
        assert_eq!(refused(&["CFROB\r\n", "S500 5.3.3 what\r\n", "CNOOP\r\n", "S421 bye\r\n"]), []);
    }

    #[test]
    fn of_a_long_refusal_the_first_lines_are_told() {
        let lines = (1..6).map(|line| format!("550-{line}\r\n")).collect::<String>();
        let told = refused(&["CMAIL FROM:<a@b>\r\n", &format!("S{lines}550 6\r\n")]);
        assert_eq!(told, [(Stage::Sender, "550 1 2 3 4".to_owned(), Some("a@b".to_owned()), None)]);
        let told = refused(&["CMAIL FROM:<a@b>\r\n", "S400 later\r\n"]);
        assert_eq!(told, [(Stage::Sender, "400 later".to_owned(), Some("a@b".to_owned()), None)]);
    }

    #[test]
    fn of_many_commands_at_once_the_first_keep_their_addresses() {
        let commands = format!("CMAIL FROM:<a@b>\r\n{}", "RCPT TO:<c@d>\r\n".repeat(NAMED));
        let replies = format!("S{}550 x\r\n550 y\r\n", "250 Ok\r\n".repeat(NAMED - 1));
        let recipients: Vec<_> = refused(&[&commands, &replies]).into_iter().map(|told| told.3).collect();
        assert_eq!(recipients, [Some("c@d".to_owned()), None]);
    }

    #[test]
    fn refusals_that_nobody_takes_are_bounded() {
        let recipients = 200;
        let mut tracker = TransactionTracker::default();
        tracker.client_said(format!("MAIL FROM:<a@b>\r\n{}", "RCPT TO:<c@d>\r\n".repeat(recipients)).as_bytes());
        let refusals = format!("550 5.1.10 {}\r\n", "x".repeat(4_000)).repeat(recipients);
        tracker.server_said(format!("250 Ok\r\n{refusals}").as_bytes());
        let taken: Vec<_> = std::iter::from_fn(|| tracker.take_refused()).collect();
        assert_eq!(taken.len(), REFUSED);
        assert!(taken.iter().all(|refused| refused.reply.words().len() <= REPLY_HEAD));
        assert!(tracker.unanswered.is_empty());
    }

    /// The senders of the messages that were accepted after these turns.
    fn accepted(turns: &[&str]) -> Vec<Option<String>> {
        let mut tracker = TransactionTracker::default();
        turns.iter().for_each(|turn| follow(&mut tracker, turn));
        std::iter::from_fn(|| tracker.take_accepted()).collect()
    }

    #[test]
    fn each_accepted_message_is_told_with_its_sender() {
        let sender = || Some("a@b".to_owned());
        assert_eq!(accepted(&MESSAGE[..9]), []);
        assert_eq!(accepted(&MESSAGE), [sender()]);
        let bounce = ["CMAIL FROM:<>\r\n", "S250 Ok\r\n", "CBDAT 1\r\nxBDAT 1 LAST\r\nx", "S250 Ok\r\n250 Ok\r\n"];
        assert_eq!(accepted(&[&MESSAGE[..], &bounce].concat()), [sender(), None]);
        let refused = [&MESSAGE[..8], &["S554 5.2.0 no\r\n"]].concat();
        assert_eq!(accepted(&[&refused[..], &MESSAGE].concat()), [sender()]);
        assert_eq!(accepted(&[&MESSAGE[..], &["S421 bye\r\n"]].concat()), [sender()], "also after the end");
        assert_eq!(accepted(&MESSAGE.repeat(REFUSED + 1)).len(), REFUSED, "what nobody takes is bounded");
    }

    proptest! {
        /// Where the octets of one side are divided makes no difference.
        #[test]
        fn divisions_do_not_matter(content in "[a.\r\n]{0,40}", size in 1..7_usize) {
            let stuffed = content.replace("\r\n.", "\r\n..");
            let stuffed = stuffed.strip_prefix('.').map_or(stuffed.clone(), |rest| format!("..{rest}"));
            let whole = format!("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n|{stuffed}\r\n.\r\n|BDAT 6\r\n\r\n.\r\nxRSET\r\n");
            let replies = ["250 a\r\n250-b\r\n250 b\r\n354 c\r\n", "250 d\r\n", "503 e\r\n250 f\r\n"];
            let mut tracker = TransactionTracker::default();
            for (said, reply) in whole.split('|').zip(replies) {
                for part in said.as_bytes().chunks(size) {
                    tracker.client_said(part);
                    prop_assert!(!tracker.is_at_rest());
                }
                for part in reply.as_bytes().chunks(size) {
                    prop_assert!(!tracker.is_at_rest());
                    tracker.server_said(part);
                }
                prop_assert_eq!(tracker.is_at_rest(), reply != replies[0]);
            }
        }

        /// Nothing that either side can say is too much.
        #[test]
        fn anything_may_be_said(turns in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 0..60)), 0..20)) {
            let mut tracker = TransactionTracker::default();
            for (by_client, octets) in turns {
                if by_client { tracker.client_said(&octets) } else { tracker.server_said(&octets) }
                prop_assert!(tracker.command.len() <= COMMAND_HEAD && tracker.reply.len() <= REPLY_HEAD);
            }
        }
    }
}
