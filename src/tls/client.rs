//! TLS towards upstreams and Entra: always verified, TLS 1.2 or newer, sessions resumed.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;
use tokio::sync::OnceCell;

use crate::config::Trust;

/// Why the trusted roots could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The PEM text of `trust.additional_ca` is not one.
    #[error("read the certificates of `trust.additional_ca`")]
    Pem(#[source] rustls::pki_types::pem::Error),
    /// A root is not usable, or the system has none.
    #[error("take over the trusted certificates")]
    Roots(#[source] rustls::Error),
    /// There is no root at all.
    #[error("no certificate authority is trusted: `trust.system_roots` is off, and `trust.additional_ca` names none")]
    Empty,
}

/// The roots of `trust`, read when they are first needed, because reading the platform's takes a while.
pub struct UpstreamTrust {
    trust: Trust,
    verifier: OnceCell<Arc<dyn ServerCertVerifier>>,
}

impl UpstreamTrust {
    /// Keeps what to read; reads nothing yet.
    pub fn new(trust: Trust) -> Self {
        Self { trust, verifier: OnceCell::new() }
    }

    /// The same as [`UpstreamTrust::client_config`], for a connection whose records [`super::session`] opens and seals.
    ///
    /// # Errors
    /// The roots cannot be read; the next call tries again.
    pub async fn records_config(&self) -> Result<ClientConfig, TrustError> {
        let mut config = self.client_config().await?;
        config.enable_secret_extraction = true;
        Ok(config)
    }

    /// A fresh configuration with a session store of its own: one for each server, so that tickets of one are not
    /// offered to another.
    ///
    /// # Errors
    /// The roots cannot be read; the next call tries again.
    pub async fn client_config(&self) -> Result<ClientConfig, TrustError> {
        let verifier = self
            .verifier
            .get_or_try_init(|| async {
                let trust = self.trust.clone();
                match tokio::task::spawn_blocking(move || verifier(&trust)).await {
                    Ok(result) => result,
                    Err(panic) => std::panic::resume_unwind(panic.into_panic()),
                }
            })
            .await?;
        let config = ClientConfig::builder_with_provider(super::provider())
            .with_safe_default_protocol_versions()
            .map_err(TrustError::Roots)?
            .dangerous()
            // "Dangerous" is rustls' word for any verifier of one's own; this one is the platform's or webpki's.
            .with_custom_certificate_verifier(Arc::clone(verifier))
            .with_no_client_auth();
        Ok(config)
    }
}

fn verifier(trust: &Trust) -> Result<Arc<dyn ServerCertVerifier>, TrustError> {
    let additional = match &trust.additional_ca {
        Some((_, pem)) => {
            CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(TrustError::Pem)?
        }
        None => Vec::new(),
    };
    if trust.system_roots {
        let verifier = Verifier::new_with_extra_roots(additional, super::provider()).map_err(TrustError::Roots)?;
        return Ok(Arc::new(verifier));
    }
    let mut roots = RootCertStore::empty();
    for root in additional {
        roots.add(root).map_err(TrustError::Roots)?;
    }
    if roots.is_empty() {
        return Err(TrustError::Empty);
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), super::provider()).build();
    Ok(verifier.map_err(|error| TrustError::Roots(rustls::Error::General(error.to_string())))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_trusted_is_an_error() {
        let trust = UpstreamTrust::new(Trust { system_roots: false, additional_ca: None });
        assert!(matches!(trust.client_config().await, Err(TrustError::Empty)));
    }

    #[tokio::test]
    async fn a_broken_pem_file_is_an_error() {
        let pem = b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n".to_vec();
        let trust = UpstreamTrust::new(Trust { system_roots: false, additional_ca: Some(("ca.pem".into(), pem)) });
        assert!(matches!(trust.client_config().await, Err(TrustError::Pem(_) | TrustError::Roots(_))));
    }
}
