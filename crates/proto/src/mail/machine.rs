//! The common part of the client-side machines of IMAP, POP3 and SMTP. One [`Machine`] holds the
//! input, the counters and the handover of a login. A [`Dialect`] per protocol knows the commands
//! and replies.
//!
//! A dialect is a state that each line consumes and turns into a [`Step`], so that no state of one
//! login attempt remains in the next. Known attacks on this phase, and the defenses:
//!
//! - commands after STARTTLS that run after the handshake (CVE-2011-0411): any octet there ends the
//!   connection;
//! - a password sent without TLS because the client did not check: refused where TLS is required,
//!   and not kept;
//! - commands after a login that reach the upstream without one: held back, and parsed here if the
//!   login fails;
//! - a browser that is made to connect to a mail port: an HTTP request gets no reply;
//! - a client that begins with TLS where a command belongs: closed at once, because its user waits;
//! - memory before the login: every line, literal, count and number has a limit in [`Limits`].

use std::fmt;
use std::io::Write as _;
use std::mem;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::line::{Line, LineBuffer};
use super::{Capabilities, ClientEvent, ClientSettings, ClientSide, CloseReason, Limits, Rejection, ShutdownReason};
use crate::sasl::{self, ClientTokens, Credentials, CredentialsError, Exchange, Mechanism, Progress};
use crate::tls_hello::begins_tls;
use gatepost_core::failure::Refusal;

/// The beginnings of an HTTP request line. No mail command before the login, and no tag of a known
/// client, begins like that.
const HTTP: [&[u8]; 10] =
    [b"GET ", b"POST ", b"PUT ", b"HEAD ", b"OPTIONS ", b"CONNECT ", b"DELETE ", b"PATCH ", b"TRACE ", b"PRI * HTTP/2"];

/// The commands, states and replies of one protocol.
pub trait Dialect: Sized + Send {
    /// What the reply to a login needs besides the result: IMAP's tag.
    type CommandTag: Send;

    /// How a client logs in that uses no SASL mechanism.
    const LOGIN_COMMAND: &'static str;

    /// The text before a base64 challenge.
    const CONTINUATION: &'static str;

    /// The state after the greeting, after the handshake, and after each failed login, without any
    /// memory of before.
    fn fresh() -> Self;

    /// The state that waits for the next message of a mechanism.
    fn authenticating(tag: Self::CommandTag, exchange: Exchange) -> Self;

    /// True if the next line begins a command.
    fn awaits_command(&self) -> bool;

    /// What to read next, given the octets received so far.
    fn wants(&self, limits: &Limits, received: &[u8]) -> Wants;

    /// Handles what was read.
    fn handle(self, input: Input, context: &mut Context) -> Step<Self>;

    /// Writes the greeting.
    fn greet(context: &mut Context);

    /// Writes the reply to a successful login.
    fn succeed(tag: Self::CommandTag, upstream: &Capabilities, context: &mut Context);

    /// Writes the reply to a failed login.
    fn refuse(tag: Self::CommandTag, refusal: Refusal, context: &mut Context);

    /// Writes that a login needs TLS first.
    fn demand_tls(tag: Self::CommandTag, context: &mut Context);

    /// Writes that a SASL exchange was aborted.
    fn abort(tag: Self::CommandTag, abort: Abort, context: &mut Context);

    /// Writes the last reply. `awaited` says whether the client waits for a reply.
    fn close_reply(reply: CloseReply, awaited: bool, context: &mut Context);
}

/// What a dialect wants to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// A line of at most this many octets with its end.
    Line(usize),
    /// The same, for a SASL response: what is around the base64 is left out.
    Response(usize),
    /// Exactly this many octets: a literal.
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

impl From<Line> for Input {
    fn from(line: Line) -> Self {
        match line {
            Line::Text(text) => Self::Read(text),
            Line::Flawed => Self::Flawed,
            Line::TooLong => Self::TooLong,
        }
    }
}

/// The result of handling what was read. Replies are already in the [`Context`].
pub enum Step<D: Dialect> {
    /// Continue.
    Read(D),
    /// Continue, but count a bad command.
    Bad(D),
    /// Start TLS.
    StartTls,
    /// The client wants to log in.
    Login(D::CommandTag, Credentials),
    /// The client wants to log in, but in a way that cannot succeed.
    Reject(D::CommandTag, Rejection),
    /// A trusted client begins a message without a login, with this command.
    Submission(Zeroizing<Vec<u8>>),
    /// Close the connection.
    Close(CloseReason),
}

/// Why a SASL exchange was aborted without a login attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abort {
    /// The mechanism is not offered.
    Mechanism,
    /// The message is not base64, or does not have the mechanism's form.
    Syntax,
    /// The client sent `*`.
    Cancelled,
}

