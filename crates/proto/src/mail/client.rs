//! The side towards a mail client: settings, events and methods of its machine.

use std::sync::Arc;

use super::{Capabilities, Limits};
use crate::sasl::{BadName, ClientTokens, Credentials};
use gatepost_core::account::MailAddress;
use gatepost_core::failure::Refusal;

/// Settings of a client-side machine; created for each connection.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Limits on the client.
    pub limits: Arc<Limits>,
    /// What the upstream announces. The machine filters it.
    pub announced: Arc<Capabilities>,
    /// Whether STARTTLS is offered while TLS is off.
    pub starttls: bool,
    /// Whether TLS is on from the start.
    pub implicit_tls: bool,
    /// Whether a login without TLS is accepted from this peer.
    pub plaintext_login: bool,
    /// How the mechanisms for a client's own token are handled.
    pub client_tokens: ClientTokens,
    /// Whether a bare LF ends a line as well (old devices; never with TLS).
    pub bare_lf: bool,
    /// SMTP: whether wrong commands that old devices always send are tolerated.
    pub legacy: bool,
    /// SMTP: whether this peer may send without a login.
    pub trusted: bool,
    /// The server name in the SMTP greeting and the EHLO reply.
    pub server_name: Arc<str>,
    /// Repeated in refusals, so that a person can find the log line.
    pub session_id: Arc<str>,
}

/// What a client-side machine asks its caller to do.
#[derive(Debug)]
pub enum ClientEvent {
    /// Write the pending output, then do the TLS handshake, then call
    /// [`ClientSide::tls_established`].
    StartTls,
    /// Check the credentials, then call [`ClientSide::accept`] or [`ClientSide::refuse`]. No
    /// further event comes before that.
    Login(Credentials),
    /// A trusted peer begins a message without a login. [`ClientSide::take_leftovers`] returns its
    /// MAIL command and what followed it. The machine is done.
    Submission,
    /// The machine itself refused a login (an empty or impossible name or password), without asking
    /// the caller. This event is only for the log and the delay: call [`ClientSide::resume`] after
    /// the delay.
    Rejected(Rejection),
    /// Write the pending output, then close. No further event comes.
    Close(CloseReason),
}

/// Why the machine itself refused a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The user name is impossible (empty, too long, control characters, …).
    Name(BadName),
    /// The password is empty, over 1,024 octets, or holds CR, LF, NUL or ^A.
    Password,
    /// The login command or the SASL message is malformed, so that no credentials were presented. It
    /// counts as a bad command.
    Malformed,
    /// The message around a token is malformed.
    Token,
    /// What this user presented as a token cannot be one.
    NotAToken(MailAddress),
    /// The client chose a mechanism for its own token, but none is accepted. It counts as little as
    /// an unknown mechanism.
    ClientTokens,
    /// The client tried to log in without TLS where TLS is required. Its password was still visible
    /// on the network.
    PlaintextLogin,
}

/// Why a client-side machine closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client logged out.
    Logout,
    /// Octets followed STARTTLS before the handshake (command injection, CVE-2011-0411).
    BytesBehindStartTls,
    /// The client sent an HTTP request to a mail port. It gets no reply.
    Http,
    /// The client began a TLS handshake where a command belongs. It gets no reply.
    TlsHello,
    /// A line or literal exceeded its limit.
    TooLong,
    /// There were too many commands, or too many bad ones.
    TooManyCommands,
    /// There were too many failed logins.
    TooManyAttempts,
}

/// Why the caller ends a connection that has not logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownReason {
    /// The service is stopping.
    Draining,
    /// The client took too long.
    Timeout,
    /// Too many connections.
    TooManyConnections,
}

/// The server side towards a mail client until its login is decided.
pub trait ClientSide: Send {
    /// Takes octets from the client. Call it only while [`ClientSide::wants_input`] is true.
    fn handle_input(&mut self, input: &[u8]);

    /// False while a login is pending and no more input may be held, and after the end.
    fn wants_input(&self) -> bool;

    /// How the client logs in, after [`ClientEvent::Login`] and [`ClientEvent::Rejected`]: a SASL
    /// mechanism, or the protocol's own command.
    fn login_method(&self) -> &'static str;

    /// The next event, if any.
    fn poll_event(&mut self) -> Option<ClientEvent>;

    /// All pending octets for the client, if any.
    fn poll_output(&mut self) -> Option<Vec<u8>>;

    /// The handshake after [`ClientEvent::StartTls`] succeeded. Everything received before is
    /// forgotten.
    fn tls_established(&mut self);

    /// The login of [`ClientEvent::Login`] succeeded; `upstream` is what the upstream announces
    /// after it. The output then holds the success reply, and the machine is done: call
    /// [`ClientSide::take_leftovers`] and relay.
    fn accept(&mut self, upstream: &Capabilities);

    /// The login of [`ClientEvent::Login`] failed. Call it after the delay; the client may then try
    /// again.
    fn refuse(&mut self, refusal: Refusal);

    /// Continues after [`ClientEvent::Rejected`].
    fn resume(&mut self);

    /// Writes the shutdown message of the protocol to the output. The caller closes after writing
    /// it.
    fn close(&mut self, reason: ShutdownReason);

    /// The octets that the client sent after its login command, for the upstream.
    fn take_leftovers(&mut self) -> Vec<u8>;
}
