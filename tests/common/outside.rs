//! The system around a configuration, as a test decides it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use gatepost_config::Config;
use gatepost_config::environment::Environment;
use gatepost_config::load::load_text;
use gatepost_config::problem::Problems;

/// A system with the real files, with an environment of the test's, and with a file `ca.pem` that
/// only it has.
#[derive(Default)]
pub(crate) struct Outside {
    pub(crate) authorities: String,
    pub(crate) variables: BTreeMap<String, String>,
}

impl Outside {
    /// Reads a configuration as if it stood in this file.
    pub(crate) fn load(&self, file: &Path, yaml: &str) -> Result<Config, Problems> {
        load_text(Some((file, yaml)), &[], &BTreeMap::new(), self)
    }
}

impl Environment for Outside {
    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        if path == "ca.pem" { Ok(self.authorities.clone().into_bytes()) } else { std::fs::read(path) }
    }

    fn world_readable(&self, _: &Path) -> bool {
        false
    }

    fn run(&self, _: &[String], _: &[String]) -> Result<Vec<u8>, String> {
        Err("nothing runs here".into())
    }
}
