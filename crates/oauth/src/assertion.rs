//! A client assertion (RFC 7523 §2.2, §3): a JWT by which an application proves that it has its
//! certificate's key. The form is the one that Entra takes (Microsoft, "Microsoft identity platform
//! application authentication certificate credentials"). Pure: the time is an argument, and is
//! Entra's as far as that is known.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use gatepost_config::certificate::{SigningAlgorithm, SigningKey};
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
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let signed = format!("{}.{}", encode(&header), encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(algorithm, signed.as_bytes())?);
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
