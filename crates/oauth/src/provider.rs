//! A provider other than Microsoft as an authorization server: the endpoints of the configuration,
//! the error classes of RFC 6749, and ID tokens of OpenID Connect. Its access tokens are opaque to a
//! client (RFC 6749 §1.4).

use url::Url;

use crate::response::Dialect;
use crate::server::AuthorizationServer;
use crate::sign_in::identity::{Claims, IdTokenProblem, Identity};
use gatepost_config::{ClientAuthentication, Provider};
use gatepost_core::account::MailAddress;

/// Scopes that servers leave out of their answers or spell otherwise (Google: `userinfo.email`),
/// although they were granted. The ID token and the refresh token show that (OpenID Connect Core §5.4
/// and §11).
const NOT_LISTED: [&str; 6] = ["openid", "profile", "email", "address", "phone", "offline_access"];

/// Whether two scopes are the same, apart from what servers change: case, and a slash at the end of
/// an address.
fn is_same_scope(one: &str, other: &str) -> bool {
    one.trim_end_matches('/').eq_ignore_ascii_case(other.trim_end_matches('/'))
}

impl AuthorizationServer for Provider {
    fn token_url(&self, _tenant: &str) -> Url {
        self.token_url.clone()
    }

    fn authorize_url(&self, _tenant: &str) -> Option<Url> {
        let mut url = self.authorize_url.clone()?;
        if !self.authorize_parameters.is_empty() {
            url.query_pairs_mut().extend_pairs(self.authorize_parameters);
        }
        Some(url)
    }

    fn device_url(&self, _tenant: &str) -> Option<Url> {
        self.device_url.clone()
    }

    fn revoke_url(&self) -> Option<Url> {
        self.revoke_url.clone()
    }

    fn sign_in_scope(&self, scope: &str) -> Vec<(&'static str, String)> {
        // RFC 6749 §3.3: without a scope the server takes its default.
        if scope.is_empty() { Vec::new() } else { vec![("scope", scope.to_owned())] }
    }

    fn missing_scopes(&self, asked: &str, granted: &str) -> Vec<String> {
        let has = |scope: &&str| granted.split([' ', ',']).any(|known| is_same_scope(known, scope));
        let missing = asked.split_ascii_whitespace().filter(|scope| !NOT_LISTED.contains(scope) && !has(scope));
        missing.map(str::to_owned).collect()
    }

    /// A code and a refresh token have the scope that was consented to (RFC 6749 §4.1.3, §6).
    fn token_scope(&self, is_sign_in: bool, scope: &str) -> Vec<(&'static str, String)> {
        if is_sign_in { Vec::new() } else { self.sign_in_scope(scope) }
    }

    fn takes_challenge(&self) -> bool {
        self.pkce
    }

    fn has_public_clients(&self) -> bool {
        false
    }

    fn takes_basic(&self) -> bool {
        self.client_authentication == ClientAuthentication::Basic
    }

    fn dialect(&self) -> Dialect {
        Dialect::RFC_6749
    }

    fn has_id_tokens(&self) -> bool {
        !self.issuers.is_empty()
    }

