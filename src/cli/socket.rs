//! The client side of the running service's Unix socket: one request, and its answer.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::anyhow;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::timeout;
use url::form_urlencoded;

use crate::admin::TAKE_OVER;
use crate::daemon::Inherited;
use crate::daemon::take_over::{self, Predecessor};

/// Time limit for an answer from data that the service has in memory.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);
/// Time limit for a command. At a reload, secrets may come from commands. The service stops waiting
/// a little earlier, and says so.
const COMMAND: Duration = Duration::from_secs(125);
/// Most octets of an answer. Ten thousand accounts need a tenth of it.
const ANSWER_OCTETS: usize = 64 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotAsked {
    /// No service listens there, or not for this user.
    #[error("{0}")]
    NotThere(io::Error),
    /// The service has a version with an older form of commands.
    #[error(
        "the Gatepost that runs at `{}` is older than this one, and does not understand it: restart the service once, so \
         that it runs this version",
        .0.display()
    )]
    Older(PathBuf),
    /// It does not answer.
    #[error("the service does not answer; its log may say why")]
    Late,
    /// Its answer is malformed or incomplete.
    #[error("the service broke the answer off: {0:#}")]
    Broken(anyhow::Error),
    /// It refuses to hand over, and says why.
    #[error("{0}")]
    Refused(String),
}

/// Sends a request without a body. `accept` is the expected content type.
///
/// # Errors
/// See [`NotAsked`].
pub(super) async fn ask(
    socket: &Path,
    method: Method,
    path: &str,
    accept: &str,
) -> Result<(StatusCode, String), NotAsked> {
    let request = Request::builder().method(method).uri(path).header(header::ACCEPT, accept);
    exchange(socket, request.body(Full::default()), PATIENCE).await
}

/// Sends a command to the service, with its fields.
///
/// # Errors
/// See [`NotAsked`].
pub(super) async fn command(
    socket: &Path,
    path: &str,
    fields: &[(&str, &str)],
) -> Result<(StatusCode, String), NotAsked> {
    let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    match exchange(socket, request.body(Full::from(form)), COMMAND).await {
        Ok((StatusCode::NOT_FOUND, _)) => Err(NotAsked::Older(socket.to_owned())),
        Err(error) => Err(or_older(socket, error).await),
        answered => answered,
    }
}

/// Gets the listening sockets of the service, over the connection of the request.
///
/// # Errors
/// See [`NotAsked`].
pub(super) async fn take_over(socket: &Path) -> Result<(Inherited, Predecessor), NotAsked> {
    let asking = async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(connect(socket).await?)).await?;
        // The task ends by itself when the stream is no longer HTTP.
        tokio::spawn(connection.with_upgrades());
        let request = Request::post("/take-over")
            .header(header::HOST, "gatepost")
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, TAKE_OVER)
            .body(Full::<Bytes>::default());
        let response = sender.send_request(request.map_err(anyhow::Error::new)?).await?;
        match response.status() {
            StatusCode::SWITCHING_PROTOCOLS => {}
            StatusCode::NOT_FOUND => return Err(NotAsked::Older(socket.to_owned())),
            _ => return Err(NotAsked::Refused(text(response).await?.trim_end().to_owned())),
        }
        let parts = hyper::upgrade::on(response).await?.downcast::<TokioIo<UnixStream>>();
        let parts = parts.map_err(|_| anyhow!("another connection came back"))?;
        Ok(take_over::take_over(parts.io.into_inner()).await.map_err(anyhow::Error::new)?)
    };
    match timeout(take_over::STEP, asking).await.unwrap_or(Err(NotAsked::Late)) {
        Err(error) => Err(or_older(socket, error).await),
        taken => taken,
    }
}

async fn connect(socket: &Path) -> Result<UnixStream, NotAsked> {
    UnixStream::connect(socket).await.map_err(NotAsked::NotThere)
}

async fn exchange(
    socket: &Path,
    request: hyper::http::Result<Request<Full<Bytes>>>,
    patience: Duration,
) -> Result<(StatusCode, String), NotAsked> {
    let asking = async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(connect(socket).await?)).await?;
        let connection = tokio::spawn(connection);
        let mut request = request.map_err(anyhow::Error::new)?;
        request.headers_mut().insert(header::HOST, header::HeaderValue::from_static("gatepost"));
        let response = sender.send_request(request).await?;
        let status = response.status();
        let text = text(response).await?;
        connection.abort();
        Ok((status, text))
    };
    timeout(patience, asking).await.unwrap_or(Err(NotAsked::Late))
}

async fn text(response: hyper::Response<hyper::body::Incoming>) -> Result<String, NotAsked> {
    let body = Limited::new(response.into_body(), ANSWER_OCTETS).collect().await.map_err(|error| anyhow!(error))?;
    Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned())
}

/// Detects an older service. Its commands had a socket of their own beside this one.
async fn or_older(socket: &Path, error: NotAsked) -> NotAsked {
    if !matches!(error, NotAsked::NotThere(_)) {
        return error;
    }
    let mut former = socket.as_os_str().to_owned();
    former.push(".control");
    match UnixStream::connect(PathBuf::from(former)).await {
        Ok(_) => NotAsked::Older(socket.to_owned()),
        Err(_) => error,
    }
}

impl From<hyper::Error> for NotAsked {
    fn from(error: hyper::Error) -> Self {
        Self::Broken(error.into())
    }
}

impl From<anyhow::Error> for NotAsked {
    fn from(error: anyhow::Error) -> Self {
        Self::Broken(error)
    }
}
