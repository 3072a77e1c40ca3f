//! `gatepost cert`: a local certificate authority and a server certificate, for tests and for
//! networks without one.

use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize, SanType,
};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use zeroize::Zeroizing;

use super::options::{CertOptions, KeyKind};
use super::parse::Host;
use super::store_context::print_result;
use gatepost_config::server_identity as identity;
use gatepost_core::clock::system_time;

const AUTHORITY_NAME: &str = "Gatepost local authority";

/// How long the authority is valid.
const AUTHORITY_DAYS: u32 = 3_650;

/// Most characters of a common name.
const COMMON_NAME: usize = 64;

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// How far the start of validity is set back, for clients with a slow clock.
const BACKDATE: Duration = Duration::from_secs(3_600);

/// Creates `ca.pem`, `ca.key`, `server.pem` and `server.key` in a directory, or uses the existing
/// authority. Returns the exit code.
pub fn cert(options: &CertOptions) -> u8 {
    print_result(make(options))
}

/// Creates the files. Returns what is told of them.
///
/// # Errors
/// A file cannot be written, or is there already.
pub(super) fn make(options: &CertOptions) -> anyhow::Result<String> {
    let directory = &options.directory;
    let path = |name: &str| directory.join(name);
    std::fs::create_dir_all(directory)
        .with_context(|| format!("cannot create the directory `{}`", directory.display()))?;
    // Key and certificate belong together, so of two simultaneous commands one waits for the other.
    #[cfg(unix)]
    let _alone = {
        let opened = std::fs::File::open(directory).and_then(|opened| opened.lock().map(|()| opened));
        opened.with_context(|| format!("cannot lock the directory `{}`", directory.display()))?
    };
    for name in ["server.pem", "server.key"] {
        anyhow::ensure!(
            options.force || !path(name).exists(),
            "`{}` already exists. Name another `--directory`, or replace it with `--force`",
            path(name).display()
        );
    }

    let (authority, is_new) = match (path("ca.pem").exists(), path("ca.key").exists()) {
        (true, true) => (Authority::open(&path("ca.pem"), &path("ca.key"))?, false),
        (false, false) => (Authority::make(options.key)?, true),
        _ => anyhow::bail!(
            "`{}` has only one of ca.pem and ca.key. Restore the other one, or remove this one to create a new CA",
            directory.display()
        ),
    };
    let (certificate, key) = authority.issue(options)?;
    authority.verify(&certificate).context(
        "the CA in ca.pem was not created by `gatepost cert`, or has expired. Move it away to create a new one",
    )?;
    if is_new {
        write_file(&path("ca.key"), &authority.key.serialize_pem(), true, false)?;
        write_file(&path("ca.pem"), &authority.pem, false, false)?;
    }
    write_file(&path("server.key"), &key, true, options.force)?;
    write_file(&path("server.pem"), &certificate, false, options.force)?;
    let mut text = told(directory, is_new);
    if authority.kind() != options.key {
        text.push_str(
            "The CA has a key of the other kind. If a client supports only one kind, create a new CA with another \
             `--directory`.\n",
        );
    }
    Ok(text)
}

fn told(directory: &Path, is_new: bool) -> String {
    let path = |name: &str| directory.join(name).display().to_string();
    let made = match is_new {
        true => "Created a local CA and a server certificate.",
        false => "Created a server certificate with the existing CA.",
    };
    format!(
        "{made}\n\n\
         Import this CA in each mail program or device:\n  {}\n\
         Add to a listener in proxy.yaml (relative paths start from its directory):\n  \
         tls: implicit   # or starttls\n  certificate: {}\n  private_key: {}\n\
         Keep {} secret: it signs certificates that those clients trust.\n",
        path("ca.pem"),
        path("server.pem"),
        path("server.key"),
        path("ca.key"),
    )
}

struct Authority {
    pem: String,
    key: KeyPair,
}

impl Authority {
    fn make(kind: KeyKind) -> anyhow::Result<Self> {
        let key = new_key(kind)?;
        let mut params = Self::params();
        (params.not_before, params.not_after) = (from_now(None), from_now(Some(AUTHORITY_DAYS)));
        let pem = params.self_signed(&key).context("cannot create the certificate of the CA")?.pem();
        Ok(Self { pem, key })
    }

