//! The pages of the providers beside Microsoft: signing in, and typing in the code of a device.

use std::io;

use hyper::{Method, StatusCode};
use url::Url;

use super::grants::Person;
use super::http::{Answer, Asking};
use super::manner::Manner;
use super::{Provider, ProviderState};
use crate::entra::lockout::PasswordVerdict;
use crate::html::{code_field, document, escaped, sign_in_form};
use crate::state::SandboxState;

/// What became of a page that asks for a sign-in.
pub(crate) enum Shown {
    /// It is to be shown, for the first time or again.
    Page(Answer),
    Declined,
    SignedIn(Person),
}

/// A form that asks a person to sign in for an application.
pub(crate) fn sign_in(shared: &SandboxState, provider: Provider, asking: &Asking) -> Shown {
    let hint = asking.query.get("login_hint").map_or("", String::as_str);
    show(shared, provider, asking, |problem| sign_in_form("Sign in", hint, "", problem))
}

fn show(shared: &SandboxState, provider: Provider, asking: &Asking, page: impl Fn(&str) -> String) -> Shown {
    let form_page = |problem: &str| Shown::Page(Answer::Html(StatusCode::OK, document(&page(problem))));
    if asking.method != Method::POST {
        return form_page("");
    }
    let field = |name: &str| asking.form.get(name).map_or("", String::as_str);
    if field("answer") == "decline" {
        return Shown::Declined;
    }
    let user = field("username").to_lowercase();
    match shared.directory.check_password_at(provider, &user, field("password"), shared.time.now()) {
        PasswordVerdict::Right => {
            let another = |manner: &Manner| match manner {
                Manner::AnotherUser(user) => Some(user.to_lowercase()),
                _ => None,
            };
            let another = shared.provider(provider).and_then(|state| state.manners.find(another));
            Shown::SignedIn(Person(another.unwrap_or(user)))
        }
        PasswordVerdict::UnknownUser => form_page("Couldn't find your account."),
        PasswordVerdict::Wrong => form_page("Wrong password. Try again."),
        PasswordVerdict::Locked => form_page("Too many failed attempts. Try again later."),
    }
}

/// The page on which a person types in the code of a device and signs in.
pub(crate) fn device_page(shared: &SandboxState, provider: Provider, state: &ProviderState, asking: &Asking) -> Answer {
    let now = shared.time.now();
    let user_code = asking.form.get("user_code").map_or("", String::as_str);
    let page =
        |problem: &str| sign_in_form("Enter the code that your device shows", "", &code_field(user_code), problem);
    if asking.method == Method::POST && !state.grants.is_pending(user_code, now) {
        return Answer::Html(StatusCode::OK, document(&page("That code did not work. Check it and try again.")));
    }
    let (person, text) = match show(shared, provider, asking, page) {
        Shown::Page(page) => return page,
        Shown::Declined => (None, "You declined."),
        Shown::SignedIn(person) => (Some(person), "You have signed in. You may now close this window."),
    };
    state.grants.decide(user_code, person, now);
    Answer::Html(StatusCode::OK, document(&format!("<p>{text}</p>")))
}

/// A page that tells a person what is wrong with a request. The browser is not redirected, because
/// nobody knows whose address that is (RFC 6749 §4.1.2.1).
pub(crate) fn error_page(error: &str, description: &str) -> Answer {
    let content = format!("<h1>Error 400: {}</h1><p>{}</p>", escaped(error), escaped(description));
    Answer::Html(StatusCode::BAD_REQUEST, document(&content))
}

/// The browser goes back to the application, with the state that it brought.
pub(crate) fn back(redirect_uri: &str, asking: &Asking, parameters: &[(&str, &str)]) -> io::Result<Answer> {
    let mut url = Url::parse(redirect_uri).map_err(io::Error::other)?;
    if let Some(state) = asking.query.get("state") {
        url.query_pairs_mut().append_pair("state", state);
    }
    url.query_pairs_mut().extend_pairs(parameters);
    Ok(Answer::Redirect(url.into()))
}

/// Whether an address is one of this machine, at any port (RFC 8252 §7.3).
pub(crate) fn is_loopback(redirect_uri: &str) -> bool {
    Url::parse(redirect_uri).is_ok_and(|url| {
        url.scheme() == "http"
            && matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"))
            && url.fragment().is_none()
            && url.username().is_empty()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_goes_to_this_machine_at_any_port() {
        for good in ["http://127.0.0.1:1234", "http://127.0.0.1:80/done", "http://[::1]:5/", "http://localhost:9/x?y=1"]
        {
            assert!(is_loopback(good), "{good}");
        }
        for bad in [
            "https://127.0.0.1:1234",
            "http://127.0.0.2:1",
            "http://127.0.0.1.example:1",
            "http://localhost.example",
            "http://x@localhost:1",
            "http://localhost:1/#x",
            "urn:ietf:wg:oauth:2.0:oob",
            "",
        ] {
            assert!(!is_loopback(bad), "{bad}");
        }
    }
}
