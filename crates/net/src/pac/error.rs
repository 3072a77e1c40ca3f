//! Why nobody knows the way to a destination.

/// Why nobody knows the way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacError {
    /// There is no script, not even an older one.
    #[error("read the PAC script `{location}`: {reason}")]
    Unreadable {
        /// File or URL.
        location: String,
        /// In words of the system or the web server.
        reason: String,
    },
    /// The script has a mistake; in its own words.
    #[error("run the PAC script: {0}")]
    Script(String),
    /// It does not come to an end.
    #[error("run the PAC script: no answer in time")]
    TimedOut,
    /// It answers something that names no way.
    #[error("the PAC script answered `{0}`, which names neither a proxy nor `DIRECT`")]
    Answer(String),
}
