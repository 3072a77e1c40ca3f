//! How a login is refused, in the terms that all protocols share.

/// How a login is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Wrong password or unknown account: permanent.
    InvalidCredentials,
    /// The identity is right but may not use this mailbox: permanent.
    NotAuthorized,
    /// A person must sign in again, or an administrator must change something; the password is not
    /// at fault.
    ContactAdmin,
    /// Something is down, slow, locked or throttled: temporary.
    Unavailable,
    /// The mailbox's own limit of connections is reached: temporary.
    Limit,
    /// Gatepost's own error: temporary.
    ServerBug,
}

impl Refusal {
    /// What the client is told.
    pub fn words(self) -> &'static str {
        match self {
            Self::InvalidCredentials => "Invalid user name or password",
            Self::NotAuthorized => "Not allowed to use this mailbox",
            Self::ContactAdmin => "An administrator needs to fix this. Your password is not the problem",
            Self::Unavailable => "Temporarily unavailable, try again later",
            Self::Limit => "Too many connections to this mailbox, try again later",
            Self::ServerBug => "Internal error, try again later",
        }
    }
}
