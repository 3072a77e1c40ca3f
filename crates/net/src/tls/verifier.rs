//! The verifier of servers' certificates: the platform's or webpki's, with the roots of `trust` for
//! each server. If the issuer of a certificate is not trusted, the error names it, because with
//! that name the administrator can find the certificate of a proxy that inspects TLS.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};
use rustls_platform_verifier::Verifier;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::clock_offset::{ClockOffset, Offset};
use super::provider::provider;
use gatepost_config::Trust;
use gatepost_core::clock::UnixTime as Seconds;
use gatepost_core::escape::escaped;

/// Longest name of an issuer that is shown, in octets.
const NAME_OCTETS: usize = 200;

/// Why the trusted roots could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The text of an `additional_ca` is not PEM.
    #[error("read the certificates of an `additional_ca` of `trust`")]
    Pem(#[source] rustls::pki_types::pem::Error),
    /// A root is not usable, or the system has none.
    #[error("take over the trusted certificates")]
    Roots(#[source] rustls::Error),
    /// There is no root at all.
    #[error("no certificate authority is trusted: `trust.system_roots` is off, and `trust.additional_ca` names none")]
    Empty,
}

/// Verifies each server with the roots that apply to it.
#[derive(Debug)]
pub(super) struct Verifiers {
    /// `None` if only the servers of `destinations` are trusted.
    general: Option<Arc<dyn ServerCertVerifier>>,
    destinations: HashMap<String, Arc<dyn ServerCertVerifier>>,
    /// The signature algorithms, the same for all servers.
    schemes: WebPkiSupportedAlgorithms,
    clock: Arc<ClockOffset>,
}

/// The chain ends at an authority that is not trusted. It is the content of a
/// [`CertificateError::Other`].
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("issued by `{issuer}`, which is not trusted")]
pub struct UntrustedIssuer {
    /// The name of the authority (RFC 4514's form), escaped, cut at 200 octets.
    pub issuer: String,
}

/// The same text as `Display`, because rustls shows an unknown error with `Debug`.
impl fmt::Debug for UntrustedIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl UntrustedIssuer {
    /// The untrusted issuer in `error`, if there is one.
    pub fn of(error: &Error) -> Option<&Self> {
        match error {
            Error::InvalidCertificate(CertificateError::Other(OtherError(other))) => other.downcast_ref(),
            _ => None,
        }
    }
}

/// A certificate is not valid at this machine's time. It is the content of a
/// [`CertificateError::Other`].
#[derive(Clone, PartialEq, Eq)]
pub struct OutOfDate {
    not_before: Seconds,
    not_after: Seconds,
    now: Seconds,
    /// How far this machine's clock is from Entra's, if that is known.
    offset: Option<Offset>,
}

impl OutOfDate {
    /// The dates in `problem`, if there are any.
    pub fn of(problem: &CertificateError) -> Option<&Self> {
        match problem {
            CertificateError::Other(OtherError(other)) => other.downcast_ref(),
            _ => None,
        }
    }

    /// Whether the certificate is valid at Entra's time. `None` if that is not known.
    pub fn is_clock_wrong(&self) -> Option<bool> {
        let ahead = self.offset?.0;
        let there = self.now.0.checked_add_signed(ahead)?;
        Some((self.not_before.0..=self.not_after.0).contains(&there))
    }
}

impl fmt::Display for OutOfDate {
    /// The end of a sentence that begins with the certificate.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.now > self.not_after {
            write!(f, "expired on {}", self.not_after.rfc3339())?;
        } else {
            write!(f, "is not valid before {}", self.not_before.rfc3339())?;
        }
        write!(f, ", and this machine's clock says {}", self.now.rfc3339())?;
        self.offset.map_or(Ok(()), |offset| write!(f, ", {offset}"))
    }
}

/// The same text as `Display`, because rustls shows an unknown error with `Debug`.
impl fmt::Debug for OutOfDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for OutOfDate {}

impl Verifiers {
    /// Reads the roots, including the platform's, which takes a while.
    ///
    /// # Errors
    /// See [`TrustError`].
    pub(super) fn new(trust: &Trust, clock: Arc<ClockOffset>) -> Result<Self, TrustError> {
        let for_all = match &trust.additional_ca {
            Some((_, pem)) => roots(pem)?,
            None => Vec::new(),
        };
        let general = match trust.system_roots || !for_all.is_empty() {
            true => Some(verifier(trust, for_all.clone())?),
            false if trust.destinations.is_empty() => return Err(TrustError::Empty),
            false => None,
        };
        let of_one = |destination: &gatepost_config::DestinationTrust| {
            let all = [&for_all[..], &roots(&destination.additional_ca.1)?].concat();
            Ok((destination.host.clone(), verifier(trust, all)?))
        };
        let destinations = trust.destinations.iter().map(of_one).collect::<Result<_, TrustError>>()?;
        Ok(Self { general, destinations, schemes: provider().signature_verification_algorithms, clock })
    }
}

