//! The paths of sign-ins: those within a session, and the one to which a browser returns from
//! Entra.

use std::sync::Arc;

use axum::extract::{Extension, Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use url::form_urlencoded;

use super::answer::{Page, set_cookie, to};
use super::form::Form;
use super::pending::{SignIn, Way};
use super::{guard, page};
use crate::admin::sessions::Visitor;
use crate::admin::state::SharedState;
use gatepost_core::account::LoginName;
use gatepost_oauth::sign_in::code::pasted_query;

/// The path of one sign-in, below the path of a session.
#[derive(serde::Deserialize)]
pub(super) struct SignInPath {
    id: String,
}

/// Serves the login page, or a browser that Entra has sent back, at the name that Entra accepts.
/// `state` tells which sign-in it belongs to. The browser proves that it began that sign-in by a
/// cookie, which is bound to the sign-in's path.
pub(super) async fn front(State(site): SharedState, request: Request) -> Page {
    let query = request.uri().query().unwrap_or_default();
    let comes_back =
        form_urlencoded::parse(query.as_bytes()).any(|(name, _)| matches!(&*name, "code" | "error" | "state"));
    match site.sign_ins.of_query(query) {
        Some(sign_in) => to(&format!("{}{}?{query}", sign_in.origin, back(&sign_in))),
        None if comes_back => no_return(),
        None => to("/login"),
    }
}

/// Returns the path a browser returns to. The cookie of the sign-in is sent only there.
fn back(sign_in: &SignIn) -> String {
    format!("/back/{}", sign_in.id)
}

/// Handles a browser that returns with Entra's answer and the cookie of the sign-in. Neither is of
/// use to anyone else, or a second time.
pub(super) async fn oauth_callback(State(site): SharedState, Path(id): Path<String>, request: Request) -> Page {
    let query = request.uri().query().unwrap_or_default();
    let name = site.sign_in_cookie();
    let sign_in = guard::cookies(request.headers(), name).find_map(|cookie| site.sign_ins.of_browser(&id, cookie));
    match sign_in.filter(|sign_in| site.oauth_callback(sign_in, query).is_ok()) {
        Some(sign_in) => {
            let mut answer = page::redirect_page(&sign_in);
            set_cookie(&mut answer, name, "", &back(&sign_in), site.reach.tls, "Lax; Max-Age=0");
            answer
        }
        None => no_return(),
    }
}

fn no_return() -> Page {
    page::message(
        StatusCode::BAD_REQUEST,
        "This does not belong to a sign-in that is pending",
        "It took longer than ten minutes, was finished already, or was begun in another browser. Begin it again on the status \
         page.",
        "/login",
    )
}

pub(super) async fn begin(
    State(site): SharedState,
    Extension(visitor): Extension<Visitor>,
    headers: HeaderMap,
    uri: axum::http::Uri,
    Extension(form): Extension<Arc<Form>>,
) -> Page {
    let way = Way::of_name(form.text("way"));
    // The address that the browser comes from and returns to.
    let origin = site.reach.authority(&uri, &headers).ok().and_then(|authority| {
        let port = authority.port.map(|port| format!(":{port}")).unwrap_or_default();
        // Entra accepts this name on any port (Microsoft, "Redirect URI restrictions and
        // limitations").
        Some((authority.loopback()?, format!("http://localhost{port}")))
    });
    let origin = origin.filter(|_| site.reach.localhost);
    let home = visitor.at("/");
    let begun = match LoginName::parse(form.text("login")) {
        Ok(login) => {
            let replace = form.value("replace").is_some();
            site.begin_sign_in(visitor, &login, way, replace, origin).await
        }
        Err(error) => Err(error.to_string()),
    };
    match begun {
        Ok(sign_in) => {
            let mut answer = to(&sign_in.address());
            if sign_in.way == Way::Browser {
                let (name, path) = (site.sign_in_cookie(), back(&sign_in));
                set_cookie(&mut answer, name, &sign_in.browser, &path, site.reach.tls, "Lax; Max-Age=600");
            }
            answer
        }
        Err(text) => page::message(StatusCode::BAD_REQUEST, "Nobody can sign in", &text, &home),
    }
}

fn no_sign_in(visitor: &Visitor) -> Page {
    page::message(
        StatusCode::NOT_FOUND,
        "There is no such sign-in",
        "It is over, or another one for the same account has taken its place. The status page shows how the account stands.",
        &visitor.at("/"),
    )
}

pub(super) async fn show(
    State(site): SharedState,
    Extension(visitor): Extension<Visitor>,
    Path(SignInPath { id }): Path<SignInPath>,
) -> Page {
    match site.sign_ins.of(&visitor, &id) {
        Some(sign_in) => page::sign_in(&site, &visitor, &sign_in, None),
        None => no_sign_in(&visitor),
    }
}

pub(super) async fn paste(
    State(site): SharedState,
    Extension(visitor): Extension<Visitor>,
    Path(SignInPath { id }): Path<SignInPath>,
    Extension(form): Extension<Arc<Form>>,
) -> Page {
    let Some(sign_in) = site.sign_ins.of(&visitor, &id) else { return no_sign_in(&visitor) };
    match site.oauth_callback(&sign_in, pasted_query(form.text("address"))) {
        Ok(()) => to(&sign_in.address()),
        Err(problem) => {
            let text = format!("That is not the address: {problem}. Copy all of it from the address bar.");
            page::sign_in(&site, &visitor, &sign_in, Some(&text))
        }
    }
}

pub(super) async fn end(
    State(site): SharedState,
    Extension(visitor): Extension<Visitor>,
    Path(SignInPath { id }): Path<SignInPath>,
) -> Page {
    if let Some(sign_in) = site.sign_ins.of(&visitor, &id) {
        site.sign_ins.end(&sign_in);
    }
    to(&visitor.at("/#accounts"))
}
