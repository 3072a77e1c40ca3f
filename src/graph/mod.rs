//! Microsoft Graph, as far as mail needs it: an HTTPS client for one origin, whose requests carry the token of a mailbox.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use tokio::sync::OnceCell;

use crate::config::Origin;
use crate::net::dial::Dialer;
use crate::net::http::{self, Client, Connector};
use crate::tls::client::{TrustError, UpstreamTrust};

/// A client for one Graph. Its connections go the way that mail goes, and whoever answers is verified as for mail.
pub struct GraphClient {
    origin: Origin,
    dialer: Arc<Dialer>,
    trust: Arc<UpstreamTrust>,
    connect: Duration,
    client: OnceCell<Client<Full<Bytes>>>,
}

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// The trusted roots cannot be read.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// No connection, or it broke; [`http::ConnectorError`] is among the sources of the former.
    #[error("ask Microsoft Graph")]
    Exchange(#[source] hyper_util::client::legacy::Error),
}

impl GraphClient {
    /// For `origin`; a connection must stand within `connect`. Nothing is opened yet.
    pub fn new(origin: Origin, dialer: Arc<Dialer>, trust: Arc<UpstreamTrust>, connect: Duration) -> Self {
        Self { origin, dialer, trust, connect, client: OnceCell::new() }
    }

    /// Where it asks.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The address of `path`, which begins with a slash and is encoded.
    pub fn uri(&self, path: &str) -> String {
        format!("https://{}{path}", self.origin.name)
    }

    /// Sends a request whose address is of [`GraphClient::uri`]; the result is the head of the answer. Redirects are not
    /// followed. Without a deadline of its own.
    ///
    /// # Errors
    /// See [`GraphError`].
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, GraphError> {
        self.client().await?.request(request).await.map_err(GraphError::Exchange)
    }

    async fn client(&self) -> Result<&Client<Full<Bytes>>, TrustError> {
        self.client
            .get_or_try_init(|| async {
                let tls = Arc::new(self.trust.client_config().await?);
                Ok(http::client(Connector::to_origin(Arc::clone(&self.dialer), tls, self.connect, &self.origin)))
            })
            .await
    }
}
