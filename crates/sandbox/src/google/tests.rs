//! Google's endpoints over HTTPS, as a client meets them.

use super::*;
use crate::testing::{Heard, address, ask, challenge, claims, dial, sandbox, signed, xoauth2};
use crate::{Manner, Sandbox};

const GUS: &str = "gus@workspace.example";
const PASSWORD: &str = "gus's secret";
const CLIENT: &str = "812345678901-sandbox.apps.googleusercontent.com";
const SECRET: &str = "GOCSPX-sandbox";
const REDIRECT: &str = "http://127.0.0.1:49152";
const VERIFIER: &str = "a-verifier-of-at-least-forty-three-characters";

async fn world() -> (Sandbox, Google) {
    let sandbox = sandbox().await;
    let google = sandbox.start_google(GoogleConfig::default()).await.unwrap();
    google.add_account(GUS, PASSWORD);
    (sandbox, google)
}

/// The address of the page, with these parameters in place of the usual ones. An empty one is left
/// out.
fn page(google: &Google, other: &[(&str, &str)]) -> String {
    let challenge = challenge(VERIFIER);
    let mut parameters = vec![
        ("client_id", CLIENT),
        ("redirect_uri", REDIRECT),
        ("response_type", "code"),
        ("scope", "https://mail.google.com/ openid email"),
        ("state", "a state"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
        ("access_type", "offline"),
        ("prompt", "consent"),
        ("login_hint", GUS),
    ];
    parameters.retain(|(name, _)| other.iter().all(|(another, _)| name != another));
    parameters.extend(other.iter().filter(|(_, value)| !value.is_empty()));
    address(&format!("{}/o/oauth2/v2/auth", google.base()), &parameters)
}

async fn sign_in(sandbox: &Sandbox, google: &Google, other: &[(&str, &str)]) -> String {
    let form = [("username", GUS), ("password", PASSWORD), ("answer", "accept")];
    let redirect = ask(sandbox, &page(google, other), Some(&form)).await.redirect();
    assert_eq!(redirect["state"], "a state");
    redirect["code"].clone()
}

/// Asks for a token; these fields stand in place of the usual ones, and an empty one is left out.
async fn token(sandbox: &Sandbox, google: &Google, fields: &[(&str, &str)]) -> Heard {
    let mut form = vec![("client_id", CLIENT), ("client_secret", SECRET), ("redirect_uri", REDIRECT)];
    form.retain(|(name, _)| fields.iter().all(|(another, _)| name != another));
    form.extend(fields.iter().filter(|(_, value)| !value.is_empty()));
    ask(sandbox, &format!("{}/token", google.base()), Some(&form)).await
}

async fn redeem(sandbox: &Sandbox, google: &Google, code: &str, other: &[(&str, &str)]) -> Heard {
    let mut fields = vec![("grant_type", "authorization_code"), ("code", code), ("code_verifier", VERIFIER)];
    fields.retain(|(name, _)| other.iter().all(|(another, _)| name != another));
    fields.extend(other);
    token(sandbox, google, &fields).await
}

async fn refresh(sandbox: &Sandbox, google: &Google, refresh_token: &str) -> Heard {
    token(sandbox, google, &[("grant_type", "refresh_token"), ("refresh_token", refresh_token)]).await
}

#[tokio::test]
async fn a_person_signs_in_and_the_refresh_token_stays() {
    let (sandbox, google) = world().await;
    let shown = ask(&sandbox, &page(&google, &[]), None).await;
    assert_eq!(shown.status, 200);
    assert!(shown.body.contains(&format!("value=\"{GUS}\"")), "the hint is filled in: {}", shown.body);
    let code = sign_in(&sandbox, &google, &[("nonce", "n-1")]).await;
    assert!(code.starts_with("4/0A"));
    let granted = redeem(&sandbox, &google, &code, &[]).await.json();
    assert!(granted["access_token"].as_str().unwrap().starts_with("ya29."), "{granted}");
    assert_eq!((&granted["expires_in"], &granted["token_type"]), (&json!(3_599), &json!("Bearer")));
    assert_eq!(granted["scope"], "https://mail.google.com/ openid email");
    let says = claims(&granted["id_token"]);
    assert_eq!(says["iss"], "https://accounts.google.com");
    assert_eq!((&says["aud"], &says["email"], &says["nonce"]), (&json!(CLIENT), &json!(GUS), &json!("n-1")));
    assert_eq!(says["hd"], "workspace.example");
    let sub = says["sub"].as_str().unwrap();
    assert!(sub.len() == 21 && sub.bytes().all(|octet| octet.is_ascii_digit()), "{sub}");
    let refresh_token = granted["refresh_token"].as_str().unwrap();
    assert!(refresh_token.starts_with("1//0"));
    for _ in 0..2 {
        let renewed = refresh(&sandbox, &google, refresh_token).await.json();
        assert_ne!(renewed["access_token"], granted["access_token"]);
        assert!(renewed.get("refresh_token").is_none(), "it is not repeated: {renewed}");
    }
    let counters = google.counters();
    assert_eq!(counters.token_requests_of("authorization_code", GUS).succeeded, 1);
    assert_eq!(counters.token_requests_of("refresh_token", GUS).succeeded, 2);
    assert_eq!(sandbox.counters().http_requests, 0, "nothing was asked of Entra");
    let last = google.last_request("/token").unwrap();
    assert_eq!(last.parameter("grant_type"), Some("refresh_token"));
    assert!(!format!("{last:?}").contains(refresh_token));
}

#[tokio::test]
async fn only_a_consent_that_is_asked_for_gives_a_refresh_token_again() {
    let (sandbox, google) = world().await;
    let gives = async |other: &[(&str, &str)]| {
        let code = sign_in(&sandbox, &google, other).await;
        redeem(&sandbox, &google, &code, &[]).await.json().get("refresh_token").is_some()
    };
    assert!(!gives(&[("access_type", "")]).await, "online");
    assert!(!gives(&[("prompt", "")]).await, "the consent was given before");
    assert!(gives(&[]).await);
    google.set_manners(&[Manner::FewerScopes]);
    let code = sign_in(&sandbox, &google, &[]).await;
    assert_eq!(redeem(&sandbox, &google, &code, &[]).await.json()["scope"], "openid email");
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_shown_and_not_told_to_an_address() {
    let (sandbox, google) = world().await;
    for (other, error) in [
        (("client_id", "another.apps.googleusercontent.com"), "invalid_client"),
        (("redirect_uri", "http://192.0.2.1:1"), "redirect_uri_mismatch"),
        (("redirect_uri", "urn:ietf:wg:oauth:2.0:oob"), "redirect_uri_mismatch"),
        (("response_type", ""), "invalid_request"),
        (("response_type", "token"), "unsupported_response_type"),
        (("scope", "https://mail.google.com"), "invalid_scope"),
        (("code_challenge_method", "S512"), "invalid_request"),
        (("code_challenge", "short"), "invalid_request"),
    ] {
        let shown = ask(&sandbox, &page(&google, &[other]), None).await;
        assert_eq!(shown.status, 400, "{other:?}");
        assert!(shown.body.contains(&format!("Error 400: {error}")), "{other:?}: {}", shown.body);
    }
    for redirect in ["http://127.0.0.1:1", "http://[::1]:65535/done", "http://localhost:8080/"] {
        assert_eq!(ask(&sandbox, &page(&google, &[("redirect_uri", redirect)]), None).await.status, 200, "{redirect}");
    }
    let wrong = [("username", GUS), ("password", "wrong"), ("answer", "accept")];
    assert!(ask(&sandbox, &page(&google, &[]), Some(&wrong)).await.body.contains("Wrong password"));
    let other = [("username", "alice@contoso.example"), ("password", "x"), ("answer", "accept")];
    assert!(ask(&sandbox, &page(&google, &[]), Some(&other)).await.body.contains("find your account"));
    let declined = ask(&sandbox, &page(&google, &[]), Some(&[("answer", "decline")])).await.redirect();
    assert_eq!((declined["error"].as_str(), declined["state"].as_str()), ("access_denied", "a state"));
}

#[tokio::test]
async fn the_client_must_show_its_secret() {
    let (sandbox, google) = world().await;
    let code = sign_in(&sandbox, &google, &[]).await;
    let refused = async |other: (&str, &str)| {
        let (status, error, description) = redeem(&sandbox, &google, &code, &[other]).await.refusal();
        format!("{status} {error}: {description}")
    };
    assert_eq!(refused(("client_secret", "")).await, "400 invalid_request: client_secret is missing.");
    assert_eq!(refused(("client_secret", "wrong")).await, "401 invalid_client: The provided client secret is invalid.");
    assert_eq!(refused(("client_id", "another")).await, "401 invalid_client: The OAuth client was not found.");
    assert_eq!(refused(("client_id", "")).await, "400 invalid_request: Could not determine client ID from request.");
    assert_eq!(refused(("grant_type", "password")).await, "400 unsupported_grant_type: Invalid grant_type: password");
    assert_eq!(refused(("code", "")).await, "400 invalid_request: Missing required parameter: code");
    assert_eq!(redeem(&sandbox, &google, &code, &[]).await.status, 200, "none of it used up the code");
}

#[tokio::test]
async fn a_bad_code_is_a_bad_request() {
    let (sandbox, google) = world().await;
    let code = sign_in(&sandbox, &google, &[]).await;
    let refused = async |code: &str, other: &[(&str, &str)]| {
        let (status, error, description) = redeem(&sandbox, &google, code, other).await.refusal();
        format!("{status} {error}: {description}")
    };
    assert_eq!(refused("4/0Aunknown", &[]).await, "400 invalid_grant: Bad Request");
    assert_eq!(refused("unknown", &[]).await, "400 invalid_grant: Malformed auth code.");
    assert_eq!(refused(&code, &[("code_verifier", "")]).await, "400 invalid_grant: Missing code verifier.");
    assert_eq!(refused(&code, &[("code_verifier", "other")]).await, "400 invalid_grant: Invalid code verifier.");
    let elsewhere = ("redirect_uri", "http://127.0.0.1:1");
    assert_eq!(refused(&code, &[elsewhere]).await, "400 redirect_uri_mismatch: Bad Request");
    let granted = redeem(&sandbox, &google, &code, &[]).await.json();
    assert_eq!(refused(&code, &[]).await, "400 invalid_grant: Bad Request", "used before");
    let (_, _, ended) = refresh(&sandbox, &google, granted["refresh_token"].as_str().unwrap()).await.refusal();
    assert_eq!(ended, "Token has been expired or revoked.");
}

#[tokio::test]
async fn a_refresh_token_ends_with_revocation_password_age_and_refusal() {
    let (sandbox, google) = world().await;
    let told = async |refresh_token: &str| {
        let (status, error, description) = refresh(&sandbox, &google, refresh_token).await.refusal();
        format!("{status} {error}: {description}")
    };
    let ended = "400 invalid_grant: Token has been expired or revoked.";
    let revoke =
        async |token: &str| ask(&sandbox, &format!("{}/revoke", google.base()), Some(&[("token", token)])).await;
    let by_refresh = google.sign_in(GUS).unwrap();
    assert_eq!(revoke(by_refresh.refresh.expose()).await.status, 200);
    assert_eq!(told(by_refresh.refresh.expose()).await, ended);
    let (status, error, _) = revoke(by_refresh.refresh.expose()).await.refusal();
    assert_eq!((status, error.as_str()), (400, "invalid_token"));
    let by_access = google.sign_in(GUS).unwrap();
    assert_eq!(revoke(by_access.access.expose()).await.status, 200);
    assert_eq!(told(by_access.refresh.expose()).await, ended);

    let of_old_password = google.sign_in(GUS).unwrap();
    assert!(google.set_password(GUS, "another"));
    assert_eq!(told(of_old_password.refresh.expose()).await, ended);

    let refused = google.sign_in(GUS).unwrap();
    google.set_refusal(GUS, Some(("invalid_grant", "reauth related error (invalid_rapt)")));
    assert_eq!(told(refused.refresh.expose()).await, "400 invalid_grant: reauth related error (invalid_rapt)");
    google.set_refusal(GUS, None);
    assert_eq!(refresh(&sandbox, &google, refused.refresh.expose()).await.status, 200);

    google.set_testing(true);
    sandbox.advance(TESTING);
    assert_eq!(told(refused.refresh.expose()).await, ended);
    assert_eq!(told("1//0unknown").await, "400 invalid_grant: Bad Request");
}

#[tokio::test]
async fn a_device_gets_everything_but_mail() {
    let (sandbox, google) = world().await;
    let device = async |scope: &str| {
        let form = [("client_id", CLIENT), ("scope", scope)];
        ask(&sandbox, &format!("{}/device/code", google.base()), Some(&form)).await
    };
    let (status, error, description) = device("https://mail.google.com/").await.refusal();
    assert_eq!((status, error.as_str()), (400, "invalid_scope"));
    assert_eq!(description, "Invalid device flow scope: https://mail.google.com/");
    let codes = device("openid email").await.json();
    assert!(codes["verification_url"].as_str().unwrap().ends_with("/device"), "{codes}");
    assert_eq!((&codes["expires_in"], &codes["interval"]), (&json!(1_800), &json!(5)));
    let kind = ("grant_type", "urn:ietf:params:oauth:grant-type:device_code");
    let code = codes["device_code"].as_str().unwrap();
    let poll = async || token(&sandbox, &google, &[kind, ("device_code", code)]).await;
    let (status, error, _) = poll().await.refusal();
    assert_eq!((status, error.as_str()), (428, "authorization_pending"));
    let (status, error, _) = poll().await.refusal();
    assert_eq!((status, error.as_str()), (403, "slow_down"));
    let user_code = codes["user_code"].as_str().unwrap();
    let form = [("user_code", user_code), ("username", GUS), ("password", PASSWORD), ("answer", "accept")];
    let done = ask(&sandbox, &format!("{}/device", google.base()), Some(&form)).await;
    assert!(done.body.contains("You have signed in."), "{}", done.body);
    sandbox.advance(Duration::from_secs(10));
    assert_eq!(poll().await.json()["scope"], "openid email");
}

#[tokio::test]
async fn an_assertion_gets_a_token_without_more() {
    let (sandbox, google) = world().await;
    let key = google.add_service_account("a@sandbox.iam.gserviceaccount.com").unwrap();
    let file: Value = serde_json::from_str(&key.json).unwrap();
    assert_eq!(file["token_uri"], format!("{}/token", google.base()));
    let now = sandbox.shared.time.unix_seconds();
    let says = json!({
        "iss": key.email, "sub": GUS, "scope": scope::MAIL, "aud": file["token_uri"], "iat": now, "exp": now + 3_600,
    });
    let assertion = signed(file["private_key"].as_str().unwrap(), &json!({"alg": "RS256", "typ": "JWT"}), &says);
    let present = async |assertion: &str| {
        let form = [("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", assertion)];
        ask(&sandbox, &format!("{}/token", google.base()), Some(&form)).await
    };
    let (status, error, _) = present(&assertion).await.refusal();
    assert_eq!((status, error.as_str()), (401, "unauthorized_client"), "nothing is delegated");
    assert!(google.set_delegation(&key.email, &[scope::MAIL]));
    let granted = present(&assertion).await.json();
    let names: Vec<&String> = granted.as_object().unwrap().keys().collect();
    assert_eq!(names, ["access_token", "expires_in", "token_type"]);
    let mut imap = dial(&sandbox, google.imap()).await;
    imap.hear().await;
    let response = xoauth2(GUS, granted["access_token"].as_str().unwrap());
    let heard = imap.ask_until(&format!("a AUTHENTICATE XOAUTH2 {response}"), "a ").await;
    assert_eq!(heard.last().unwrap(), &format!("a OK {GUS} authenticated (Success)"));
    assert!(!google.set_delegation("unknown", &[]));
    let (status, error, description) = present("a.b.c").await.refusal();
    assert_eq!((status, error.as_str()), (400, "invalid_grant"));
    assert!(description.starts_with("Invalid JWT"), "{description}");
    assert_eq!(google.counters().token_requests_of("jwt_bearer", "").refused, 2);
    assert_eq!(google.counters().token_requests_of("jwt_bearer", GUS).succeeded, 1);
}

#[tokio::test]
async fn the_endpoints_are_found_where_they_are() {
    let (sandbox, google) = world().await;
    let metadata = ask(&sandbox, &format!("{}/.well-known/openid-configuration", google.base()), None).await.json();
    assert_eq!(metadata["issuer"], "https://accounts.google.com");
    assert_eq!(metadata["token_endpoint"], format!("{}/token", google.base()));
    let keys = ask(&sandbox, metadata["jwks_uri"].as_str().unwrap(), None).await.json();
    assert_eq!(keys["keys"][0]["kty"], "RSA");
    assert_eq!(ask(&sandbox, metadata["token_endpoint"].as_str().unwrap(), None).await.status, 405);
    assert_eq!(ask(&sandbox, &format!("{}/elsewhere", google.base()), None).await.status, 404);
    assert!(sandbox.start_google(GoogleConfig::default()).await.is_err(), "once only");
}
