//! What is to be examined.

use std::net::IpAddr;

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
