//! The side towards an upstream: what its machine is told, what it comes to, and how it is driven.

use std::sync::Arc;

use super::{Capabilities, Limits};
use crate::sasl::Bearer;

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
