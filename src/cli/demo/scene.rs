//! Who takes part in the demonstration, and where.

use std::time::Duration;

/// The name of the scanner's device password.
pub(super) const DEVICE: &str = "Scanner, 3rd floor";

/// Where EWS is on its listener.
pub(super) const EWS_PATH: &str = "/EWS/Exchange.asmx";

/// Where Graph has the subjects of somebody's messages.
pub(super) const GRAPH_PATH: &str = "/v1.0/me/messages?$select=subject&$top=3";

/// No step of the demonstration takes that long unless something is wrong.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Where the demonstration listens.
pub(super) struct Ports {
    pub(super) imap: u16,
    pub(super) pop3: u16,
    pub(super) smtp: u16,
    pub(super) ews: u16,
    pub(super) graph: u16,
    /// SMTP for a device that cannot log in.
    pub(super) device: u16,
    /// The status page.
    pub(super) admin: u16,
}

/// Who logs in.
pub(super) struct Client<'a> {
    pub(super) login: &'a str,
    pub(super) password: &'a str,
}
