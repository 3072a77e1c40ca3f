//! The one HTTP client: posts a form to a token endpoint, straight or through the corporate proxy.

use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use reqwest::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Proxy, Url};
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use crate::config::{Config, ForwardProxy, ProxyAuthentication};
use crate::oauth::grant::TokenRequest;
use crate::oauth::response::ANSWER_OCTETS;
use crate::tls::client::UpstreamTrust;

/// TCP (and CONNECT, through a proxy) must stand within this time.
const CONNECT: Duration = Duration::from_secs(5);

/// An answer of whatever answered.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The `Retry-After` header, unread.
    pub retry_after: Option<String>,
    /// At most [`ANSWER_OCTETS`].
    pub body: Zeroizing<Vec<u8>>,
}

/// Why there was no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct TransportError {
    /// Where it failed.
    pub fault: TransportFault,
    /// What the libraries say about it; no secret, no URL.
    pub detail: String,
}

/// Where an exchange failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportFault {
    /// The client could not be set up.
    Setup,
    /// No connection.
    Connect,
    /// The certificate was refused.
    Certificate,
    /// The forward proxy wants other credentials (407).
    ProxyAuthentication,
    /// The forward proxy refused the tunnel.
    ProxyRefused,
    /// Too slow.
    Timeout,
    /// The connection broke, or the answer was no HTTP.
    Broken,
    /// More than [`ANSWER_OCTETS`].
    TooLong,
}

/// What an exchange comes to.
pub type Exchange<'a> = Pin<Box<dyn Future<Output = Result<Answer, TransportError>> + Send + 'a>>;

/// Where token requests go.
pub trait TokenEndpoint: Send + Sync {
    /// Posts the form and reads the answer. Dropping the future gives the exchange up.
    fn exchange<'a>(&'a self, request: &'a TokenRequest) -> Exchange<'a>;
}

/// The network. The client inside is made at its first use, because a start should not wait for it.
pub struct HttpEndpoint {
    config: Arc<Config>,
    trust: Arc<UpstreamTrust>,
    client: OnceCell<Client>,
}

impl HttpEndpoint {
    /// Requests go through `config.forward_proxy`, if there is one; `trust` verifies whoever answers, as it does for mail.
    pub fn new(config: Arc<Config>, trust: Arc<UpstreamTrust>) -> Self {
        Self { config, trust, client: OnceCell::new() }
    }

    async fn client(&self) -> Result<&Client, TransportError> {
        self.client
            .get_or_try_init(|| async {
                let tls = self.trust.client_config().await.map_err(|error| setup(&error))?;
                self.build(tls)
            })
            .await
    }

    fn build(&self, tls: rustls::ClientConfig) -> Result<Client, TransportError> {
        let mut builder = Client::builder()
            .tls_backend_preconfigured(tls)
            .http1_only()
            .https_only(true)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .user_agent(concat!("gatepost/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .timeout(self.config.limits.token_request)
            .pool_idle_timeout(Duration::from_secs(60))
            .pool_max_idle_per_host(4)
            // The environment was looked at when the configuration was read.
            .no_proxy();
        if let Some(proxy) = &self.config.forward_proxy {
            builder = builder.proxy(self.proxy(proxy).map_err(|error| setup(&error))?);
        }
        builder.build().map_err(|error| setup(&error))
    }

    fn proxy(&self, proxy: &ForwardProxy) -> Result<Proxy, reqwest::Error> {
        let host = if proxy.host.contains(':') { format!("[{}]", proxy.host) } else { proxy.host.clone() };
        let address = format!("http://{host}:{}", proxy.port);
        // Only to hear about a bad address now rather than at every request.
        Proxy::https(&address)?;
        let no_proxy = proxy.no_proxy.clone();
        let via = Proxy::custom(move |url: &Url| {
            let straight = url.host_str().is_some_and(|host| no_proxy.covers(host));
            (!straight).then(|| address.clone())
        });
        Ok(match &proxy.authentication {
            ProxyAuthentication::None => via,
            ProxyAuthentication::Basic { username, password } => via.basic_auth(username, password.expose()),
        })
    }

    async fn post(&self, request: &TokenRequest) -> Result<Answer, TransportError> {
        let request_id = guid();
        tracing::debug!(client_request_id = request_id, host = request.url.host_str(), "token request");
        let mut response = self
            .client()
            .await?
            .post(request.url.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            // Microsoft's support asks for it.
            .header("client-request-id", &request_id)
            .body(request.form.expose().to_owned())
            .send()
            .await
            .map_err(transport_error)?;
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let announced = response.content_length().and_then(|length| usize::try_from(length).ok());
        let mut body = Zeroizing::new(Vec::with_capacity(announced.unwrap_or(8 * 1024).min(ANSWER_OCTETS)));
        while let Some(chunk) = response.chunk().await.map_err(transport_error)? {
            if body.len() + chunk.len() > ANSWER_OCTETS {
                return Err(TransportError {
                    fault: TransportFault::TooLong,
                    detail: "the answer is longer than 256 KiB".into(),
                });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status: response.status().as_u16(), retry_after, body })
    }
}

impl TokenEndpoint for HttpEndpoint {
    fn exchange<'a>(&'a self, request: &'a TokenRequest) -> Exchange<'a> {
        Box::pin(self.post(request))
    }
}

fn setup(error: &(dyn Error + 'static)) -> TransportError {
    TransportError { fault: TransportFault::Setup, detail: chain(error) }
}

fn transport_error(error: reqwest::Error) -> TransportError {
    let error = error.without_url();
    let detail = chain(&error);
    let fault = if certificate_refused(&error) {
        TransportFault::Certificate
    } else if detail.contains("proxy authorization required") {
        TransportFault::ProxyAuthentication
    } else if detail.contains("tunnel error: unsuccessful") {
        TransportFault::ProxyRefused
    } else if error.is_timeout() {
        TransportFault::Timeout
    } else if error.is_connect() {
        TransportFault::Connect
    } else {
        TransportFault::Broken
    };
    TransportError { fault, detail }
}

/// The error and its causes as one clause, without controls.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(400).collect()
}

fn certificate_refused(error: &reqwest::Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        // An I/O error hides what it carries from `source`.
        let inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let tls =
            inner.and_then(|e| e.downcast_ref::<rustls::Error>()).or_else(|| cause.downcast_ref::<rustls::Error>());
        if matches!(tls, Some(rustls::Error::InvalidCertificate(_))) {
            return true;
        }
        source = inner.map(|e| e as &(dyn Error + 'static)).or_else(|| cause.source());
    }
    false
}

/// A random GUID (RFC 9562 §5.4).
fn guid() -> String {
    let mut octets = [0_u8; 16];
    // Without randomness the id names nothing, which harms nobody.
    let _ = rand::fill(&mut octets);
    octets[6] = octets[6] & 0x0F | 0x40;
    octets[8] = octets[8] & 0x3F | 0x80;
    let hex = |part: &[u8]| part.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
    let parts = [&octets[..4], &octets[4..6], &octets[6..8], &octets[8..10], &octets[10..]];
    parts.map(hex).join("-")
}

#[cfg(test)]
mod tests;
