//! The claims of an ID token of every kind of authorization server, beside a second reading of them.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gatepost_config::{Application, ClientAuthentication, Cloud, Entra, Issuer, Provider};
use gatepost_core::account::{MailAddress, is_guid};
use gatepost_core::clock::UnixTime;
use gatepost_core::secret::IdToken;
use gatepost_oauth::sign_in::id_token::{self, Identity};
use serde_json::Value;
use url::Url;

const CLIENT: &str = "app";
const TENANT: &str = "00000000-0000-0000-0000-000000000002";
const NONCE: &str = "nonce";
const NOW: u64 = 1_800_000_000;
/// How far the clocks may be apart, in seconds.
const SKEW: u64 = 300;

const TENANTS: [&str; 6] =
    [TENANT, "contoso.example", "common", "consumers", "organizations", Entra::PERSONAL_ACCOUNTS];
const AUTHORITY: &str = "https://login.fuzz.example/";
/// Authorities whose tokens Entra's worldwide cloud gives.
const AUTHORITIES: [&str; 3] = [AUTHORITY, "https://login.microsoftonline.com/", "https://sts.windows.net/"];
const ISSUERS: [&str; 2] = ["https://accounts.fuzz.example", "accounts.fuzz.example"];

/// The claims that a server reads.
const READ: [&str; 13] = [
    "iss",
    "aud",
    "exp",
    "nbf",
    "nonce",
    "sub",
    "tid",
    "oid",
    "preferred_username",
    "upn",
    "unique_name",
    "email",
    "email_verified",
];

/// The first octet chooses the server, its tenant and the nonce. The rest is the claims.
pub fn check(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else { return };
    let choice = choice.wrapping_sub(b'0');
    let is_entra = choice & 8 == 0;
    let tenant = if is_entra { TENANTS[usize::from(choice & 7) % TENANTS.len()] } else { "" };
    let nonce = (choice & 16 == 0).then_some(NONCE);
    let application = Application {
        issuer: if is_entra { entra(tenant) } else { provider() },
        client_id: CLIENT.to_owned(),
        credential: Arc::default(),
    };
    let token = IdToken::new(format!("e30.{}.AA", URL_SAFE_NO_PAD.encode(rest)));
    let read = id_token::read(&token, (&application, tenant), nonce, UnixTime(NOW));
    // Octets that this parser refuses may be in claims that nobody reads.
    let Ok(claims) = serde_json::from_slice::<Value>(rest) else {
        return assert!(read.is_err() || std::str::from_utf8(rest).is_err() || has_odd_values(rest));
    };
    // The parser reads a list as the fields in their order. No server writes one.
    if claims.is_array() {
        return;
    }
    let judged = judge(&claims, is_entra, tenant, nonce);
    match &read {
        Ok(identity) => {
            assert!(judged, "taken, although a claim is wrong");
            named(identity, &claims, is_entra);
        }
        Err(problem) => assert!(!judged || is_written_twice(rest), "refused although all is right: {problem}"),
    }
}

fn entra(tenant: &str) -> Issuer {
    let authority = Url::parse(AUTHORITY).expect("an address");
    Issuer::Entra(Entra { authority, tenant: tenant.into(), cloud: Cloud::Worldwide })
}

fn provider() -> Issuer {
    Issuer::Provider(Arc::new(Provider {
        name: "fuzz".to_owned(),
        title: "Fuzz".to_owned(),
        authorize_url: None,
        authorize_parameters: &[],
        token_url: Url::parse("https://accounts.fuzz.example/token").expect("an address"),
        device_url: None,
        revoke_url: None,
        issuers: ISSUERS.map(str::to_owned).to_vec(),
        scope: String::new(),
        client_authentication: ClientAuthentication::Post,
        pkce: true,
        domains: Vec::new(),
        hosts: Vec::new(),
    }))
}

