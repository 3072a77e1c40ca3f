//! What Google's side is configured with.

use std::collections::HashMap;

use parking_lot::Mutex;

use gatepost_core::secret::ClientSecret;

/// What Google's side starts with.
#[derive(Debug)]
pub struct GoogleConfig {
    /// The client id of an application of the type "Desktop app".
    pub client_id: String,
    /// Its secret, which Google wants although everybody can have it.
    pub client_secret: ClientSecret,
}

impl Default for GoogleConfig {
    /// An application whose secret is `GOCSPX-sandbox`: the sandbox guards nothing.
    fn default() -> Self {
        Self {
            client_id: "812345678901-sandbox.apps.googleusercontent.com".to_owned(),
            client_secret: ClientSecret::new("GOCSPX-sandbox".to_owned()),
        }
    }
}

/// A service account, as Google knows it.
pub(super) struct ServiceAccount {
    pub(super) key_id: String,
    pub(super) public_key: Vec<u8>,
    /// The scopes that the domain's administrator has delegated.
    pub(super) delegated: Vec<String>,
}

/// What all of Google's parts share.
pub(super) struct GoogleSettings {
    /// Where the token service is, without a slash at its end.
    pub(super) base: String,
    pub(super) client_id: String,
    pub(super) client_secret: ClientSecret,
    /// By address.
    pub(super) service_accounts: Mutex<HashMap<String, ServiceAccount>>,
}

impl GoogleSettings {
    /// The domain of Google Workspace that an account belongs to; none for one of Gmail.
    pub(super) fn hosted_domain<'a>(&self, user: &'a str) -> Option<&'a str> {
        let (_, domain) = user.rsplit_once('@')?;
        (!domain.starts_with("gmail.") && !domain.starts_with("googlemail.")).then_some(domain)
    }
}
