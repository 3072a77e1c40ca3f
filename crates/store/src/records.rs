//! What a database has to do for the store: keep sealed records by place, change them only as agreed, and say under which
//! key they are to be sealed. It never sees anything plain.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use super::StoreError;
use super::seal::{KeyId, Kind, Place};

/// What a call comes to.
pub(super) type Done<'a, T> = Pin<Box<dyn Future<Output = Result<T, Fault>> + Send + 'a>>;

/// Why a call did nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The database writes under another key than the caller named, or holds no keys at all (any more).
    OtherKey,
    /// Anything else.
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
    /// Another one for each state of the record; random, below 2⁶³.
    pub(super) version: u64,
    /// What it is sealed under.
    pub(super) key: KeyId,
    /// As [`super::seal`] makes it.
    pub(super) sealed: Vec<u8>,
}

/// The keys that the database knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KeyTable {
    /// The one that new records are sealed under; `None`: the database is new, or was emptied.
    pub(super) current: Option<KeyId>,
    /// The check record of each key that may still be met.
    pub(super) checks: Vec<(KeyId, Vec<u8>)>,
}

/// What becomes of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// Which.
    pub(super) place: Place,
    /// The version that it has (`None`: there is none).
    pub(super) replaces: Option<u64>,
    /// What stands there afterwards (`None`: nothing).
    pub(super) record: Option<Record>,
}

/// A database. Every call ends within a deadline of its own, is atomic, and durable when it returns.
///
/// `current` is the key that the caller takes for the current one; when it is not, the answer is [`Fault::OtherKey`] and
/// nothing is done. That way no record is ever written under a key that is on its way out.
pub(super) trait Records: Send + Sync {
    /// What it is, for messages: a path or an address.
    fn shown(&self) -> &str;

    /// The keys.
    fn keys(&self) -> Done<'_, KeyTable>;

    /// Gives a database without keys its first one; false when it has some already.
    fn found<'a>(&'a self, key: KeyId, check: &'a [u8]) -> Done<'a, bool>;

    /// Makes `to` the current key.
    fn promote<'a>(&'a self, current: KeyId, to: KeyId, check: &'a [u8]) -> Done<'a, ()>;

    /// Forgets every key but the current one, unless records are left under one; false then.
    fn retire(&self, current: KeyId) -> Done<'_, bool>;

    /// All records that are not under the current key.
    fn outdated(&self, current: KeyId) -> Done<'_, Vec<(Place, Record)>>;

    /// Sees to it that nothing of what was replaced can be found any longer.
    fn tidy(&self) -> Done<'_, ()>;

    /// One record.
    fn get(&self, current: KeyId, place: Place) -> Done<'_, Option<Record>>;

    /// All records of a kind.
    fn list(&self, current: KeyId, kind: Kind) -> Done<'_, Vec<(Place, Record)>>;

    /// Makes all of the changes; false, and none is made, when a record has another version. `counts`: the revision changes. The
    /// first one writes a record: by that it is seen when all were made already, and the answer was lost.
    fn change(&self, current: KeyId, changes: Vec<Change>, counts: bool) -> Done<'_, bool>;

    /// Writes a record over the one with the version `replaces` (`None`: where there is none); false when another is there.
    /// `counts`: the revision changes.
    fn put(&self, current: KeyId, place: Place, replaces: Option<u64>, record: Record, counts: bool) -> Done<'_, bool> {
        self.change(current, vec![Change { place, replaces, record: Some(record) }], counts)
    }

    /// Removes a record; false when there is none.
    fn remove(&self, current: KeyId, place: Place) -> Done<'_, bool>;

    /// See [`super::Store::revision`].
    fn revision(&self) -> Done<'_, u64>;

    /// Takes a lease, or prolongs one's own; false when somebody else holds it.
    fn take_lease(&self, place: Place, holder: [u8; 16], life: Duration) -> Done<'_, bool>;

    /// Gives a lease back, if it is still one's own.
    fn release_lease(&self, place: Place, holder: [u8; 16]) -> Done<'_, ()>;

    /// Records that vanish by themselves and are shared with other machines; `None`: nothing is shared.
    fn passing(&self) -> Option<&dyn PassingRecords> {
        None
    }
}

/// Records that live for a while, and may vanish earlier.
pub(super) trait PassingRecords: Send + Sync {
    /// One of them.
    fn get(&self, place: Place) -> Done<'_, Option<Record>>;

    /// Keeps one for `life`.
    fn keep(&self, place: Place, record: Record, life: Duration) -> Done<'_, ()>;

    /// Removes one, if there.
    fn forget(&self, place: Place) -> Done<'_, ()>;
}
