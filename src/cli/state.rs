//! `gatepost state rotate-key`: replaces the state key while the service runs.

use tokio::runtime::Builder;

use super::options::Settings;
use super::output::report;
use super::store_context::print_result;
use gatepost_config::{Config, Purpose, State};
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
    let rotation = runtime.block_on(rotate(&config.state))?;
    let shown = match &config.state {
        State::Memory | State::NotRead => String::new(),
        State::Sqlite { key, .. } | State::Redis { key, .. } => key.shown(),
    };
    let sealed =
        |records| if records == 1 { "1 record is sealed".to_owned() } else { format!("{records} records are sealed") };
    Ok(match rotation {
        Rotation::Done { records, old_is_left: false } => {
            let sealed = sealed(records);
            format!(
                "the new state key is in {shown}, and {sealed} under it; back it up: copies of the \
                 store from before need the old key"
            )
        }
        Rotation::Done { records, old_is_left: true } => {
            let sealed = sealed(records);
            format!("{sealed} under the new state key; remove the second line of {shown} now")
        }
        Rotation::Prepared => format!(
            "{shown} holds the new state key besides the present one; copy it to every replica, and then run this again to \
             put the new key into use"
        ),
    })
}
