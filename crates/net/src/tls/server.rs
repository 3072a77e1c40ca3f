//! TLS towards mail clients.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::net::TcpStream;

use super::provider::provider;
use gatepost_config::Identity;
use gatepost_config::server_identity::{self as identity, IdentityError};
use gatepost_core::protocol::Protocol;

/// Why a listener has no TLS.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The certificate or its key is not usable.
    #[error("the certificate `{}` with the key `{}`: {source}. {}", .identity.certificate.display(), .identity.private_key.display(), .source.remedy())]
    Identity {
        /// The files.
        identity: Identity,
        /// What is wrong with them.
        source: IdentityError,
    },
    /// The TLS library refuses; the configuration is not the cause.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

/// Creates a configuration for TLS 1.2 and 1.3 with this certificate. Sessions are resumed by
/// tickets whose keys rotate. There is no early data.
///
/// # Errors
/// Certificate or key cannot be read, or do not belong together.
pub fn config(identity: &Identity) -> Result<Arc<ServerConfig>, ServerError> {
    let certified = load(identity)?;
    Ok(presenting(certified)?)
}

/// Reads certificate and key, as [`config()`] does.
///
/// # Errors
/// They cannot be read, or do not belong together.
pub fn load(identity: &Identity) -> Result<CertifiedKey, ServerError> {
    identity::load(identity).map_err(|source| ServerError::Identity { identity: identity.clone(), source })
}

/// Like [`config()`], but with a certificate and key read before.
///
/// # Errors
/// The TLS library refuses; the configuration is not the cause.
pub fn presenting(certified: CertifiedKey) -> Result<Arc<ServerConfig>, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.ticketer = Ticketer::new()?;
    // `tls::session` handles the records after the handshake.
    config.enable_secret_extraction = true;
    Ok(Arc::new(config))
}

/// Waits for the first octets of a connection, and leaves them in the socket: up to 1 KiB, which
/// holds the hello of any old client. Empty if the connection ended.
///
/// # Errors
/// The connection broke.
///
/// # Cancel safety
/// Nothing is lost when the future is dropped.
pub async fn first_octets(socket: &TcpStream) -> io::Result<Vec<u8>> {
    let mut octets = vec![0; 1024];
    let count = socket.peek(&mut octets).await?;
    octets.truncate(count);
    Ok(octets)
}

/// The names of a listener's protocol in the handshake (IANA's list of ALPN protocol IDs). SMTP has
/// no registered name; clients that offer one call it `smtp`.
pub fn names(protocol: Protocol) -> &'static [&'static str] {
    match protocol {
        Protocol::Imap => &["imap"],
        Protocol::Pop3 => &["pop3"],
        Protocol::Smtp => &["smtp"],
        Protocol::Ews | Protocol::Graph => &["h2", "http/1.1"],
    }
}

/// Returns the same configuration for protocols with these names. A client that offers only others
/// is refused in the handshake (RFC 7301 §3.2), so that what it meant for another server is not
/// accepted here. A client that offers none is served.
pub fn speaking(tls: &ServerConfig, names: &[&str]) -> Arc<ServerConfig> {
    let mut tls = tls.clone();
    tls.alpn_protocols = names.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(tls)
}
