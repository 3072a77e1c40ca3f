//! A store for tests: in memory, unreachable on demand, and with a count of the writes.

use std::future::ready;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::sleep;

use super::{
    Counts, Device, DevicePassword, DevicePasswordId, LastUse, Lease, MemoryStore, SignIn, SignInKey, Store,
    StoreError, Stored, Version,
};

/// A store in memory that fails when it is told to.
#[derive(Debug, Default)]
pub struct FaultyStore {
    memory: MemoryStore,
    away: AtomicBool,
    shared: AtomicBool,
    writes: AtomicUsize,
    /// In milliseconds.
    slow: AtomicU64,
}

impl FaultyStore {
    /// Whether calls fail from now on.
    pub fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::Relaxed);
    }

    /// Lets it report from now on that replicas share it.
    pub fn share(&self) {
        self.shared.store(true, Ordering::Relaxed);
    }

    /// How long each write takes from now on.
    pub fn set_slow(&self, time: Duration) {
        self.slow.store(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How many writes were tried, with or without success.
    pub fn writes(&self) -> usize {
        self.writes.load(Ordering::Relaxed)
    }

    fn unless_away<'a, T: Send + 'a>(&self, done: Stored<'a, T>) -> Stored<'a, T> {
        if self.away.load(Ordering::Relaxed) {
            Box::pin(ready(Err(StoreError::Unavailable("connection refused".into()))))
        } else {
            done
        }
    }

    fn write<'a, T: Send + 'a>(&'a self, done: impl FnOnce() -> Stored<'a, T>) -> Stored<'a, T> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        if self.away.load(Ordering::Relaxed) {
            return Box::pin(ready(Err(StoreError::Unavailable("connection refused".into()))));
        }
        let done = done();
        match self.slow.load(Ordering::Relaxed) {
            0 => done,
            slow => Box::pin(async move {
                sleep(Duration::from_millis(slow)).await;
                done.await
            }),
        }
    }
}

impl Store for FaultyStore {
    fn sign_in<'a>(&'a self, key: &'a SignInKey) -> Stored<'a, Option<(SignIn, Version)>> {
        self.unless_away(self.memory.sign_in(key))
    }

    fn sign_ins(&self) -> Stored<'_, Vec<(SignInKey, SignIn)>> {
        self.unless_away(self.memory.sign_ins())
    }

    fn put_sign_in<'a>(
        &'a self,
        key: &'a SignInKey,
        sign_in: &'a SignIn,
        replaces: Option<Version>,
    ) -> Stored<'a, Version> {
        self.write(|| self.memory.put_sign_in(key, sign_in, replaces))
    }

    fn remove_sign_in<'a>(&'a self, key: &'a SignInKey) -> Stored<'a, bool> {
        self.write(|| self.memory.remove_sign_in(key))
    }

    fn device_passwords(&self) -> Stored<'_, Vec<DevicePassword>> {
        self.unless_away(self.memory.device_passwords())
    }

    fn add_device_password<'a>(&'a self, password: &'a DevicePassword) -> Stored<'a, ()> {
        self.write(|| self.memory.add_device_password(password))
    }

    fn revoke_device_password<'a>(&'a self, id: &'a DevicePasswordId) -> Stored<'a, bool> {
        self.write(|| self.memory.revoke_device_password(id))
    }

    fn note_use<'a>(&'a self, id: &'a DevicePasswordId, last_use: LastUse) -> Stored<'a, ()> {
        self.write(|| self.memory.note_use(id, last_use))
    }

    fn revision(&self) -> Stored<'_, u64> {
        self.unless_away(self.memory.revision())
    }

    fn lease_sign_in<'a>(&'a self, key: &'a SignInKey, life: Duration) -> Stored<'a, Option<Lease>> {
        self.write(|| self.memory.lease_sign_in(key, life))
    }

    fn release<'a>(&'a self, lease: &'a Lease) -> Stored<'a, ()> {
        self.write(|| self.memory.release(lease))
    }

    fn is_shared(&self) -> bool {
        self.shared.load(Ordering::Relaxed)
    }

    fn counts(&self, bucket: u16) -> Stored<'_, (Counts, Option<Version>)> {
        self.unless_away(self.memory.counts(bucket))
    }

    fn put_counts<'a>(&'a self, bucket: u16, counts: &'a Counts, replaces: Option<Version>) -> Stored<'a, Version> {
        self.write(|| self.memory.put_counts(bucket, counts, replaces))
    }

    fn devices(&self, bucket: u16) -> Stored<'_, (Vec<Device>, Option<Version>)> {
        self.unless_away(self.memory.devices(bucket))
    }

    fn put_devices<'a>(&'a self, bucket: u16, devices: &'a [Device], replaces: Option<Version>) -> Stored<'a, Version> {
        self.write(|| self.memory.put_devices(bucket, devices, replaces))
    }
}
