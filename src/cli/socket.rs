//! The client side of the running service's Unix socket: where it is, one request, and its answer.

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
use tokio::sync::mpsc;
use tokio::time::timeout;
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::act::Act;
use super::exit::CONFIGURATION;
use super::output::{complain, report};
use super::owner;
use super::settings::Settings;
use crate::admin::TAKE_OVER;
use crate::daemon::Inherited;
use crate::daemon::take_over::{self, Predecessor};
use gatepost_core::system_error::Plain;

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
    /// No service listens at these places, or not for this user.
    #[error("{}", not_there(.0))]
    NotThere(Vec<(PathBuf, io::Error)>),
    /// The service has a version with an older form of commands.
    #[error(
        "the service at `{}` has an older version, which does not know this command. Restart the service",
        .0.display()
    )]
    Older(PathBuf),
    /// It does not answer.
    #[error("the service does not answer. Its log may say why")]
    Late,
    /// Its answer is malformed or incomplete.
    #[error("the service broke the answer off: {0:#}")]
    Broken(anyhow::Error),
    /// It refuses to hand over, and says why.
    #[error("{0}")]
    Refused(String),
}

impl NotAsked {
    /// Whether no service runs, as far as this user can see.
    pub(super) fn is_absence(&self) -> bool {
        matches!(self, Self::NotThere(tried) if tried.iter().all(|(_, error)| nobody_listens(error)))
    }

    /// What happened and what to do, for a person.
    pub(super) fn told(&self) -> String {
        match self.is_absence() {
            true => format!(
                "no service is running here: {self}. Start one with `gatepost run`. If one runs, name its configuration with \
                 `--config` or its socket with `--socket`"
            ),
            false => self.to_string(),
        }
    }
}

fn nobody_listens(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

fn not_there(tried: &[(PathBuf, io::Error)]) -> String {
    match tried.iter().find(|(_, error)| !nobody_listens(error)) {
        Some((socket, error)) if error.kind() == io::ErrorKind::PermissionDenied => format!(
            "`{}` is for the user that the service runs as. Run this command as that user{}, or as root",
            socket.display(),
            owner::of(socket).map(|as_user| format!(" (`{as_user} gatepost …`)")).unwrap_or_default()
        ),
        Some((socket, error)) => format!("cannot connect to the service at `{}`: {}", socket.display(), Plain(error)),
        None => {
            // Those that are most likely. Root also looks where other users have their sockets.
            let places: Vec<String> =
                tried.iter().take(2).map(|(socket, _)| format!("`{}`", socket.display())).collect();
            format!("nobody listens at {}", places.join(" or "))
        }
    }
}

/// Returns where the running service may listen: at `given`, or as the configuration says.
///
/// # Errors
/// An exit code; standard error says why.
pub(super) fn places(given: Option<&Path>, settings: &Settings) -> Result<Vec<PathBuf>, u8> {
    if let Some(given) = given {
        return Ok(vec![given.to_owned()]);
    }
    let places = settings.service_sockets(std::env::vars_os()).map_err(|problems| report(&problems))?;
    if places.is_empty() {
        complain(format_args!(
            "gatepost: `gatepost {}` needs a control socket. Set `state.directory` or `admin.socket`, then restart Gatepost",
            std::env::args().nth(1).unwrap_or_default()
        ));
        return Err(CONFIGURATION);
    }
    Ok(places)
}

/// Sends a request without a body. `accept` is the expected content type.
///
/// # Errors
/// See [`NotAsked`].
pub(super) async fn ask(
    places: &[PathBuf],
    method: Method,
    path: &str,
    accept: &str,
) -> Result<(StatusCode, String), NotAsked> {
    let request = Request::builder().method(method).uri(path).header(header::ACCEPT, accept);
    exchange(places, request.body(Full::default()), PATIENCE).await.map(|(_, status, text)| (status, text))
}

/// Sends a command to the service, with its fields.
///
/// # Errors
/// See [`NotAsked`].
pub(super) async fn command(
    places: &[PathBuf],
    path: &str,
    fields: &[(&str, &str)],
) -> Result<(StatusCode, String), NotAsked> {
    let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    match exchange(places, request.body(Full::from(form)), COMMAND).await? {
        (socket, StatusCode::NOT_FOUND, _) => Err(NotAsked::Older(socket)),
        (_, status, text) => Ok((status, text)),
    }
}

/// Tells the running service of an act in its store, for its log. The act counts without that.
pub(super) async fn tell(places: &[PathBuf], act: &Act<'_>) {
    let fields = [("done", act.outcome), ("account", act.account), ("device", act.device), ("item", act.item)];
    let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let request = Request::builder()
        .method(Method::POST)
        .uri("/acted")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    // Often none runs.
    let _noted = exchange(places, request.body(Full::from(form)), PATIENCE).await;
}

/// Sends a command whose answer comes in lines, and passes each line on. Returns what is not an
/// answer in lines: another status, with its text.
///
/// # Errors
/// See [`NotAsked`]. Lines may have been passed on before.
pub(super) async fn stream(
    places: &[PathBuf],
    path: &str,
    body: Zeroizing<String>,
    lines: mpsc::Sender<String>,
) -> Result<Option<(StatusCode, String)>, NotAsked> {
    let begun = async {
        let (socket, stream) = connect(places).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // The task ends with the connection.
        tokio::spawn(connection);
        let body = Bytes::from_owner(Zeroizing::new(body.as_bytes().to_vec()));
        let request = Request::post(path)
            .header(header::HOST, "gatepost")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::new(body));
        let response = sender.send_request(request.map_err(anyhow::Error::new)?).await?;
        Ok::<_, NotAsked>((socket, sender, response))
    };
    let (socket, _sender, response) = timeout(PATIENCE, begun).await.unwrap_or(Err(NotAsked::Late))?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => return Err(NotAsked::Older(socket)),
        status => return Ok(Some((status, text(response).await?))),
    }
    let (mut body, mut received, mut octets) = (response.into_body(), Vec::new(), 0);
    while let Some(frame) = timeout(COMMAND, body.frame()).await.map_err(|_| NotAsked::Late)? {
        let frame = frame?;
        let Some(data) = frame.data_ref() else { continue };
        octets += data.len();
        if octets > ANSWER_OCTETS {
            return Err(NotAsked::Broken(anyhow!("the answer is too long")));
        }
        received.extend_from_slice(data);
        while let Some(end) = received.iter().position(|octet| *octet == b'\n') {
            let line: Vec<u8> = received.drain(..=end).collect();
            if lines.send(String::from_utf8_lossy(&line).trim_end().to_owned()).await.is_err() {
                return Ok(None);
            }
        }
    }
    Ok(None)
}

