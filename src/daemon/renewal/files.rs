//! The files of a certificate that renews itself. All of it blocks.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256, RsaKeySize};
use zeroize::Zeroizing;

use gatepost_config::certificate::SigningKey;
use gatepost_core::clock::UnixTime;
use gatepost_oauth::renewal::place;
use gatepost_oauth::renewal::record::Record;
use gatepost_oauth::watched::content;
use gatepost_store::FileLock;

/// How long a new certificate is valid.
const VALIDITY: Duration = Duration::from_secs(365 * 24 * 3_600);
/// How far the start of its validity is set back, because no two clocks agree.
const BACKDATE: Duration = Duration::from_secs(3_600);

const SECRET: u32 = 0o600;
const PUBLIC: u32 = 0o644;

/// The files of one certificate.
#[derive(Clone, Debug)]
pub(super) struct CertificateFiles {
    pub(super) certificate: PathBuf,
    /// `None`: the key is in the certificate's file.
    pub(super) private_key: Option<PathBuf>,
}

impl CertificateFiles {
    /// Takes the right to change the files, until the result is dropped. `None`: another process has
    /// it.
    pub(super) fn lock(&self) -> io::Result<Option<FileLock>> {
        let directory = directory(&self.certificate);
        let opened = match cfg!(unix) {
            true => File::open(directory),
            // There a directory cannot be opened, and a locked certificate could not be read.
            false => {
                let beside = directory.join("renewal.lock");
                OpenOptions::new().write(true).create(true).truncate(false).open(beside)
            }
        };
        at(directory, opened.and_then(FileLock::take))
    }

    /// Creates an RSA key of 3072 bits and a self-signed certificate for it, and keeps both.
    pub(super) fn create(&self, client_id: &str, now: UnixTime) -> io::Result<()> {
        for file in std::iter::once(&self.certificate).chain(&self.private_key) {
            if at(file, fs::symlink_metadata(file))?.is_symlink() {
                let error = io::Error::other("it is a symbolic link, which a renewal would replace");
                return at(file, Err(error));
            }
        }
        remove(&place::before(&self.certificate))?;
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_3072).map_err(io::Error::other)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, format!("Gatepost {client_id}"));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now.0);
        params.not_before = (now - BACKDATE).into();
        params.not_after = (now + VALIDITY).into();
        let certificate = params.self_signed(&key).map_err(io::Error::other)?.pem();
        let key = Zeroizing::new(key.serialize_pem());
        let both = Zeroizing::new(format!("{certificate}{}", *key));
        replace(&place::next(&self.certificate), both.as_bytes(), SECRET)
    }

    /// Reads the new certificate and its key.
    pub(super) fn next(&self) -> io::Result<SigningKey> {
        let path = place::next(&self.certificate);
        let both = at(&path, content(&path))?;
        at(&path, SigningKey::read(&both, None, None).map_err(io::Error::other))
    }

    /// Puts the new certificate and its key in place of the old ones, which stay beside them. At each
    /// moment the files hold a certificate and its key: the certificate's file has both certificates
    /// while the key is replaced. May be repeated.
    pub(super) fn install(&self) -> io::Result<()> {
        let (next, before) = (place::next(&self.certificate), place::before(&self.certificate));
        let both = at(&next, content(&next))?;
        let old = at(&self.certificate, content(&self.certificate))?;
        if !before.exists() {
            let mut kept = Zeroizing::new(old.to_vec());
            if let Some(file) = &self.private_key {
                let key = at(file, content(file))?;
                kept = Zeroizing::new([kept.as_slice(), b"\n", key.as_slice()].concat());
            }
            replace(&before, &kept, SECRET)?;
        }
        match &self.private_key {
            None => replace(&self.certificate, &both, SECRET)?,
            Some(private_key) => {
                let certificate = certificate_of(&both);
                replace(&self.certificate, &[old.as_slice(), b"\n", certificate].concat(), PUBLIC)?;
                replace(private_key, key_of(&both), SECRET)?;
                replace(&self.certificate, certificate, PUBLIC)?;
            }
        }
        Ok(())
    }

    /// Keeps the record. It is durable when this returns.
    pub(super) fn save(&self, record: &Record) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(record)?;
        replace(&place::record(&self.certificate), &text, SECRET)
    }

    /// Removes the copy of the new key that was installed.
    pub(super) fn remove_next(&self) -> io::Result<()> {
        remove(&place::next(&self.certificate))
    }

    /// Removes what a renewal needed that is over.
    pub(super) fn tidy(&self) -> io::Result<()> {
        self.remove_next()?;
        remove(&place::before(&self.certificate))
    }

    /// Removes the record, too.
    pub(super) fn forget(&self) -> io::Result<()> {
        self.tidy()?;
        remove(&place::record(&self.certificate))
    }
}

/// The parts of a file that [`CertificateFiles::create`] wrote: the certificate, then the key.
fn split(both: &[u8]) -> (&[u8], &[u8]) {
    const END: &[u8] = b"-----END CERTIFICATE-----\n";
    let at = both.windows(END.len()).position(|window| window == END).map_or(both.len(), |at| at + END.len());
    both.split_at(at)
}

fn certificate_of(both: &[u8]) -> &[u8] {
    split(both).0
}

fn key_of(both: &[u8]) -> &[u8] {
    split(both).1
}

