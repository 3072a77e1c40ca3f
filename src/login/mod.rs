//! Who may log in: finds the account for a name, verifies its password, budgets wrong passwords,
//! and remembers what was refused.
//!
//! A token is handed out only after the presented password was verified for its account. With
//! `grant: password` Entra verifies it. With the other grants Gatepost does, by a device password
//! of the store or a password of the configuration: with `grant: client_credentials` Entra never
//! sees the user, and with the grants of a sign-in a person signed in once. A cached token never
//! replaces that check. [`Authenticator`] is the one entry: the session asks it and gets an
//! [`AuthorizedLogin`] or a [`Failure`](gatepost_core::failure::Failure).
//! [`oauth::tokens`](gatepost_oauth::tokens) keeps the tokens themselves.

mod attempt_log;
mod authenticator;
pub mod device;
pub(crate) mod enrol;
mod examine;
mod explain;
mod guard;
pub mod issue;
mod local;
mod lockout_guard;
pub mod overview;
pub mod own_token;
pub(crate) mod person;
mod reconfigure;
mod request;
mod throttle;
pub mod unlock;
mod upkeep;
mod verify;

pub use authenticator::Authenticator;
pub use request::{AuthorizedLogin, LoginRequest, Principal};

pub use gatepost_oauth::tokens::TokenOrigin;

#[cfg(test)]
mod adversary;
#[cfg(test)]
mod tests;
