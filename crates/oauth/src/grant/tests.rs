use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use gatepost_config::Tenant;

fn application(cloud: Cloud) -> Arc<Application> {
    Arc::new(Application {
        issuer: gatepost_config::Issuer::Entra(gatepost_config::Entra {
            authority: Url::parse("https://login.example/").unwrap(),
            tenant: "contoso.example".into(),
            cloud,
        }),
        client_id: "app".into(),
        credential: Arc::default(),
    })
}

fn form(ask: &TokenRequest, proof: &ClientProof) -> HashMap<String, String> {
    url::form_urlencoded::parse(ask.request(proof).form.expose().as_bytes()).into_owned().collect()
}

fn secret(text: &str) -> ClientProof {
    ClientProof::Secret(Arc::new(ClientSecret::new(text.into())))
}

fn password_ask(application: Arc<Application>, password: &str) -> TokenRequest {
    TokenRequest {
        scope: default_scope(application.issuer.cloud().unwrap(), true).into(),
        tenant: "contoso.example".into(),
        application,
        grant: GrantRequest::Password {
            username: MailAddress::parse("alice@contoso.example").unwrap(),
            password: Arc::new(Password::new(password.into())),
        },
    }
}

#[test]
fn ropc_sends_the_password_unharmed_and_nothing_that_is_not_needed() {
    let ask = password_ask(application(Cloud::Worldwide), "p+ä &=%\"'\\ w");
    let url = ask.request(&ClientProof::None).url;
    assert_eq!(url.as_str(), "https://login.example/contoso.example/oauth2/v2.0/token");
    let sent = form(&ask, &ClientProof::None);
    assert_eq!(sent["password"], "p+ä &=%\"'\\ w");
    assert_eq!(sent["username"], "alice@contoso.example");
    assert_eq!(sent["grant_type"], "password");
    assert_eq!(sent["scope"], "https://outlook.office.com/.default");
    // A public client that sends a secret is refused with AADSTS700025.
    assert!(!sent.contains_key("client_secret"));
    assert!(!sent.contains_key("resource"));
}

#[test]
fn client_credentials_send_the_secret() {
    let application = application(Cloud::UsGovDod);
    let ask = TokenRequest {
        scope: default_scope(application.issuer.cloud().unwrap(), false).into(),
        tenant: "contoso.example".into(),
        application,
        grant: GrantRequest::ClientCredentials,
    };
    let sent = form(&ask, &secret("s&cret"));
    assert_eq!(sent["client_secret"], "s&cret");
    assert_eq!(sent["scope"], "https://outlook.office365.us/.default");
    assert!(!sent.contains_key("password") && !sent.contains_key("client_assertion_type"));
    let sent = form(&ask, &ClientProof::Assertion(ClientAssertion::new("a.b.c".into())));
    assert_eq!((&*sent["client_assertion_type"], &*sent["client_assertion"]), (JWT_BEARER, "a.b.c"));
    assert!(!sent.contains_key("client_secret"));
}

#[test]
fn a_service_account_sends_its_assertion_and_nothing_else() {
    let provider = crate::fake::provider(gatepost_config::ClientAuthentication::Post);
    let application = Arc::new(Application {
        issuer: gatepost_config::Issuer::Provider(Arc::new(provider)),
        client_id: "gatepost@gatepost.iam.gserviceaccount.com".into(),
        credential: Arc::new(gatepost_config::Credential::ServiceAccountKey("key.json".into())),
    });
    let ask = |mailbox: &str| TokenRequest {
        application: Arc::clone(&application),
        tenant: "".into(),
        scope: "mail".into(),
        grant: GrantRequest::ServiceAccount { mailbox: MailAddress::parse(mailbox).unwrap() },
    };
    let (anna, bob) = (ask("anna@contoso.com"), ask("bob@contoso.com"));
    let request = anna.request(&ClientProof::ServiceAccount(ClientAssertion::new("a.b.c".into())));
    assert_eq!(request.url.as_str(), "https://login.example/token");
    assert_eq!(
        request.form.expose(),
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=a.b.c"
    );
    assert!(request.authorization.is_none());
    assert_ne!(anna.key(), bob.key(), "a token opens one mailbox");
    assert_eq!(anna.key(), ask("Anna@Contoso.com").key());
    assert_eq!((anna.grant.name(), anna.grant.is_native()), ("client_credentials", false));
}

