//! Access tokens of the providers beside Microsoft, and how any token is recognised.

use std::io;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::{ForeignToken, Provider};
use crate::mode::Service;
use crate::state::SandboxState;
use gatepost_core::secret::AccessToken;

/// With what Google's tokens begin.
const GOOGLE: &str = "ya29.a0";
/// With what those of the plain provider begin.
const PLAIN: &str = "plain-";

/// What a token says, to the sandbox alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct OpaqueClaims {
    /// The person, folded; the service account itself where it acts for nobody.
    pub(crate) user: String,
    pub(crate) scopes: Vec<String>,
    /// Milliseconds since 1970.
    pub(crate) expires_at: u64,
    /// The sign-in with which it ends; 0 where nobody signed in.
    pub(crate) number: u64,
}

fn form(provider: Provider) -> Option<&'static str> {
    match provider {
        Provider::Microsoft => None,
        Provider::Google => Some(GOOGLE),
        Provider::Plain => Some(PLAIN),
    }
}

/// A token of a provider beside Microsoft.
pub(crate) fn issue(
    shared: &SandboxState,
    provider: Provider,
    (user, scopes, number): (&str, &[String], u64),
) -> io::Result<AccessToken> {
    let form = form(provider).ok_or_else(|| io::Error::other("Entra gives its own tokens"))?;
    let lifetime = shared.provider(provider).map_or(Duration::ZERO, |state| state.token_lifetime());
    let expires_at = u64::try_from(shared.time.unix().saturating_add(lifetime).as_millis()).unwrap_or(u64::MAX);
    let claims = OpaqueClaims { user: user.to_lowercase(), scopes: scopes.to_vec(), expires_at, number };
    let says = serde_json::to_vec(&claims).map_err(io::Error::other)?;
    Ok(AccessToken::new(format!("{form}{}", URL_SAFE_NO_PAD.encode(shared.sealer.seal(form, &says)?))))
}

/// What a token of a provider beside Microsoft says, whether or not it is still good.
fn read_any(shared: &SandboxState, provider: Provider, token: &str) -> Option<OpaqueClaims> {
    let form = form(provider)?;
    let sealed = URL_SAFE_NO_PAD.decode(token.strip_prefix(form)?).ok()?;
    serde_json::from_slice(&shared.sealer.open(form, &sealed)?).ok()
}

/// What a token says, if it is one of the provider and good.
pub(crate) fn read(shared: &SandboxState, provider: Provider, token: &str) -> Option<OpaqueClaims> {
    let claims = read_any(shared, provider, token)?;
    let ended = shared.provider(provider)?.grants.has_ended(claims.number);
    (shared.time.unix() < Duration::from_millis(claims.expires_at) && !ended).then_some(claims)
}

/// The provider that gave a token, of access or of refresh, whether or not it is still good.
pub(crate) fn provider_of(shared: &SandboxState, token: &str) -> Option<Provider> {
    if shared.mint.read(token).is_some() || shared.sign_ins.knows(token) {
        return Some(Provider::Microsoft);
    }
    [Provider::Google, Provider::Plain].into_iter().find(|&provider| {
        read_any(shared, provider, token).is_some()
            || shared.provider(provider).is_some_and(|state| state.grants.sign_in_of(token).is_some())
    })
}

/// Takes note of a token that arrived at a provider which did not give it, or for a mailbox of
/// another one. Without a `service` it arrived at the token service.
pub(crate) fn note_foreign(shared: &SandboxState, at: Provider, service: Option<Service>, mailbox: &str, token: &str) {
    let Some(of) = provider_of(shared, token) else { return };
    let home = shared.directory.kind_of(mailbox).map(|kind| kind.provider());
    if of != at || home.is_some_and(|home| home != of) {
        shared.foreign.record(ForeignToken { of, at, service, mailbox: mailbox.to_lowercase() });
    }
}
