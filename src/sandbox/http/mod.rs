//! What the two HTTP services share: connections, whole requests, the bearer of a token, and faults.

pub(super) mod body;
pub(super) mod fault;

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use self::body::Answer;
use self::fault::HttpFault;
use super::mode::{Service, UpstreamMode};
use super::state::Shared;
use super::{ews, graph};

/// The largest request that is read to its end before it is refused, in octets. Exchange takes less.
const REQUEST_OCTETS: usize = 128 << 20;
/// For the head of a request and between two requests.
const HEAD: Duration = Duration::from_secs(120);
/// For the body of a request.
const TRANSFER: Duration = Duration::from_secs(600);

/// A request that was taken whole.
pub(super) struct Call {
    pub(super) head: Parts,
    pub(super) body: Bytes,
}

impl Call {
    pub(super) fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.head.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(super) fn bearer(&self) -> Option<&str> {
        let (scheme, token) = self.header(header::AUTHORIZATION)?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    }

    /// The media type, without parameters and in lower case.
    pub(super) fn media_type(&self) -> String {
        let value = self.header(header::CONTENT_TYPE).unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }
}

/// Serves one connection until it ends or the sandbox stops.
pub(super) async fn serve(
    shared: Arc<Shared>,
    service: Service,
    stream: TlsStream<TcpStream>,
    mode: UpstreamMode,
) -> io::Result<()> {
    let respond = service_fn(|request| async {
        let mut answer = respond(&shared, service, mode, request).await?;
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(shared.time.unix().as_secs());
        set(answer.headers_mut(), "date", &httpdate::fmt_http_date(now));
        io::Result::Ok(answer)
    });
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), respond)
        .await
        .map_err(io::Error::other)
}

/// Answers one request. An error makes hyper close the connection without an answer.
async fn respond(
    shared: &Arc<Shared>,
    service: Service,
    mode: UpstreamMode,
    request: Request<Incoming>,
) -> io::Result<Answer> {
    let (head, body) = request.into_parts();
    let body = tokio::time::timeout(TRANSFER, Limited::new(body, REQUEST_OCTETS).collect()).await?;
    let Ok(body) = body else { return Ok(plain(StatusCode::PAYLOAD_TOO_LARGE, "text/plain", "Too large")) };
    if matches!(mode, UpstreamMode::Unavailable | UpstreamMode::Bye) {
        return Ok(plain(
            StatusCode::SERVICE_UNAVAILABLE,
            "text/html",
            "<html><body>Service Unavailable</body></html>",
        ));
    }
    let call = Call { head, body: body.to_bytes() };
    match service {
        Service::Ews => ews::respond(shared, &call).await,
        _ => graph::respond(shared, &call).await,
    }
}

/// Does `work`, unless a fault was planned for the call of this name; `refuse` shapes a refusal as the service does.
pub(super) async fn perform(
    shared: &Arc<Shared>,
    service: Service,
    name: &str,
    refuse: impl FnOnce(u16, Option<&'static str>, Option<Duration>) -> Answer,
    work: impl FnOnce() -> Answer,
) -> io::Result<Answer> {
    let closed = || Err(io::Error::other("closed on demand"));
    let mut clearing = shared.http_faults.clearing();
    let Some(fault) = shared.http_faults.take(service, name) else { return Ok(work()) };
    Ok(match fault {
        HttpFault::Refuse { status, code, retry_after } => refuse(status, code, retry_after),
        HttpFault::Hang => {
            // The sender lives as long as the sandbox.
            let _ = clearing.changed().await;
            work()
        }
        HttpFault::HangWhenDone => {
            let answer = work();
            let _ = clearing.changed().await;
            answer
        }
        HttpFault::Cut => return closed(),
        HttpFault::CutWhenDone => {
            work();
            return closed();
        }
        HttpFault::CutInAnswer => in_pieces(shared, work(), None).await,
        HttpFault::Slow(delay) => {
            tokio::time::sleep(delay).await;
            work()
        }
        HttpFault::Drip(pause) => in_pieces(shared, work(), Some(pause)).await,
        HttpFault::OkNotDone => body::whole(Bytes::new()),
        HttpFault::Html => plain(
            StatusCode::OK,
            "text/html; charset=utf-8",
            "<!DOCTYPE html><html><head><title>Web filter</title></head><body>Please accept the terms of use.</body></html>",
        ),
        HttpFault::Redirect => {
            let mut answer = plain(StatusCode::TEMPORARY_REDIRECT, "text/html", "");
            set(answer.headers_mut(), "location", "https://elsewhere.example/");
            answer
        }
    })
}

/// The answer octet by octet, each after a pause; without one, the first half of it, and then the connection is closed.
async fn in_pieces(shared: &Shared, answer: Answer, pause: Option<Duration>) -> Answer {
    let (head, body) = answer.into_parts();
    // The body is a whole one: nothing is waited for.
    let octets = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let (sender, body) = body::pieces();
    shared.tasks.spawn(async move {
        let Some(pause) = pause else {
            let half = octets.slice(..octets.len() / 2);
            if sender.send(Ok(half)).await.is_ok() {
                let _ = sender.send(Err(io::Error::other("cut on demand"))).await;
            }
            return;
        };
        for at in 0..octets.len() {
            tokio::time::sleep(pause).await;
            if sender.send(Ok(octets.slice(at..=at))).await.is_err() {
                return;
            }
        }
    });
    let mut answer = Answer::from_parts(head, body);
    answer.headers_mut().remove(header::CONTENT_LENGTH);
    answer
}

/// An answer with a body that is there already.
pub(super) fn plain(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = body::whole(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// Sets a header. A value that cannot stand there, because it came from a client, is left out.
pub(super) fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
