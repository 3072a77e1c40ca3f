//! The pages: templates, and what they need in addition to the status.

use askama::Template;
use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};

use super::answer::plain;
use super::attention::{self, DAYS_BEFORE_EXPIRY, FailureGroup, Health};
use super::filters;
use super::new_password::Entered;
use super::pending::{Shown, SignIn, Way};
use super::plot::{self, Plot};
use super::status::Status;
use crate::admin::sessions::Visitor;
use crate::admin::state::AdminState;
use crate::client_settings::{self, Place, Scope};
use gatepost_core::account::MailAddress;
use gatepost_core::protocol::Protocol;
use gatepost_core::secret::Password;
use gatepost_store::DevicePassword;

/// Most rows of a table on the page. The command line shows more.
const ROWS: usize = 200;
/// How many failures are shown at once.
const FAILURES: usize = 8;

#[derive(Template)]
#[template(path = "status.html")]
struct StatusPage<'a> {
    /// The path of the session.
    base: &'a str,
    s: &'a Status,
    failures: Vec<FailureGroup<'a>>,
    /// The accounts that can have device passwords.
    logins: Vec<&'a str>,
    entered: Entered,
    plots: Vec<Plot>,
    refresh: bool,
    hit_rate: String,
    traffic: u64,
    protocols: [&'static str; Protocol::ALL.len()],
    logout: String,
    sign_in_token: String,
    revoke_token: String,
    add_token: String,
    unlock_token: String,
    doctor_token: String,
    end_token: String,
    reload_token: String,
    retry_token: String,
    discard_token: String,
}

#[derive(Template)]
#[template(path = "add_password.html")]
struct AddPasswordPage<'a> {
    base: &'a str,
    entered: &'a Entered,
    logins: [&'a str; 0],
    protocols: [&'static str; Protocol::ALL.len()],
    add_token: String,
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage<'a> {
    problem: Option<&'a str>,
    has_token: bool,
}

#[derive(Template)]
#[template(path = "enter.html")]
struct EnterPage<'a> {
    link: &'a str,
}

#[derive(Template)]
#[template(path = "message.html")]
struct MessagePage<'a> {
    title: &'a str,
    text: &'a str,
    home: &'a str,
}

#[derive(Template)]
#[template(path = "hop.html")]
struct HopPage<'a> {
    provider: &'a str,
    target: &'a str,
}

#[derive(Template)]
#[template(path = "password.html")]
struct PasswordPage<'a> {
    base: &'a str,
    name: &'a str,
    login: &'a MailAddress,
    id: &'a str,
    password: &'a str,
    user_name: String,
    places: Vec<Place>,
}

#[derive(Template)]
#[template(path = "settings.html")]
struct Settings<'a> {
    password: &'a str,
    user_name: String,
    places: Vec<Place>,
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage<'a> {
    base: &'a str,
    way: &'static str,
    again_token: String,
    login: &'a MailAddress,
    person: &'a MailAddress,
    tenant: &'a str,
    provider: &'a str,
    application: &'a str,
    shown: Shown,
    done: bool,
    paste: bool,
    refresh: bool,
    problem: Option<&'a str>,
    settings: Option<String>,
    paste_action: String,
    paste_token: String,
    end_action: String,
    end_token: String,
}

/// The status page. With `refresh` in the query it reloads itself, for browsers without scripts.
pub(super) async fn status(site: &AdminState, visitor: &Visitor, query: &str) -> Response<Body> {
    let status = site.status().await;
    let lookups = status.token_cache_hits + status.token_cache_misses;
    let percent = (status.token_cache_hits * 100).checked_div(lookups);
    let with_device_passwords = |account: &&super::view::AccountLine| account.grant != "password";
    let page = StatusPage {
        failures: attention::groups(&status.failures),
        logins: status.accounts.iter().filter(with_device_passwords).map(|of| &*of.login).take(ROWS).collect(),
        entered: Entered::default(),
        plots: plot::plots(&status.history),
        refresh: query == "refresh",
        hit_rate: percent.map_or_else(|| "–".to_owned(), |percent| format!("{percent} %")),
        traffic: status.bytes_sent.saturating_add(status.bytes_received),
        protocols: Protocol::ALL.map(Protocol::name),
        logout: visitor.form_token("/logout"),
        sign_in_token: visitor.form_token("/sign-in"),
        revoke_token: visitor.form_token("/passwords/revoke"),
        add_token: visitor.form_token("/passwords/add"),
        unlock_token: visitor.form_token("/accounts/unlock"),
        doctor_token: visitor.form_token("/doctor"),
        end_token: visitor.form_token("/sessions/end"),
        reload_token: visitor.form_token("/reload"),
        retry_token: visitor.form_token("/queue/retry"),
        discard_token: visitor.form_token("/queue/discard"),
        base: visitor.base(),
        s: &status,
    };
    answer(StatusCode::OK, &page)
}

