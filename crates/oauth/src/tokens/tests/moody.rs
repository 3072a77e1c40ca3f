//! A store in memory that fails, stalls, or is shared on demand.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use gatepost_core::account::MailAddress;
use gatepost_core::tuple_key::TupleKey;
use gatepost_store::{
    Counts, Device, DevicePassword, DevicePasswordId, LastUse, Lease, MemoryStore, SharedKey, SharedToken,
    SharedTokens, SignIn, SignInKey, Store, StoreError, Stored, Version,
};

/// No call of the store takes longer.
pub(in crate::tokens) const DEADLINE: Duration = Duration::from_secs(5);

/// A store that fails or stalls on demand.
pub(in crate::tokens) struct Moody {
    pub(in crate::tokens) inside: MemoryStore,
    pub(in crate::tokens) away: AtomicBool,
    pub(in crate::tokens) full: AtomicBool,
    /// Each write takes a permit, and waits until it has one.
    pub(in crate::tokens) writes: Semaphore,
    /// Whether replicas share it.
    shared: AtomicBool,
    /// The tokens that replicas have left.
    pub(in crate::tokens) tokens: Mutex<HashMap<Place, SharedToken>>,
    /// How often it was asked whether anything has changed, and how often for all sign-ins.
    looks: AtomicUsize,
    lists: AtomicUsize,
}

/// Where a token is left: its key and the password that earned it.
pub(in crate::tokens) type Place = (TupleKey, Option<String>);

impl Default for Moody {
    fn default() -> Self {
        Self {
            inside: MemoryStore::default(),
            away: AtomicBool::new(false),
            full: AtomicBool::new(false),
            writes: Semaphore::new(1_000_000),
            shared: AtomicBool::new(false),
            tokens: Mutex::default(),
            looks: AtomicUsize::new(0),
            lists: AtomicUsize::new(0),
        }
    }
}

impl Moody {
    /// Lets replicas share it from now on.
    pub(in crate::tokens) fn share(&self) {
        self.shared.store(true, Ordering::SeqCst);
    }

    /// How often it was asked whether anything has changed, and how often for all sign-ins.
    pub(in crate::tokens) fn asked(&self) -> [usize; 2] {
        [&self.looks, &self.lists].map(|count| count.load(Ordering::SeqCst))
    }
}

fn place(key: SharedKey<'_>) -> Place {
    (key.token.clone(), key.password.map(|password| password.expose().to_owned()))
}

fn done<'a, T: Send + 'a>(result: T) -> Stored<'a, T> {
    Box::pin(async { Ok(result) })
}

impl SharedTokens for Moody {
    fn token<'a>(&'a self, key: SharedKey<'a>) -> Stored<'a, Option<SharedToken>> {
        done(self.tokens.lock().get(&place(key)).cloned())
    }

    fn leave<'a>(&'a self, key: SharedKey<'a>, token: &'a SharedToken, _: Duration) -> Stored<'a, ()> {
        self.tokens.lock().insert(place(key), token.clone());
        done(())
    }

    fn forget<'a>(&'a self, key: SharedKey<'a>) -> Stored<'a, ()> {
        self.tokens.lock().remove(&place(key));
        done(())
    }

    fn lease_request<'a>(&'a self, key: SharedKey<'a>, life: Duration) -> Stored<'a, Option<Lease>> {
        let (token, password) = place(key);
        Box::pin(async move {
            let key = SignInKey {
                login: MailAddress::parse("lease@contoso.example").unwrap(),
                authority: format!("{token:?}"),
                tenant: password.unwrap_or_default(),
                client_id: String::new(),
            };
            self.inside.lease_sign_in(&key, life).await
        })
    }

    fn prolong<'a>(&'a self, _: &'a Lease, _: Duration) -> Stored<'a, bool> {
        done(true)
    }
}

impl Store for Moody {
    fn sign_in<'a>(&'a self, key: &'a SignInKey) -> Stored<'a, Option<(SignIn, Version)>> {
        if self.away.load(Ordering::SeqCst) {
            return Box::pin(async { Err(StoreError::Unavailable("away".into())) });
        }
        self.inside.sign_in(key)
    }

    fn put_sign_in<'a>(
        &'a self,
        key: &'a SignInKey,
        sign_in: &'a SignIn,
        replaces: Option<Version>,
    ) -> Stored<'a, Version> {
        Box::pin(async move {
            if self.away.load(Ordering::SeqCst) || self.full.load(Ordering::SeqCst) {
                return Err(StoreError::NotKept("no space".into()));
            }
            match tokio::time::timeout(DEADLINE, self.writes.acquire()).await {
                Ok(permit) => permit.unwrap().forget(),
                Err(_) => return Err(StoreError::Unavailable("too slow".into())),
            }
            self.inside.put_sign_in(key, sign_in, replaces).await
        })
    }

    fn sign_ins(&self) -> Stored<'_, Vec<(SignInKey, SignIn)>> {
        self.lists.fetch_add(1, Ordering::SeqCst);
        self.inside.sign_ins()
    }

    fn lease_sign_in<'a>(&'a self, key: &'a SignInKey, life: Duration) -> Stored<'a, Option<Lease>> {
        self.inside.lease_sign_in(key, life)
    }

    fn release<'a>(&'a self, lease: &'a Lease) -> Stored<'a, ()> {
        self.inside.release(lease)
    }

    fn remove_sign_in<'a>(&'a self, key: &'a SignInKey) -> Stored<'a, bool> {
        self.inside.remove_sign_in(key)
    }

    fn device_passwords(&self) -> Stored<'_, Vec<DevicePassword>> {
        self.inside.device_passwords()
    }

    fn add_device_password<'a>(&'a self, password: &'a DevicePassword) -> Stored<'a, ()> {
        self.inside.add_device_password(password)
    }

    fn revoke_device_password<'a>(&'a self, id: &'a DevicePasswordId) -> Stored<'a, bool> {
        self.inside.revoke_device_password(id)
    }

    fn note_use<'a>(&'a self, id: &'a DevicePasswordId, last_use: LastUse) -> Stored<'a, ()> {
        self.inside.note_use(id, last_use)
    }

    fn revision(&self) -> Stored<'_, u64> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        self.inside.revision()
    }

    fn counts(&self, bucket: u16) -> Stored<'_, (Counts, Option<Version>)> {
        self.inside.counts(bucket)
    }

    fn put_counts<'a>(&'a self, bucket: u16, counts: &'a Counts, replaces: Option<Version>) -> Stored<'a, Version> {
        self.inside.put_counts(bucket, counts, replaces)
    }

    fn devices(&self, bucket: u16) -> Stored<'_, (Vec<Device>, Option<Version>)> {
        self.inside.devices(bucket)
    }

    fn put_devices<'a>(&'a self, bucket: u16, devices: &'a [Device], replaces: Option<Version>) -> Stored<'a, Version> {
        self.inside.put_devices(bucket, devices, replaces)
    }

    fn shared_tokens(&self) -> Option<&dyn SharedTokens> {
        self.shared.load(Ordering::SeqCst).then_some(self as &dyn SharedTokens)
    }
}
