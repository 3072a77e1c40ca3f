//! The program as it is installed: its command line, its life from start to end, what it keeps,
//! what it shows to whoever runs it, what it may do, and what it never writes.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests measure real time, and end at a panic")]

#[cfg(feature = "sandbox")]
mod admin;
mod cli;
#[path = "../common/mod.rs"]
#[allow(dead_code, reason = "each binary uses a part of it")]
mod common;
#[cfg(target_os = "linux")]
mod confine;
#[cfg(feature = "sandbox")]
mod doctor;
#[cfg(all(unix, feature = "sandbox"))]
mod life;
#[cfg(all(unix, feature = "sandbox"))]
mod queue;
#[cfg(feature = "sandbox")]
mod secrecy;
#[cfg(feature = "sandbox")]
mod service;
#[cfg(feature = "sandbox")]
mod sign_in;
mod store;
