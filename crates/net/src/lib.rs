//! Network connections: listening, connecting, and relaying bytes.
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
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests measure real time"))]
#![allow(clippy::indexing_slicing, reason = "its buffers are cut where a read or a TLS record ended")]

mod addresses;
mod buffer_pool;
pub mod connection_limit;
mod credential_gate;
pub mod dial;
mod direct;
pub mod error;
pub mod explain;
mod forward_proxy;
mod handshake;
pub mod http;
pub mod listen;
#[cfg(feature = "negotiate")]
mod negotiate;
#[cfg(feature = "pac")]
pub mod pac;
pub mod penalty;
pub mod proxy_authenticator;
pub mod rate_limiter;
pub mod relay;
pub mod relay_endpoint;
mod resolve;
pub mod socket;
pub mod stream;
pub mod tls;