#[test]
fn china_speaks_version_one() {
    let ask = password_ask(application(Cloud::China), "x");
    let url = ask.request(&ClientProof::None).url;
    assert_eq!(url.as_str(), "https://login.example/contoso.example/oauth2/token");
    let sent = form(&ask, &ClientProof::None);
    assert_eq!(sent["resource"], "https://partner.outlook.cn");
    assert!(!sent.contains_key("scope"));
}

fn ask_with(application: Arc<Application>, grant: GrantRequest) -> TokenRequest {
    let (tenant, scope) = ("contoso.example".into(), "https://outlook.office.com/SMTP.Send".into());
    TokenRequest { application, tenant, scope, grant }
}

#[test]
fn a_sign_in_asks_for_a_refresh_token_and_for_who_it_is() {
    let application = application(Cloud::Worldwide);
    let refresh = GrantRequest::RefreshToken {
        login: MailAddress::parse("alice@contoso.example").unwrap(),
        refresh_token: Arc::new(RefreshToken::new("0.A+&".into())),
    };
    let sent = form(&ask_with(Arc::clone(&application), refresh), &ClientProof::None);
    assert_eq!((&*sent["grant_type"], &*sent["refresh_token"]), ("refresh_token", "0.A+&"));
    assert_eq!(sent["scope"], "https://outlook.office.com/SMTP.Send offline_access openid profile");
    assert!(!sent.contains_key("username"));

    let redemption = Redemption {
        code: AuthorizationCode::new("0.code".into()),
        redirect_uri: "http://localhost:1234".into(),
        verifier: CodeVerifier::new("verifier".into()),
    };
    let redeem = GrantRequest::AuthorizationCode(Arc::new(redemption));
    assert!(!redeem.is_repeatable());
    let sent = form(&ask_with(Arc::clone(&application), redeem), &ClientProof::None);
    assert_eq!((&*sent["grant_type"], &*sent["code"]), ("authorization_code", "0.code"));
    assert_eq!((&*sent["redirect_uri"], &*sent["code_verifier"]), ("http://localhost:1234", "verifier"));

    let poll = GrantRequest::DeviceCode(Arc::new(DeviceCode::new("dev".into())));
    assert!(poll.is_repeatable());
    assert_eq!(poll.name(), "device_code");
    let sent = form(&ask_with(Arc::clone(&application), poll.clone()), &ClientProof::None);
    assert_eq!(sent["grant_type"], "urn:ietf:params:oauth:grant-type:device_code");
    assert_eq!(sent["device_code"], "dev");
    let request =
        device_authorization_request(&application, "contoso.example", "openid x", &ClientProof::None).unwrap();
    assert_eq!(request.url.path(), "/contoso.example/oauth2/v2.0/devicecode");
    assert_eq!(request.form.expose(), "client_id=app&scope=openid+x+offline_access+profile");

    // Version 1.0 has names of its own.
    let china = self::application(Cloud::China);
    let sent = form(&ask_with(Arc::clone(&china), poll), &ClientProof::None);
    assert_eq!((&*sent["grant_type"], &*sent["code"], &*sent["scope"]), ("device_code", "dev", "openid"));
    let request =
        device_authorization_request(&china, "contoso.example", "https://partner.outlook.cn", &ClientProof::None)
            .unwrap();
    assert_eq!(request.url.path(), "/contoso.example/oauth2/devicecode");
    assert_eq!(request.form.expose(), "client_id=app&resource=https%3A%2F%2Fpartner.outlook.cn&scope=openid");
}

