//! Connections: listening, dialling, and moving bytes.

mod addresses;
pub mod census;
pub mod connect;
pub mod dial;
mod direct;
pub mod error;
mod handshake;
pub mod http;
mod lease;
pub mod listen;
#[cfg(feature = "pac")]
pub mod pac;
pub mod pace;
pub mod penalty;
pub mod proxy_header;
pub mod relay;
mod resolve;
pub mod side;
pub mod socket;
pub mod socks;
pub mod source;
mod standing;
pub mod stream;
mod via;
