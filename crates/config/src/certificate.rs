//! The certificate of an application, and its private key. They are read from PEM (RFC 7468), from
//! PEM with an encrypted key (PKCS#8 with PBES2, RFC 8018 §6.2), or from PKCS#12 (RFC 7292). Pure:
//! the caller reads the files.
//!
//! Only RSA keys: Microsoft describes no other for client assertions ("Microsoft identity platform
//! application authentication certificate credentials").

use std::fmt;

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding};
use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::der::SecretDocument;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::parse_x509_certificate;
use zeroize::Zeroizing;

use super::pkcs12;
use gatepost_core::clock::UnixTime;
use gatepost_core::secret::CertificatePassword;

/// The signature algorithm of assertions, and the thumbprint that goes with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SigningAlgorithm {
    /// RSASSA-PSS (RFC 7518 §3.5) with the SHA-256 thumbprint `x5t#S256`: what Microsoft asks for
    /// today.
    #[default]
    Ps256,
    /// RSASSA-PKCS1-v1_5 (RFC 7518 §3.3) with the SHA-1 thumbprint `x5t`: the older form, for AD FS
    /// and old registrations.
    Rs256,
}

/// Why certificate and key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// No certificate in PEM form.
    #[error("there is no certificate in it")]
    NoCertificate,
    /// The certificate is damaged.
    #[error("the certificate in it is damaged")]
    DamagedCertificate,
    /// No private key in PEM form.
    #[error("there is no private key in it")]
    NoPrivateKey,
    /// The key is encrypted, and no password is configured.
    #[error("the private key is encrypted, and no password is configured")]
    NoPassword,
    /// The key is encrypted in the form of OpenSSL before 1.0.
    #[error("the private key is encrypted in an outdated form")]
    OutdatedEncryption,
    /// The password does not open the file, or the file is damaged.
    #[error("the password does not open it, or it is damaged or encrypted in an unknown way")]
    WrongPassword,
    /// The file is damaged, or in an unsupported form: see [`SigningKey::read`].
    #[error("it is damaged, or in a form or encryption that Gatepost does not read")]
    Unreadable,
    /// Not an RSA key of 2048 to 8192 bits.
    #[error("the private key is not an RSA key of 2048 bits or more")]
    UnsupportedKey,
    /// The key does not belong to the certificate.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
}

impl CertificateError {
    /// What to do, one sentence.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::NoCertificate | Self::DamagedCertificate => {
                "name the PEM file with the certificate that Entra shows for the application, or a PKCS#12 file"
            }
            Self::NoPrivateKey => "name the PEM file with the certificate's key as `private_key`",
            Self::NoPassword => "set `client_certificate.password`",
            Self::OutdatedEncryption => "convert it with `openssl pkcs8 -topk8`",
            Self::WrongPassword => {
                "correct `client_certificate.password`, or export the file again with AES encryption"
            }
            Self::Unreadable => "export the certificate and its key again, such as with `openssl pkcs12 -export`",
            Self::UnsupportedKey => "make a new certificate with an RSA key, and upload it to the application in Entra",
            Self::Mismatch => "name the key that the certificate was made for",
        }
    }

    /// True when the key's file is at fault rather than the certificate's.
    pub fn is_about_key(self) -> bool {
        !matches!(self, Self::NoCertificate | Self::DamagedCertificate)
    }
}

/// A certificate and its private key, known to belong together.
pub struct SigningKey {
    key: KeyPair,
    der: Vec<u8>,
    sha256: [u8; 32],
    sha1: [u8; 20],
    /// First second of its validity.
    pub not_before: UnixTime,
    /// Last second of its validity.
    pub not_after: UnixTime,
}

