//! The token endpoint of the plain provider (RFC 6749 §3.2), and those for devices (RFC 8628) and
//! for revocation (RFC 7009).

use std::io;
use std::time::Duration;

use hyper::StatusCode;
use serde_json::{Value, json};

use super::refusal::Refusal;
use super::settings::{ClientAuthentication, PlainSettings};
use crate::provider::{
    Answer, Asked, Asking, Granted, Provider, ProviderState, issue, json_answer, note_foreign, read,
};
use crate::state::SandboxState;

const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// How long the code of a device is good, and how often it may poll, in seconds.
const DEVICE: (u64, u64) = (900, 5);
/// How long an ID token is good, in seconds.
const ID_TOKEN: u64 = 3_600;

/// Serves `/token`.
pub(super) fn token(
    shared: &SandboxState,
    settings: &PlainSettings,
    state: &ProviderState,
    asking: &Asking,
) -> io::Result<Answer> {
    let refresh_token = asking.field("refresh_token").unwrap_or_default();
    note_foreign(shared, Provider::Plain, None, "", refresh_token);
    let owner = state.grants.sign_in_of(refresh_token).map(|(_, user)| user);
    let name = match asking.field("grant_type") {
        Some(DEVICE_CODE) => "device_code",
        Some(name @ ("authorization_code" | "refresh_token")) => name,
        _ => "(other)",
    };
    match grant(shared, settings, state, asking, owner.as_deref()) {
        Ok(granted) => {
            state.tally.token_request(name, &granted.user, true);
            tokens(shared, settings, state, granted)
        }
        Err(refusal) => {
            let account = owner.as_deref().or(asking.field("client_id")).unwrap_or_default();
            state.tally.token_request(name, account, false);
            Ok(refusal.answer())
        }
    }
}

fn grant(
    shared: &SandboxState,
    settings: &PlainSettings,
    state: &ProviderState,
    asking: &Asking,
    owner: Option<&str>,
) -> Result<Granted, Refusal> {
    if let Some(name) = &asking.repeated {
        return Err(Refusal::new("invalid_request", format!("The parameter {name} is repeated.")));
    }
    let parameter = |name: &str| asking.field(name).ok_or_else(|| Refusal::missing(name));
    let kind = parameter("grant_type")?;
    let client_id = check_client(settings, asking)?;
    let when = (state.rules(), shared.time.now());
    let granted = match kind {
        "authorization_code" => {
            let (code, redirect_uri) = (parameter("code")?, Some(parameter("redirect_uri")?));
            state.grants.redeem(code, client_id, redirect_uri, asking.field("code_verifier"), when)
        }
        "refresh_token" => {
            let token = parameter("refresh_token")?;
            if let Some((error, description)) = owner.and_then(|user| state.refusal(user)) {
                return Err(Refusal::new(&error, description));
            }
            let scopes = asking.field("scope").map(|scopes| scopes.split(' ').map(str::to_owned).collect());
            state.grants.refresh(token, client_id, scopes, when)
        }
        DEVICE_CODE => state.grants.poll(parameter("device_code")?, client_id, when),
        _ => return Err(Refusal::new("unsupported_grant_type", "The grant type is not known.")),
    };
    granted.map_err(Refusal::of)
}

fn tokens(
    shared: &SandboxState,
    settings: &PlainSettings,
    state: &ProviderState,
    granted: Granted,
) -> io::Result<Answer> {
    let Granted { number, user, asked, refresh_token } = granted;
    let token = issue(shared, Provider::Plain, (&user, &asked.scopes, number))?;
    let mut body = json!({
        "access_token": token.expose(),
        "token_type": "Bearer",
        "expires_in": state.token_lifetime().as_secs(),
        "scope": asked.scopes.join(" "),
    });
    if let Some(refresh_token) = refresh_token {
        body["refresh_token"] = Value::from(refresh_token);
    }
    if asked.scopes.iter().any(|scope| scope == "openid") {
        let now = shared.time.unix().as_secs();
        let mut claims = json!({
            "iss": settings.base,
            "aud": asked.client_id,
            "sub": shared.directory.object_id(&user),
            "iat": now,
            "exp": now + ID_TOKEN,
        });
        if asked.scopes.iter().any(|scope| scope == "email") {
            claims["email"] = Value::from(user);
        }
        if let Some(nonce) = asked.nonce {
            claims["nonce"] = Value::from(nonce);
        }
        body["id_token"] = Value::from(shared.id_token_key.sign(&claims)?);
    }
    Ok(json_answer(StatusCode::OK, body))
}

