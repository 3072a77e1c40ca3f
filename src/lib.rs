//! Gatepost keeps old mail programs working with Microsoft 365.
#![forbid(unsafe_code)]

pub mod account;
pub mod clock;
pub mod config;
pub mod failure;
pub mod login;
pub mod oauth;
pub mod proto;
#[cfg(feature = "sandbox")]
pub mod sandbox;
pub mod sasl;
pub mod secret;