/// The login page.
pub(super) fn login(site: &AdminState, status: StatusCode, problem: Option<&str>) -> Response<Body> {
    answer(status, &LoginPage { problem, has_token: site.sessions.have_token() })
}

/// The page of an opened link. One more step uses the link up.
pub(super) fn enter(link: &str) -> Response<Body> {
    answer(StatusCode::OK, &EnterPage { link })
}

/// A page with a sentence or two, and a link back to the status page.
pub(super) fn message(status: StatusCode, title: &str, text: &str, home: &str) -> Response<Body> {
    answer(status, &MessagePage { title, text, home })
}

/// A page that redirects to that of a sign-in. A request that starts from our own page carries the
/// session cookie, which one from the provider's page may not. The page has no form, and its own
/// address, which contains the code, is not passed on.
pub(super) fn redirect_page(sign_in: &SignIn) -> Response<Body> {
    let page = HopPage { provider: provider(sign_in), target: &sign_in.address() };
    let mut answer = answer(StatusCode::OK, &page);
    answer.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    answer
}

/// The form for a device password again, with what was entered and what is wrong with it.
pub(super) fn add_password(visitor: &Visitor, status: StatusCode, entered: &Entered) -> Response<Body> {
    let page = AddPasswordPage {
        base: visitor.base(),
        entered,
        logins: [],
        protocols: Protocol::ALL.map(Protocol::name),
        add_token: visitor.form_token("/passwords/add"),
    };
    answer(status, &page)
}

/// The page with a new device password.
pub(super) fn password(
    site: &AdminState,
    visitor: &Visitor,
    made: &DevicePassword,
    password: &Password,
) -> Response<Body> {
    let DevicePassword { login, name, protocols, from, id, .. } = made;
    let config = site.shared.authenticator.config();
    let page = PasswordPage {
        base: visitor.base(),
        name,
        login,
        id: &id.0,
        password: password.expose(),
        user_name: client_settings::user_name(&config, login),
        places: client_settings::places(&config, Scope { protocols, from }),
    };
    answer(StatusCode::OK, &page)
}

/// The page with the progress of a sign-in.
pub(super) fn sign_in(site: &AdminState, visitor: &Visitor, sign_in: &SignIn, problem: Option<&str>) -> Response<Body> {
    let authenticator = &site.shared.authenticator;
    let shown = sign_in.shown(authenticator.clock().now());
    let login = &sign_in.enrolment.login;
    let settings = match &shown {
        Shown::Done { password: Some((_, password)), .. } => {
            let config = authenticator.config();
            let user_name = client_settings::user_name(&config, login);
            let places = client_settings::places(&config, Scope::default());
            Settings { password, user_name, places }.render().ok()
        }
        _ => None,
    };
    let action = |what: &str| format!("/sign-in/{}/{what}", sign_in.id);
    let (paste_action, end_action) = (action("paste"), action("end"));
    let page = SignInPage {
        base: visitor.base(),
        way: sign_in.way.name(),
        again_token: visitor.form_token("/sign-in"),
        login,
        person: sign_in.enrolment.person(),
        tenant: &sign_in.enrolment.purpose.tenant,
        provider: provider(sign_in),
        application: &sign_in.enrolment.purpose.application.client_id,
        done: matches!(shown, Shown::Done { .. }),
        paste: sign_in.way == Way::Paste,
        refresh: matches!(shown, Shown::Device { .. } | Shown::Working),
        shown,
        problem,
        settings,
        paste_token: visitor.form_token(&paste_action),
        paste_action: visitor.at(&paste_action),
        end_token: visitor.form_token(&end_action),
        end_action: visitor.at(&end_action),
    };
    answer(StatusCode::OK, &page)
}

/// The name for people of who has the sign-in page.
fn provider(sign_in: &SignIn) -> &str {
    sign_in.enrolment.purpose.application.issuer.provider().map_or("Microsoft", |provider| &provider.title)
}

pub(super) fn answer(status: StatusCode, page: &impl Template) -> Response<Body> {
    let Ok(html) = page.render() else {
        return plain(StatusCode::INTERNAL_SERVER_ERROR, "The page cannot be made.\n");
    };
    let mut response = plain(status, &html);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}
