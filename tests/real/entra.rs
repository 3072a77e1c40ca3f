//! Entra for these tests: a token endpoint that knows passwords and hands out random tokens, and
//! the introspection (RFC 7662) by which Dovecot asks whether a token is one of them. Every request
//! is written down.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

use super::authority::Authority;

/// The directory.
pub(crate) const TENANT: &str = "contoso.com";
/// A public application, for ROPC.
pub(crate) const CLIENT_ID: &str = "11111111-2222-3333-4444-555555555555";

/// A token request that was understood.
#[derive(Clone, Debug)]
pub(crate) struct TokenHttpRequest {
    /// Who: the user name (ROPC) or the client id (client credentials).
    pub(crate) subject: String,
    pub(crate) granted: bool,
    /// From where: the address of Squid, when it came through Squid.
    pub(crate) peer: IpAddr,
}

/// An application with a secret and the one mailbox that it may open.
struct Application {
    secret: String,
    mailbox: String,
}

#[derive(Default)]
struct State {
    passwords: HashMap<String, String>,
    applications: HashMap<String, Application>,
    /// Token to mailbox.
    tokens: HashMap<String, String>,
    requests: Vec<TokenHttpRequest>,
    /// Tokens that Dovecot asked for.
    introspected: Vec<String>,
}

/// The server, as long as its runtime lives.
pub(crate) struct Entra {
    /// HTTPS: the token endpoint.
    pub(crate) port: u16,
    /// HTTP: introspection, for Dovecot only.
    pub(crate) introspection_port: u16,
    state: Arc<Mutex<State>>,
}

impl Entra {
    pub(crate) fn start(runtime: &Runtime, authority: &Authority) -> Self {
        let state = Arc::<Mutex<State>>::default();
        let acceptor = acceptor(authority);
        let bind = || runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let (tokens, introspection) = (bind(), bind());
        let port = tokens.local_addr().unwrap().port();
        let introspection_port = introspection.local_addr().unwrap().port();

        let shared = Arc::clone(&state);
        runtime.spawn(async move {
            while let Ok((stream, peer)) = tokens.accept().await {
                let (acceptor, state) = (acceptor.clone(), Arc::clone(&shared));
                tokio::spawn(async move {
                    match acceptor.accept(stream).await {
                        Ok(stream) => serve(stream, peer.ip(), state, issue).await,
                        Err(error) => eprintln!("token endpoint: {error}"),
                    }
                });
            }
        });
        let shared = Arc::clone(&state);
        runtime.spawn(async move {
            while let Ok((stream, peer)) = introspection.accept().await {
                tokio::spawn(serve(stream, peer.ip(), Arc::clone(&shared), introspect));
            }
        });
        Self { port, introspection_port, state }
    }

    /// Makes a person who may sign in with a password.
    pub(crate) fn add_person(&self, login: &str, password: &str) {
        self.state.lock().unwrap().passwords.insert(login.to_owned(), password.to_owned());
    }

    /// Makes an application that may open one mailbox without a person.
    pub(crate) fn add_application(&self, client_id: &str, secret: &str, mailbox: &str) {
        let application = Application { secret: secret.to_owned(), mailbox: mailbox.to_owned() };
        self.state.lock().unwrap().applications.insert(client_id.to_owned(), application);
    }

    /// Hands out a token for a mailbox without being asked over HTTP.
    pub(crate) fn grant(&self, mailbox: &str) -> String {
        let token = random_token();
        self.state.lock().unwrap().tokens.insert(token.clone(), mailbox.to_owned());
        token
    }

    /// The token requests of a person or an application.
    pub(crate) fn requests(&self, subject: &str) -> Vec<TokenHttpRequest> {
        self.state.lock().unwrap().requests.iter().filter(|request| request.subject == subject).cloned().collect()
    }

    /// How often Dovecot asked for a token of this mailbox.
    pub(crate) fn introspections(&self, mailbox: &str) -> usize {
        let state = self.state.lock().unwrap();
        state.introspected.iter().filter(|token| state.tokens.get(*token).is_some_and(|m| m == mailbox)).count()
    }

    /// What must never be read anywhere: all passwords, secrets and tokens.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let secrets = state.applications.values().map(|application| &application.secret);
        state.passwords.values().chain(secrets).chain(state.tokens.keys()).cloned().collect()
    }
}

