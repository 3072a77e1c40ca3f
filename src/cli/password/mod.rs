//! `gatepost password`: device passwords in the store, and hashes for the configuration.

pub mod add;
pub mod hash;
pub mod list;
pub mod revoke;
