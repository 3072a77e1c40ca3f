//! The key that signs ID tokens, and its public half for those who check them.

use std::io;
use std::sync::OnceLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// Names the key in tokens and in the key set.
const KEY_ID: &str = "sandbox-rs256";

/// Octets of a 2048-bit modulus.
const MODULUS: usize = 256;

/// The signing key. It is made at its first use: that takes a while, and most sandboxes never need
/// it.
#[derive(Default)]
pub(crate) struct IdTokenKey(OnceLock<Option<RsaKeyPair>>);

impl IdTokenKey {
    fn key(&self) -> io::Result<&RsaKeyPair> {
        let key = self.0.get_or_init(|| RsaKeyPair::generate(KeySize::Rsa2048).ok());
        key.as_ref().ok_or_else(|| io::Error::other("no RSA key can be made"))
    }

    pub(crate) fn sign(&self, claims: &Value) -> io::Result<String> {
        let key = self.key()?;
        let header = json!({"typ": "JWT", "alg": "RS256", "kid": KEY_ID});
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(claims));
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .map_err(|_| io::Error::other("the ID token cannot be signed"))?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The key set (RFC 7517) of `…/discovery/v2.0/keys`.
    pub(crate) fn key_set(&self) -> io::Result<Value> {
        // RSAPublicKey of RFC 8017 appendix A.1.1: header, modulus of 257 octets with its leading
        // zero, exponent.
        let der = self.key()?.public_key().as_ref();
        let modulus = der.get(9..9 + MODULUS);
        let exponent = der.get(9 + MODULUS + 2..);
        let (Some(modulus), Some(exponent)) = (modulus, exponent) else {
            return Err(io::Error::other("the public key has an unexpected form"));
        };
        let encode = |octets: &[u8]| URL_SAFE_NO_PAD.encode(octets);
        let key = json!({
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": KEY_ID, "n": encode(modulus), "e": encode(exponent),
        });
        Ok(json!({"keys": [key]}))
    }
}
