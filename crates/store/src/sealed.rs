//! The store over any database: seals and opens records, and follows rotations of the state key.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;
use parking_lot::{Mutex, RwLock};
use zeroize::Zeroizing;

use super::error::OpenError;
use super::files::blocking;
use super::key::{self, KeyProblem, Keys};
use super::plain::{self, DevicePasswordList, NotARecord};
use super::records::{Fault, Record, Records};
use super::seal::{IndexKey, KeyId, Kind, Place, SealingKey};
use super::{Counts, DevicePasswordId, LastUse, Lease, SignIn, SignInKey, StoreError, Version, guesses};
use gatepost_config::StateKey;
use gatepost_core::tuple_key::TupleKey;

/// How many times a call is repeated when others change the same record or the key.
pub(super) const TRIES: usize = 8;

/// The id that stands for the current key of a database without keys.
const NO_KEY: KeyId = KeyId([0; 8]);

/// Records in a database, sealed.
pub(super) struct Sealed {
    records: Box<dyn Records>,
    source: Arc<StateKey>,
    ring: RwLock<Option<Arc<Ring>>>,
    /// Serializes the search for the current keys.
    looking: tokio::sync::Mutex<()>,
    emptied: AtomicU64,
    /// The newest list of device passwords that this process has seen.
    pub(super) newest_register: Mutex<DevicePasswordList>,
}

/// The keys in use.
pub(super) struct Ring {
    pub(super) keys: Keys,
    pub(super) current: KeyId,
    pub(super) index: IndexKey,
}

impl Ring {
    /// Matches the keys of the source with those of the database; `None` when no key opens it.
    fn fit(keys: Keys, current: KeyId, checks: &[(KeyId, Vec<u8>)]) -> Option<Self> {
        let (_, check) = checks.iter().find(|(id, _)| *id == current)?;
        let index = IndexKey::open(keys.get(current)?, check).ok()?;
        Some(Self { keys, current, index })
    }

    /// The current key. It is never absent: see [`Ring::fit`].
    pub(super) fn writing(&self) -> Result<&SealingKey, StoreError> {
        self.keys.get(self.current).ok_or_else(own_fault)
    }

    pub(super) fn seal(&self, place: &Place, plain: Zeroizing<Vec<u8>>) -> Result<Record, StoreError> {
        let mut version = [0; 8];
        rand::fill(&mut version).map_err(|_| own_fault())?;
        // Databases use signed integers.
        self.reseal(place, u64::from_be_bytes(version) >> 1, plain)
    }

    /// Seals the same state of the record under the current key.
    pub(super) fn reseal(&self, place: &Place, version: u64, plain: Zeroizing<Vec<u8>>) -> Result<Record, StoreError> {
        let sealed = self.writing()?.seal(place, version, plain).map_err(|_| own_fault())?;
        Ok(Record { version, key: self.current, sealed })
    }

    pub(super) fn open(&self, place: &Place, record: &Record) -> Result<Zeroizing<Vec<u8>>, Unspecified> {
        self.keys.get(record.key).ok_or(Unspecified)?.open(place, record.version, &record.sealed)
    }
}

pub(super) fn own_fault() -> StoreError {
    StoreError::Unavailable("no random numbers are to be had from the system".into())
}

/// Runs an expression with the current keys, and again when they turn out to be outdated. It is a
/// macro, because the expression borrows and awaits.
macro_rules! with_keys {
    ($this:expr, $ring:ident => $work:expr) => {{
        let mut tries = 0;
        loop {
            let $ring = $this.ring().await?;
            match $work.await {
                Err(Fault::OtherKey) if tries < TRIES => {
                    tries += 1;
                    $this.look_after_keys(Some(&$ring)).await?;
                }
                Err(Fault::OtherKey) => break Err($this.contended()),
                Err(Fault::Store(error)) => break Err(error),
                Ok(done) => break Ok(done),
            }
        }
    }};
}
pub(super) use with_keys;

impl Sealed {
    /// Creates the store without reading anything: see [`Sealed::start`].
    pub(super) fn new(records: Box<dyn Records>, source: StateKey) -> Self {
        Self {
            records,
            source: Arc::new(source),
            ring: RwLock::new(None),
            looking: tokio::sync::Mutex::new(()),
            emptied: AtomicU64::new(0),
            newest_register: Mutex::default(),
        }
    }

