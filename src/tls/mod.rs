//! TLS in both roles. The only place that names rustls' builders and its crypto provider.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub mod client;
pub mod identity;
pub mod server;

/// The one provider. TLS 1.2 and 1.3; neither TLS 1.0 nor 1.1 nor RSA key exchange exist in it.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
