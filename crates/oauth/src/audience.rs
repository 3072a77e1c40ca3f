//! Checks whether an access token of Entra is the one that was asked for. Access tokens are opaque to a
//! client (Microsoft, "Access tokens in the identity platform"), so a missing claim proves nothing.
//! But a token that plainly names another resource, tenant or application is not sent to a mail
//! server. Pure.

use std::fmt;

use serde_json::Value;

use crate::claims::{Payload, shown, texts};
use crate::grant::TokenRequest;
use gatepost_config::Entra;
use gatepost_config::cloud::Preset;
use gatepost_core::account::is_guid;
use gatepost_core::secret::AccessToken;

/// A token that is for something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The claim (RFC 7519 §4) that does not fit.
    pub claim: &'static str,
    /// Its value: printable ASCII, at most 100 characters. Names are not secret, the rest of the
    /// token is.
    pub says: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "its `{}` is `{}`", self.claim, self.says)
    }
}

/// Compares a JWT (RFC 7519) with what was asked for. A token that is not a JWT is accepted as it
/// is.
///
/// # Errors
/// [`Mismatch`] names the first claim that does not fit.
pub fn check(token: &AccessToken, ask: &TokenRequest, entra: &Entra) -> Result<(), Mismatch> {
    let Some(claims) = Payload::of(token) else { return Ok(()) };
    let application = &ask.application;
    let preset = entra.cloud.preset();
    let differs = |claim, value: &Option<Value>, fits: &dyn Fn(&str) -> bool| {
        let said = texts(value);
        match said.first() {
            Some(first) if !said.iter().any(|said| fits(said)) => {
                Err(Mismatch { claim, says: shown(first).unwrap_or_default() })
            }
            _ => Ok(()),
        }
    };
    differs("aud", &claims.aud, &|audience| is_for(audience, &ask.scope, preset))?;
    if is_guid(&ask.tenant) {
        differs("tid", &claims.tid, &|tenant| tenant.eq_ignore_ascii_case(&ask.tenant))?;
    }
    let same_application = |id: &str| id.eq_ignore_ascii_case(&application.client_id);
    differs("appid", &claims.appid, &same_application)?;
    differs("azp", &claims.azp, &same_application)
}

/// The object id of the person that a token is for, when it is a JWT that has one.
pub fn person(token: &AccessToken) -> Option<String> {
    let oid = Payload::of(token)?.oid?;
    oid.as_str().filter(|oid| is_guid(oid)).map(str::to_owned)
}

