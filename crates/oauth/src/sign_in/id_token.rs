//! Reads from the ID token who signed in (OpenID Connect Core §2; Microsoft, "ID token claims
//! reference").
//!
//! The token comes directly from the token endpoint over verified TLS, so its signature need not be
//! checked (OpenID Connect Core §3.1.3.7, item 6). All other claims are checked.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::server;
use crate::sign_in::identity::{Audience, Claims};
use gatepost_config::Application;
use gatepost_core::clock::UnixTime;
use gatepost_core::secret::IdToken;

pub use crate::sign_in::identity::{IdTokenProblem, Identity};

/// How far this machine's clock may be off.
const SKEW: Duration = Duration::from_secs(300);

/// Reads the token and checks that it is for `application`, from its authority and `tenant`, for
/// now, and for the request with this `nonce`.
///
/// # Errors
/// [`IdTokenProblem`].
pub fn read(
    token: &IdToken,
    (application, tenant): (&Application, &str),
    nonce: Option<&str>,
    now: UnixTime,
) -> Result<Identity, IdTokenProblem> {
    let mut parts = token.expose().split('.');
    let (Some(_header), Some(payload), Some(_signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(IdTokenProblem::Malformed);
    };
    let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| IdTokenProblem::Malformed)?;
    let claims: Claims = serde_json::from_slice(&payload).map_err(|_| IdTokenProblem::Malformed)?;
    let for_us = match &claims.aud {
        Audience::One(audience) => *audience == application.client_id,
        // Several audiences need an `azp` to tell who may use the token. Entra gives one audience.
        Audience::Several(audiences) => audiences.len() == 1 && audiences.contains(&application.client_id),
    };
    if !for_us {
        return Err(IdTokenProblem::Audience);
    }
    let over = now.0 >= UnixTime(claims.exp).after(SKEW).0;
    let early = claims.nbf.is_some_and(|not_before| not_before > now.after(SKEW).0);
    if over || early {
        return Err(IdTokenProblem::Time);
    }
    if nonce.is_some() && nonce != claims.nonce.as_deref() {
        return Err(IdTokenProblem::Nonce);
    }
    server::of(application).identity(claims, tenant)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use url::Url;

    use super::*;
    use gatepost_config::Cloud;
    use gatepost_core::account::MailAddress;

    const TID: &str = "8b9d6c1e-52a4-4c0f-9d3e-0c6f7a1b2c3d";
    const OID: &str = "11111111-2222-3333-4444-555555555555";
    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn application(tenant: &str, cloud: Cloud) -> Application {
        Application {
            issuer: gatepost_config::Issuer::Entra(gatepost_config::Entra {
                authority: Url::parse("https://login.example/").unwrap(),
                tenant: tenant.into(),
                cloud,
            }),
            client_id: "app".into(),
            credential: Default::default(),
        }
    }

    fn claims() -> Value {
        json!({
            "iss": format!("https://login.example/{TID}/v2.0"), "aud": "app", "exp": NOW.0 + 3600, "nbf": NOW.0 - 300,
            "tid": TID, "oid": OID, "nonce": "n", "preferred_username": "Alice@contoso.example", "sub": "x", "ver": "2.0",
        })
    }

    fn token(claims: &Value) -> IdToken {
        IdToken::new(format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string())))
    }

    fn with(name: &str, value: Value) -> Value {
        let mut claims = claims();
        claims[name] = value;
        claims
    }

    #[test]
    fn a_token_says_who_signed_in() {
        for tenant in [TID, "contoso.example"] {
            let identity =
                read(&token(&claims()), (&application(tenant, Cloud::Worldwide), tenant), Some("n"), NOW).unwrap();
            assert_eq!((identity.tenant_id.as_str(), identity.object_id.as_str()), (TID, OID));
            assert_eq!(identity.username(), "alice@contoso.example");
        }
        let several = with("aud", json!(["app"]));
        assert!(read(&token(&several), (&application(TID, Cloud::Worldwide), TID), None, NOW).is_ok());
    }

    #[test]
    fn names_are_compared_folded_and_an_email_counts_in_ones_own_tenant_only() {
        let mut claims = with("upn", json!("ALICE@contoso.example"));
        claims["unique_name"] = json!("alice.old@contoso.example");
        claims["email"] = json!("boss@contoso.example");
        let identity = read(&token(&claims), (&application(TID, Cloud::Worldwide), TID), None, NOW).unwrap();
        let is_called = |name: &str, own| identity.is_called(&MailAddress::parse(name).unwrap(), own);
        assert_eq!(identity.usernames.len(), 2);
        assert!(is_called("alice@contoso.example", false) && is_called("alice.old@contoso.example", false));
        assert!(is_called("boss@contoso.example", true) && !is_called("boss@contoso.example", false));
        assert!(!is_called("bob@contoso.example", true));

        // Nothing that is an address.
        let mut nameless = with("preferred_username", json!("+49 30 1234"));
        nameless["email"] = json!("a@b@c");
        let identity = read(&token(&nameless), (&application(TID, Cloud::Worldwide), TID), None, NOW).unwrap();
        assert_eq!(identity.username(), OID);
    }

    #[test]
    fn whatever_does_not_fit_is_refused() {
        use IdTokenProblem::*;
        let other = "99999999-52a4-4c0f-9d3e-0c6f7a1b2c3d";
        let home = |tid: &str| {
            let mut claims = with("tid", json!(tid));
            claims["iss"] = json!(format!("https://login.example/{tid}/v2.0"));
            claims
        };
        for (claims, problem) in [
            (with("aud", json!("other")), Audience),
            (with("aud", json!(["app", "other"])), Audience),
            (with("aud", json!([])), Audience),
            (with("aud", json!("APP")), Audience),
            (with("iss", json!(format!("https://evil.example/{TID}/v2.0"))), Issuer),
            (with("iss", json!(format!("http://login.example/{TID}/v2.0"))), Issuer),
            (with("iss", json!(format!("https://login.example/{other}/v2.0"))), Issuer),
            (with("iss", json!(format!("https://login.example/{TID}/v2.0/x"))), Issuer),
            (with("iss", json!(format!("https://login.example.evil.example/{TID}/v2.0"))), Issuer),
            (with("iss", json!(format!("https://login.partner.microsoftonline.cn/{TID}/v2.0"))), Issuer),
            (home(other), Tenant { found: other.into() }),
            (with("tid", json!(other)), Issuer),
            (with("exp", json!(NOW.0 - 300)), Time),
            (with("nbf", json!(NOW.0 + 301)), Time),
            (with("nonce", json!("m")), Nonce),
            (with("nonce", Value::Null), Nonce),
            (with("oid", Value::Null), Malformed),
            (with("oid", json!("alice")), Malformed),
            (with("tid", json!("common")), Malformed),
            (with("exp", json!("soon")), Malformed),
            (with("exp", json!(-1)), Malformed),
            (with("preferred_username", json!(["a"])), Malformed),
        ] {
            let read = read(&token(&claims), (&application(TID, Cloud::Worldwide), TID), Some("n"), NOW);
            assert_eq!(read.unwrap_err(), problem, "{claims}");
        }
        for text in ["", "a.b", "a.b.c.d", "a.!.c", "e30.e30.c", "e30..c"] {
            let read = read(&IdToken::new(text.into()), (&application(TID, Cloud::Worldwide), TID), None, NOW);
            assert_eq!(read.unwrap_err(), Malformed, "{text}");
        }
        // A clock may be off by five minutes.
        for claims in [with("exp", json!(NOW.0 - 299)), with("nbf", json!(NOW.0 + 300))] {
            let read = read(&token(&claims), (&application(TID, Cloud::Worldwide), TID), None, NOW);
            assert!(read.is_ok(), "{claims}");
        }
    }

    #[test]
    fn a_tenant_takes_its_own_kind_of_accounts() {
        let home = |tid: &str| {
            let mut claims = with("tid", json!(tid));
            claims["iss"] = json!(format!("https://login.example/{tid}/v2.0"));
            claims
        };
        let (personal, work) = (home(gatepost_config::Entra::PERSONAL_ACCOUNTS), home(TID));
        let judge = |claims: &Value, tenant: &str| {
            read(&token(claims), (&application(tenant, Cloud::Worldwide), tenant), Some("n"), NOW).map(|_| ())
        };
        for (tenant, of_personal, of_work) in [
            ("common", Ok(()), Ok(())),
            ("consumers", Ok(()), Err(IdTokenProblem::WorkAccount { tenant: TID.into() })),
            ("organizations", Err(IdTokenProblem::PersonalAccount), Ok(())),
            ("contoso.example", Err(IdTokenProblem::PersonalAccount), Ok(())),
        ] {
            assert_eq!((judge(&personal, tenant), judge(&work, tenant)), (of_personal, of_work), "{tenant}");
        }
    }

    #[test]
    fn each_cloud_has_its_issuers() {
        for (cloud, issuer, fits) in [
            (Cloud::Worldwide, "https://login.microsoftonline.com/{tid}/v2.0", true),
            (Cloud::Worldwide, "https://sts.windows.net/{tid}/", true),
            (Cloud::Worldwide, "https://login.microsoftonline.us/{tid}/v2.0", false),
            (Cloud::UsGovDod, "https://login.microsoftonline.us/{tid}/v2.0", true),
            (Cloud::UsGovGccHigh, "https://login.microsoftonline.com/{tid}/v2.0", false),
            (Cloud::China, "https://sts.chinacloudapi.cn/{tid}/", true),
            (Cloud::China, "https://login.partner.microsoftonline.cn/{tid}/v2.0", true),
        ] {
            let claims = with("iss", json!(issuer.replace("{tid}", TID)));
            assert_eq!(
                read(&token(&claims), (&application(TID, cloud), TID), None, NOW).is_ok(),
                fits,
                "{cloud:?} {issuer}"
            );
        }
    }
}
