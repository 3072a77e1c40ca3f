//! Whether an HTTPS server can be reached.

use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;
use tower_service::Service as _;

use gatepost_config::Origin;
use gatepost_core::failure::Failure;
use gatepost_net::dial::Dialer;
use gatepost_net::explain::{Role, Server};
use gatepost_net::http::{Connector, ConnectorError};
use gatepost_net::tls::client::UpstreamTrust;

/// Connects to `origin` within `most`, with TLS, and closes the connection.
///
/// # Errors
/// The [`Failure`] of a request to it.
pub(crate) async fn reach(
    dialer: &Arc<Dialer>,
    trust: &UpstreamTrust,
    origin: &Origin,
    most: Duration,
) -> Result<(), Failure> {
    let tls = trust.client_config().await.map_err(|error| Server::trust(&error))?;
    let server = Server { host: &origin.host, port: origin.port, name: &origin.name, role: Role::Https };
    let name = if origin.name.contains(':') { format!("[{}]", origin.name) } else { origin.name.clone() };
    let uri: Uri = match format!("https://{name}/").parse() {
        Ok(uri) => uri,
        Err(_) => return Err(server.connector(&ConnectorError::Address)),
    };
    let mut connector = Connector::to_origin(Arc::clone(dialer), Arc::new(tls), most, origin);
    match connector.call(uri).await {
        Ok(_closed) => Ok(()),
        Err(error) => Err(server.connector(&error)),
    }
}
