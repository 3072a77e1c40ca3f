//! The POP3 server side after the login, for a maildrop that Gatepost serves itself (RFC 1939 §5
//! and §6).
//!
//! It works like the machines of the login: octets and answers in, octets and [`MaildropEvent`]s
//! out. The caller writes what [`Transaction::poll_output`] gives until it gives nothing, then does
//! what [`Transaction::poll_event`] asks for. If there is neither, it reads from the client. Of the
//! input, at most the octets of one read and one line are held. Of the output, at most 16 KiB and
//! one line or one piece of a message are held, because long listings are written in parts.
//!
//! The messages are requested when a command first needs them, and the list then stays the same for
//! the session. Only QUIT deletes messages: if a connection ends otherwise, no message is deleted.

use std::io::Write as _;
use std::mem;
use std::sync::Arc;

use memchr::memchr;

use self::command::{Command, CommandError};
use super::content::Content;
use super::maildrop::{Maildrop, Message};
use crate::mail::line::{Line, LineBuffer};

mod command;

/// Longest command line in octets, with its end (RFC 2449 §4).
const LINE_OCTETS: usize = 255;

/// No further command is begun while this much output waits.
const OUTPUT_OCTETS: usize = 16 * 1_024;

/// What the machine asks its caller to do.
#[derive(Debug, PartialEq, Eq)]
pub enum MaildropEvent {
    /// List the messages, then call [`Transaction::listed`] or [`Transaction::refuse`].
    List,
    /// Fetch this message: [`Transaction::begin_content`], [`Transaction::content`] for each piece
    /// while [`Transaction::wants_content`], [`Transaction::end_content`]; or only
    /// [`Transaction::refuse`]. If a message breaks off, the connection must be cut, because
    /// nothing else tells the client that the message is incomplete.
    Content {
        /// The number of the message.
        number: u32,
    },
    /// Delete these messages, in the order of their numbers, then call [`Transaction::updated`].
    Update(Vec<u32>),
    /// Close. No further event comes.
    Close,
}

/// Why a command cannot be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The message has been deleted or moved since it was listed.
    Gone,
    /// Something is down, slow or throttled.
    Temporary,
    /// A person must change something first.
    Permanent,
}

/// The POP3 machine after the login.
pub struct Transaction {
    bare_lf: bool,
    session_id: Arc<str>,
    input: LineBuffer,
    output: Vec<u8>,
    event: Option<MaildropEvent>,
    /// `None` until the messages have been listed.
    maildrop: Option<Maildrop>,
    phase: Phase,
}

enum Phase {
    /// Waits for a command.
    Command,
    /// Discards the rest of a line that is too long.
    Skipping,
    /// Waits for the list of messages, and then runs this command.
    AwaitingList(Command),
    /// Writes a listing.
    Showing {
        column: Column,
        next: u32,
    },
    AwaitingContent {
        number: u32,
        lines: Option<u64>,
    },
    Sending {
        number: u32,
        whole: bool,
        content: Content,
    },
    Updating,
    Closed,
}

/// The column of a listing.
#[derive(Clone, Copy)]
enum Column {
    Octets,
    UniqueId,
}

impl Transaction {
    /// Creates a machine that has just reported a successful login. With `bare_lf`, a bare LF ends
    /// a command as well.
    pub fn new(bare_lf: bool, session_id: Arc<str>) -> Self {
        Self {
            bare_lf,
            session_id,
            input: LineBuffer::default(),
            output: Vec::new(),
            event: None,
            maildrop: None,
            phase: Phase::Command,
        }
    }

    /// Takes octets from the client.
    pub fn handle_input(&mut self, input: &[u8]) {
        if !matches!(self.phase, Phase::Closed) {
            self.input.push(input);
            self.process();
        }
    }

    /// Pending octets for the client, if any.
    pub fn poll_output(&mut self) -> Option<Vec<u8>> {
        let output = mem::take(&mut self.output);
        self.process();
        (!output.is_empty()).then_some(output)
    }

    /// The next event, if any.
    pub fn poll_event(&mut self) -> Option<MaildropEvent> {
        self.event.take()
    }

