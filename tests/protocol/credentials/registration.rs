//! The judge itself: the sandbox refuses every assertion that is not exactly right, with
//! Microsoft's codes.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gatepost_config::certificate::{SigningAlgorithm, SigningKey};
use gatepost_sandbox::{FederatedToken, Sandbox, SandboxConfig};
use serde_json::{Value, json};

use crate::credentials::support::{Pair, good, pair};

/// An assertion whose every part a test may change.
struct Assertion {
    header: Value,
    claims: Value,
}

impl Assertion {
    fn new(sandbox: &Sandbox, key: &SigningKey) -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let client_id = sandbox.confidential_client_id();
        Self {
            header: json!({"alg": "PS256", "typ": "JWT", "x5t#S256": URL_SAFE_NO_PAD.encode(key.sha256())}),
            claims: json!({
                "aud": format!("{}contoso.example/oauth2/v2.0/token", sandbox.authority()),
                "iss": client_id, "sub": client_id, "jti": "1", "nbf": now, "exp": now + 600,
            }),
        }
    }

    fn signed(&self, key: &SigningKey, algorithm: SigningAlgorithm) -> String {
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(&self.header), encode(&self.claims));
        let signature = key.sign(algorithm, signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn key(pair: &Pair) -> SigningKey {
    SigningKey::read(pair.certificate.as_bytes(), Some(pair.key.as_bytes()), None).unwrap()
}

/// Status and AADSTS code; code 0 when a token was granted.
async fn post(sandbox: &Sandbox, more: &[(&str, &str)]) -> (u16, u64) {
    let mut form = vec![("grant_type", "client_credentials"), ("scope", "https://outlook.office365.com/.default")];
    if !more.iter().any(|(name, _)| *name == "client_id") {
        form.push(("client_id", sandbox.confidential_client_id()));
    }
    form.extend_from_slice(more);
    let ca = reqwest::Certificate::from_pem(sandbox.ca_pem().as_bytes()).unwrap();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([ca]).build().unwrap();
    let url = format!("{}contoso.example/oauth2/v2.0/token", sandbox.authority());
    let answer = client.post(url).form(&form).send().await.unwrap();
    let status = answer.status().as_u16();
    let body: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    (status, body["error_codes"][0].as_u64().unwrap_or(0))
}

const BEARER: (&str, &str) = ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");

async fn judged(sandbox: &Sandbox, assertion: &str) -> (u16, u64) {
    post(sandbox, &[BEARER, ("client_assertion", assertion)]).await
}

#[tokio::test]
async fn an_assertion_has_to_be_right_in_every_part() {
    let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
    let (known, stranger) = (good(), good());
    sandbox.add_certificate(&known.certificate).unwrap();
    let (key, stranger) = (key(&known), key(&stranger));
    let right = || Assertion::new(&sandbox, &key);
    let ps256 = SigningAlgorithm::Ps256;

    assert_eq!(judged(&sandbox, &right().signed(&key, ps256)).await, (200, 0));
    let claims = |name: &str, value: Value| {
        let mut assertion = right();
        assertion.claims["jti"] = json!(format!("{name} {value}"));
        assertion.claims[name] = value;
        assertion.signed(&key, ps256)
    };
    let header = |value: Value| {
        let mut assertion = right();
        assertion.claims["jti"] = json!(value.to_string());
        assertion.header = value;
        assertion.signed(&key, ps256)
    };
    let now = right().claims["nbf"].as_u64().unwrap();
    let thumbprint = URL_SAFE_NO_PAD.encode(key.sha256());
    for (assertion, expected) in [
        // Used before; without a name by which that could be known.
        (claims("jti", json!("1")), (400, 50013)),
        (claims("jti", json!("")), (400, 50013)),
        (claims("aud", json!("https://login.microsoftonline.com/contoso.example/oauth2/v2.0/token")), (401, 700_023)),
        (claims("sub", json!("somebody else")), (400, 50013)),
        (claims("iss", json!("somebody else")), (401, 700_211)),
        (claims("exp", json!(now - 301)), (401, 700_024)),
        (claims("nbf", json!(now + 310)), (401, 700_024)),
        (claims("nbf", json!("soon")), (401, 50027)),
        (header(json!({"alg": "none", "x5t#S256": thumbprint})), (401, 50027)),
        (header(json!({"alg": "RS256", "x5t#S256": thumbprint})), (401, 700_027)),
        (header(json!({"alg": "PS256", "x5t#S256": URL_SAFE_NO_PAD.encode(stranger.sha256())})), (401, 700_027)),
        (header(json!({"alg": "PS256"})), (401, 700_027)),
        (right().signed(&stranger, ps256), (401, 700_027)),
        ("a.b".to_owned(), (401, 50027)),
        ("a.b.c".to_owned(), (401, 50027)),
    ] {
        assert_eq!(judged(&sandbox, &assertion).await, expected, "{assertion}");
    }
    // The older form.
    let mut older = right();
    older.claims["jti"] = json!("older");
    older.header = json!({"alg": "RS256", "x5t": URL_SAFE_NO_PAD.encode(key.sha1())});
    assert_eq!(judged(&sandbox, &older.signed(&key, SigningAlgorithm::Rs256)).await, (200, 0));
}

#[tokio::test]
async fn what_stands_beside_an_assertion_has_to_fit() {
    let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
    let (known, expired) = (good(), pair((2019, 2020)));
    sandbox.add_certificate(&known.certificate).unwrap();
    sandbox.add_certificate(&expired.certificate).unwrap();
    let (key, expired) = (key(&known), key(&expired));
    let right = Assertion::new(&sandbox, &key).signed(&key, SigningAlgorithm::Ps256);
    let assertion = ("client_assertion", right.as_str());
    assert_eq!(post(&sandbox, &[assertion]).await, (400, 900_144));
    assert_eq!(post(&sandbox, &[("client_assertion_type", "password"), assertion]).await, (400, 900_144));
    assert_eq!(post(&sandbox, &[BEARER, assertion, ("client_secret", "sandbox-secret")]).await, (401, 70002));
    let public = ("client_id", sandbox.public_client_id());
    assert_eq!(post(&sandbox, &[BEARER, assertion, public]).await, (401, 700_025));
    let late = Assertion::new(&sandbox, &expired).signed(&expired, SigningAlgorithm::Ps256);
    assert_eq!(judged(&sandbox, &late).await, (401, 7_000_222));
    // None of that has used it up.
    assert_eq!(judged(&sandbox, &right).await, (200, 0));
    // A federated token serves more than once, as long as it lives.
    let token = sandbox.federated_token(&FederatedToken::default()).unwrap();
    assert_eq!(judged(&sandbox, &token).await, (200, 0));
    assert_eq!(judged(&sandbox, &token).await, (200, 0));
}
