//! Google: its endpoints for OAuth 2.0, as desktop applications, devices and service accounts use
//! them, and the mail servers of Gmail.

mod authorize;
mod refusal;
mod scope;
mod service_account;
mod settings;
mod token;

use std::io;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;

pub use service_account::ServiceAccountKey;
pub use settings::GoogleConfig;

use self::settings::GoogleSettings;
use crate::provider::{
    AccountKind, Answer, Asking, Provider, ProviderHandle, ProviderState, Respond, Started, device_page, json_answer,
    serve, start as start_mail,
};
use crate::service;
use crate::state::SandboxState;

/// How long a refresh token lives while the application is in the publishing status "Testing".
const TESTING: Duration = Duration::from_secs(7 * 24 * 3_600);

/// A running Google: what a test does with it, beside what it does with any provider.
pub struct Google {
    handle: ProviderHandle,
    shared: Arc<SandboxState>,
    settings: Arc<GoogleSettings>,
}

impl Deref for Google {
    type Target = ProviderHandle;

    fn deref(&self) -> &ProviderHandle {
        &self.handle
    }
}

impl Google {
    /// Starts the token service and the mail servers.
    pub(super) async fn start(shared: &Arc<SandboxState>, config: GoogleConfig) -> io::Result<Self> {
        let listener = TcpListener::bind((shared.address, 0)).await?;
        let address = listener.local_addr()?;
        let base = format!("https://localhost:{}", address.port());
        let scopes = [scope::MAIL, "openid", "email"].map(str::to_owned).to_vec();
        let (client_id, mail_scope) = (config.client_id.clone(), scope::MAIL.to_owned());
        shared.google.start(Started { base: base.clone(), client_id, scopes, mail_scope })?;
        let settings = Arc::new(GoogleSettings {
            base,
            client_id: config.client_id,
            client_secret: config.client_secret,
            service_accounts: parking_lot::Mutex::default(),
        });
        let endpoints = Arc::new(Endpoints(Arc::clone(&settings)));
        service::spawn(shared, listener, move |shared, tcp| {
            let endpoints = Arc::clone(&endpoints);
            async move {
                if let Err(error) = serve(shared, Provider::Google, endpoints, tcp).await {
                    tracing::debug!(%error, "sandbox: a connection to Google's token service ended");
                }
            }
        });
        let ports = start_mail(shared, Provider::Google).await?;
        let handle = ProviderHandle::new(Arc::clone(shared), AccountKind::Google, (address, ports));
        Ok(Self { handle, shared: Arc::clone(shared), settings })
    }

    /// The client id of the desktop application.
    pub fn client_id(&self) -> &str {
        &self.settings.client_id
    }

    /// Makes a service account of this address with a key, in place of one that has the address.
    /// Nothing is delegated to it.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn add_service_account(&self, email: &str) -> io::Result<ServiceAccountKey> {
        let (account, key) = service_account::make(email, &format!("{}/token", self.settings.base))?;
        self.settings.service_accounts.lock().insert(email.to_owned(), account);
        Ok(key)
    }

    /// The scopes that the administrator of the domain has delegated to a service account; whether
    /// there is such a one.
    pub fn set_delegation(&self, email: &str, scopes: &[&str]) -> bool {
        let mut accounts = self.settings.service_accounts.lock();
        accounts.get_mut(email).is_some_and(|account| {
            account.delegated = scopes.iter().map(|&scope| scope.to_owned()).collect();
            true
        })
    }

    /// Whether the application is in the publishing status "Testing", in which refresh tokens end
    /// after seven days.
    pub fn set_testing(&self, testing: bool) {
        self.shared.google.change_rules(|rules| rules.lifetime = testing.then_some(TESTING));
    }
}

/// The endpoints, all on one host here.
struct Endpoints(Arc<GoogleSettings>);

impl Respond for Endpoints {
    fn is_page(&self, path: &str) -> bool {
        matches!(path, "/o/oauth2/v2/auth" | "/device")
    }

    fn respond(&self, shared: &SandboxState, state: &ProviderState, asking: &Asking) -> io::Result<Answer> {
        let Self(settings) = self;
        let posts = asking.method == Method::POST;
        match asking.path.as_str() {
            "/o/oauth2/v2/auth" => authorize::authorize(shared, settings, state, asking),
            "/device" => Ok(device_page(shared, Provider::Google, state, asking)),
            "/.well-known/openid-configuration" if !posts => Ok(json_answer(StatusCode::OK, metadata(&settings.base))),
            "/oauth2/v3/certs" if !posts => Ok(json_answer(StatusCode::OK, shared.id_token_key.key_set()?)),
            "/token" if posts => token::token(shared, settings, state, asking),
            "/device/code" if posts => token::device(shared, settings, state, asking),
            "/revoke" if posts => Ok(token::revoke(shared, state, asking)),
            "/token" | "/device/code" | "/revoke" => Ok(Answer::MethodNotAllowed),
            _ => Ok(Answer::NotFound),
        }
    }
}

/// The public metadata (OpenID Connect Discovery 1.0 §4.2). The issuer stays Google's own.
fn metadata(base: &str) -> Value {
    json!({
        "issuer": "https://accounts.google.com",
        "authorization_endpoint": format!("{base}/o/oauth2/v2/auth"),
        "device_authorization_endpoint": format!("{base}/device/code"),
        "token_endpoint": format!("{base}/token"),
        "revocation_endpoint": format!("{base}/revoke"),
        "jwks_uri": format!("{base}/oauth2/v3/certs"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
        "code_challenge_methods_supported": ["plain", "S256"],
    })
}

#[cfg(test)]
mod tests;
