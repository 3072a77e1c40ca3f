//! A token request: its URL, the form body of each grant, and the key under which the token is
//! kept.
//!
//! Grants: resource owner password credentials (RFC 6749 §4.3), client credentials (§4.4),
//! authorization codes with PKCE (§4.1.3, RFC 7636), device codes (RFC 8628), refresh tokens
//! (RFC 6749 §6) and assertions of service accounts (RFC 7523 §2.1). The application proves itself by
//! a secret (RFC 6749 §2.3.1) or an assertion (RFC 7523 §2.2). Requests go to Entra's v2.0 endpoint with
//! `scope`, for 21Vianet to the v1.0 endpoint with `resource`, and to the endpoint of a provider.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use url::Url;
use url::form_urlencoded::{Serializer, byte_serialize};
use zeroize::Zeroizing;

use crate::server;
use crate::token_key;
use gatepost_config::{Application, Cloud};
use gatepost_core::account::MailAddress;
use gatepost_core::secret::{
    AuthorizationCode, ClientAssertion, ClientSecret, CodeVerifier, DeviceCode, Password, RefreshToken,
};
use gatepost_core::tuple_key::TupleKey;

/// One token to ask for.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    /// The Entra application that asks.
    pub application: Arc<Application>,
    /// The tenant that is asked: [`gatepost_config::Tenant::of`] the login.
    pub tenant: Arc<str>,
    /// Scope (v2.0) or resource (v1.0).
    pub scope: Arc<str>,
    /// The grant, with its password, code or token.
    pub grant: GrantRequest,
}

/// The grant of a [`TokenRequest`], with what it needs.
#[derive(Clone, Debug)]
pub enum GrantRequest {
    /// ROPC: the user's own name and password.
    Password {
        /// The user principal name.
        username: MailAddress,
        /// As the mail client presented it.
        password: Arc<Password>,
    },
    /// The application's own access, without a user.
    ClientCredentials,
    /// A service account that acts for a mailbox. Its assertion is the grant, and the proof of the
    /// application as well.
    ServiceAccount {
        /// The mailbox that the token opens, and no other.
        mailbox: MailAddress,
    },
    /// The code that a person's browser brought back from a sign-in.
    AuthorizationCode(Arc<Redemption>),
    /// A sign-in that the person finishes on another device.
    DeviceCode(Arc<DeviceCode>),
    /// The refresh token of a person's earlier sign-in.
    RefreshToken {
        /// The address whose mail client needs the token; not part of the request.
        login: MailAddress,
        /// The newest refresh token.
        refresh_token: Arc<RefreshToken>,
    },
}

/// An authorization code with what must accompany it (RFC 6749 §4.1.3, RFC 7636 §4.5).
#[derive(Debug)]
pub struct Redemption {
    /// The code; it can be redeemed once.
    pub code: AuthorizationCode,
    /// Exactly as in the authorization request.
    pub redirect_uri: String,
    /// The verifier whose challenge was in the authorization request.
    pub verifier: CodeVerifier,
}

/// What proves the application in one request.
#[derive(Debug)]
pub enum ClientProof {
    /// Nothing: a public client.
    None,
    /// Its secret.
    Secret(Arc<ClientSecret>),
    /// A JWT, signed by the application or by an issuer that it trusts.
    Assertion(ClientAssertion),
    /// A JWT that a service account has signed for one mailbox, with [`GrantRequest::ServiceAccount`].
    ServiceAccount(ClientAssertion),
}

impl ClientProof {
    /// The parameter of a form that carries it.
    fn parameter(&self) -> Option<(&'static str, &str)> {
        match self {
            Self::None => None,
            Self::Secret(secret) => Some(("client_secret", secret.expose())),
            Self::Assertion(assertion) => Some(("client_assertion", assertion.expose())),
            Self::ServiceAccount(assertion) => Some(("assertion", assertion.expose())),
        }
    }
}

/// RFC 7523 §2.1.
const JWT_BEARER_GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// RFC 7523 §2.2.
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

