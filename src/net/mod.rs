//! Connections: listening, dialling, and moving bytes.

pub mod census;
pub mod connect;
pub mod dial;
mod handshake;
mod lease;
pub mod listen;
pub mod penalty;
pub mod relay;
pub mod side;
pub mod source;
pub mod stream;
