//! TLS towards mail clients.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;

use super::identity::{self, IdentityError};
use crate::config::Identity;

/// TLS 1.2 and 1.3 with this certificate; sessions are resumed by tickets whose keys rotate. No early data.
///
/// # Errors
/// Certificate or key cannot be read, or do not belong together.
pub fn config(identity: &Identity) -> Result<Arc<ServerConfig>, IdentityError> {
    let (chain, key) = identity::load(identity)?;
    let builder = ServerConfig::builder_with_provider(super::provider())
        .with_safe_default_protocol_versions()
        .map_err(IdentityError::Unusable)?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key).map_err(IdentityError::Unusable)?;
    config.ticketer = Ticketer::new().map_err(IdentityError::Unusable)?;
    Ok(Arc::new(config))
}
