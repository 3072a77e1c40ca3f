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
use gatepost_config::{server_identity, suggestion};
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

/// The application's key and certificate.
pub(super) struct Application {
    /// The certificate in base64.
    pub(super) certificate: String,
    /// The certificate whose place it takes.
    pub(super) before: Option<String>,
    /// A new pair, which is not written yet, because the one that is there still serves.
    pub(super) renewed: Option<Pair>,
}

/// A key and its certificate.
pub(super) struct Pair {
    certificate: PathBuf,
    key: PathBuf,
    pem: String,
    secret: Zeroizing<String>,
}

impl Pair {
    /// Writes both. Files that are there stay beside them, with `.old` at the end of the name. Returns
    /// what was done.
    ///
    /// # Errors
    /// A sentence: an older pair is there, or a file cannot be written.
    pub(super) fn write(&self) -> Result<String, String> {
        set_aside(&[&self.key, &self.certificate])?;
        write(&self.key, self.secret.as_bytes(), true)?;
        write(&self.certificate, self.pem.as_bytes(), true)?;
        Ok(format!("renewed: `{}` and `{}`", self.certificate.display(), self.key.display()))
    }
}

/// Makes the application's key and certificate in `directory`, or keeps those that are there. With
/// `renew`, a pair that serves is not replaced yet: see [`Application::renewed`].
///
/// # Errors
/// A sentence: they do not fit, or cannot be written.
pub(super) fn application(directory: &Path, name: &str, renew: bool) -> Result<(Application, String), String> {
    let (certificate, key) = (directory.join(CERTIFICATE), directory.join(KEY));
    let there = (certificate.exists(), key.exists());
    if there == (false, false) || there == (false, true) && !renew {
        let (certificate, told) = create(&certificate, &key, name)?;
        return Ok((Application { certificate, before: None, renewed: None }, told));
    }
    let kept = match there {
        (true, true) => keep(&certificate, &key),
        _ => Err(format!(
            "`{}` is there without `{}`. Restore the missing file, or create both again with `--renew-key`",
            if there.0 { &certificate } else { &key }.display(),
            if there.0 { &key } else { &certificate }.display()
        )),
    };
    if !renew {
        let told = format!("kept: `{}` and `{}`", certificate.display(), key.display());
        return kept.map(|certificate| (Application { certificate, before: None, renewed: None }, told));
    }
    aside_is_free(&[&key, &certificate])?;
    let (pem, secret) = cert::self_signed(name, DAYS, None).map_err(|error| format!("{error:#}"))?;
    let content = base64_of(&pem, &certificate)?;
    let before = read(&certificate).and_then(|pem| base64_of(&pem, &certificate)).ok();
    let pair = Pair { certificate, key, pem, secret };
    let (told, renewed) = match kept {
        Ok(_) => (format!("`{}` will be renewed", pair.key.display()), Some(pair)),
        Err(_) => (pair.write()?, None),
    };
    Ok((Application { certificate: content, before, renewed }, told))
}

/// Creates the certificate, and the key unless a run has ended between the two files.
fn create(certificate: &Path, key: &Path, name: &str) -> Result<(String, String), String> {
    let kept = key.exists().then(|| read(key)).transpose()?.map(Zeroizing::new);
    let made = cert::self_signed(name, DAYS, kept.as_deref().map(String::as_str));
    let (pem, secret) =
        made.map_err(|error| format!("`{}`: {error:#}. Create it again with `--renew-key`", key.display()))?;
    if kept.is_none() {
        write(key, secret.as_bytes(), false)?;
    }
    write(certificate, pem.as_bytes(), false)?;
    let what = if kept.is_none() { "and" } else { "for" };
    let told = format!(
        "created: `{}` {what} `{}` (RSA with 3072 bits, valid for {DAYS} days)",
        certificate.display(),
        key.display()
    );
    Ok((base64_of(&pem, certificate)?, told))
}

fn old(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".old");
    name.into()
}

/// Entra may know an older pair alone, so it is not overwritten.
fn aside_is_free(paths: &[&PathBuf]) -> Result<(), String> {
    match paths.iter().map(|path| old(path)).find(|old| old.exists()) {
        Some(old) => Err(format!(
            "`{}` is there from an earlier renewal. If the tenant has the certificate that followed it, remove it",
            old.display()
        )),
        None => Ok(()),
    }
}

fn set_aside(paths: &[&PathBuf]) -> Result<(), String> {
    aside_is_free(paths)?;
    for path in paths.iter().filter(|path| path.exists()) {
        let content = Zeroizing::new(read(path)?);
        write(&old(path), content.as_bytes(), false)?;
    }
    Ok(())
}

fn keep(certificate: &Path, key: &Path) -> Result<String, String> {
    let (pem, secret) = (read(certificate)?, Zeroizing::new(read(key)?));
    let flaw =
        |why: String| format!("`{}` is there, but {why}. Create it again with `--renew-key`", certificate.display());
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
pub(super) fn for_clients(directory: &Path, hosts: &[Host]) -> Result<String, String> {
    let directory = directory.join(CERTS);
    let file = |name: &str| -> PathBuf { directory.join(name) };
    if file("server.pem").exists() && file("server.key").exists() {
        let key = Zeroizing::new(read(&file("server.key"))?);
        server_identity::from_pem(read(&file("server.pem"))?.as_bytes(), key.as_bytes()).map_err(|error| {
            let again = suggestion::quoted(&directory.display().to_string());
            format!(
                "`{}`: {error}. Create it again with `gatepost cert --force --directory {again}`",
                file("server.pem").display()
            )
        })?;
        return Ok(format!("kept: `{}` and its key", file("server.pem").display()));
    }
    let options = CertOptions {
        directory: directory.clone(),
        hosts: hosts.to_vec(),
        days: CLIENT_DAYS,
        key: KeyKind::P256,
        force: false,
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
