//! The crypto provider for all of TLS.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// Gathers the first randomness. The crypto library takes part of it from the jitter of the
/// processor's clock, with tens of milliseconds of computing for each process. Call it on a thread for
/// which nobody waits, so that neither the first greeting nor the first handshake is delayed.
pub fn gather_randomness() {
    // A lack of randomness shows wherever it is needed.
    let _lacking = aws_lc_rs::rand::fill(&mut [0; 1]);
}

/// The only crypto provider, for TLS 1.2 and 1.3. It has neither TLS 1.0 nor 1.1 nor RSA key
/// exchange.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
