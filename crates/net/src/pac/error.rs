//! Errors of proxy auto-configuration.

/// Why the way to a destination is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacError {
    /// The script cannot be read, and there is no older version of it.
    #[error("read the PAC script `{location}`: {reason}")]
    Unreadable {
        /// File or URL.
        location: String,
        /// The error of the system or the web server.
        reason: String,
    },
    /// The script failed, with its own error message.
    #[error("run the PAC script: {0}")]
    Script(String),
    /// The script did not end in time.
    #[error("run the PAC script: no answer in time")]
    TimedOut,
    /// The script's answer names no usable way.
    #[error("the PAC script answered `{0}`, which names neither a proxy nor `DIRECT`")]
    Answer(String),
}
