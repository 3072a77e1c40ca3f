//! The endpoints that give a managed identity its tokens, over plain HTTP beside the machine: IMDS,
//! App Service, and the agent of Azure Arc with its challenge.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::entra::grant;
use super::entra::request::TokenFailure;
use super::platform::Platform;
use super::random;
use super::state::SandboxState;

/// How long a client may take for the head of a request.
const PATIENCE: Duration = Duration::from_secs(60);

type Answer = Response<Full<Bytes>>;

/// Serves one connection until it ends or the sandbox stops.
pub(super) async fn serve(shared: Arc<SandboxState>, tcp: TcpStream) -> io::Result<()> {
    let service = service_fn(|request| {
        let answer = respond(&shared, &request);
        async { Ok::<_, Infallible>(answer) }
    });
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(tcp), service)
        .await
        .map_err(io::Error::other)
}

fn respond(shared: &SandboxState, request: &Request<Incoming>) -> Answer {
    let platform = &shared.platform;
    if let Some(status) = platform.state().faults.pop_front() {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        return answer(status, &json!({"error": "out_of_order", "error_description": "This was asked for."}));
    }
    let parameter = |name: &str| {
        let query = request.uri().query().unwrap_or_default().as_bytes();
        url::form_urlencoded::parse(query).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    };
    let bad = |error: &str| answer(StatusCode::BAD_REQUEST, &json!({"error": error, "error_description": error}));
    let headers = request.headers();
    let header_is = |name: &str, value: &str| headers.get(name).is_some_and(|found| found == value);
    let version = parameter("api-version").unwrap_or_default();
    let is_app_service = match (request.uri().path(), version.as_str()) {
        ("/metadata/identity/oauth2/token", _) if !header_is("metadata", "true") => return bad("bad_request_102"),
        // A request that came through a proxy is not from this machine.
        ("/metadata/identity/oauth2/token", _) if headers.contains_key("x-forwarded-for") => {
            return bad("bad_request_102");
        }
        ("/metadata/identity/oauth2/token", "2018-02-01") => false,
        ("/metadata/identity/oauth2/token", "2020-06-01") => match challenge(platform, headers.get("authorization")) {
            Some(challenge) => return challenge,
            None => false,
        },
        ("/msi/token", "2019-08-01") if header_is("x-identity-header", &platform.header) => true,
        ("/msi/token", "2019-08-01") => {
            return answer(StatusCode::UNAUTHORIZED, &json!({"statusCode": 401, "message": "Unauthorized"}));
        }
        _ => return answer(StatusCode::NOT_FOUND, &json!({"error": "not_found"})),
    };
    let client_id = parameter("client_id").map(|id| id.to_lowercase());
    let known = client_id.as_ref().is_none_or(|id| *id == platform.user_assigned);
    let name = client_id.unwrap_or_else(|| "system".to_owned());
    let issued = match parameter("resource") {
        Some(resource) if known && !platform.state().absent => {
            grant::issue_for_identity(shared, &name, resource.trim_end_matches('/'))
        }
        Some(_) => {
            shared.tally.token_request("managed_identity", &name, false);
            return bad("identity_not_found");
        }
        None => return bad("bad_request_101"),
    };
    shared.tally.token_request("managed_identity", &name, issued.is_ok());
    let issued = match issued {
        Ok(issued) => issued,
        Err(TokenFailure::Refused(_)) => return bad("invalid_resource"),
        Err(TokenFailure::Broken(_)) => return answer(StatusCode::INTERNAL_SERVER_ERROR, &json!({})),
    };
    let expires_on = shared.time.unix().saturating_add(issued.lifetime).as_secs().to_string();
    let mut body = json!({
        "access_token": issued.token.expose(),
        "expires_on": expires_on,
        "resource": issued.resource,
        "token_type": "Bearer",
    });
    if !is_app_service {
        body["expires_in"] = Value::from(issued.lifetime.as_secs().to_string());
    }
    answer(StatusCode::OK, &body)
}

/// The first half of Azure Arc's exchange: a key in a file that only the right users can read.
/// `None` when it was shown.
fn challenge(platform: &Platform, authorization: Option<&HeaderValue>) -> Option<Answer> {
    let mut state = platform.state();
    let expected = state.arc_key.take().map(|key| format!("Basic {key}"));
    if expected.is_some() && authorization.and_then(|value| value.to_str().ok()) == expected.as_deref() {
        return None;
    }
    let mut answer = answer(StatusCode::UNAUTHORIZED, &json!({}));
    let (key, directory) = (random::guid(), state.arc.clone()?);
    let file = directory.join(format!("{}.key", random::guid()));
    if std::fs::write(&file, &key).is_ok()
        && let Ok(realm) = HeaderValue::from_str(&format!("Basic realm={}", file.display()))
    {
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, realm);
        state.arc_key = Some(key);
    }
    Some(answer)
}

fn answer(status: StatusCode, body: &Value) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body.to_string())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    answer
}
