//! Personal accounts at Entra over HTTPS, as a client meets them.

use serde_json::json;

use super::tenant::PERSONAL_TENANT;
use crate::testing::{Heard, address, ask, challenge, claims, sandbox};
use crate::{AccountKind, Sandbox, SandboxAccount, SignInAudience};

const ALICE: &str = "alice@contoso.example";
const PAT: &str = "pat@outlook.example";
const PASSWORD: &str = "a secret";
const REDIRECT: &str = "http://localhost:49152";
const VERIFIER: &str = "a-verifier-of-at-least-forty-three-characters";
const SCOPE: &str =
    "https://outlook.office.com/IMAP.AccessAsUser.All https://outlook.office.com/SMTP.Send offline_access openid";

async fn world(audience: SignInAudience) -> Sandbox {
    let sandbox = sandbox().await;
    sandbox.add_account(SandboxAccount::new(ALICE, PASSWORD));
    sandbox.add_account(SandboxAccount::of(AccountKind::Personal, PAT, PASSWORD));
    sandbox.set_sign_in_audience(sandbox.public_client_id(), audience);
    sandbox
}

async fn page(sandbox: &Sandbox, tenant: &str, user: &str, scope: &str) -> Heard {
    let challenge = challenge(VERIFIER);
    let url = address(
        &format!("{}{tenant}/oauth2/v2.0/authorize", sandbox.authority()),
        &[
            ("client_id", sandbox.public_client_id()),
            ("redirect_uri", REDIRECT),
            ("response_type", "code"),
            ("scope", scope),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ],
    );
    let form = [("username", user), ("password", PASSWORD), ("answer", "accept")];
    ask(sandbox, &url, Some(&form)).await
}

async fn token(sandbox: &Sandbox, tenant: &str, fields: &[(&str, &str)]) -> Heard {
    let url = format!("{}{tenant}/oauth2/v2.0/token", sandbox.authority());
    let form = [&[("client_id", sandbox.public_client_id()), ("scope", SCOPE)][..], fields].concat();
    ask(sandbox, &url, Some(&form)).await
}

