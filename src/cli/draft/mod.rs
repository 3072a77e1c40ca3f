//! A configuration that is about to be written: listeners and accounts, each value with the place that
//! it came from. `gatepost import` and `gatepost setup` make one.
//!
//! `yaml` writes a `plan` without its secrets, `verify` checks the result, `remarks` says what is left
//! to do, and `target` writes files that only this user can read.

pub(in crate::cli) mod origin;
pub(in crate::cli) mod plan;
pub(in crate::cli) mod remarks;
pub(in crate::cli) mod secrets;
pub(in crate::cli) mod target;
pub(in crate::cli) mod verify;
pub(in crate::cli) mod yaml;
