//! The pages that a person sees: signing in for an application, and typing in the code of a device.
//! Plain forms, which a test can fill in as well.

use std::collections::HashMap;
use std::io;

use hyper::header::{self, HeaderValue};
use hyper::{Method, StatusCode};
use url::Url;

use super::answer::{Answer, plain};
use super::grant::APPLICATION_NAME;
use super::lockout::PasswordVerdict;
use super::refusal::Refusal;
use super::request::{Grant, Person, Request, RequestedScope, Tenant, Version};
use super::sign_in::Binding;
use super::tenant::{check_audience, check_home, check_tenant};
use crate::html::{code_field, document, escaped, sign_in_form};
use crate::random;
use crate::state::SandboxState;

type Fields = HashMap<String, String>;

/// Serves `…/authorize` (RFC 6749 §4.1.1): a form first, then the redirect. `query` are the
/// parameters of the request, `form` what the person filled in.
pub(super) fn authorize(
    shared: &SandboxState,
    (tenant, version): (&str, Version),
    method: &Method,
    query: &Fields,
    form: &Fields,
) -> io::Result<Answer> {
    let target = match check_target(shared, tenant, query) {
        Ok(target) => target,
        // The browser is not redirected, because nobody knows whose address that is (RFC 6749
        // §4.1.2.1).
        Err(refusal) => return Ok(page(StatusCode::BAD_REQUEST, &told(&refusal))),
    };
    let request = match check_request(version, query) {
        Ok((ask, challenge)) => {
            let (client_id, nonce) = (target.client_id, query.get("nonce").cloned());
            let request = Request { client_id, ask, nonce, tenant: target.tenant, version };
            (request, Binding { redirect_uri: target.redirect_uri, challenge })
        }
        Err(refusal) => return back(&target.redirect_uri, query, &refused(&refusal)),
    };
    let form_page = |problem: &str| {
        let hint = query.get("login_hint").map_or("", String::as_str);
        page(StatusCode::OK, &sign_in_form("Sign in", hint, "", problem))
    };
    if method != Method::POST {
        return Ok(form_page(""));
    }
    if form.get("answer").is_some_and(|answer| answer == "decline") {
        let declined = [("error", "access_denied".to_owned()), ("error_description", Refusal::new(65004).told())];
        return back(&request.1.redirect_uri, query, &declined);
    }
    let (request, binding) = request;
    let person = match check_person(shared, &request, form) {
        Ok(person) => person,
        Err(refusal) => return Ok(form_page(&told(&refusal))),
    };
    let redirect_uri = binding.redirect_uri.clone();
    let code = shared.sign_ins.consented(request, binding, person, shared.time.now())?;
    back(&redirect_uri, query, &[("code", code), ("session_state", random::guid())])
}

/// Serves `/devicelogin`: asks for the code of the device and for the sign-in on one form.
pub(super) fn device(shared: &SandboxState, method: &Method, form: &Fields) -> Answer {
    let now = shared.time.now();
    let user_code = form.get("user_code").map_or("", String::as_str);
    let form_page = |problem: &str| {
        let fields = code_field(user_code);
        page(StatusCode::OK, &sign_in_form("Enter the code that your device shows", "", &fields, problem))
    };
    if method != Method::POST {
        return form_page("");
    }
    let Some(request) = shared.sign_ins.pending(user_code, now) else {
        return form_page("That code did not work. Check the code and try again.");
    };
    let declined = form.get("answer").is_some_and(|answer| answer == "decline");
    let person = match declined.then_some(None).map_or_else(|| check_person(shared, &request, form).map(Some), Ok) {
        Ok(person) => person,
        Err(refusal) => return form_page(&told(&refusal)),
    };
    shared.sign_ins.decide(user_code, person, now);
    let text = if declined { "You declined." } else { "You have signed in. You may now close this window." };
    page(StatusCode::OK, &format!("<p>{text}</p>"))
}

struct RedirectTarget {
    client_id: String,
    redirect_uri: String,
    tenant: Tenant,
}

