//! The check before a password goes to Entra. Entra counts wrong passwords and locks the account.
//! The token manager does not decide who may still try.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::password_digest::PasswordDigest;
use crate::tokens::user::User;
use gatepost_config::Cloud;
use gatepost_core::clock::Moment;
use gatepost_core::failure::Failure;
use gatepost_core::source::Source;

/// A password on its way to Entra.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The name that signs in. Once the attempt goes out, the person with that name.
    pub user: User,
    /// Digest of the password.
    pub proof: PasswordDigest,
    /// The source that presents it.
    pub source: Source,
    /// True when Entra accepted this very password lately, so that it is no guess.
    pub proved: bool,
    /// The cloud, which decides the size of the budget.
    pub cloud: Cloud,
}

/// What [`AttemptGuard::permit`] returns.
pub type Permitting<'a> = Pin<Box<dyn Future<Output = Result<Box<dyn AttemptPermit>, Failure>> + Send + 'a>>;

/// Decides whether a password may go to Entra, and records the verdict.
pub trait AttemptGuard: Send + Sync {
    /// Permits the attempt of `login`, at once or after other attempts have their verdict. If the
    /// password must not go to Entra, the error is what the client is told.
    fn permit<'a>(self: Arc<Self>, attempt: Attempt, login: &'a str, now: Moment) -> Permitting<'a>;

    /// Whether a password that Entra refused a while ago may be tried again, because it may be right
    /// by now.
    fn tries_again(&self, attempt: &Attempt, now: Moment) -> bool;
}

/// A permitted attempt that awaits its verdict. Dropping it means that there was none, as after a
/// time-out.
pub trait AttemptPermit: Send {
    /// Entra accepted the password. `person`: whose it is, when Entra says that.
    fn accepted(self: Box<Self>, person: Option<User>, now: Moment);

    /// Entra refused the password. True when this was the last that the guard lets pass for now.
    fn refused(self: Box<Self>, now: Moment) -> bool;

    /// Entra said that the account is locked. It must not be asked about the account for `at_least`
    /// this long.
    fn locked(self: Box<Self>, now: Moment, at_least: Duration);
}
