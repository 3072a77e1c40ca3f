//! Reads from the ID token who signed in (OpenID Connect Core §2; Microsoft, "ID token claims
//! reference").
//!
//! The token comes directly from the token endpoint over verified TLS, so its signature need not be
//! checked (OpenID Connect Core §3.1.3.7, item 6). All other claims are checked.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use gatepost_config::{Application, Cloud};
use gatepost_core::account::{MailAddress, is_guid};
use gatepost_core::clock::UnixTime;
use gatepost_core::secret::IdToken;

/// How far this machine's clock may be off.
const SKEW: Duration = Duration::from_secs(300);

/// The issuers of each cloud besides the configured authority: the v2.0 endpoint's and the v1.0
/// endpoint's.
const ISSUERS: [(Cloud, &[&str]); 4] = [
    (Cloud::Worldwide, &["https://login.microsoftonline.com/", "https://sts.windows.net/"]),
    (Cloud::UsGovGccHigh, &["https://login.microsoftonline.us/", "https://sts.windows.net/"]),
    (Cloud::UsGovDod, &["https://login.microsoftonline.us/", "https://sts.windows.net/"]),
    (Cloud::China, &["https://login.partner.microsoftonline.cn/", "https://sts.chinacloudapi.cn/"]),
];

/// A person in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `tid`: the directory id, folded.
    pub tenant_id: String,
    /// `oid`: the person's id in that directory, which stays when the name changes; folded.
    pub object_id: String,
    /// `iss`.
    pub issuer: String,
    /// `preferred_username`, `upn` and `unique_name`, as far as they are addresses, without
    /// repetition.
    pub usernames: Vec<MailAddress>,
    /// `email`, which only the person's own directory vouches for.
    pub email: Option<MailAddress>,
}

impl Identity {
    /// The name that messages use for the person.
    pub fn username(&self) -> &str {
        self.usernames.first().or(self.email.as_ref()).map_or(&self.object_id, |name| name.as_str())
    }

    /// Whether this is a name of the person. `email` counts only in one's own tenant, because the
    /// administrator of another tenant can write anything there.
    pub fn is_called(&self, name: &MailAddress, own_tenant: bool) -> bool {
        self.usernames.contains(name) || (own_tenant && self.email.as_ref() == Some(name))
    }
}

/// Why an ID token does not say who signed in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdTokenProblem {
    /// The answer had no ID token.
    #[error("the answer holds no ID token")]
    Missing,
    /// It is not a JWT with the claims of Entra's ID tokens.
    #[error("the ID token cannot be read")]
    Malformed,
    /// `iss` is not the authority that was asked.
    #[error("the ID token is of another issuer than the one that was asked")]
    Issuer,
    /// `aud` is not our `client_id`.
    #[error("the ID token is for another application")]
    Audience,
    /// `tid` is not the configured directory.
    #[error("the person belongs to the directory `{found}`, not to the configured one")]
    Tenant {
        /// The person's directory.
        found: String,
    },
    /// `exp` or `nbf` does not fit the time.
    #[error("the ID token is not valid now, as far as this machine's clock is right")]
    Time,
    /// `nonce` is not that of the request.
    #[error("the ID token belongs to another sign-in")]
    Nonce,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: Audience,
    exp: u64,
    nbf: Option<u64>,
    tid: String,
    oid: String,
    nonce: Option<String>,
    preferred_username: Option<String>,
    upn: Option<String>,
    unique_name: Option<String>,
    email: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

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
    if !is_guid(&claims.tid) || !is_guid(&claims.oid) {
        return Err(IdTokenProblem::Malformed);
    }
    let tenant_id = claims.tid.to_ascii_lowercase();
    if !is_issuer(&claims.iss, application, &claims.tid) {
        return Err(IdTokenProblem::Issuer);
    }
    let for_us = match &claims.aud {
        Audience::One(audience) => *audience == application.client_id,
        // Several audiences need an `azp` to tell who may use the token. Entra gives one audience.
        Audience::Several(audiences) => audiences.len() == 1 && audiences.contains(&application.client_id),
    };
    if !for_us {
        return Err(IdTokenProblem::Audience);
    }
    if is_guid(tenant) && tenant != tenant_id {
        return Err(IdTokenProblem::Tenant { found: tenant_id });
    }
    let over = now.0 >= UnixTime(claims.exp).after(SKEW).0;
    let early = claims.nbf.is_some_and(|not_before| not_before > now.after(SKEW).0);
    if over || early {
        return Err(IdTokenProblem::Time);
    }
    if nonce.is_some() && nonce != claims.nonce.as_deref() {
        return Err(IdTokenProblem::Nonce);
    }
    let address = |name: Option<String>| MailAddress::parse(&name?).ok();
    let mut usernames: Vec<MailAddress> = Vec::new();
    for name in [claims.preferred_username, claims.upn, claims.unique_name] {
        usernames.extend(address(name).filter(|name| !usernames.contains(name)));
    }
    Ok(Identity {
        tenant_id,
        object_id: claims.oid.to_ascii_lowercase(),
        issuer: claims.iss,
        usernames,
        email: address(claims.email),
    })
}

/// Microsoft, "Access token claims reference", `iss`: the authority, the directory id, and `/v2.0`
/// or nothing.
fn is_issuer(issuer: &str, application: &Application, tenant_id: &str) -> bool {
    let of_cloud = ISSUERS.iter().filter(|(cloud, _)| *cloud == application.cloud).flat_map(|(_, bases)| *bases);
    of_cloud.copied().chain([application.authority.as_str()]).any(|base| {
        let rest = issuer.strip_prefix(base).and_then(|rest| rest.strip_prefix(tenant_id));
        matches!(rest, Some("/v2.0" | "/"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use url::Url;

    use super::*;

    const TID: &str = "8b9d6c1e-52a4-4c0f-9d3e-0c6f7a1b2c3d";
    const OID: &str = "11111111-2222-3333-4444-555555555555";
    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn application(tenant: &str, cloud: Cloud) -> Application {
        Application {
            authority: Url::parse("https://login.example/").unwrap(),
            tenant: tenant.into(),
            client_id: "app".into(),
            credential: Default::default(),
            cloud,
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
        assert!(
            read(&token(&with("exp", json!(NOW.0 - 299))), (&application(TID, Cloud::Worldwide), TID), None, NOW)
                .is_ok()
        );
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
