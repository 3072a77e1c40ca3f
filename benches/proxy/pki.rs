//! A throw-away certificate authority, and the TLS settings of the benchmark's own ends.
//!
//! RSA-2048 and AES-256-GCM under TLS 1.3: what Office 365 and Entra show to the world.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// The name in the server certificate.
pub(crate) const SERVER_NAME: &str = "localhost";

/// PEM files for the proxies, and the same for the benchmark's own ends.
pub(crate) struct Pki {
    /// The authority's certificate.
    pub(crate) ca: PathBuf,
    /// A server's certificate for [`SERVER_NAME`].
    pub(crate) certificate: PathBuf,
    /// Its key.
    pub(crate) private_key: PathBuf,
    /// For the backend, and the token endpoint.
    pub(crate) server: Arc<ServerConfig>,
    /// For the load generator.
    pub(crate) client: Arc<ClientConfig>,
}

impl Pki {
    /// Makes everything anew in a directory.
    pub(crate) fn new(directory: &Path) -> anyhow::Result<Self> {
        let rsa = || KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).context("make an RSA key");
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.distinguished_name.push(rcgen::DnType::CommonName, "Gatepost benchmark");
        let authority = CertifiedIssuer::self_signed(authority, rsa()?)?;
        let key = rsa()?;
        let names = vec![SERVER_NAME.to_owned(), "127.0.0.1".to_owned()];
        let certificate = CertificateParams::new(names)?.signed_by(&key, &authority)?;

        let write = |name: &str, pem: String| -> anyhow::Result<PathBuf> {
            let path = directory.join(name);
            std::fs::write(&path, pem).with_context(|| format!("write `{}`", path.display()))?;
            Ok(path)
        };
        let ca = write("ca.pem", authority.pem())?;
        let chain = write("server.pem", certificate.pem())?;
        let private_key = write("server.key", key.serialize_pem())?;
        restrict(&private_key)?;

        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes())?)?;
        let client = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes())?,
            )?;
        // Stateless tickets, as a large mail service has: whoever wants to resume, can.
        server.ticketer = aws_lc_rs::Ticketer::new()?;
        Ok(Self { ca, certificate: chain, private_key, server: Arc::new(server), client: Arc::new(client) })
    }
}

/// Only the cipher suite that is to be measured.
fn provider() -> Arc<CryptoProvider> {
    let suite = aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384;
    Arc::new(CryptoProvider { cipher_suites: vec![suite], ..aws_lc_rs::default_provider() })
}

/// A key that others may read would be refused or warned about.
fn restrict(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?)
}
