//! A token endpoint for tests: a closure answers each form, and every form is kept.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tracing::subscriber::DefaultGuard;
use url::Url;
use zeroize::Zeroizing;

use crate::endpoint::{Answer, Exchange, TokenEndpoint, TransportError, TransportFault};
use crate::grant::TokenHttpRequest;
use gatepost_config::{
    Accounts, Application, ClientAuthentication, Config, Credential, Issuer, Limits, Log, LogFormat, NotedSecret,
    Provider, Renewable, State, Trust,
};
use gatepost_core::secret::ClientSecret;
use gatepost_telemetry::log;

/// A configuration with these accounts and limits and nothing else.
pub fn config(accounts: Accounts, limits: Limits) -> Config {
    Config {
        listeners: Vec::new(),
        accounts,
        unproved: Vec::new(),
        forward_proxy: None,
        trust: Trust { system_roots: false, additional_ca: None, destinations: Vec::new() },
        state: State::Memory,
        devices: None,
        queue: None,
        spool: None,
        limits,
        log: Log { format: LogFormat::Text, level: tracing::Level::INFO, audit: None },
        admin: gatepost_config::Admin::default(),
        notes: Vec::new(),
        findings: Vec::new(),
        sendmail: None,
        server_name: None,
        confinement: gatepost_config::Confine::Off,
        files: Vec::new(),
        runs_commands: false,
    }
}

/// A provider other than Microsoft, whose addresses are at `login.example`.
pub fn provider(client_authentication: ClientAuthentication) -> Provider {
    let url = |path: &str| Url::parse(&format!("https://login.example/{path}")).unwrap();
    Provider {
        name: "plain".to_owned(),
        title: "plain".to_owned(),
        authorize_url: Some(url("authorize")),
        authorize_parameters: &[],
        token_url: url("token"),
        device_url: Some(url("device")),
        revoke_url: Some(url("revoke")),
        issuers: vec!["https://login.example".to_owned()],
        scope: "mail".to_owned(),
        client_authentication,
        pkce: true,
        domains: Vec::new(),
        hosts: Vec::new(),
    }
}

/// An application of that provider, with these secrets.
pub fn provider_application(authentication: ClientAuthentication, secrets: &[&str]) -> Arc<Application> {
    let noted = |secret: &&str| NotedSecret {
        secret: Renewable { value: Arc::new(ClientSecret::new((*secret).to_owned())), file: None },
        expires: None,
    };
    let credential = match secrets {
        [] => Credential::None,
        secrets => Credential::Secrets(secrets.iter().map(noted).collect()),
    };
    let issuer = Issuer::Provider(Arc::new(provider(authentication)));
    Arc::new(Application { issuer, client_id: "app".to_owned(), credential: Arc::new(credential) })
}

/// The fields of a form.
pub type Fields = HashMap<String, String>;
/// The field that holds the path to which a form was posted.
pub const PATH: &str = "(path)";

/// The field that holds the `Authorization` header, if there was one.
pub const AUTHORIZATION: &str = "(authorization)";

type Judge = Box<dyn Fn(&Fields) -> Reply + Send>;

/// What the endpoint answers.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A new token that is good for so many seconds.
    Token(u64),
    /// Like `Token`, with a new refresh token `r1`, `r2`, ….
    Rotated(u64),
    /// A JWT with this payload.
    Jwt(&'static str),
    /// `invalid_grant` with this code.
    Denied(u32),
    /// Any status, `Retry-After`, and body.
    Raw(u16, Option<&'static str>, &'static str),
    /// A transport error at once.
    Unreachable,
    /// Never an answer.
    Silence,
}

/// The endpoint.
pub struct FakeEndpoint {
    judge: Mutex<Judge>,
    asked: Mutex<Vec<Fields>>,
    gate: Arc<Semaphore>,
}

impl FakeEndpoint {
    /// Every form goes to `judge`.
    pub fn new(judge: impl Fn(&Fields) -> Reply + Send + 'static) -> Arc<Self> {
        let gate = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        Arc::new(Self { judge: Mutex::new(Box::new(judge)), asked: Mutex::default(), gate })
    }

