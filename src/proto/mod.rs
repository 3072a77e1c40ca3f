//! The protocol machines: bytes in, events and bytes out; no sockets, no clock, no runtime.
//!
//! IMAP, POP3 and SMTP have the same shape. A [`ClientSide`] plays the server towards the mail client until the login;
//! an [`UpstreamSide`] plays the client towards Microsoft until XOAUTH2 has succeeded. The caller moves the bytes:
//!
//! 1. give received bytes to `handle_input`,
//! 2. take events from `poll_event` until it has none, and do what each one asks for,
//! 3. write what `poll_output` gives, before waiting for more input.
//!
//! Every split of the same input gives the same events and output; the buffers are bounded by [`Limits`]. One event
//! depends on time: [`ClientEvent::StartTls`] comes only while nothing lies behind the command that asks for TLS, and
//! input that is handed over after it turns it into a [`ClientEvent::Close`].
//! What OAuth is, is not known here: [`ClientEvent::Login`] goes out, `accept` or `refuse` comes back.

use std::sync::Arc;

use crate::account::MailAddress;
use crate::sasl::{Bearer, ClientTokens, Credentials};

pub mod imap;
mod line;
mod lull;
pub mod machine;
pub mod pop3;
pub(crate) mod reply;
pub mod smtp;

pub use lull::Lull;

/// The mail protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MailProtocol {
    /// RFC 3501, RFC 9051.
    Imap,
    /// RFC 1939.
    Pop3,
    /// Submission, RFC 6409.
    Smtp,
}

impl MailProtocol {
    /// Lower-case name, as in the configuration and the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Imap => "imap",
            Self::Pop3 => "pop3",
            Self::Smtp => "smtp",
        }
    }
}

/// Bounds on what a peer may send before the login.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Longest IMAP command line without its literals, in octets with CRLF.
    pub imap_line_bytes: usize,
    /// Longest single IMAP literal, in octets.
    pub imap_literal_bytes: usize,
    /// Most literals in one IMAP command.
    pub imap_literals: usize,
    /// Most octets of literals in one IMAP command.
    pub imap_literals_bytes: usize,
    /// Longest POP3 or SMTP command line, in octets with CRLF.
    pub line_bytes: usize,
    /// Longest SASL response line, and longest line that begins an authentication command, in octets with CRLF.
    pub sasl_line_bytes: usize,
    /// Most octets kept that a client sent behind its login command, while the login is being decided.
    pub held_bytes: usize,
    /// Most commands before the login.
    pub commands: u32,
    /// Most commands that make no sense before the connection is closed.
    pub bad_commands: u32,
    /// Failed logins before the connection is closed.
    pub attempts: u32,
    /// Longest line taken from an upstream before the login succeeded, in octets.
    pub upstream_line_bytes: usize,
    /// Most lines taken from an upstream before the login succeeded.
    pub upstream_lines: usize,
    /// Most octets taken from an upstream before the login succeeded.
    pub upstream_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            imap_line_bytes: 8_192,
            imap_literal_bytes: 4_096,
            imap_literals: 4,
            imap_literals_bytes: 8_192,
            line_bytes: 512,
            sasl_line_bytes: 12_288,
            held_bytes: 8_192,
            commands: 20,
            bad_commands: 3,
            attempts: 3,
            upstream_line_bytes: 8_192,
            upstream_lines: 128,
            upstream_bytes: 65_536,
        }
    }
}

/// What an upstream announces, one entry per IMAP capability, POP3 CAPA line or EHLO line, as it was sent
/// (printable ASCII only; entries with anything else are left out when it is learned).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(pub Vec<String>);

/// How a client-side machine is to behave; made anew for each connection.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Bounds on the client.
    pub limits: Arc<Limits>,
    /// What the upstream announces; filtered by the machine.
    pub announced: Arc<Capabilities>,
    /// STARTTLS is offered as long as TLS is not on.
    pub starttls: bool,
    /// TLS is on from the start.
    pub implicit_tls: bool,
    /// A login without TLS is accepted from this peer.
    pub plaintext_login: bool,
    /// What becomes of the mechanisms for a client's own token.
    pub client_tokens: ClientTokens,
    /// A bare LF ends a line as well (old devices; never with TLS).
    pub bare_lf: bool,
    /// SMTP: commands that old devices cannot help sending are borne.
    pub legacy: bool,
    /// SMTP: this peer may send without a login.
    pub trusted: bool,
    /// The name that the SMTP greeting and EHLO reply carry.
    pub server_name: Arc<str>,
    /// Repeated in refusals, so that a person finds the log line.
    pub session_id: Arc<str>,
}

