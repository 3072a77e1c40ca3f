//! One call to Graph or EWS: the request, the faults that may meet it, and the parts of its answer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::request::Parts;

use super::body::{self, Answer};
use super::fault::HttpFault;
use crate::mode::Service;
use crate::state::SandboxState;

/// A request that was taken whole.
pub(crate) struct Call {
    pub(crate) head: Parts,
    pub(crate) body: Bytes,
}

impl Call {
    pub(crate) fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.head.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(crate) fn bearer(&self) -> Option<&str> {
        let (scheme, token) = self.header(header::AUTHORIZATION)?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    }

    /// The media type, without parameters and in lower case.
    pub(crate) fn media_type(&self) -> String {
        let value = self.header(header::CONTENT_TYPE).unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }
}

/// Does `work`, unless a fault meets the call of this name, by plan or by chance; `refuse` shapes a refusal as
/// the service does.
pub(crate) async fn perform(
    shared: &Arc<SandboxState>,
    service: Service,
    name: &str,
    refuse: impl FnOnce(u16, Option<&'static str>, Option<Duration>) -> Answer,
    work: impl FnOnce() -> Answer,
) -> io::Result<Answer> {
    let closed = || Err(io::Error::other("closed on demand"));
    let mut clearing = shared.http_faults.clearing();
    let fault = shared.http_faults.take(service, name).or_else(|| shared.weather.http(service));
    let Some(fault) = fault else { return Ok(work()) };
    Ok(match fault {
        HttpFault::Refuse { status, code, retry_after } => refuse(status, code, retry_after),
        HttpFault::RefuseWhenDone(status) => {
            work();
            refuse(status, None, None)
        }
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

/// The answer octet by octet, each after a pause; without one, the first half of it, and then the
/// connection is closed.
async fn in_pieces(shared: &SandboxState, answer: Answer, pause: Option<Duration>) -> Answer {
    let (head, body) = answer.into_parts();
    // The body is a whole one, so nothing is waited for.
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
pub(crate) fn plain(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = body::whole(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// Sets a header. A value that cannot stand there, because it came from a client, is left out.
pub(crate) fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