    pub(super) fn source(&self) -> &StateKey {
        &self.source
    }

    /// How often the store was found emptied by somebody else.
    pub(super) fn times_emptied(&self) -> u64 {
        self.emptied.load(Ordering::Acquire)
    }

    pub(super) fn records(&self) -> &dyn Records {
        &*self.records
    }

    /// Checks the state key, or gives a new store its first one. A key file is created only for a
    /// new store.
    pub(super) async fn start(&self) -> Result<(), OpenError> {
        let mut keys = self.read_keys().await?;
        if let (None, StateKey::File(path)) = (&keys, &*self.source) {
            let table = self.records.keys().await.map_err(OpenError::of)?;
            if table.current.is_none() {
                blocking({
                    let path = path.clone();
                    move || key::make_file(&path)
                })
                .await?;
                keys = self.read_keys().await?;
            }
        }
        self.adopt(keys.ok_or_else(|| self.lost())?, None).await
    }

    fn lost(&self) -> KeyProblem {
        KeyProblem::Lost { key: self.source.shown(), store: self.records.shown().to_owned() }
    }

    /// Finds out which keys are in use now. `old` are keys that turned out to be outdated.
    pub(super) async fn look_after_keys(&self, old: Option<&Arc<Ring>>) -> Result<(), StoreError> {
        let _alone = self.looking.lock().await;
        let present = self.present();
        if let (Some(present), Some(old)) = (&present, old)
            && !Arc::ptr_eq(present, old)
        {
            // Another task has found the new keys already.
            return Ok(());
        }
        let unusable = |error: OpenError| match error {
            OpenError::Store(error) => error,
            other => StoreError::Sealed(other.to_string()),
        };
        let keys = self.read_keys().await.map_err(|error| unusable(error.into()))?;
        let keys = keys.ok_or_else(|| unusable(self.lost().into()))?;
        self.adopt(keys, present.as_deref()).await.map_err(unusable)
    }

    async fn adopt(&self, mut keys: Keys, before: Option<&Ring>) -> Result<(), OpenError> {
        let mut table = self.records.keys().await.map_err(OpenError::of)?;
        if table.current.is_none() {
            let newest = keys.newest();
            let check = match before {
                // With the old index key, records that are put back get the same places.
                Some(ring) => ring.index.seal(newest),
                None => IndexKey::generate().and_then(|index| index.seal(newest)),
            };
            let check = check.map_err(|_| KeyProblem::Random)?;
            let first = self.records.found(newest.id(), &check).await.map_err(OpenError::of)?;
            if first && before.is_some() {
                self.emptied.fetch_add(1, Ordering::Release);
                tracing::error!(
                    store = self.records.shown(),
                    "the store was emptied while Gatepost ran. What is known here is put back. Gatepost admin: find \
                     out who emptied it, and switch on persistence"
                );
            }
            table = self.records.keys().await.map_err(OpenError::of)?;
        }
        for _ in 0..TRIES {
            let seen = keys.ids();
            if let Some(ring) = Ring::fit(keys, table.current.unwrap_or(NO_KEY), &table.checks) {
                *self.ring.write() = Some(Arc::new(ring));
                return Ok(());
            }
            // A rotation may have happened between reading the source and reading the database.
            keys = self.read_keys().await?.ok_or_else(|| self.lost())?;
            if keys.ids() == seen {
                break;
            }
            table = self.records.keys().await.map_err(OpenError::of)?;
        }
        Err(OpenError::OtherKey { store: self.records.shown().to_owned(), key: self.source.shown() })
    }

    pub(super) async fn read_keys(&self) -> Result<Option<Keys>, KeyProblem> {
        let source = Arc::clone(&self.source);
        blocking(move || Keys::read(&source)).await
    }

    fn present(&self) -> Option<Arc<Ring>> {
        self.ring.read().clone()
    }

