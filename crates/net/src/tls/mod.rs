//! TLS in both roles: configurations, and the record layer of an established connection. Only this
//! module names rustls' builders and its crypto provider.

pub mod client;
mod clock_offset;
mod plain_text;
mod protection;
mod provider;
pub mod record;
mod resumption;
pub mod server;
pub mod session;
mod verifier;
pub mod words;

pub(crate) use plain_text::OCTETS as FIRST_OCTETS;
pub use plain_text::PlainText;
pub use protection::MOST_OVERHEAD;
pub use provider::{gather_randomness, provider};
pub use verifier::{OutOfDate, TrustError, UntrustedIssuer};
