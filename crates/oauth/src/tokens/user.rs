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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_user_belongs_to_one_replica_and_one_record() {
        let user = |octets: [u8; 4]| {
            let [high, low, c, d] = octets;
            User([high, low, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, c, d])
        };
        assert_eq!([[0, 7, 0, 0], [0, 8, 0, 9]].map(|octets| user(octets).bucket()), [7, 8]);
        for octets in [[255, 255, 0, 0], [0x80, 1, 3, 7], [1, 2, 255, 255]] {
            let user = user(octets);
            assert!(user.bucket() < BUCKETS, "{user:?}");
            for replicas in 1..=5 {
                assert_eq!((0..replicas).filter(|&index| user.belongs_to(index, replicas)).count(), 1, "{user:?}");
            }
        }
        assert!(user([0, 0, 0, 7]).belongs_to(1, 3));
        assert!(user([0, 0, 0, 0]).belongs_to(0, 0), "no count is a count of one");
        let all: std::collections::HashSet<u16> =
            (0..2000).map(|n: u32| User::of(&TupleKey::encode([&*n.to_string()])).bucket()).collect();
        assert!(all.len() > 1, "records share the load");
    }
}
