//! A store that loses no sign-in while the process runs, even if the database fails.
//!
//! A refresh token that Entra has exchanged is worth more than the one on the disk. If the database
//! does not take it, it stays in memory and is offered again until it is kept. Until then the one
//! on the disk stays as it is. Data that was read once can be read again while the database is
//! unreachable, and is put back when somebody has emptied the database.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::sleep;

use super::{
    Counts, Device, DevicePassword, DevicePasswordId, LastUse, Lease, SharedTokens, SignIn, SignInKey, Store,
    StoreError, Stored, Version,
};

/// A sign-in that was not kept is offered again after this long; doubles up to [`LONGEST_RETRY`].
const RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// Wraps another store.
pub struct RetryingStore(Arc<Shared>);

struct Shared {
    inner: Arc<dyn Store>,
    known: Mutex<Known>,
    /// Serializes writes of sign-ins, so that a second offer and a newer token do not overtake each
    /// other.
    writing: tokio::sync::Mutex<()>,
    /// Serializes putting back what is gone.
    restoring: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    sign_ins: HashMap<SignInKey, Held>,
    device_passwords: Option<Vec<DevicePassword>>,
    /// The value of [`Store::emptied`] up to which everything was put back.
    emptied: u64,
    /// Versions that callers may have read before that, and the new versions of their records.
    put_back: HashMap<Version, Version>,
    /// Makes versions for pending sign-ins. They count down from the top, where no database begins.
    pending: u64,
    retrying: bool,
}

