//! The sender that messages of a client may have.

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
}

impl Sending {
    /// Whether SMTP listeners must take messages of the account themselves.
    pub fn needs_submission(&self) -> bool {
        self.sender.is_some_and(|rule| rule != SenderRule::Free)
    }
}
