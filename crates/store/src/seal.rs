//! Seals records with AES-256-GCM (NIST SP 800-38D) and a random nonce, bound to the place and the
//! version of the record. A record that was altered, moved to another place, or put under another
//! version does not open.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use aws_lc_rs::{hmac, rand};
use zeroize::Zeroizing;

use gatepost_core::tuple_key::TupleKey;

/// Octets of a state key and of the keys derived from it.
pub(super) const KEY_OCTETS: usize = 32;

/// The format of the sealed octets; the seal is bound to it.
const SEAL_FORMAT: u8 = 1;

const TAG_OCTETS: usize = 16;

/// A public id of a state key: eight octets derived from it, which reveal nothing about it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct KeyId(pub(super) [u8; 8]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// The kind of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// Proves a state key, and holds the [`IndexKey`].
    Check = 0,
    /// A [`super::SignIn`].
    SignIn = 1,
    /// A [`super::DevicePassword`].
    DevicePassword = 2,
    /// An access token for other replicas.
    AccessToken = 3,
    /// Not a record: the right to exchange a sign-in or to ask for a token.
    Lease = 4,
    /// [`super::Counts`] of some accounts.
    Guesses = 5,
    /// The list of device passwords: see [`super::register`].
    Register = 6,
    /// Not a record of the store: the key of a queue (see [`super::queue`]).
    QueueKey = 7,
    /// What a queue keeps of a message.
    QueuedMessage = 8,
    /// What became of a message of a queue.
    QueueNote = 9,
    /// [`super::Device`]s.
    Devices = 10,
    /// The mailbox from which a message of a queue left.
    QueueMailbox = 11,
    /// Recipients of a message of a queue that Microsoft refused.
    QueueRefused = 12,
}

/// The kinds that a database keeps until they are removed. They are sealed again when the state key
/// is rotated.
pub(super) const KEPT: [Kind; 5] = [Kind::SignIn, Kind::DevicePassword, Kind::Guesses, Kind::Register, Kind::Devices];

/// The place of a record: its kind, and the keyed hash of its full key tuple. Without the key the
/// hash reveals nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) kind: Kind,
    pub(super) name: [u8; 32],
}

/// A key that seals records.
pub(super) struct SealingKey {
    id: KeyId,
    key: LessSafeKey,
}

impl SealingKey {
    /// Derives it from a state key (HKDF-SHA-256, RFC 5869).
    pub(super) fn derive(state_key: &[u8; KEY_OCTETS]) -> Result<Self, Unspecified> {
        let root = Salt::new(HKDF_SHA256, b"gatepost state").extract(state_key);
        let (mut id, mut sealing) = ([0; 8], Zeroizing::new([0; KEY_OCTETS]));
        expand(&root, b"key id", &mut id)?;
        expand(&root, b"seal", &mut sealing[..])?;
        Ok(Self { id: KeyId(id), key: LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &sealing[..])?) })
    }

    pub(super) fn id(&self) -> KeyId {
        self.id
    }

    /// Returns nonce, sealed text and tag. The plain octets are overwritten in place, so that no
    /// copy stays behind.
    pub(super) fn seal(
        &self,
        place: &Place,
        version: u64,
        mut plain: Zeroizing<Vec<u8>>,
    ) -> Result<Vec<u8>, Unspecified> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce)?;
        let bound = Aad::from(self.bound_to(place, version));
        let tag = self.key.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), bound, &mut plain)?;
        let mut sealed = Vec::with_capacity(NONCE_LEN + plain.len() + TAG_OCTETS);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&plain);
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    /// Returns the plain octets, if they were sealed under this key for this place and version, and
    /// nothing was altered.
    pub(super) fn open(&self, place: &Place, version: u64, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unspecified> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN).ok_or(Unspecified)?;
        let mut plain = Zeroizing::new(sealed.to_vec());
        let bound = Aad::from(self.bound_to(place, version));
        let length = self.key.open_in_place(Nonce::try_assume_unique_for_key(nonce)?, bound, &mut plain)?.len();
        plain.truncate(length);
        Ok(plain)
    }

    /// Every part has a fixed length, so that no two different tuples look alike.
    fn bound_to(&self, place: &Place, version: u64) -> [u8; 50] {
        let mut bound = [0; 50];
        let (head, rest) = bound.split_at_mut(2);
        head.copy_from_slice(&[SEAL_FORMAT, place.kind as u8]);
        let (id, rest) = rest.split_at_mut(8);
        id.copy_from_slice(&self.id.0);
        let (name, counted) = rest.split_at_mut(32);
        name.copy_from_slice(&place.name);
        counted.copy_from_slice(&version.to_be_bytes());
        bound
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealingKey({})", self.id)
    }
}

/// The key that hashes the places of records. It is created with the store and kept in it, sealed.
/// It stays when the state key changes, so that every record keeps its place.
pub(super) struct IndexKey {
    octets: Zeroizing<[u8; KEY_OCTETS]>,
    key: hmac::Key,
}

impl IndexKey {
    pub(super) fn generate() -> Result<Self, Unspecified> {
        let mut octets = Zeroizing::new([0; KEY_OCTETS]);
        rand::fill(&mut octets[..])?;
        Ok(Self::new(octets))
    }

