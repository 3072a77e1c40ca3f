//! Google's authorization endpoint, and the page on which a person signs in.

use std::io;

use super::refusal::Refusal;
use super::scope;
use super::settings::GoogleSettings;
use crate::provider::{
    Answer, Asked, Asking, Binding, Challenge, Manner, Person, Provider, ProviderState, Shown, back, error_page,
    is_loopback, sign_in,
};
use crate::state::SandboxState;

/// With what an authorization code begins.
pub(super) const CODE: &str = "4/0A";

/// Serves `/o/oauth2/v2/auth`: a form first, then the redirect.
pub(super) fn authorize(
    shared: &SandboxState,
    settings: &GoogleSettings,
    state: &ProviderState,
    asking: &Asking,
) -> io::Result<Answer> {
    let (mut asked, binding) = match read(settings, asking) {
        Ok(read) => read,
        // Google shows every such error on a page of its own.
        Err(refusal) => return Ok(error_page(&refusal.error, &refusal.description)),
    };
    let redirect_uri = binding.redirect_uri.clone();
    let person = match sign_in(shared, Provider::Google, asking) {
        Shown::Page(page) => return Ok(page),
        Shown::Declined => return back(&redirect_uri, asking, &[("error", "access_denied")]),
        Shown::SignedIn(person) => person,
    };
    let Person(user) = &person;
    // Who has consented before gives a refresh token only when asked for consent again.
    let asks_again = asking.asked("prompt").is_some_and(|prompt| prompt.split(' ').any(|word| word == "consent"));
    let is_offline = asking.asked("access_type") == Some("offline");
    asked.offline = is_offline && (asks_again || !state.grants.has_consented(&asked.client_id, user));
    if state.manners.has(&Manner::FewerScopes) {
        asked.scopes.retain(|scope| scope != scope::MAIL);
    }
    let domain = settings.hosted_domain(user).unwrap_or_default().to_owned();
    let scopes = asked.scopes.join(" ");
    let code = state.grants.code(CODE, asked, binding, person, shared.time.now())?;
    let mut parameters = vec![("code", code.as_str()), ("scope", &scopes), ("authuser", "0")];
    if !domain.is_empty() {
        parameters.push(("hd", &domain));
    }
    parameters.push(("prompt", "consent"));
    back(&redirect_uri, asking, &parameters)
}

fn read(settings: &GoogleSettings, asking: &Asking) -> Result<(Asked, Binding), Refusal> {
    let bad = |description: &str| Refusal::new(400, "invalid_request", description);
    let parameter = |name: &str| {
        let description = format!("Required parameter is missing: {name}");
        asking.asked(name).ok_or_else(|| Refusal::new(400, "invalid_request", description))
    };
    let client_id = parameter("client_id")?;
    if client_id != settings.client_id {
        return Err(Refusal::new(401, "invalid_client", "The OAuth client was not found."));
    }
    let redirect_uri = parameter("redirect_uri")?;
    if !is_loopback(redirect_uri) {
        return Err(Refusal::new(400, "redirect_uri_mismatch", "The redirect URI does not match this type of client."));
    }
    if parameter("response_type")? != "code" {
        return Err(Refusal::new(400, "unsupported_response_type", "Invalid response_type"));
    }
    if let Some(name) = &asking.repeated {
        return Err(bad(&format!("OAuth 2 parameters can only have a single value: {name}")));
    }
    let challenge = match (asking.asked("code_challenge"), asking.asked("code_challenge_method")) {
        (None, None) => None,
        (Some(challenge), Some("S256")) if challenge.len() == 43 => Some(Challenge::S256(challenge.to_owned())),
        (Some(challenge), None | Some("plain")) => Some(Challenge::Plain(challenge.to_owned())),
        (_, Some(_)) => return Err(bad("Invalid parameter value for code_challenge_method")),
    };
    let scopes = scope::of_person(parameter("scope")?)?;
    let nonce = asking.asked("nonce").map(str::to_owned);
    let asked = Asked { client_id: client_id.to_owned(), scopes, nonce, offline: false };
    Ok((asked, Binding { redirect_uri: redirect_uri.to_owned(), challenge }))
}