async fn redeem(sandbox: &Sandbox, tenant: &str, code: &str) -> Heard {
    let fields =
        [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", REDIRECT), ("code_verifier", VERIFIER)];
    token(sandbox, tenant, &fields).await
}

#[tokio::test]
async fn a_personal_account_signs_in_at_common_and_consumers() {
    let sandbox = world(SignInAudience::AnyOrganizationAndPersonal).await;
    for tenant in ["common", "consumers", PERSONAL_TENANT] {
        let code = page(&sandbox, tenant, PAT, SCOPE).await.redirect()["code"].clone();
        let refused = redeem(&sandbox, "organizations", &code).await.json();
        assert_eq!(refused["error_codes"], json!([70_000_121]), "{tenant}");
        let granted = redeem(&sandbox, tenant, &code).await.json();
        let access_token = granted["access_token"].as_str().unwrap();
        assert!(access_token.starts_with("EwB") && !access_token.contains('.'), "{access_token}");
        let says = claims(&granted["id_token"]);
        assert_eq!(says["iss"], format!("{}{PERSONAL_TENANT}/v2.0", sandbox.authority()));
        assert_eq!((&says["tid"], &says["preferred_username"]), (&json!(PERSONAL_TENANT), &json!(PAT)));
        let refresh_token = granted["refresh_token"].as_str().unwrap();
        assert!(refresh_token.starts_with("M.C"), "{refresh_token}");
        let fields = [("grant_type", "refresh_token"), ("refresh_token", refresh_token)];
        assert_eq!(token(&sandbox, tenant, &fields).await.status, 200);
        let refused = token(&sandbox, "contoso.example", &fields).await.json();
        assert_eq!(refused["error_codes"], json!([70_000_121]));
    }
}

#[tokio::test]
async fn a_work_account_keeps_its_own_tenant() {
    let sandbox = world(SignInAudience::AnyOrganizationAndPersonal).await;
    let code = page(&sandbox, "common", ALICE, SCOPE).await.redirect()["code"].clone();
    let granted = redeem(&sandbox, "common", &code).await.json();
    assert_eq!(granted["access_token"].as_str().unwrap().split('.').count(), 3, "it is a JWT");
    let says = claims(&granted["id_token"]);
    assert_eq!(says["tid"], sandbox.tenant_id());
    assert_eq!(says["iss"], format!("{}{}/v2.0", sandbox.authority(), sandbox.tenant_id()));
    let shown = page(&sandbox, "consumers", ALICE, SCOPE).await;
    assert!(shown.body.contains("That Microsoft account doesn't exist."), "{}", shown.body);
    let fields = [("grant_type", "refresh_token"), ("refresh_token", granted["refresh_token"].as_str().unwrap())];
    assert_eq!(token(&sandbox, "consumers", &fields).await.json()["error_codes"], json!([70000]));
}

#[tokio::test]
async fn a_personal_account_is_refused_elsewhere() {
    let sandbox = world(SignInAudience::AnyOrganizationAndPersonal).await;
    for (tenant, told) in [
        ("organizations", "AADSTS500200: User account 'pat@outlook.example' is a personal Microsoft account."),
        ("contoso.example", "AADSTS50020: User account 'pat@outlook.example' from identity provider 'live.com'"),
    ] {
        let shown = page(&sandbox, tenant, PAT, SCOPE).await;
        assert!(shown.body.contains(told), "{tenant}: {}", shown.body);
        assert!(!shown.body.contains('{'), "each name is filled in: {}", shown.body);
    }
    let elsewhere = "https://outlook.office365.com/IMAP.AccessAsUser.All";
    assert!(page(&sandbox, "consumers", PAT, elsewhere).await.body.contains("AADSTS70011"));
    let fields = [("grant_type", "password"), ("username", PAT), ("password", PASSWORD)];
    for (tenant, code) in [("common", 9_001_023), ("consumers", 9_001_023), ("organizations", 50034)] {
        assert_eq!(token(&sandbox, tenant, &fields).await.json()["error_codes"], json!([code]), "{tenant}");
    }
}

#[tokio::test]
async fn the_registration_decides_who_may_sign_in() {
    let sandbox = world(SignInAudience::AnyOrganization).await;
    let shown = page(&sandbox, "consumers", PAT, SCOPE).await;
    assert_eq!(shown.status, 400);
    assert!(shown.body.contains("The client does not exist or is not enabled for consumers."), "{}", shown.body);
    assert!(page(&sandbox, "common", PAT, SCOPE).await.body.contains("AADSTS500200"));
    let fields = [("grant_type", "refresh_token"), ("refresh_token", "M.C")];
    let (status, error, description) = token(&sandbox, "consumers", &fields).await.refusal();
    assert_eq!((status, error.as_str()), (400, "unauthorized_client"));
    assert!(description.starts_with("The client does not exist or is not enabled for consumers."), "{description}");
    let device = async |tenant: &str| {
        let form = [("client_id", sandbox.public_client_id()), ("scope", SCOPE)];
        ask(&sandbox, &format!("{}{tenant}/oauth2/v2.0/devicecode", sandbox.authority()), Some(&form)).await
    };
    assert_eq!(device("consumers").await.refusal().1, "unauthorized_client");
    sandbox.set_sign_in_audience(sandbox.public_client_id(), SignInAudience::PersonalOnly);
    assert_eq!(device("common").await.json()["error_codes"], json!([9_002_331]));
    let codes = device("consumers").await.json();
    let user_code = codes["user_code"].as_str().unwrap();
    let sign_in = async |user: &str| {
        let form = [("user_code", user_code), ("username", user), ("password", PASSWORD), ("answer", "accept")];
        ask(&sandbox, codes["verification_uri"].as_str().unwrap(), Some(&form)).await.body
    };
    let shown = sign_in(ALICE).await;
    assert!(shown.contains("That Microsoft account doesn't exist."), "{shown}");
    assert!(sign_in(PAT).await.contains("You have signed in."));
}

#[tokio::test]
async fn the_metadata_name_the_issuer_of_each_tenant() {
    let sandbox = world(SignInAudience::AnyOrganizationAndPersonal).await;
    for (tenant, id) in [
        ("common", "{tenantid}"),
        ("organizations", "{tenantid}"),
        ("consumers", PERSONAL_TENANT),
        ("contoso.example", sandbox.tenant_id()),
    ] {
        let url = format!("{}{tenant}/v2.0/.well-known/openid-configuration", sandbox.authority());
        let metadata = ask(&sandbox, &url, None).await.json();
        assert_eq!(metadata["issuer"], format!("{}{id}/v2.0", sandbox.authority()), "{tenant}");
    }
}
