//! The token endpoint behind the proxies: answers every request with a token and counts them by
//! user name.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Entra takes its time. So do we, or the first login of a burst would have its token before the
/// second one asks.
const LATENCY: Duration = Duration::from_millis(25);

/// A token as long as Microsoft's are.
pub(crate) fn token() -> String {
    "eyJ0eXAiOiJKV1QiLCJub25jZSI6Imdh".repeat(50)
}

/// How often each user name has been asked about.
#[derive(Clone, Default)]
pub(crate) struct Requests(Arc<Mutex<HashMap<String, u64>>>);

impl Requests {
    /// The requests for one user so far.
    pub(crate) fn of(&self, user: &str) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(user).copied().unwrap_or(0)
    }

    fn add(&self, user: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(user).or_default() += 1;
    }
}

/// How the endpoint answers at the moment.
pub(crate) struct Mood {
    /// `503`, and the connection is closed.
    pub(crate) away: AtomicBool,
    /// Lifetime of a token in seconds.
    pub(crate) lifetime: AtomicU64,
}

impl Default for Mood {
    /// As Entra on most days.
    fn default() -> Self {
        Self { away: AtomicBool::new(false), lifetime: AtomicU64::new(4_799) }
    }
}

/// Serves until the runtime ends.
pub(crate) async fn serve(listener: TcpListener, tls: Arc<ServerConfig>, requests: Requests, mood: Arc<Mood>) {
    let acceptor = TlsAcceptor::from(tls);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let (acceptor, requests, mood) = (acceptor.clone(), requests.clone(), Arc::clone(&mood));
        tokio::spawn(async move {
            let stream = acceptor.accept(stream).await.ok()?;
            let service = service_fn(|request| answer(request, requests.clone(), Arc::clone(&mood)));
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok()
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    requests: Requests,
    mood: Arc<Mood>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if mood.away.load(Ordering::Relaxed) {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response.headers_mut().insert(hyper::header::CONNECTION, hyper::header::HeaderValue::from_static("close"));
        return Ok(response);
    }
    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let user = url::form_urlencoded::parse(&body).find(|(key, _)| key == "username");
    requests.add(user.map(|(_, user)| user.into_owned()).unwrap_or_default());
    tokio::time::sleep(LATENCY).await;
    let lifetime = mood.lifetime.load(Ordering::Relaxed);
    let answer = serde_json::json!({
        "token_type": "Bearer",
        "scope": "https://outlook.office365.com/IMAP.AccessAsUser.All",
        "expires_in": lifetime,
        "ext_expires_in": lifetime,
        "access_token": token(),
    });
    let mut response = Response::new(Full::from(answer.to_string()));
    let json = hyper::header::HeaderValue::from_static("application/json; charset=utf-8");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, json);
    Ok(response)
}