/// Whether these claims are those of a person who may sign in.
fn judge(claims: &Value, is_entra: bool, tenant: &str, nonce: Option<&str>) -> bool {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let is_text = |name: &&str| claims.get(name).is_none_or(|value| value.is_string() || value.is_null());
    let names = ["nonce", "sub", "tid", "oid", "preferred_username", "upn", "unique_name", "email"];
    let is_for_us = match claims.get("aud") {
        Some(Value::String(one)) => one == CLIENT,
        Some(Value::Array(several)) => several.len() == 1 && several[0] == CLIENT,
        _ => false,
    };
    let is_time = |name: &str| claims.get(name).is_none_or(|value| value.is_u64() || value.is_null());
    let is_now = is_time("nbf")
        && claims.get("exp").and_then(Value::as_u64).is_some_and(|exp| NOW < exp.saturating_add(SKEW))
        && claims.get("nbf").and_then(Value::as_u64).is_none_or(|nbf| nbf <= NOW + SKEW);
    let is_ours = nonce.is_none() || text("nonce") == nonce;
    let from = if is_entra {
        is_of_entra(text("iss"), text("tid"), text("oid"), tenant)
    } else {
        text("iss").is_some_and(|iss| ISSUERS.contains(&iss)) && text("sub").is_some()
    };
    names.iter().all(is_text) && is_for_us && is_now && is_ours && from
}

fn is_of_entra(iss: Option<&str>, tid: Option<&str>, oid: Option<&str>, tenant: &str) -> bool {
    let (Some(iss), Some(tid), Some(oid)) = (iss, tid, oid) else { return false };
    let is_issuer = AUTHORITIES.iter().any(|base| iss == format!("{base}{tid}/v2.0") || iss == format!("{base}{tid}/"));
    let is_personal = tid.eq_ignore_ascii_case(Entra::PERSONAL_ACCOUNTS);
    let is_tenant = match tenant {
        "common" => true,
        "consumers" => is_personal,
        // Only a sign-in of persons takes personal accounts.
        tenant => !is_personal && (!is_guid(tenant) || tid.eq_ignore_ascii_case(tenant)),
    };
    is_guid(tid) && is_guid(oid) && is_issuer && is_tenant
}

/// The person has no name that the claims do not give, and no address that nobody verified.
fn named(identity: &Identity, claims: &Value, is_entra: bool) {
    let address = |name: &str| claims.get(name).and_then(Value::as_str).and_then(|text| MailAddress::parse(text).ok());
    let is_verified =
        claims.get("email_verified").is_none_or(|said| said.is_null() || *said == true || *said == "true");
    let email = address("email").filter(|_| is_entra || is_verified);
    let mut names: Vec<MailAddress> = Vec::new();
    let sources = if is_entra {
        [address("preferred_username"), address("upn"), address("unique_name")]
    } else {
        [email.clone(), address("preferred_username"), None]
    };
    for name in sources.into_iter().flatten() {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    assert_eq!(identity.usernames, names);
    assert_eq!(identity.email, email.filter(|_| is_entra));
    let id = claims[if is_entra { "oid" } else { "sub" }].as_str().expect("an id");
    assert!(identity.object_id == if is_entra { id.to_ascii_lowercase() } else { id.to_owned() });
    assert_eq!(identity.issuer, claims["iss"].as_str().expect("an issuer"));
    assert_eq!(identity.tenant_id.is_empty(), !is_entra);
    let stranger = MailAddress::parse("stranger@fuzz.example").expect("an address");
    assert_eq!(identity.is_called(&stranger, false), names.contains(&stranger));
}

/// A claim is perhaps written twice, of which the second reading takes the last.
fn is_written_twice(claims: &[u8]) -> bool {
    let text = String::from_utf8_lossy(claims);
    text.contains("\\u") || READ.iter().any(|name| text.matches(&format!("\"{name}\"")).count() > 1)
}

/// There are numbers or escapes that are checked only where they are read.
fn has_odd_values(claims: &[u8]) -> bool {
    let text = String::from_utf8_lossy(claims).to_ascii_lowercase();
    text.contains("\\u") || text.contains('e') && text.bytes().any(|octet| octet.is_ascii_digit())
}