impl SigningKey {
    /// Reads PEM or PKCS#12. `private_key` is the content of the key's file; without it the key is
    /// in `certificate`, too. With a password it takes about 0.1 s of computing, and some seconds
    /// at most. A file that needs more than 5,000,000 iterations of key derivation is not read.
    /// Neither is PKCS#12 in BER with indefinite lengths, without a MAC, or with PBMAC1 (RFC 9579).
    ///
    /// # Errors
    /// [`CertificateError`]. An expired certificate is not an error: see [`SigningKey::not_after`].
    pub fn read(
        certificate: &[u8],
        private_key: Option<&[u8]>,
        password: Option<&CertificatePassword>,
    ) -> Result<Self, CertificateError> {
        if !is_pem(certificate) && private_key.is_none() && certificate.first() == Some(&SEQUENCE) {
            return from_pkcs12(certificate, password);
        }
        let mut chain = CertificateDer::pem_slice_iter(certificate);
        let first = chain.next().ok_or(CertificateError::NoCertificate)?;
        let first = first.map_err(|_| CertificateError::DamagedCertificate)?;
        let key = key_from_pem(private_key.unwrap_or(certificate), password)?;
        // While a renewal replaces the files, the old and the new certificate are both there.
        let mut items = std::iter::once(first.clone()).chain(chain.filter_map(Result::ok));
        let own = items.find(|item| parse_x509_certificate(item).is_ok_and(|(_, parsed)| belongs(&parsed, &key)));
        Self::new(&own.unwrap_or(first), key)
    }

    fn new(certificate: &[u8], key: KeyPair) -> Result<Self, CertificateError> {
        let (_, parsed) = parse_x509_certificate(certificate).map_err(|_| CertificateError::DamagedCertificate)?;
        if !belongs(&parsed, &key) {
            return Err(CertificateError::Mismatch);
        }
        let unix = |seconds: i64| UnixTime(u64::try_from(seconds).unwrap_or(0));
        let validity = parsed.validity();
        Ok(Self {
            key,
            der: certificate.to_vec(),
            sha256: thumbprint(&digest::SHA256, certificate),
            sha1: thumbprint(&digest::SHA1_FOR_LEGACY_USE_ONLY, certificate),
            not_before: unix(validity.not_before.timestamp()),
            not_after: unix(validity.not_after.timestamp()),
        })
    }

    /// The certificate in DER form.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The certificate's thumbprint as Entra shows it: SHA-1, in upper-case hexadecimal digits.
    pub fn thumbprint(&self) -> String {
        self.sha1.iter().map(|octet| format!("{octet:02X}")).collect()
    }

    /// The SHA-256 digest of the certificate (RFC 7515 §4.1.8).
    pub fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// The SHA-1 digest of the certificate (RFC 7515 §4.1.7); Entra shows it as the certificate's
    /// thumbprint.
    pub fn sha1(&self) -> &[u8; 20] {
        &self.sha1
    }

