//! Where a command gets its configuration from: a file, the environment, and flags.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use gatepost_config::load::Loaded;
use gatepost_config::problem::Problems;
use gatepost_config::{Config, Purpose, load};

/// Where the configuration comes from.
#[derive(Clone, Debug, Default, Args)]
pub struct Settings {
    /// Configuration file [default: proxy.yaml]
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Set one key, over file and environment (repeatable)
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_and_value)]
    pub set: Vec<(String, String)>,
    /// Log format: text, json or journal (same as --set log.format=…)
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// Log level: error, warn, info, debug or trace (same as --set log.level=…)
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
}

impl Settings {
    /// Loads the configuration for a command, from file, environment and these flags.
    ///
    /// # Errors
    /// Every mistake in it; exit with [`CONFIGURATION`](super::exit::CONFIGURATION).
    pub fn load(
        &self,
        purpose: Purpose,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Config, Problems> {
        load::load_for(purpose, self.config.as_deref(), &self.overrides(), environment)
    }

    /// Loads it for the service, with the files that have to be watched.
    pub fn load_tracked(&self, environment: impl IntoIterator<Item = (OsString, OsString)>) -> Loaded {
        load::load_tracked(self.config.as_deref(), &self.overrides(), environment)
    }

    /// Returns where the running service of the configuration may listen, the likeliest first.
    ///
    /// # Errors
    /// Every mistake in what says that.
    pub fn service_sockets(
        &self,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Vec<PathBuf>, Problems> {
        load::service_sockets(self.config.as_deref(), &self.overrides(), environment)
    }

    fn overrides(&self) -> Vec<(String, String)> {
        let mut overrides = self.set.clone();
        let flags = [("log.format", &self.log_format), ("log.level", &self.log_level)];
        overrides.extend(flags.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.clone()?))));
        overrides
    }
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE, such as listeners.smtp.bind=127.0.0.1:1587")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}