    fn open(certificate: &Path, key: &Path) -> anyhow::Result<Self> {
        let read =
            |path: &Path| std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()));
        let (pem, key_pem) = (read(certificate)?, read(key)?);
        identity::from_pem(pem.as_bytes(), key_pem.as_bytes())
            .with_context(|| format!("cannot use the CA in `{}`", certificate.display()))?;
        let key = KeyPair::from_pem(&key_pem).with_context(|| format!("cannot use the key in `{}`", key.display()))?;
        Ok(Self { pem, key })
    }

    fn kind(&self) -> KeyKind {
        if self.key.algorithm() == &PKCS_RSA_SHA256 { KeyKind::Rsa } else { KeyKind::P256 }
    }

    fn params() -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = name(AUTHORITY_NAME);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
    }

    /// Issues a certificate for this machine and the hosts. Returns it and its key, as PEM.
    fn issue(&self, options: &CertOptions) -> anyhow::Result<(String, String)> {
        let mut names = vec![
            san(&Host::Name("localhost".to_owned()))?,
            SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            SanType::IpAddress(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        ];
        for host in &options.hosts {
            let name = san(host)?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let mut params = CertificateParams::default();
        params.distinguished_name = name(&common_name(&options.hosts));
        params.subject_alt_names = names;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        (params.not_before, params.not_after) = (from_now(None), from_now(Some(options.days)));
        let key = new_key(options.key)?;
        let authority = Self::params();
        let issuer = Issuer::from_params(&authority, &self.key);
        let certificate = params.signed_by(&key, &issuer).context("cannot create the server certificate")?;
        Ok((certificate.pem(), key.serialize_pem()))
    }

    /// Verifies as a mail program would. This detects a different authority with the same name.
    fn verify(&self, certificate: &str) -> anyhow::Result<()> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes())?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes())?;
        verifier.verify_server_cert(&certificate, &[], &ServerName::try_from("localhost")?, &[], UnixTime::now())?;
        Ok(())
    }
}

/// Creates a certificate that its own RSA key has signed, for an application in Entra. The key is new
/// unless one is given. Returns both, as PEM.
///
/// # Errors
/// The key cannot be created or used.
pub(super) fn self_signed(common: &str, days: u32, key: Option<&str>) -> anyhow::Result<(String, Zeroizing<String>)> {
    let key = match key {
        Some(pem) => KeyPair::from_pem_and_sign_algo(pem, &PKCS_RSA_SHA256).context("it is not an RSA key")?,
        None => new_key(KeyKind::Rsa)?,
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = name(common);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    (params.not_before, params.not_after) = (from_now(None), from_now(Some(days)));
    let certificate = params.self_signed(&key).context("cannot create the certificate of the application")?;
    Ok((certificate.pem(), Zeroizing::new(key.serialize_pem())))
}

fn new_key(kind: KeyKind) -> anyhow::Result<KeyPair> {
    let key = match kind {
        KeyKind::P256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
        KeyKind::Rsa => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_3072),
    };
    key.context("cannot create a key")
}

/// The name that old clients compare with the one that they connect to: the first host.
fn common_name(hosts: &[Host]) -> String {
    let name = match hosts.first() {
        Some(Host::Name(name)) => name.clone(),
        Some(Host::Address(address)) => address.to_string(),
        None => "localhost".to_owned(),
    };
    // Longer ones are not allowed there (RFC 5280, appendix A.1).
    if name.len() <= COMMON_NAME { name } else { "Gatepost".to_owned() }
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

fn san(host: &Host) -> anyhow::Result<SanType> {
    Ok(match host {
        Host::Address(address) => SanType::IpAddress(*address),
        Host::Name(name) => SanType::DnsName(name.clone().try_into().context("a name in a certificate must be ASCII")?),
    })
}

fn from_now<T: From<SystemTime>>(days: Option<u32>) -> T {
    match days {
        None => (system_time() - BACKDATE).into(),
        Some(days) => (system_time() + DAY * days).into(),
    }
}

/// Writes under a temporary name first, so that no reader sees half a file. A secret file is
/// readable by its owner only.
fn write_file(path: &Path, text: &str, secret: bool, replace: bool) -> anyhow::Result<()> {
    let temporary = path.with_extension("new");
    // A file may be left from an interrupted run; usually there is none.
    let _ = std::fs::remove_file(&temporary);
    let write = || -> io::Result<()> {
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, if secret { 0o600 } else { 0o644 });
        #[cfg(not(unix))]
        let _ = secret;
        let mut file = options.open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        if replace {
            std::fs::rename(&temporary, path)
        } else {
            // A link fails if the file exists, which a rename would overwrite.
            std::fs::hard_link(&temporary, path)?;
            std::fs::remove_file(&temporary)
        }
    };
    let written = write();
    if written.is_err() {
        // The rest is of no use. It may also not exist.
        let _ = std::fs::remove_file(&temporary);
    }
    written.with_context(|| format!("cannot write `{}`", path.display()))
}
