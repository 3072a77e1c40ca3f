//! Tokens that nobody but the sandbox can read: what they say is encrypted, so that any number of
//! them costs no memory, and no client can look into one.

use std::io;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::random;

/// Encrypts what a token says, and reads its own tokens.
pub(crate) struct Sealer(LessSafeKey);

impl Sealer {
    pub(crate) fn new() -> io::Result<Self> {
        let octets: [u8; 32] = random::octets()?;
        let key = UnboundKey::new(&AES_256_GCM, &octets).map_err(|_| io::Error::other("no key can be made"))?;
        Ok(Self(LessSafeKey::new(key)))
    }

    /// The nonce with what was encrypted. It is opened only in the same context.
    pub(crate) fn seal(&self, context: &str, says: &[u8]) -> io::Result<Vec<u8>> {
        let nonce: [u8; NONCE_LEN] = random::octets()?;
        let mut sealed = says.to_vec();
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context), &mut sealed)
            .map_err(|_| io::Error::other("the token cannot be made"))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    pub(crate) fn open(&self, context: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut octets = sealed.to_vec();
        let says = self.0.open_in_place(nonce, Aad::from(context), &mut octets).ok()?;
        Some(says.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_key_and_context_open_a_token_that_nobody_changed() {
        let sealer = Sealer::new().unwrap();
        let sealed = sealer.seal("google", b"says").unwrap();
        assert_eq!(sealer.open("google", &sealed).as_deref(), Some(&b"says"[..]));
        assert_ne!(sealer.seal("google", b"says").unwrap(), sealed);
        assert_eq!(sealer.open("plain", &sealed), None);
        assert_eq!(Sealer::new().unwrap().open("google", &sealed), None);
        let mut changed = sealed.clone();
        changed[NONCE_LEN] ^= 1;
        assert_eq!(sealer.open("google", &changed), None);
        assert_eq!(sealer.open("google", b"short"), None);
    }
}
