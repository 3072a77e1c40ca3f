//! The claims of a token, of an ID token and of an access token, with whatever is around them.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gatepost_config::{Application, Cloud, Entra, Issuer};
use gatepost_core::account::is_guid;
use gatepost_core::clock::UnixTime;
use gatepost_core::secret::{AccessToken, IdToken};
use gatepost_oauth::grant::{GrantRequest, TokenRequest};
use gatepost_oauth::sign_in::id_token;
use gatepost_oauth::{TokenClaims, audience};
use url::Url;

const CLIENT: &str = "00000000-0000-0000-0000-000000000001";
const TENANT: &str = "00000000-0000-0000-0000-000000000002";
const AUTHORITY: &str = "https://login.fuzz.example/";
const NONCE: &str = "nonce";
const NOW: UnixTime = UnixTime(1_800_000_000);

/// The first octet: 0 the input is the whole token, 1 its claims; further bits choose the tenant,
/// the nonce and the resource.
pub fn check(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else { return };
    let text = match choice & 1 {
        0 => String::from_utf8_lossy(rest).into_owned(),
        _ => format!("e30.{}.AA", URL_SAFE_NO_PAD.encode(rest)),
    };
    let tenant = if choice & 2 == 0 { TENANT } else { "contoso.example" };
    let nonce = (choice & 4 == 0).then_some(NONCE);
    let scope = if choice & 8 == 0 { "https://outlook.office365.com/.default" } else { "https://api.fuzz.example/a" };
    let application = Arc::new(application(tenant, CLIENT.to_owned()));
    signed_in(&text, rest, (&application, tenant), nonce);
    let grant = GrantRequest::ClientCredentials;
    let ask = TokenRequest { application, tenant: tenant.into(), scope: scope.into(), grant };
    sent(&text, &ask);
}

fn application(tenant: &str, client_id: String) -> Application {
    Application {
        issuer: Issuer::Entra(Entra {
            authority: Url::parse(AUTHORITY).expect("an address"),
            tenant: tenant.into(),
            cloud: Cloud::Worldwide,
        }),
        client_id,
        credential: Arc::default(),
    }
}

/// Who is believed to have signed in is somebody, in the right directory.
fn signed_in(text: &str, claims: &[u8], (application, tenant): (&Application, &str), nonce: Option<&str>) {
    let token = IdToken::new(text.to_owned());
    let read = id_token::read(&token, (application, tenant), nonce, NOW);
    assert_eq!(read, id_token::read(&token, (application, tenant), nonce, NOW));
    let Ok(identity) = read else { return };
    assert!(is_guid(&identity.tenant_id) && is_guid(&identity.object_id));
    assert!(!is_guid(tenant) || identity.tenant_id == tenant);
    assert!(identity.issuer.to_ascii_lowercase().contains(&identity.tenant_id));
    assert!(identity.usernames.len() <= 3);
    for (n, name) in identity.usernames.iter().enumerate() {
        assert!(!identity.usernames[..n].contains(name) && identity.is_called(name, false));
    }
    assert!(!identity.username().is_empty());
    // Another application, and another sign-in, never take it.
    let other = self::application(tenant, digest_of(claims));
    assert_eq!(id_token::read(&token, (&other, tenant), nonce, NOW), Err(id_token::IdTokenProblem::Audience));
    let another = id_token::read(&token, (application, tenant), Some("another"), NOW);
    assert!(another.is_err() || text_has_nonce(claims, "another"));
    let later = UnixTime(u64::MAX / 2);
    assert!(id_token::read(&token, (application, tenant), nonce, later).is_err() || has_long_life(claims));
}

/// What a mismatch says can be shown, and a token without claims is sent as it is.
fn sent(text: &str, ask: &TokenRequest) {
    let token = AccessToken::new(text.to_owned());
    let Some(entra) = ask.application.issuer.entra() else { return };
    let checked = audience::check(&token, ask, entra);
    if let Err(mismatch) = &checked {
        assert!(mismatch.says.len() <= 100 && mismatch.says.bytes().all(|octet| (b' '..=b'~').contains(&octet)));
        assert!(["aud", "tid", "appid", "azp"].contains(&mismatch.claim));
    }
    assert!(text.split('.').count() == 3 || checked.is_ok(), "no token with claims");
    assert!(audience::person(&token).is_none_or(|id| is_guid(&id)));
    if let Some(claims) = TokenClaims::of(&token) {
        assert!(claims.permissions().bytes().all(|octet| !octet.is_ascii_control()));
    }
}

/// A name that nobody could have written into the claims.
fn digest_of(claims: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, claims))
}

fn text_has_nonce(claims: &[u8], nonce: &str) -> bool {
    String::from_utf8_lossy(claims).contains(nonce)
}

/// The claims hold a number with so many digits.
fn has_long_life(claims: &[u8]) -> bool {
    claims.split(|octet| !octet.is_ascii_digit()).any(|digits| digits.len() >= 18)
}
