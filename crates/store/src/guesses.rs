//! Passwords that were forwarded to Entra and not accepted, and the sources from which right ones came, kept so that neither
//! a restart nor another replica makes a budget whole again or takes a known source for a stranger. What the passwords were
//! is not kept, and of a source only a keyed hash.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::plain::{self, NotARecord};
use gatepost_core::clock::UnixTime;

/// What is kept of the accounts of one of the [`BUCKETS`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Passwords that count.
    pub guesses: Vec<Guess>,
    /// Sources that are known.
    pub familiar: Vec<Familiar>,
    /// Names whose person Entra has named.
    pub persons: Vec<Person>,
    /// The key of the hashes in `familiar`: random, made with the first of them. It lies beside them because the whole
    /// record is sealed under the store's key.
    pub key: [u8; 16],
}

/// A password, refused or on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guess {
    /// Stands for the account: a hash of its key.
    pub user: [u8; 16],
    /// Tells it from the account's other ones.
    pub id: u64,
    /// When it was forwarded.
    pub at: UnixTime,
    /// It came from a source where a login for this account had succeeded.
    pub familiar: bool,
}

/// A source from which a login for an account succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Familiar {
    /// Stands for the account, as in [`Guess`].
    pub user: [u8; 16],
    /// Keyed hash of account and source.
    pub source: u64,
    /// When it was noted last: some days may pass before a further login is noted.
    pub seen: UnixTime,
}

/// A name, and the object in Entra behind it, under which its guesses are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// Stands for the name, as in [`Guess`].
    pub name: [u8; 16],
    /// Stands for the object.
    pub person: [u8; 16],
}

/// Counts are kept in so many records, by account: their number does not grow with the names that somebody tries.
pub const BUCKETS: u16 = 4_096;

pub(super) fn write(counts: &Counts) -> Result<Zeroizing<Vec<u8>>, NotARecord> {
    plain::write(counts)
}

pub(super) fn read(plain: &[u8]) -> Result<Counts, NotARecord> {
    serde_json::from_slice(plain).map_err(|_| NotARecord)
}
