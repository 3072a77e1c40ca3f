//! An access token and its lifetime.

use std::sync::Arc;
use std::time::Duration;

use gatepost_core::clock::Moment;
use gatepost_core::secret::AccessToken;

/// An access token and how long it is valid.
#[derive(Clone, Debug)]
pub struct Token {
    /// The token.
    pub access_token: Arc<AccessToken>,
    /// When it was asked for. Its lifetime is counted from here, so that a slow answer cannot make
    /// it seem longer.
    pub requested_at: Moment,
    /// When it expires.
    pub expires_at: Moment,
}

impl Token {
    /// Time from the request to the expiry.
    pub fn lifetime(&self) -> Duration {
        self.expires_at.since(self.requested_at)
    }

    /// What is left of it; zero once it has expired.
    pub fn remaining(&self, now: Moment) -> Duration {
        self.expires_at.since(now)
    }

    /// True when both are the very same answer of Entra.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.access_token, &other.access_token)
    }
}
