//! Service accounts: their keys, and the assertions that they sign (RFC 7523 §2.1).

use std::fmt;
use std::io;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::json;

use super::refusal::Refusal;
use super::scope;
use super::settings::{GoogleSettings, ServiceAccount};
use crate::random;

/// How long an assertion may live, in seconds.
const LIFETIME: i64 = 3_600;
/// How many seconds the clock of a client may differ from Google's.
const LEEWAY: i64 = 300;
/// What Google's own token endpoint is called.
const AUDIENCE: &str = "https://oauth2.googleapis.com/token";
const SHORT_LIVED: &str = "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim.";
const UNAUTHORIZED: &str = "Client is unauthorized to retrieve access tokens using this method, or client not authorized for any of the scopes requested.";

/// The key file of a service account. `Debug` does not show the key.
pub struct ServiceAccountKey {
    /// The address of the account.
    pub email: String,
    /// The whole file, as the console gives it.
    pub json: String,
}

impl fmt::Debug for ServiceAccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAccountKey").field("email", &self.email).finish_non_exhaustive()
    }
}

/// Makes a service account with a key.
pub(super) fn make(email: &str, token_uri: &str) -> io::Result<(ServiceAccount, ServiceAccountKey)> {
    let broken = |_| io::Error::other("no RSA key can be made");
    let key = KeyPair::generate(KeySize::Rsa2048).map_err(broken)?;
    let der = key.as_der().map_err(broken)?;
    let encoded = STANDARD.encode(der.as_ref());
    let lines: Vec<&str> = (0..encoded.len()).step_by(64).map(|at| &encoded[at..encoded.len().min(at + 64)]).collect();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
    let key_id = random::guid().replace('-', "");
    let json = json!({
        "type": "service_account",
        "project_id": "sandbox",
        "private_key_id": key_id,
        "private_key": pem,
        "client_email": email,
        "client_id": "112233445566778899000",
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": token_uri,
        "auth_provider_x509_cert_url": "https://www.googleapis.com/oauth2/v1/certs",
        "universe_domain": "googleapis.com",
    });
    let account = ServiceAccount { key_id, public_key: key.public_key().as_ref().to_vec(), delegated: Vec::new() };
    Ok((account, ServiceAccountKey { email: email.to_owned(), json: format!("{json:#}") }))
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    #[serde(default)]
    scope: String,
    aud: String,
    iat: i64,
    exp: i64,
    sub: Option<String>,
}

