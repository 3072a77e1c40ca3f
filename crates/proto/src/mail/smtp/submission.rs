//! The submission server that accepts messages itself once a client may send (RFC 6409, RFC 5321):
//! everything after the login, or, for a trusted sender, from its first MAIL on.
//!
//! The machine knows the sequence of commands, where a message ends, and how long it may be. It
//! asks its caller whether a sender, a recipient or a message is accepted. It asks one question at
//! a time, in the order of the commands, so that replies to pipelined commands come in order (RFC
//! 2920). The reply 250 after a message is the caller's answer, so nothing is promised that has not
//! happened. A message is passed on in pieces and never kept.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use super::capabilities;
use super::command::{self, Command};
use super::content::{Content, ContentError, LineEnds};
use super::reply::Reply;
use super::transaction::{self, Chunk, Extensions, Mail, Recipient, SenderForm};
use crate::mail::line::{Line, LineBuffer};
use crate::sasl::ClientTokens;

#[cfg(test)]
mod tests;

/// Longest command line: RFC 5321 has 512 octets, and its extensions add over a thousand (RFC 3461,
/// RFC 4954).
const LINE_OCTETS: usize = 4_096;
/// Number of senseless commands that ends a session.
const BAD_COMMANDS: u32 = 20;
/// No further command is read while this much output waits, because a client may send many at once
/// and take none of the replies.
const OUTPUT_OCTETS: usize = 16 * 1_024;
/// How much is read of a message that is over its limit or has an error. It must be read to its
/// end, because its sender reads the reply only then. The number is above what Exchange accepts at
/// most.
const DISCARDED_OCTETS: u64 = 256 * 1024 * 1024;

/// Settings of the machine.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name in the reply to EHLO.
    pub server_name: Arc<str>,
    /// The offered extensions, and the largest message.
    pub extensions: Extensions,
    /// Most recipients of one message.
    pub recipients: usize,
    /// Whether the client has logged in. AUTH is then still listed, because some clients look for
    /// it again.
    pub logged_in: bool,
    /// Whether the mechanisms for a client's own token are listed with AUTH.
    pub client_tokens: ClientTokens,
    /// Whether old devices are helped: addresses without brackets, blank lines, commands that no
    /// server knows, and bare CR and LF in messages are tolerated.
    pub legacy: bool,
    /// Whether the caller replaces the sender of every message. MAIL may then name it in any form,
    /// and one that cannot be read counts as `<>`.
    pub sender_is_replaced: bool,
    /// Whether a bare LF ends a line. If a client ends its commands so, a dot between two bare LFs
    /// ends its message.
    pub bare_lf: bool,
}

/// What the machine reports to its caller. After a question, no event follows before
/// [`Submission::answer`].
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// Question: may this message begin?
    Mail(Mail),
    /// Question: is this recipient accepted?
    Recipient(Recipient),
    /// Question: may the client send the message? A positive answer must be 354.
    Message,
    /// A piece of the message, in lines that end in CRLF, without stuffed dots.
    Content(Vec<u8>),
    /// The message must not be sent: discard it. The machine itself tells the client the reason at
    /// the end of the message.
    Flawed(ContentError),
    /// Question: the message is complete; what is the result?
    End,
    /// Everything since MAIL is void.
    Reset,
    /// Write the output, then close. No further event comes.
    Close(Ending),
}

/// Why a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The client sent QUIT.
    Quit,
    /// An answer was 421, or [`Submission::close`] was called.
    Told,
    /// There were too many senseless commands.
    TooManyErrors,
    /// The start of the next command is not known any more: a BDAT without a number, or a message
    /// without end.
    Lost,
}

/// The machine. It holds at most what one call of [`Submission::handle_input`] brought, and 16 KiB
/// of output with the output of one command.
pub struct Submission {
    settings: Settings,
    input: LineBuffer,
    output: Vec<u8>,
    events: VecDeque<Event>,
    state: State,
    transaction: Option<Transaction>,
    /// Most octets of the next message.
    limit: u64,
    /// The size in the reply to EHLO.
    announced_size: u64,
    bad_commands: u32,
}

