//! Posts a form to a token endpoint, directly or through the corporate proxy.

use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::rand;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Response};
use tokio::sync::OnceCell;
use tokio::time::timeout;
use url::Url;
use zeroize::Zeroizing;

use crate::grant::TokenHttpRequest;
use crate::response::ANSWER_OCTETS;
use gatepost_core::clock::Clock;
use gatepost_core::failure::{Failure, chain};
use gatepost_core::secret::AccessToken;
use gatepost_net::dial::Dialer;
use gatepost_net::error::DialError;
use gatepost_net::explain::{self, Role, Server};
use gatepost_net::http::{self, Client, Connector, ConnectorError};
use gatepost_net::tls::client::UpstreamTrust;
use gatepost_proto::tunnel::connect::ConnectErrorKind;
use gatepost_proto::tunnel::socks::SocksErrorKind;

/// What Gatepost calls itself in requests.
const AGENT: &str = concat!("gatepost/", env!("CARGO_PKG_VERSION"));

/// An HTTP answer, from the token endpoint or from something in between.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The `Retry-After` header, unparsed.
    pub retry_after: Option<String>,
    /// The `Date` header, unparsed.
    pub date: Option<String>,
    /// At most [`ANSWER_OCTETS`].
    pub body: Zeroizing<Vec<u8>>,
}

/// Why there was no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct TransportError {
    /// Where it failed.
    pub fault: TransportFault,
    /// What happened, in plain words; no secret, no URL.
    pub detail: String,
    /// The failure for people, where it is one of connecting, which mail meets as well.
    pub connecting: Option<Box<Failure>>,
}

impl TransportError {
    /// An error that is not about connecting.
    pub fn new(fault: TransportFault, detail: impl Into<String>) -> Self {
        Self { fault, detail: detail.into(), connecting: None }
    }
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
    /// The forward proxy could not open the tunnel.
    ProxyUnable,
    /// No answer in time.
    Timeout,
    /// The connection broke, or the answer was no HTTP.
    Broken,
    /// More than [`ANSWER_OCTETS`].
    TooLong,
}

impl TransportFault {
    /// Whether it may pass without anybody having acted.
    pub fn may_pass(self) -> bool {
        matches!(self, Self::Connect | Self::ProxyUnable | Self::Timeout | Self::Broken)
    }
}

/// What an exchange comes to.
pub type Exchange<'a> = Pin<Box<dyn Future<Output = Result<Answer, TransportError>> + Send + 'a>>;

/// Where token requests go.
pub trait TokenEndpoint: Send + Sync {
    /// Posts the form and reads the answer. Dropping the future aborts the exchange.
    fn exchange<'a>(&'a self, request: &'a TokenHttpRequest) -> Exchange<'a>;
}

/// The real token endpoint. The HTTP client is created at its first use, because a start should not
/// wait for it.
pub struct HttpEndpoint {
    dialer: Arc<Dialer>,
    trust: Arc<UpstreamTrust>,
    request: Duration,
    client: OnceCell<Client<Full<Bytes>>>,
}

impl HttpEndpoint {
    /// Requests use connections of `dialer`. `trust` verifies the server's certificate, as it does
    /// for mail. `request` bounds each request; half of it is for the connection.
    pub fn new(dialer: Arc<Dialer>, trust: Arc<UpstreamTrust>, request: Duration) -> Self {
        Self { dialer, trust, request, client: OnceCell::new() }
    }

    async fn client(&self) -> Result<&Client<Full<Bytes>>, TransportError> {
        self.client
            .get_or_try_init(|| async {
                let tls = self.trust.client_config().await.map_err(|error| setup(&error))?;
                Ok(http::client(Connector::new(Arc::clone(&self.dialer), Arc::new(tls), self.request / 2)))
            })
            .await
    }

