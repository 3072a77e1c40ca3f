//! Where a renewal keeps its files: beside the certificate, with its name and a suffix.

use std::io;
use std::path::{Path, PathBuf};

use super::record::Record;
use crate::watched::content;

/// The record: JSON without secrets.
pub fn record(certificate: &Path) -> PathBuf {
    with_suffix(certificate, "renewal")
}

/// The new certificate and its key until they are installed, in one PEM file. So a reader never
/// sees the one without the other.
pub fn next(certificate: &Path) -> PathBuf {
    with_suffix(certificate, "next")
}

/// The replaced certificate and its key while they are still registered, in one PEM file.
pub fn before(certificate: &Path) -> PathBuf {
    with_suffix(certificate, "before")
}

fn with_suffix(certificate: &Path, suffix: &str) -> PathBuf {
    let mut name = certificate.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

/// Reads the record of a certificate; `None`: there is none. It blocks.
///
/// # Errors
/// As the system reports them; [`io::ErrorKind::InvalidData`] if it is not a record.
pub fn read_record(certificate: &Path) -> io::Result<Option<Record>> {
    match content(&record(certificate)) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(io::Error::from),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