impl GrantRequest {
    /// The `grant_type` of RFC 6749 §4, RFC 7523 §2.1 and RFC 8628 §3.4.
    pub fn grant_type(&self) -> &'static str {
        match self {
            Self::Password { .. } => "password",
            Self::ClientCredentials => "client_credentials",
            Self::ServiceAccount { .. } => JWT_BEARER_GRANT,
            Self::AuthorizationCode(_) => "authorization_code",
            Self::DeviceCode(_) => "urn:ietf:params:oauth:grant-type:device_code",
            Self::RefreshToken { .. } => "refresh_token",
        }
    }

    /// The grant's name for people and metrics: the configuration's, or the closest one.
    pub fn name(&self) -> &'static str {
        match self {
            Self::DeviceCode(_) => "device_code",
            Self::ServiceAccount { .. } => "client_credentials",
            _ => self.grant_type(),
        }
    }

    /// Whether the same request may be sent again when its answer was lost. A code is good once:
    /// redeemed twice, it is refused, and the tokens that it gave are revoked (RFC 6749 §4.1.2).
    pub fn is_repeatable(&self) -> bool {
        !matches!(self, Self::AuthorizationCode(_))
    }

    /// Whether the grant is one of a native application: with a native redirect address, a device code,
    /// or a refresh token that came with either. (A refresh token does not tell what it came with.)
    pub fn is_native(&self) -> bool {
        match self {
            Self::AuthorizationCode(redemption) => redemption.redirect_uri.starts_with("http://localhost"),
            Self::DeviceCode(_) | Self::RefreshToken { .. } => true,
            Self::Password { .. } | Self::ClientCredentials | Self::ServiceAccount { .. } => false,
        }
    }

    /// Whether the grant belongs to a person's sign-in, a new or an earlier one.
    fn is_sign_in(&self) -> bool {
        matches!(self, Self::AuthorizationCode(_) | Self::DeviceCode(_) | Self::RefreshToken { .. })
    }

    /// Length of the secrets in the form, of which no copies may stay in memory.
    fn secret_octets(&self) -> usize {
        match self {
            Self::Password { password, .. } => password.expose().len(),
            Self::ClientCredentials | Self::ServiceAccount { .. } => 0,
            Self::AuthorizationCode(redemption) => {
                redemption.code.expose().len() + redemption.verifier.expose().len() + redemption.redirect_uri.len()
            }
            Self::DeviceCode(device_code) => device_code.expose().len(),
            Self::RefreshToken { refresh_token, .. } => refresh_token.expose().len(),
        }
    }
}

/// The scope (v1.0: resource) that gives access to IMAP, POP3 and SMTP when none is configured.
pub fn default_scope(cloud: Cloud, password_grant: bool) -> &'static str {
    let preset = cloud.preset();
    if password_grant { preset.user_scope } else { preset.application_scope }
}

/// A request ready to be posted as `application/x-www-form-urlencoded`.
#[derive(Debug)]
pub struct TokenHttpRequest {
    /// The token endpoint of the tenant.
    pub url: Url,
    /// The form. It holds passwords and secrets.
    pub form: Form,
    /// The `Authorization` header, where the server takes the application's secret there.
    pub authorization: Option<Form>,
}

/// An encoded form that cannot be printed.
pub struct Form(SecretString);

impl Form {
    /// The encoded form itself. Never format it, log it or put it into an error.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl std::fmt::Debug for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Form(…)")
    }
}

impl TokenRequest {
    /// A request of the application for itself, which stands for it where it proves itself at another
    /// endpoint than the one for tokens.
    pub(super) fn of_application(application: &Arc<Application>, tenant: &str, scope: &str) -> Self {
        let (application, grant) = (Arc::clone(application), GrantRequest::ClientCredentials);
        Self { application, tenant: tenant.into(), scope: scope.into(), grant }
    }

    /// Builds the request for this token, with the proof of the application.
    pub fn request(&self, proof: &ClientProof) -> TokenHttpRequest {
        let (app, server) = (&self.application, server::of(&self.application));
        // Reserves room for everything at once, because a buffer that grows leaves copies of the
        // password behind.
        let secrets = self.grant.secret_octets() + proof.parameter().map_or(0, |(_, secret)| secret.len());
        let mut form = Serializer::new(String::with_capacity(2048 + 3 * secrets));
        let (device_grant, device_code_key) = server.device_grant();
        let is_device = matches!(self.grant, GrantRequest::DeviceCode(_));
        form.append_pair("grant_type", if is_device { device_grant } else { self.grant.grant_type() });
        // An assertion says who asks, and for which scope.
        if !matches!(self.grant, GrantRequest::ServiceAccount { .. }) {
            form.append_pair("client_id", &app.client_id);
            form.extend_pairs(server.token_scope(self.grant.is_sign_in(), &self.scope));
        }
        match &self.grant {
            GrantRequest::Password { username, password } => {
                form.append_pair("username", username.as_str());
                form.append_pair("password", password.expose());
            }
            GrantRequest::ClientCredentials | GrantRequest::ServiceAccount { .. } => {}
            GrantRequest::AuthorizationCode(redemption) => {
                form.append_pair("code", redemption.code.expose());
                form.append_pair("redirect_uri", &redemption.redirect_uri);
                if server.takes_challenge() {
                    form.append_pair("code_verifier", redemption.verifier.expose());
                }
            }
            GrantRequest::DeviceCode(device_code) => {
                form.append_pair(device_code_key, device_code.expose());
            }
            GrantRequest::RefreshToken { refresh_token, .. } => {
                form.append_pair("refresh_token", refresh_token.expose());
            }
        }
        let authorization = authenticate(&mut form, app, proof);
        TokenHttpRequest { url: self.token_url(), form: Form(SecretString::from(form.finish())), authorization }
    }

