//! The interface of a database for the store. It keeps sealed records by place, changes them only
//! if their versions match, and names the key that seals new records. It never sees plain data.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use super::StoreError;
use super::seal::{KeyId, Kind, Place};

/// The future that a call returns.
pub(super) type Done<'a, T> = Pin<Box<dyn Future<Output = Result<T, Fault>> + Send + 'a>>;

/// Why a call did nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The current key is not the one that the caller named, or the database holds no keys (any
    /// more).
    OtherKey,
    /// Any other failure.
    Store(StoreError),
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// A sealed record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The version, another one for each state of the record; random, below 2⁶³.
    pub(super) version: u64,
    /// The key that it is sealed under.
    pub(super) key: KeyId,
    /// The sealed octets, as [`super::seal`] makes them.
    pub(super) sealed: Vec<u8>,
}

/// The keys of the database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KeyTable {
    /// The key that seals new records; `None`: the database is new, or was emptied.
    pub(super) current: Option<KeyId>,
    /// The check record of each key that records may still be sealed under.
    pub(super) checks: Vec<(KeyId, Vec<u8>)>,
}

/// One change of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// The place of the record.
    pub(super) place: Place,
    /// The version that the record has now (`None`: there is no record).
    pub(super) replaces: Option<u64>,
    /// The record afterwards (`None`: there is none).
    pub(super) record: Option<Record>,
}

/// A database. Every call ends within a deadline of its own, is atomic, and durable when it
/// returns.
///
/// `current` is the key that the caller takes for the current one. If it is not, the answer is
/// [`Fault::OtherKey`] and nothing is done. So no record is ever written under a key that is being
/// retired.
pub(super) trait Records: Send + Sync {
    /// The path or address of the database, for messages.
    fn shown(&self) -> &str;

    /// The key table.
    fn keys(&self) -> Done<'_, KeyTable>;

    /// Gives a database without keys its first one; false when it has some already.
    fn found<'a>(&'a self, key: KeyId, check: &'a [u8]) -> Done<'a, bool>;

    /// Makes `to` the current key.
    fn promote<'a>(&'a self, current: KeyId, to: KeyId, check: &'a [u8]) -> Done<'a, ()>;

    /// Forgets every key but the current one. Returns false and forgets none when records are left
    /// under another.
    fn retire(&self, current: KeyId) -> Done<'_, bool>;

    /// All records that are not under the current key.
    fn outdated(&self, current: KeyId) -> Done<'_, Vec<(Place, Record)>>;

    /// Removes the remains of replaced records from the storage.
    fn tidy(&self) -> Done<'_, ()>;

    /// One record.
    fn get(&self, current: KeyId, place: Place) -> Done<'_, Option<Record>>;

    /// All records of a kind.
    fn list(&self, current: KeyId, kind: Kind) -> Done<'_, Vec<(Place, Record)>>;

    /// Makes all of the changes. Returns false and makes none when a record has another version.
    /// `counts`: the revision changes. The first change writes a record. By it a repeated call sees
    /// that all were made and only the answer was lost.
    fn change(&self, current: KeyId, changes: Vec<Change>, counts: bool) -> Done<'_, bool>;

    /// Writes a record over the one with the version `replaces` (`None`: where there is none).
    /// Returns false when another is there. `counts`: the revision changes.
    fn put(&self, current: KeyId, place: Place, replaces: Option<u64>, record: Record, counts: bool) -> Done<'_, bool> {
        self.change(current, vec![Change { place, replaces, record: Some(record) }], counts)
    }

    /// Removes a record; false when there is none.
    fn remove(&self, current: KeyId, place: Place) -> Done<'_, bool>;

    /// See [`super::Store::revision`].
    fn revision(&self) -> Done<'_, u64>;

    /// Takes a lease, or prolongs the holder's own; false when somebody else holds it.
    fn take_lease(&self, place: Place, holder: [u8; 16], life: Duration) -> Done<'_, bool>;

    /// Releases a lease, if the holder still has it.
    fn release_lease(&self, place: Place, holder: [u8; 16]) -> Done<'_, ()>;

    /// Records that expire by themselves and are shared with other machines; `None`: nothing is
    /// shared.
    fn passing(&self) -> Option<&dyn PassingRecords> {
        None
    }
}

/// Records that expire, and may vanish earlier.
pub(super) trait PassingRecords: Send + Sync {
    /// Reads a record.
    fn get(&self, place: Place) -> Done<'_, Option<Record>>;

    /// Keeps a record for `life`.
    fn keep(&self, place: Place, record: Record, life: Duration) -> Done<'_, ()>;

    /// Removes a record, if there is one.
    fn forget(&self, place: Place) -> Done<'_, ()>;
}
