//! Checks the result as `gatepost check` does. Secrets that are yet to be put in place count as
//! there.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use gatepost_config::environment::Environment;
use gatepost_config::load::load_text_for;
use gatepost_config::problem::Problems;
use gatepost_config::{Purpose, Severity};

use super::secrets::Secrets;

/// Stands for a secret that is not there yet.
const STAND_IN: &str = "to be put in place";

/// Longest file that the configuration may name, in bytes.
const LONGEST: u64 = 1024 * 1024;

/// Checks the text of a configuration that will be at `path`.
///
/// # Errors
/// Every mistake.
pub(in crate::cli) fn verify(
    text: &str,
    path: &Path,
    secrets: &Secrets,
    directory: Option<&Path>,
) -> Result<(), Problems> {
    let outside = Planned {
        variables: secrets.iter().map(|secret| secret.variable()).collect(),
        files: directory
            .map(|directory| secrets.iter().map(|secret| secret.path(directory)).collect())
            .unwrap_or_default(),
    };
    let config = load_text_for(Purpose::Check, Some((path, text)), &[], &BTreeMap::new(), &outside)?;
    let found = config.findings.into_iter().filter(|finding| finding.severity == Severity::Problem);
    Problems::new(found.map(|finding| finding.problem).collect()).map_or(Ok(()), Err)
}

/// The system as it will be: with the secrets, and without this process's variables.
struct Planned {
    variables: Vec<String>,
    files: Vec<PathBuf>,
}

impl Environment for Planned {
    fn variable(&self, name: &str) -> Option<String> {
        self.variables.iter().any(|planned| planned == name).then(|| STAND_IN.to_owned())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        if self.files.iter().any(|planned| planned == path) {
            return Ok(STAND_IN.into());
        }
        let mut content = Vec::new();
        File::open(path)?.take(LONGEST + 1).read_to_end(&mut content)?;
        match u64::try_from(content.len()) {
            Ok(length) if length <= LONGEST => Ok(content),
            _ => Err(io::ErrorKind::FileTooLarge.into()),
        }
    }

    fn world_readable(&self, _path: &Path) -> bool {
        false
    }

    fn run(&self, _command: &[String], _hidden: &[String]) -> Result<Vec<u8>, String> {
        Err("an import writes no commands".to_owned())
    }
}
