//! Google's token endpoint, its endpoint for devices, and the one that revokes.

use std::io;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::StatusCode;
use serde_json::{Value, json};

use super::authorize::CODE;
use super::refusal::Refusal;
use super::settings::GoogleSettings;
use super::{scope, service_account};
use crate::provider::{
    AccountKind, Answer, Asked, Asking, Granted, Provider, ProviderState, issue, json_answer, note_foreign, read,
};
use crate::state::SandboxState;

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// How long the code of a device is good, and how often it may poll, in seconds.
const DEVICE: (u64, u64) = (1_800, 5);
/// How long an ID token is good, in seconds.
const ID_TOKEN: u64 = 3_600;

/// Why there is no token.
enum Failure {
    Refused(Refusal),
    /// The sandbox itself failed.
    Broken(io::Error),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

/// Serves `/token`.
pub(super) fn token(
    shared: &SandboxState,
    settings: &GoogleSettings,
    state: &ProviderState,
    asking: &Asking,
) -> io::Result<Answer> {
    let refresh_token = asking.field("refresh_token").unwrap_or_default();
    note_foreign(shared, Provider::Google, None, "", refresh_token);
    let owner = state.grants.sign_in_of(refresh_token).map(|(_, user)| user);
    let (result, account) = match grant(shared, settings, state, asking, owner.as_deref()) {
        Ok((body, user)) => (Ok(body), user),
        Err(failure) => {
            (Err(failure), owner.unwrap_or_else(|| asking.field("client_id").unwrap_or_default().to_owned()))
        }
    };
    let name = match asking.field("grant_type") {
        Some(JWT_BEARER) => "jwt_bearer",
        Some(DEVICE_CODE) => "device_code",
        Some(name @ ("authorization_code" | "refresh_token")) => name,
        _ => "(other)",
    };
    state.tally.token_request(name, &account, result.is_ok());
    match result {
        Ok(body) => Ok(json_answer(StatusCode::OK, body)),
        Err(Failure::Refused(refusal)) => Ok(refusal.answer()),
        Err(Failure::Broken(error)) => Err(error),
    }
}

/// The tokens, and whose they are.
fn grant(
    shared: &SandboxState,
    settings: &GoogleSettings,
    state: &ProviderState,
    asking: &Asking,
    owner: Option<&str>,
) -> Result<(Value, String), Failure> {
    if let Some(name) = &asking.repeated {
        let description = format!("OAuth 2 parameters can only have a single value: {name}");
        return Err(Refusal::new(400, "invalid_request", description).into());
    }
    let parameter = |name: &str| asking.field(name).ok_or_else(|| Refusal::missing(name));
    let kind = parameter("grant_type")?;
    let when = (state.rules(), shared.time.now());
    if kind == JWT_BEARER {
        let knows = |user: &str| shared.directory.kind_of(user) == Some(AccountKind::Google);
        let now = shared.time.unix_seconds();
        let (user, scopes) = service_account::judge(settings, parameter("assertion")?, now, knows)?;
        let token = issue(shared, Provider::Google, (&user, &scopes, 0))?;
        let seconds = state.token_lifetime().as_secs();
        let body = json!({"access_token": token.expose(), "expires_in": seconds, "token_type": "Bearer"});
        return Ok((body, user));
    }
    let client_id = check_client(settings, asking)?;
    let granted = match kind {
        "authorization_code" => {
            let code = parameter("code")?;
            if !code.starts_with(CODE) {
                return Err(Refusal::grant("Malformed auth code.").into());
            }
            let (redirect_uri, verifier) = (Some(parameter("redirect_uri")?), asking.field("code_verifier"));
            state.grants.redeem(code, client_id, redirect_uri, verifier, when)
        }
        "refresh_token" => {
            let token = parameter("refresh_token")?;
            if let Some((error, description)) = owner.and_then(|user| state.refusal(user)) {
                return Err(Refusal::new(400, &error, description).into());
            }
            let scopes = asking.field("scope").map(|scopes| scopes.split(' ').map(str::to_owned).collect());
            state.grants.refresh(token, client_id, scopes, when)
        }
        DEVICE_CODE => state.grants.poll(parameter("device_code")?, client_id, when),
        other => {
            let description = format!("Invalid grant_type: {other}");
            return Err(Refusal::new(400, "unsupported_grant_type", description).into());
        }
    };
    let Granted { number, user, asked, refresh_token } = granted.map_err(Refusal::of)?;
    let token = issue(shared, Provider::Google, (&user, &asked.scopes, number))?;
    let mut body = json!({
        "access_token": token.expose(),
        "expires_in": state.token_lifetime().as_secs(),
        "scope": asked.scopes.join(" "),
        "token_type": "Bearer",
    });
    // An answer to a refresh names no refresh token: the one that was used stays good.
    if let Some(refresh_token) = refresh_token {
        body["refresh_token"] = Value::from(refresh_token);
        if let Some(lifetime) = state.rules().lifetime {
            body["refresh_token_expires_in"] = Value::from(lifetime.as_secs());
        }
    }
    if asked.scopes.iter().any(|scope| scope == "openid") {
        body["id_token"] = Value::from(id_token(shared, settings, &user, &asked, token.expose())?);
    }
    Ok((body, user))
}

/// The client: with its secret, in the form or by HTTP Basic.
fn check_client<'a>(settings: &GoogleSettings, asking: &'a Asking) -> Result<&'a str, Refusal> {
    let basic = asking.basic.as_ref();
    let client_id = basic.map(|basic| basic.client_id.as_str()).or_else(|| asking.field("client_id"));
    let secret = basic.map(|basic| basic.secret.as_str()).or_else(|| asking.field("client_secret"));
    let client_id =
        client_id.ok_or_else(|| Refusal::new(400, "invalid_request", "Could not determine client ID from request."))?;
    if client_id != settings.client_id {
        return Err(Refusal::new(401, "invalid_client", "The OAuth client was not found."));
    }
    let secret = secret.ok_or_else(|| Refusal::new(400, "invalid_request", "client_secret is missing."))?;
    let wanted = settings.client_secret.expose().as_bytes();
    aws_lc_rs::constant_time::verify_slices_are_equal(wanted, secret.as_bytes())
        .map_err(|_| Refusal::new(401, "invalid_client", "The provided client secret is invalid."))?;
    Ok(client_id)
}

