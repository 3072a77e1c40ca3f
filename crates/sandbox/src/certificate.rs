//! A throw-away certification authority and the server identities it signs, good and bad.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rcgen::{KeyUsagePurpose, SanType};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::calendar;

/// What is wrong with the certificate that a service shows
/// ([`super::UpstreamMode::BadCertificate`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateFault {
    /// The right names, but signed by an authority that nobody trusts.
    UntrustedAuthority,
    /// Signed by the sandbox's authority, but for another host name.
    WrongName,
    /// Signed by the sandbox's authority for the right names, but out of date since 2020.
    Expired,
}

/// The TLS identities of one sandbox.
pub(super) struct Certificates {
    ca_pem: String,
    good: Arc<ServerConfig>,
    untrusted: Arc<ServerConfig>,
    wrong_name: Arc<ServerConfig>,
    expired: Arc<ServerConfig>,
}

impl Certificates {
    /// Makes the authority and everything it signs; `now` in seconds since 1970.
    pub(super) fn generate(now: i64) -> std::io::Result<Self> {
        let year = i32::try_from(calendar::year_of(now)).map_err(std::io::Error::other)?;
        // Two years at most: some platforms refuse server certificates with a longer life.
        let valid = (year, year + 1);
        let authority = make_authority("Gatepost sandbox authority", valid)?;
        let stranger = make_authority("An authority nobody trusts", valid)?;
        // The second name stands for the server of High Volume Email, which Gatepost knows by it, and
        // the third for that of uploads, which is another one than Graph's at Microsoft.
        let names = ["localhost", "smtp.hve.mx.microsoft", "outlook.office.com"].map(str::to_owned);
        Ok(Self {
            ca_pem: authority.pem(),
            good: identity(&authority, &names, valid)?,
            untrusted: identity(&stranger, &names, valid)?,
            wrong_name: identity(&authority, &["somewhere-else.example".to_owned()], valid)?,
            expired: identity(&authority, &names, (2019, 2020))?,
        })
    }

    pub(super) fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The identity for `localhost`, 127.0.0.1 and ::1, or a faulty one.
    pub(super) fn server_config(&self, fault: Option<CertificateFault>) -> Arc<ServerConfig> {
        let config = match fault {
            None => &self.good,
            Some(CertificateFault::UntrustedAuthority) => &self.untrusted,
            Some(CertificateFault::WrongName) => &self.wrong_name,
            Some(CertificateFault::Expired) => &self.expired,
        };
        Arc::clone(config)
    }
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn make_authority(name: &str, years: (i32, i32)) -> std::io::Result<Authority> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    limit_to(&mut params, years);
    let key = KeyPair::generate().map_err(std::io::Error::other)?;
    CertifiedIssuer::self_signed(params, key).map_err(std::io::Error::other)
}

fn limit_to(params: &mut CertificateParams, (first, last): (i32, i32)) {
    params.not_before = rcgen::date_time_ymd(first, 1, 1);
    params.not_after = rcgen::date_time_ymd(last, 12, 31);
}

fn identity(authority: &Authority, names: &[String], years: (i32, i32)) -> std::io::Result<Arc<ServerConfig>> {
    let mut params = CertificateParams::new(names).map_err(std::io::Error::other)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, names[0].as_str());
    if names[0] == "localhost" {
        for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            params.subject_alt_names.push(SanType::IpAddress(address));
        }
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    limit_to(&mut params, years);
    let key = KeyPair::generate().map_err(std::io::Error::other)?;
    let certificate = params.signed_by(&key, authority).map_err(std::io::Error::other)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key))
        .map(Arc::new)
        .map_err(std::io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_has_an_identity_of_its_own() {
        let certificates = Certificates::generate(1_800_000_000).unwrap();
        assert!(certificates.ca_pem().starts_with("-----BEGIN CERTIFICATE-----"));
        let good = certificates.server_config(None);
        for fault in [CertificateFault::UntrustedAuthority, CertificateFault::WrongName, CertificateFault::Expired] {
            assert!(!Arc::ptr_eq(&good, &certificates.server_config(Some(fault))), "{fault:?}");
        }
    }
}
