//! The protocol machines and readers: bytes in, events and bytes out; no socket, no clock, no runtime. This is what gets
//! fuzzed.
//!
//! * [`mail`]: IMAP, POP3 and SMTP, towards the client and towards Microsoft; what OAuth is, they never learn.
//! * [`sasl`]: the mechanisms. [`mime`]: the head of a message. [`http`]: heads, paths and SOAP.
//! * [`tunnel`]: CONNECT and SOCKS through a forward proxy. [`proxy_protocol`]: the header of a load balancer.
// What a stranger sends must not end in a panic, nor in a number that was quietly cut short. (Overflow is checked in every
// build.) Tests may panic.
#![cfg_attr(
    not(test),
    warn(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss
    )
)]

pub mod http;
pub mod mail;
pub mod mime;
pub mod proxy_protocol;
pub mod sasl;
#[allow(clippy::indexing_slicing, reason = "its buffers are cut where a reply or a token, checked before, ends")]
pub mod tunnel;
