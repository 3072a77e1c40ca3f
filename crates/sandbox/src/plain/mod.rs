//! A provider with an authorization server by the RFCs alone (6749, 7009, 7636, 8414, 8628), and
//! with the bad manners that others have, on demand.

mod authorize;
mod refusal;
mod settings;
mod token;

use std::io;
use std::ops::Deref;
use std::sync::Arc;

use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;

pub use settings::{ClientAuthentication, PlainConfig};

use self::settings::PlainSettings;
use crate::provider::{
    AccountKind, Answer, Asking, Manner, Provider, ProviderHandle, ProviderState, Respond, Started, device_page,
    json_answer, serve, start as start_mail,
};
use crate::service;
use crate::state::SandboxState;

/// A running plain provider: what a test does with it, beside what it does with any provider.
pub struct Plain {
    handle: ProviderHandle,
    shared: Arc<SandboxState>,
    settings: Arc<PlainSettings>,
}

impl Deref for Plain {
    type Target = ProviderHandle;

    fn deref(&self) -> &ProviderHandle {
        &self.handle
    }
}

impl Plain {
    /// Starts the token service and the mail servers.
    pub(super) async fn start(shared: &Arc<SandboxState>, config: PlainConfig) -> io::Result<Self> {
        let listener = TcpListener::bind((shared.address, 0)).await?;
        let address = listener.local_addr()?;
        let base = format!("https://localhost:{}", address.port());
        let mail_scope = config.scopes.first().cloned();
        let mail_scope = mail_scope.ok_or_else(|| io::Error::other("there is no scope for mail"))?;
        let (client_id, scopes) = (config.client_id.clone(), config.scopes.clone());
        shared.plain.start(Started { base: base.clone(), client_id, scopes, mail_scope })?;
        let settings = Arc::new(PlainSettings::new(base, config));
        let endpoints = Arc::new(Endpoints(Arc::clone(&settings)));
        service::spawn(shared, listener, move |shared, tcp| {
            let endpoints = Arc::clone(&endpoints);
            async move {
                if let Err(error) = serve(shared, Provider::Plain, endpoints, tcp).await {
                    tracing::debug!(%error, "sandbox: a connection to the plain token service ended");
                }
            }
        });
        let ports = start_mail(shared, Provider::Plain).await?;
        let handle = ProviderHandle::new(Arc::clone(shared), AccountKind::Plain, (address, ports));
        Ok(Self { handle, shared: Arc::clone(shared), settings })
    }

    /// The name of the application.
    pub fn client_id(&self) -> &str {
        &self.settings.client_id
    }

    /// How the application must say who it is from now on.
    pub fn set_client_authentication(&self, authentication: ClientAuthentication) {
        self.settings.set_authentication(authentication);
    }

    /// Whether each use of a refresh token gives a new one, and a second use of an old one ends the
    /// sign-in; so it is at the start.
    pub fn set_rotation(&self, rotates: bool) {
        self.shared.plain.change_rules(|rules| rules.rotates = rotates);
    }
}

struct Endpoints(Arc<PlainSettings>);

impl Respond for Endpoints {
    fn is_page(&self, path: &str) -> bool {
        matches!(path, "/authorize" | "/device")
    }

    fn respond(&self, shared: &SandboxState, state: &ProviderState, asking: &Asking) -> io::Result<Answer> {
        let Self(settings) = self;
        let posts = asking.method == Method::POST;
        match asking.path.as_str() {
            "/authorize" => authorize::authorize(shared, settings, state, asking),
            "/device" => Ok(device_page(shared, Provider::Plain, state, asking)),
            "/.well-known/oauth-authorization-server" | "/.well-known/openid-configuration" if !posts => {
                Ok(json_answer(StatusCode::OK, metadata(settings, state)))
            }
            "/jwks" if !posts => Ok(json_answer(StatusCode::OK, shared.id_token_key.key_set()?)),
            "/token" if posts => token::token(shared, settings, state, asking),
            "/device_authorization" if posts => token::device(shared, settings, state, asking),
            "/revoke" if posts => Ok(token::revoke(shared, settings, state, asking)),
            "/token" | "/device_authorization" | "/revoke" => Ok(Answer::MethodNotAllowed),
            _ => Ok(Answer::NotFound),
        }
    }
}

/// The public metadata (RFC 8414 §2).
fn metadata(settings: &PlainSettings, state: &ProviderState) -> Value {
    let base = &settings.base;
    let has = |manner| state.manners.has(&manner);
    let issuer = if has(Manner::MetadataOfOtherIssuer) { "https://elsewhere.example" } else { base };
    let host = if has(Manner::MetadataOfOtherHost) { "https://elsewhere.example" } else { base };
    let method = match settings.authentication() {
        ClientAuthentication::None => "none",
        ClientAuthentication::Form => "client_secret_post",
        ClientAuthentication::Basic => "client_secret_basic",
    };
    json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{base}/authorize"),
        "token_endpoint": format!("{host}/token"),
        "device_authorization_endpoint": format!("{base}/device_authorization"),
        "revocation_endpoint": format!("{base}/revoke"),
        "jwks_uri": format!("{base}/jwks"),
        "scopes_supported": settings.scopes,
        "response_types_supported": ["code"],
        "grant_types_supported": ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
        "token_endpoint_auth_methods_supported": [method],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
    })
}

#[cfg(test)]
mod tests;
