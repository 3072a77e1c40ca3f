//! What an upstream announces.

/// What an upstream announces, one entry per IMAP capability, POP3 CAPA line or EHLO line, as it was sent
/// (printable ASCII only; entries with anything else are left out when it is learned).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(pub Vec<String>);
