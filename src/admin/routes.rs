//! Which path does what, and for whom. Public routes come first. Everything else is below the
//! random path of a session and needs its cookie ([`require_session`]). Everything that changes
//! state also needs a form token of that session.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::routing::{get, post};
use url::form_urlencoded;

use super::answer::{Page, asset, plain, set_cookie, to};
use super::form::Form;
use super::new_password::Entered;
use super::places::Place;
use super::{causes, doctor, guard, page, queue_routes, sign_in_routes, text};
use crate::admin::sessions::{Entry, Refused, SESSIONS_PATH, Visitor};
use crate::admin::state::{AdminState, SharedState};
use gatepost_core::account::LoginName;
use gatepost_store::DevicePasswordId;

const STATUS_JSON: &str = "/status.json";
/// The page again, for the script that keeps it up to date.
const LIVE: &str = "/live";

/// Returns the routes for browsers and probes.
pub(super) fn page(site: &Arc<AdminState>) -> Router {
    let open = Router::new()
        .route("/livez", get(async || plain(StatusCode::OK, "ok\n")))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/login", get(login_form).post(login))
        .route("/enter", get(enter_form).post(enter))
        .route("/style.css", get(async || asset("text/css; charset=utf-8", include_str!("templates/style.css"))))
        .route("/live.js", get(async || asset("text/javascript; charset=utf-8", include_str!("templates/live.js"))))
        .route("/causes", get(async || causes::causes()))
        .route("/icon.svg", get(async || asset("image/svg+xml", include_str!("templates/icon.svg"))))
        .route("/back/{id}", get(sign_in_routes::oauth_callback))
        .route("/", get(sign_in_routes::front));
    let below = |path: &str| format!("{SESSIONS_PATH}{{session}}{path}");
    let closed = Router::new()
        .route(&below("/"), get(status_page))
        .route(&below(LIVE), get(status_page))
        .route(&below(STATUS_JSON), get(status_json))
        .route(&below("/metrics"), get(write_metrics))
        .route(&below("/sessions/end"), post(end_session))
        .route(&below("/passwords/add"), post(add_password))
        .route(&below("/passwords/revoke"), post(revoke_password))
        .route(&below("/accounts/unlock"), post(unlock))
        .route(&below("/queue/retry"), post(queue_routes::retry))
        .route(&below("/queue/discard"), post(queue_routes::discard))
        .route(&below("/doctor"), post(doctor::of_page))
        .route(&below("/sign-in"), post(sign_in_routes::begin))
        .route(&below("/sign-in/{id}"), get(sign_in_routes::show))
        .route(&below("/sign-in/{id}/paste"), post(sign_in_routes::paste))
        .route(&below("/sign-in/{id}/end"), post(sign_in_routes::end))
        .route(&below("/reload"), post(reload))
        .route(&below("/logout"), post(logout))
        .route_layer(from_fn_with_state(Arc::clone(site), require_session));
    open.merge(closed)
        .fallback(async || {
            let text = "There is no page at this address. It may have moved, or its session has ended.";
            page::message(StatusCode::NOT_FOUND, "Page not found", text, "/")
        })
        .layer(from_fn_with_state(Arc::clone(site), guard_layer))
        .with_state(Arc::clone(site))
}

/// Returns the routes for `gatepost status` and the commands. Access to the socket is what
/// authorizes the caller.
#[cfg(unix)]
pub(super) fn socket(site: &Arc<AdminState>) -> Router {
    super::commands::commands()
        .route("/status", get(status_of_socket))
        .route("/readyz", get(readyz_of_socket))
        .route("/link", post(link))
        .fallback(async || plain(StatusCode::NOT_FOUND, "There is nothing here.\n"))
        .with_state(Arc::clone(site))
}

/// Checks name and origin, and adds the header fields of the answer.
async fn guard_layer(State(site): SharedState, request: Request, next: Next) -> Page {
    let (uri, headers) = (request.uri(), request.headers());
    let checked = site
        .reach
        .authority(uri, headers)
        .and_then(|authority| site.reach.check_post(request.method(), authority, headers).map(|()| authority));
    let mut response = match checked {
        Err(turned) => turned.answer(),
        Ok(authority) => match to_address(&site, authority, &request) {
            Some(elsewhere) => elsewhere,
            None => next.run(request).await,
        },
    };
    guard::protect(&mut response);
    response
}

/// Redirects from the name to the address. Browsers keep cookies by name, and a name could lead to
/// another program, so sessions use an address. A person who typed `localhost`, and a browser that
/// Entra sent there, come here first.
fn to_address(site: &AdminState, authority: guard::Authority<'_>, request: &Request) -> Option<Page> {
    let uri = request.uri();
    let is_of_person = matches!(uri.path(), "/" | "/login" | "/enter") && *request.method() == Method::GET;
    if !(site.reach.localhost && is_of_person && authority.host == "localhost") {
        return None;
    }
    let port = authority.port.map(|port| format!(":{port}")).unwrap_or_default();
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    Some(to(&format!("http://127.0.0.1{port}{target}")))
}

