//! TLS in both roles: configurations, and the record layer of an established connection. Only this
//! module names rustls' builders and its crypto provider.

pub mod client;
mod protection;
mod provider;
pub mod record;
pub mod server;
pub mod session;
mod verifier;

pub use protection::MOST_OVERHEAD;
pub use provider::{gather_randomness, provider};
pub use verifier::{TrustError, UntrustedIssuer};
