//! `gatepost status`: shows the status of the running service, over its Unix socket.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use hyper::{Method, StatusCode};
use tokio::runtime::Builder;

use super::exit::CONFIGURATION;
use super::options::{Settings, StatusOptions};
use super::output::{complain, report};
use super::socket::{self, NotAsked};

/// Shows the status, or prints a link to the page. Returns the exit code.
pub fn status(options: &StatusOptions) -> u8 {
    let socket = match socket(options.socket.as_deref(), &options.settings) {
        Ok(socket) => socket,
        Err(code) => return code,
    };
    let told = block_on(async {
        if options.page {
            return Ok(ask(&socket, Method::POST, "/link", "text/plain").await? + "\n");
        }
        if options.ready {
            return ask(&socket, Method::GET, "/readyz", "text/plain").await;
        }
        let kind = if options.json { "application/json" } else { "text/plain" };
        let mut text = ask(&socket, Method::GET, "/status", kind).await?;
        // Only for people, because a program that stores its input should not store a key to the
        // page.
        if !options.json && io::stdout().is_terminal() {
            match ask(&socket, Method::POST, "/link", "text/plain").await {
                Ok(link) => {
                    text.push_str(&format!("\nStatus page (this link opens it once, within ten minutes):\n  {link}\n"))
                }
                Err(error) => text.push_str(&format!("\nStatus page: {error:#}\n")),
            }
        }
        Ok(text)
    });
    crate::cli::store_context::print_result(told)
}

/// Returns the socket of the running service, as given or as configured.
///
/// # Errors
/// An exit code; standard error says why.
pub(super) fn socket(given: Option<&Path>, settings: &Settings) -> Result<PathBuf, u8> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    let config = settings.load(std::env::vars_os()).map_err(|problems| report(&problems))?;
    config.admin.socket.ok_or_else(|| {
        complain(
            "gatepost: the configuration names no socket at which the service could be asked; write `admin: {socket: \
             /run/gatepost/gatepost.sock}`, or a `state.directory`, where it is by default",
        );
        CONFIGURATION
    })
}

pub(super) fn block_on(work: impl Future<Output = anyhow::Result<String>>) -> anyhow::Result<String> {
    Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// Sends a request to the service at `socket`, and returns its answer.
///
/// # Errors
/// No service answers there, or it refuses. Then the error is its text.
pub(super) async fn ask(at: &Path, method: Method, path: &str, accept: &str) -> anyhow::Result<String> {
    match socket::ask(at, method, path, accept).await {
        Ok((StatusCode::OK, text)) => Ok(text),
        Ok((_, text)) => bail!("{}", text.trim_end()),
        Err(NotAsked::NotThere(error)) => Err(not_there(at, &error)),
        Err(error) => Err(error.into()),
    }
}

fn not_there(socket: &Path, error: &io::Error) -> anyhow::Error {
    let shown = socket.display();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => anyhow!(
            "no service is running here: nobody listens at `{shown}`; start it with `gatepost run`, or name the socket of \
             another one with `--socket`"
        ),
        io::ErrorKind::PermissionDenied => {
            anyhow!("`{shown}` is for the user that the service runs as; run this command as that user, or as root")
        }
        _ => anyhow!("the service cannot be asked at `{shown}`: {error}"),
    }
}
