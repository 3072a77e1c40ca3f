//! Commands that work on the store, beside a service that may be running.

use std::io::{self, Write};
use std::sync::Arc;

use super::{CONFIGURATION, DONE, FAILED, Settings, report, run};
use crate::config::{Config, State};
use crate::store::{self, Store};

/// The configuration and the store that it names.
pub(super) struct Opened {
    pub(super) config: Arc<Config>,
    pub(super) store: Arc<dyn Store>,
}

/// Opens the store that the configuration names, does the work, prints its text, and gives the exit code.
pub(super) fn with_store(settings: &Settings, work: impl AsyncFnOnce(&Opened) -> anyhow::Result<String>) -> u8 {
    let config = match settings.load(std::env::vars_os()) {
        Ok(config) => Arc::new(config),
        Err(problems) => return report(&problems),
    };
    if let State::Memory = config.state {
        eprintln!(
            "gatepost: the configuration names no place where sign-ins and device passwords last; write `state: {{directory: \
             /var/lib/gatepost}}`, or another directory that belongs to Gatepost alone"
        );
        return CONFIGURATION;
    }
    let runtime = match run::runtime() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    conclude(runtime.block_on(async {
        let store = store::open(&config.state).await?;
        work(&Opened { config, store }).await
    }))
}

pub(super) fn conclude(text: anyhow::Result<String>) -> u8 {
    match text {
        Ok(text) => match io::stdout().write_all(text.as_bytes()) {
            Ok(()) => DONE,
            Err(_) => FAILED,
        },
        Err(error) => {
            eprintln!("gatepost: {error:#}");
            FAILED
        }
    }
}