enum State {
    /// Waits for a command.
    Command,
    /// Discards the rest of a line that was too long.
    Skipping,
    /// Waits for the caller's answer to a question.
    Asked(Question),
    /// Receives the message up to its final dot.
    Data {
        message: Content,
        discarded: u64,
    },
    /// Receives a chunk of the message.
    Chunk {
        left: u64,
        last: bool,
        fate: Fate,
    },
    Closed,
}

enum Question {
    Mail { smtputf8: bool },
    Recipient,
    Data(LineEnds),
    FirstChunk(Chunk),
    End,
}

/// How a chunk is handled.
enum Fate {
    /// It belongs to this message.
    Taken(Content),
    /// It is discarded, and then gets this reply.
    Refused(Reply),
}

struct Transaction {
    smtputf8: bool,
    recipients: usize,
    /// The message that BDAT has transferred so far.
    begun: Option<Content>,
}

impl Submission {
    /// Creates a machine that waits for a command; `input` is what the client has sent already.
    pub fn new(settings: Settings, input: &[u8]) -> Self {
        let mut machine = Self {
            limit: settings.extensions.size,
            announced_size: settings.extensions.size,
            settings,
            input: LineBuffer::default(),
            output: Vec::new(),
            events: VecDeque::new(),
            state: State::Command,
            transaction: None,
            bad_commands: 0,
        };
        machine.input.push(input);
        machine
    }

    /// Takes octets from the client. Call it if neither [`Self::poll_event`] nor
    /// [`Self::poll_output`] has anything and no question is open.
    pub fn handle_input(&mut self, input: &[u8]) {
        if !matches!(self.state, State::Closed) {
            self.input.push(input);
        }
    }

