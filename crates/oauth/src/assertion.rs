//! Assertions (RFC 7523 §3). A client assertion (§2.2) is a JWT by which an application proves that it
//! has its certificate's key. The form is the one that Entra takes (Microsoft, "Microsoft identity
//! platform application authentication certificate credentials"). With the assertion of a service
//! account (§2.1) it asks to act for a mailbox, in the form that Google takes (Google, "Using OAuth
//! 2.0 for Server to Server Applications"). Pure: the time is an argument, and is that of the token
//! endpoint as far as it is known.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use gatepost_config::certificate::{SigningAlgorithm, SigningKey};
use gatepost_config::service_account::ServiceAccountKey;
use gatepost_core::account::MailAddress;
use gatepost_core::clock::UnixTime;
use gatepost_core::secret::ClientAssertion;

/// How long an assertion is valid. Each is used for one request; the rest allows for a slow
/// network.
pub const LIFETIME: Duration = Duration::from_secs(600);

/// How long before now an assertion becomes valid, because no two clocks agree to the second.
pub(crate) const LEEWAY: Duration = Duration::from_secs(60);

/// The claims of an assertion.
#[derive(Clone, Copy, Debug)]
pub struct Claims<'a> {
    /// The token endpoint, exactly as the request addresses it.
    pub audience: &'a str,
    /// The application (client) id: issuer and subject.
    pub client_id: &'a str,
    /// A GUID that no other assertion has.
    pub id: &'a str,
    /// The time at the token endpoint.
    pub now: UnixTime,
}

impl Claims<'_> {
    /// Signs the assertion. `None` when the system gives no randomness for the signature.
    pub fn sign(&self, key: &SigningKey, algorithm: SigningAlgorithm) -> Option<ClientAssertion> {
        let from = UnixTime(self.now.0.saturating_sub(LEEWAY.as_secs()));
        let claims = json!({
            "aud": self.audience,
            "iss": self.client_id,
            "sub": self.client_id,
            "jti": self.id,
            "nbf": from.0,
            "iat": from.0,
            "exp": self.now.after(LIFETIME).0,
        });
        sign(&claims, key, algorithm)
    }
}

/// Signs claims as a JWT that names the certificate. `None` when the system gives no randomness.
pub(crate) fn sign(claims: &Value, key: &SigningKey, algorithm: SigningAlgorithm) -> Option<ClientAssertion> {
    let header = match algorithm {
        SigningAlgorithm::Ps256 => {
            json!({"alg": "PS256", "typ": "JWT", "x5t#S256": URL_SAFE_NO_PAD.encode(key.sha256())})
        }
        SigningAlgorithm::Rs256 => json!({"alg": "RS256", "typ": "JWT", "x5t": URL_SAFE_NO_PAD.encode(key.sha1())}),
    };
    jwt(&header, claims, |message| key.sign(algorithm, message))
}

/// The claims of a service account's assertion.
#[derive(Clone, Copy, Debug)]
pub struct Delegation<'a> {
    /// The token endpoint, exactly as the request addresses it.
    pub audience: &'a str,
    /// The mailbox for which the service account acts.
    pub mailbox: &'a MailAddress,
    /// What the token permits, with a space between two scopes.
    pub scope: &'a str,
    /// The time at the token endpoint.
    pub now: UnixTime,
}

impl Delegation<'_> {
    /// Signs the assertion. `None` when the system gives no randomness.
    pub fn sign(&self, key: &ServiceAccountKey) -> Option<ClientAssertion> {
        let from = UnixTime(self.now.0.saturating_sub(LEEWAY.as_secs()));
        let claims = json!({
            "iss": key.email,
            "sub": self.mailbox.as_str(),
            "scope": self.scope,
            "aud": self.audience,
            "iat": from.0,
            "exp": self.now.after(LIFETIME).0,
        });
        jwt(&json!({"alg": "RS256", "typ": "JWT", "kid": key.key_id}), &claims, |message| key.sign(message))
    }
}

/// A signed JWT (RFC 7515 §7.1).
fn jwt(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Option<Vec<u8>>) -> Option<ClientAssertion> {
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let signed = format!("{}.{}", encode(header), encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(signed.as_bytes())?);
    Some(ClientAssertion::new(format!("{signed}.{signature}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};
    use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;

    #[test]
    fn a_service_account_says_for_which_mailbox_it_asks_and_for_what() {
        let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        let file = json!({
            "type": "service_account", "private_key_id": "k1", "private_key": pair.serialize_pem(),
            "client_email": "s@p.iam.gserviceaccount.com", "client_id": "1", "token_uri": "https://login.example/token",
        });
        let token_url = url::Url::parse("https://login.example/token").unwrap();
        let key = ServiceAccountKey::read(file.to_string().as_bytes(), &token_url).unwrap();
        let mailbox = MailAddress::parse("anna@contoso.com").unwrap();
        let audience = token_url.as_str();
        let asked = Delegation { audience, mailbox: &mailbox, scope: "https://mail.google.com/", now: UnixTime(1_000) };
        let assertion = asked.sign(&key).unwrap();
        let (signed, signature) = assertion.expose().rsplit_once('.').unwrap();
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key_raw());
        public.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
        let part = |n: usize| -> Value {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(signed.split('.').nth(n).unwrap()).unwrap()).unwrap()
        };
        assert_eq!(part(0), json!({"alg": "RS256", "typ": "JWT", "kid": "k1"}));
        assert_eq!(
            part(1),
            json!({
                "iss": "s@p.iam.gserviceaccount.com", "sub": "anna@contoso.com", "scope": "https://mail.google.com/",
                "aud": "https://login.example/token", "iat": 940, "exp": 1_600,
            })
        );
    }

    #[test]
    fn it_says_what_entra_wants_to_hear_under_a_signature_that_holds() {
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        let certificate =
            CertificateParams::new(["gatepost.example".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
        let private_key = key.serialize_pem();
        let key = SigningKey::read(certificate.as_bytes(), Some(private_key.as_bytes()), None).unwrap();
        let claims = Claims {
            audience: "https://login.example/t/oauth2/v2.0/token",
            client_id: "c",
            id: "j",
            now: UnixTime(1_000),
        };
        let der = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
        for (algorithm, name, thumbprint, verification) in [
            (SigningAlgorithm::Ps256, "PS256", "x5t#S256", &RSA_PSS_2048_8192_SHA256),
            (SigningAlgorithm::Rs256, "RS256", "x5t", &RSA_PKCS1_2048_8192_SHA256),
        ] {
            let assertion = claims.sign(&key, algorithm).unwrap();
            let (signed, signature) = assertion.expose().rsplit_once('.').unwrap();
            let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
            let public = UnparsedPublicKey::new(verification, &parsed.public_key().subject_public_key.data);
            public.verify(signed.as_bytes(), &signature).unwrap();
            let part = |n: usize| -> Value {
                let part = signed.split('.').nth(n).unwrap();
                serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
            };
            let octets = if name == "PS256" { &key.sha256()[..] } else { &key.sha1()[..] };
            assert_eq!(part(0), json!({"alg": name, "typ": "JWT", thumbprint: URL_SAFE_NO_PAD.encode(octets)}));
            assert_eq!(
                part(1),
                json!({
                    "aud": "https://login.example/t/oauth2/v2.0/token",
                    "iss": "c", "sub": "c", "jti": "j", "nbf": 940, "iat": 940, "exp": 1_600,
                })
            );
        }
    }
}
