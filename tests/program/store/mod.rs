//! The store, from outside: what is kept, what is refused, and what survives.

mod child;
mod crashes;
#[cfg(unix)]
mod files;
mod keeping;
mod queue;
pub(crate) mod redis;
mod replicas;
mod support;
