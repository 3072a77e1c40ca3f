//! Connections: listening, dialling, and moving bytes.

pub mod census;
pub mod connect;
pub mod dial;
pub mod listen;
pub mod relay;
pub mod side;
pub mod stream;