/// Why the last reply is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReply {
    /// The caller ends the connection.
    Shutdown(ShutdownReason),
    /// [`Limits::commands`] is exceeded.
    TooManyCommands,
    /// [`Limits::bad_commands`] is reached.
    TooManyBadCommands,
    /// [`Limits::attempts`] is reached.
    TooManyAttempts,
}

impl CloseReply {
    /// The text of the reply.
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

/// What a dialect knows about its connection, and the output for its replies.
pub struct Context {
    settings: ClientSettings,
    tls: bool,
    output: Vec<u8>,
    /// The SASL mechanism of the command that was read last.
    mechanism: Option<Mechanism>,
}

impl Context {
    /// The settings of the machine.
    pub fn settings(&self) -> &ClientSettings {
        &self.settings
    }

    /// True once TLS is on.
    pub fn tls(&self) -> bool {
        self.tls
    }

    /// True if STARTTLS is offered now.
    pub fn offers_starttls(&self) -> bool {
        self.settings.starttls && !self.tls
    }

    /// True if a login is accepted now.
    pub fn offers_login(&self) -> bool {
        self.tls || self.settings.plaintext_login
    }

    /// What the upstream announces, or `otherwise` until that has been learned.
    pub fn announced(&self, otherwise: fn() -> Capabilities) -> Arc<Capabilities> {
        let learned = &self.settings.announced;
        if learned.0.is_empty() { Arc::new(otherwise()) } else { Arc::clone(learned) }
    }

    /// Writes one line.
    pub fn reply(&mut self, line: fmt::Arguments<'_>) {
        // Writing to memory does not fail.
        let _ = write!(self.output, "{line}\r\n");
    }

    /// The text of a refusal, with the session's ID at the end, for which the log can be searched.
    pub fn refusal(&self, refusal: Refusal) -> String {
        self.with_session(refusal.words())
    }

    /// The text for a client that may not log in without TLS.
    pub fn tls_demand(&self) -> String {
        self.with_session(if self.offers_starttls() { "Start TLS first" } else { "Turn on TLS to log in" })
    }

