//! Restores an account's budget of wrong passwords, after its owner or an operator has corrected
//! what spent it.

use std::fmt;
use std::sync::Arc;

use crate::login::attempt_log::AttemptLog;
use crate::login::authenticator::Authenticator;
use crate::login::{own_token, verify};
use gatepost_config::{Account, Accounts, Mailboxes};
use gatepost_core::account::{LoginName, MailAddress};
use gatepost_core::clock::Clock;
use gatepost_oauth::tokens::User;
use gatepost_store::{Store, StoreError};

/// An account whose passwords are tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unlocked {
    /// The address that logs in; for an alias, the address of its account.
    pub login: MailAddress,
    /// How many refused passwords counted until now.
    pub guesses: usize,
}

impl fmt::Display for Unlocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { login, guesses } = self;
        match guesses {
            0 => write!(f, "No wrong password counted for `{login}`."),
            1 => write!(f, "`{login}` is unlocked: 1 wrong password no longer counts."),
            _ => write!(f, "`{login}` is unlocked: {guesses} wrong passwords no longer count."),
        }
    }
}

/// Why an account was not unlocked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotUnlocked {
    /// No entry of `accounts` fits the name.
    #[error("no entry of `accounts` fits `{0}`")]
    Unknown(LoginName),
    /// The store, which keeps the count, failed. A running service has forgotten its own count.
    #[error("the wrong passwords in the store still count: {0}")]
    Store(StoreError),
}

impl Authenticator {
    /// Restores the budget of an account. Refused passwords no longer count, neither here nor in
    /// the store, and are tried again if presented. A replica at the same store follows with its
    /// next login. Entra's own lock is not touched.
    ///
    /// # Errors
    /// [`NotUnlocked`]
    pub async fn unlock(&self, login: &LoginName) -> Result<Unlocked, NotUnlocked> {
        let (account, login) = find(&self.config().accounts, login)?;
        let user = User::named(&account, &login);
        self.tokens.forget_refusals(user);
        let listed = if let Mailboxes::Listed(listed) = &account.mailboxes { listed.as_slice() } else { &[] };
        for mailbox in [Some(&login), account.mailbox.as_ref()].into_iter().flatten().chain(listed) {
            self.refused_tokens.forget_all(own_token::whose(mailbox));
        }
        self.local.unlock(&verify::who(&login));
        let guesses = self.lockout.lift(user).await.map_err(NotUnlocked::Store)?;
        Ok(Unlocked { login, guesses })
    }
}

/// Like [`Authenticator::unlock`], in the store alone, for when no service is running.
///
/// # Errors
/// [`NotUnlocked`]
pub async fn unlock_in_store(
    accounts: &Accounts,
    store: Arc<dyn Store>,
    login: &LoginName,
) -> Result<Unlocked, NotUnlocked> {
    let (account, login) = find(accounts, login)?;
    let attempts = AttemptLog::new(store, Clock::system());
    let guesses = attempts.lift(User::named(&account, &login)).await.map_err(NotUnlocked::Store)?;
    Ok(Unlocked { login, guesses })
}

fn find(accounts: &Accounts, login: &LoginName) -> Result<(Arc<Account>, MailAddress), NotUnlocked> {
    accounts.find(login).ok_or_else(|| NotUnlocked::Unknown(login.clone()))
}
