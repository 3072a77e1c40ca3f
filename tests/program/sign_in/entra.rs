//! Entra's side of a sign-in, as strict as Microsoft's.

use std::time::Duration;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gatepost_core::clock::Clock;
use gatepost_sandbox::{Sandbox, SandboxAccount, SandboxConfig};
use serde_json::Value;
use url::Url;

use crate::sign_in::browser::{Answer, Browser};

const ANNA: &str = "anna@contoso.example";
const ANNAS: &str = "anna's secret";
const VERIFIER: &str = "a-verifier-of-forty-three-characters-or-more-000";
const SCOPE: &str = "https://outlook.office.com/SMTP.Send https://outlook.office.com/IMAP.AccessAsUser.All";
const REDIRECT: &str = "http://localhost:4321";
const DAY: Duration = Duration::from_secs(24 * 3_600);

struct World {
    sandbox: Sandbox,
    browser: Browser,
}

type Fields<'a> = Vec<(&'a str, &'a str)>;

fn replaced<'a>(mut fields: Fields<'a>, name: &str, value: &'a str) -> Fields<'a> {
    for field in fields.iter_mut().filter(|field| field.0 == name) {
        field.1 = value;
    }
    fields
}

impl World {
    async fn new() -> Self {
        let config = SandboxConfig {
            accounts: vec![SandboxAccount::new(ANNA, ANNAS)],
            clock: Clock::manual(),
            ..SandboxConfig::default()
        };
        let sandbox = Sandbox::start(config).await.unwrap();
        let browser = Browser::new(&sandbox);
        Self { sandbox, browser }
    }

    fn endpoint(&self, name: &str) -> String {
        format!("{}contoso.example/oauth2/v2.0/{name}", self.sandbox.authority())
    }

    fn address(&self, change: Option<(&str, &str)>) -> String {
        let challenge = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, VERIFIER.as_bytes()));
        let scope = format!("{SCOPE} openid profile offline_access");
        let mut url = Url::parse(&self.endpoint("authorize")).unwrap();
        let fields = vec![
            ("client_id", self.sandbox.public_client_id()),
            ("response_type", "code"),
            ("redirect_uri", REDIRECT),
            ("scope", &scope),
            ("state", "the state"),
            ("nonce", "the nonce"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        let fields = match change {
            Some((name, value)) => replaced(fields, name, value),
            None => fields,
        };
        url.query_pairs_mut().extend_pairs(fields.iter().filter(|(_, value)| !value.is_empty()));
        url.into()
    }

    async fn code(&self) -> String {
        let redirect = self.browser.answer(&self.address(None), Answer::SignIn(ANNA, ANNAS)).await.unwrap();
        assert!(redirect.as_str().starts_with("http://localhost:4321/?code="), "{redirect}");
        let parameter = |name: &str| redirect.query_pairs().find(|(found, _)| found == name).unwrap().1.into_owned();
        assert_eq!(parameter("state"), "the state");
        parameter("code")
    }

    fn redemption<'a>(&'a self, code: &'a str) -> Fields<'a> {
        vec![
            ("grant_type", "authorization_code"),
            ("client_id", self.sandbox.public_client_id()),
            ("code", code),
            ("redirect_uri", REDIRECT),
            ("code_verifier", VERIFIER),
        ]
    }

    fn refresh<'a>(&'a self, token: &'a str, scope: &'a str) -> Fields<'a> {
        vec![
            ("grant_type", "refresh_token"),
            ("client_id", self.sandbox.public_client_id()),
            ("refresh_token", token),
            ("scope", scope),
        ]
    }

    async fn granted(&self, fields: &Fields<'_>) -> Value {
        let answer = self.browser.post(&self.endpoint("token"), fields).await;
        let (status, body) = (answer.status(), answer.text().await.unwrap());
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    /// The OAuth error and the AADSTS code.
    async fn refused(&self, fields: &Fields<'_>) -> (String, u64) {
        let answer = self.browser.post(&self.endpoint("token"), fields).await;
        assert_eq!(answer.status(), 400);
        let body: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        (body["error"].as_str().unwrap().to_owned(), body["error_codes"][0].as_u64().unwrap())
    }

    async fn signed_in(&self) -> String {
        let code = self.code().await;
        text(&self.granted(&self.redemption(&code)).await, "refresh_token")
    }

    async fn device(&self) -> Value {
        let scope = format!("{SCOPE} offline_access openid");
        let fields = [("client_id", self.sandbox.public_client_id()), ("scope", scope.as_str())];
        let answer = self.browser.post(&self.endpoint("devicecode"), &fields).await;
        serde_json::from_str(&answer.text().await.unwrap()).unwrap()
    }

    fn poll<'a>(&'a self, device: &'a Value) -> Fields<'a> {
        vec![
            ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
            ("client_id", self.sandbox.public_client_id()),
            ("device_code", device["device_code"].as_str().unwrap()),
        ]
    }
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("no {name}: {value}")).to_owned()
}