/// Requires a session at its own path and, for a request that changes something, a form of that
/// session.
async fn require_session(State(site): SharedState, mut request: Request, next: Next) -> Page {
    let (base, path) = split(request.uri().path());
    let path = path.to_owned();
    let by_person = is_by_person(&path, request.uri().query());
    let visitor =
        guard::cookies(request.headers(), site.cookie()).find_map(|cookie| site.sessions.find(base, cookie, by_person));
    let Some(visitor) = visitor else {
        return match &*path {
            STATUS_JSON | LIVE => plain(StatusCode::UNAUTHORIZED, "Sign in first.\n"),
            _ => to("/login"),
        };
    };
    if let Some(place) = request.extensions().get::<Arc<Place>>() {
        place.keep();
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let body = std::mem::take(request.body_mut());
        let form = match Form::read(body).await {
            Ok(form) => form,
            Err(answer) => return answer,
        };
        if !form.value("form").is_some_and(|token| visitor.sent(&path, token)) {
            return guard::Rejected::Origin.answer();
        }
        request.extensions_mut().insert(Arc::new(form));
    }
    request.extensions_mut().insert(visitor);
    next.run(request).await
}

/// Whether a person caused the request for a path of a session, and not a script that refreshes.
fn is_by_person(path: &str, query: Option<&str>) -> bool {
    !matches!(path, STATUS_JSON | LIVE) && query != Some("refresh")
}

/// Splits a path into the path of the session and what is requested below it.
fn split(path: &str) -> (&str, &str) {
    let rest = path.strip_prefix(SESSIONS_PATH).and_then(|rest| rest.find('/'));
    path.split_at_checked(rest.map_or(0, |at| SESSIONS_PATH.len() + at)).unwrap_or(("", path))
}

async fn readyz(State(site): SharedState) -> Page {
    match site.hindrance().await {
        None => plain(StatusCode::OK, "ready\n"),
        Some(_) => plain(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
    }
}

/// Readiness with its reason, which users of the socket may know.
async fn readyz_of_socket(State(site): SharedState) -> Page {
    match site.hindrance().await {
        None => plain(StatusCode::OK, "ready\n"),
        Some(why) => plain(StatusCode::SERVICE_UNAVAILABLE, &format!("not ready: {why}\n")),
    }
}

async fn metrics(State(site): SharedState, Extension(place): Extension<Arc<Place>>, headers: HeaderMap) -> Page {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|field| field.to_str().ok());
    let bearer = bearer.and_then(|field| field.strip_prefix("Bearer "));
    let may = site.open_metrics || bearer.is_some_and(|token| site.sessions.check_token(token, place.source).is_ok());
    if !may {
        let mut answer = plain(StatusCode::UNAUTHORIZED, "`admin.token` is wanted as a bearer token.\n");
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return answer;
    }
    write_metrics(State(site), headers).await
}

async fn write_metrics(State(site): SharedState, headers: HeaderMap) -> Page {
    site.measure().await;
    let metrics = site.shared.journal.metrics();
    let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|field| field.to_str().ok());
    if accepts.into_iter().any(|accepted| accepted.contains("application/openmetrics-text")) {
        asset("application/openmetrics-text; version=1.0.0; charset=utf-8", &metrics.open_metrics())
    } else {
        asset("text/plain; version=0.0.4; charset=utf-8", &metrics.text())
    }
}

async fn login_form(State(site): SharedState) -> Page {
    page::login(&site, StatusCode::OK, None)
}

async fn login(State(site): SharedState, Extension(place): Extension<Arc<Place>>, request: Request) -> Page {
    let form = match Form::read(request.into_body()).await {
        Ok(form) => form,
        Err(answer) => return answer,
    };
    let entered = site.sessions.enter_with_token(form.text("token"), place.source);
    let_in(&site, entered, "That is not `admin.token`.")
}

/// An intermediate page, so that a program that only follows a link does not use it up.
async fn enter_form(State(site): SharedState, request: Request) -> Page {
    let query = request.uri().query().unwrap_or_default();
    let link = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "link");
    match link {
        Some((_, link)) => page::enter(&link),
        None => page::login(&site, StatusCode::OK, None),
    }
}

async fn enter(State(site): SharedState, request: Request) -> Page {
    let form = match Form::read(request.into_body()).await {
        Ok(form) => form,
        Err(answer) => return answer,
    };
    let entered = site.sessions.enter_with_link(form.text("link"));
    let_in(
        &site,
        entered,
        "This link was opened before, or is older than ten minutes. `gatepost status` prints a new one.",
    )
}