    fn identity(&self, claims: Claims, _tenant: &str) -> Result<Identity, IdTokenProblem> {
        if !self.issuers.contains(&claims.iss) {
            return Err(IdTokenProblem::Issuer);
        }
        let object_id = claims.sub.ok_or(IdTokenProblem::Malformed)?;
        // OpenID Connect Core §5.1: an address that was not verified says nothing.
        let is_verified = claims.email_verified.is_none_or(|verified| verified == true || verified == "true");
        let names = [claims.email.filter(|_| is_verified), claims.preferred_username];
        let mut usernames: Vec<MailAddress> = Vec::new();
        for name in names.into_iter().flatten() {
            usernames.extend(MailAddress::parse(&name).ok().filter(|name| !usernames.contains(name)));
        }
        Ok(Identity { tenant_id: String::new(), object_id, issuer: claims.iss, usernames, email: None })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fake::provider;
    use gatepost_config::{Cloud, Entra};

    fn identity(claims: Value) -> Result<Identity, IdTokenProblem> {
        provider(ClientAuthentication::Post).identity(serde_json::from_value(claims).unwrap(), "")
    }

    #[test]
    fn a_scope_that_was_not_granted_is_missing_unless_servers_do_not_list_it() {
        const GOOGLE: &str = "https://mail.google.com/ openid email";
        let provider = provider(ClientAuthentication::Post);
        for (asked, granted, missing) in [
            (GOOGLE, "https://www.googleapis.com/auth/userinfo.email https://mail.google.com/ openid", &[][..]),
            (GOOGLE, "https://www.googleapis.com/auth/userinfo.email openid", &["https://mail.google.com/"]),
            (GOOGLE, "https://mail.google.com", &[]),
            ("imap smtp offline_access", "SMTP", &["imap"]),
            ("imap smtp", "smtp,imap,more", &[]),
            ("imap", "imap.readonly", &["imap"]),
            ("", "anything", &[]),
        ] {
            assert_eq!(provider.missing_scopes(asked, granted), missing, "{asked}: {granted}");
        }
        // Entra: a spelling of its own, and never `offline_access`.
        let entra = Entra {
            authority: Url::parse("https://login.example/").unwrap(),
            tenant: "t".into(),
            cloud: Cloud::Worldwide,
        };
        let asked = "https://outlook.office.com/IMAP.AccessAsUser.All offline_access";
        assert!(entra.missing_scopes(asked, "IMAP.AccessAsUser.All").is_empty());
    }

    #[test]
    fn what_is_sent_and_expected_follows_the_configuration() {
        let plain = provider(ClientAuthentication::Post);
        let scope = || vec![("scope", "mail".to_owned())];
        assert_eq!((plain.sign_in_scope("mail"), plain.sign_in_scope("")), (scope(), vec![]));
        assert_eq!((plain.token_scope(false, "mail"), plain.token_scope(true, "mail")), (scope(), vec![]));
        assert_eq!(plain.authorize_url("").unwrap().as_str(), "https://login.example/authorize");
        assert!(plain.takes_challenge() && plain.has_id_tokens());
        let other = Provider {
            authorize_parameters: &[("access_type", "offline"), ("prompt", "a&b")],
            pkce: false,
            issuers: Vec::new(),
            ..provider(ClientAuthentication::Post)
        };
        let url = "https://login.example/authorize?access_type=offline&prompt=a%26b";
        assert_eq!(other.authorize_url("").unwrap().as_str(), url);
        assert!(!other.takes_challenge() && !other.has_id_tokens());
        let without = Provider { authorize_url: None, ..provider(ClientAuthentication::Post) };
        assert_eq!(without.authorize_url(""), None);
    }

    #[test]
    fn an_address_counts_unless_it_is_not_verified() {
        let with = |verified: Value| {
            json!({
                "iss": "https://login.example", "aud": "app", "exp": 1, "sub": "1", "email": "Pia@plain.example",
                "email_verified": verified,
            })
        };
        for (verified, counts) in [
            (Value::Null, true),
            (json!(true), true),
            (json!("true"), true),
            (json!(false), false),
            (json!("false"), false),
            (json!(1), false),
        ] {
            let named = identity(with(verified.clone())).unwrap();
            assert_eq!(named.is_called(&MailAddress::parse("pia@plain.example").unwrap(), false), counts, "{verified}");
        }
        let mut other = with(json!(true));
        other["iss"] = json!("https://login.example.evil.example");
        assert_eq!(identity(other), Err(IdTokenProblem::Issuer));
        let mut nobody = with(json!(true));
        nobody["sub"] = Value::Null;
        assert_eq!(identity(nobody), Err(IdTokenProblem::Malformed));
    }
}