    /// The answer to [`MaildropEvent::List`].
    pub fn listed(&mut self, maildrop: Maildrop) {
        match mem::replace(&mut self.phase, Phase::Command) {
            Phase::AwaitingList(command) => {
                self.maildrop = Some(maildrop);
                self.carry_out(command);
                self.process();
            }
            other => self.phase = other,
        }
    }

    /// Reports that [`MaildropEvent::List`] or [`MaildropEvent::Content`] failed.
    pub fn refuse(&mut self, trouble: Trouble) {
        if !matches!(self.phase, Phase::AwaitingList(_) | Phase::AwaitingContent { .. }) {
            return;
        }
        let session = Arc::clone(&self.session_id);
        match trouble {
            Trouble::Gone => self.reply(format_args!("-ERR That message has been deleted or moved elsewhere")),
            Trouble::Temporary => self.reply(format_args!(
                "-ERR [SYS/TEMP] The mailbox cannot be read for now, try again later (session {session})"
            )),
            Trouble::Permanent => {
                self.reply(format_args!("-ERR [SYS/PERM] An administrator needs to fix this (session {session})"))
            }
        }
        self.phase = Phase::Command;
        self.process();
    }

    /// Begins the message, which exists.
    pub fn begin_content(&mut self) {
        if let Phase::AwaitingContent { number, lines } = self.phase {
            self.reply(format_args!("+OK Message follows"));
            self.phase = Phase::Sending { number, whole: lines.is_none(), content: Content::new(lines) };
        }
    }

    /// True if the client has received the beginning of a message, but not its end.
    pub fn is_sending(&self) -> bool {
        matches!(self.phase, Phase::Sending { .. })
    }

    /// False if the rest of the message is not needed.
    pub fn wants_content(&self) -> bool {
        matches!(&self.phase, Phase::Sending { content, .. } if content.wants_more())
    }

    /// The next piece of the message.
    pub fn content(&mut self, piece: &[u8]) {
        if let Phase::Sending { content, .. } = &mut self.phase {
            content.write(piece, &mut self.output);
        }
    }

    /// Ends the message: all of it was given, or all that was wanted.
    pub fn end_content(&mut self) {
        match mem::replace(&mut self.phase, Phase::Command) {
            Phase::Sending { number, whole, content } => {
                let octets = content.finish(&mut self.output);
                if whole && let Some(maildrop) = &mut self.maildrop {
                    maildrop.measured(number, octets);
                }
                self.process();
            }
            other => self.phase = other,
        }
    }

    /// The answer to [`MaildropEvent::Update`]: how many messages could not be deleted.
    pub fn updated(&mut self, left: usize) {
        if matches!(self.phase, Phase::Updating) {
            let session = Arc::clone(&self.session_id);
            match left {
                0 => self.reply(format_args!("+OK Bye, the marked messages are deleted")),
                1 => self.reply(format_args!(
                    "-ERR [SYS/TEMP] One marked message was not deleted, try again later (session {session})"
                )),
                left => self.reply(format_args!(
                    "-ERR [SYS/TEMP] {left} marked messages were not deleted, try again later (session {session})"
                )),
            }
            self.close();
        }
    }

    fn process(&mut self) {
        while self.output.len() < OUTPUT_OCTETS && self.event.is_none() {
            match self.phase {
                Phase::Command => match self.input.take_line(LINE_OCTETS, self.bare_lf) {
                    None => return,
                    Some(Line::Text(line)) => match command::parse(&line) {
                        Ok(command) => self.carry_out(command),
                        Err(CommandError::Unknown) => self.reply(format_args!("-ERR Command unknown")),
                        Err(CommandError::Arguments) => self.reply(format_args!("-ERR Arguments missing or malformed")),
                    },
                    Some(Line::Flawed) => self.reply(format_args!("-ERR A line ends in CRLF and holds no NUL")),
                    Some(Line::TooLong) => {
                        self.reply(format_args!("-ERR Line too long"));
                        self.phase = Phase::Skipping;
                    }
                },
                Phase::Skipping => {
                    let octets = self.input.take_all();
                    let Some(end) = memchr(b'\n', &octets) else { return };
                    self.input.push(octets.get(end + 1..).unwrap_or_default());
                    self.phase = Phase::Command;
                }
                Phase::Showing { column, next } => self.show(column, next),
                Phase::AwaitingList(_)
                | Phase::AwaitingContent { .. }
                | Phase::Sending { .. }
                | Phase::Updating
                | Phase::Closed => return,
            }
        }
    }

