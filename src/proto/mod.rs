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

mod capabilities;
mod client;
pub mod imap;
mod limits;
mod line;
mod lull;
pub mod machine;
pub mod pop3;
pub(crate) mod reply;
mod sides;
pub mod smtp;
mod upstream;

pub use capabilities::Capabilities;
pub use client::{ClientEvent, ClientSettings, ClientSide, CloseReason, Farewell, Rejection};
pub use limits::Limits;
pub use lull::Lull;
pub use sides::{client_side, exchange_online, upstream_side};
pub use upstream::{
    Authenticated, Goal, UpstreamEvent, UpstreamFailure, UpstreamFailureKind, UpstreamSettings, UpstreamSide,
};

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
