//! Microsoft Graph, as far as mail needs it: an HTTPS client for one origin. Its requests carry the
//! token of a mailbox.
//!
//! `send` sends a message, after `outgoing` has ensured that its recipients are exactly those of
//! the envelope. `sent_items` looks for its copy if Graph did not say whether it took the message,
//! and `loss` says what Graph drops. `large` sends what is too large for `sendMail`. `directory` asks for other things than mail. [`messages`] reads and deletes what has arrived. [`answer`]
//! reads Graph's error answers. `throttle` pauses requests when Graph asks for it.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, AUTHORIZATION, HeaderValue, InvalidHeaderValue, USER_AGENT};
use hyper::http::request::Builder;
use hyper::{Request, Response};
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use body::Base64;
use gatepost_config::{Limits, Origin};
use gatepost_core::account::MailAddress;
use gatepost_core::bounded_map::BoundedMap;
use gatepost_core::secret::AccessToken;
use gatepost_net::dial::Dialer;
use gatepost_net::http::{self, Client, Connector, ConnectorError};
use gatepost_net::tls::TrustError;
use gatepost_net::tls::client::UpstreamTrust;
use gatepost_oauth::endpoint::guid;
use large::DraftState;

pub mod answer;
mod body;
pub(crate) mod directory;
mod judge;
mod large;
mod loss;
pub mod messages;
mod not_sent;
mod outgoing;
mod probe;
mod refused;
mod send;
mod sent_items;
mod throttle;

pub(crate) use large::check_head;
pub use large::{LARGE_OCTETS, MessageOctets};
pub use not_sent::NotSent;
pub use outgoing::MESSAGE_OCTETS;
pub(crate) use outgoing::searchable;
pub use send::{HandOver, Sent};
pub(crate) use sent_items::SentCopy;
pub(crate) use throttle::Throttle;

/// Most mailboxes with drafts that wait for another token. The oldest are forgotten first.
const LEFT_DRAFTS: usize = 1_024;

/// The body of a request.
type Content = Either<Full<Bytes>, Base64>;

/// A client for one Graph endpoint. It uses the same connections and the same verification of
/// servers as mail.
pub struct GraphClient {
    origin: Origin,
    dialer: Arc<Dialer>,
    trust: Arc<UpstreamTrust>,
    connect: Duration,
    answer: Duration,
    client: OnceCell<Client<Content>>,
    /// For files that go to another server of Microsoft's.
    uploads: OnceCell<Client<Content>>,
    throttle: Throttle,
    /// Removes drafts of messages that were broken off.
    removals: TaskTracker,
    /// Drafts that wait for another token of their mailbox.
    left_drafts: Mutex<BoundedMap<MailAddress, Vec<DraftState>>>,
}

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// The trusted roots cannot be read.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// There is no connection, or it broke; see [`GraphError::connector`].
    #[error("ask Microsoft Graph")]
    Exchange(#[source] hyper_util::client::legacy::Error),
}

impl GraphError {
    /// Returns why there is no connection; `None` when there was one. Without a connection, no
    /// request was received.
    pub fn connector(&self) -> Option<&ConnectorError> {
        let mut cause: Option<&(dyn Error + 'static)> = Some(self);
        while let Some(error) = cause {
            if let Some(refused) = error.downcast_ref::<ConnectorError>() {
                return Some(refused);
            }
            cause = error.source();
        }
        None
    }
}

impl GraphClient {
    /// Creates a client for `origin`. Nothing is opened yet.
    pub fn new(origin: Origin, dialer: Arc<Dialer>, trust: Arc<UpstreamTrust>, limits: &Limits) -> Self {
        let connect = limits.connect.max(limits.connect_via_proxy);
        let answer = limits.graph_answer;
        Self {
            origin,
            dialer,
            trust,
            connect,
            answer,
            client: OnceCell::new(),
            uploads: OnceCell::new(),
            throttle: Throttle::default(),
            removals: TaskTracker::new(),
            left_drafts: Mutex::new(BoundedMap::new(LEFT_DRAFTS)),
        }
    }

    /// Returns how much longer Graph wants no requests for a mailbox.
    pub(crate) fn pause_left(&self, mailbox: &MailAddress) -> Duration {
        self.throttle.wait(mailbox)
    }

    /// Returns the origin that it sends requests to.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Returns the address of `path`, which begins with a slash and is encoded.
    pub fn uri(&self, path: &str) -> String {
        format!("https://{}{path}", self.origin.name)
    }

    /// Sends a request with an address from [`GraphClient::uri`], and returns the head of the
    /// answer. It follows no redirects and has no deadline of its own.
    ///
    /// # Errors
    /// See [`GraphError`].
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, GraphError> {
        self.exchange(request.map(Either::Left)).await
    }

    async fn exchange(&self, request: Request<Content>) -> Result<Response<Incoming>, GraphError> {
        self.client().await?.request(request).await.map_err(GraphError::Exchange)
    }

    async fn client(&self) -> Result<&Client<Content>, TrustError> {
        self.client
            .get_or_try_init(|| async {
                let tls = Arc::new(self.trust.client_config().await?);
                Ok(http::client(Connector::to_origin(Arc::clone(&self.dialer), tls, self.connect, &self.origin)))
            })
            .await
    }

    /// Returns the client for addresses of uploads, which goes wherever they say.
    async fn upload_client(&self) -> Result<&Client<Content>, TrustError> {
        self.uploads
            .get_or_try_init(|| async {
                let tls = Arc::new(self.trust.client_config().await?);
                Ok(http::client(Connector::new(Arc::clone(&self.dialer), tls, self.connect)))
            })
            .await
    }
}

/// Adds the header fields of every request: the token, and an id by which Microsoft's support finds
/// it. Also returns that id.
///
/// # Errors
/// The token contains an octet that is not allowed in a header field; [`gatepost_proto::sasl`] and
/// [`gatepost_oauth`] accept no such token.
pub fn authorized(request: Builder, token: &AccessToken) -> Result<(Builder, String), InvalidHeaderValue> {
    let token = token.expose();
    let mut text = Zeroizing::new(Vec::with_capacity("Bearer ".len() + token.len()));
    text.extend_from_slice(b"Bearer ");
    text.extend_from_slice(token.as_bytes());
    let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(text))?;
    value.set_sensitive(true);
    let id = guid();
    let request = request
        .header(AUTHORIZATION, value)
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, concat!("gatepost/", env!("CARGO_PKG_VERSION")))
        .header("client-request-id", &id);
    Ok((request, id))
}
