//! The plain provider's endpoints over HTTPS, as a client meets them, with good manners and bad.

use std::time::Duration;

use super::*;
use crate::Sandbox;
use crate::testing::{Heard, address, ask, ask_with, challenge, claims, sandbox};

const PAM: &str = "pam@plain.example";
const PASSWORD: &str = "pam's secret";
const REDIRECT: &str = "http://127.0.0.1:49152/done";
const VERIFIER: &str = "a-verifier-of-at-least-forty-three-characters";

async fn world() -> (Sandbox, Plain) {
    let sandbox = sandbox().await;
    let plain = sandbox.start_plain(PlainConfig::default()).await.unwrap();
    plain.add_account(PAM, PASSWORD);
    (sandbox, plain)
}

fn page(plain: &Plain, other: &[(&str, &str)]) -> String {
    let challenge = challenge(VERIFIER);
    let mut parameters = vec![
        ("client_id", "gatepost"),
        ("redirect_uri", REDIRECT),
        ("response_type", "code"),
        ("scope", "mail offline_access openid email"),
        ("state", "a state"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    parameters.retain(|(name, _)| other.iter().all(|(another, _)| name != another));
    parameters.extend(other.iter().filter(|(_, value)| !value.is_empty()));
    address(&format!("{}/authorize", plain.base()), &parameters)
}

async fn sign_in(sandbox: &Sandbox, plain: &Plain) -> String {
    let form = [("username", PAM), ("password", PASSWORD), ("answer", "accept")];
    let redirect = ask(sandbox, &page(plain, &[]), Some(&form)).await.redirect();
    assert_eq!((redirect["state"].as_str(), &redirect["iss"]), ("a state", &plain.base()));
    redirect["code"].clone()
}

async fn token(sandbox: &Sandbox, plain: &Plain, fields: &[(&str, &str)], head: &str) -> Heard {
    ask_with(sandbox, &format!("{}/token", plain.base()), Some(fields), head).await
}

async fn redeem(sandbox: &Sandbox, plain: &Plain, code: &str) -> Heard {
    let fields = [
        ("grant_type", "authorization_code"),
        ("client_id", "gatepost"),
        ("code", code),
        ("redirect_uri", REDIRECT),
        ("code_verifier", VERIFIER),
    ];
    token(sandbox, plain, &fields, "").await
}

async fn refresh(sandbox: &Sandbox, plain: &Plain, refresh_token: &str) -> Heard {
    let fields = [("grant_type", "refresh_token"), ("client_id", "gatepost"), ("refresh_token", refresh_token)];
    token(sandbox, plain, &fields, "").await
}

#[tokio::test]
async fn a_code_becomes_tokens_and_the_refresh_token_rotates() {
    let (sandbox, plain) = world().await;
    let code = sign_in(&sandbox, &plain).await;
    let granted = redeem(&sandbox, &plain, &code).await.json();
    assert_eq!((&granted["expires_in"], &granted["token_type"]), (&json!(3_600), &json!("Bearer")));
    let says = claims(&granted["id_token"]);
    assert_eq!((&says["iss"], &says["email"]), (&json!(plain.base()), &json!(PAM)));
    let first = granted["refresh_token"].as_str().unwrap();
    let second = refresh(&sandbox, &plain, first).await.json()["refresh_token"].as_str().unwrap().to_owned();
    assert_ne!(first, second);
    assert_eq!(refresh(&sandbox, &plain, first).await.refusal().1, "invalid_grant");
    assert_eq!(refresh(&sandbox, &plain, &second).await.refusal().1, "invalid_grant", "the sign-in has ended");

    plain.set_rotation(false);
    let steady = plain.sign_in(PAM).unwrap();
    for _ in 0..2 {
        assert!(refresh(&sandbox, &plain, steady.refresh.expose()).await.json().get("refresh_token").is_none());
    }
    assert_eq!(plain.counters().token_requests_of("refresh_token", PAM).refused, 2);
}

#[tokio::test]
async fn the_authorization_endpoint_wants_pkce() {
    let (sandbox, plain) = world().await;
    for (other, error) in [
        (("code_challenge", ""), "invalid_request"),
        (("code_challenge", "short"), "invalid_request"),
        (("code_challenge_method", "plain"), "invalid_request"),
        (("response_type", "token"), "unsupported_response_type"),
        (("scope", "mail contacts"), "invalid_scope"),
    ] {
        let told = ask(&sandbox, &page(&plain, &[other]), None).await.redirect();
        assert_eq!((told["error"].as_str(), told["state"].as_str()), (error, "a state"), "{other:?}");
    }
    for other in [("client_id", "another"), ("redirect_uri", "https://elsewhere.example/"), ("redirect_uri", "")] {
        assert_eq!(ask(&sandbox, &page(&plain, &[other]), None).await.status, 400, "{other:?}");
    }
    let twice = format!("{}&scope=mail", page(&plain, &[]));
    assert_eq!(ask(&sandbox, &twice, None).await.redirect()["error"], "invalid_request");
    let declined = ask(&sandbox, &page(&plain, &[]), Some(&[("answer", "decline")])).await.redirect();
    assert_eq!(declined["error"], "access_denied");
}

#[tokio::test]
async fn a_client_says_who_it_is_in_the_registered_way_only() {
    let (sandbox, plain) = world().await;
    plain.set_rotation(false);
    let refresh_token = plain.sign_in(PAM).unwrap().refresh;
    let basic = "Authorization: Basic Z2F0ZXBvc3Q6cGxhaW4tc2VjcmV0\r\n";
    let wrong = "Authorization: Basic Z2F0ZXBvc3Q6d3Jvbmc=\r\n";
    let usual = [("grant_type", "refresh_token"), ("refresh_token", refresh_token.expose())];
    let with = |more: &[(&'static str, &'static str)]| [&usual[..], more].concat();
    let named = ("client_id", "gatepost");
    let secret = ("client_secret", "plain-secret");
    let ask = async |fields: &[(&str, &str)], head: &str| {
        let heard = token(&sandbox, &plain, fields, head).await;
        (heard.status, heard.headers.contains_key("www-authenticate"))
    };
    for (authentication, without, form, by_basic) in [
        (ClientAuthentication::None, 200, 401, 401),
        (ClientAuthentication::Form, 401, 200, 401),
        (ClientAuthentication::Basic, 401, 401, 200),
    ] {
        plain.set_client_authentication(authentication);
        assert_eq!(ask(&with(&[named]), "").await, (without, false), "{authentication:?}");
        assert_eq!(ask(&with(&[named, secret]), "").await, (form, false), "{authentication:?}");
        assert_eq!(ask(&usual, basic).await, (by_basic, by_basic == 401), "{authentication:?}");
    }
    assert_eq!(ask(&usual, wrong).await, (401, true));
    assert_eq!(ask(&with(&[secret]), basic).await, (400, false), "two ways at once");
    assert_eq!(ask(&usual, "").await, (400, false), "no name");
    assert_eq!(ask(&with(&[named, named]), "").await, (400, false), "a parameter twice");
    plain.set_client_authentication(ClientAuthentication::Form);
    assert_eq!(ask(&with(&[named, ("client_secret", "wrong")]), "").await, (401, false));
}

#[tokio::test]
async fn a_device_and_a_revocation_follow_their_rfcs() {
    let (sandbox, plain) = world().await;
    let base = plain.base();
    let form = [("client_id", "gatepost"), ("scope", "mail offline_access")];
    let codes = ask(&sandbox, &format!("{base}/device_authorization"), Some(&form)).await.json();
    let code = codes["device_code"].as_str().unwrap();
    let kind = ("grant_type", "urn:ietf:params:oauth:grant-type:device_code");
    let poll = async || token(&sandbox, &plain, &[kind, ("client_id", "gatepost"), ("device_code", code)], "").await;
    assert_eq!(poll().await.refusal().1, "authorization_pending");
    assert_eq!(poll().await.refusal().1, "slow_down");
    let user_code = codes["user_code"].as_str().unwrap();
    let form = [("user_code", user_code), ("username", PAM), ("password", PASSWORD), ("answer", "accept")];
    ask(&sandbox, codes["verification_uri"].as_str().unwrap(), Some(&form)).await;
    sandbox.advance(Duration::from_secs(10));
    let granted = poll().await.json();
    let refresh_token = granted["refresh_token"].as_str().unwrap();
    let revoke = async |token: &str| {
        ask(&sandbox, &format!("{base}/revoke"), Some(&[("client_id", "gatepost"), ("token", token)])).await.status
    };
    assert_eq!(revoke("unknown").await, 200, "RFC 7009 §2.2");
    // Only the client itself takes back what it was given.
    for client in [&[("client_id", "other")][..], &[("client_id", "gatepost"), ("client_secret", "wrong")], &[]] {
        let form: Vec<_> = client.iter().copied().chain([("token", refresh_token)]).collect();
        let status = ask(&sandbox, &format!("{base}/revoke"), Some(&form)).await.status;
        assert!((400..=401).contains(&status) && plain.has_sign_in(refresh_token), "{client:?}: {status}");
    }
    assert_eq!(revoke(refresh_token).await, 200);
    assert!(!plain.has_sign_in(refresh_token));
    assert_eq!(refresh(&sandbox, &plain, refresh_token).await.refusal().1, "invalid_grant");
    assert_eq!(ask(&sandbox, &format!("{base}/revoke"), Some(&[("token", "x")])).await.status, 400);
}

#[tokio::test]
async fn the_metadata_name_the_endpoints_unless_told_otherwise() {
    let (sandbox, plain) = world().await;
    let read =
        async || ask(&sandbox, &format!("{}/.well-known/oauth-authorization-server", plain.base()), None).await.json();
    let metadata = read().await;
    assert_eq!(metadata["issuer"], plain.base());
    assert_eq!(metadata["token_endpoint"], format!("{}/token", plain.base()));
    assert_eq!(metadata["token_endpoint_auth_methods_supported"], json!(["none"]));
    plain.set_manners(&[Manner::MetadataOfOtherHost]);
    assert_eq!(read().await["token_endpoint"], "https://elsewhere.example/token");
    plain.set_manners(&[Manner::MetadataOfOtherIssuer]);
    assert_eq!(read().await["issuer"], "https://elsewhere.example");
    assert_eq!(ask(&sandbox, &format!("{}/token", plain.base()), None).await.status, 405);
}

#[tokio::test]
async fn bad_manners_are_had_on_demand() {
    let (sandbox, plain) = world().await;
    plain.set_rotation(false);
    let refresh_token = plain.sign_in(PAM).unwrap().refresh;
    let with = async |manner: Manner, token: &str| {
        plain.set_manners(&[manner]);
        refresh(&sandbox, &plain, token).await
    };
    let good = refresh_token.expose();
    assert!(with(Manner::NoExpiresIn, good).await.json().get("expires_in").is_none());
    assert!(with(Manner::NoTokenType, good).await.json().get("token_type").is_none());
    assert_eq!(with(Manner::TextExpiresIn, good).await.json()["expires_in"], "3600");
    assert!(serde_json::from_str::<Value>(&with(Manner::TruncatedJson, good).await.body).is_err());
    let form = with(Manner::FormTokens, good).await;
    assert_eq!(form.headers["content-type"], "application/x-www-form-urlencoded");
    assert!(form.body.contains("access_token=plain-") && form.body.contains("expires_in=3600"), "{}", form.body);
    assert_eq!(with(Manner::OkWithError, good).await.status, 200);
    let error = with(Manner::OkWithError, "unknown").await;
    assert_eq!((error.status, error.json()["error"].as_str()), (200, Some("invalid_grant")));
    let error = with(Manner::FormErrors, "unknown").await;
    assert!(error.status == 400 && error.body.starts_with("error=invalid_grant&"), "{error:?}");
    assert!(with(Manner::Html, good).await.body.starts_with("<!DOCTYPE html>"));
    assert_eq!(with(Manner::ServerError, good).await.status, 503);
    let throttled = with(Manner::Throttled(Duration::from_secs(7)), good).await;
    assert_eq!((throttled.status, throttled.headers["retry-after"].as_str()), (429, "7"));
    assert_eq!(with(Manner::Redirect, good).await.headers["location"], "https://elsewhere.example/token");
    assert_eq!(ask(&sandbox, &page(&plain, &[]), None).await.status, 200, "pages have none of them");
    assert_eq!(with(Manner::Slow(Duration::from_millis(1)), good).await.status, 200);

    plain.add_account("eve@plain.example", "x");
    plain.set_manners(&[Manner::AnotherUser("Eve@plain.example".to_owned())]);
    let code = sign_in(&sandbox, &plain).await;
    assert_eq!(claims(&redeem(&sandbox, &plain, &code).await.json()["id_token"])["email"], "eve@plain.example");
    plain.set_manners(&[Manner::FewerScopes]);
    let code = sign_in(&sandbox, &plain).await;
    assert_eq!(redeem(&sandbox, &plain, &code).await.json()["scope"], "offline_access openid email");
}