fn let_in(site: &AdminState, entered: Result<Entry, Refused>, wrong: &str) -> Page {
    match entered {
        Ok(Entry { cookie, base }) => {
            let mut answer = to(&format!("{base}/"));
            set_cookie(&mut answer, site.cookie(), &cookie, &base, site.reach.tls, "Strict");
            answer
        }
        Err(Refused::Wrong) => page::login(site, StatusCode::FORBIDDEN, Some(wrong)),
        Err(Refused::TooMany) => {
            let text = "There were too many wrong tokens from your address. Wait a minute, or open the page with a link of `gatepost status`.";
            page::login(site, StatusCode::TOO_MANY_REQUESTS, Some(text))
        }
        Err(Refused::NoRandomness) => {
            page::login(site, StatusCode::INTERNAL_SERVER_ERROR, Some("The system gives no randomness. Try again."))
        }
    }
}

async fn logout(State(site): SharedState, Extension(visitor): Extension<Visitor>) -> Page {
    site.sessions.leave(&visitor);
    let mut answer = to("/login");
    set_cookie(&mut answer, site.cookie(), "", visitor.base(), site.reach.tls, "Strict; Max-Age=0");
    answer
}

async fn status_page(State(site): SharedState, Extension(visitor): Extension<Visitor>, request: Request) -> Page {
    page::status(&site, &visitor, request.uri().query().unwrap_or_default()).await
}

async fn status_json(State(site): SharedState) -> Page {
    asset("application/json", &serde_json::json!(site.status().await).to_string())
}

async fn end_session(
    State(site): SharedState,
    Extension(visitor): Extension<Visitor>,
    Extension(form): Extension<Arc<Form>>,
) -> Page {
    // A session that is already gone has ended as well.
    site.shared.journal.end_session(form.text("id"));
    to(&visitor.at("/#sessions"))
}

async fn add_password(
    State(site): SharedState,
    Extension(visitor): Extension<Visitor>,
    Extension(form): Extension<Arc<Form>>,
) -> Page {
    match Entered::read(&form).create(&site).await {
        Ok((made, password)) => {
            let told = format!("device password {} ({}) is created", made.id, made.name);
            site.shared.journal.act("password-made", made.login.as_str(), &told);
            page::password(&site, &visitor, &made, &password)
        }
        Err(entered) => page::add_password(&visitor, StatusCode::BAD_REQUEST, &entered),
    }
}

async fn revoke_password(
    State(site): SharedState,
    Extension(visitor): Extension<Visitor>,
    Extension(form): Extension<Arc<Form>>,
) -> Page {
    let id = DevicePasswordId(form.text("id").into());
    match site.shared.authenticator.store().revoke_device_password(&id).await {
        Ok(revoked) => {
            // A password that is already gone cannot be used either.
            if revoked {
                let told = format!("device password {id} is revoked");
                site.shared.journal.act("password-revoked", "", &told);
            }
            to(&visitor.at("/#passwords"))
        }
        Err(error) => {
            let title = "The device password was not revoked";
            page::message(StatusCode::SERVICE_UNAVAILABLE, title, &error.to_string(), &visitor.at("/"))
        }
    }
}

/// Resets the count of wrong passwords of an account.
async fn unlock(
    State(site): SharedState,
    Extension(visitor): Extension<Visitor>,
    Extension(form): Extension<Arc<Form>>,
) -> Page {
    let home = visitor.at("/#failures");
    let unlocked = match LoginName::parse(form.text("login")) {
        Ok(login) => site.shared.authenticator.unlock(&login).await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match unlocked {
        Ok(unlocked) => {
            let told = unlocked.to_string();
            site.shared.journal.act("account-unlocked", unlocked.login.as_str(), &told);
            page::message(StatusCode::OK, "Unlock", &told, &home)
        }
        Err(text) => page::message(StatusCode::BAD_REQUEST, "The account was not unlocked", &text, &home),
    }
}

async fn reload(State(site): SharedState, Extension(visitor): Extension<Visitor>) -> Page {
    match site.control.reload().await {
        Ok(_) => to(&visitor.at("/#service")),
        Err(error) => {
            let title = "Reload failed. The former configuration stays in use.";
            page::message(StatusCode::CONFLICT, title, &error.to_string(), &visitor.at("/"))
        }
    }
}

/// The status as text for people, unless JSON is requested.
async fn status_of_socket(State(site): SharedState, headers: HeaderMap) -> Page {
    let status = site.status().await;
    if headers.get(header::ACCEPT).is_some_and(|accepted| accepted == "application/json") {
        asset("application/json", &format!("{:#}\n", serde_json::json!(status)))
    } else {
        plain(StatusCode::OK, &text::status(&status))
    }
}

/// Creates a new link to the page.
async fn link(State(site): SharedState) -> Page {
    match (&site.address, site.sessions.make_link()) {
        (Some(address), Some(link)) => plain(StatusCode::OK, &format!("{address}/enter?link={link}")),
        (None, _) => plain(
            StatusCode::CONFLICT,
            "this service has no status page. Set `admin: {bind: \"127.0.0.1:9180\"}` in its configuration",
        ),
        (_, None) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the system gives no randomness"),
    }
}
