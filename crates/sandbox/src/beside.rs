//! What a sandbox has beside the tenant: personal accounts, and other providers.

use std::io;

use super::Sandbox;
use super::audience::SignInAudience;
use super::google::{Google, GoogleConfig};
use super::plain::{Plain, PlainConfig};
use super::provider::ForeignToken;

impl Sandbox {
    /// Starts Google beside Microsoft, once for a sandbox.
    ///
    /// # Errors
    /// When no address can be bound, or when it was started before.
    pub async fn start_google(&self, config: GoogleConfig) -> io::Result<Google> {
        Google::start(&self.shared, config).await
    }

    /// Starts a provider by the RFCs beside Microsoft, once for a sandbox.
    ///
    /// # Errors
    /// When no address can be bound, or when it was started before.
    pub async fn start_plain(&self, config: PlainConfig) -> io::Result<Plain> {
        Plain::start(&self.shared, config).await
    }

    /// The tokens, of access or of refresh, that arrived where they must never be seen: at another
    /// provider than the one that gave them, or for a mailbox of another one. In order.
    pub fn foreign_tokens(&self) -> Vec<ForeignToken> {
        self.shared.foreign.all()
    }

    /// Whom an application, named by its client id, was registered for.
    pub fn set_sign_in_audience(&self, client_id: &str, audience: SignInAudience) {
        self.shared.audiences.set(client_id, audience);
    }
}