    fn with_session(&self, text: &str) -> String {
        format!("{text} (session {})", self.settings.session_id)
    }
}

/// Longest name of a command that counts as well-formed, in octets.
const COMMAND_OCTETS: usize = 20;

/// Whether a command that a dialect does not know has the form of one: a word, and printable
/// arguments. A client that tries what a server can do sends such commands.
pub fn is_well_formed(command: &[u8]) -> bool {
    let end = command.iter().position(|&octet| octet == b' ').unwrap_or(command.len());
    let (name, arguments) = command.split_at(end);
    name.len() <= COMMAND_OCTETS
        && name.first().is_some_and(u8::is_ascii_alphabetic)
        && name.iter().all(|octet| octet.is_ascii_alphanumeric() || b"-_".contains(octet))
        && arguments.iter().all(|octet| *octet >= b' ' && *octet != 0x7f)
}

/// Begins a SASL exchange: sends a challenge, or is complete with the initial response.
pub fn authenticate<D: Dialect>(
    tag: D::CommandTag,
    mechanism: &[u8],
    initial: Option<&[u8]>,
    context: &mut Context,
) -> Step<D> {
    context.mechanism = Mechanism::find(mechanism);
    if !context.offers_login() {
        return Step::Reject(tag, Rejection::PlaintextLogin);
    }
    let mechanism = match context.mechanism {
        Some(mechanism) if mechanism.is_for_tokens() && context.settings.client_tokens == ClientTokens::Refuse => {
            return Step::Reject(tag, Rejection::ClientTokens);
        }
        Some(mechanism) => mechanism,
        None => {
            // This is not a bad command, because clients try CRAM-MD5 and NTLM before what is
            // announced.
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
        Err(sasl::NotBase64) => match Exchange::begin(mechanism, None) {
            Progress::Challenge(exchange, _) => not_base64(tag, exchange, context),
            Progress::Complete(_) => Step::Reject(tag, Rejection::Malformed),
        },
    }
}

/// Continues a SASL exchange.
pub fn respond<D: Dialect>(tag: D::CommandTag, exchange: Exchange, line: &[u8], context: &mut Context) -> Step<D> {
    if line == b"*" {
        D::abort(tag, Abort::Cancelled, context);
        return Step::Read(D::fresh());
    }
    match sasl::decode(line) {
        Ok(response) => advance(tag, exchange.respond(&response), context),
        Err(sasl::NotBase64) => not_base64(tag, exchange, context),
    }
}

/// Handles a response that is not base64. Many devices send the password of LOGIN without looking
/// at the reply to the name. It must not be read as a command.
fn not_base64<D: Dialect>(tag: D::CommandTag, exchange: Exchange, context: &mut Context) -> Step<D> {
    match exchange.refuse_response() {
        Some(progress) => advance(tag, progress, context),
        None => Step::Reject(tag, Rejection::Malformed),
    }
}

fn advance<D: Dialect>(tag: D::CommandTag, progress: Progress, context: &mut Context) -> Step<D> {
    match progress {
        Progress::Challenge(exchange, challenge) => {
            let challenge = sasl::encode(challenge.as_bytes());
            context.reply(format_args!("{}{}", D::CONTINUATION, challenge.as_str()));
            Step::Read(D::authenticating(tag, exchange))
        }
        Progress::Complete(outcome) => present(tag, outcome),
    }
}

/// Ends a login command or a SASL exchange with its result.
pub fn present<D: Dialect>(tag: D::CommandTag, outcome: Result<Credentials, CredentialsError>) -> Step<D> {
    let rejection = match outcome {
        Ok(credentials) => return Step::Login(tag, credentials),
        Err(CredentialsError::Syntax) => Rejection::Malformed,
        Err(CredentialsError::Name(error)) => Rejection::Name(error),
        Err(CredentialsError::Password) => Rejection::Password,
        Err(CredentialsError::Token) => Rejection::Token,
        Err(CredentialsError::NotAToken(user)) => Rejection::NotAToken(user),
    };
    Step::Reject(tag, rejection)
}

/// The server side towards a mail client until its login is decided, for one dialect.
///
/// It holds at most one line or literal, the output not yet taken and, during a login,
/// [`Limits::held_bytes`] plus the last piece of input. Between commands it holds nothing.
pub struct Machine<D: Dialect> {
    context: Context,
    input: LineBuffer,
    phase: Phase<D>,
    event: Option<ClientEvent>,
    commands: u32,
    bad_commands: u32,
    attempts: u32,
    /// The greeting has been taken from the output.
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
    /// Creates the machine of a new connection, with the greeting in its output.
    pub fn new(settings: ClientSettings) -> Self {
        let mut context = Context { tls: settings.implicit_tls, settings, output: Vec::new(), mechanism: None };
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
            if command && !self.context.tls {
                match begins_tls(self.input.peek()) {
                    Some(true) => return self.end(CloseReason::TlsHello),
                    Some(false) => {}
                    // The length in a hello of SSL 2.0 may look like the end of a line.
                    None => {
                        self.phase = Phase::Reading(state);
                        return;
                    }
                }
            }
            let Some(input) = self.read(&state) else {
                self.phase = Phase::Reading(state);
                return;
            };
            if command {
                self.context.mechanism = None;
                self.commands += 1;
                if self.commands > self.context.settings.limits.commands {
                    D::close_reply(CloseReply::TooManyCommands, true, &mut self.context);
                    return self.end(CloseReason::TooManyCommands);
                }
            }
            match state.handle(input, &mut self.context) {
                Step::Read(state) => self.phase = Phase::Reading(state),
                Step::Bad(state) => self.count_bad_command(state),
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
        let bare_lf = settings.bare_lf && !self.context.tls;
        match state.wants(&settings.limits, self.input.peek()) {
            Wants::Octets(count) => self.input.take_octets(count).map(Input::Read),
            Wants::Line(limit) => self.input.take_line(limit, bare_lf).map(Input::from),
            Wants::Response(limit) => self.input.take_trimmed_line(limit, bare_lf).map(Input::from),
        }
    }

    /// Closes the connection after the output written so far.
    fn end(&mut self, reason: CloseReason) {
        self.phase = Phase::Closed;
        self.input.clear();
        self.event = Some(ClientEvent::Close(reason));
    }

    /// Counts a bad command whose reply has been written.
    fn count_bad_command(&mut self, state: D) {
        self.bad_commands += 1;
        if self.bad_commands >= self.context.settings.limits.bad_commands {
            D::close_reply(CloseReply::TooManyBadCommands, false, &mut self.context);
            return self.end(CloseReason::TooManyCommands);
        }
        self.phase = Phase::Reading(state);
    }

    /// Counts a failed login whose reply has been written, and continues with the input after it.
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

    fn login_method(&self) -> &'static str {
        self.context.mechanism.map_or(D::LOGIN_COMMAND, Mechanism::name)
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
                    Rejection::Malformed => {
                        D::abort(tag, Abort::Syntax, &mut self.context);
                        self.count_bad_command(D::fresh());
                        return self.process();
                    }
                    Rejection::PlaintextLogin => D::demand_tls(tag, &mut self.context),
                    // The same text as for a wrong password, so that it does not reveal which names
                    // exist.
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
            // The last reply replaces the greeting: `* BYE` and 421 are greetings too.
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
#[cfg(test)]
mod transcripts;
