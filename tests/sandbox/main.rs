//! The embedded Microsoft 365 over real sockets: what clients say to it, and what it answers.
#![cfg(feature = "sandbox")]

mod graph;
mod mail;
