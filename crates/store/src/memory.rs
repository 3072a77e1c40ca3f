//! A store that forgets everything when the process ends: for the demonstration and the tests.

use std::collections::HashMap;
use std::future::ready;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::{
    Counts, Device, DevicePassword, DevicePasswordId, LastUse, Lease, SignIn, SignInKey, Store, StoreError, Stored,
    Version,
};

/// A store in memory.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    sign_ins: HashMap<SignInKey, (SignIn, Version)>,
    device_passwords: Vec<DevicePassword>,
    counts: HashMap<u16, (Counts, Version)>,
    devices: HashMap<u16, (Vec<Device>, Version)>,
    /// How many records of counts and of devices were put.
    buckets_put: u64,
    /// The number and the end of the lease of each sign-in.
    leases: HashMap<SignInKey, (u64, Instant)>,
    leases_taken: u64,
    revision: u64,
}

impl MemoryStore {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Every change is one assignment, so the content is consistent even after a panic.
        self.0.lock()
    }
}

fn done<'a, T: Send + 'a>(result: Result<T, StoreError>) -> Stored<'a, T> {
    Box::pin(ready(result))
}

impl Store for MemoryStore {
    fn sign_in<'a>(&'a self, key: &'a SignInKey) -> Stored<'a, Option<(SignIn, Version)>> {
        done(Ok(self.kept().sign_ins.get(key).map(|(sign_in, version)| (sign_in.copy(), *version))))
    }

    fn sign_ins(&self) -> Stored<'_, Vec<(SignInKey, SignIn)>> {
        done(Ok(self.kept().sign_ins.iter().map(|(key, (sign_in, _))| (key.clone(), sign_in.copy())).collect()))
    }

    fn put_sign_in<'a>(
        &'a self,
        key: &'a SignInKey,
        sign_in: &'a SignIn,
        replaces: Option<Version>,
    ) -> Stored<'a, Version> {
        let mut kept = self.kept();
        let present = kept.sign_ins.get(key).map(|(_, version)| *version);
        if replaces.is_some() && replaces != present {
            return done(Err(StoreError::Changed));
        }
        kept.revision += 1;
        let version = Version(kept.revision);
        kept.sign_ins.insert(key.clone(), (sign_in.copy(), version));
        done(Ok(version))
    }

    fn remove_sign_in<'a>(&'a self, key: &'a SignInKey) -> Stored<'a, bool> {
        let mut kept = self.kept();
        let removed = kept.sign_ins.remove(key).is_some();
        kept.revision += u64::from(removed);
        done(Ok(removed))
    }

    fn device_passwords(&self) -> Stored<'_, Vec<DevicePassword>> {
        done(Ok(self.kept().device_passwords.clone()))
    }

    fn add_device_password<'a>(&'a self, password: &'a DevicePassword) -> Stored<'a, ()> {
        let mut kept = self.kept();
        kept.device_passwords.push(password.clone());
        kept.revision += 1;
        done(Ok(()))
    }

    fn revoke_device_password<'a>(&'a self, id: &'a DevicePasswordId) -> Stored<'a, bool> {
        let mut kept = self.kept();
        let before = kept.device_passwords.len();
        kept.device_passwords.retain(|password| password.id != *id);
        let revoked = kept.device_passwords.len() < before;
        kept.revision += u64::from(revoked);
        done(Ok(revoked))
    }

    fn note_use<'a>(&'a self, id: &'a DevicePasswordId, last_use: LastUse) -> Stored<'a, ()> {
        for password in self.kept().device_passwords.iter_mut().filter(|password| password.id == *id) {
            password.last_use = Some(last_use);
        }
        done(Ok(()))
    }

    fn revision(&self) -> Stored<'_, u64> {
        done(Ok(self.kept().revision))
    }

    fn lease_sign_in<'a>(&'a self, key: &'a SignInKey, life: Duration) -> Stored<'a, Option<Lease>> {
        let (mut kept, now) = (self.kept(), Instant::now());
        if kept.leases.get(key).is_some_and(|(_, end)| *end > now) {
            return done(Ok(None));
        }
        kept.leases_taken += 1;
        let number = kept.leases_taken;
        kept.leases.insert(key.clone(), (number, now + life));
        done(Ok(Some(Lease { name: [0; 32], holder: u128::from(number).to_be_bytes() })))
    }

    fn release<'a>(&'a self, lease: &'a Lease) -> Stored<'a, ()> {
        self.kept().leases.retain(|_, (number, _)| u128::from(*number).to_be_bytes() != lease.holder);
        done(Ok(()))
    }

    fn counts(&self, bucket: u16) -> Stored<'_, (Counts, Option<Version>)> {
        let found = self.kept().counts.get(&bucket).map(|(counts, version)| (counts.clone(), Some(*version)));
        done(Ok(found.unwrap_or_default()))
    }

    fn put_counts<'a>(&'a self, bucket: u16, counts: &'a Counts, replaces: Option<Version>) -> Stored<'a, Version> {
        let mut kept = self.kept();
        if kept.counts.get(&bucket).map(|(_, version)| *version) != replaces {
            return done(Err(StoreError::Changed));
        }
        kept.buckets_put += 1;
        let version = Version(kept.buckets_put);
        kept.counts.insert(bucket, (counts.clone(), version));
        done(Ok(version))
    }

    fn devices(&self, bucket: u16) -> Stored<'_, (Vec<Device>, Option<Version>)> {
        let found = self.kept().devices.get(&bucket).map(|(devices, version)| (devices.clone(), Some(*version)));
        done(Ok(found.unwrap_or_default()))
    }

    fn put_devices<'a>(&'a self, bucket: u16, devices: &'a [Device], replaces: Option<Version>) -> Stored<'a, Version> {
        let mut kept = self.kept();
        if kept.devices.get(&bucket).map(|(_, version)| *version) != replaces {
            return done(Err(StoreError::Changed));
        }
        kept.buckets_put += 1;
        let version = Version(kept.buckets_put);
        kept.devices.insert(bucket, (devices.to_vec(), version));
        done(Ok(version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{key, sign_in};

    #[tokio::test]
    async fn a_sign_in_that_somebody_else_replaced_is_not_overwritten() {
        let store = MemoryStore::default();
        let key = key("a@b");
        let first = store.put_sign_in(&key, &sign_in("one"), None).await.unwrap();
        let second = store.put_sign_in(&key, &sign_in("two"), Some(first)).await.unwrap();
        assert_eq!(store.put_sign_in(&key, &sign_in("lost"), Some(first)).await, Err(StoreError::Changed));
        let (kept, version) = store.sign_in(&key).await.unwrap().unwrap();
        assert_eq!((kept.refresh_token.expose(), version), ("two", second));
        assert!(store.remove_sign_in(&key).await.unwrap());
        assert_eq!(store.put_sign_in(&key, &sign_in("lost"), Some(second)).await, Err(StoreError::Changed));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_is_not_released_ends_by_itself() {
        let store = MemoryStore::default();
        let (key, life) = (key("a@b"), Duration::from_secs(10));
        store.lease_sign_in(&key, life).await.unwrap().unwrap();
        tokio::time::advance(life - Duration::from_secs(1)).await;
        assert_eq!(store.lease_sign_in(&key, life).await, Ok(None));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(store.lease_sign_in(&key, life).await.unwrap().is_some());
    }
}