/// What a client-side machine asks its caller to do.
#[derive(Debug)]
pub enum ClientEvent {
    /// Write the pending output, then do the TLS handshake, then call [`ClientSide::tls_established`].
    StartTls,
    /// Decide, then call [`ClientSide::accept`] or [`ClientSide::refuse`]. No further event comes before that.
    Login(Credentials),
    /// A peer that may do so begins a message without a login: [`ClientSide::take_leftovers`] has its MAIL and what it sent
    /// behind it. The machine is done.
    Submission,
    /// A login failed in the machine itself (an empty or impossible name or password), without any question to anybody.
    /// For the log and the delay only: call [`ClientSide::resume`] when the delay is over.
    Rejected(Rejection),
    /// Write the pending output, then close. Nothing comes after it.
    Close(CloseReason),
}

/// Why a machine refused a login by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The user name cannot be one (empty, too long, control characters, …).
    Name(crate::account::NameError),
    /// The password is empty, over 1,024 octets, or holds CR, LF, NUL or ^A.
    Password,
    /// The message around a token is malformed.
    Token,
    /// What this user presented as a token is none of Microsoft's.
    NotAToken(MailAddress),
    /// A mechanism for a client's own token, where none is taken. It counts as little as one that nobody knows.
    ClientTokens,
    /// A login without TLS where TLS is required. The password has been seen on the wire all the same.
    PlaintextLogin,
}

/// Why a client-side machine closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client said goodbye.
    Logout,
    /// Octets behind STARTTLS, before the handshake (command injection, CVE-2011-0411).
    BytesBehindStartTls,
    /// An HTTP request on a mail port; no reply is written.
    Http,
    /// A line or literal over its limit.
    TooLong,
    /// Too many commands, too many bad ones.
    TooManyCommands,
    /// Too many failed logins.
    TooManyAttempts,
}

/// How a login is refused. The machine owns the wording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Wrong password or unknown account: permanent.
    InvalidCredentials,
    /// The identity is right but may not use this mailbox: permanent.
    NotAuthorized,
    /// A person must sign in again, or an administrator must change something; the password is not at fault.
    ContactAdmin,
    /// Something is down, slow, locked or throttled: temporary.
    Unavailable,
    /// The mailbox's own limit of connections is reached: temporary.
    Limit,
    /// Our own fault: temporary.
    ServerBug,
}

impl Refusal {
    /// What the client is told.
    pub fn words(self) -> &'static str {
        match self {
            Self::InvalidCredentials => "Invalid user name or password",
            Self::NotAuthorized => "Not allowed to use this mailbox",
            Self::ContactAdmin => "Not possible before an administrator has acted, the password is not at fault",
            Self::Unavailable => "Temporarily unavailable, try again later",
            Self::Limit => "Too many connections to this mailbox, try again later",
            Self::ServerBug => "Internal error, try again later",
        }
    }
}

/// Why the caller ends a connection that has not logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// The service is stopping.
    Draining,
    /// The client took too long.
    Timeout,
    /// Too many connections.
    TooManyConnections,
}

/// The server that a mail client sees until its login is decided.
pub trait ClientSide: Send {
    /// Takes bytes from the client. Call it only while [`ClientSide::wants_input`].
    fn handle_input(&mut self, input: &[u8]);

    /// False while a login is pending and as much is held as may be held, and after the end.
    fn wants_input(&self) -> bool;

    /// The next thing to do, if any.
    fn poll_event(&mut self) -> Option<ClientEvent>;

    /// Bytes for the client, if any; all that there are.
    fn poll_output(&mut self) -> Option<Vec<u8>>;

    /// The handshake after [`ClientEvent::StartTls`] succeeded: everything said before is forgotten.
    fn tls_established(&mut self);

    /// The login of [`ClientEvent::Login`] succeeded; `upstream` is what the upstream announces after it. The output then
    /// holds the success reply, and the machine is done: take [`ClientSide::take_leftovers`] and relay.
    fn accept(&mut self, upstream: &Capabilities);

    /// The login of [`ClientEvent::Login`] failed. Call it when the delay is over; the client may then try again.
    fn refuse(&mut self, refusal: Refusal);

    /// Goes on after [`ClientEvent::Rejected`].
    fn resume(&mut self);

    /// Writes the protocol's goodbye to the output; the caller closes after writing it.
    fn close(&mut self, farewell: Farewell);

    /// What the client sent behind its login command, for the upstream.
    fn take_leftovers(&mut self) -> Vec<u8>;
}

/// How an upstream-side machine is to behave.
#[derive(Clone, Debug)]
pub struct UpstreamSettings {
    /// Bounds on the upstream.
    pub limits: Arc<Limits>,
    /// STARTTLS is demanded before anything else; with `false` TLS is on already.
    pub starttls: bool,
    /// The name for EHLO.
    pub client_name: Arc<str>,
    /// What to do there.
    pub goal: Goal,
}