fn decoded(part: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[tokio::test]
async fn a_code_gives_tokens_and_says_who_with_a_signature_that_holds() {
    let world = World::new().await;
    let code = world.code().await;
    let answer = world.granted(&world.redemption(&code)).await;
    assert_eq!(text(&answer, "scope"), SCOPE);
    let id_token = text(&answer, "id_token");
    let (signed, signature) = id_token.rsplit_once('.').unwrap();
    let (header, payload) = signed.split_once('.').unwrap();
    let (header, claims) = (decoded(header), decoded(payload));
    assert_eq!((&header["alg"], &claims["aud"]), (&"RS256".into(), &world.sandbox.public_client_id().into()));
    assert_eq!((&claims["preferred_username"], &claims["nonce"]), (&ANNA.into(), &"the nonce".into()));
    assert_eq!(
        (text(&claims, "tid"), text(&claims, "oid")),
        (world.sandbox.tenant_id().into(), world.sandbox.object_id(ANNA))
    );
    assert_eq!(text(&claims, "iss"), format!("{}{}/v2.0", world.sandbox.authority(), world.sandbox.tenant_id()));

    let keys = world.browser.get(&format!("{}contoso.example/discovery/v2.0/keys", world.sandbox.authority())).await;
    let keys: Value = serde_json::from_str(&keys).unwrap();
    assert_eq!(keys["keys"][0]["kid"], header["kid"]);
    let octets = |name| URL_SAFE_NO_PAD.decode(text(&keys["keys"][0], name)).unwrap();
    let key = RsaPublicKeyComponents { n: octets("n"), e: octets("e") };
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    key.verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &signature).unwrap();
    assert!(key.verify(&RSA_PKCS1_2048_8192_SHA256, b"something else", &signature).is_err());
}

#[tokio::test]
async fn a_code_is_good_once_for_whoever_asked_for_it_and_for_ten_minutes() {
    let world = World::new().await;
    let code = world.code().await;
    let redemption = || world.redemption(&code);
    let grant = |code| ("invalid_grant".to_owned(), code);
    for (name, value, aadsts) in [
        ("code", "another", 70008),
        ("redirect_uri", "http://localhost:1", 500_112),
        ("code_verifier", "another-verifier-of-forty-three-characters-or-so", 501_481),
    ] {
        assert_eq!(world.refused(&replaced(redemption(), name, value)).await, grant(aadsts), "{name}");
    }
    assert_eq!(world.refused(&replaced(redemption(), "code_verifier", "")).await.1, 900_144);
    let refresh_token = text(&world.granted(&redemption()).await, "refresh_token");
    world.granted(&world.refresh(&refresh_token, SCOPE)).await;
    // The second time ends what the first one gave.
    assert_eq!(world.refused(&redemption()).await, grant(54005));
    assert_eq!(world.refused(&world.refresh(&refresh_token, SCOPE)).await, grant(70000));

    let code = world.code().await;
    world.sandbox.advance(Duration::from_secs(600));
    assert_eq!(world.refused(&world.redemption(&code)).await, grant(70008));
}

#[tokio::test]
async fn the_page_sends_nobody_to_a_stranger_and_tells_the_application_what_went_wrong() {
    let world = World::new().await;
    for (name, value, code) in [
        ("redirect_uri", "https://evil.example/", "AADSTS50011"),
        ("redirect_uri", "http://localhost.evil.example/", "AADSTS50011"),
        ("redirect_uri", "http://localhost:1/elsewhere", "AADSTS50011"),
        ("client_id", "nobody", "AADSTS700016"),
        ("client_id", "", "AADSTS900144"),
    ] {
        let page = world.browser.get(&world.address(Some((name, value)))).await;
        assert!(page.contains(code) && !page.contains("<form"), "{name} {value}: {page}");
    }
    for (name, value) in [
        ("code_challenge", ""),
        ("code_challenge_method", "plain"),
        ("response_type", "token"),
        ("scope", "https://outlook.office.com/Nonsense"),
    ] {
        let response = world.browser.post(&world.address(Some((name, value))), &[]).await;
        let location = response.headers()["location"].to_str().unwrap();
        assert!(location.starts_with("http://localhost:4321/?error=invalid_"), "{location}");
        assert!(location.ends_with("&state=the+state"), "{location}");
    }
    let address = world.address(None);
    let page = world.browser.answer(&address, Answer::SignIn(ANNA, "wrong")).await.unwrap_err();
    assert!(page.contains("AADSTS50126"), "{page}");
    let page = world.browser.answer(&address, Answer::SignIn("nobody@contoso.example", "x")).await.unwrap_err();
    assert!(page.contains("AADSTS50034"), "{page}");
    let declined = world.browser.answer(&address, Answer::Decline).await.unwrap();
    assert!(declined.query().unwrap().starts_with("error=access_denied&error_description=AADSTS65004"), "{declined}");
}

