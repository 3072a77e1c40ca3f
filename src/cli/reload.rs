//! `gatepost reload`: makes the running service read its configuration again.

use std::path::{Path, PathBuf};

use super::options::Settings;
use super::output::{failed, report};

/// Tells the service behind `socket`, or of the configuration of `settings`, to reload, and shows
/// the outcome. Returns the exit code.
pub fn reload(socket: Option<PathBuf>, settings: &Settings) -> u8 {
    if let Some(socket) = socket {
        return tell(&socket);
    }
    let config = match settings.load(std::env::vars_os()) {
        Ok(config) => config,
        // The service would report the same.
        Err(problems) => return report(&problems),
    };
    let Some(socket) = &config.admin.socket else {
        return failed("`admin.socket` is not set, so the service cannot be told; send it SIGHUP instead");
    };
    tell(socket)
}

#[cfg(unix)]
fn tell(socket: &Path) -> u8 {
    use hyper::StatusCode;

    use super::output::{complain, result};
    use super::socket::{NotAsked, command};

    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(format_args!("the runtime cannot be started: {error}")),
    };
    match runtime.block_on(command(socket, "/reload", &[])) {
        Ok((StatusCode::OK, text)) => result(format_args!("{text}\n")),
        Ok((StatusCode::UNPROCESSABLE_ENTITY, text)) => {
            complain(text);
            super::exit::CONFIGURATION
        }
        Ok((StatusCode::CONFLICT, text)) => failed(format_args!("nothing was changed: {text}")),
        // The reload may continue all the same.
        Ok((_, text)) => failed(text.trim_end()),
        Err(NotAsked::NotThere(error)) => failed(format_args!(
            "no service answers at `{}` ({error}): start it, or name the configuration that it runs with by `--config`, and \
             use the same user",
            socket.display()
        )),
        Err(error) => failed(error),
    }
}

#[cfg(not(unix))]
fn tell(_socket: &Path) -> u8 {
    failed("this system has no such socket; restart the service")
}
