//! The protocol machines and parsers: octets in, events and octets out, with no socket, clock or
//! runtime. The fuzz tests run this crate.
//!
//! * [`mail`]: IMAP, POP3 and SMTP, towards the client and towards Microsoft. They do not know
//!   OAuth.
//! * [`sasl`]: the mechanisms. [`mime`]: the header of a message. [`http`]: heads, paths and SOAP.
//! * [`tunnel`]: CONNECT and SOCKS through a forward proxy. [`proxy_protocol`]: the header of a
//!   load balancer. [`tls_hello`]: the first octets of TLS.
// Input from strangers must not cause a panic or a silently truncated number. (Every build checks
// overflow.) Tests may panic.
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
pub mod tls_hello;
#[allow(clippy::indexing_slicing, reason = "its buffers are cut where a reply or a token, checked before, ends")]
pub mod tunnel;
