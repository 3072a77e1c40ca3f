//! Passwords that Entra was sent and did not accept, and the sources of accepted ones. They are
//! kept so that neither a restart nor another replica resets a budget, or treats a known source as
//! unknown. The passwords themselves are not kept, and of a source only a keyed hash.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::plain::{self, NotARecord};
use gatepost_core::clock::UnixTime;

/// The counts of the accounts in one of the [`BUCKETS`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// The passwords that count against a budget.
    pub guesses: Vec<Guess>,
    /// The known sources.
    pub familiar: Vec<Familiar>,
    /// Names for which Entra has told the person.
    pub persons: Vec<Person>,
    /// The key of the hashes in `familiar`: random, created with the first of them. It is stored
    /// with them because the whole record is sealed under the store's key.
    pub key: [u8; 16],
}

/// A password that Entra refused, or that is on its way to Entra.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guess {
    /// The account, as a hash of its key.
    pub user: [u8; 16],
    /// Distinguishes this guess from the account's others.
    pub id: u64,
    /// When it was forwarded.
    pub at: UnixTime,
    /// Whether it came from a source where a login for this account had succeeded.
    pub familiar: bool,
}

/// A source from which a login for an account succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Familiar {
    /// The account, as in [`Guess`].
    pub user: [u8; 16],
    /// Keyed hash of account and source.
    pub source: u64,
    /// When it was last recorded. Some days may pass before a further login is recorded.
    pub seen: UnixTime,
}

/// A name and the object in Entra that it belongs to. The name's guesses are counted under that
/// object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// The name, as a hash like that in [`Guess`].
    pub name: [u8; 16],
    /// The object, as a hash.
    pub person: [u8; 16],
}

/// The number of records that hold counts, by account. It is fixed, so that it does not grow with
/// the names that somebody tries.
pub const BUCKETS: u16 = 4_096;

pub(super) fn write(counts: &Counts) -> Result<Zeroizing<Vec<u8>>, NotARecord> {
    plain::write(counts)
}

pub(super) fn read(plain: &[u8]) -> Result<Counts, NotARecord> {
    serde_json::from_slice(plain).map_err(|_| NotARecord)
}
