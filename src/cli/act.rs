//! An act of a person, for the log and the audit log.

/// What was done on the command line.
pub(super) struct Act<'a> {
    /// The word for it.
    pub(super) outcome: &'static str,
    /// The account concerned.
    pub(super) account: &'a str,
    /// The device password concerned.
    pub(super) device: &'a str,
    /// Another thing concerned, such as a message of the queue.
    pub(super) item: &'a str,
}
