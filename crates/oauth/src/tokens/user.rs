//! The user for whom wrong passwords are counted.

use aws_lc_rs::digest;

use gatepost_config::{Account, Application};
use gatepost_core::account::MailAddress;
use gatepost_core::tuple_key::TupleKey;
use gatepost_store::BUCKETS;

/// A name that signs in, or the person behind it, as the store knows them: a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct User(pub [u8; 16]);

impl User {
    /// The hash of any key.
    pub fn of(key: &TupleKey) -> Self {
        let hash = digest::digest(&digest::SHA256, key.as_bytes());
        // SHA-256 gives 32 octets.
        Self(hash.as_ref().first_chunk().copied().unwrap_or_default())
    }

    /// The user of a name that Entra or another provider knows.
    pub fn named(account: &Account, login: &MailAddress) -> Self {
        let issuer = &account.application.issuer;
        Self::of(&TupleKey::encode([issuer.authority().as_str(), issuer.tenant_of(login), login.as_str()]))
    }

    /// The user of an object in Entra: one for all names of a person.
    pub fn person(application: &Application, object_id: &str) -> Self {
        Self::of(&TupleKey::encode([
            "person",
            application.issuer.authority().as_str(),
            &object_id.to_ascii_lowercase(),
        ]))
    }

    /// The number of the store's record that counts for the user.
    pub fn bucket(self) -> u16 {
        let [high, low, ..] = self.0;
        u16::from_be_bytes([high, low]) % BUCKETS
    }

    /// Whether the user belongs to the replica with this index, of `replicas`. Every replica
    /// computes the same.
    pub fn belongs_to(self, index: u32, replicas: u32) -> bool {
        let [.., a, b, c, d] = self.0;
        u32::from_be_bytes([a, b, c, d]) % replicas.max(1) == index
    }
}
