//! Gets tokens of Microsoft Entra ID and of other providers: grants, answers, error classes, a token cache, and one
//! request for all waiters. This crate does not know which protocol asked.
//!
//! [`grant`], [`response`], [`claims`], [`audience`], [`aadsts`], [`retry`] and [`assertion`] are pure.
//! [`source::TokenSource`] combines them. It sends requests to an [`endpoint::TokenEndpoint`] with
//! the application's [`credential::Credentials`], or asks a [`managed_identity`].
//! [`renewal`] decides how a certificate is renewed.
//! [`cache::TokenCache`] keeps the tokens; a user's token is guarded by a
//! [`password_digest::PasswordDigest`].
// Input from outside must not cause a panic or a silently truncated number. (Overflow is checked in
// every build.) Tests may panic.
#![cfg_attr(
    not(test),
    warn(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss
    )
)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests measure real time"))]

pub mod aadsts;
pub mod assertion;
pub mod audience;
pub mod cache;
mod choosing;
pub mod claims;
pub mod credential;
pub mod discovery;
pub mod endpoint;
mod entra;
pub mod expiry;
#[cfg(any(test, feature = "testing"))]
#[allow(clippy::unwrap_used, reason = "only tests call it")]
pub mod fake;
pub mod fetch_error;
pub mod grant;
pub mod managed_identity;
pub mod password_digest;
pub mod patience;
pub mod presented;
mod probe;
mod provider;
pub mod renewal;
pub mod response;
pub mod retry;
mod revocation;
mod rfc6749;
mod server;
pub mod sign_in;
pub mod single_flight;
pub mod skew;
pub mod source;
mod token;
pub mod token_key;
pub mod tokens;
pub mod watched;

pub use claims::{MailAccess, TokenClaims};
pub use endpoint::{Answer, HttpEndpoint, TokenEndpoint, TransportError, TransportFault};
pub use entra::consent_url;
pub use grant::TokenHttpRequest;
pub use token::Token;