    /// The keys in use. If the store could not be reached at the start, it is tried again.
    pub(super) async fn ring(&self) -> Result<Arc<Ring>, StoreError> {
        if let Some(ring) = self.present() {
            return Ok(ring);
        }
        self.look_after_keys(None).await?;
        self.present().ok_or_else(|| self.contended())
    }

    pub(super) fn contended(&self) -> StoreError {
        StoreError::Unavailable(format!("`{}` is changed by others again and again", self.records.shown()))
    }

    pub(super) fn damaged(&self, what: &str) -> StoreError {
        StoreError::Sealed(format!(
            "{what} in `{}` was altered or is under another key. Restore the store from a backup, or create the \
             record again",
            self.records.shown()
        ))
    }

    pub(super) fn place(ring: &Ring, kind: Kind, key: &TupleKey) -> Place {
        ring.index.place(kind, key, b"")
    }

    pub(super) async fn read_sign_in(&self, key: &SignInKey) -> Result<Option<(SignIn, Version)>, StoreError> {
        let tuple = key.tuple();
        let (ring, record) = with_keys!(self, ring => async {
            let record = self.records.get(ring.current, Self::place(&ring, Kind::SignIn, &tuple)).await?;
            Ok((Arc::clone(&ring), record))
        })?;
        let Some(record) = record else { return Ok(None) };
        let damaged = || self.damaged(&format!("the sign-in of {}", key.login));
        let plain = ring.open(&Self::place(&ring, Kind::SignIn, &tuple), &record).map_err(|_| damaged())?;
        let (_, sign_in) = plain::to_sign_in(&plain).map_err(|NotARecord| damaged())?;
        Ok(Some((sign_in, Version(record.version))))
    }

    pub(super) async fn write(
        &self,
        kind: Kind,
        key: &TupleKey,
        replaces: Option<Version>,
        counts: bool,
        plain: impl Fn() -> Result<Zeroizing<Vec<u8>>, NotARecord> + Send + Sync,
    ) -> Result<Version, StoreError> {
        for _ in 0..TRIES {
            let written = with_keys!(self, ring => async {
                let place = Self::place(&ring, kind, key);
                let replaced = match replaces {
                    Some(version) => Some(version.0),
                    None => self.records.get(ring.current, place).await?.map(|record| record.version),
                };
                let record = ring.seal(&place, plain().map_err(|NotARecord| own_fault())?)?;
                let version = record.version;
                let written = self.records.put(ring.current, place, replaced, record, counts).await?;
                Ok(written.then_some(Version(version)))
            })?;
            match (written, replaces) {
                (Some(version), _) => return Ok(version),
                (None, Some(_)) => return Err(StoreError::Changed),
                // Whatever is there is replaced, also a record that came meanwhile.
                (None, None) => {}
            }
        }
        Err(self.contended())
    }

    pub(super) async fn remove(&self, kind: Kind, key: &TupleKey) -> Result<bool, StoreError> {
        with_keys!(self, ring => self.records.remove(ring.current, Self::place(&ring, kind, key)))
    }

    /// All records of a kind, opened. A record that cannot be read is left out and reported.
    pub(super) async fn list<T>(
        &self,
        kind: Kind,
        read: impl Fn(&[u8]) -> Result<T, NotARecord> + Send,
    ) -> Result<Vec<T>, StoreError> {
        let (ring, records) = with_keys!(self, ring => async {
            Ok((Arc::clone(&ring), self.records.list(ring.current, kind).await?))
        })?;
        let opened = records.iter().filter_map(|(place, record)| {
            let read = ring.open(place, record).map_err(|_| NotARecord).and_then(|plain| read(&plain));
            if read.is_err() {
                tracing::error!(store = self.records.shown(), "{}", self.damaged("a record"));
            }
            read.ok()
        });
        Ok(opened.collect())
    }