struct Held {
    sign_in: SignIn,
    state: HeldState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum HeldState {
    /// The database has it.
    Kept(Version),
    /// The database does not have it. It holds the record with the version `base` (`None`: whatever
    /// it holds is to be replaced).
    Pending { version: Version, base: Option<Version> },
}

impl RetryingStore {
    /// Keeps in `inner`, and in memory what `inner` does not take.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self(Arc::new(Shared {
            inner,
            known: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
            restoring: tokio::sync::Mutex::default(),
        }))
    }
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, Known> {
        // Every change is one assignment, so the content is consistent even after a panic.
        self.known.lock()
    }

    fn remember(&self, key: &SignInKey, sign_in: &SignIn, state: HeldState) {
        self.known().sign_ins.insert(key.clone(), Held { sign_in: sign_in.copy(), state });
    }

    async fn sign_in(&self, key: &SignInKey) -> Result<Option<(SignIn, Version)>, StoreError> {
        if let Some(Held { sign_in, state: HeldState::Pending { version, .. } }) = self.known().sign_ins.get(key) {
            return Ok(Some((sign_in.copy(), *version)));
        }
        let mut read = self.inner.sign_in(key).await;
        if self.restore().await {
            read = self.inner.sign_in(key).await;
        }
        match read {
            Ok(Some((sign_in, version))) => {
                self.remember(key, &sign_in, HeldState::Kept(version));
                Ok(Some((sign_in, version)))
            }
            Ok(None) => {
                self.known().sign_ins.remove(key);
                Ok(None)
            }
            Err(error) => match self.known().sign_ins.get(key) {
                Some(Held { sign_in, state: HeldState::Kept(version) }) => Ok(Some((sign_in.copy(), *version))),
                _ => Err(error),
            },
        }
    }

    async fn put(
        self: &Arc<Self>,
        key: &SignInKey,
        sign_in: &SignIn,
        replaces: Option<Version>,
    ) -> Result<Version, StoreError> {
        let _alone = self.writing.lock().await;
        let (base, offered) = {
            let known = self.known();
            match (known.sign_ins.get(key), replaces) {
                (Some(Held { sign_in, state: HeldState::Pending { version, base } }), Some(read)) => {
                    if *version != read {
                        return Err(StoreError::Changed);
                    }
                    (*base, Some(sign_in.copy()))
                }
                (_, replaces) => (replaces.map(|read| known.put_back.get(&read).copied().unwrap_or(read)), None),
            }
        };
        match self.write(key, sign_in, base, offered.as_ref()).await {
            Err(error @ StoreError::Changed) => {
                self.known().sign_ins.remove(key);
                Err(error)
            }
            Err(error) => {
                tracing::error!(
                    login = key.login.as_str(),
                    "{error}. The newest sign-in stays in memory, and Gatepost saves it as soon as the store answers"
                );
                let version = {
                    let mut known = self.known();
                    known.pending += 1;
                    Version(u64::MAX - known.pending)
                };
                self.remember(key, sign_in, HeldState::Pending { version, base });
                self.retry();
                Err(error)
            }
            kept => kept,
        }
    }

    /// Writes over `base`, or over the sign-in that was `offered` before, which may have been kept
    /// although no answer came.
    async fn write(
        &self,
        key: &SignInKey,
        sign_in: &SignIn,
        base: Option<Version>,
        offered: Option<&SignIn>,
    ) -> Result<Version, StoreError> {
        let mut written = self.inner.put_sign_in(key, sign_in, base).await;
        if let (Err(StoreError::Changed), Some(offered)) = (&written, offered)
            && let Some((kept, version)) = self.inner.sign_in(key).await?
            && kept.refresh_token == offered.refresh_token
        {
            // An earlier offer was kept, but its answer was lost.
            written = self.inner.put_sign_in(key, sign_in, Some(version)).await;
        }
        // After the store was put back the old base is gone, so only an empty record may be
        // replaced.
        let written = match (self.restore().await, written) {
            (true, Err(StoreError::Changed)) => self.inner.put_sign_in(key, sign_in, None).await,
            (_, written) => written,
        };
        if let Ok(version) = written {
            self.remember(key, sign_in, HeldState::Kept(version));
        }
        written
    }

    /// Starts the task that offers pending sign-ins again, unless it runs.
    fn retry(self: &Arc<Self>) {
        if !std::mem::replace(&mut self.known().retrying, true) {
            tokio::spawn(retry(Arc::downgrade(self)));
        }
    }

    /// Offers every pending sign-in once; true when none is left, and the task may end.
    async fn retry_pending(&self) -> bool {
        let pending = |held: &Held| matches!(held.state, HeldState::Pending { .. });
        let keys: Vec<SignInKey> = {
            let known = self.known();
            known.sign_ins.iter().filter(|(_, held)| pending(held)).map(|(key, _)| key.clone()).collect()
        };
        for key in keys {
            let _alone = self.writing.lock().await;
            let offered = match self.known().sign_ins.get(&key) {
                Some(Held { sign_in, state: HeldState::Pending { base, .. } }) => (sign_in.copy(), *base),
                _ => continue,
            };
            let (sign_in, base) = offered;
            match self.write(&key, &sign_in, base, Some(&sign_in)).await {
                Ok(_) => tracing::info!(login = key.login.as_str(), "the store keeps the newest sign-in now"),
                Err(StoreError::Changed) => {
                    tracing::info!(login = key.login.as_str(), "the store has a newer sign-in, which counts");
                    self.known().sign_ins.remove(&key);
                }
                Err(error) => tracing::debug!(login = key.login.as_str(), "still not kept: {error}"),
            }
        }
        let mut known = self.known();
        known.retrying = known.sign_ins.values().any(pending);
        !known.retrying
    }

    /// Puts back the known records when the store was emptied. Returns true when it was.
    async fn restore(&self) -> bool {
        let emptied = self.inner.emptied();
        if self.known().emptied == emptied {
            return false;
        }
        let _alone = self.restoring.lock().await;
        if self.known().emptied == emptied {
            return true;
        }
        match self.restore_records().await {
            Ok(()) => self.known().emptied = emptied,
            Err(error) => tracing::error!("{error}. Gatepost restores what the store had as soon as it answers"),
        }
        true
    }

    async fn restore_records(&self) -> Result<(), StoreError> {
        let (sign_ins, device_passwords) = {
            let mut known = self.known();
            let mut kept = Vec::new();
            for (key, held) in &mut known.sign_ins {
                match &mut held.state {
                    HeldState::Kept(version) => kept.push((key.clone(), held.sign_in.copy(), *version)),
                    // A pending sign-in is offered anyway, and the record that it was to replace is
                    // gone.
                    HeldState::Pending { base, .. } => *base = None,
                }
            }
            (kept, known.device_passwords.clone().unwrap_or_default())
        };
        for (key, sign_in, before) in sign_ins {
            // Another process may have been faster, or somebody signed in again.
            if self.inner.sign_in(&key).await?.is_none() {
                let version = self.inner.put_sign_in(&key, &sign_in, None).await?;
                self.known().put_back.insert(before, version);
            }
        }
        let present = self.inner.device_passwords().await?;
        for password in device_passwords {
            if !present.iter().any(|one| one.id == password.id) {
                self.inner.add_device_password(&password).await?;
            }
        }
        Ok(())
    }

    async fn device_passwords(&self) -> Result<Vec<DevicePassword>, StoreError> {
        let mut read = self.inner.device_passwords().await;
        if self.restore().await {
            read = self.inner.device_passwords().await;
        }
        // An earlier result is not used here. The caller would take it for the present state, and a
        // revoked password for a valid one.
        let passwords = read?;
        self.known().device_passwords = Some(passwords.clone());
        Ok(passwords)
    }
}

async fn retry(shared: Weak<Shared>) {
    let mut wait = RETRY;
    loop {
        sleep(wait).await;
        let Some(shared) = shared.upgrade() else { return };
        if shared.retry_pending().await {
            return;
        }
        wait = (wait * 2).min(LONGEST_RETRY);
    }
}