    /// The token endpoint of the tenant: the URL of the request, and the audience of a client
    /// assertion.
    pub fn token_url(&self) -> Url {
        server::of(&self.application).token_url(&self.tenant)
    }

    /// Scheme, host and port of the token endpoint. The circuit breaker and the clock skew are kept
    /// for each authority.
    pub fn authority(&self) -> String {
        self.application.issuer.authority().origin().ascii_serialization()
    }

    /// The key under which the token is kept. It holds everything that distinguishes this token
    /// from others.
    pub fn key(&self) -> TupleKey {
        match &self.grant {
            GrantRequest::Password { username, .. } => {
                token_key::of_user(&self.application, &self.tenant, &self.scope, username)
            }
            GrantRequest::ClientCredentials => token_key::of_application(&self.application, &self.tenant, &self.scope),
            GrantRequest::ServiceAccount { mailbox } => {
                token_key::of_mailbox(&self.application, &self.tenant, &self.scope, mailbox)
            }
            GrantRequest::RefreshToken { login, .. } => {
                token_key::of_sign_in(&self.application, &self.tenant, &self.scope, login)
            }
            // The owner of that token is known only afterwards.
            GrantRequest::AuthorizationCode(_) | GrantRequest::DeviceCode(_) => {
                token_key::of(&self.application, &self.tenant, &self.scope, self.grant.grant_type(), "")
            }
        }
    }

    /// What a `Retry-After` applies to.
    pub fn throttle_key(&self) -> TupleKey {
        token_key::of_throttle(&self.application, &self.tenant, &self.scope)
    }
}

/// The request that begins a sign-in by device code (RFC 8628 §3.1); `None` if the server has no such
/// sign-in.
pub fn device_authorization_request(
    application: &Application,
    tenant: &str,
    scope: &str,
    proof: &ClientProof,
) -> Option<TokenHttpRequest> {
    let server = server::of(application);
    let url = server.device_url(tenant)?;
    // One that grows leaves copies of the secret behind.
    let secret = proof.parameter().map_or(0, |(_, secret)| secret.len());
    let mut form = Serializer::new(String::with_capacity(2048 + 3 * (scope.len() + secret)));
    form.append_pair("client_id", &application.client_id);
    form.extend_pairs(server.sign_in_scope(scope));
    let authorization = authenticate(&mut form, application, proof);
    Some(TokenHttpRequest { url, form: Form(SecretString::from(form.finish())), authorization })
}

/// The request that revokes a refresh token (RFC 7009 §2.1); `None` if the server takes none back.
pub fn revocation_request(
    application: &Application,
    refresh_token: &RefreshToken,
    proof: &ClientProof,
) -> Option<TokenHttpRequest> {
    let url = server::of(application).revoke_url()?;
    // One that grows leaves copies of the secrets behind.
    let secret = proof.parameter().map_or(0, |(_, secret)| secret.len());
    let mut form = Serializer::new(String::with_capacity(2048 + 3 * (refresh_token.expose().len() + secret)));
    form.append_pair("token", refresh_token.expose());
    form.append_pair("token_type_hint", "refresh_token");
    form.append_pair("client_id", &application.client_id);
    let authorization = authenticate(&mut form, application, proof);
    Some(TokenHttpRequest { url, form: Form(SecretString::from(form.finish())), authorization })
}

/// Adds the proof of the application to a form, or returns it as the `Authorization` header.
fn authenticate(form: &mut Serializer<'_, String>, application: &Application, proof: &ClientProof) -> Option<Form> {
    let (key, secret) = proof.parameter()?;
    if key == "client_secret" && server::of(application).takes_basic() {
        return Some(basic(&application.client_id, secret));
    }
    form.append_pair(key, secret);
    if key == "client_assertion" {
        form.append_pair("client_assertion_type", JWT_BEARER);
    }
    None
}

/// The `Authorization` header of a client with a secret (RFC 6749 §2.3.1): both parts are
/// form-encoded before they are put together.
fn basic(client_id: &str, secret: &str) -> Form {
    let encoded = |text: &str| Zeroizing::new(byte_serialize(text.as_bytes()).collect::<String>());
    let pair = Zeroizing::new([&encoded(client_id), ":", &encoded(secret)].concat());
    let value = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
    Form(SecretString::from(["Basic ", &value].concat()))
}

#[cfg(test)]
mod tests {
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
            verifier: gatepost_core::secret::CodeVerifier::new("verifier".into()),
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
            code: gatepost_core::secret::AuthorizationCode::new("four".into()),
            redirect_uri: "http://localhost".into(),
            verifier: gatepost_core::secret::CodeVerifier::new("verifier".into()),
        };
        let ask = password_ask(application(Cloud::Worldwide), "seven77");
        assert_eq!(octets(ask.grant), 7);
        assert_eq!(octets(GrantRequest::ClientCredentials), 0);
        assert_eq!(octets(GrantRequest::AuthorizationCode(code.into())), 4 + 8 + 16);
    }
}
