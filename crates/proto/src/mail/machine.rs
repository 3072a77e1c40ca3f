//! What the client-side machines of IMAP, POP3 and SMTP have in common: one [`Machine`] that holds the input, the
//! counters and the hand-over of a login, and a [`Dialect`] per protocol that knows commands and replies.
//!
//! A dialect is a state that is consumed by each line and gives a [`Step`], so that nothing of one attempt to log in can
//! be met in the next. Known attacks on this phase, and what keeps them out:
//!
//! - commands behind STARTTLS that run after the handshake (CVE-2011-0411): any octet there ends the connection;
//! - a password sent in the clear because the client did not look: refused where TLS is required, and not kept;
//! - commands behind a login that reach the upstream without one: held back, and parsed here when the login fails;
//! - a browser made to speak to a mail port: an HTTP request gets no reply;
//! - memory before the login: every line, literal, count and number has a bound in [`Limits`].

use std::fmt;
use std::io::Write as _;
use std::mem;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::line::{Line, LineBuffer};
use super::{Capabilities, ClientEvent, ClientSettings, ClientSide, CloseReason, Limits, Rejection, ShutdownReason};
use crate::sasl::{self, ClientTokens, Credentials, CredentialsError, Exchange, Mechanism, Progress};
use gatepost_core::failure::Refusal;

/// What begins an HTTP request line. No mail command before the login, and no tag of a known client, looks like that.
const HTTP: [&[u8]; 10] =
    [b"GET ", b"POST ", b"PUT ", b"HEAD ", b"OPTIONS ", b"CONNECT ", b"DELETE ", b"PATCH ", b"TRACE ", b"PRI * HTTP/2"];

/// The commands, states and replies of one protocol.
pub trait Dialect: Sized + Send {
    /// What the reply to a login needs besides the verdict: IMAP's tag.
    type CommandTag: Send;

    /// What stands before a challenge in base64.
    const CONTINUATION: &'static str;

    /// The state after the greeting, after the handshake, and after each failed login: nothing is remembered.
    fn fresh() -> Self;

    /// The state in which a mechanism's next message is awaited.
    fn authenticating(tag: Self::CommandTag, exchange: Exchange) -> Self;

    /// True when the next line begins a command.
    fn awaits_command(&self) -> bool;

    /// What to read next, given what lies there already.
    fn wants(&self, limits: &Limits, received: &[u8]) -> Wants;

    /// Takes what it wanted.
    fn handle(self, input: Input, context: &mut Context) -> Step<Self>;

    /// Writes the greeting.
    fn greet(context: &mut Context);

    /// Writes that the login succeeded.
    fn succeed(tag: Self::CommandTag, upstream: &Capabilities, context: &mut Context);

    /// Writes that the login failed.
    fn refuse(tag: Self::CommandTag, refusal: Refusal, context: &mut Context);

    /// Writes that a login needs TLS first.
    fn demand_tls(tag: Self::CommandTag, context: &mut Context);

    /// Writes that a SASL exchange came to nothing.
    fn abort(tag: Self::CommandTag, abort: Abort, context: &mut Context);

    /// Writes the last words. `awaited` says whether the client waits for a reply.
    fn close_reply(reply: CloseReply, awaited: bool, context: &mut Context);
}

/// What a dialect wants to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// A line of at most so many octets with its end.
    Line(usize),
    /// Exactly so many octets: a literal.
    Octets(usize),
}

/// What was read.
#[derive(Debug)]
pub enum Input {
    /// The line without its end, or the octets. It may hold a password.
    Read(Zeroizing<Vec<u8>>),
    /// A line with NUL, a bare CR or a bare LF.
    Flawed,
    /// A line over its limit. The answer is [`Step::Close`].
    TooLong,
}

/// What follows from what was read. Replies are in the [`Context`] already.
pub enum Step<D: Dialect> {
    /// Go on.
    Read(D),
    /// Go on, but that made no sense.
    Bad(D),
    /// TLS comes next.
    StartTls,
    /// Somebody wants to log in.
    Login(D::CommandTag, Credentials),
    /// Somebody wants to log in in a way that cannot succeed.
    Reject(D::CommandTag, Rejection),
    /// Somebody who may do so begins a message without a login, with this command.
    Submission(Zeroizing<Vec<u8>>),
    /// The end.
    Close(CloseReason),
}

/// Why a SASL exchange came to nothing without an attempt to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abort {
    /// The mechanism is not offered.
    Mechanism,
    /// The message is not base64, or does not have the mechanism's form.
    Syntax,
    /// The client sent `*`.
    Cancelled,
}