/// Says to the application who signed in.
fn id_token(
    shared: &SandboxState,
    settings: &GoogleSettings,
    user: &str,
    asked: &Asked,
    access_token: &str,
) -> io::Result<String> {
    let now = shared.time.unix().as_secs();
    let half = |text: &str| {
        let digest = digest::digest(&digest::SHA256, text.as_bytes());
        digest.as_ref().iter().take(16).copied().collect::<Vec<u8>>()
    };
    // Google's `sub` is a number of 21 digits.
    let number = half(user).into_iter().fold(0_u128, |sum, octet| sum << 8 | u128::from(octet));
    let mut claims = json!({
        "iss": "https://accounts.google.com",
        "azp": asked.client_id,
        "aud": asked.client_id,
        "sub": format!("1{:020}", number % 100_000_000_000_000_000_000),
        "at_hash": URL_SAFE_NO_PAD.encode(half(access_token)),
        "iat": now,
        "exp": now + ID_TOKEN,
    });
    if asked.scopes.iter().any(|scope| scope == "email" || scope.ends_with("/userinfo.email")) {
        claims["email"] = Value::from(user);
        claims["email_verified"] = Value::from(true);
    }
    if let Some(domain) = settings.hosted_domain(user) {
        claims["hd"] = Value::from(domain);
    }
    if let Some(nonce) = &asked.nonce {
        claims["nonce"] = Value::from(nonce.as_str());
    }
    shared.id_token_key.sign(&claims)
}

/// Serves `/device/code` (RFC 8628 §3.2, with a name of Google's own for the address).
pub(super) fn device(
    shared: &SandboxState,
    settings: &GoogleSettings,
    state: &ProviderState,
    asking: &Asking,
) -> io::Result<Answer> {
    let asked = match read_device(settings, asking) {
        Ok(asked) => asked,
        Err(refusal) => return Ok(refusal.answer()),
    };
    let (lifetime, interval) = DEVICE;
    let times = (std::time::Duration::from_secs(lifetime), std::time::Duration::from_secs(interval));
    let codes = state.grants.device(asked, times, shared.time.now())?;
    let body = json!({
        "device_code": codes.device_code,
        "user_code": codes.user_code,
        "expires_in": lifetime,
        "interval": interval,
        "verification_url": format!("{}/device", settings.base),
    });
    Ok(json_answer(StatusCode::OK, body))
}

fn read_device(settings: &GoogleSettings, asking: &Asking) -> Result<Asked, Refusal> {
    let client_id = asking.field("client_id").ok_or_else(|| Refusal::missing("client_id"))?;
    if client_id != settings.client_id {
        return Err(Refusal::new(401, "invalid_client", "The OAuth client was not found."));
    }
    let scopes = scope::of_device(asking.field("scope").ok_or_else(|| Refusal::missing("scope"))?)?;
    Ok(Asked { client_id: client_id.to_owned(), scopes, nonce: None, offline: true })
}

/// Serves `/revoke`: a token of either kind ends its sign-in.
pub(super) fn revoke(shared: &SandboxState, state: &ProviderState, asking: &Asking) -> Answer {
    let token = asking.field("token").or_else(|| asking.asked("token")).unwrap_or_default();
    note_foreign(shared, Provider::Google, None, "", token);
    let by_access = || read(shared, Provider::Google, token).map(|claims| claims.number);
    let number = state.grants.sign_in_of(token).map(|(number, _)| number).or_else(by_access);
    match number.filter(|number| !state.grants.has_ended(*number)) {
        Some(number) => {
            state.grants.end(number);
            json_answer(StatusCode::OK, json!({}))
        }
        None => Refusal::new(400, "invalid_token", "Token expired or revoked").answer(),
    }
}
