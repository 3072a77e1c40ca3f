//! The product's own code in this process, over loopback sockets: what it says to clients, to
//! upstreams and to Microsoft, and what it makes of their answers. Nothing here needs another
//! program but where a test says so.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests measure real time, and end at a panic")]

#[path = "../common/mod.rs"]
#[allow(dead_code, reason = "each binary uses a part of it")]
mod common;
#[cfg(feature = "sandbox")]
mod credentials;
mod fuzz_corpus;
mod relay;
#[cfg(feature = "sandbox")]
mod sandbox;
#[cfg(feature = "sandbox")]
mod session;
mod tls;