/// Writes a file so that a reader, and a machine that loses power, has the old content or the new.
fn replace(path: &Path, octets: &[u8], mode: u32) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let temporary = PathBuf::from(name);
    let write = || -> io::Result<()> {
        // One may be left from a process that was killed.
        remove(&temporary)?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
        #[cfg(not(unix))]
        let _ = mode;
        let mut file = options.open(&temporary)?;
        file.write_all(octets)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        #[cfg(unix)]
        File::open(directory(path))?.sync_all()?;
        Ok(())
    };
    let written = write();
    if written.is_err() {
        // It is of no use, and may hold a key.
        let _ = remove(&temporary);
    }
    at(path, written)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => at(path, Err(error)),
        _ => Ok(()),
    }
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Names the path in an error.
fn at<T>(path: &Path, result: io::Result<T>) -> io::Result<T> {
    result.map_err(|error| {
        let shown = gatepost_core::system_error::Plain(&error).to_string();
        io::Error::new(error.kind(), format!("`{}`: {shown}", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use tempfile::{TempDir, tempdir};

    use super::*;

    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn files(directory: &TempDir, private_key: bool) -> CertificateFiles {
        CertificateFiles {
            certificate: directory.path().join("app.pem"),
            private_key: private_key.then(|| directory.path().join("app.key")),
        }
    }

    fn pair() -> (String, String) {
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        let params = CertificateParams::new(["gatepost.example".to_owned()]).unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn in_use(files: &CertificateFiles) -> SigningKey {
        let certificate = fs::read(&files.certificate).unwrap();
        let key = files.private_key.as_ref().map(|file| fs::read(file).unwrap());
        SigningKey::read(&certificate, key.as_deref(), None).unwrap()
    }

    fn mode(path: &Path) -> u32 {
        use std::os::unix::fs::PermissionsExt as _;
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_new_pair_replaces_the_old_one_in_two_files_or_one() {
        for private_key in [true, false] {
            let directory = tempdir().unwrap();
            let (files, (certificate, key)) = (files(&directory, private_key), pair());
            match &files.private_key {
                Some(file) => {
                    fs::write(&files.certificate, &certificate).unwrap();
                    fs::write(file, &key).unwrap();
                }
                None => fs::write(&files.certificate, format!("{certificate}{key}")).unwrap(),
            }
            let old = in_use(&files).thumbprint();
            files.create("c", NOW).unwrap();
            assert_eq!(in_use(&files).thumbprint(), old, "nothing is in use yet");
            let new = files.next().unwrap();
            assert_eq!((new.not_before, new.not_after), (NOW.before(BACKDATE), NOW.after(VALIDITY)));
            assert_eq!(mode(&place::next(&files.certificate)), SECRET);
            files.install().unwrap();
            assert_eq!(in_use(&files).thumbprint(), new.thumbprint());
            assert_eq!(mode(files.private_key.as_ref().unwrap_or(&files.certificate)), SECRET);
            // The way back.
            let before = place::before(&files.certificate);
            assert_eq!(mode(&before), SECRET);
            for file in std::iter::once(&files.certificate).chain(&files.private_key) {
                fs::copy(&before, file).unwrap();
            }
            assert_eq!(in_use(&files).thumbprint(), old);
            files.forget().unwrap();
            let left = fs::read_dir(directory.path()).unwrap().count();
            assert_eq!(left, if private_key { 2 } else { 1 });
        }
    }

    /// Whatever happened before a crash, the files hold a pair, and the installation can be repeated.
    #[test]
    fn a_crash_between_two_files_leaves_a_pair() {
        let directory = tempdir().unwrap();
        let (files, (certificate, key)) = (files(&directory, true), pair());
        let private_key = files.private_key.clone().unwrap();
        fs::write(&files.certificate, &certificate).unwrap();
        fs::write(&private_key, &key).unwrap();
        let old = in_use(&files).thumbprint();
        files.create("c", NOW).unwrap();
        let new = files.next().unwrap().thumbprint();
        let both = fs::read(place::next(&files.certificate)).unwrap();
        fs::write(place::before(&files.certificate), format!("{certificate}{key}")).unwrap();
        // After the first of three replacements, and after the second.
        fs::write(&files.certificate, [certificate.as_bytes(), b"\n", certificate_of(&both)].concat()).unwrap();
        assert_eq!(in_use(&files).thumbprint(), old);
        fs::write(&private_key, key_of(&both)).unwrap();
        assert_eq!(in_use(&files).thumbprint(), new);
        files.install().unwrap();
        assert_eq!(in_use(&files).thumbprint(), new);
        let kept = fs::read(place::before(&files.certificate)).unwrap();
        assert_eq!(SigningKey::read(&kept, None, None).unwrap().thumbprint(), old, "the old key is still there");
    }

    #[test]
    fn a_link_is_not_replaced_and_one_process_at_a_time_renews() {
        let directory = tempdir().unwrap();
        let files = files(&directory, false);
        std::os::unix::fs::symlink(directory.path().join("elsewhere"), &files.certificate).unwrap();
        assert!(files.create("c", NOW).unwrap_err().to_string().contains("is a symbolic link"));
        let held = files.lock().unwrap();
        assert!(held.is_some() && files.lock().unwrap().is_none());
        drop(held);
        assert!(files.lock().unwrap().is_some());
    }
}
