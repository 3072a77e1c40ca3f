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

#[cfg(test)]
mod tests {
    use super::*;
    use gatepost_config::{Accounts, Config, Limits, Trust};
    use gatepost_core::cause::Cause;
    use gatepost_oauth::fake;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_server_that_is_not_there_or_that_nobody_can_trust_is_not_reached() {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let pem = ("ca.pem".into(), made.cert.pem().into_bytes());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        for (additional_ca, cause) in [(Some(pem), Cause::UpstreamUnreachable), (None, Cause::TrustRootsUnreadable)] {
            let trust = Trust { system_roots: false, additional_ca, destinations: Vec::new() };
            let config: Config = fake::config(Accounts::default(), Limits::default());
            let trust = Arc::new(UpstreamTrust::new(trust));
            let dialer = Arc::new(Dialer::new(Arc::new(config), Arc::clone(&trust)));
            let origin = Origin { host: "127.0.0.1".into(), port, name: "localhost".into() };
            let failure = reach(&dialer, &trust, &origin, Duration::from_secs(60)).await.unwrap_err();
            assert_eq!(failure.cause, cause, "{failure}");
        }
    }
}
