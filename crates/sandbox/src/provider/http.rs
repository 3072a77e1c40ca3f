//! The connections of a token service beside Entra: requests taken apart, and answers with the
//! manners that were asked for.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::manner::{Manner, Manners};
use super::seen::SeenRequest;
use super::{Provider, ProviderState};
use crate::state::SandboxState;

/// Longest form accepted, in octets.
const FORM_OCTETS: usize = 64 * 1024;
/// How long a client may take for the TLS handshake, for a request, and between two requests.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a request asks, taken apart.
pub(crate) struct Asking {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: HashMap<String, String>,
    pub(crate) form: HashMap<String, String>,
    /// A parameter that came more than once (RFC 6749 §3.1).
    pub(crate) repeated: Option<String>,
    /// Name and secret of a client by HTTP Basic (RFC 6749 §2.3.1).
    pub(crate) basic: Option<BasicCredentials>,
}

/// Name and secret of a client.
pub(crate) struct BasicCredentials {
    pub(crate) client_id: String,
    pub(crate) secret: String,
}

impl Asking {
    /// A parameter of the form that is not empty.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.form.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A parameter of the query that is not empty.
    pub(crate) fn asked(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// An answer, before manners are applied.
pub(crate) enum Answer {
    Json {
        status: StatusCode,
        body: Value,
        /// The value of `WWW-Authenticate`.
        challenge: Option<&'static str>,
    },
    Html(StatusCode, String),
    Redirect(String),
    NotFound,
    MethodNotAllowed,
}

pub(crate) fn json_answer(status: StatusCode, body: Value) -> Answer {
    Answer::Json { status, body, challenge: None }
}

/// Answers requests; `is_page` tells which paths are pages for persons.
pub(crate) trait Respond: Send + Sync + 'static {
    fn is_page(&self, path: &str) -> bool;

    fn respond(&self, shared: &SandboxState, state: &ProviderState, asking: &Asking) -> io::Result<Answer>;
}

/// Serves one connection until it ends or the sandbox stops.
pub(crate) async fn serve<R: Respond>(
    shared: Arc<SandboxState>,
    provider: Provider,
    respond: Arc<R>,
    tcp: TcpStream,
) -> io::Result<()> {
    let Some(state) = shared.provider(provider) else { return Ok(()) };
    if state.manners.has(&Manner::Down) {
        return tcp.set_zero_linger();
    }
    let acceptor = TlsAcceptor::from(shared.certificates.server_config(None));
    let stream = tokio::time::timeout(PATIENCE, acceptor.accept(tcp)).await??;
    let service = service_fn(|request| async {
        let mut answer = answer(&shared, state, &*respond, request).await?;
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(shared.time.unix().as_secs());
        if let Ok(date) = HeaderValue::from_str(&httpdate::fmt_http_date(now)) {
            answer.headers_mut().insert(header::DATE, date);
        }
        io::Result::Ok(answer)
    });
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service)
        .await
        .map_err(io::Error::other)
}

/// Answers one request. An error makes hyper close the connection without an answer.
async fn answer<R: Respond>(
    shared: &SandboxState,
    state: &ProviderState,
    respond: &R,
    request: Request<Incoming>,
) -> io::Result<Response<Full<Bytes>>> {
    state.tally.http_request();
    let (head, body) = request.into_parts();
    let body = match tokio::time::timeout(PATIENCE, Limited::new(body, FORM_OCTETS).collect()).await? {
        Ok(body) => body.to_bytes(),
        Err(_) => return Ok(text(StatusCode::PAYLOAD_TOO_LARGE, "text/plain", "Request Entity Too Large")),
    };
    let asking = take_apart(&head, &body);
    state.seen.record(SeenRequest {
        method: head.method.to_string(),
        path: asking.path.clone(),
        parameters: asking.query.iter().chain(&asking.form).map(|(n, v)| (n.clone(), v.clone())).collect(),
        has_basic: asking.basic.is_some(),
    });
    if respond.is_page(&asking.path) {
        return Ok(polite(respond.respond(shared, state, &asking)?));
    }
    if state.manners.has(&Manner::Down) {
        return Err(io::Error::other("down"));
    }
    let delay = |manner: &Manner| match manner {
        Manner::Slow(delay) => Some(*delay),
        _ => None,
    };
    if let Some(delay) = state.manners.find(delay) {
        tokio::time::sleep(delay).await;
    }
    match state.manners.find(unconditional) {
        Some(answer) => Ok(answer),
        None => Ok(with_manners(&state.manners, respond.respond(shared, state, &asking)?)),
    }
}

