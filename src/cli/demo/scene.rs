//! The participants of the demonstration, and their addresses.

use std::time::Duration;

/// The name of the scanner's device password.
pub(super) const DEVICE: &str = "Scanner, 3rd floor";

/// The path of EWS on its listener.
pub(super) const EWS_PATH: &str = "/EWS/Exchange.asmx";

/// The path of Graph for the subjects of a user's messages.
pub(super) const GRAPH_PATH: &str = "/v1.0/me/messages?$select=subject&$top=3";

/// Time limit for a step of the demonstration. None takes as long unless something is wrong.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The ports on which the demonstration listens.
pub(super) struct Ports {
    pub(super) imap: u16,
    pub(super) pop3: u16,
    pub(super) smtp: u16,
    pub(super) ews: u16,
    pub(super) graph: u16,
    /// The port of SMTP for a device that cannot log in.
    pub(super) device: u16,
    /// The port of SMTP for a device that does not try again.
    pub(super) queue: u16,
    /// The port of the status page.
    pub(super) admin: u16,
}

/// A client that logs in.
pub(super) struct Client<'a> {
    pub(super) login: &'a str,
    pub(super) password: &'a str,
}