    /// Signs a message. `None` when the system gives no randomness.
    pub fn sign(&self, algorithm: SigningAlgorithm, message: &[u8]) -> Option<Vec<u8>> {
        sign(&self.key, algorithm, message)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

/// Signs a message. `None` when the system gives no randomness.
pub(super) fn sign(key: &KeyPair, algorithm: SigningAlgorithm, message: &[u8]) -> Option<Vec<u8>> {
    let encoding: &'static dyn RsaEncoding = match algorithm {
        SigningAlgorithm::Ps256 => &RSA_PSS_SHA256,
        SigningAlgorithm::Rs256 => &RSA_PKCS1_SHA256,
    };
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(encoding, &SystemRandom::new(), message, &mut signature).ok()?;
    Some(signature)
}

/// True when the key belongs to the certificate.
fn belongs(certificate: &X509Certificate<'_>, key: &KeyPair) -> bool {
    // For RSA both are the `RSAPublicKey` of RFC 8017 A.1.1.
    certificate.public_key().subject_public_key.data == key.public_key().as_ref()
}

/// The first octet of a DER SEQUENCE.
const SEQUENCE: u8 = 0x30;

/// Whether the content is in PEM form.
pub(super) fn is_pem(content: &[u8]) -> bool {
    memchr::memmem::find(content, b"-----BEGIN ").is_some()
}

fn from_pkcs12(content: &[u8], password: Option<&CertificatePassword>) -> Result<SigningKey, CertificateError> {
    // A file without a password has an empty one.
    let archive = pkcs12::read(content, password.map_or("", CertificatePassword::expose));
    let archive = archive.map_err(|error| match (error, password) {
        (pkcs12::Error::Unreadable, _) => CertificateError::Unreadable,
        (pkcs12::Error::WrongPassword, None) => CertificateError::NoPassword,
        (pkcs12::Error::WrongPassword, Some(_)) => CertificateError::WrongPassword,
    })?;
    let first = archive.certificates.first().ok_or(CertificateError::NoCertificate)?;
    let certificates = archive.certificates.iter().map(|item| (item, parse_x509_certificate(&item.der).ok()));
    let certificates: Vec<_> = certificates.collect();
    let mut error = CertificateError::NoPrivateKey;
    for item in &archive.keys {
        let found = KeyPair::from_pkcs8(&item.der).map_err(|_| CertificateError::UnsupportedKey).and_then(|key| {
            // Certificates of issuers may come before the key's own, or another one of the same
            // key.
            let mut own = certificates.iter().filter_map(|(certificate, parsed)| {
                parsed.as_ref().is_some_and(|(_, parsed)| belongs(parsed, &key)).then_some(*certificate)
            });
            let named = own.clone().find(|certificate| item.id.is_some() && certificate.id == item.id);
            SigningKey::new(&named.or_else(|| own.next()).unwrap_or(first).der, key)
        });
        match found {
            Ok(found) => return Ok(found),
            Err(other) => error = other,
        }
    }
    Err(error)
}

/// Reads an RSA key in PEM.
pub(super) fn key_from_pem(
    content: &[u8],
    password: Option<&CertificatePassword>,
) -> Result<KeyPair, CertificateError> {
    let has = |marker: &str| memchr::memmem::find(content, marker.as_bytes()).is_some();
    if has(ENCRYPTED_KEY) {
        let password = password.ok_or(CertificateError::NoPassword)?;
        return decrypt(content, password);
    }
    if has("Proc-Type: 4,ENCRYPTED") {
        return Err(CertificateError::OutdatedEncryption);
    }
    match PrivateKeyDer::from_pem_slice(content).map_err(|_| CertificateError::NoPrivateKey)? {
        PrivateKeyDer::Pkcs8(key) => KeyPair::from_pkcs8(key.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(key) => KeyPair::from_der(key.secret_pkcs1_der()),
        _ => return Err(CertificateError::UnsupportedKey),
    }
    .map_err(|_| CertificateError::UnsupportedKey)
}

const ENCRYPTED_KEY: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
const ENCRYPTED_KEY_END: &str = "-----END ENCRYPTED PRIVATE KEY-----";

fn decrypt(content: &[u8], password: &CertificatePassword) -> Result<KeyPair, CertificateError> {
    // The file may hold the certificate before the key, and text around both.
    let start = memchr::memmem::find(content, ENCRYPTED_KEY.as_bytes()).unwrap_or(0);
    let end = memchr::memmem::rfind(content, ENCRYPTED_KEY_END.as_bytes())
        .map_or(content.len(), |at| at + ENCRYPTED_KEY_END.len());
    let block = content.get(start..end).and_then(|block| std::str::from_utf8(block).ok());
    // Line ends depend on the program that wrote the file; the parser needs one kind.
    let block = Zeroizing::new(block.ok_or(CertificateError::NoPrivateKey)?.replace('\r', ""));
    let (_, sealed) = SecretDocument::from_pem(&block).map_err(|_| CertificateError::NoPrivateKey)?;
    let sealed =
        EncryptedPrivateKeyInfoRef::try_from(sealed.as_bytes()).map_err(|_| CertificateError::WrongPassword)?;
    let cost = sealed.encryption_algorithm.pbes2().map_or(Some(0), pkcs12::cost);
    if cost.is_none_or(|cost| cost > pkcs12::MAX_ITERATIONS) {
        return Err(CertificateError::Unreadable);
    }
    let opened = sealed.decrypt(password.expose()).map_err(|_| CertificateError::WrongPassword)?;
    KeyPair::from_pkcs8(opened.as_bytes()).map_err(|_| CertificateError::UnsupportedKey)
}

fn thumbprint<const N: usize>(algorithm: &'static digest::Algorithm, certificate: &[u8]) -> [u8; N] {
    let mut octets = [0; N];
    octets.copy_from_slice(digest::digest(algorithm, certificate).as_ref());
    octets
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use pkcs8::LineEnding;
    use rcgen::{CertificateParams, PKCS_RSA_SHA256, RsaKeySize};

    use super::super::pkcs12::tests::{certificate_bag, key_bag, plain, sealed_by_pbkdf2, sealed_by_scrypt};
    use super::*;

    /// A self-signed certificate with an RSA key of 2048 bits; both as PEM.
    fn made(years: (i32, i32)) -> (String, String) {
        let key = rcgen::KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        let mut params = CertificateParams::new(["gatepost.example".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn password(text: &str) -> CertificatePassword {
        CertificatePassword::new(text.to_owned())
    }

    fn error(certificate: &str, key: Option<&str>, with: Option<&str>) -> CertificateError {
        let with = with.map(password);
        SigningKey::read(certificate.as_bytes(), key.map(str::as_bytes), with.as_ref()).unwrap_err()
    }

    /// The output of `openssl`, an implementation that is independent of the one under test.
    fn openssl(arguments: &[&str], input: &str) -> Vec<u8> {
        let child =
            Command::new("openssl").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.as_ref().unwrap(), input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{arguments:?}");
        output.stdout
    }

    #[test]
    fn certificate_and_key_are_read_from_two_files_or_one() {
        let (certificate, key) = made((2026, 2028));
        let read = SigningKey::read(certificate.as_bytes(), Some(key.as_bytes()), None).unwrap();
        assert_eq!((read.not_before, read.not_after), (UnixTime(1_767_225_600), UnixTime(1_830_297_600)));
        let fingerprint = |digest: &str, octets: &[u8]| {
            let shown = openssl(&["x509", "-noout", "-fingerprint", digest], &certificate);
            let shown = String::from_utf8(shown).unwrap();
            let hex: Vec<String> = octets.iter().map(|octet| format!("{octet:02X}")).collect();
            assert!(shown.trim().ends_with(&format!("={}", hex.join(":"))), "{shown}");
        };
        fingerprint("-sha256", read.sha256());
        fingerprint("-sha1", read.sha1());
        for both in [format!("{certificate}{key}"), format!("{key}\n{certificate}")] {
            let read = SigningKey::read(both.as_bytes(), None, None).unwrap();
            assert_eq!(read.sha256(), SigningKey::read(both.as_bytes(), None, None).unwrap().sha256());
        }
        let traditional = openssl(&["rsa", "-traditional"], &key);
        assert!(traditional.starts_with(b"-----BEGIN RSA PRIVATE KEY-----"));
        SigningKey::read(certificate.as_bytes(), Some(&traditional), None).unwrap();
    }

    #[test]
    fn an_encrypted_key_opens_with_its_password_only() {
        let (certificate, key) = made((2026, 2028));
        let today = ["pkcs8", "-topk8", "-v2", "aes-256-cbc", "-passout", "pass:pass word"];
        let before = ["pkcs8", "-topk8", "-v2", "des3", "-v2prf", "hmacWithSHA1", "-passout", "pass:pass word"];
        for how in [&today[..], &before] {
            let sealed = String::from_utf8(openssl(how, &key)).unwrap();
            let both = format!("{certificate}{}", sealed.replace('\n', "\r\n"));
            let word = password("pass word");
            SigningKey::read(certificate.as_bytes(), Some(sealed.as_bytes()), Some(&word)).unwrap();
            SigningKey::read(both.as_bytes(), None, Some(&word)).unwrap();
            assert_eq!(error(&both, None, Some("password")), CertificateError::WrongPassword);
            assert_eq!(error(&both, None, None), CertificateError::NoPassword);
        }
        let outdated = openssl(&["rsa", "-traditional", "-aes128", "-passout", "pass:x"], &key);
        let outdated = String::from_utf8(outdated).unwrap();
        assert_eq!(error(&certificate, Some(&outdated), Some("x")), CertificateError::OutdatedEncryption);
    }

    /// Certificate and key as `openssl pkcs12 -export` writes them with these arguments.
    fn is_read_as_openssl_writes_it(how: &[&str], certificate: &str, key: &str, issuer: &str) {
        let word = password("päss");
        let arguments = [&["pkcs12", "-export", "-passout", "pass:päss"], how].concat();
        let file = openssl(&arguments, &format!("{key}{certificate}{issuer}"));
        let read = SigningKey::read(&file, None, Some(&word)).unwrap_or_else(|error| panic!("{how:?}: {error}"));
        let expected = SigningKey::read(certificate.as_bytes(), Some(key.as_bytes()), None).unwrap();
        assert_eq!(read.sha256(), expected.sha256(), "the certificate of the key, not that of an issuer");
        let refused = |with: Option<&CertificatePassword>| SigningKey::read(&file, None, with).unwrap_err();
        assert_eq!(refused(Some(&password("other"))), CertificateError::WrongPassword);
        assert_eq!(refused(None), CertificateError::NoPassword);
        assert_eq!(
            SigningKey::read(&file[..file.len() / 2], None, Some(&word)).unwrap_err(),
            CertificateError::Unreadable
        );
    }

    #[test]
    fn pkcs12_is_read_as_openssl_and_windows_write_it() {
        let ((certificate, key), (issuer, _)) = (made((2026, 2028)), made((2026, 2028)));
        for how in [
            &[][..],
            &["-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES"],
            &["-descert", "-macalg", "sha1"],
            &["-keypbe", "AES-128-CBC", "-certpbe", "AES-192-CBC", "-macalg", "sha384", "-iter", "1"],
            &["-keypbe", "DES-EDE3-CBC", "-certpbe", "NONE", "-macalg", "sha512", "-nomaciter"],
        ] {
            is_read_as_openssl_writes_it(how, &certificate, &key, &issuer);
        }
    }

    #[test]
    #[ignore = "needs OpenSSL's legacy provider"]
    fn pkcs12_is_read_as_old_programs_write_it() {
        let ((certificate, key), (issuer, _)) = (made((2026, 2028)), made((2026, 2028)));
        for how in [
            &["-legacy"][..],
            &["-legacy", "-descert"],
            &["-legacy", "-certpbe", "PBE-SHA1-RC2-40", "-macalg", "sha1"],
            &["-legacy", "-keypbe", "PBE-SHA1-RC2-128", "-certpbe", "PBE-SHA1-RC2-128"],
        ] {
            is_read_as_openssl_writes_it(how, &certificate, &key, &issuer);
        }
    }

    /// One file for each cipher, independent of what the OpenSSL of this machine can write.
    /// `tests/pkcs12/README.md` says how they were made.
    #[test]
    fn pkcs12_is_read_whatever_cipher_it_is_written_with() {
        macro_rules! file {
            ($name:literal) => {
                (&include_bytes!(concat!("../../../tests/pkcs12/", $name))[..], $name)
            };
        }
        let (certificate, _) = file!("certificate.pem");
        let certificate = CertificateDer::from_pem_slice(certificate).unwrap();
        let (word, other) = (password("päss"), password("pass"));
        let expected = thumbprint::<32>(&digest::SHA256, &certificate);
        let read = |file, with| SigningKey::read(file, None, with).map(|key| *key.sha256());
        for (file, name) in
            [file!("aes256-sha256.pfx"), file!("3des-sha1.pfx"), file!("rc2-40-sha1.pfx"), file!("rc2-128-sha384.pfx")]
        {
            assert_eq!(read(file, Some(&word)), Ok(expected), "{name}");
            assert_eq!(read(file, Some(&other)), Err(CertificateError::WrongPassword), "{name}");
            assert_eq!(read(file, None), Err(CertificateError::NoPassword), "{name}");
        }
        for (file, name) in [file!("empty-password.pfx"), file!("no-password.pfx")] {
            assert_eq!(read(file, None), Ok(expected), "{name}");
            assert_eq!(read(file, Some(&word)), Err(CertificateError::WrongPassword), "{name}");
        }
    }

    #[test]
    fn pkcs12_holds_a_certificate_and_its_key() {
        let der = |(certificate, key): (String, String)| {
            let PrivateKeyDer::Pkcs8(key) = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap() else { panic!() };
            let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
            (certificate, key.secret_pkcs8_der().to_vec())
        };
        let ((certificate, key), (other, other_key)) = (der(made((2026, 2028))), der(made((2026, 2028))));
        let read = |bags: &[Vec<u8>]| SigningKey::read(&plain(bags), None, None).map(|key| *key.sha256());
        let (own, foreign) = (certificate_bag(&certificate, "1"), certificate_bag(&other, "2"));
        let thumb = |certificate: &[u8]| Ok(thumbprint(&digest::SHA256, certificate));
        assert_eq!(read(&[foreign.clone(), own.clone(), key_bag(&key, "9")]), thumb(&certificate));
        assert_eq!(read(&[own.clone(), key_bag(&other_key, "1")]), Err(CertificateError::Mismatch));
        assert_eq!(read(std::slice::from_ref(&own)), Err(CertificateError::NoPrivateKey));
        assert_eq!(read(&[key_bag(&key, "1")]), Err(CertificateError::NoCertificate));
        assert_eq!(read(&[own.clone(), key_bag(b"x", "1")]), Err(CertificateError::UnsupportedKey));
        assert_eq!(read(&[certificate_bag(b"x", "1"), key_bag(&key, "1")]), Err(CertificateError::DamagedCertificate));
        // Two keys, one of which has its certificate.
        assert_eq!(read(&[foreign, key_bag(&key, "1"), key_bag(&other_key, "1")]), thumb(&other));
    }

    /// A certificate that was renewed without a new key: the file says which one goes with the key.
    #[test]
    fn of_two_certificates_of_one_key_the_named_one_is_taken() {
        let pair = rcgen::KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        let issued = |name: &str| CertificateParams::new([name.to_owned()]).unwrap().self_signed(&pair).unwrap();
        let (one, two) = (issued("one.example"), issued("two.example"));
        let bags = [certificate_bag(one.der(), "1"), certificate_bag(two.der(), "2")];
        for (id, expected) in [("1", &one), ("2", &two), ("3", &one)] {
            let file = plain(&[&bags[..], &[key_bag(&pair.serialize_der(), id)]].concat());
            let read = SigningKey::read(&file, None, None).unwrap();
            assert_eq!(read.sha256(), &thumbprint::<32>(&digest::SHA256, expected.der()));
        }
    }

    #[test]
    fn an_encrypted_key_that_asks_for_minutes_is_not_computed() {
        let (certificate, _) = made((2026, 2028));
        let sealed = [
            sealed_by_pbkdf2(pkcs12::MAX_ITERATIONS + 1),
            sealed_by_pbkdf2(u32::MAX.into()),
            sealed_by_scrypt([0, 8, 1]),
            sealed_by_scrypt([1 << 24, 8, 1]),
        ];
        for sealed in sealed {
            let sealed = SecretDocument::try_from(sealed).unwrap();
            let sealed = sealed.to_pem("ENCRYPTED PRIVATE KEY", LineEnding::LF).unwrap();
            assert_eq!(error(&certificate, Some(&sealed), Some("x")), CertificateError::Unreadable);
        }
    }

    #[test]
    fn everything_else_is_told_apart() {
        let (certificate, key) = made((2026, 2028));
        let (_, other) = made((2026, 2028));
        let elliptic = rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap();
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let broken_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert_eq!(error(&certificate, Some(&other), None), CertificateError::Mismatch);
        assert_eq!(error("", Some(&key), None), CertificateError::NoCertificate);
        assert_eq!(error(&key, None, None), CertificateError::NoCertificate);
        assert_eq!(error(broken, Some(&key), None), CertificateError::DamagedCertificate);
        assert_eq!(error(&certificate, None, None), CertificateError::NoPrivateKey);
        assert_eq!(error(&certificate, Some(&certificate), None), CertificateError::NoPrivateKey);
        assert_eq!(error(&certificate, Some(broken_key), None), CertificateError::UnsupportedKey);
        assert_eq!(
            error(&elliptic.cert.pem(), Some(&elliptic.signing_key.serialize_pem()), None),
            CertificateError::UnsupportedKey
        );
    }

    proptest::proptest! {
        #[test]
        fn no_octets_make_it_panic(mut octets in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let word = password("x");
            let _ = SigningKey::read(&octets, None, Some(&word));
            octets.insert(0, SEQUENCE);
            let _ = SigningKey::read(&octets, None, Some(&word));
        }
    }
}