    pub(super) async fn note(&self, id: &DevicePasswordId, last_use: LastUse) -> Result<(), StoreError> {
        let key = id.tuple();
        for _ in 0..TRIES {
            let (ring, record) = with_keys!(self, ring => async {
                let place = Self::place(&ring, Kind::DevicePassword, &key);
                Ok((Arc::clone(&ring), self.records.get(ring.current, place).await?))
            })?;
            // It may have been revoked.
            let Some(record) = record else { return Ok(()) };
            let damaged = || self.damaged(&format!("the device password {id}"));
            let plain = ring.open(&Self::place(&ring, Kind::DevicePassword, &key), &record).map_err(|_| damaged())?;
            let (mut password, registered) = plain::to_device_password(&plain).map_err(|NotARecord| damaged())?;
            password.last_use = Some(last_use);
            let (read, plain) = (Some(Version(record.version)), || plain::of_device_password(&password, registered));
            match self.write(Kind::DevicePassword, &key, read, false, plain).await {
                Err(StoreError::Changed) => {}
                other => return other.map(|_| ()),
            }
        }
        Err(self.contended())
    }

    pub(super) async fn read_counts(&self, bucket: u16) -> Result<(Counts, Option<Version>), StoreError> {
        self.read_bucket(Kind::Guesses, bucket, "a count of refused passwords", guesses::read).await
    }

    pub(super) async fn write_counts(
        &self,
        bucket: u16,
        counts: &Counts,
        replaces: Option<Version>,
    ) -> Result<Version, StoreError> {
        self.write_bucket(Kind::Guesses, bucket, replaces, || guesses::write(counts)).await
    }

    /// One of a fixed number of records. One that cannot be opened is reported, and empty.
    pub(super) async fn read_bucket<T: Default>(
        &self,
        kind: Kind,
        bucket: u16,
        what: &str,
        read: impl FnOnce(&[u8]) -> Result<T, NotARecord> + Send,
    ) -> Result<(T, Option<Version>), StoreError> {
        let tuple = bucket_tuple(bucket);
        let (ring, record) = with_keys!(self, ring => async {
            let record = self.records.get(ring.current, Self::place(&ring, kind, &tuple)).await?;
            Ok((Arc::clone(&ring), record))
        })?;
        let Some(record) = record else { return Ok((T::default(), None)) };
        let opened = ring.open(&Self::place(&ring, kind, &tuple), &record).map_err(|_| NotARecord);
        let read = opened.and_then(|plain| read(&plain)).unwrap_or_else(|NotARecord| {
            tracing::error!("{}. It begins again", self.damaged(what));
            T::default()
        });
        Ok((read, Some(Version(record.version))))
    }

    pub(super) async fn write_bucket(
        &self,
        kind: Kind,
        bucket: u16,
        replaces: Option<Version>,
        plain: impl Fn() -> Result<Zeroizing<Vec<u8>>, NotARecord> + Send + Sync,
    ) -> Result<Version, StoreError> {
        let tuple = bucket_tuple(bucket);
        let written = with_keys!(self, ring => async {
            let place = Self::place(&ring, kind, &tuple);
            let record = ring.seal(&place, plain().map_err(|NotARecord| own_fault())?)?;
            let version = record.version;
            let written = self.records.put(ring.current, place, replaces.map(|read| read.0), record, false).await?;
            Ok(written.then_some(Version(version)))
        })?;
        written.ok_or(StoreError::Changed)
    }

    pub(super) async fn lease(&self, name: [u8; 32], life: Duration) -> Result<Option<Lease>, StoreError> {
        let mut holder = [0; 16];
        rand::fill(&mut holder).map_err(|_| own_fault())?;
        let lease = Lease { name, holder };
        let taken = self.records.take_lease(lease.place(), holder, life).await.map_err(|fault| self.told(fault))?;
        Ok(taken.then_some(lease))
    }

    pub(super) fn told(&self, fault: Fault) -> StoreError {
        match fault {
            Fault::Store(error) => error,
            Fault::OtherKey => self.contended(),
        }
    }
}

fn bucket_tuple(bucket: u16) -> TupleKey {
    TupleKey::encode([&bucket.to_string()])
}

impl Lease {
    pub(super) fn place(&self) -> Place {
        Place { kind: Kind::Lease, name: self.name }
    }
}

impl SignInKey {
    pub(super) fn tuple(&self) -> TupleKey {
        TupleKey::encode([self.login.as_str(), &self.authority, &self.tenant, &self.client_id])
    }
}

impl DevicePasswordId {
    pub(super) fn tuple(&self) -> TupleKey {
        TupleKey::encode([&self.0])
    }
}
