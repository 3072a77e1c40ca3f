//! The connections of the two HTTP services: takes whole requests and hands them to EWS or Graph.

pub(super) mod body;
pub(super) mod call;
pub(super) mod fault;

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use self::body::Answer;
use self::call::{Call, plain, set};
use super::mode::{Service, UpstreamMode};
use super::state::SandboxState;
use super::{ews, graph};

/// The largest request that is read to its end before it is refused, in octets. Exchange takes
/// less.
const REQUEST_OCTETS: usize = 128 << 20;
/// How long a client may take for the head of a request, and between two requests.
const HEAD: Duration = Duration::from_secs(120);
/// How long a client may take for the body of a request.
const TRANSFER: Duration = Duration::from_secs(600);

/// Serves one connection until it ends or the sandbox stops.
pub(super) async fn serve(
    shared: Arc<SandboxState>,
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
    shared: &Arc<SandboxState>,
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
