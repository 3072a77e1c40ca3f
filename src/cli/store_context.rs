//! Shared code of commands that work on the store, possibly beside a running service.

use std::sync::Arc;

use super::act::Act;
use super::exit::CONFIGURATION;
use super::output::{complain, failed, report, result, told};
use super::settings::Settings;
use super::{owner, run};
use gatepost_config::{Config, Purpose, State};
use gatepost_store::Store;
use gatepost_telemetry::audit::{self, Entry};

/// The configuration and the store that it names.
pub(super) struct StoreContext {
    pub(super) config: Arc<Config>,
    pub(super) store: Arc<dyn Store>,
}

impl StoreContext {
    /// Tells the running service of an act on the command line, for its log, and records it in
    /// `log.audit`, if configured.
    pub(super) async fn acted(&self, outcome: &'static str, account: &str, device: &str) {
        acted(&self.config, &Act { outcome, account, device, item: "" }).await;
    }
}

/// Tells the running service of an act, for its log, and records it in `log.audit`, if configured.
pub(super) async fn acted(config: &Config, act: &Act<'_>) {
    #[cfg(unix)]
    super::socket::tell(&config.admin.service_sockets, act).await;
    let Some(audit) = &config.log.audit else { return };
    let (by, &Act { outcome, account, device, item }) = (by(), act);
    let entry = Entry { event: "admin", outcome, account, device, by: &by, message: item, ..Entry::default() };
    if let Err(error) = audit::record_once(audit, &entry) {
        complain(format_args!("gatepost: it was done, but is missing in the audit log: {error}"));
    }
}

/// Names the user who runs the command, as far as the system knows.
pub(super) fn by() -> String {
    #[cfg(unix)]
    let user = format!("command-line (uid {})", rustix::process::getuid().as_raw());
    #[cfg(not(unix))]
    let user = "command-line".to_owned();
    user
}

/// Opens the store that the configuration names, does the work, prints its text, and returns the
/// exit code.
pub(super) fn with_store_context(
    settings: &Settings,
    purpose: Purpose,
    work: impl AsyncFnOnce(&StoreContext) -> anyhow::Result<String>,
) -> u8 {
    let config = match settings.load(purpose, std::env::vars_os()) {
        Ok(config) => Arc::new(config),
        Err(problems) => return report(&problems),
    };
    with_store_of(&config, work)
}

/// Like [`with_store_context`], with a configuration that is already read.
pub(super) fn with_store_of(
    config: &Arc<Config>,
    work: impl AsyncFnOnce(&StoreContext) -> anyhow::Result<String>,
) -> u8 {
    if let State::Memory = config.state {
        complain(
            "gatepost: sign-ins and device passwords need a state directory. Set `state: {directory: /var/lib/gatepost}`, or \
             another directory that only Gatepost uses",
        );
        return CONFIGURATION;
    }
    if let Some(hindrance) = owner::hindrance(config) {
        return failed(hindrance);
    }
    let runtime = match run::runtime() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    print_result(runtime.block_on(async {
        let store = gatepost_store::open(&config.state).await?;
        work(&StoreContext { config: Arc::clone(config), store }).await
    }))
}

pub(super) fn print_result(text: anyhow::Result<String>) -> u8 {
    match text {
        Ok(text) => result(text),
        Err(error) => failed(told(&error)),
    }
}
