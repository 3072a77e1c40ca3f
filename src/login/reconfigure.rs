//! Another configuration while logins go on. What was learned stays: budgets, refused passwords, sign-ins, and the tokens
//! of every account that is as it was.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::watch;

use crate::account::MailAddress;
use crate::config::{Account, Accounts, Config, Serves, TrustedSender};
use crate::failure::Failure;
use crate::login::{Gatekeeper, explain};
use crate::oauth::endpoint::TokenEndpoint;

impl Gatekeeper {
    /// Decides by the accounts and limits of `config` from now on, and gets tokens from `endpoint`. An account that has
    /// changed, or is gone, loses its tokens, and with them the passwords that Entra has proved for it.
    pub fn reconfigure(&self, config: Arc<Config>, endpoint: Arc<dyn TokenEndpoint>) {
        let limits = &config.limits;
        self.source.adjust(endpoint, limits);
        self.cache.adjust(limits.accepted_password_memory);
        self.refused.adjust(limits.refused_password_memory);
        self.forwarding.adjust(limits);
        self.local.adjust(&config);
        self.sharing.adjust(limits.token_total);
        let former = self.config.set(Arc::clone(&config));
        let (before, after) = (&former.accounts, &config.accounts);
        if before == after {
            return;
        }
        self.cache.keep(|ask| after.has_application(&ask.application), |login| is_as_it_was(login, before, after));
        self.sign_ins.keep(|login, account| found(login, after).is_some_and(|now| *now == *account));
        self.standing.clear();
    }
}

impl Gatekeeper {
    /// Whether the configuration still has this account for `login`, in all its keys.
    pub fn is_as_it_was(&self, login: &MailAddress, account: &Account) -> bool {
        found(login, &self.config.get().accounts).is_some_and(|now| *now == *account)
    }

    /// Tells of every other configuration from now on.
    pub fn changes(&self) -> watch::Receiver<Arc<Config>> {
        self.config.changes()
    }

    /// Whether the configuration still has this rule for clients of `listener` at this address.
    ///
    /// # Errors
    /// A [`Failure`] when it has another, or none.
    pub fn trusts(&self, listener: &str, peer: IpAddr, rule: &TrustedSender) -> Result<(), Failure> {
        let config = self.config.get();
        let listener = config.listeners.iter().find(|now| *now.name == *listener);
        let now = listener.and_then(|now| match &now.serves {
            Serves::Submission(submission) => submission.trusted(peer),
            _ => None,
        });
        if now == Some(rule) { Ok(()) } else { Err(explain::not_trusted(&rule.login)) }
    }
}

fn found(login: &MailAddress, accounts: &Accounts) -> Option<Arc<Account>> {
    accounts.find(login.as_login()).map(|(account, _)| account)
}

fn is_as_it_was(login: &MailAddress, before: &Accounts, after: &Accounts) -> bool {
    found(login, after).is_some_and(|now| found(login, before).is_some_and(|former| former == now))
}
