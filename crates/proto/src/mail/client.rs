//! The side towards a mail client: what its machine is told, what it asks for, and how it is driven.

use std::sync::Arc;

use super::{Capabilities, Limits};
use crate::sasl::{ClientTokens, Credentials};
use gatepost_core::account::MailAddress;
use gatepost_core::failure::Refusal;

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
    Name(gatepost_core::account::NameError),
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
    fn close(&mut self, reason: ShutdownReason);

    /// What the client sent behind its login command, for the upstream.
    fn take_leftovers(&mut self) -> Vec<u8>;
}