/// For whom an assertion asks, and for what; `knows` tells whether there is such an account of a
/// domain. `now` in seconds since 1970.
pub(super) fn judge(
    settings: &GoogleSettings,
    assertion: &str,
    now: i64,
    knows: impl Fn(&str) -> bool,
) -> Result<(String, Vec<String>), Refusal> {
    let malformed = || Refusal::grant("Invalid JWT: Failed to parse the assertion.");
    let [head, body, signature] = assertion.split('.').collect::<Vec<_>>()[..] else { return Err(malformed()) };
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed());
    let header: Header = serde_json::from_slice(&decode(head)?).map_err(|_| malformed())?;
    let claims: Claims = serde_json::from_slice(&decode(body)?).map_err(|_| malformed())?;
    let accounts = settings.service_accounts.lock();
    let Some(account) = accounts.get(&claims.iss) else {
        return Err(Refusal::grant("Invalid grant: account not found"));
    };
    let signed = assertion.rsplit_once('.').map_or("", |(signed, _)| signed).as_bytes();
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &account.public_key);
    let is_key = header.kid.as_ref().is_none_or(|kid| *kid == account.key_id);
    if header.alg != "RS256" || !is_key || key.verify(signed, &decode(signature)?).is_err() {
        return Err(Refusal::grant("Invalid JWT Signature."));
    }
    if claims.aud != AUDIENCE && claims.aud != format!("{}/token", settings.base) {
        return Err(Refusal::grant(format!("Invalid JWT: Failed audience check. The right audience is {AUDIENCE}")));
    }
    let begun = claims.iat <= now.saturating_add(LEEWAY);
    let lives = claims.exp > now && claims.exp > claims.iat;
    if !begun || !lives || claims.exp.saturating_sub(claims.iat) > LIFETIME {
        return Err(Refusal::grant(SHORT_LIVED));
    }
    let scopes = scope::of_service_account(&claims.scope)?;
    let Some(sub) = claims.sub.map(|sub| sub.to_lowercase()) else { return Ok((claims.iss, scopes)) };
    let is_delegated = scopes.iter().all(|scope| account.delegated.contains(scope));
    // No administrator can delegate an account of Gmail.
    if !is_delegated || settings.hosted_domain(&sub).is_none() {
        return Err(Refusal::new(401, "unauthorized_client", UNAUTHORIZED));
    }
    if !knows(&sub) {
        return Err(Refusal::grant("Invalid email or User ID"));
    }
    Ok((sub, scopes))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use gatepost_core::secret::ClientSecret;
    use parking_lot::Mutex;
    use serde_json::Value;

    use super::*;
    use crate::testing::signed;

    const EMAIL: &str = "gatepost@sandbox.iam.gserviceaccount.com";
    const NOW: i64 = 1_800_000_000;
    const MAILBOX: &str = "gus@workspace.example";

    struct World {
        settings: GoogleSettings,
        key: Value,
    }

    impl World {
        fn new(delegated: &[&str]) -> Self {
            let (mut account, key) = make(EMAIL, "https://localhost:1/token").unwrap();
            account.delegated = delegated.iter().map(|&scope| scope.to_owned()).collect();
            let settings = GoogleSettings {
                base: "https://localhost:1".into(),
                client_id: "c".into(),
                client_secret: ClientSecret::new("s".into()),
                service_accounts: Mutex::new(HashMap::from([(EMAIL.to_owned(), account)])),
            };
            assert!(!format!("{key:?}").contains("PRIVATE"));
            Self { settings, key: serde_json::from_str(&key.json).unwrap() }
        }

        fn claims() -> Value {
            json!({"iss": EMAIL, "scope": scope::MAIL, "aud": AUDIENCE, "iat": NOW, "exp": NOW + 3_600, "sub": MAILBOX})
        }

        fn signed(&self, algorithm: &str, claims: &Value) -> String {
            let pem = self.key["private_key"].as_str().unwrap();
            signed(pem, &json!({"alg": algorithm, "typ": "JWT", "kid": self.key["private_key_id"]}), claims)
        }

        fn judge(&self, assertion: &str) -> Result<String, (String, String)> {
            judge(&self.settings, assertion, NOW, |user| user == MAILBOX)
                .map(|(user, _)| user)
                .map_err(|refusal| (refusal.error, refusal.description))
        }
    }

    #[test]
    fn an_assertion_is_for_one_mailbox_one_audience_and_one_hour() {
        let world = World::new(&[scope::MAIL]);
        let with = |name: &str, value: Value| {
            let mut claims = World::claims();
            claims[name] = value;
            world
                .judge(&world.signed("RS256", &claims))
                .map_err(|(error, description)| format!("{error}: {description}"))
        };
        assert_eq!(with("sub", json!(MAILBOX)).as_deref(), Ok(MAILBOX));
        assert_eq!(with("aud", json!("https://localhost:1/token")).as_deref(), Ok(MAILBOX));
        let refused = |name: &str, value: Value, wanted: &str| {
            let told = with(name, value).unwrap_err();
            assert!(told.starts_with(wanted), "{name}: {told}");
        };
        refused(
            "iss",
            json!("other@sandbox.iam.gserviceaccount.com"),
            "invalid_grant: Invalid grant: account not found",
        );
        refused("aud", json!("https://elsewhere.example/token"), "invalid_grant: Invalid JWT: Failed audience check.");
        refused("exp", json!(NOW + 3_601), "invalid_grant: Invalid JWT: Token must be a short-lived token");
        refused("exp", json!(NOW), "invalid_grant: Invalid JWT: Token must be a short-lived token");
        refused("iat", json!(NOW + 1_000), "invalid_grant: Invalid JWT: Token must be a short-lived token");
        refused("scope", json!("https://mail.google.com"), "invalid_scope: ");
        refused("sub", json!("nobody@workspace.example"), "invalid_grant: Invalid email or User ID");
        refused("sub", json!("gus@gmail.example"), "unauthorized_client: Client is unauthorized");
        refused("iat", json!("now"), "invalid_grant: Invalid JWT: Failed to parse");
    }

    #[test]
    fn without_delegation_nobody_is_acted_for() {
        let world = World::new(&[]);
        let assertion = world.signed("RS256", &World::claims());
        assert_eq!(world.judge(&assertion).unwrap_err(), ("unauthorized_client".to_owned(), UNAUTHORIZED.to_owned()));
        let mut claims = World::claims();
        claims.as_object_mut().unwrap().remove("sub");
        assert_eq!(world.judge(&world.signed("RS256", &claims)).as_deref(), Ok(EMAIL), "it may act for itself");
    }

    #[test]
    fn only_the_accounts_own_key_signs() {
        let world = World::new(&[scope::MAIL]);
        let other = World::new(&[scope::MAIL]);
        let invalid = Err(("invalid_grant".to_owned(), "Invalid JWT Signature.".to_owned()));
        assert_eq!(world.judge(&other.signed("RS256", &World::claims())), invalid);
        assert_eq!(world.judge(&world.signed("PS256", &World::claims())), invalid);
        assert_eq!(world.judge(&world.signed("none", &World::claims())), invalid);
        let good = world.signed("RS256", &World::claims());
        assert_eq!(world.judge(&good[..good.len() - 6]), invalid);
        assert_eq!(world.judge("no assertion").unwrap_err().0, "invalid_grant");
    }
}
