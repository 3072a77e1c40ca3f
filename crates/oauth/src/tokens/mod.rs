//! The life of an access token, from the request for it to the last login that uses it.
//!
//! [`TokenManager`] is the one entry point. `fetch` gets a token by a password or an application's
//! credential, `refresh` by a person's sign-in. [`upkeep()`] renews both before they expire. Who
//! may have a token is not decided here: an [`AttemptGuard`] is asked before a password goes to
//! Entra.

pub mod explain;
mod fetch;
mod fresh;
mod guard;
mod manager;
mod named;
mod outcome;
mod refresh;
mod rejected;
mod replicas;
pub mod scope;
mod service_account;
pub mod sign_ins;
#[cfg(test)]
pub(crate) mod tests;
mod upkeep;
mod user;

pub use fetch::UserLogin;
pub use guard::{Attempt, AttemptGuard, AttemptPermit, Permitting};
pub use manager::{TokenManager, TokenView};
pub use outcome::{FetchedToken, TokenOrigin};
pub use rejected::RefusedPasswords;
pub use upkeep::{RENEWAL_TICK, upkeep};
pub use user::User;
