//! A command of a mail transaction that the server refused (RFC 5321 §4.2).

use super::reply::Reply;

/// Where in a transaction a command was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// MAIL: the sender, or the message as a whole.
    Sender,
    /// RCPT: one recipient.
    Recipient,
    /// DATA or BDAT, or the message itself after its content.
    Content,
}

/// A command that the server refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedCommand {
    /// Where it was refused.
    pub stage: Stage,
    /// The server's reply, at most 4 lines of at most 256 octets.
    pub reply: Reply,
    /// The sender that the transaction names in MAIL, with control characters escaped. `None` if it
    /// is `<>` or not known.
    pub sender: Option<String>,
    /// The recipient that was refused, likewise.
    pub recipient: Option<String>,
}
