//! The network: listening, dialling, the corporate proxy, the relay.

pub mod connect;
