//! The proof of possession by which an application changes its own keys: a JWT, signed with the key
//! of a certificate that is registered and has not expired.

use serde_json::json;

use crate::assertion::{LEEWAY, LIFETIME, sign};
use gatepost_config::certificate::{SigningAlgorithm, SigningKey};
use gatepost_core::clock::UnixTime;
use gatepost_core::secret::ClientAssertion;

/// The audience of every proof.
pub const AUDIENCE: &str = "00000002-0000-0000-c000-000000000000";

/// Signs a proof for the application with this object id, which is not its client id. It is valid
/// for ten minutes, the longest that Microsoft allows, from a minute before `now`. Microsoft's own
/// example signs with RS256 and names the certificate by `x5t`. `None` when the system gives no
/// randomness.
pub fn prove(object_id: &str, key: &SigningKey, now: UnixTime) -> Option<ClientAssertion> {
    let from = now.before(LEEWAY);
    let claims = json!({"aud": AUDIENCE, "iss": object_id, "nbf": from.0, "exp": from.after(LIFETIME).0});
    sign(&claims, key, SigningAlgorithm::Rs256)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
    use serde_json::Value;

    use super::*;

    #[test]
    fn it_names_the_application_and_the_certificate_under_a_signature_that_holds() {
        let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        let certificate = CertificateParams::new(["gatepost.example".to_owned()]).unwrap().self_signed(&pair).unwrap();
        let key = SigningKey::read(certificate.pem().as_bytes(), Some(pair.serialize_pem().as_bytes()), None).unwrap();
        let proof = prove("9d1a", &key, UnixTime(10_000)).unwrap();
        let (signed, signature) = proof.expose().rsplit_once('.').unwrap();
        let (_, parsed) = x509_parser::parse_x509_certificate(key.der()).unwrap();
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &parsed.public_key().subject_public_key.data)
            .verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap())
            .unwrap();
        let part = |n: usize| -> Value {
            let part = signed.split('.').nth(n).unwrap();
            // Microsoft refuses a proof with padding.
            assert!(!part.contains('='));
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
        };
        assert_eq!(part(0), json!({"alg": "RS256", "typ": "JWT", "x5t": URL_SAFE_NO_PAD.encode(key.sha1())}));
        assert_eq!(
            part(1),
            json!({"aud": "00000002-0000-0000-c000-000000000000", "iss": "9d1a", "nbf": 9_940, "exp": 10_540})
        );
    }
}
