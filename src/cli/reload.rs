//! `gatepost reload`: makes the running service read its configuration again.

use std::path::PathBuf;

use super::settings::Settings;

/// Tells the service behind `socket`, or of the configuration of `settings`, to reload, and shows
/// the outcome. Returns the exit code.
#[cfg(unix)]
pub fn reload(socket: Option<PathBuf>, settings: &Settings) -> u8 {
    use hyper::StatusCode;

    use super::exit::CONFIGURATION;
    use super::output::{complain, failed, result};
    use super::socket::{command, places};

    let places = match places(socket.as_deref(), settings) {
        Ok(places) => places,
        Err(code) => return code,
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(format_args!("the runtime cannot be started: {error}")),
    };
    match runtime.block_on(command(&places, "/reload", &[])) {
        Ok((StatusCode::OK, text)) => result(format_args!("{text}\n")),
        Ok((StatusCode::UNPROCESSABLE_ENTITY, text)) => {
            complain(text);
            CONFIGURATION
        }
        Ok((StatusCode::CONFLICT, text)) => failed(format_args!("nothing was changed: {text}")),
        // The reload may continue all the same.
        Ok((_, text)) => failed(text.trim_end()),
        Err(error) => failed(error.told()),
    }
}

/// Says that there is no such command here. Returns the exit code.
#[cfg(not(unix))]
pub fn reload(_socket: Option<PathBuf>, _settings: &Settings) -> u8 {
    super::output::failed("this system has no such socket. Restart the service")
}
