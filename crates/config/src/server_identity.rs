//! Reads a server's certificate chain and private key from PEM (RFC 7468), and checks that they
//! belong together.

use std::io;
use std::path::PathBuf;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::parse_x509_certificate;

use super::model::listener::Identity;
use gatepost_core::clock::UnixTime;
use gatepost_core::system_error::Plain;

/// Why a certificate and key cannot be used together.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file could not be read.
    #[error("`{path}` cannot be read: {}", Plain(.source))]
    Unreadable {
        /// The file of the certificate or the key.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// No certificate in the chain's file.
    #[error("there is no certificate in PEM form in it")]
    NoCertificate,
    /// Something in the chain is not a certificate.
    #[error("a certificate in it is damaged")]
    DamagedCertificate,
    /// No private key in the key's file.
    #[error("there is no private key in PEM form in it")]
    NoPrivateKey,
    /// The key is encrypted.
    #[error("the private key is encrypted")]
    EncryptedPrivateKey,
    /// The key's kind or size is not supported for TLS.
    #[error("the private key is of a kind that cannot be used for TLS")]
    UnsupportedPrivateKey,
    /// The key does not belong to the certificate.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
}

impl IdentityError {
    /// What to do, one sentence.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "make it readable for the user that runs Gatepost",
            Self::NoCertificate | Self::DamagedCertificate => {
                "name a PEM file with the server's certificate first and its issuers behind it"
            }
            Self::NoPrivateKey => "name a PEM file with a key in PKCS#8, PKCS#1 or SEC 1 form",
            Self::EncryptedPrivateKey => "decrypt it with `openssl pkey` and protect it by its file mode",
            Self::UnsupportedPrivateKey => {
                "use an RSA key of 2048 bits or more, ECDSA P-256, P-384 or P-521, or Ed25519"
            }
            Self::Mismatch => "name the key that the first certificate of the chain was made for",
        }
    }

    /// True when the chain is at fault rather than the key.
    pub fn is_about_certificate(&self) -> bool {
        matches!(self, Self::NoCertificate | Self::DamagedCertificate)
    }
}

/// Reads both files and checks that they belong together.
///
/// # Errors
/// [`IdentityError`]; the files are left as they are.
pub fn load(identity: &Identity) -> Result<CertifiedKey, IdentityError> {
    let read =
        |path: &PathBuf| std::fs::read(path).map_err(|source| IdentityError::Unreadable { path: path.clone(), source });
    from_pem(&read(&identity.certificate)?, &read(&identity.private_key)?)
}

/// Like [`load`], from the files' content.
///
/// # Errors
/// As [`load`], except [`IdentityError::Unreadable`].
pub fn from_pem(certificate: &[u8], private_key: &[u8]) -> Result<CertifiedKey, IdentityError> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificate)
        .collect::<Result<_, _>>()
        .map_err(|_| IdentityError::DamagedCertificate)?;
    if chain.is_empty() {
        return Err(IdentityError::NoCertificate);
    }
    let key = PrivateKeyDer::from_pem_slice(private_key).map_err(|_| {
        // PKCS#8 (RFC 5958 §3) and the older form of OpenSSL.
        let encrypted = ["BEGIN ENCRYPTED PRIVATE KEY", "Proc-Type: 4,ENCRYPTED"];
        let found = |marker: &str| memchr::memmem::find(private_key, marker.as_bytes()).is_some();
        if encrypted.into_iter().any(found) { IdentityError::EncryptedPrivateKey } else { IdentityError::NoPrivateKey }
    })?;
    let key =
        rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).map_err(|_| IdentityError::UnsupportedPrivateKey)?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => Err(IdentityError::Mismatch),
        Err(_) => Err(IdentityError::DamagedCertificate),
    }
}

/// Returns when the first certificate of a chain in PEM expires. `None` if there is none that can
/// be read.
pub fn expiry(chain: &[u8]) -> Option<UnixTime> {
    let certificate = CertificateDer::pem_slice_iter(chain).next()?.ok()?;
    let (_, certificate) = parse_x509_certificate(&certificate).ok()?;
    u64::try_from(certificate.validity().not_after.timestamp()).ok().map(UnixTime)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    fn error(certificate: &str, key: &str) -> String {
        from_pem(certificate.as_bytes(), key.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_pair_that_belongs_together_is_taken() {
        let (certificate, key) = pair();
        assert_eq!(from_pem(certificate.as_bytes(), key.as_bytes()).unwrap().cert.len(), 1);
    }

    #[test]
    fn everything_else_is_told_apart() {
        let (certificate, key) = pair();
        let (_, other) = pair();
        assert_eq!(error(&certificate, &other), "the private key does not belong to the certificate");
        assert_eq!(error("", &key), "there is no certificate in PEM form in it");
        assert_eq!(error(&certificate, &certificate), "there is no private key in PEM form in it");
        assert_eq!(
            error(&certificate, "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n"),
            "the private key is encrypted"
        );
        assert_eq!(
            error("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &key),
            "a certificate in it is damaged"
        );
        let damaged = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert_eq!(error(&certificate, damaged), "the private key is of a kind that cannot be used for TLS");
    }

    #[test]
    fn a_missing_file_is_named() {
        let identity =
            Identity { certificate: "/nonexistent/server.pem".into(), private_key: "/nonexistent/key".into() };
        assert!(load(&identity).unwrap_err().to_string().starts_with("`/nonexistent/server.pem` cannot be read"));
    }
}
