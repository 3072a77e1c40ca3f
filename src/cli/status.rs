//! `gatepost status`: shows the status of the running service, over its Unix socket.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use anyhow::{anyhow, bail};
use hyper::{Method, StatusCode};
use tokio::runtime::Builder;

use super::options::StatusOptions;
use super::socket;

/// Shows the status, or prints a link to the page. Returns the exit code.
pub fn status(options: &StatusOptions) -> u8 {
    let places = match socket::places(options.socket.as_deref(), &options.settings) {
        Ok(places) => places,
        Err(code) => return code,
    };
    let told = block_on(async {
        if options.page {
            return Ok(ask(&places, Method::POST, "/link", "text/plain").await? + "\n");
        }
        if options.ready {
            return ask(&places, Method::GET, "/readyz", "text/plain").await;
        }
        let kind = if options.json { "application/json" } else { "text/plain" };
        let mut text = ask(&places, Method::GET, "/status", kind).await?;
        // Only for people, because a program that stores its input should not store a key to the
        // page.
        if !options.json && io::stdout().is_terminal() {
            match ask(&places, Method::POST, "/link", "text/plain").await {
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

pub(super) fn block_on(work: impl Future<Output = anyhow::Result<String>>) -> anyhow::Result<String> {
    Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// Sends a request to the service at one of the places, and returns its answer.
///
/// # Errors
/// No service answers there, or it refuses. Then the error is its text.
pub(super) async fn ask(places: &[PathBuf], method: Method, path: &str, accept: &str) -> anyhow::Result<String> {
    match socket::ask(places, method, path, accept).await {
        Ok((StatusCode::OK, text)) => Ok(text),
        Ok((_, text)) => bail!("{}", text.trim_end()),
        Err(error) => Err(anyhow!(error.told())),
    }
}