fn check_target(shared: &SandboxState, tenant: &str, query: &Fields) -> Result<RedirectTarget, Refusal> {
    let tenant = check_tenant(shared, tenant, Grant::AuthorizationCode)?;
    let parameter =
        |name: &str| query.get(name).filter(|value| !value.is_empty()).ok_or_else(|| Refusal::missing(name));
    let client_id = parameter("client_id")?.to_lowercase();
    let directory = &shared.directory;
    let is_known = client_id == directory.public_client_id || client_id == directory.confidential_client_id;
    if !is_known && shared.applications.client(&client_id).is_none() {
        return Err(Refusal::new(700_016).about(&[("app", &client_id), ("tenant", &shared.directory.tenant_id)]));
    }
    let names = [("app", client_id.as_str()), ("name", APPLICATION_NAME)];
    check_audience(shared, tenant, &client_id).map_err(|refusal| refusal.about(&names))?;
    let redirect_uri = parameter("redirect_uri")?;
    // What is registered is `http://localhost`; of a loopback address the port is not compared (RFC
    // 8252 §7.3).
    let registered = Url::parse(redirect_uri).is_ok_and(|url| {
        url.scheme() == "http"
            && url.host_str() == Some("localhost")
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
    });
    if !registered {
        return Err(Refusal::new(50011));
    }
    Ok(RedirectTarget { redirect_uri: redirect_uri.clone(), client_id, tenant })
}

/// Reads what is asked for, and the challenge.
fn check_request(version: Version, query: &Fields) -> Result<(RequestedScope, String), Refusal> {
    let parameter =
        |name: &str| query.get(name).filter(|value| !value.is_empty()).ok_or_else(|| Refusal::missing(name));
    if parameter("response_type")? != "code" || query.get("response_mode").is_some_and(|mode| mode != "query") {
        return Err(Refusal::missing("response_type"));
    }
    if parameter("code_challenge_method")? != "S256" {
        return Err(Refusal::missing("code_challenge_method"));
    }
    let challenge = parameter("code_challenge")?.clone();
    Ok((RequestedScope::read(version, query, Grant::AuthorizationCode)?, challenge))
}

fn check_person(shared: &SandboxState, request: &Request, form: &Fields) -> Result<Person, Refusal> {
    let field = |name: &str| form.get(name).map_or("", String::as_str);
    let user = field("username").to_lowercase();
    let names = [("name", APPLICATION_NAME), ("tenant", shared.directory.tenant_id.as_str())];
    check_home(shared, (request.tenant, request.version), (&request.client_id, &request.ask), &user)
        .map_err(|refusal| refusal.about(&names))?;
    let code = match shared.directory.check_password(&user, field("password"), shared.time.now()) {
        PasswordVerdict::Right => shared.directory.sign_in_error(&user),
        PasswordVerdict::Wrong => Some(50126),
        PasswordVerdict::Locked => Some(50053),
        PasswordVerdict::UnknownUser => Some(50034),
    };
    let is_personal = shared.directory.is_personal(&user);
    code.map_or(Ok(Person { address: user, is_personal }), |code| Err(Refusal::new(code)))
}

/// The browser goes back to the application, with the state that it brought.
fn back(redirect_uri: &str, query: &Fields, parameters: &[(&str, String)]) -> io::Result<Answer> {
    let mut url = Url::parse(redirect_uri).map_err(io::Error::other)?;
    url.query_pairs_mut().extend_pairs(parameters.iter().map(|(name, value)| (*name, value.as_str())));
    if let Some(state) = query.get("state") {
        url.query_pairs_mut().append_pair("state", state);
    }
    let mut answer = plain(StatusCode::FOUND, "text/html; charset=utf-8", "");
    let location = HeaderValue::from_str(url.as_str()).map_err(io::Error::other)?;
    answer.headers_mut().insert(header::LOCATION, location);
    Ok(answer)
}

fn refused(refusal: &Refusal) -> [(&'static str, String); 2] {
    [("error", refusal.error().to_owned()), ("error_description", refusal.told())]
}

fn told(refusal: &Refusal) -> String {
    escaped(&refusal.told())
}

fn page(status: StatusCode, content: &str) -> Answer {
    plain(status, "text/html; charset=utf-8", document(content))
}
