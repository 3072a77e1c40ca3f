//! Tokens of Microsoft Entra ID: grants, answers, error classes, the cache in front, one request for all waiters.
//! Which protocol asked is not known here.
//!
//! [`grant`], [`response`], [`audience`], [`aadsts`], [`retry`] and [`assertion`] are pure.
//! [`source::TokenSource`] puts them together in front of an [`endpoint::TokenEndpoint`], with what
//! [`credential::Credentials`] prove an application by, or asks a [`managed_identity`]; [`cache::TokenCache`] keeps what it
//! brings, behind a [`proof::Proof`] of the password.

pub mod aadsts;
pub mod assertion;
pub mod audience;
pub mod cache;
pub mod credential;
pub mod endpoint;
pub mod expiry;
#[cfg(test)]
pub(crate) mod fake;
pub mod flight;
pub mod grant;
pub mod managed_identity;
pub mod proof;
pub mod response;
pub mod retry;
pub mod sign_in;
pub mod skew;
pub mod source;
mod token;
pub mod token_key;
pub mod tokens;
pub mod watched;

pub use endpoint::{Answer, HttpEndpoint, TokenEndpoint, TransportError, TransportFault};
pub use grant::TokenRequest;
pub use token::Token;
