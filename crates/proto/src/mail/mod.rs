//! The protocol machines: octets in, events and octets out, with no sockets, clock or runtime.
//!
//! IMAP, POP3 and SMTP have the same structure. A [`ClientSide`] acts as the server towards the
//! mail client until the login. An [`UpstreamSide`] acts as the client towards Microsoft until
//! XOAUTH2 has succeeded. The caller moves the octets:
//!
//! 1. give received octets to `handle_input`,
//! 2. take events from `poll_event` until it has none, and do what each one asks for,
//! 3. write what `poll_output` gives, before waiting for more input.
//!
//! Every split of the same input gives the same events and output, and the buffers are bounded by
//! [`Limits`]. One event depends on time: [`ClientEvent::StartTls`] comes only if nothing follows
//! the command that asks for TLS. Input that arrives after the event turns it into a
//! [`ClientEvent::Close`]. The machines do not know OAuth: they report [`ClientEvent::Login`], and
//! the caller answers with `accept` or `refuse`.

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
pub use quiescence::{Farewell, QuiescenceDetector};
pub use sides::{client_side, exchange_online, upstream_side};
pub use upstream::{
    Authenticated, Goal, TokenExchange, UpstreamEvent, UpstreamFailure, UpstreamFailureKind, UpstreamSettings,
    UpstreamSide,
};