/// Gets the listening sockets of the service, over the connection of the request.
///
/// # Errors
/// See [`NotAsked`].
pub(super) async fn take_over(places: &[PathBuf]) -> Result<(Inherited, Predecessor), NotAsked> {
    let asking = async {
        let (socket, stream) = connect(places).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
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
            StatusCode::NOT_FOUND => return Err(NotAsked::Older(socket)),
            _ => return Err(NotAsked::Refused(text(response).await?.trim_end().to_owned())),
        }
        let parts = hyper::upgrade::on(response).await?.downcast::<TokioIo<UnixStream>>();
        let parts = parts.map_err(|_| anyhow!("another connection came back"))?;
        Ok(take_over::take_over(parts.io.into_inner()).await.map_err(anyhow::Error::new)?)
    };
    timeout(take_over::STEP, asking).await.unwrap_or(Err(NotAsked::Late))
}

/// Connects to the first of the places at which a service listens.
async fn connect(places: &[PathBuf]) -> Result<(PathBuf, UnixStream), NotAsked> {
    let mut tried = Vec::new();
    for socket in places {
        match UnixStream::connect(socket).await {
            Ok(stream) if is_answered_by_owner(socket, &stream) => return Ok((socket.clone(), stream)),
            // Not asked: a command may send a password.
            Ok(_) => tried.push((socket.clone(), io::ErrorKind::NotFound.into())),
            Err(error) => tried.push((socket.clone(), error)),
        }
    }
    for socket in places {
        if is_older(socket).await {
            return Err(NotAsked::Older(socket.clone()));
        }
    }
    Err(NotAsked::NotThere(tried))
}

/// Whether the process that answers belongs to this user, to root, or, for root, to the user whose
/// place it is.
fn is_answered_by_owner(place: &Path, stream: &UnixStream) -> bool {
    let Ok(answering) = stream.peer_cred().map(|peer| peer.uid()) else { return false };
    match gatepost_config::user::own() {
        0 => answering == 0 || gatepost_config::owner_of_place(place).is_none_or(|owner| owner == answering),
        own => answering == own || answering == 0,
    }
}

async fn exchange(
    places: &[PathBuf],
    request: hyper::http::Result<Request<Full<Bytes>>>,
    patience: Duration,
) -> Result<(PathBuf, StatusCode, String), NotAsked> {
    let asking = async {
        let (socket, stream) = connect(places).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let mut request = request.map_err(anyhow::Error::new)?;
        request.headers_mut().insert(header::HOST, header::HeaderValue::from_static("gatepost"));
        let response = sender.send_request(request).await?;
        let status = response.status();
        let text = text(response).await?;
        connection.abort();
        Ok((socket, status, text))
    };
    timeout(patience, asking).await.unwrap_or(Err(NotAsked::Late))
}

async fn text(response: hyper::Response<hyper::body::Incoming>) -> Result<String, NotAsked> {
    let body = Limited::new(response.into_body(), ANSWER_OCTETS).collect().await.map_err(|error| anyhow!(error))?;
    Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned())
}

/// Detects an older service. Its commands had a socket of their own beside this one.
async fn is_older(socket: &Path) -> bool {
    let mut former = socket.as_os_str().to_owned();
    former.push(".control");
    UnixStream::connect(PathBuf::from(former)).await.is_ok()
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
