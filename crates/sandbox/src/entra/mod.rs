//! Entra's endpoints over HTTPS, v2.0 and v1.0, with faults on demand: for tokens, for device
//! codes, and the pages on which a person signs in.

mod answer;
pub(super) mod grant;
mod id_token;
pub(super) mod id_token_key;
pub(super) mod lockout;
mod page;
#[cfg(test)]
mod personal_tests;
mod refusal;
pub(super) mod request;
pub(super) mod sign_in;
mod tenant;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use self::answer::{Answer, json_answer, plain};
use self::grant::Issued;
use self::refusal::Refusal;
use self::request::{Tenant, TokenFailure, TokenRequest, Version};
use self::tenant::PERSONAL_TENANT;
use super::mode::EntraMode;
use super::state::SandboxState;

/// Longest form accepted, in octets. A request with a client assertion stays far below.
const FORM_OCTETS: usize = 64 * 1024;
/// How long a client may take for the TLS handshake, for the head of a request, and between two
/// requests.
const PATIENCE: Duration = Duration::from_secs(60);
/// The body of [`EntraMode::Oversize`], in octets.
const OVERSIZE_OCTETS: usize = 4 << 20;

/// Serves one connection until it ends or the sandbox stops.
pub(super) async fn serve(shared: Arc<SandboxState>, tcp: TcpStream) -> io::Result<()> {
    if shared.entra_mode() == EntraMode::Down {
        return tcp.set_zero_linger();
    }
    let acceptor = TlsAcceptor::from(shared.certificates.server_config(None));
    let stream = tokio::time::timeout(PATIENCE, acceptor.accept(tcp)).await??;
    let service = service_fn(|request| async {
        let mut answer = respond(&shared, request).await?;
        // The date is of the sandbox's own time, because clients compare theirs with it.
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
async fn respond(shared: &SandboxState, request: Request<Incoming>) -> io::Result<Answer> {
    shared.tally.http_request();
    let mode = shared.entra_mode();
    match mode {
        EntraMode::Down => return Err(io::Error::other("down")),
        EntraMode::Slow(delay) => tokio::time::sleep(delay).await,
        _ => {}
    }
    let faulty = faulty_answer(shared, &mode);
    let (head, body) = request.into_parts();
    // The body is read in any case, so that the connection stays usable.
    let body = match tokio::time::timeout(PATIENCE, Limited::new(body, FORM_OCTETS).collect()).await? {
        Ok(body) => body.to_bytes(),
        Err(_) => return Ok(plain(StatusCode::PAYLOAD_TOO_LARGE, "text/plain", "Request Entity Too Large")),
    };
    if let Some(answer) = faulty {
        return Ok(answer);
    }
    let form = parameters(&head.headers, &body);
    let (tenant, version) = match route(head.uri.path()) {
        Some(Route::Token(tenant, version)) => (tenant, version),
        Some(Route::Authorize(tenant, version)) => {
            let query =
                url::form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
            return page::authorize(shared, (tenant, version), &head.method, &query, &form);
        }
        Some(Route::DeviceCode(tenant, version)) => {
            let request = TokenRequest { version, tenant: tenant.to_owned(), url: url(&head), form };
            return begin_device(shared, &request);
        }
        Some(Route::DeviceLogin) => return Ok(page::device(shared, &head.method, &form)),
        Some(Route::Metadata(tenant)) => return discover(shared, tenant, &head),
        Some(Route::Keys) => return Ok(json_answer(StatusCode::OK, &shared.id_token_key.key_set()?)),
        None => return Ok(plain(StatusCode::NOT_FOUND, "text/html", "<html><body>404 - Not Found</body></html>")),
    };
    let correlation_id = head.headers.get("client-request-id").and_then(|id| id.to_str().ok());
    let refuse =
        |refusal: &Refusal| json_answer(refusal.status(), &refusal.body(correlation_id, shared.time.unix_seconds()));
    if head.method != Method::POST {
        return Ok(refuse(&Refusal::new(900_561)));
    }
    let request = TokenRequest { version, tenant: tenant.to_owned(), url: url(&head), form };
    Ok(match request.judge(shared) {
        Ok(issued) if mode == EntraMode::TruncatedJson => {
            let mut text = success(shared, version, &issued).to_string();
            text.truncate(text.len() / 2);
            plain(StatusCode::OK, "application/json; charset=utf-8", text)
        }
        Ok(issued) => json_answer(StatusCode::OK, &success(shared, version, &issued)),
        Err(TokenFailure::Refused(refusal)) => refuse(&refusal),
        Err(TokenFailure::Broken(error)) => return Err(error),
    })
}

/// The answer of a mode that does not look at the request.
fn faulty_answer(shared: &SandboxState, mode: &EntraMode) -> Option<Answer> {
    let now = shared.time.unix_seconds();
    Some(match mode {
        EntraMode::Normal | EntraMode::Down | EntraMode::Slow(_) | EntraMode::TruncatedJson => return None,
        EntraMode::Throttled { retry_after } => {
            let refusal = Refusal::new(90055);
            let mut answer = json_answer(refusal.status(), &refusal.body(None, now));
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after.as_secs()));
            answer
        }
        EntraMode::Html => plain(
            StatusCode::OK,
            "text/html; charset=utf-8",
            "<!DOCTYPE html><html><head><title>Web filter</title></head><body>Please accept the terms of use.</body></html>",
        ),
        EntraMode::OkWithError => json_answer(StatusCode::OK, &Refusal::new(90033).body(None, now)),
        EntraMode::ServerError => {
            let refusal = Refusal::new(90033);
            json_answer(refusal.status(), &refusal.body(None, now))
        }
        EntraMode::Oversize => plain(StatusCode::OK, "application/json; charset=utf-8", " ".repeat(OVERSIZE_OCTETS)),
        EntraMode::Redirect => {
            let mut answer = plain(StatusCode::TEMPORARY_REDIRECT, "text/html", "");
            // The host is another one on purpose: credentials must not be posted there.
            answer.headers_mut().insert(header::LOCATION, HeaderValue::from_static("https://elsewhere.example/token"));
            answer
        }
    })
}

/// Where the request was sent to.
fn url(head: &hyper::http::request::Parts) -> String {
    let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    format!("https://{host}{}", head.uri.path())
}

/// Begins a sign-in by device code (RFC 8628 §3.2).
fn begin_device(shared: &SandboxState, request: &TokenRequest) -> io::Result<Answer> {
    let asked = match request.device_request(shared) {
        Ok(asked) => asked,
        Err(refusal) => return Ok(json_answer(refusal.status(), &refusal.body(None, shared.time.unix_seconds()))),
    };
    let codes = shared.sign_ins.device(asked, shared.time.now())?;
    let address = format!("{}devicelogin", shared.authority);
    let message = format!("To sign in, open {address} and enter the code {} to authenticate.", codes.user_code);
    let (expires_in, interval) = (codes.lifetime.as_secs(), codes.interval.as_secs());
    let mut body = json!({"device_code": codes.device_code, "user_code": codes.user_code, "message": message});
    match request.version {
        Version::V2 => {
            body["verification_uri"] = Value::from(address);
            body["expires_in"] = Value::from(expires_in);
            body["interval"] = Value::from(interval);
        }
        Version::V1 => {
            body["verification_url"] = Value::from(address);
            body["expires_in"] = Value::from(expires_in.to_string());
            body["interval"] = Value::from(interval.to_string());
        }
    }
    Ok(json_answer(StatusCode::OK, &body))
}

/// The public metadata of a tenant (OpenID Connect Discovery 1.0 §4.2).
fn discover(shared: &SandboxState, tenant: &str, head: &hyper::http::request::Parts) -> io::Result<Answer> {
    if head.method != Method::GET {
        return Ok(plain(StatusCode::METHOD_NOT_ALLOWED, "text/html", "<html><body>405</body></html>"));
    }
    let id = match tenant::check_tenant(shared, tenant, request::Grant::DeviceCode) {
        Ok(Tenant::Common | Tenant::Organizations) => "{tenantid}",
        Ok(Tenant::Consumers) => PERSONAL_TENANT,
        Ok(Tenant::Own) => &shared.directory.tenant_id,
        Err(refusal) => {
            let mut body = refusal.body(None, shared.time.unix_seconds());
            // The endpoints for tokens say `invalid_request`.
            body["error"] = Value::from("invalid_tenant");
            return Ok(json_answer(refusal.status(), &body));
        }
    };
    let authority = &shared.authority;
    let below = format!("{authority}{tenant}/oauth2/v2.0");
    let body = json!({
        "issuer": format!("{authority}{id}/v2.0"),
        "authorization_endpoint": format!("{below}/authorize"),
        "token_endpoint": format!("{below}/token"),
        "device_authorization_endpoint": format!("{below}/devicecode"),
        "jwks_uri": format!("{authority}{tenant}/discovery/v2.0/keys"),
        "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
    });
    Ok(json_answer(StatusCode::OK, &body))
}

/// What there is at a path; the tenant first.
#[derive(Debug, PartialEq, Eq)]
enum Route<'a> {
    Token(&'a str, Version),
    Authorize(&'a str, Version),
    DeviceCode(&'a str, Version),
    DeviceLogin,
    Metadata(&'a str),
    Keys,
}

fn route(path: &str) -> Option<Route<'_>> {
    if path == "/devicelogin" {
        return Some(Route::DeviceLogin);
    }
    let (tenant, rest) = path.strip_prefix('/')?.split_once('/')?;
    Some(match rest {
        "oauth2/v2.0/token" => Route::Token(tenant, Version::V2),
        "oauth2/token" => Route::Token(tenant, Version::V1),
        "oauth2/v2.0/authorize" => Route::Authorize(tenant, Version::V2),
        "oauth2/authorize" => Route::Authorize(tenant, Version::V1),
        "oauth2/v2.0/devicecode" => Route::DeviceCode(tenant, Version::V2),
        "oauth2/devicecode" => Route::DeviceCode(tenant, Version::V1),
        "v2.0/.well-known/openid-configuration" => Route::Metadata(tenant),
        "discovery/v2.0/keys" => Route::Keys,
        _ => return None,
    })
}

/// The form, and the client's name and secret from HTTP Basic if they come that way (RFC 6749
/// §2.3.1).
fn parameters(headers: &HeaderMap, body: &[u8]) -> HashMap<String, String> {
    let is_form = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded"));
    let mut form: HashMap<String, String> =
        if is_form { url::form_urlencoded::parse(body).into_owned().collect() } else { HashMap::new() };
    if let Some((client_id, secret)) = basic(headers) {
        form.insert("client_id".to_owned(), client_id);
        form.insert("client_secret".to_owned(), secret);
    }
    form
}

fn basic(headers: &HeaderMap) -> Option<(String, String)> {
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
    Some((decode(client_id)?, decode(secret)?))
}

fn success(shared: &SandboxState, version: Version, issued: &Issued) -> Value {
    let seconds = issued.lifetime.as_secs();
    let mut body = match version {
        Version::V2 => json!({
            "token_type": "Bearer",
            "expires_in": seconds,
            "ext_expires_in": seconds,
            "access_token": issued.token.expose(),
        }),
        Version::V1 => {
            let now = shared.time.unix().as_secs();
            json!({
                "token_type": "Bearer",
                "expires_in": seconds.to_string(),
                "ext_expires_in": seconds.to_string(),
                "expires_on": (now + seconds).to_string(),
                "not_before": now.to_string(),
                "resource": issued.resource,
                "access_token": issued.token.expose(),
            })
        }
    };
    if let Some(scope) = &issued.scope {
        body["scope"] = Value::from(scope.as_str());
    }
    for (name, token) in [("refresh_token", &issued.refresh_token), ("id_token", &issued.id_token)] {
        if let Some(token) = token {
            body[name] = Value::from(token.as_str());
        }
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_endpoints_exist() {
        assert_eq!(route("/contoso.example/oauth2/v2.0/token"), Some(Route::Token("contoso.example", Version::V2)));
        assert_eq!(route("/t/oauth2/token"), Some(Route::Token("t", Version::V1)));
        assert_eq!(route("/t/oauth2/v2.0/authorize"), Some(Route::Authorize("t", Version::V2)));
        for path in ["/", "/t/oauth2/v2.0/logout", "/oauth2/v2.0/token/", "t/oauth2/token", "/t/devicelogin"] {
            assert_eq!(route(path), None, "{path}");
        }
    }

    #[test]
    fn the_client_secret_may_come_by_http_basic() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let pair = format!("Basic {}", STANDARD.encode("app:s%2Bt%20r+x"));
        headers.insert(header::AUTHORIZATION, HeaderValue::from_str(&pair).unwrap());
        let form = parameters(&headers, b"grant_type=client_credentials&scope=a%2Fb");
        assert_eq!(form["client_id"], "app");
        assert_eq!(form["client_secret"], "s+t r x");
        assert_eq!(form["scope"], "a/b");
        headers.remove(header::CONTENT_TYPE);
        assert!(!parameters(&headers, b"grant_type=x").contains_key("grant_type"));
    }
}