    /// The next event, if any. If there was output as well, more events may come once the output
    /// has been taken.
    pub fn poll_event(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            if matches!(self.state, State::Command) && self.output.len() >= OUTPUT_OCTETS {
                return None;
            }
            let progress = match mem::replace(&mut self.state, State::Closed) {
                State::Command => self.on_command(),
                State::Skipping => self.skip_line(),
                State::Data { message, discarded } => self.on_data(message, discarded),
                State::Chunk { left, last, fate } => self.on_chunk(left, last, fate),
                waiting @ (State::Asked(_) | State::Closed) => {
                    self.state = waiting;
                    false
                }
            };
            if !progress && self.events.is_empty() {
                return None;
            }
        }
    }

    /// All pending octets for the client, if any.
    pub fn poll_output(&mut self) -> Option<Vec<u8>> {
        let output = mem::take(&mut self.output);
        (!output.is_empty()).then_some(output)
    }

    /// Whether no message is being transferred, so that the session can be ended without loss.
    pub fn is_idle(&self) -> bool {
        self.transaction.is_none() && matches!(self.state, State::Command | State::Skipping)
    }

    /// Whether the client is sending a message.
    pub fn is_receiving(&self) -> bool {
        matches!(self.state, State::Data { .. } | State::Chunk { .. })
    }

    /// Limits the message of [`Event::Mail`], if it can only be delivered with less than
    /// `Extensions::size`.
    pub fn limit_message(&mut self, octets: u64) {
        self.limit = octets.min(self.settings.extensions.size);
    }

    /// Announces this size from now on, if most messages can only be delivered with less than
    /// `Extensions::size`. Larger ones are still asked for.
    pub fn announce_size(&mut self, octets: u64) {
        self.announced_size = octets.min(self.settings.extensions.size);
    }

    /// Answers the open question. A reply with code 421 ends the session too.
    pub fn answer(&mut self, reply: &Reply) {
        let question = match mem::replace(&mut self.state, State::Command) {
            State::Asked(question) => question,
            unasked => {
                self.state = unasked;
                return;
            }
        };
        let yes = reply.is_positive();
        match question {
            Question::Mail { smtputf8 } if yes => {
                self.transaction = Some(Transaction { smtputf8, recipients: 0, begun: None });
            }
            Question::Recipient if yes => {
                if let Some(transaction) = &mut self.transaction {
                    transaction.recipients += 1;
                }
            }
            Question::Mail { .. } | Question::Recipient => {}
            Question::Data(line_ends) if yes => {
                let message = Content::new(line_ends, true, self.limit);
                self.state = State::Data { message, discarded: 0 };
            }
            Question::FirstChunk(Chunk { octets, last }) => {
                let fate = if yes {
                    Fate::Taken(Content::new(self.line_ends(false), false, self.limit))
                } else {
                    Fate::Refused(reply.clone())
                };
                if !yes {
                    self.transaction = None;
                }
                self.state = State::Chunk { left: octets, last, fate };
                // The client gets the reply to its chunk when the chunk has been read.
                return;
            }
            Question::Data(_) | Question::End => self.transaction = None,
        }
        self.reply(reply);
        if reply.code() == 421 {
            self.end(Ending::Told);
        }
    }

    /// Ends the session with this reply.
    pub fn close(&mut self, words: &Reply) {
        if !matches!(self.state, State::Closed) {
            self.reply(words);
            self.end(Ending::Told);
        }
    }

    fn on_command(&mut self) -> bool {
        let Some(line) = self.input.take_line(LINE_OCTETS, self.settings.bare_lf) else {
            self.state = State::Command;
            return false;
        };
        self.state = State::Command;
        match line {
            Line::Text(line) if self.settings.legacy && line.trim_ascii().is_empty() => {}
            Line::Text(line) => self.command(&line, self.input.ended_in_bare_lf()),
            Line::Flawed => self.bad(500, [5, 2], "A line ends in CRLF and holds no NUL"),
            Line::TooLong => {
                self.state = State::Skipping;
                self.bad(500, [5, 2], "Line too long");
            }
        }
        true
    }

    fn skip_line(&mut self) -> bool {
        let Some(end) = memchr::memchr(b'\n', self.input.peek()) else {
            self.input.clear();
            self.state = State::Skipping;
            return false;
        };
        drop(self.input.take_octets(end + 1));
        self.state = State::Command;
        true
    }

    fn command(&mut self, line: &[u8], bare_lf: bool) {
        match command::parse(line) {
            Command::Ehlo => {
                self.reset();
                self.list();
            }
            Command::Helo => {
                self.reset();
                let name = Arc::clone(&self.settings.server_name);
                self.reply(&Reply::plain(250, name));
            }
            Command::Rset => {
                self.reset();
                self.reply(&Reply::new(250, [0, 0], "OK"));
            }
            Command::Noop => self.reply(&Reply::new(250, [0, 0], "OK")),
            Command::Vrfy => self.reply(&Reply::new(252, [0, 0], "Cannot verify, but will take the message")),
            Command::Help => self.reply(&Reply::new(214, [0, 0], "Send mail with MAIL, RCPT and DATA or BDAT")),
            Command::Quit => {
                self.reply(&Reply::new(221, [0, 0], "Bye"));
                self.end(Ending::Quit);
            }
            Command::Auth(_) if self.settings.logged_in => self.bad(503, [5, 1], "Logged in already"),
            Command::Auth(_) => self.bad(503, [5, 1], "A login comes before the first MAIL"),
            Command::StartTls(_) => self.bad(503, [5, 1], "STARTTLS comes before everything else"),
            Command::Transaction => {
                let end = line.iter().position(|octet| *octet == b' ').unwrap_or(line.len());
                let (name, arguments) = line.split_at_checked(end).unwrap_or((line, b""));
                match name.to_ascii_uppercase().as_slice() {
                    b"MAIL" => self.mail(arguments),
                    b"RCPT" => self.recipient(arguments),
                    b"DATA" => self.data(arguments, bare_lf),
                    b"BDAT" => self.chunk(arguments),
                    _ => self.bad(502, [5, 1], "Command not implemented"),
                }
            }
            Command::NotImplemented => self.bad(502, [5, 1], "Command not implemented"),
            Command::Unknown => self.bad(500, [5, 1], "Command unknown"),
        }
    }

    fn mail(&mut self, arguments: &[u8]) {
        if self.transaction.is_some() {
            return self.bad(503, [5, 1], "A message is in progress. RSET discards it");
        }
        self.limit = self.settings.extensions.size;
        let form = match &self.settings {
            Settings { sender_is_replaced: true, .. } => SenderForm::Any,
            Settings { legacy: true, .. } => SenderForm::Bare,
            _ => SenderForm::Exact,
        };
        match transaction::mail(arguments, self.settings.extensions, form) {
            Ok(mail) => {
                let smtputf8 = mail.smtputf8;
                self.ask(Question::Mail { smtputf8 }, Event::Mail(mail));
            }
            Err(reply) => self.reply(&reply),
        }
    }

    fn recipient(&mut self, arguments: &[u8]) {
        let Some(transaction) = self.transaction.as_ref().filter(|transaction| transaction.begun.is_none()) else {
            return self.bad(503, [5, 1], "RCPT comes after MAIL and before the message");
        };
        let smtputf8 = transaction.smtputf8;
        if transaction.recipients >= self.settings.recipients {
            let most = self.settings.recipients;
            let words = format_args!("At most {most} recipients. Send the message to the others separately");
            return self.reply(&Reply::new(452, [5, 3], words));
        }
        match transaction::recipient(arguments, self.settings.extensions, smtputf8, self.settings.legacy) {
            Ok(recipient) => self.ask(Question::Recipient, Event::Recipient(recipient)),
            Err(reply) => self.reply(&reply),
        }
    }

    fn data(&mut self, arguments: &[u8], bare_lf: bool) {
        if !arguments.trim_ascii().is_empty() && !self.settings.legacy {
            return self.bad(501, [5, 4], "DATA has no arguments");
        }
        if self.transaction.as_ref().is_some_and(|transaction| transaction.begun.is_some()) {
            return self.bad(503, [5, 1], "BDAT has begun this message. RSET discards it");
        }
        match self.ready() {
            Ok(_) => self.ask(Question::Data(self.line_ends(bare_lf)), Event::Message),
            Err(reply) => self.reply(&reply),
        }
    }

    fn chunk(&mut self, arguments: &[u8]) {
        let Some(chunk) = transaction::chunk(arguments) else {
            self.reply(&Reply::new(501, [5, 4], "BDAT takes a number of bytes, and LAST"));
            return self.end(Ending::Lost);
        };
        let fate = match self.ready() {
            Ok(None) => return self.ask(Question::FirstChunk(chunk), Event::Message),
            Ok(Some(begun)) => Fate::Taken(begun),
            Err(reply) => Fate::Refused(reply),
        };
        self.state = State::Chunk { left: chunk.octets, last: chunk.last, fate };
    }

    /// Whether a message may be transferred now, and the part that BDAT has transferred so far.
    fn ready(&mut self) -> Result<Option<Content>, Reply> {
        match &mut self.transaction {
            None => Err(Reply::new(503, [5, 1], "MAIL and RCPT come first")),
            Some(transaction) if transaction.recipients == 0 => Err(Reply::new(554, [5, 1], "No valid recipients")),
            Some(transaction) => Ok(transaction.begun.take()),
        }
    }

    fn line_ends(&self, lf: bool) -> LineEnds {
        if self.settings.legacy { LineEnds::Mended { lf } } else { LineEnds::Exact }
    }

    fn on_data(&mut self, mut message: Content, mut discarded: u64) -> bool {
        let input = self.input.take_all();
        if input.is_empty() {
            self.state = State::Data { message, discarded };
            return false;
        }
        let read = self.read(&mut message, &input);
        self.input.push(input.get(read..).unwrap_or_default());
        match message.flaw() {
            Some(flaw) if message.ended() => self.refuse_message(flaw),
            None if message.ended() => self.ask(Question::End, Event::End),
            flaw => {
                if flaw.is_some() {
                    discarded += read as u64;
                }
                self.go_on(discarded, State::Data { message, discarded });
            }
        }
        true
    }

    fn on_chunk(&mut self, left: u64, last: bool, mut fate: Fate) -> bool {
        if left > 0 && self.input.is_empty() {
            self.state = State::Chunk { left, last, fate };
            return false;
        }
        let held = self.input.len();
        let count = usize::try_from(left).map_or(held, |left| left.min(held));
        let input = self.input.take_octets(count).unwrap_or_default();
        let left = left - count as u64;
        if let Fate::Taken(message) = &mut fate {
            self.read(message, &input);
        }
        if left > 0 {
            // For a refused chunk, the octets still to come count as discarded.
            let refused = match &fate {
                Fate::Taken(message) => message.flaw().is_some(),
                Fate::Refused(_) => true,
            };
            self.go_on(if refused { left } else { 0 }, State::Chunk { left, last, fate });
            return true;
        }
        self.state = State::Command;
        match fate {
            Fate::Refused(reply) => {
                self.reply(&reply);
                if reply.code() == 421 {
                    self.end(Ending::Told);
                }
            }
            Fate::Taken(mut message) => {
                if last {
                    let before = message.flaw();
                    message.finish();
                    if let (None, Some(flaw)) = (before, message.flaw()) {
                        self.events.push_back(Event::Flawed(flaw));
                    }
                }
                match message.flaw() {
                    Some(flaw) => self.refuse_message(flaw),
                    None if last => self.ask(Question::End, Event::End),
                    None => {
                        if let Some(transaction) = &mut self.transaction {
                            transaction.begun = Some(message);
                        }
                        self.reply(&Reply::new(250, [0, 0], "Chunk received"));
                    }
                }
            }
        }
        true
    }

    /// Reads more of a message and reports its content. Returns how many octets of `input` belonged
    /// to it.
    fn read(&mut self, message: &mut Content, input: &[u8]) -> usize {
        let before = message.flaw();
        let mut piece = Vec::new();
        if before.is_none() {
            piece.reserve(input.len());
        }
        let read = message.read(input, &mut piece);
        match message.flaw() {
            Some(flaw) if before.is_none() => self.events.push_back(Event::Flawed(flaw)),
            Some(_) => {}
            None if piece.is_empty() => {}
            None => self.events.push_back(Event::Content(piece)),
        }
        read
    }

    /// Continues reading, unless far too much would be discarded.
    fn go_on(&mut self, discarded: u64, state: State) {
        if discarded > DISCARDED_OCTETS {
            self.reply(&transaction::too_large(self.limit));
            self.end(Ending::Lost);
        } else {
            self.state = state;
        }
    }

    /// Ends a message that must not be sent.
    fn refuse_message(&mut self, flaw: ContentError) {
        self.transaction = None;
        self.state = State::Command;
        let reply = match flaw {
            ContentError::LineEnd => {
                Reply::new(554, [6, 0], "The message has a bare CR or LF. Its lines must end in CRLF")
            }
            ContentError::Nul => Reply::new(554, [6, 0], "The message has a NUL"),
            ContentError::TooLarge => transaction::too_large(self.limit),
        };
        self.reply(&reply);
    }

    fn ask(&mut self, question: Question, event: Event) {
        self.state = State::Asked(question);
        self.events.push_back(event);
    }

    fn reset(&mut self) {
        if self.transaction.take().is_some() {
            self.events.push_back(Event::Reset);
        }
    }

    fn list(&mut self) {
        let name = Arc::clone(&self.settings.server_name);
        let mut texts = vec![name.as_bytes().to_vec()];
        let announced = Extensions { size: self.announced_size, ..self.settings.extensions };
        texts.extend(announced.keywords().0.into_iter().map(String::into_bytes));
        if self.settings.logged_in {
            texts.push(format!("AUTH {}", self.settings.client_tokens.announced_names()).into_bytes());
            texts.extend(self.settings.legacy.then(|| capabilities::OLD_AUTH.into()));
        }
        texts.push(b"ENHANCEDSTATUSCODES".to_vec());
        self.reply(&Reply { code: 250, texts });
    }

    /// Replies to a senseless command and counts it. Too many of them end the session, unless old
    /// devices are helped (`legacy`).
    fn bad(&mut self, code: u16, status: [u16; 2], text: &str) {
        self.reply(&Reply::new(code, status, text));
        self.bad_commands += 1;
        if self.bad_commands >= BAD_COMMANDS && !self.settings.legacy {
            self.reply(&Reply::new(421, [7, 0], "Too many bad commands"));
            self.end(Ending::TooManyErrors);
        }
    }

    fn reply(&mut self, reply: &Reply) {
        reply.write_to(&mut self.output);
    }

    fn end(&mut self, ending: Ending) {
        self.state = State::Closed;
        self.transaction = None;
        self.input.clear();
        self.events.push_back(Event::Close(ending));
    }
}
