//! What is to be examined.

use std::net::IpAddr;

use gatepost_config::{Config, Grant};
use gatepost_core::account::{LoginName, MailAddress};
use gatepost_core::secret::Password;

/// What is to be examined.
#[derive(Debug, Default)]
pub(crate) struct Order {
    /// Only this account.
    pub(crate) login: Option<LoginName>,
    /// The password of that account, for `grant: password`. It is tried once.
    pub(crate) password: Option<Password>,
    /// Also says what a client at this address would meet.
    pub(crate) from: Option<IpAddr>,
    /// Sends a message from each account that sends.
    pub(crate) send: Option<Recipient>,
}

impl Order {
    /// Why it cannot be carried out: the named account needs its user's password, and there is none.
    pub(crate) fn lacks_password(&self, config: &Config) -> Option<String> {
        let login = self.login.as_ref().filter(|_| self.password.is_none())?;
        let (account, _) = config.accounts.find(login)?;
        (account.grant == Grant::Password).then(|| {
            format!(
                "{login} logs in with its user's password (`grant: password`). To test with the password, run \
                 `gatepost doctor --login {login}`. To test all accounts without it, run `gatepost doctor`"
            )
        })
    }

    /// What it does beyond looking, for the audit log: a fixed word and a sentence for each.
    pub(crate) fn acts(&self) -> Vec<(&'static str, String)> {
        let mut acts = Vec::new();
        if self.password.is_some() {
            acts.push(("doctor-password", "gatepost doctor tries the password of the account".to_owned()));
        }
        if let Some(recipient) = &self.send {
            let to = match recipient {
                Recipient::Itself => "each mailbox itself",
                Recipient::Address(address) => address.as_str(),
            };
            acts.push(("doctor-message", format!("gatepost doctor sends test messages to {to}")));
        }
        acts
    }

    /// The account that it names, for the audit log; empty for all.
    pub(crate) fn account(&self) -> &str {
        self.login.as_ref().map_or("", LoginName::as_str)
    }
}

/// Whom messages are sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Recipient {
    /// Each mailbox to itself.
    Itself,
    /// All to this address.
    Address(MailAddress),
}

impl Recipient {
    /// The recipient of a message of `mailbox`.
    pub(crate) fn of<'a>(&'a self, mailbox: &'a MailAddress) -> &'a MailAddress {
        match self {
            Self::Itself => mailbox,
            Self::Address(address) => address,
        }
    }
}
