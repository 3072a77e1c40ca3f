//! Keyed hashes of passwords. They guard cached tokens, and identify a password that was refused
//! before.

use std::fmt;
use std::hash::{Hash, Hasher};

use aws_lc_rs::{constant_time, hmac, rand};

use gatepost_core::secret::{AccessToken, Password};
use gatepost_core::tuple_key::TupleKey;

/// HMAC-SHA-256 of a tuple and a password under a [`PasswordDigestKey`]. Comparing any two takes
/// the same time.
#[derive(Clone, Copy)]
pub struct PasswordDigest([u8; 32]);

impl PartialEq for PasswordDigest {
    fn eq(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl Eq for PasswordDigest {}

impl Hash for PasswordDigest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for PasswordDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordDigest(…)")
    }
}

/// The key of this process. It is random and never leaves memory. So no digest outlives the
/// process, or can be tried against a dictionary without the key.
pub struct PasswordDigestKey(hmac::Key);

impl PasswordDigestKey {
    /// A fresh key.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn generate() -> Result<Self, aws_lc_rs::error::Unspecified> {
        hmac::Key::generate(hmac::HMAC_SHA256, &rand::SystemRandom::new()).map(Self)
    }

    /// Returns the digest of `password` for `tuple`.
    pub fn prove(&self, tuple: &TupleKey, password: &Password) -> PasswordDigest {
        self.prove_octets(tuple, password.expose().as_bytes())
    }

    /// Returns the digest of `token` for `tuple`.
    pub fn prove_token(&self, tuple: &TupleKey, token: &AccessToken) -> PasswordDigest {
        self.prove_octets(tuple, token.expose().as_bytes())
    }

    fn prove_octets(&self, tuple: &TupleKey, secret: &[u8]) -> PasswordDigest {
        let mut context = hmac::Context::with_key(&self.0);
        // The tuple follows its length as one part, so that no secret can be mistaken for a part of
        // it.
        context.update(&(tuple.as_bytes().len() as u64).to_be_bytes());
        context.update(tuple.as_bytes());
        context.update(secret);
        // Adds a further block of SHA-256, because the context is moved. So the block with the
        // secret does not stay behind in it.
        context.update(&[0; 64]);
        let mut proof = [0; 32];
        // HMAC-SHA-256 gives 32 octets.
        proof.copy_from_slice(context.sign().as_ref());
        PasswordDigest(proof)
    }
}

impl fmt::Debug for PasswordDigestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordDigestKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_fits_one_tuple_one_password_and_one_key() {
        let (key, other_key) = (PasswordDigestKey::generate().unwrap(), PasswordDigestKey::generate().unwrap());
        let password = |text: &str| Password::new(text.into());
        let alice = TupleKey::encode(["alice"]);
        let proof = key.prove(&alice, &password("pw"));
        assert_eq!(proof, key.prove(&alice, &password("pw")));
        assert_ne!(proof, key.prove(&alice, &password("pw2")));
        assert_ne!(proof, key.prove(&TupleKey::encode(["bob"]), &password("pw")));
        assert_ne!(proof, other_key.prove(&alice, &password("pw")));
        assert_eq!(format!("{proof:?}{key:?}"), "PasswordDigest(…)PasswordDigestKey(…)");
    }
}