/// Why the last words are said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReply {
    /// The caller wants it.
    Shutdown(ShutdownReason),
    /// [`Limits::commands`] is exceeded.
    TooManyCommands,
    /// [`Limits::bad_commands`] is reached.
    TooManyBadCommands,
    /// [`Limits::attempts`] is reached.
    TooManyAttempts,
}

impl CloseReply {
    /// The words.
    pub fn text(self) -> &'static str {
        match self {
            Self::Shutdown(ShutdownReason::Draining) => "The service is stopping, try again later",
            Self::Shutdown(ShutdownReason::Timeout) => "That took too long",
            Self::Shutdown(ShutdownReason::TooManyConnections) => "Too many connections, try again later",
            Self::TooManyCommands => "Too many commands before the login",
            Self::TooManyBadCommands => "Too many bad commands",
            Self::TooManyAttempts => "Too many failed logins",
        }
    }
}

/// What a dialect knows of its connection, and where it writes its replies.
pub struct Context {
    settings: ClientSettings,
    tls: bool,
    output: Vec<u8>,
}

impl Context {
    /// How to behave.
    pub fn settings(&self) -> &ClientSettings {
        &self.settings
    }

    /// True once TLS is on.
    pub fn tls(&self) -> bool {
        self.tls
    }

    /// True when STARTTLS is on offer now.
    pub fn offers_starttls(&self) -> bool {
        self.settings.starttls && !self.tls
    }

    /// True when a login is accepted now.
    pub fn offers_login(&self) -> bool {
        self.tls || self.settings.plaintext_login
    }

    /// What the upstream announces; `otherwise` for as long as that has not been learned.
    pub fn announced(&self, otherwise: fn() -> Capabilities) -> Arc<Capabilities> {
        let learned = &self.settings.announced;
        if learned.0.is_empty() { Arc::new(otherwise()) } else { Arc::clone(learned) }
    }

    /// Writes one line.
    pub fn reply(&mut self, line: fmt::Arguments<'_>) {
        // Writing to memory does not fail.
        let _ = write!(self.output, "{line}\r\n");
    }

    /// What a refused client is told, with the session's name at the end, by which the log can be searched.
    pub fn refusal(&self, refusal: Refusal) -> String {
        self.with_session(refusal.words())
    }

    /// What a client is told that may not log in without TLS.
    pub fn tls_demand(&self) -> String {
        self.with_session(if self.offers_starttls() { "Start TLS first" } else { "A login is possible with TLS only" })
    }

    fn with_session(&self, text: &str) -> String {
        format!("{text} (session {})", self.settings.session_id)
    }
}

/// Begins a SASL exchange: a challenge goes out, or the initial response is enough.
pub fn authenticate<D: Dialect>(
    tag: D::CommandTag,
    mechanism: &[u8],
    initial: Option<&[u8]>,
    context: &mut Context,
) -> Step<D> {
    if !context.offers_login() {
        return Step::Reject(tag, Rejection::PlaintextLogin);
    }
    let mechanism = match Mechanism::find(mechanism) {
        Some(mechanism) if mechanism.is_for_tokens() && context.settings.client_tokens == ClientTokens::Refuse => {
            return Step::Reject(tag, Rejection::ClientTokens);
        }
        Some(mechanism) => mechanism,
        None => {
            // No bad command: clients try CRAM-MD5 and NTLM before what is announced.
            D::abort(tag, Abort::Mechanism, context);
            return Step::Read(D::fresh());
        }
    };
    // A single `=` is the empty response (RFC 4959 §3, RFC 4954 §4, RFC 5034 §4).
    let initial = initial.map(|text| if text == b"=" { &b""[..] } else { text });
    match initial.map(sasl::decode).transpose() {
        Ok(initial) => {
            advance(tag, Exchange::begin(mechanism, initial.as_ref().map(|octets| octets.as_slice())), context)
        }
        Err(sasl::NotBase64) => malformed(tag, context),
    }
}

/// Goes on with a SASL exchange.
pub fn respond<D: Dialect>(tag: D::CommandTag, exchange: Exchange, line: &[u8], context: &mut Context) -> Step<D> {
    if line == b"*" {
        D::abort(tag, Abort::Cancelled, context);
        return Step::Read(D::fresh());
    }
    match sasl::decode(line) {
        Ok(response) => advance(tag, exchange.respond(&response), context),
        Err(sasl::NotBase64) => malformed(tag, context),
    }
}