    /// Accepts this password of any user, and every application.
    pub fn with_password(right: &'static str) -> Arc<Self> {
        Self::new(move |form| match form.get("password") {
            Some(password) if password != right => Reply::Denied(50126),
            _ => Reply::Token(3600),
        })
    }

    /// Replaces the closure that answers.
    pub fn judge_by(&self, judge: impl Fn(&Fields) -> Reply + Send + 'static) {
        *self.judge.lock() = Box::new(judge);
    }

    /// The forms received so far.
    pub fn asked(&self) -> Vec<Fields> {
        self.asked.lock().clone()
    }

    /// How many forms were received so far.
    pub fn count(&self) -> usize {
        self.asked.lock().len()
    }

    /// Holds back all answers until [`Self::open`].
    pub fn close(&self) {
        self.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    /// Releases answers again, including those that wait.
    pub fn open(&self) {
        self.gate.add_permits(1_000_000);
    }
}

impl TokenEndpoint for FakeEndpoint {
    fn exchange<'a>(&'a self, request: &'a TokenHttpRequest) -> Exchange<'a> {
        Box::pin(async move {
            let mut form: Fields = url::form_urlencoded::parse(request.form.expose().as_bytes()).into_owned().collect();
            form.insert(PATH.to_owned(), request.url.path().to_owned());
            let authorization = request.authorization.as_ref().map(|value| value.expose().to_owned());
            form.extend(authorization.map(|value| (AUTHORIZATION.to_owned(), value)));
            let number = {
                let mut asked = self.asked.lock();
                asked.push(form.clone());
                asked.len()
            };
            drop(self.gate.acquire().await.unwrap());
            let reply = (self.judge.lock())(&form);
            let (status, retry_after, body) = match reply {
                Reply::Token(seconds) => {
                    let body =
                        format!(r#"{{"token_type":"Bearer","expires_in":{seconds},"access_token":"t{number}"}}"#);
                    (200, None, body)
                }
                Reply::Rotated(seconds) => {
                    let body = format!(
                        r#"{{"token_type":"Bearer","expires_in":{seconds},"access_token":"t{number}","refresh_token":"r{number}"}}"#
                    );
                    (200, None, body)
                }
                Reply::Jwt(payload) => {
                    let payload = URL_SAFE_NO_PAD.encode(payload);
                    let body = format!(
                        r#"{{"token_type":"Bearer","expires_in":3600,"access_token":"h{number}.{payload}.s"}}"#
                    );
                    (200, None, body)
                }
                Reply::Denied(code) => {
                    let body = format!(r#"{{"error":"invalid_grant","error_codes":[{code}],"trace_id":"t-{number}"}}"#);
                    (400, None, body)
                }
                Reply::Raw(status, retry_after, body) => (status, retry_after, body.to_owned()),
                Reply::Unreachable => {
                    return Err(TransportError::new(TransportFault::Connect, "refused"));
                }
                Reply::Silence => {
                    tokio::time::sleep(Duration::from_secs(3600)).await;
                    return Err(TransportError::new(TransportFault::Broken, "slept"));
                }
            };
            let body = Zeroizing::new(body.into_bytes());
            Ok(Answer { status, retry_after: retry_after.map(str::to_owned), date: None, body })
        })
    }
}

/// What is logged on this thread from its beginning on.
pub struct Logged {
    written: Written,
    _capturing: DefaultGuard,
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Logged {
    /// Takes what is logged from now on, of every level.
    pub fn begin() -> Self {
        let written = Written::default();
        let (writer, form) =
            (written.clone(), Log { format: LogFormat::Text, level: tracing::Level::TRACE, audit: None });
        let subscriber = log::subscriber(&form, false, move || writer.clone()).unwrap();
        Self { written, _capturing: tracing::subscriber::set_default(subscriber) }
    }

    /// The lines so far, without their times.
    pub fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.written.0.lock().clone()).unwrap();
        let without_time = |line: &str| line.split_once(' ').map(|(_, rest)| rest.trim_start().to_owned());
        text.lines().filter_map(without_time).collect()
    }

    /// How many lines hold these words.
    pub fn count(&self, words: &str) -> usize {
        self.lines().iter().filter(|line| line.contains(words)).count()
    }
}
