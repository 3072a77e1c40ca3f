//! The envelope of a message (RFC 5321 §2.3.1).

/// The sender and recipients of a message, as given with MAIL and RCPT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// The reverse path, `local@domain` without angle brackets; `None` for `<>`.
    pub sender: Option<String>,
    /// The accepted forward paths in order, in the same form.
    pub recipients: Vec<String>,
    /// Whether the client declared addresses or header fields in UTF-8 (RFC 6531).
    pub smtputf8: bool,
}