/// What an upstream-side machine is to reach.
#[derive(Clone, Debug)]
pub enum Goal {
    /// Read the capability list and leave.
    Learn,
    /// Sign in by XOAUTH2.
    Authenticate(Bearer),
}

/// What an upstream-side machine asks its caller to do.
#[derive(Debug)]
pub enum UpstreamEvent {
    /// Do the TLS handshake, then call [`UpstreamSide::tls_established`]. Nothing is left in the input.
    StartTls,
    /// The list, for [`Goal::Learn`]. The machine has said goodbye: write the output and close.
    Learned(Capabilities),
    /// XOAUTH2 succeeded, and the mailbox answers.
    Authenticated(Authenticated),
    /// It did not work out: close.
    Failed(UpstreamFailure),
}

/// The proof that an upstream accepted the login. Only a finished [`UpstreamSide`] can make one, and only with one can
/// bytes be relayed.
#[derive(Debug)]
pub struct Authenticated {
    capabilities: Capabilities,
    leftovers: Vec<u8>,
}

impl Authenticated {
    pub(in crate::proto) fn new(capabilities: Capabilities, leftovers: Vec<u8>) -> Self {
        Self { capabilities, leftovers }
    }

    /// What the upstream announces after the login.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// What the upstream sent behind its last reply, for the client.
    pub fn into_leftovers(self) -> Vec<u8> {
        self.leftovers
    }
}

/// How an upstream disappointed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamFailure {
    /// The class, on which the caller branches.
    pub kind: UpstreamFailureKind,
    /// The upstream's own words, for the log: controls escaped, at most 1 KiB; never a token.
    pub detail: String,
}

/// Classes of [`UpstreamFailure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamFailureKind {
    /// The token was not accepted: audience, permission, expiry, or wrong mailbox.
    TokenRefused,
    /// Authenticated, but the mailbox does not answer ("authenticated but not connected").
    MailboxNotConnected,
    /// The protocol is switched off for the mailbox or the tenant, or policy forbids it (SMTP 5.7.139).
    Disabled,
    /// A temporary refusal (454, 451, `[UNAVAILABLE]`, `[SYS/TEMP]`, BYE, 421).
    Unavailable,
    /// Too many connections for this mailbox (432, `[LIMIT]`, `[IN-USE]`).
    Limit,
    /// No STARTTLS where it is demanded, or it was refused.
    NoStartTls,
    /// Octets behind the STARTTLS reply (response injection).
    SpokeBeforeTls,
    /// An IMAP PREAUTH greeting.
    Preauth,
    /// XOAUTH2 is not offered.
    NoXoauth2,
    /// Not the protocol, or over a limit.
    Protocol,
    /// It closed the connection in the middle.
    Closed,
}

/// The client that an upstream sees until the login there succeeded.
pub trait UpstreamSide: Send {
    /// Takes bytes from the upstream.
    fn handle_input(&mut self, input: &[u8]);

    /// The upstream closed its side.
    fn handle_eof(&mut self);

    /// The next thing to do, if any.
    fn poll_event(&mut self) -> Option<UpstreamEvent>;

    /// Bytes for the upstream, if any; all that there are.
    fn poll_output(&mut self) -> Option<Vec<u8>>;

    /// The handshake after [`UpstreamEvent::StartTls`] succeeded: everything said before is forgotten.
    fn tls_established(&mut self);
}

/// What Exchange Online is known to announce, until an upstream's own list has been learned.
pub fn exchange_online(protocol: MailProtocol) -> Capabilities {
    match protocol {
        MailProtocol::Imap => imap::capabilities::exchange_online(),
        MailProtocol::Pop3 => pop3::capabilities::exchange_online(),
        MailProtocol::Smtp => smtp::capabilities::exchange_online(),
    }
}

/// The machine that plays the server towards a mail client.
pub fn client_side(protocol: MailProtocol, settings: ClientSettings) -> Box<dyn ClientSide> {
    match protocol {
        MailProtocol::Imap => Box::new(imap::client_side::Imap::new(settings)),
        MailProtocol::Pop3 => Box::new(pop3::client_side::Pop3::new(settings)),
        MailProtocol::Smtp => Box::new(smtp::client_side::Smtp::new(settings)),
    }
}

/// The machine that plays the client towards an upstream.
pub fn upstream_side(protocol: MailProtocol, settings: UpstreamSettings) -> Box<dyn UpstreamSide> {
    match protocol {
        MailProtocol::Imap => Box::new(imap::upstream_side::Imap::new(settings)),
        MailProtocol::Pop3 => Box::new(pop3::upstream_side::Pop3::new(settings)),
        MailProtocol::Smtp => Box::new(smtp::upstream_side::Smtp::new(settings)),
    }
}
