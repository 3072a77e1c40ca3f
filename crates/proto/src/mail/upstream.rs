//! The side towards an upstream: settings, events and methods of its machine.

use std::sync::Arc;
use std::time::Duration;

use super::{Capabilities, Limits};
use crate::sasl::{Bearer, Mechanism};

/// Settings of an upstream-side machine.
#[derive(Clone, Debug)]
pub struct UpstreamSettings {
    /// Limits on the upstream.
    pub limits: Arc<Limits>,
    /// Whether STARTTLS is required before anything else. If false, TLS is already on.
    pub starttls: bool,
    /// The name for EHLO.
    pub client_name: Arc<str>,
    /// How the server takes a token.
    pub exchange: TokenExchange,
    /// What the machine is to reach.
    pub goal: Goal,
}

/// How a mail server takes a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenExchange {
    /// [`Mechanism::Xoauth2`] or [`Mechanism::Oauthbearer`].
    pub mechanism: Mechanism,
    /// Whether the POP3 server wants the token in the line of the AUTH command, which RFC 5034 limits
    /// to 255 octets and some servers do not. IMAP servers say so themselves, SMTP servers take both.
    pub pop3_in_one_line: bool,
}

impl TokenExchange {
    /// The one of Exchange Online.
    pub const EXCHANGE_ONLINE: Self = Self { mechanism: Mechanism::Xoauth2, pop3_in_one_line: false };
}

/// The goal of an upstream-side machine.
#[derive(Clone, Debug)]
pub enum Goal {
    /// Read the capabilities and leave.
    Learn,
    /// Sign in with a token.
    Authenticate(Bearer),
}

/// What an upstream-side machine asks its caller to do.
#[derive(Debug)]
pub enum UpstreamEvent {
    /// Do the TLS handshake, then call [`UpstreamSide::tls_established`]. No input is left.
    StartTls,
    /// The capabilities, for [`Goal::Learn`]. The machine has logged out: write the output and
    /// close.
    Learned(Capabilities),
    /// The login succeeded, and the mailbox answers.
    Authenticated(Authenticated),
    /// The conversation failed: close.
    Failed(UpstreamFailure),
}

/// The proof that an upstream accepted the login. Only a finished [`UpstreamSide`] can create one,
/// and octets can be relayed only with one.
#[derive(Debug)]
pub struct Authenticated {
    capabilities: Capabilities,
    pub(super) leftovers: Vec<u8>,
}

impl Authenticated {
    pub(in crate::mail) fn new(capabilities: Capabilities, leftovers: Vec<u8>) -> Self {
        Self { capabilities, leftovers }
    }

    /// What the upstream announces after the login.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// The octets that the upstream sent after its last reply, for the client.
    pub fn into_leftovers(self) -> Vec<u8> {
        self.leftovers
    }
}

/// A failure of the conversation with an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamFailure {
    /// The class, on which the caller decides.
    pub kind: UpstreamFailureKind,
    /// The upstream's own text, for the log: control characters escaped, at most 1 KiB, never a
    /// token.
    pub detail: String,
    /// How long the upstream wants no further login of this mailbox, if it says so.
    pub retry_after: Option<Duration>,
}

/// Classes of [`UpstreamFailure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamFailureKind {
    /// The token was not accepted: audience, permission, expiry, or wrong mailbox.
    TokenRefused,
    /// The message with the token was not understood, as when the token is too long.
    TokenNotUnderstood {
        /// The length of the token.
        characters: usize,
    },
    /// Authenticated, but the mailbox does not answer ("authenticated but not connected").
    MailboxNotConnected,
    /// The protocol is disabled for the mailbox or the tenant, or a policy forbids it (SMTP
    /// 5.7.139).
    Disabled,
    /// A temporary refusal (454, 451, `[UNAVAILABLE]`, `[SYS/TEMP]`, BYE, 421).
    Unavailable,
    /// Too many connections for this mailbox (432, `[LIMIT]`, `[IN-USE]`).
    Limit,
    /// STARTTLS is required, but was not offered or was refused.
    NoStartTls,
    /// Octets followed the STARTTLS reply (response injection).
    SpokeBeforeTls,
    /// The IMAP greeting was PREAUTH.
    Preauth,
    /// The name in EHLO was refused (501).
    NameRefused,
    /// The mechanism is not offered.
    NoXoauth2,
    /// The upstream violated the protocol, or exceeded a limit.
    Protocol,
    /// The upstream closed the connection before the end.
    Closed,
}

/// The client side towards an upstream until the login there has succeeded.
pub trait UpstreamSide: Send {
    /// Takes octets from the upstream.
    fn handle_input(&mut self, input: &[u8]);

    /// Notes that the upstream closed its side.
    fn handle_eof(&mut self);

    /// The next event, if any.
    fn poll_event(&mut self) -> Option<UpstreamEvent>;

    /// All pending octets for the upstream, if any.
    fn poll_output(&mut self) -> Option<Vec<u8>>;

    /// The handshake after [`UpstreamEvent::StartTls`] succeeded. Everything received before is
    /// forgotten.
    fn tls_established(&mut self);
}
