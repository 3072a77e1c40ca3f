//! Tokens of Microsoft Entra ID: grants, answers, error classes, the cache in front, one request for all waiters.
//! Which protocol asked is not known here.
//!
//! [`grant`], [`response`], [`audience`], [`aadsts`], [`retry`], [`certificate`] and [`assertion`] are pure.
//! [`source::TokenSource`] puts them together in front of an [`endpoint::TokenEndpoint`], with what
//! [`credential::Credentials`] prove an application by, or asks a [`managed_identity`]; [`cache::TokenCache`] keeps what it
//! brings, behind a [`proof::Proof`] of the password.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Moment;
use crate::secret::AccessToken;

pub mod aadsts;
pub mod assertion;
pub mod audience;
pub mod cache;
pub mod certificate;
pub mod credential;
pub mod endpoint;
pub mod expiry;
#[cfg(test)]
pub(crate) mod fake;
pub mod flight;
pub mod grant;
pub mod managed_identity;
mod pkcs12;
pub mod proof;
pub mod response;
pub mod retry;
pub mod sign_in;
pub mod skew;
pub mod source;
pub mod tokens;
pub mod watched;

pub use endpoint::{Answer, HttpEndpoint, TokenEndpoint, TransportError, TransportFault};
pub use grant::TokenRequest;

/// An access token and how long it is good.
#[derive(Clone, Debug)]
pub struct Token {
    /// The token.
    pub access_token: Arc<AccessToken>,
    /// When it was asked for; its life is counted from here, so that a slow answer shortens it rather than us.
    pub requested_at: Moment,
    /// When it ends.
    pub expires_at: Moment,
}

impl Token {
    /// From one end to the other.
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
