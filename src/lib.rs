//! Gatepost keeps old mail programs working with Microsoft 365.
#![forbid(unsafe_code)]

pub mod account;
pub mod cli;
pub mod clock;
pub mod config;
pub mod failure;
pub mod login;
pub mod oauth;
pub mod proto;
pub mod sasl;
pub mod secret;
pub mod telemetry;
pub mod tls;
