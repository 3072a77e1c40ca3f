//! What a password passes before it goes to Entra. Entra counts wrong ones and locks the account; who may still try is
//! not for the life of a token to say.

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
    /// The name that signs in; once it goes out, the person behind it.
    pub user: User,
    /// Of the password.
    pub proof: PasswordDigest,
    /// Who presents it.
    pub source: Source,
    /// Entra accepted this very password lately, so it is no guess.
    pub proved: bool,
    /// Decides the size of the budget.
    pub cloud: Cloud,
}

/// What [`AttemptGuard::permit`] returns.
pub type Permitting<'a> = Pin<Box<dyn Future<Output = Result<Box<dyn AttemptPermit>, Failure>> + Send + 'a>>;

/// Is asked before a password goes to Entra, and hears of the verdict.
pub trait AttemptGuard: Send + Sync {
    /// Lets the attempt of `login` go out, now or when others have their verdict. Fails with what the client is told when
    /// the password must not go to Entra.
    fn permit<'a>(self: Arc<Self>, attempt: Attempt, login: &'a str, now: Moment) -> Permitting<'a>;
}

/// An attempt whose verdict is out. Dropping it says that there was none, as after a time-out.
pub trait AttemptPermit: Send {
    /// Entra accepted the password. `person`: whose it is, when Entra says that.
    fn accepted(self: Box<Self>, person: Option<User>, now: Moment);

    /// Entra refused the password. True when this was the last that the guard lets pass for now.
    fn refused(self: Box<Self>, now: Moment) -> bool;

    /// Entra said that the account is locked, and is not to be asked about it for `at_least` so long.
    fn locked(self: Box<Self>, now: Moment, at_least: Duration);
}
