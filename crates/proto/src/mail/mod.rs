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
pub mod machine;
pub mod pop3;
mod quiescence;
pub(crate) mod reply;
mod sides;
pub mod smtp;
mod upstream;

pub use capabilities::Capabilities;
pub use client::{ClientEvent, ClientSettings, ClientSide, CloseReason, Rejection, ShutdownReason};
pub use limits::Limits;
pub use quiescence::QuiescenceDetector;
pub use sides::{client_side, exchange_online, upstream_side};
pub use upstream::{
    Authenticated, Goal, UpstreamEvent, UpstreamFailure, UpstreamFailureKind, UpstreamSettings, UpstreamSide,
};
