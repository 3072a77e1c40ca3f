//! TLS towards upstreams and Entra: always verified, TLS 1.2 or newer, sessions resumed.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use tokio::sync::OnceCell;

use super::clock_offset::ClockOffset;
use super::provider::provider;
use super::resumption::Remembered;
use super::verifier::{TrustError, Verifiers};
use gatepost_config::Trust;

/// The roots of `trust`, read when first needed, because reading the platform's roots takes a
/// while.
pub struct UpstreamTrust {
    trust: Trust,
    verifier: OnceCell<Arc<dyn ServerCertVerifier>>,
    clock: Arc<ClockOffset>,
}

impl UpstreamTrust {
    /// Stores what to read, but reads nothing yet.
    pub fn new(trust: Trust) -> Self {
        Self { trust, verifier: OnceCell::new(), clock: Arc::default() }
    }

    /// Notes by how many seconds Entra's clock is ahead of this machine's. Errors about dates say it
    /// then, but the verification does not change.
    pub fn learn_clock(&self, ahead: i64) {
        self.clock.learn(ahead);
    }

    /// Like [`UpstreamTrust::client_config`], for a connection whose records [`super::session`]
    /// decrypts and encrypts.
    ///
    /// # Errors
    /// The roots cannot be read; the next call tries again.
    pub async fn records_config(&self) -> Result<ClientConfig, TrustError> {
        let mut config = self.client_config().await?;
        config.enable_secret_extraction = true;
        Ok(config)
    }

    /// Creates a configuration with a session store of its own. Use one for each server, so that
    /// tickets of one are not offered to another.
    ///
    /// # Errors
    /// The roots cannot be read; the next call tries again.
    pub async fn client_config(&self) -> Result<ClientConfig, TrustError> {
        let verifier = self
            .verifier
            .get_or_try_init(|| async {
                let (trust, clock) = (self.trust.clone(), Arc::clone(&self.clock));
                match tokio::task::spawn_blocking(move || Verifiers::new(&trust, clock)).await {
                    Ok(result) => result.map(|verifiers| Arc::new(verifiers) as Arc<dyn ServerCertVerifier>),
                    Err(panic) => std::panic::resume_unwind(panic.into_panic()),
                }
            })
            .await?;
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(TrustError::Roots)?
            .dangerous()
            // rustls calls every custom verifier "dangerous"; this one is the platform's or
            // webpki's.
            .with_custom_certificate_verifier(Arc::clone(verifier))
            .with_no_client_auth();
        config.resumption = Resumption::store(Arc::new(Remembered::default()));
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::clock_offset::Offset;

    #[test]
    fn the_difference_of_the_clocks_is_told_to_the_verification() {
        let trust = UpstreamTrust::new(Trust { system_roots: false, additional_ca: None, destinations: Vec::new() });
        trust.learn_clock(-600);
        assert_eq!(trust.clock.get(), Some(Offset(-600)));
    }

    #[tokio::test]
    async fn nobody_trusted_is_an_error() {
        let trust = UpstreamTrust::new(Trust { system_roots: false, additional_ca: None, destinations: Vec::new() });
        assert!(matches!(trust.client_config().await, Err(TrustError::Empty)));
    }

    #[tokio::test]
    async fn a_broken_pem_file_is_an_error() {
        let pem = b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n".to_vec();
        let additional_ca = Some(("ca.pem".into(), pem));
        let trust = UpstreamTrust::new(Trust { system_roots: false, additional_ca, destinations: Vec::new() });
        assert!(matches!(trust.client_config().await, Err(TrustError::Pem(_) | TrustError::Roots(_))));
    }
}