    /// Gets a public document of the authority, by the same connections as tokens.
    ///
    /// # Errors
    /// [`TransportError`].
    pub async fn get(&self, url: &Url) -> Result<Answer, TransportError> {
        let request = Request::get(url.as_str())
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, AGENT)
            .header("client-request-id", guid())
            .body(Full::default())
            .map_err(|error| setup(&error))?;
        self.send(request, Role::Entra).await
    }

    /// Sends a request to Microsoft Graph for the application itself: with `json` a POST.
    ///
    /// # Errors
    /// [`TransportError`].
    pub async fn ask_graph(
        &self,
        url: &Url,
        token: &AccessToken,
        json: Option<Zeroizing<String>>,
    ) -> Result<Answer, TransportError> {
        let request = if json.is_some() { Request::post(url.as_str()) } else { Request::get(url.as_str()) };
        let mut bearer = HeaderValue::try_from(&*Zeroizing::new(format!("Bearer {}", token.expose())))
            .map_err(|error| setup(&error))?;
        bearer.set_sensitive(true);
        let request = request
            .header(AUTHORIZATION, bearer)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, AGENT)
            .header("client-request-id", guid())
            .body(json.map_or_else(Full::default, |json| Full::new(Bytes::from_owner(Octets(json)))))
            .map_err(|error| setup(&error))?;
        self.send(request, Role::Https).await
    }

    async fn post(&self, request: &TokenHttpRequest) -> Result<Answer, TransportError> {
        let request_id = guid();
        tracing::debug!(client_request_id = request_id, host = request.url.host_str(), "token request");
        let mut posted = Request::post(request.url.as_str());
        if let Some(authorization) = &request.authorization {
            let mut value = HeaderValue::from_str(authorization.expose()).map_err(|error| setup(&error))?;
            value.set_sensitive(true);
            posted = posted.header(AUTHORIZATION, value);
        }
        let request = posted
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, AGENT)
            // Microsoft's support asks for it.
            .header("client-request-id", &request_id)
            .body(Full::new(Bytes::from_owner(Zeroizing::new(request.form.expose().as_bytes().to_vec()))))
            .map_err(|error| setup(&error))?;
        self.send(request, Role::Entra).await
    }

    async fn send(&self, request: Request<Full<Bytes>>, role: Role) -> Result<Answer, TransportError> {
        let host = request.uri().host().unwrap_or_default().to_owned();
        let host = host.trim_matches(['[', ']']);
        let port = request.uri().port_u16().unwrap_or(443);
        let server = Server { host, port, name: host, role };
        let exchange = async {
            let sent = self.client().await?.request(request).await;
            let response = sent.map_err(|error| transport_error(&error, &server))?;
            let answer = answer(response).await?;
            if role == Role::Entra {
                self.learn_clock(answer.date.as_deref());
            }
            Ok(answer)
        };
        timeout(self.request, exchange).await.unwrap_or_else(|_| {
            let detail = format!("no answer within {:?}", self.request);
            Err(TransportError::new(TransportFault::Timeout, detail))
        })
    }

    /// Notes how far Entra's clock is from this machine's, for errors about the dates of
    /// certificates.
    fn learn_clock(&self, date: Option<&str>) {
        let there = date.and_then(|date| httpdate::parse_http_date(date).ok());
        let there = there.and_then(|there| there.duration_since(SystemTime::UNIX_EPOCH).ok());
        if let Some(there) = there.and_then(|there| i64::try_from(there.as_secs()).ok()) {
            let here = i64::try_from(Clock::system().unix_time().0).unwrap_or(i64::MAX);
            self.trust.learn_clock(there.saturating_sub(here));
        }
    }
}

/// A text as octets, which are erased afterwards.
struct Octets(Zeroizing<String>);

impl AsRef<[u8]> for Octets {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

async fn answer(response: Response<Incoming>) -> Result<Answer, TransportError> {
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (retry_after, date) = (header(RETRY_AFTER), header(DATE));
    let (status, mut incoming) = (response.status().as_u16(), response.into_body());
    let announced = incoming.size_hint().exact().and_then(|length| usize::try_from(length).ok());
    let mut body = Zeroizing::new(Vec::with_capacity(announced.unwrap_or(8 * 1024).min(ANSWER_OCTETS)));
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|error| TransportError::new(TransportFault::Broken, explain::exchange(&error)))?;
        let Some(chunk) = frame.data_ref() else { continue };
        if body.len() + chunk.len() > ANSWER_OCTETS {
            return Err(TransportError::new(TransportFault::TooLong, "the answer is longer than 256 KiB"));
        }
        body.extend_from_slice(chunk);
    }
    Ok(Answer { status, retry_after, date, body })
}

impl TokenEndpoint for HttpEndpoint {
    fn exchange<'a>(&'a self, request: &'a TokenHttpRequest) -> Exchange<'a> {
        Box::pin(self.post(request))
    }
}

pub(super) fn setup(error: &(dyn Error + 'static)) -> TransportError {
    TransportError::new(TransportFault::Setup, chain(error))
}

/// Classifies a failed exchange by the first known error in its chain.
fn transport_error(error: &(dyn Error + 'static), server: &Server<'_>) -> TransportError {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(refused) = error.downcast_ref::<ConnectorError>() {
            let told = server.connector(refused);
            return TransportError {
                fault: connection_fault(refused),
                detail: told.message.clone(),
                connecting: Some(Box::new(told)),
            };
        }
        cause = error.source();
    }
    TransportError::new(TransportFault::Broken, explain::exchange(error))
}

fn connection_fault(error: &ConnectorError) -> TransportFault {
    match error {
        ConnectorError::Address | ConnectorError::Dial(DialError::ProxyTrust(_)) => TransportFault::Setup,
        #[cfg(feature = "pac")]
        ConnectorError::Dial(DialError::Pac(_)) => TransportFault::Setup,
        ConnectorError::Dial(DialError::Proxy(error)) => match &error.kind {
            ConnectErrorKind::Refused { status: 407, .. } | ConnectErrorKind::Authentication(_) => {
                TransportFault::ProxyAuthentication
            }
            ConnectErrorKind::Refused { status: 500..=599, .. } => TransportFault::ProxyUnable,
            _ => TransportFault::ProxyRefused,
        },
        ConnectorError::Dial(DialError::Socks(error)) => match &error.kind {
            SocksErrorKind::Credentials | SocksErrorKind::Method { .. } => TransportFault::ProxyAuthentication,
            // RFC 1928 §6: general failure, network or host unreachable, connection refused, TTL.
            SocksErrorKind::Refused(1 | 3..=6) => TransportFault::ProxyUnable,
            _ => TransportFault::ProxyRefused,
        },
        ConnectorError::Tls(error) if certificate_refused(error) => TransportFault::Certificate,
        ConnectorError::Dial(_) | ConnectorError::EarlyBytes | ConnectorError::Tls(_) => TransportFault::Connect,
    }
}

fn certificate_refused(error: &io::Error) -> bool {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(tls, Some(rustls::Error::InvalidCertificate(_)))
}

/// A random GUID (RFC 9562 §5.4).
pub fn guid() -> String {
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
