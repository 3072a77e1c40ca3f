//! Protocols for connecting through a forward proxy: HTTP CONNECT with authentication, and SOCKS5.

pub mod basic;
pub mod connect;
pub mod credentials;
pub mod digest;
pub mod error;
pub mod ntlm;
mod reply;
pub mod scheme;
pub mod socks;
