//! `gatepost state rotate-key`: replaces the state key while the service runs.

use tokio::runtime::Builder;

use super::output::report;
use super::settings::Settings;
use super::store_context::print_result;
use gatepost_config::{Config, Purpose, StateKey};
use gatepost_store::{Rotation, rotate_key as rotate};

/// Rotates the state key of the configuration, or continues an interrupted rotation. Returns the
/// exit code.
pub fn rotate_key(settings: &Settings) -> u8 {
    let config = match settings.load(Purpose::Store, std::env::vars_os()) {
        Ok(config) => config,
        Err(problems) => return report(&problems),
    };
    print_result(try_rotate(&config).map(|text| text + "\n"))
}

fn try_rotate(config: &Config) -> anyhow::Result<String> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let rotation =
        runtime.block_on(rotate(&config.state, config.queue.as_ref().map(|queue| queue.directory.as_path())))?;
    let shown = config.state.key().map(StateKey::shown).unwrap_or_default();
    let sealed = |records| if records == 1 { "1 record".to_owned() } else { format!("{records} records") };
    Ok(match rotation {
        Rotation::Done { records, old_is_left: false } => {
            let sealed = sealed(records);
            format!(
                "Created a new state key in {shown}. It encrypts {sealed}. Back it up. Earlier backups of the store need the \
                 old key."
            )
        }
        Rotation::Done { records, old_is_left: true } => {
            let sealed = sealed(records);
            format!("The new state key encrypts {sealed}. Now remove the second line of {shown}.")
        }
        Rotation::Prepared => format!(
            "{shown} now has the new state key before the current one. Copy the file to every replica, then run this command \
             again to use the new key."
        ),
    })
}
