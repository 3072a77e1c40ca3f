//! The sender that messages of a client may have.

use gatepost_core::account::MailAddress;

/// The sender that a client's messages may have. Exchange Online decides as well, in each case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SenderRule {
    /// Any sender.
    #[default]
    Free,
    /// The mailbox of the account, whatever the message says.
    Forced,
    /// The sender of the message, which must be one of the account's.
    Checked,
}

/// What an account may send as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sending {
    /// The sender that messages may have after a login; `None`: what the listener says.
    pub sender: Option<SenderRule>,
    /// The mailboxes that it may send as besides its own. Each message then leaves from the mailbox
    /// that its sender names.
    pub send_as: SendAs,
}

/// Mailboxes, by address or by domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SendAs {
    /// Single mailboxes.
    pub addresses: Vec<MailAddress>,
    /// Domains, folded: every mailbox in them, and none in those below them.
    pub domains: Vec<String>,
}

impl SendAs {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.domains.is_empty()
    }

    /// Whether a mailbox is one of these.
    pub fn has(&self, mailbox: &MailAddress) -> bool {
        self.addresses.contains(mailbox) || self.domains.iter().any(|domain| domain == mailbox.domain())
    }
}

impl Sending {
    /// Whether SMTP listeners must take messages of the account themselves.
    pub fn needs_submission(&self) -> bool {
        self.sender.is_some_and(|rule| rule != SenderRule::Free) || !self.send_as.is_empty()
    }
}
