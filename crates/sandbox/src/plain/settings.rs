//! What the plain provider is configured with.

use gatepost_core::secret::ClientSecret;
use parking_lot::Mutex;

/// How an application says who it is at the token endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// With its name only, as a public client.
    None,
    /// With its secret in the form (RFC 6749 §2.3.1).
    Form,
    /// By HTTP Basic.
    Basic,
}

/// What the plain provider starts with.
#[derive(Debug)]
pub struct PlainConfig {
    /// The name of the application.
    pub client_id: String,
    /// Its secret.
    pub client_secret: ClientSecret,
    /// How it says who it is.
    pub authentication: ClientAuthentication,
    /// The scopes that there are. The first is the one for mail.
    pub scopes: Vec<String>,
}

impl Default for PlainConfig {
    /// The application `gatepost`, a public client, and the scopes `mail`, `offline_access`,
    /// `openid` and `email`. Its secret, where one is wanted, is `plain-secret`.
    fn default() -> Self {
        Self {
            client_id: "gatepost".to_owned(),
            client_secret: ClientSecret::new("plain-secret".to_owned()),
            authentication: ClientAuthentication::None,
            scopes: ["mail", "offline_access", "openid", "email"].map(str::to_owned).to_vec(),
        }
    }
}

/// What all of its parts share.
pub(super) struct PlainSettings {
    /// Its address, which is its issuer too.
    pub(super) base: String,
    pub(super) client_id: String,
    pub(super) client_secret: ClientSecret,
    pub(super) scopes: Vec<String>,
    authentication: Mutex<ClientAuthentication>,
}

impl PlainSettings {
    pub(super) fn new(base: String, config: PlainConfig) -> Self {
        let PlainConfig { client_id, client_secret, authentication, scopes } = config;
        Self { base, client_id, client_secret, scopes, authentication: Mutex::new(authentication) }
    }

    pub(super) fn authentication(&self) -> ClientAuthentication {
        *self.authentication.lock()
    }

    pub(super) fn set_authentication(&self, authentication: ClientAuthentication) {
        *self.authentication.lock() = authentication;
    }

    /// The scopes of a request, by default that for mail; `None` when one does not exist.
    pub(super) fn scopes_of(&self, text: Option<&str>) -> Option<Vec<String>> {
        let Some(text) = text else { return Some(self.scopes.iter().take(1).cloned().collect()) };
        let scopes: Vec<String> = text.split_ascii_whitespace().map(str::to_owned).collect();
        scopes.iter().all(|scope| self.scopes.contains(scope)).then_some(scopes)
    }
}