fn roots(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(TrustError::Pem)
}

fn verifier(
    trust: &Trust,
    additional: Vec<CertificateDer<'static>>,
) -> Result<Arc<dyn ServerCertVerifier>, TrustError> {
    if trust.system_roots {
        let verifier = Verifier::new_with_extra_roots(additional, provider()).map_err(TrustError::Roots)?;
        return Ok(Arc::new(verifier));
    }
    let mut roots = RootCertStore::empty();
    for root in additional {
        roots.add(root).map_err(TrustError::Roots)?;
    }
    if roots.is_empty() {
        return Err(TrustError::Empty);
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
    Ok(verifier.map_err(|error| TrustError::Roots(Error::General(error.to_string())))?)
}

impl ServerCertVerifier for Verifiers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let own = self.destinations.get(&server_name.to_str().to_ascii_lowercase());
        let verified = match own.or(self.general.as_ref()) {
            Some(verifier) => verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now),
            None => Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
        };
        match verified {
            Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
                match issuer(end_entity, intermediates) {
                    Some(issuer) => {
                        let untrusted = OtherError(Arc::new(UntrustedIssuer { issuer }));
                        Err(Error::InvalidCertificate(CertificateError::Other(untrusted)))
                    }
                    None => Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
                }
            }
            Err(Error::InvalidCertificate(
                problem @ (CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. }),
            )) => {
                let dates = out_of_date(end_entity, intermediates, now, self.clock.get());
                let problem = dates.map_or(problem, |dates| CertificateError::Other(OtherError(Arc::new(dates))));
                Err(Error::InvalidCertificate(problem))
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.schemes)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.schemes)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.supported_schemes()
    }
}

/// The first of the presented certificates that is not valid now.
fn out_of_date(
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    now: UnixTime,
    offset: Option<Offset>,
) -> Option<OutOfDate> {
    let seconds = |seconds: i64| Seconds(u64::try_from(seconds).unwrap_or(0));
    std::iter::once(end_entity).chain(intermediates).find_map(|der| {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let validity = certificate.validity();
        let dates = OutOfDate {
            not_before: seconds(validity.not_before.timestamp()),
            not_after: seconds(validity.not_after.timestamp()),
            now: Seconds(now.as_secs()),
            offset,
        };
        (!(dates.not_before..=dates.not_after).contains(&dates.now)).then_some(dates)
    })
}

