//! The crypto provider that all of TLS uses.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// Gathers the first randomness, which takes the crypto library some 20 ms of computing: on a thread where nobody waits
/// for it, so that it does not fall to the first handshake.
pub fn gather_randomness() {
    // A lack of randomness shows wherever it is needed.
    let _lacking = aws_lc_rs::rand::fill(&mut [0; 1]);
}

/// The one provider. TLS 1.2 and 1.3; neither TLS 1.0 nor 1.1 nor RSA key exchange exist in it.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
