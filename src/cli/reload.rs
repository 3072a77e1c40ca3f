//! `gatepost reload`: makes the running service read its configuration again.

use std::path::{Path, PathBuf};

use super::exit::{DONE, FAILED, report};
use super::options::Settings;

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
        eprintln!("gatepost: `admin.socket` is not set, so the service cannot be told; send it SIGHUP instead");
        return FAILED;
    };
    tell(socket)
}

#[cfg(unix)]
fn tell(socket: &Path) -> u8 {
    use hyper::StatusCode;

    use super::socket::{NotAsked, command};

    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("gatepost: the runtime cannot be started: {error}");
            return FAILED;
        }
    };
    match runtime.block_on(command(socket, "/reload", &[])) {
        Ok((StatusCode::OK, text)) => {
            println!("{text}");
            DONE
        }
        Ok((StatusCode::UNPROCESSABLE_ENTITY, text)) => {
            eprintln!("{text}");
            super::exit::CONFIGURATION
        }
        Ok((StatusCode::CONFLICT, text)) => {
            eprintln!("gatepost: nothing was changed: {text}");
            FAILED
        }
        // The reload may continue all the same.
        Ok((_, text)) => {
            eprintln!("gatepost: {}", text.trim_end());
            FAILED
        }
        Err(NotAsked::NotThere(error)) => {
            eprintln!(
                "gatepost: no service answers at `{}` ({error}): start it, or name the configuration that it runs with \
                 by `--config`, and use the same user",
                socket.display()
            );
            FAILED
        }
        Err(error) => {
            eprintln!("gatepost: {error}");
            FAILED
        }
    }
}

#[cfg(not(unix))]
fn tell(_socket: &Path) -> u8 {
    eprintln!("gatepost: this system has no such socket; restart the service");
    let _unused_here = DONE;
    FAILED
}
