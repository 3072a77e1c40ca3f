//! The reference of the configuration: each key with its kind, its default and its meaning.
//!
//! The reader takes only keys that stand here, and the bounds of numbers, times and sizes from here.
//! `proxy.schema.json` and `docs/reference/configuration.md` are generated from it. A key that is
//! added to one of these tables needs code that reads it, and the tests look for both.

mod credential;
mod kind;
mod limits;
mod listener;
mod microsoft;
mod network;
mod provider;
mod queue;
mod root;
mod service;

pub use kind::{Block, Form, Group, IfAbsent, Key, Kind};
pub use root::ROOT;
