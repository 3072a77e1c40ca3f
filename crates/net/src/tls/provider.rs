//! The crypto provider for all of TLS.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// The only crypto provider, for TLS 1.2 and 1.3. It has neither TLS 1.0 nor 1.1 nor RSA key
/// exchange.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
