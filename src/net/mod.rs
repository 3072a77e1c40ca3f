//! Connections: listening, dialling, and moving bytes.

mod addresses;
pub mod census;
pub mod connect;
pub mod dial;
mod handshake;
pub mod http;
mod lease;
pub mod listen;
pub mod pace;
pub mod relay;
mod resolve;
pub mod side;
pub mod socket;
pub mod socks;
pub mod stream;
mod via;
