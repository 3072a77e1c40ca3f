//! Applies another configuration while logins continue. Budgets, sign-ins, and the tokens of every
//! unchanged account stay.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::watch;

use crate::login::authenticator::Authenticator;
use crate::login::explain;
use gatepost_config::{Account, Config, ListenerBackend, TrustedSender, TrustedSource};
use gatepost_core::account::{LoginName, MailAddress};
use gatepost_core::failure::Failure;
use gatepost_oauth::endpoint::TokenEndpoint;

impl Authenticator {
    /// Decides by the accounts and limits of `config` from now on, and gets tokens from `endpoint`.
    /// An account that was changed or removed loses its tokens, and the passwords that Entra has
    /// verified for it.
    pub fn reconfigure(&self, config: Arc<Config>, endpoint: Arc<dyn TokenEndpoint>) {
        self.lockout.adjust(&config.limits);
        self.local.adjust(&config);
        self.tokens.reconfigure(config, endpoint);
    }
}

impl Authenticator {
    /// Whether the configuration still has this account for `login`, with the same value for every
    /// key.
    pub fn is_as_it_was(&self, login: &MailAddress, account: &Account) -> bool {
        self.config().accounts.find(login.as_login()).is_some_and(|(now, _)| *now == *account)
    }

    /// Checks that the account of a client is as it was when the client logged in.
    ///
    /// # Errors
    /// A [`Failure`] when it was changed or removed.
    pub fn confirm(&self, login: &MailAddress, account: &Account) -> Result<(), Failure> {
        if self.is_as_it_was(login, account) { Ok(()) } else { Err(explain::account_changed(login)) }
    }

    /// Whether a user name is one of an account, or an address in the domain of one.
    pub fn recognizes(&self, login: &LoginName) -> bool {
        self.config().accounts.recognizes(login)
    }

    /// The address of the account that a user name belongs to.
    pub fn address_of(&self, login: &LoginName) -> Option<MailAddress> {
        let config = self.config();
        config.accounts.recognizes(login).then(|| config.accounts.find(login).map(|(_, address)| address))?
    }

    /// Returns a receiver of every later configuration.
    pub fn changes(&self) -> watch::Receiver<Arc<Config>> {
        self.tokens.changes()
    }

    /// Whether the configuration still has this rule for clients of `listener`: at this address, or
    /// of the rule's user.
    ///
    /// # Errors
    /// A [`Failure`] when it has a different rule, or none.
    pub fn trusts(&self, listener: &str, peer: IpAddr, rule: &TrustedSender) -> Result<(), Failure> {
        let config = self.config();
        let is_kept = match rule.from {
            TrustedSource::Network(_) => {
                let listener = config.listeners.iter().find(|now| *now.name == *listener);
                let now = listener.and_then(|now| match &now.serves {
                    ListenerBackend::Submission(submission) => submission.trusted(peer),
                    _ => None,
                });
                now == Some(rule)
            }
            TrustedSource::User(id) => {
                let sendmail = config.sendmail.as_ref().filter(|now| *now.listener == *listener);
                sendmail.and_then(|now| now.rule_for(id)).as_ref() == Some(rule)
            }
        };
        if is_kept { Ok(()) } else { Err(explain::not_trusted(rule)) }
    }
}