    /// Runs a command. The phase must be [`Phase::Command`].
    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Noop => return self.reply(format_args!("+OK")),
            Command::Capa => return self.capabilities(),
            Command::Quit => return self.quit(),
            Command::BeforeLogin => return self.reply(format_args!("-ERR You are logged in already")),
            _ => {}
        }
        let Some(maildrop) = &mut self.maildrop else {
            self.phase = Phase::AwaitingList(command);
            self.event = Some(MaildropEvent::List);
            return;
        };
        match command {
            Command::Stat => {
                let (left, octets) = (maildrop.left(), maildrop.octets());
                self.reply(format_args!("+OK {left} {octets}"));
            }
            Command::List(None) => {
                let (left, octets) = (maildrop.left(), maildrop.octets());
                self.reply(format_args!("+OK {left} messages ({octets} octets)"));
                self.phase = Phase::Showing { column: Column::Octets, next: 1 };
            }
            Command::Uidl(None) => {
                self.reply(format_args!("+OK Unique ids follow"));
                self.phase = Phase::Showing { column: Column::UniqueId, next: 1 };
            }
            Command::List(Some(number)) | Command::Uidl(Some(number)) => match maildrop.message(number) {
                Some(&Message { octets, .. }) if matches!(command, Command::List(_)) => {
                    self.reply(format_args!("+OK {number} {octets}"));
                }
                Some(&Message { unique_id, .. }) => self.reply(format_args!("+OK {number} {unique_id}")),
                None => self.no_such_message(),
            },
            Command::Retr(number) => self.content_of(number, None),
            Command::Top { number, lines } => self.content_of(number, Some(lines)),
            Command::Dele(number) => {
                if maildrop.delete(number) {
                    self.reply(format_args!("+OK Marked for deletion"));
                } else {
                    self.no_such_message();
                }
            }
            Command::Rset => {
                maildrop.reset();
                self.reply(format_args!("+OK"));
            }
            Command::Noop | Command::Capa | Command::Quit | Command::BeforeLogin => {}
        }
    }

    fn content_of(&mut self, number: u32, lines: Option<u64>) {
        if self.maildrop.as_ref().is_some_and(|maildrop| maildrop.message(number).is_some()) {
            self.phase = Phase::AwaitingContent { number, lines };
            self.event = Some(MaildropEvent::Content { number });
        } else {
            self.no_such_message();
        }
    }

    /// Continues a listing.
    fn show(&mut self, column: Column, next: u32) {
        match self.maildrop.as_ref().and_then(|maildrop| maildrop.next(next)) {
            Some((number, &Message { octets, unique_id })) => {
                match column {
                    Column::Octets => self.reply(format_args!("{number} {octets}")),
                    Column::UniqueId => self.reply(format_args!("{number} {unique_id}")),
                }
                self.phase = Phase::Showing { column, next: number.saturating_add(1) };
            }
            None => {
                self.reply(format_args!("."));
                self.phase = Phase::Command;
            }
        }
    }

    /// Writes what was announced before the login (RFC 2449 §5), without the login methods.
    fn capabilities(&mut self) {
        self.reply(format_args!("+OK Capability list follows"));
        for capability in super::capabilities::MAILDROP.iter().chain(&["RESP-CODES", "AUTH-RESP-CODE"]) {
            self.reply(format_args!("{capability}"));
        }
        self.reply(format_args!("IMPLEMENTATION Gatepost"));
        self.reply(format_args!("."));
    }

    fn quit(&mut self) {
        let deleted = self.maildrop.as_ref().map(Maildrop::deleted).unwrap_or_default();
        if deleted.is_empty() {
            self.reply(format_args!("+OK Bye"));
            self.close();
        } else {
            self.phase = Phase::Updating;
            self.event = Some(MaildropEvent::Update(deleted));
        }
    }

    fn close(&mut self) {
        self.phase = Phase::Closed;
        self.input.clear();
        self.event = Some(MaildropEvent::Close);
    }

    fn no_such_message(&mut self) {
        self.reply(format_args!("-ERR There is no such message"));
    }

    fn reply(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to memory does not fail.
        let _ = write!(self.output, "{line}\r\n");
    }
}

#[cfg(test)]
mod tests;
