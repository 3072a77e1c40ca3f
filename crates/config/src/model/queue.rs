//! The queue of accepted messages.

use std::path::PathBuf;
use std::time::Duration;

use gatepost_core::account::MailAddress;

/// Where accepted messages wait, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// The directory, which belongs to Gatepost alone (mode 0700) and to this machine.
    pub directory: PathBuf,
    /// Most bytes that all its messages may have.
    pub size: u64,
    /// The time after which a message that could not be delivered fails.
    pub retry_for: Duration,
    /// The time for which a delivered message is kept; zero: not at all.
    pub keep_sent: Duration,
    /// The administrator who gets a report of messages that failed or have an unknown outcome.
    pub report_to: Option<MailAddress>,
    /// Most messages that leave a mailbox in a minute.
    pub messages_per_minute: u32,
}
