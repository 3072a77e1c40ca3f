//! The capabilities that an upstream announces.

/// The capabilities of an upstream, as it sent them. There is one entry per IMAP capability, POP3
/// CAPA line or EHLO line. Entries with anything but printable ASCII are left out when they are
/// learned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(pub Vec<String>);