    fn new(octets: Zeroizing<[u8; KEY_OCTETS]>) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &octets[..]);
        Self { octets, key }
    }

    /// The place of the record with this key tuple, whose last part may be a password.
    pub(super) fn place(&self, kind: Kind, tuple: &TupleKey, password: &[u8]) -> Place {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&[kind as u8]);
        // The tuple follows its length, so that nothing else can be mistaken for a part of it.
        context.update(&(tuple.as_bytes().len() as u64).to_be_bytes());
        context.update(tuple.as_bytes());
        context.update(password);
        let mut name = [0; 32];
        // HMAC-SHA-256 gives 32 octets.
        name.copy_from_slice(context.sign().as_ref());
        Place { kind, name }
    }

    /// Makes the check record: this key, sealed under a state key.
    pub(super) fn seal(&self, under: &SealingKey) -> Result<Vec<u8>, Unspecified> {
        under.seal(&CHECK, 0, Zeroizing::new(self.octets.to_vec()))
    }

    /// Opens a check record. Success proves the state key.
    pub(super) fn open(under: &SealingKey, sealed: &[u8]) -> Result<Self, Unspecified> {
        let plain = under.open(&CHECK, 0, sealed)?;
        let mut octets = Zeroizing::new([0; KEY_OCTETS]);
        if plain.len() != KEY_OCTETS {
            return Err(Unspecified);
        }
        octets.copy_from_slice(&plain);
        Ok(Self::new(octets))
    }
}

impl fmt::Debug for IndexKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IndexKey(…)")
    }
}

const CHECK: Place = Place { kind: Kind::Check, name: [0; 32] };

pub(super) fn expand(root: &Prk, label: &[u8], out: &mut [u8]) -> Result<(), Unspecified> {
    struct Length(usize);
    impl KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    root.expand(&[label], Length(out.len()))?.fill(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str) -> Place {
        let key = IndexKey::new(Zeroizing::new([7; KEY_OCTETS]));
        key.place(Kind::SignIn, &TupleKey::encode([name]), b"")
    }

    fn plain(text: &str) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(text.as_bytes().to_vec())
    }

    #[test]
    fn a_record_opens_where_it_was_sealed_and_nowhere_else() {
        let (key, other_key) = (SealingKey::derive(&[1; 32]).unwrap(), SealingKey::derive(&[2; 32]).unwrap());
        let (alice, bob) = (place("alice"), place("bob"));
        let sealed = key.seal(&alice, 5, plain("0.AXoA-refresh")).unwrap();
        assert_eq!(key.open(&alice, 5, &sealed).unwrap().as_slice(), b"0.AXoA-refresh");
        assert!(!sealed.windows(4).any(|part| part == b"AXoA"));
        assert!(key.open(&bob, 5, &sealed).is_err(), "another account");
        assert!(key.open(&alice, 4, &sealed).is_err(), "another version");
        assert!(other_key.open(&alice, 5, &sealed).is_err(), "another key");
        let other_kind = Place { kind: Kind::DevicePassword, ..alice };
        assert!(key.open(&other_kind, 5, &sealed).is_err(), "another kind");
        assert_ne!(sealed, key.seal(&alice, 5, plain("0.AXoA-refresh")).unwrap(), "the nonce is random");
    }

    /// Alters every single bit, tries every prefix, and swaps many records: none may open.
    #[test]
    fn nothing_that_was_altered_or_moved_opens() {
        let key = SealingKey::derive(&[1; 32]).unwrap();
        let places: Vec<Place> = (0..200).map(|n| place(&format!("user{n}@contoso.example"))).collect();
        let records: Vec<Vec<u8>> =
            places.iter().map(|at| key.seal(at, 1, plain(&"t".repeat(1_500))).unwrap()).collect();
        let mut tried = 0;
        for bit in 0..records[0].len() * 8 {
            let mut altered = records[0].clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(key.open(&places[0], 1, &altered).is_err(), "bit {bit}");
            tried += 1;
        }
        for length in 0..records[0].len() {
            assert!(key.open(&places[0], 1, &records[0][..length]).is_err(), "{length} octets");
            tried += 1;
        }
        for (n, at) in places.iter().enumerate() {
            for (m, record) in records.iter().enumerate() {
                assert_eq!(key.open(at, 1, record).is_ok(), n == m);
                tried += 1;
            }
        }
        assert!(tried > 50_000, "{tried}");
    }

    #[test]
    fn a_check_record_proves_its_key() {
        let (key, other_key) = (SealingKey::derive(&[1; 32]).unwrap(), SealingKey::derive(&[2; 32]).unwrap());
        let index = IndexKey::generate().unwrap();
        let sealed = index.seal(&key).unwrap();
        let tuple = TupleKey::encode(["alice"]);
        let name = |index: &IndexKey| index.place(Kind::SignIn, &tuple, b"").name;
        assert_eq!(name(&IndexKey::open(&key, &sealed).unwrap()), name(&index));
        assert!(IndexKey::open(&other_key, &sealed).is_err());
        assert_ne!(key.id(), other_key.id());
        assert_eq!(format!("{index:?}"), "IndexKey(…)");
    }
}
