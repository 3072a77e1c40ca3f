//! What a mail transaction says about a message, besides the message itself (RFC 5321 §2.3.1).

/// From whom a message comes and to whom it goes, as MAIL and RCPT said it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// The reverse path, `local@domain` without angle brackets; `None` is `<>`.
    pub sender: Option<String>,
    /// The forward paths that were accepted, in their order, in the same form.
    pub recipients: Vec<String>,
    /// The client declared addresses or header fields in UTF-8 (RFC 6531).
    pub smtputf8: bool,
}