fn advance<D: Dialect>(tag: D::CommandTag, progress: Progress, context: &mut Context) -> Step<D> {
    match progress {
        Progress::Challenge(exchange, challenge) => {
            let challenge = sasl::encode(challenge.as_bytes());
            context.reply(format_args!("{}{}", D::CONTINUATION, challenge.as_str()));
            Step::Read(D::authenticating(tag, exchange))
        }
        Progress::Complete(outcome) => present(tag, outcome, context),
    }
}

/// Ends a login command or a SASL exchange with what it brought.
pub fn present<D: Dialect>(
    tag: D::CommandTag,
    outcome: Result<Credentials, CredentialsError>,
    context: &mut Context,
) -> Step<D> {
    let rejection = match outcome {
        Ok(credentials) => return Step::Login(tag, credentials),
        Err(CredentialsError::Syntax) => return malformed(tag, context),
        Err(CredentialsError::Name(error)) => Rejection::Name(error),
        Err(CredentialsError::Password) => Rejection::Password,
        Err(CredentialsError::Token) => Rejection::Token,
        Err(CredentialsError::NotAToken(user)) => Rejection::NotAToken(user),
    };
    Step::Reject(tag, rejection)
}

fn malformed<D: Dialect>(tag: D::CommandTag, context: &mut Context) -> Step<D> {
    D::abort(tag, Abort::Syntax, context);
    Step::Bad(D::fresh())
}

/// The server that a mail client sees until its login is decided, in one dialect.
///
/// At most one line or literal, the output not yet taken and, during a login, [`Limits::held_bytes`] plus the last piece
/// of input are held; nothing between commands.
pub struct Machine<D: Dialect> {
    context: Context,
    input: LineBuffer,
    phase: Phase<D>,
    event: Option<ClientEvent>,
    commands: u32,
    bad_commands: u32,
    attempts: u32,
    /// The greeting has left.
    greeted: bool,
}

enum Phase<D: Dialect> {
    Reading(D),
    StartingTls,
    Deciding(D::CommandTag),
    Rejected(D::CommandTag, Rejection),
    Accepted,
    Closed,
}

impl<D: Dialect> Machine<D> {
    /// A machine at the start of a connection; the greeting waits in its output.
    pub fn new(settings: ClientSettings) -> Self {
        let mut context = Context { tls: settings.implicit_tls, settings, output: Vec::new() };
        D::greet(&mut context);
        Self {
            context,
            input: LineBuffer::default(),
            phase: Phase::Reading(D::fresh()),
            event: None,
            commands: 0,
            bad_commands: 0,
            attempts: 0,
            greeted: false,
        }
    }

    fn process(&mut self) {
        loop {
            let state = match mem::replace(&mut self.phase, Phase::Closed) {
                Phase::Reading(state) => state,
                waiting => {
                    self.phase = waiting;
                    return;
                }
            };
            let command = state.awaits_command();
            if command && HTTP.iter().any(|method| self.input.peek().starts_with(method)) {
                return self.end(CloseReason::Http);
            }
            let Some(input) = self.read(&state) else {
                self.phase = Phase::Reading(state);
                return;
            };
            if command {
                self.commands += 1;
                if self.commands > self.context.settings.limits.commands {
                    D::close_reply(CloseReply::TooManyCommands, true, &mut self.context);
                    return self.end(CloseReason::TooManyCommands);
                }
            }
            match state.handle(input, &mut self.context) {
                Step::Read(state) => self.phase = Phase::Reading(state),
                Step::Bad(state) => {
                    self.bad_commands += 1;
                    if self.bad_commands >= self.context.settings.limits.bad_commands {
                        D::close_reply(CloseReply::TooManyBadCommands, false, &mut self.context);
                        return self.end(CloseReason::TooManyCommands);
                    }
                    self.phase = Phase::Reading(state);
                }
                Step::StartTls if self.input.is_empty() => {
                    self.event = Some(ClientEvent::StartTls);
                    self.phase = Phase::StartingTls;
                }
                Step::StartTls => self.end(CloseReason::BytesBehindStartTls),
                Step::Login(tag, credentials) => {
                    self.event = Some(ClientEvent::Login(credentials));
                    self.phase = Phase::Deciding(tag);
                }
                Step::Reject(tag, rejection) => {
                    self.event = Some(ClientEvent::Rejected(rejection.clone()));
                    self.phase = Phase::Rejected(tag, rejection);
                }
                Step::Submission(line) => {
                    self.input.put_back(&line);
                    self.event = Some(ClientEvent::Submission);
                    self.phase = Phase::Accepted;
                }
                Step::Close(reason) => self.end(reason),
            }
        }
    }

