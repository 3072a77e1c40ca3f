//! A person's sign-in from end to end: what the embedded Microsoft 365 grants, and what
//! `gatepost login` makes of it.

pub(crate) mod browser;
mod command;
mod entra;
mod providers;
