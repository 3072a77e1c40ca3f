//! Who may log in: the account for a name, the proof of its password, the budget of wrong ones, the memory of what was refused.
//!
//! A token is handed out only after the presented password was proved for its account: by Entra (`grant: password`), or
//! here, by a device password of the store or one of the configuration (`grant: client_credentials`, where Entra never
//! sees the user, and the grants of a person who signed in once). A cached token stands behind that proof and never
//! replaces it. [`Authenticator`] is the one entry; the session asks it and is told an [`AuthorizedLogin`] or a
//! [`Failure`](gatepost_core::failure::Failure). The tokens themselves are kept by [`oauth::tokens`](gatepost_oauth::tokens).

mod attempt_log;
mod authenticator;
pub mod device;
pub(crate) mod enrol;
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
pub use request::{AuthorizedLogin, LoginRequest};

pub use gatepost_oauth::tokens::TokenOrigin;

#[cfg(test)]
mod adversary;
#[cfg(test)]
mod tests;