/// The client, if it says who it is in the one way that was registered.
fn check_client<'a>(settings: &PlainSettings, asking: &'a Asking) -> Result<&'a str, Refusal> {
    let (in_form, basic) = (asking.field("client_secret"), asking.basic.as_ref());
    if in_form.is_some() && basic.is_some() {
        return Err(Refusal::new("invalid_request", "The client authenticates in two ways."));
    }
    let (client_id, secret, used) = match (basic, in_form) {
        (Some(basic), _) => (Some(basic.client_id.as_str()), Some(basic.secret.as_str()), ClientAuthentication::Basic),
        (None, Some(secret)) => (asking.field("client_id"), Some(secret), ClientAuthentication::Form),
        (None, None) => (asking.field("client_id"), None, ClientAuthentication::None),
    };
    let client_id = client_id.ok_or_else(|| Refusal::missing("client_id"))?;
    let used_basic = used == ClientAuthentication::Basic;
    let secret = secret.unwrap_or_default().as_bytes();
    let wanted = settings.client_secret.expose().as_bytes();
    let is_right =
        used == ClientAuthentication::None || aws_lc_rs::constant_time::verify_slices_are_equal(wanted, secret).is_ok();
    if client_id != settings.client_id || !is_right {
        return Err(Refusal::client("The client is not known, or its secret is wrong.", used_basic));
    }
    if used != settings.authentication() {
        return Err(Refusal::client("The client must authenticate in the way that was registered.", used_basic));
    }
    Ok(client_id)
}

/// Serves `/device_authorization` (RFC 8628 §3.1).
pub(super) fn device(
    shared: &SandboxState,
    settings: &PlainSettings,
    state: &ProviderState,
    asking: &Asking,
) -> io::Result<Answer> {
    let client_id = match check_client(settings, asking) {
        Ok(client_id) => client_id.to_owned(),
        Err(refusal) => return Ok(refusal.answer()),
    };
    let Some(scopes) = settings.scopes_of(asking.field("scope")) else {
        return Ok(Refusal::new("invalid_scope", "The scope is not known.").answer());
    };
    let offline = scopes.iter().any(|scope| scope == "offline_access");
    let (lifetime, interval) = DEVICE;
    let times = (Duration::from_secs(lifetime), Duration::from_secs(interval));
    let asked = Asked { client_id, scopes, nonce: None, offline };
    let codes = state.grants.device(asked, times, shared.time.now())?;
    let body = json!({
        "device_code": codes.device_code,
        "user_code": codes.user_code,
        "verification_uri": format!("{}/device", settings.base),
        "verification_uri_complete": format!("{}/device?user_code={}", settings.base, codes.user_code),
        "expires_in": lifetime,
        "interval": interval,
    });
    Ok(json_answer(StatusCode::OK, body))
}

/// Serves `/revoke` (RFC 7009): 200 even for a token that is not known.
pub(super) fn revoke(
    shared: &SandboxState,
    settings: &PlainSettings,
    state: &ProviderState,
    asking: &Asking,
) -> Answer {
    if let Some(name) = &asking.repeated {
        return Refusal::new("invalid_request", format!("The parameter {name} is repeated.")).answer();
    }
    if let Err(refusal) = check_client(settings, asking) {
        return refusal.answer();
    }
    let Some(token) = asking.field("token") else { return Refusal::missing("token").answer() };
    note_foreign(shared, Provider::Plain, None, "", token);
    let by_access = || read(shared, Provider::Plain, token).map(|claims| claims.number);
    if let Some(number) = state.grants.sign_in_of(token).map(|(number, _)| number).or_else(by_access) {
        state.grants.end(number);
    }
    json_answer(StatusCode::OK, json!({}))
}
