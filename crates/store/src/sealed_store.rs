//! Sealed records as a [`Store`].

use std::time::Duration;

use super::devices;
use super::plain;
use super::records::Fault;
use super::seal::Kind;
use super::sealed::{Sealed, TRIES, with_keys};
use super::{
    Counts, Device, DevicePassword, DevicePasswordId, LastUse, Lease, SharedTokens, SignIn, SignInKey, Store, Stored,
    Version,
};

impl Store for Sealed {
    fn sign_in<'a>(&'a self, key: &'a SignInKey) -> Stored<'a, Option<(SignIn, Version)>> {
        Box::pin(self.read_sign_in(key))
    }

    fn sign_ins(&self) -> Stored<'_, Vec<(SignInKey, SignIn)>> {
        Box::pin(self.list(Kind::SignIn, plain::to_sign_in))
    }

    fn put_sign_in<'a>(
        &'a self,
        key: &'a SignInKey,
        sign_in: &'a SignIn,
        replaces: Option<Version>,
    ) -> Stored<'a, Version> {
        Box::pin(async move {
            self.write(Kind::SignIn, &key.tuple(), replaces, true, || plain::of_sign_in(key, sign_in)).await
        })
    }

    fn remove_sign_in<'a>(&'a self, key: &'a SignInKey) -> Stored<'a, bool> {
        Box::pin(async move { self.remove(Kind::SignIn, &key.tuple()).await })
    }

    fn device_passwords(&self) -> Stored<'_, Vec<DevicePassword>> {
        Box::pin(async move {
            let mut passwords = self.registered_passwords().await?;
            // The order of the database has no meaning.
            passwords.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
            Ok(passwords)
        })
    }

    fn add_device_password<'a>(&'a self, password: &'a DevicePassword) -> Stored<'a, ()> {
        Box::pin(self.add_registered(password))
    }

    fn revoke_device_password<'a>(&'a self, id: &'a DevicePasswordId) -> Stored<'a, bool> {
        Box::pin(self.revoke_registered(id))
    }

    fn note_use<'a>(&'a self, id: &'a DevicePasswordId, last_use: LastUse) -> Stored<'a, ()> {
        Box::pin(self.note(id, last_use))
    }

    fn revision(&self) -> Stored<'_, u64> {
        Box::pin(async move { with_keys!(self, _ring => self.records().revision()) })
    }

    fn lease_sign_in<'a>(&'a self, key: &'a SignInKey, life: Duration) -> Stored<'a, Option<Lease>> {
        Box::pin(async move {
            let ring = self.ring().await?;
            self.lease(ring.index.place(Kind::Lease, &key.tuple(), b"").name, life).await
        })
    }

    fn release<'a>(&'a self, lease: &'a Lease) -> Stored<'a, ()> {
        Box::pin(async move {
            let released = self.records().release_lease(lease.place(), lease.holder).await;
            released.map_err(|fault| self.told(fault))
        })
    }

    fn counts(&self, bucket: u16) -> Stored<'_, (Counts, Option<Version>)> {
        Box::pin(self.read_counts(bucket))
    }

    fn put_counts<'a>(&'a self, bucket: u16, counts: &'a Counts, replaces: Option<Version>) -> Stored<'a, Version> {
        Box::pin(self.write_counts(bucket, counts, replaces))
    }

    fn devices(&self, bucket: u16) -> Stored<'_, (Vec<Device>, Option<Version>)> {
        Box::pin(self.read_bucket(Kind::Devices, bucket, "a list of devices", devices::read))
    }

    fn put_devices<'a>(&'a self, bucket: u16, listed: &'a [Device], replaces: Option<Version>) -> Stored<'a, Version> {
        Box::pin(self.write_bucket(Kind::Devices, bucket, replaces, || devices::write(listed)))
    }

    fn emptied(&self) -> u64 {
        self.times_emptied()
    }

    fn shared_tokens(&self) -> Option<&dyn SharedTokens> {
        self.records().passing().map(|_| self as &dyn SharedTokens)
    }
}
