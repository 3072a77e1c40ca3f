//! The authorization endpoint of the plain provider (RFC 6749 §4.1.1), which wants PKCE.

use std::io;

use super::refusal::Refusal;
use super::settings::PlainSettings;
use crate::provider::{
    Answer, Asked, Asking, Binding, Challenge, Manner, Provider, ProviderState, Shown, back, error_page, is_loopback,
    sign_in,
};
use crate::state::SandboxState;

/// Serves `/authorize`: a form first, then the redirect.
pub(super) fn authorize(
    shared: &SandboxState,
    settings: &PlainSettings,
    state: &ProviderState,
    asking: &Asking,
) -> io::Result<Answer> {
    let (client_id, redirect_uri) = match check_target(settings, asking) {
        Ok(target) => target,
        Err(refusal) => return Ok(error_page(&refusal.error, &refusal.description)),
    };
    let (scopes, challenge) = match read(settings, asking) {
        Ok(read) => read,
        Err(refusal) => {
            let told = [("error", refusal.error.as_str()), ("error_description", &refusal.description)];
            return back(redirect_uri, asking, &told);
        }
    };
    let person = match sign_in(shared, Provider::Plain, asking) {
        Shown::Page(page) => return Ok(page),
        Shown::Declined => return back(redirect_uri, asking, &[("error", "access_denied")]),
        Shown::SignedIn(person) => person,
    };
    let nonce = asking.asked("nonce").map(str::to_owned);
    let offline = scopes.iter().any(|scope| scope == "offline_access");
    let mut asked = Asked { client_id: client_id.to_owned(), scopes, nonce, offline };
    if state.manners.has(&Manner::FewerScopes) {
        asked.scopes.retain(|scope| Some(scope) != settings.scopes.first());
    }
    let binding = Binding { redirect_uri: redirect_uri.to_owned(), challenge: Some(challenge) };
    let code = state.grants.code("", asked, binding, person, shared.time.now())?;
    // RFC 9207: the answer says whose it is.
    back(redirect_uri, asking, &[("code", &code), ("iss", &settings.base)])
}

fn check_target<'a>(settings: &PlainSettings, asking: &'a Asking) -> Result<(&'a str, &'a str), Refusal> {
    let client_id = asking.asked("client_id").ok_or_else(|| Refusal::missing("client_id"))?;
    if client_id != settings.client_id {
        return Err(Refusal::new("invalid_client", "The client is not known."));
    }
    let redirect_uri = asking.asked("redirect_uri").ok_or_else(|| Refusal::missing("redirect_uri"))?;
    if !is_loopback(redirect_uri) {
        return Err(Refusal::new("invalid_request", "The redirect URI is not registered."));
    }
    Ok((client_id, redirect_uri))
}

fn read(settings: &PlainSettings, asking: &Asking) -> Result<(Vec<String>, Challenge), Refusal> {
    if let Some(name) = &asking.repeated {
        return Err(Refusal::new("invalid_request", format!("The parameter {name} is repeated.")));
    }
    let parameter = |name: &str| asking.asked(name).ok_or_else(|| Refusal::missing(name));
    if parameter("response_type")? != "code" {
        return Err(Refusal::new("unsupported_response_type", "Only codes are issued."));
    }
    let challenge = parameter("code_challenge")?;
    if parameter("code_challenge_method")? != "S256" || challenge.len() != 43 {
        return Err(Refusal::new("invalid_request", "The challenge must be one of the method S256."));
    }
    let scopes = settings.scopes_of(asking.asked("scope"));
    let scopes = scopes.ok_or_else(|| Refusal::new("invalid_scope", "The scope is not known."))?;
    Ok((scopes, Challenge::S256(challenge.to_owned())))
}