/// The answer of a manner that does not look at the request.
fn unconditional(manner: &Manner) -> Option<Response<Full<Bytes>>> {
    Some(match manner {
        Manner::Throttled(retry_after) => {
            let mut answer = json_text(StatusCode::TOO_MANY_REQUESTS, &json!({"error": "rate_limit_exceeded"}));
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after.as_secs()));
            answer
        }
        Manner::ServerError => json_text(StatusCode::SERVICE_UNAVAILABLE, &json!({"error": "temporarily_unavailable"})),
        Manner::Html => text(
            StatusCode::OK,
            "text/html; charset=utf-8",
            "<!DOCTYPE html><html><head><title>Web filter</title></head><body>Please accept the terms of use.</body></html>",
        ),
        Manner::Redirect => {
            let mut answer = text(StatusCode::TEMPORARY_REDIRECT, "text/html", "");
            // The host is another one on purpose: credentials must not be posted there.
            answer.headers_mut().insert(header::LOCATION, HeaderValue::from_static("https://elsewhere.example/token"));
            answer
        }
        _ => return None,
    })
}

fn with_manners(manners: &Manners, answer: Answer) -> Response<Full<Bytes>> {
    let Answer::Json { mut status, mut body, challenge } = answer else { return polite(answer) };
    let (is_error, is_token) = (body.get("error").is_some(), body.get("access_token").is_some());
    if is_error && manners.has(&Manner::OkWithError) {
        status = StatusCode::OK;
    }
    if let Some(members) = body.as_object_mut().filter(|_| is_token) {
        if manners.has(&Manner::NoExpiresIn) {
            members.remove("expires_in");
        }
        if manners.has(&Manner::NoTokenType) {
            members.remove("token_type");
        }
        if let Some(seconds) = members.get_mut("expires_in").filter(|_| manners.has(&Manner::TextExpiresIn)) {
            *seconds = Value::from(seconds.to_string());
        }
    }
    let as_form = is_error && manners.has(&Manner::FormErrors) || is_token && manners.has(&Manner::FormTokens);
    if let Some(members) = body.as_object().filter(|_| as_form) {
        let value = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(members.iter().map(|(name, member)| (name, value(member))));
        return text(status, "application/x-www-form-urlencoded", form.finish());
    }
    if is_token && manners.has(&Manner::TruncatedJson) {
        let mut whole = body.to_string();
        whole.truncate(whole.len() / 2);
        return text(status, "application/json; charset=utf-8", whole);
    }
    polite(Answer::Json { status, body, challenge })
}

fn polite(answer: Answer) -> Response<Full<Bytes>> {
    match answer {
        Answer::Json { status, body, challenge } => {
            let mut answer = json_text(status, &body);
            if let Some(challenge) = challenge {
                answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
            }
            answer
        }
        Answer::Html(status, page) => text(status, "text/html; charset=utf-8", page),
        Answer::Redirect(to) => {
            let mut answer = text(StatusCode::FOUND, "text/html; charset=utf-8", "");
            if let Ok(location) = HeaderValue::from_str(&to) {
                answer.headers_mut().insert(header::LOCATION, location);
            }
            answer
        }
        Answer::NotFound => text(StatusCode::NOT_FOUND, "text/html", "<html><body>404. Not found.</body></html>"),
        Answer::MethodNotAllowed => {
            text(StatusCode::METHOD_NOT_ALLOWED, "text/html", "<html><body>405. Not allowed.</body></html>")
        }
    }
}

fn json_text(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    text(status, "application/json; charset=utf-8", format!("{body:#}"))
}

fn text(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    answer
}

fn take_apart(head: &hyper::http::request::Parts, body: &[u8]) -> Asking {
    let is_form = head
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded"));
    let mut repeated = None;
    let mut read = |octets: &[u8]| {
        let mut fields = HashMap::new();
        for (name, value) in url::form_urlencoded::parse(octets).into_owned() {
            if let Some(before) = fields.insert(name.clone(), value) {
                fields.insert(name.clone(), before);
                repeated = Some(name);
            }
        }
        fields
    };
    let query = read(head.uri.query().unwrap_or_default().as_bytes());
    let form = if is_form { read(body) } else { HashMap::new() };
    let path = head.uri.path().to_owned();
    Asking { method: head.method.clone(), path, query, form, repeated, basic: basic(&head.headers) }
}

fn basic(headers: &HeaderMap) -> Option<BasicCredentials> {
    let (scheme, credentials) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(credentials.trim()).ok()?).ok()?;
    let (client_id, secret) = pair.split_once(':')?;
    // Both halves are form-encoded before they are joined.
    let decode = |half: &str| {
        url::form_urlencoded::parse(format!("v={half}").as_bytes()).next().map(|(_, value)| value.into_owned())
    };
    Some(BasicCredentials { client_id: decode(client_id)?, secret: decode(secret)? })
}
