//! The application's key and certificate, and the local certificate for clients: created, or kept if
//! they are there and fit.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use zeroize::Zeroizing;

use crate::cli::cert;
use crate::cli::draft::target;
use crate::cli::options::{CertOptions, KeyKind};
use crate::cli::parse::Host;
use gatepost_config::certificate::SigningKey;
use gatepost_config::server_identity;
use gatepost_core::clock::Clock;
use gatepost_core::system_error::Plain;

/// The files of the application's certificate and key, beside the configuration.
pub(super) const CERTIFICATE: &str = "app.pem";
pub(super) const KEY: &str = "app.key";

/// The directory of the certificate for clients.
pub(super) const CERTS: &str = "certs";

/// How long the application's certificate is valid.
const DAYS: u32 = 365;

/// How long the certificate for clients is valid, as with `gatepost cert`.
const CLIENT_DAYS: u32 = 397;

/// Creates the application's key and certificate in `directory`, or keeps those that are there.
/// Returns the certificate in base64, and what was done.
///
/// # Errors
/// A sentence: they do not fit, or cannot be written.
pub(super) fn application(directory: &Path, name: &str, replace: bool) -> Result<(String, String), String> {
    let (certificate, key) = (directory.join(CERTIFICATE), directory.join(KEY));
    let there = (certificate.exists(), key.exists());
    if !replace && there == (true, true) {
        let content = keep(&certificate, &key)?;
        return Ok((content, format!("kept: `{}` and `{}`", certificate.display(), key.display())));
    }
    if !replace && there.0 {
        return Err(format!(
            "`{}` is there without `{}`. Restore the key, or create both again with `--replace`",
            certificate.display(),
            key.display()
        ));
    }
    // A run may have ended between the two files.
    let kept = (!replace && there.1).then(|| read(&key)).transpose()?.map(Zeroizing::new);
    let made = cert::self_signed(name, DAYS, kept.as_deref().map(String::as_str));
    let (pem, secret) =
        made.map_err(|error| format!("`{}`: {error:#}. Create it again with `--replace`", key.display()))?;
    if kept.is_none() {
        write(&key, secret.as_bytes(), replace)?;
    }
    write(&certificate, pem.as_bytes(), replace)?;
    let what = if kept.is_none() { "and" } else { "for" };
    let told = format!(
        "created: `{}` {what} `{}` (RSA with 3072 bits, valid for {DAYS} days)",
        certificate.display(),
        key.display()
    );
    Ok((base64_of(&pem, &certificate)?, told))
}

fn keep(certificate: &Path, key: &Path) -> Result<String, String> {
    let (pem, secret) = (read(certificate)?, Zeroizing::new(read(key)?));
    let flaw =
        |why: String| format!("`{}` is there, but {why}. Create it again with `--replace`", certificate.display());
    let signing =
        SigningKey::read(pem.as_bytes(), Some(secret.as_bytes()), None).map_err(|error| flaw(error.to_string()))?;
    if Clock::system().unix_time() > signing.not_after {
        return Err(flaw(format!("it expired on {}", signing.not_after)));
    }
    base64_of(&pem, certificate)
}

fn base64_of(pem: &str, path: &Path) -> Result<String, String> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes());
    der.map(|der| STANDARD.encode(der)).map_err(|_| format!("`{}` has no certificate", path.display()))
}

/// Creates the CA and the certificate for clients, or keeps it if key and certificate belong
/// together. Returns what was done.
///
/// # Errors
/// A sentence.
pub(super) fn for_clients(directory: &Path, hosts: &[Host], replace: bool) -> Result<String, String> {
    let directory = directory.join(CERTS);
    let file = |name: &str| -> PathBuf { directory.join(name) };
    if !replace && file("server.pem").exists() && file("server.key").exists() {
        let key = Zeroizing::new(read(&file("server.key"))?);
        server_identity::from_pem(read(&file("server.pem"))?.as_bytes(), key.as_bytes()).map_err(|error| {
            format!("`{}`: {error}. Create it again with `--replace`", file("server.pem").display())
        })?;
        return Ok(format!("kept: `{}` and its key", file("server.pem").display()));
    }
    let options = CertOptions {
        directory: directory.clone(),
        hosts: hosts.to_vec(),
        days: CLIENT_DAYS,
        key: KeyKind::P256,
        force: replace,
    };
    cert::make(&options).map_err(|error| format!("{error:#}"))?;
    Ok(format!(
        "created: `{}` and its key. Import `{}` in each client",
        file("server.pem").display(),
        file("ca.pem").display()
    ))
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("`{}` cannot be read: {}", path.display(), Plain(&error)))
}

fn write(path: &Path, content: &[u8], replace: bool) -> Result<(), String> {
    let written: io::Result<()> = target::write(path, content, replace);
    written.map_err(|error| format!("`{}` cannot be written: {}", path.display(), Plain(&error)))
}