#[tokio::test]
async fn refresh_tokens_rotate_and_end_for_a_reason() {
    let world = World::new().await;
    let first = world.signed_in().await;
    let second =
        text(&world.granted(&world.refresh(&first, &format!("{SCOPE} offline_access"))).await, "refresh_token");
    assert_ne!(first, second);
    // The older one stays valid, as at Entra.
    world.granted(&world.refresh(&first, SCOPE)).await;
    let less = world.granted(&world.refresh(&second, "https://outlook.office.com/SMTP.Send")).await;
    assert_eq!(text(&less, "scope"), "https://outlook.office.com/SMTP.Send");
    let more = "https://outlook.office.com/POP.AccessAsUser.All";
    assert_eq!(world.refused(&world.refresh(&second, more)).await.1, 65001, "never consented to");
    let other = world.sandbox.confidential_client_id().to_owned();
    let stolen = replaced(world.refresh(&second, SCOPE), "client_id", &other);
    let answer = world.browser.post(&world.endpoint("token"), &stolen).await;
    assert_eq!(answer.status(), 401, "without its secret");

    world.sandbox.advance(89 * DAY);
    world.granted(&world.refresh(&second, SCOPE)).await;
    world.sandbox.advance(90 * DAY);
    assert_eq!(world.refused(&world.refresh(&second, SCOPE)).await.1, 700_082);

    let before = world.signed_in().await;
    assert!(world.sandbox.set_password(ANNA, ANNAS));
    assert_eq!(world.refused(&world.refresh(&before, SCOPE)).await.1, 50173);
    let after = world.signed_in().await;
    world.granted(&world.refresh(&after, SCOPE)).await;
    world.sandbox.end_sign_ins("ANNA@contoso.example", 70008);
    assert_eq!(world.refused(&world.refresh(&after, SCOPE)).await.1, 70008);
    world.sandbox.set_sign_in_error(ANNA, Some(50076));
    assert_eq!(world.refused(&world.refresh(&before, SCOPE)).await, ("interaction_required".into(), 50076));
}

#[tokio::test]
async fn a_device_code_is_polled_until_the_person_has_decided() {
    let world = World::new().await;
    let (page, interval) = (format!("{}devicelogin", world.sandbox.authority()), Duration::from_secs(5));
    let device = world.device().await;
    assert_eq!((text(&device, "verification_uri"), device["interval"].as_u64()), (page.clone(), Some(5)));
    let poll = world.poll(&device);
    assert_eq!(world.refused(&poll).await, ("authorization_pending".into(), 70016));
    assert_eq!(world.refused(&poll).await.0, "slow_down");
    world.sandbox.advance(interval);
    assert_eq!(world.refused(&poll).await.0, "slow_down", "five seconds more are wanted now");
    world.sandbox.advance(4 * interval);
    assert_eq!(world.refused(&poll).await.0, "authorization_pending");
    let code = text(&device, "user_code");
    assert!(world.browser.enter(&page, "WRONG", Answer::SignIn(ANNA, ANNAS)).await.contains("did not work"));
    assert!(world.browser.enter(&page, &code, Answer::SignIn(ANNA, "wrong")).await.contains("AADSTS50126"));
    assert!(
        world
            .browser
            .enter(&page, &code.to_lowercase(), Answer::SignIn(ANNA, ANNAS))
            .await
            .contains("You have signed in")
    );
    world.sandbox.advance(4 * interval);
    let granted = world.granted(&poll).await;
    let claims = decoded(text(&granted, "id_token").split('.').nth(1).unwrap());
    assert_eq!(text(&claims, "preferred_username"), ANNA);
    world.granted(&world.refresh(&text(&granted, "refresh_token"), SCOPE)).await;
    assert_eq!(world.refused(&poll).await.0, "bad_verification_code", "good once");

    let declined = world.device().await;
    world.browser.enter(&page, &text(&declined, "user_code"), Answer::Decline).await;
    assert_eq!(world.refused(&world.poll(&declined)).await.0, "authorization_declined");

    let expired = world.device().await;
    world.sandbox.advance(Duration::from_secs(900));
    assert_eq!(world.refused(&world.poll(&expired)).await, ("expired_token".into(), 70019));
    assert!(
        world
            .browser
            .enter(&page, &text(&expired, "user_code"), Answer::SignIn(ANNA, ANNAS))
            .await
            .contains("did not work")
    );
}