    fn read(&mut self, state: &D) -> Option<Input> {
        let settings = &self.context.settings;
        match state.wants(&settings.limits, self.input.peek()) {
            Wants::Octets(count) => self.input.take_octets(count).map(Input::Read),
            Wants::Line(limit) => {
                let bare_lf = settings.bare_lf && !self.context.tls;
                self.input.take_line(limit, bare_lf).map(|line| match line {
                    Line::Text(text) => Input::Read(text),
                    Line::Flawed => Input::Flawed,
                    Line::TooLong => Input::TooLong,
                })
            }
        }
    }

    /// Closes, with whatever has been written as the last words.
    fn end(&mut self, reason: CloseReason) {
        self.phase = Phase::Closed;
        self.input.clear();
        self.event = Some(ClientEvent::Close(reason));
    }

    /// Counts a failed login whose reply has been written, and goes on with what was sent behind it.
    fn count_failure(&mut self) {
        self.attempts += 1;
        if self.attempts >= self.context.settings.limits.attempts {
            D::close_reply(CloseReply::TooManyAttempts, false, &mut self.context);
            return self.end(CloseReason::TooManyAttempts);
        }
        self.phase = Phase::Reading(D::fresh());
        self.process();
    }
}

impl<D: Dialect> ClientSide for Machine<D> {
    fn handle_input(&mut self, input: &[u8]) {
        match self.phase {
            Phase::Closed => {}
            Phase::StartingTls if input.is_empty() => {}
            Phase::StartingTls => self.end(CloseReason::BytesBehindStartTls),
            _ => {
                self.input.push(input);
                self.process();
            }
        }
    }

    fn wants_input(&self) -> bool {
        match self.phase {
            Phase::Reading(_) | Phase::StartingTls => true,
            Phase::Deciding(_) | Phase::Rejected(..) => self.input.len() < self.context.settings.limits.held_bytes,
            Phase::Accepted | Phase::Closed => false,
        }
    }

    fn poll_event(&mut self) -> Option<ClientEvent> {
        self.event.take()
    }

    fn poll_output(&mut self) -> Option<Vec<u8>> {
        self.greeted = true;
        let output = mem::take(&mut self.context.output);
        (!output.is_empty()).then_some(output)
    }

    fn tls_established(&mut self) {
        if let Phase::StartingTls = self.phase {
            self.context.tls = true;
            self.phase = Phase::Reading(D::fresh());
        }
    }

    fn accept(&mut self, upstream: &Capabilities) {
        match mem::replace(&mut self.phase, Phase::Accepted) {
            Phase::Deciding(tag) => D::succeed(tag, upstream, &mut self.context),
            undecidable => self.phase = undecidable,
        }
    }

    fn refuse(&mut self, refusal: Refusal) {
        match mem::replace(&mut self.phase, Phase::Closed) {
            Phase::Deciding(tag) => {
                D::refuse(tag, refusal, &mut self.context);
                self.count_failure();
            }
            undecidable => self.phase = undecidable,
        }
    }

    fn resume(&mut self) {
        match mem::replace(&mut self.phase, Phase::Closed) {
            Phase::Rejected(tag, rejection) => {
                match rejection {
                    Rejection::ClientTokens => {
                        D::abort(tag, Abort::Mechanism, &mut self.context);
                        self.phase = Phase::Reading(D::fresh());
                        return self.process();
                    }
                    Rejection::PlaintextLogin => D::demand_tls(tag, &mut self.context),
                    // The same words as for a wrong password, so that names cannot be told apart by them.
                    Rejection::Name(_) | Rejection::Password | Rejection::Token | Rejection::NotAToken(_) => {
                        D::refuse(tag, Refusal::InvalidCredentials, &mut self.context);
                    }
                }
                self.count_failure();
            }
            other => self.phase = other,
        }
    }

    fn close(&mut self, reason: ShutdownReason) {
        let awaited = match self.phase {
            Phase::Accepted | Phase::Closed => return,
            Phase::Deciding(_) | Phase::Rejected(..) => true,
            Phase::Reading(_) | Phase::StartingTls => !self.greeted,
        };
        if !self.greeted {
            // The last words take the greeting's place: `* BYE` and 421 are greetings too.
            self.context.output.clear();
        }
        D::close_reply(CloseReply::Shutdown(reason), awaited, &mut self.context);
        self.phase = Phase::Closed;
        self.event = None;
        self.input.clear();
    }

    fn take_leftovers(&mut self) -> Vec<u8> {
        if matches!(self.phase, Phase::Accepted) { self.input.take_all() } else { Vec::new() }
    }
}

#[cfg(test)]
mod attempts;
#[cfg(test)]
mod tests;