#[test]
fn a_tenant_cannot_lead_to_another_path_or_host() {
    let application = Application {
        issuer: gatepost_config::Issuer::Entra(gatepost_config::Entra {
            authority: Url::parse("https://login.example/base/").unwrap(),
            tenant: Tenant::OfLogin,
            cloud: Cloud::Worldwide,
        }),
        client_id: String::new(),
        credential: Arc::default(),
    };
    let url = server::of(&application).token_url("../..//evil.example/?");
    assert_eq!(url.host_str(), Some("login.example"));
    assert_eq!(url.path(), "/base/..%2F..%2F%2Fevil.example%2F%3F/oauth2/v2.0/token");
}

#[test]
fn nothing_of_a_request_can_be_printed() {
    let ask = password_ask(application(Cloud::Worldwide), "hunter2");
    for proof in [secret("topsecret"), ClientProof::Assertion(ClientAssertion::new("topsecret".into()))] {
        let printed = format!("{ask:?} {proof:?} {:?}", ask.request(&proof));
        assert!(!printed.contains("hunter2") && !printed.contains("topsecret"), "{printed}");
    }
}

/// Every way to be somebody else, out of parts that are made to be mistaken for each other: all
/// keys that are equal are of the same tuple. Forty thousand tuples are eight hundred million
/// pairs.
#[test]
fn no_two_tuples_share_a_key() {
    let alphabet = ["", "a", "ab", "b", "a\0", "\0a", "a|b", "|", "password", "client_credentials"];
    let parts: Vec<String> = alphabet.iter().flat_map(|x| alphabet.map(|y| format!("{x}{y}"))).collect();
    let mut seen: HashMap<TupleKey, Vec<String>> = HashMap::new();
    let mut state = 1_usize;
    let mut part = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        parts[(state >> 33) % parts.len()].clone()
    };
    for round in 0..40_000 {
        let (tenant, client_id, scope, path, login) = (part(), part(), part(), part(), part());
        let mut authority = Url::parse("https://login.example/").unwrap();
        authority.set_path(&path);
        let application = Application {
            issuer: gatepost_config::Issuer::Entra(gatepost_config::Entra {
                authority,
                tenant: tenant.as_str().into(),
                cloud: Cloud::Worldwide,
            }),
            client_id,
            credential: Arc::default(),
        };
        let username = MailAddress::parse(&format!("x{}@b", login.replace(['\0', '|'], "-"))).unwrap();
        let (key, login) = if round % 2 == 0 {
            (token_key::of_user(&application, &tenant, &scope, &username), username.to_string())
        } else {
            (token_key::of_application(&application, &tenant, &scope), String::new())
        };
        let tuple = vec![login, application.issuer.authority().to_string(), tenant, application.client_id, scope];
        let first = seen.entry(key).or_insert_with(|| tuple.clone());
        assert_eq!(*first, tuple, "two tuples with one key");
    }
    assert!(seen.len() > 39_000, "{}", seen.len());
}

proptest! {
    #[test]
    fn different_tuples_have_different_keys(a in any::<[String; 3]>(), b in any::<[String; 3]>()) {
        let parts = |t: &[String; 3]| TupleKey::encode([&*t[0], &*t[1], &*t[2]]);
        prop_assert_eq!(parts(&a) == parts(&b), a == b);
    }

    #[test]
    fn moving_the_border_between_parts_changes_the_key(text in "[a|:\\x00]{1,12}", at in 0_usize..12, to in 0_usize..12) {
        let (at, to) = (at.min(text.len()), to.min(text.len()));
        let split = |at: usize| TupleKey::encode([&text[..at], &text[at..]]);
        prop_assert_eq!(split(at) == split(to), at == to);
    }
}

#[test]
fn room_is_reserved_for_every_secret_of_a_form() {
    let octets = |grant: GrantRequest| grant.secret_octets();
    let code = Redemption {
        code: AuthorizationCode::new("four".into()),
        redirect_uri: "http://localhost".into(),
        verifier: CodeVerifier::new("verifier".into()),
    };
    let ask = password_ask(application(Cloud::Worldwide), "seven77");
    assert_eq!(octets(ask.grant), 7);
    assert_eq!(octets(GrantRequest::ClientCredentials), 0);
    assert_eq!(octets(GrantRequest::AuthorizationCode(code.into())), 4 + 8 + 16);
}