/// Whether `audience` is the resource of `scope`. Exchange Online has several names within a cloud.
/// Of another resource only the name is known: whether an application id belongs to it is not.
fn is_for(audience: &str, scope: &str, preset: &Preset) -> bool {
    let audience = audience.trim_end_matches('/').to_ascii_lowercase();
    let resources = scope.split(' ').filter_map(|scope| {
        // `https://resource/Permission`; on the v1.0 endpoint the resource alone.
        let (resource, _) = scope.rsplit_once('/').filter(|(before, _)| !before.ends_with('/')).unwrap_or((scope, ""));
        let resource = resource.trim_end_matches('/').to_ascii_lowercase();
        (resource.contains("//") || is_guid(&resource)).then_some(resource)
    });
    let resources: Vec<String> = resources.collect();
    if resources.iter().any(|resource| preset.is_exchange(resource)) {
        return preset.is_exchange(&audience);
    }
    resources.is_empty() || is_guid(&audience) || resources.contains(&audience)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;
    use serde_json::json;
    use url::Url;

    use super::*;
    use crate::grant::GrantRequest;
    use gatepost_config::cloud::EXCHANGE_ID;
    use gatepost_config::{Application, Cloud};

    const TENANT: &str = "8b9d6c1e-52a4-4c0f-9d3e-0c6f7a1b2c3d";
    const CLIENT: &str = "00000000-0000-0000-0000-00000000abcd";

    fn ask(cloud: Cloud, tenant: &str, scope: &str) -> TokenRequest {
        TokenRequest {
            application: Arc::new(Application {
                issuer: gatepost_config::Issuer::Entra(gatepost_config::Entra {
                    authority: Url::parse("https://login.example/").unwrap(),
                    tenant: tenant.into(),
                    cloud,
                }),
                client_id: CLIENT.into(),
                credential: Arc::default(),
            }),
            tenant: tenant.into(),
            scope: scope.into(),
            grant: GrantRequest::ClientCredentials,
        }
    }

    fn judge(token: &AccessToken, ask: &TokenRequest) -> Result<(), Mismatch> {
        check(token, ask, ask.application.issuer.entra().unwrap())
    }

    fn jwt(claims: &Value) -> AccessToken {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        AccessToken::new(format!("{}.{}.{}", part(r#"{"alg":"RS256"}"#), part(&claims.to_string()), part("signature")))
    }

    #[test]
    fn a_token_is_for_the_resource_that_was_asked_for_by_any_of_its_names() {
        let (own, gov, china) =
            ("https://outlook.office.com", "https://outlook.office365.us", "https://partner.outlook.cn");
        for (cloud, scope, audience, fits) in [
            (Cloud::Worldwide, "https://outlook.office.com/.default", own, true),
            (Cloud::Worldwide, "https://outlook.office.com/.default", "https://outlook.office365.com", true),
            (Cloud::Worldwide, "https://outlook.office365.com/.default", "https://Outlook.Office.com/", true),
            (Cloud::Worldwide, "https://outlook.office.com/SMTP.Send offline_access", own, true),
            (Cloud::Worldwide, "https://outlook.office.com/.default", EXCHANGE_ID, true),
            (Cloud::Worldwide, "00000002-0000-0ff1-ce00-000000000000/.default", own, true),
            (Cloud::Worldwide, "https://outlook.office.com/.default", "https://graph.microsoft.com", false),
            (Cloud::Worldwide, "https://outlook.office.com/.default", "00000003-0000-0000-c000-000000000000", false),
            (Cloud::Worldwide, "https://outlook.office.com/.default", gov, false),
            (Cloud::Worldwide, "https://outlook.office.com/.default", "https://outlook.office.com.evil.example", false),
            (Cloud::UsGovDod, "https://outlook.office365.us/.default", gov, true),
            (Cloud::UsGovGccHigh, "https://outlook.office365.us/.default", own, false),
            (Cloud::China, "https://partner.outlook.cn", china, true),
            (Cloud::China, "https://partner.outlook.cn", EXCHANGE_ID, true),
            (Cloud::China, "https://partner.outlook.cn", own, false),
            (Cloud::Worldwide, "https://mail.example/.default", "https://mail.example", true),
            (Cloud::Worldwide, "https://mail.example/.default", "11111111-1111-1111-1111-111111111111", true),
            (Cloud::Worldwide, "https://mail.example/.default", own, false),
            (Cloud::Worldwide, "whatever", own, true),
        ] {
            let checked = judge(&jwt(&json!({ "aud": audience })), &ask(cloud, "t", scope));
            assert_eq!(checked.is_ok(), fits, "{cloud:?} {scope} {audience}: {checked:?}");
        }
        let several = jwt(&json!({"aud": ["https://graph.microsoft.com", own]}));
        assert_eq!(judge(&several, &ask(Cloud::Worldwide, "t", "https://outlook.office.com/.default")), Ok(()));
    }

    #[test]
    fn tenant_and_application_are_compared_where_both_sides_name_them() {
        let other = "11111111-1111-1111-1111-111111111111";
        let scope = "https://outlook.office.com/.default";
        for (tenant, claims, claim) in [
            (TENANT, json!({"tid": TENANT.to_uppercase(), "appid": CLIENT.to_uppercase()}), None),
            (TENANT, json!({"tid": other}), Some("tid")),
            ("contoso.com", json!({"tid": other}), None),
            ("organizations", json!({"tid": other}), None),
            (TENANT, json!({"appid": other}), Some("appid")),
            (TENANT, json!({"azp": CLIENT}), None),
            (TENANT, json!({"azp": other}), Some("azp")),
            (TENANT, json!({"tid": 7, "appid": null, "azp": {}, "aud": []}), None),
            (TENANT, json!({}), None),
        ] {
            let found = judge(&jwt(&claims), &ask(Cloud::Worldwide, tenant, scope)).err().map(|wrong| wrong.claim);
            assert_eq!(found, claim, "{tenant} {claims}");
        }
    }

    #[test]
    fn what_is_no_jwt_is_accepted() {
        let ask = ask(Cloud::Worldwide, TENANT, "https://outlook.office.com/.default");
        let payload = URL_SAFE_NO_PAD.encode(r#"{"aud":"x"}"#);
        for token in ["opaque", "a.b", "a.b.c", "....", &format!("a.{payload}"), &format!("a.{payload}.c.d.e")] {
            assert_eq!(judge(&AccessToken::new(token.to_owned()), &ask), Ok(()), "{token}");
        }
    }

    #[test]
    fn a_mismatch_shows_one_bounded_name() {
        let ask = ask(Cloud::Worldwide, TENANT, "https://outlook.office.com/.default");
        let wrong = judge(&jwt(&json!({"aud": format!("a`\r\n\u{1b}é{}", "b".repeat(500))})), &ask).unwrap_err();
        assert_eq!(wrong.to_string(), format!("its `aud` is `a\\xc3\\xa9{}...`", "b".repeat(88)));
    }

    proptest! {
        #[test]
        fn any_token_is_judged(token in "[a-zA-Z0-9._~+/=-]{0,64}", payload in proptest::collection::vec(any::<u8>(), 0..64)) {
            let ask = ask(Cloud::Worldwide, TENANT, "https://outlook.office.com/.default");
            let _ = judge(&AccessToken::new(token), &ask);
            let _ = judge(&AccessToken::new(format!("a.{}.b", URL_SAFE_NO_PAD.encode(payload))), &ask);
        }
    }
}