fn acceptor(authority: &Authority) -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_slice(authority.certificate_pem.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(authority.private_key_pem.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// Answers a form, sent to a path, from an address.
type Answer = fn(&mut State, IpAddr, &str, &HashMap<String, String>) -> (StatusCode, Value);

async fn serve<S>(stream: S, peer: IpAddr, state: Arc<Mutex<State>>, answer: Answer)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request: Request<Incoming>| {
        let state = Arc::clone(&state);
        async move {
            let post = request.method() == Method::POST;
            let path = request.uri().path().to_owned();
            let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            let form = url::form_urlencoded::parse(&body).into_owned().collect();
            let (status, value) = if post {
                answer(&mut state.lock().unwrap(), peer, &path, &form)
            } else {
                (StatusCode::METHOD_NOT_ALLOWED, json!({"error": "invalid_request"}))
            };
            let mut response = Response::new(Full::new(Bytes::from(value.to_string())));
            *response.status_mut() = status;
            let json = hyper::header::HeaderValue::from_static("application/json; charset=utf-8");
            response.headers_mut().insert(hyper::header::CONTENT_TYPE, json);
            Ok::<_, Infallible>(response)
        }
    });
    // An error is a client that went away.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

fn issue(state: &mut State, peer: IpAddr, path: &str, form: &HashMap<String, String>) -> (StatusCode, Value) {
    let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    if path != format!("/{TENANT}/oauth2/v2.0/token") {
        return refuse(StatusCode::BAD_REQUEST, "invalid_request", 90002, "Tenant not found.");
    }
    let client_id = field("client_id");
    let (subject, outcome) = match field("grant_type") {
        "password" => {
            let login = field("username").to_lowercase();
            let outcome = if client_id != CLIENT_ID {
                Err((
                    StatusCode::BAD_REQUEST,
                    "unauthorized_client",
                    700016,
                    "Application was not found in the directory.",
                ))
            } else if state.passwords.get(&login).is_none_or(|password| password != field("password")) {
                let text = "Error validating credentials due to invalid username or password.";
                Err((StatusCode::BAD_REQUEST, "invalid_grant", 50126, text))
            } else {
                Ok(login.clone())
            };
            (login, outcome)
        }
        "client_credentials" => {
            let outcome = match state.applications.get(client_id) {
                Some(application) if application.secret == field("client_secret") => Ok(application.mailbox.clone()),
                _ => Err((StatusCode::UNAUTHORIZED, "invalid_client", 7000215, "Invalid client secret provided.")),
            };
            (client_id.to_owned(), outcome)
        }
        _ => return refuse(StatusCode::BAD_REQUEST, "unsupported_grant_type", 70003, "The grant is not supported."),
    };
    state.requests.push(TokenHttpRequest { subject, granted: outcome.is_ok(), peer });
    match outcome {
        Ok(mailbox) => {
            let token = random_token();
            state.tokens.insert(token.clone(), mailbox);
            let scope = "https://outlook.office.com/IMAP.AccessAsUser.All https://outlook.office.com/SMTP.Send";
            let answer = json!({
                "token_type": "Bearer", "scope": scope, "expires_in": 4217, "ext_expires_in": 4217, "access_token": token
            });
            (StatusCode::OK, answer)
        }
        Err((status, error, code, text)) => refuse(status, error, code, text),
    }
}

/// An error in Entra's form.
fn refuse(status: StatusCode, error: &str, code: u32, text: &str) -> (StatusCode, Value) {
    let id = "3f2504e0-4f89-41d3-9a0c-0305e82c3301";
    let time = "2026-11-23 08:00:00Z";
    let description = format!("AADSTS{code}: {text} Trace ID: {id} Correlation ID: {id} Timestamp: {time}");
    let answer = json!({
        "error": error, "error_description": description, "error_codes": [code], "timestamp": time,
        "trace_id": id, "correlation_id": id, "error_uri": format!("https://login.microsoftonline.com/error?code={code}")
    });
    (status, answer)
}

fn introspect(state: &mut State, _: IpAddr, _: &str, form: &HashMap<String, String>) -> (StatusCode, Value) {
    let token = form.get("token").cloned().unwrap_or_default();
    let answer = match state.tokens.get(&token) {
        Some(mailbox) => json!({"active": true, "username": mailbox}),
        None => json!({"active": false}),
    };
    state.introspected.push(token);
    (StatusCode::OK, answer)
}

/// As long as those of Entra, and of the same form: three parts in base64url.
fn random_token() -> String {
    let part = |octets: usize| {
        let mut random = vec![0; octets];
        aws_lc_rs::rand::fill(&mut random).unwrap();
        BASE64_URL_SAFE_NO_PAD.encode(random)
    };
    format!("eyJ{}.{}.{}", part(60), part(900), part(256))
}
