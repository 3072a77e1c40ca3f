//! Who may log in: the account for a name, the proof of its password, the budget of wrong ones, the memory of what was refused.
//!
//! A token is handed out only after the presented password was proved for its account: by Entra (`grant: password`), or
//! here, by a device password of the store or one of the configuration (`grant: client_credentials`, where Entra never
//! sees the user, and the grants of a person who signed in once). A cached token stands behind that proof and never
//! replaces it. [`Gatekeeper`] is the one entry; the session asks it and is told an [`Admission`] or a
//! [`Failure`](gatepost_core::failure::Failure). The tokens themselves are kept by [`oauth::tokens`](gatepost_oauth::tokens).

mod authenticator;
pub mod device;
pub(crate) mod enrol;
mod explain;
mod forwarding;
mod guard;
pub mod issue;
mod local;
pub mod overview;
pub mod own_token;
pub(crate) mod person;
mod prove;
mod reconfigure;
mod request;
mod tally;
mod throttle;
pub mod unlock;
mod upkeep;

pub use authenticator::Gatekeeper;
pub use request::{Admission, LoginRequest};

pub use gatepost_oauth::tokens::TokenOrigin;

#[cfg(test)]
mod adversary;
#[cfg(test)]
mod tests;