impl Store for RetryingStore {
    fn sign_in<'a>(&'a self, key: &'a SignInKey) -> Stored<'a, Option<(SignIn, Version)>> {
        Box::pin(self.0.sign_in(key))
    }

    fn sign_ins(&self) -> Stored<'_, Vec<(SignInKey, SignIn)>> {
        self.0.inner.sign_ins()
    }

    /// Like [`Store::put_sign_in`]. With any error but [`StoreError::Changed`] the sign-in stays in
    /// memory, and [`Store::sign_in`] returns it from now on. It is offered to the database until
    /// that keeps it, so the caller can go on.
    fn put_sign_in<'a>(
        &'a self,
        key: &'a SignInKey,
        sign_in: &'a SignIn,
        replaces: Option<Version>,
    ) -> Stored<'a, Version> {
        Box::pin(self.0.put(key, sign_in, replaces))
    }

    fn remove_sign_in<'a>(&'a self, key: &'a SignInKey) -> Stored<'a, bool> {
        Box::pin(async move {
            let _alone = self.0.writing.lock().await;
            let removed = self.0.inner.remove_sign_in(key).await?;
            let known = self.0.known().sign_ins.remove(key);
            Ok(removed || known.is_some_and(|held| matches!(held.state, HeldState::Pending { .. })))
        })
    }

    fn device_passwords(&self) -> Stored<'_, Vec<DevicePassword>> {
        Box::pin(self.0.device_passwords())
    }

    fn add_device_password<'a>(&'a self, password: &'a DevicePassword) -> Stored<'a, ()> {
        self.0.inner.add_device_password(password)
    }

    fn revoke_device_password<'a>(&'a self, id: &'a DevicePasswordId) -> Stored<'a, bool> {
        Box::pin(async move {
            let revoked = self.0.inner.revoke_device_password(id).await?;
            if let Some(passwords) = &mut self.0.known().device_passwords {
                passwords.retain(|password| password.id != *id);
            }
            Ok(revoked)
        })
    }

    fn note_use<'a>(&'a self, id: &'a DevicePasswordId, last_use: LastUse) -> Stored<'a, ()> {
        self.0.inner.note_use(id, last_use)
    }

    fn revision(&self) -> Stored<'_, u64> {
        Box::pin(async move {
            let revision = self.0.inner.revision().await;
            if self.0.restore().await { self.0.inner.revision().await } else { revision }
        })
    }

    fn lease_sign_in<'a>(&'a self, key: &'a SignInKey, life: Duration) -> Stored<'a, Option<Lease>> {
        self.0.inner.lease_sign_in(key, life)
    }

    fn release<'a>(&'a self, lease: &'a Lease) -> Stored<'a, ()> {
        self.0.inner.release(lease)
    }

    fn is_shared(&self) -> bool {
        self.0.inner.is_shared()
    }

    /// Counts are not kept here. The caller keeps counting in memory while the database is
    /// unreachable.
    fn counts(&self, bucket: u16) -> Stored<'_, (Counts, Option<Version>)> {
        self.0.inner.counts(bucket)
    }

    fn put_counts<'a>(&'a self, bucket: u16, counts: &'a Counts, replaces: Option<Version>) -> Stored<'a, Version> {
        self.0.inner.put_counts(bucket, counts, replaces)
    }

    fn devices(&self, bucket: u16) -> Stored<'_, (Vec<Device>, Option<Version>)> {
        self.0.inner.devices(bucket)
    }

    fn put_devices<'a>(&'a self, bucket: u16, devices: &'a [Device], replaces: Option<Version>) -> Stored<'a, Version> {
        self.0.inner.put_devices(bucket, devices, replaces)
    }

    fn emptied(&self) -> u64 {
        self.0.inner.emptied()
    }

    fn shared_tokens(&self) -> Option<&dyn SharedTokens> {
        self.0.inner.shared_tokens()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faulty::FaultyStore;
    use crate::sample::{key, sign_in};

    fn world() -> (Arc<FaultyStore>, RetryingStore, SignInKey) {
        let database = Arc::new(FaultyStore::default());
        let store = RetryingStore::new(Arc::clone(&database) as Arc<dyn Store>);
        (database, store, key("a@b"))
    }

    async fn read(store: &dyn Store, key: &SignInKey) -> (String, Version) {
        let (kept, version) = store.sign_in(key).await.unwrap().unwrap();
        (kept.refresh_token.expose().to_owned(), version)
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_sign_in_stays_in_memory_until_the_database_keeps_it() {
        let (database, store, key) = world();
        let first = store.put_sign_in(&key, &sign_in("one"), None).await.unwrap();
        database.set_away(true);
        assert_eq!(read(&store, &key).await, ("one".into(), first));
        assert!(store.put_sign_in(&key, &sign_in("two"), Some(first)).await.is_err());
        let (token, pending) = read(&store, &key).await;
        assert_eq!(token, "two");
        assert_ne!(pending, first);
        // The version read before it is out of date; the pending version may be replaced.
        assert_eq!(store.put_sign_in(&key, &sign_in("lost"), Some(first)).await, Err(StoreError::Changed));
        assert!(store.put_sign_in(&key, &sign_in("three"), Some(pending)).await.is_err());
        // Offered again and again, but less and less often.
        let before = database.writes();
        sleep(Duration::from_secs(600)).await;
        let offers = database.writes() - before;
        assert!((10..=20).contains(&offers), "{offers}");

        database.set_away(false);
        sleep(LONGEST_RETRY).await;
        assert_eq!(read(&*database, &key).await.0, "three");
        let (token, version) = read(&store, &key).await;
        assert_eq!(token, "three");
        store.put_sign_in(&key, &sign_in("four"), Some(version)).await.unwrap();
        let before = database.writes();
        sleep(Duration::from_secs(600)).await;
        assert_eq!(database.writes(), before, "nothing is left to offer");
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_sign_in_of_another_process_counts_more_than_what_was_not_kept() {
        let (database, store, key) = world();
        let first = store.put_sign_in(&key, &sign_in("one"), None).await.unwrap();
        database.set_away(true);
        assert!(store.put_sign_in(&key, &sign_in("two"), Some(first)).await.is_err());
        database.set_away(false);
        database.put_sign_in(&key, &sign_in("signed in again"), None).await.unwrap();
        sleep(LONGEST_RETRY).await;
        assert_eq!(read(&store, &key).await.0, "signed in again");
        assert_eq!(read(&*database, &key).await.0, "signed in again");
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_operator_removes_does_not_come_back() {
        let (database, store, key) = world();
        let first = store.put_sign_in(&key, &sign_in("one"), None).await.unwrap();
        database.set_away(true);
        assert!(store.put_sign_in(&key, &sign_in("two"), Some(first)).await.is_err());
        database.set_away(false);
        assert!(store.remove_sign_in(&key).await.unwrap());
        sleep(LONGEST_RETRY).await;
        assert!(store.sign_in(&key).await.unwrap().is_none());
        assert!(database.sign_in(&key).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_not_what_was_read_before() {
        let inner = Arc::new(FaultyStore::default());
        let durable = RetryingStore::new(Arc::clone(&inner) as _);
        assert_eq!(durable.device_passwords().await, Ok(Vec::new()));
        inner.set_away(true);
        assert!(durable.device_passwords().await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn each_sign_in_that_was_not_kept_has_a_version_of_its_own() {
        let (database, store, key) = world();
        let mut read_before = vec![store.put_sign_in(&key, &sign_in("one"), None).await.unwrap()];
        database.set_away(true);
        for token in ["two", "three", "four", "five"] {
            assert!(store.put_sign_in(&key, &sign_in(token), read_before.last().copied()).await.is_err());
            let (kept, version) = read(&store, &key).await;
            assert_eq!(kept, token);
            assert!(!read_before.contains(&version));
            // No database gives such a version.
            assert!(version.0 > i64::MAX.unsigned_abs(), "{version:?}");
            for stale in &read_before {
                assert_eq!(store.put_sign_in(&key, &sign_in("lost"), Some(*stale)).await, Err(StoreError::Changed));
                assert_eq!(read(&store, &key).await, (token.into(), version));
            }
            read_before.push(version);
        }
    }

    #[tokio::test]
    async fn a_removal_says_whether_there_was_a_sign_in() {
        let (database, store, key) = world();
        assert_eq!(store.remove_sign_in(&key).await, Ok(false));
        store.put_sign_in(&key, &sign_in("one"), None).await.unwrap();
        assert_eq!(store.remove_sign_in(&key).await, Ok(true));
        // Known here, and removed by another process.
        store.put_sign_in(&key, &sign_in("one"), None).await.unwrap();
        database.remove_sign_in(&key).await.unwrap();
        assert_eq!(store.remove_sign_in(&key).await, Ok(false));
        // Known only here.
        database.set_away(true);
        store.put_sign_in(&key, &sign_in("one"), None).await.unwrap_err();
        database.set_away(false);
        assert_eq!(store.remove_sign_in(&key).await, Ok(true));
    }

    #[tokio::test]
    async fn a_store_is_shared_when_its_database_is() {
        let (database, store, _) = world();
        assert!(!store.is_shared());
        database.share();
        assert!(store.is_shared());
    }
}
