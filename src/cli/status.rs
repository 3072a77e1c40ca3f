//! `gatepost status`: what the running service says of itself, over its Unix socket.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::runtime::Builder;
use tokio::time::timeout;

use super::exit::{CONFIGURATION, report};
use super::options::{Settings, StatusOptions};

/// The service answers from what it has at hand.
const PATIENCE: Duration = Duration::from_secs(15);
/// Octets of an answer; ten thousand accounts take a tenth of it.
const ANSWER_OCTETS: usize = 64 * 1024 * 1024;

/// Shows the status, or prints a link to the page. Gives the exit code.
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
        // For people: a program that keeps what it reads should not keep a key to the page.
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

/// The socket of the running service: as given, or as configured.
///
/// # Errors
/// An exit code; standard error says why.
pub(super) fn socket(given: Option<&Path>, settings: &Settings) -> Result<PathBuf, u8> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    let config = settings.load(std::env::vars_os()).map_err(|problems| report(&problems))?;
    config.admin.socket.ok_or_else(|| {
        eprintln!(
            "gatepost: the configuration names no socket at which the service could be asked; write `admin: {{socket: \
             /run/gatepost/gatepost.sock}}`, or a `state.directory`, where it is by default"
        );
        CONFIGURATION
    })
}

pub(super) fn block_on(work: impl Future<Output = anyhow::Result<String>>) -> anyhow::Result<String> {
    Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// Asks the service at `socket`; the result is its answer.
///
/// # Errors
/// No service answers there, or it answers with a refusal: its words.
pub(super) async fn ask(socket: &Path, method: Method, path: &str, accept: &str) -> anyhow::Result<String> {
    let stream = UnixStream::connect(socket).await.map_err(|error| not_there(socket, &error))?;
    let asking = async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "gatepost")
            .header(header::ACCEPT, accept)
            .body(Empty::<Bytes>::new())?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_OCTETS).collect().await.map_err(|error| anyhow!(error))?;
        connection.abort();
        anyhow::Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
    };
    let answer = timeout(PATIENCE, asking).await;
    let answer = answer.map_err(|_| anyhow!("the service does not answer; its log may say why"))?;
    match answer.context("the service broke the answer off")? {
        (StatusCode::OK, text) => Ok(text),
        (_, text) => bail!("{}", text.trim_end()),
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
