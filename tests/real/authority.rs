//! The certificate authority that everybody in these tests trusts, and the one certificate that all
//! servers show.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use super::process::Directory;

/// Where Microsoft's servers live for Gatepost: names that only Squid can resolve, so that a
/// connection that arrives has gone through Squid.
pub(crate) const UPSTREAM_NAME: &str = "outlook.office365.test";
/// The same for the submission server.
pub(crate) const SUBMISSION_NAME: &str = "smtp.office365.test";
/// The same for the token endpoint.
pub(crate) const AUTHORITY_NAME: &str = "login.microsoftonline.test";

/// PEM files.
pub(crate) struct Authority {
    /// The root.
    pub(crate) root: PathBuf,
    /// A server certificate for `localhost`, 127.0.0.1 and the three names above.
    pub(crate) certificate: PathBuf,
    pub(crate) private_key: PathBuf,
    pub(crate) certificate_pem: String,
    pub(crate) private_key_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new(directory: &Directory) -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "Gatepost test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);

        let names = ["localhost", "127.0.0.1", UPSTREAM_NAME, SUBMISSION_NAME, AUTHORITY_NAME];
        let (certificate_pem, private_key_pem) = issue(&issuer, &names);
        Self {
            root: directory.write("root.pem", root.pem()),
            certificate: directory.write("server.pem", &certificate_pem),
            private_key: directory.write("server.key", &private_key_pem),
            certificate_pem,
            private_key_pem,
            issuer,
        }
    }

    /// A server certificate for another name or address, and its key, in PEM form.
    pub(crate) fn issue(&self, name: &str) -> (String, String) {
        issue(&self.issuer, &[name])
    }
}

fn issue(issuer: &Issuer<'_, KeyPair>, names: &[&str]) -> (String, String) {
    let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    params.distinguished_name.push(DnType::CommonName, names[0]);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // Python 3.13 and newer refuse a certificate without it.
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, issuer).unwrap().pem(), key.serialize_pem())
}