/// The authority at the end of the presented chain, whose certificate would have to be trusted.
/// Nothing of this is verified; it is for a person to read.
fn issuer(end_entity: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> Option<String> {
    let parse = |der| X509Certificate::from_der(der).ok().map(|(_, certificate)| certificate);
    let mut top = parse(end_entity)?;
    // Each certificate is followed once, so that a loop in the chain ends as well.
    let mut above: Vec<_> = intermediates.iter().filter_map(|der| parse(der)).collect();
    while let Some(at) = above.iter().position(|one| one.subject().as_raw() == top.issuer().as_raw()) {
        top = above.swap_remove(at);
    }
    let name = top.issuer().to_string();
    (!name.is_empty()).then(|| escaped(name.as_bytes(), NAME_OCTETS))
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

    use super::*;
    use gatepost_config::DestinationTrust;

    type Authority = CertifiedIssuer<'static, KeyPair>;

    fn authority(name: &str, signer: Option<&Authority>) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.remove(DnType::CommonName);
        params.distinguished_name.push(DnType::OrganizationName, "Contoso");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        match signer {
            Some(signer) => CertifiedIssuer::signed_by(params, key, signer).unwrap(),
            None => CertifiedIssuer::self_signed(params, key).unwrap(),
        }
    }

    fn server(names: &[&str], signer: &Authority) -> CertificateDer<'static> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names).unwrap();
        params.signed_by(&KeyPair::generate().unwrap(), signer).unwrap().der().clone()
    }

    fn verifiers(for_all: Option<&Authority>, for_one: &[(&str, &Authority)]) -> Result<Verifiers, TrustError> {
        let pem = |authority: &Authority| ("ca.pem".into(), authority.pem().into_bytes());
        Verifiers::new(
            &Trust {
                system_roots: false,
                additional_ca: for_all.map(pem),
                destinations: for_one
                    .iter()
                    .map(|(host, authority)| DestinationTrust { host: (*host).into(), additional_ca: pem(authority) })
                    .collect(),
            },
            Arc::default(),
        )
    }

    fn verify(
        verifiers: &Verifiers,
        name: &str,
        server: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> Result<(), Error> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        verifiers.verify_server_cert(server, intermediates, &name, &[], UnixTime::now()).map(drop)
    }

    #[test]
    fn a_destination_has_its_own_roots_besides_those_for_all() {
        let (all, one) = (authority("All", None), authority("One", None));
        let verifiers = verifiers(Some(&all), &[("mail.example", &one)]).unwrap();
        let names = ["mail.example", "login.example"];
        let (by_all, by_one) = (server(&names, &all), server(&names, &one));
        assert_eq!(verify(&verifiers, "mail.example", &by_one, &[]), Ok(()));
        assert_eq!(verify(&verifiers, "MAIL.example", &by_one, &[]), Ok(()));
        assert_eq!(verify(&verifiers, "mail.example", &by_all, &[]), Ok(()));
        assert_eq!(verify(&verifiers, "login.example", &by_all, &[]), Ok(()));
        let refused = verify(&verifiers, "login.example", &by_one, &[]).unwrap_err();
        assert_eq!(UntrustedIssuer::of(&refused).unwrap().issuer, "O=Contoso, CN=One");
        // A trusted root does not make up for a wrong name.
        let refused = verify(&verifiers, "mail.example", &server(&["other.example"], &one), &[]).unwrap_err();
        assert!(matches!(refused, Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. })));
    }

    #[test]
    fn without_other_roots_only_the_destinations_are_trusted() {
        let one = authority("One", None);
        let verifiers = verifiers(None, &[("mail.example", &one)]).unwrap();
        assert_eq!(verify(&verifiers, "mail.example", &server(&["mail.example"], &one), &[]), Ok(()));
        assert!(verify(&verifiers, "login.example", &server(&["login.example"], &one), &[]).is_err());
        assert!(matches!(super::tests::verifiers(None, &[]), Err(TrustError::Empty)));
    }

    #[test]
    fn the_issuer_named_is_the_one_above_all_that_was_presented() {
        let (trusted, root) = (authority("Trusted", None), authority("Contoso Root", None));
        let intermediate = authority("Contoso Inspection", Some(&root));
        let verifiers = verifiers(Some(&trusted), &[]).unwrap();
        let leaf = server(&["mail.example"], &intermediate);
        let told = |presented: &[CertificateDer<'_>]| {
            let refused = verify(&verifiers, "mail.example", &leaf, presented).unwrap_err();
            UntrustedIssuer::of(&refused).unwrap().issuer.clone()
        };
        assert_eq!(told(&[]), "O=Contoso, CN=Contoso Inspection");
        assert_eq!(told(&[intermediate.der().clone()]), "O=Contoso, CN=Contoso Root");
        assert_eq!(told(&[root.der().clone(), intermediate.der().clone()]), "O=Contoso, CN=Contoso Root");
        let twice = [intermediate.der().clone(), intermediate.der().clone(), root.der().clone(), root.der().clone()];
        assert_eq!(told(&twice), "O=Contoso, CN=Contoso Root");
    }

    #[test]
    fn a_wrong_clock_is_told_from_an_expired_certificate() {
        let all = authority("All", None);
        let mut params = CertificateParams::new(vec!["mail.example".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 3, 1);
        let leaf = params.signed_by(&KeyPair::generate().unwrap(), &all).unwrap().der().clone();
        let verifiers = verifiers(Some(&all), &[]).unwrap();
        let at = |day: &str| {
            let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(Seconds::parse_day(day).unwrap().0));
            let name = ServerName::try_from("mail.example").unwrap();
            match verifiers.verify_server_cert(&leaf, &[], &name, &[], now) {
                Err(Error::InvalidCertificate(problem)) => OutOfDate::of(&problem).unwrap().clone(),
                other => panic!("{other:?}"),
            }
        };
        let expired = at("2027-02-01");
        assert_eq!(
            expired.to_string(),
            "expired on 2026-03-01T00:00:00Z, and this machine's clock says 2027-02-01T00:00:00Z"
        );
        assert_eq!(expired.is_clock_wrong(), None);
        verifiers.clock.learn(-365 * 86_400);
        let ahead = at("2027-02-01");
        assert!(ahead.to_string().ends_with("Z, 365 days ahead of Entra's"), "{ahead}");
        assert_eq!(ahead.is_clock_wrong(), Some(true));
        verifiers.clock.learn(1);
        let early = at("2025-12-31");
        assert!(early.to_string().starts_with("is not valid before 2026-01-01T00:00:00Z, and"), "{early}");
        assert_eq!(early.is_clock_wrong(), Some(false));
    }

    #[test]
    fn a_hostile_name_is_escaped_and_cut() {
        let hostile = authority(&format!("evil\r\nline \u{1b}[2J {}", "x".repeat(5_000)), None);
        let verifiers = verifiers(Some(&authority("Trusted", None)), &[]).unwrap();
        let refused = verify(&verifiers, "mail.example", &server(&["mail.example"], &hostile), &[]).unwrap_err();
        let issuer = &UntrustedIssuer::of(&refused).unwrap().issuer;
        assert!(issuer.len() <= NAME_OCTETS && issuer.bytes().all(|b| (b' '..=b'~').contains(&b)), "{issuer}");
    }
}
