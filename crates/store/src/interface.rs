//! The interface of every store.

use std::time::Duration;

use super::device_password::{DevicePassword, DevicePasswordId, LastUse};
use super::devices::Device;
use super::guesses::Counts;
use super::outcome::{Lease, Stored, Version};
use super::replicas::SharedTokens;
use super::sign_in::{SignIn, SignInKey};
use gatepost_core::account::MailAddress;

/// A store of data that outlives the process.
pub trait Store: Send + Sync {
    /// The sign-in of an account, and its version, which a caller passes when it replaces the
    /// sign-in.
    fn sign_in<'a>(&'a self, key: &'a SignInKey) -> Stored<'a, Option<(SignIn, Version)>>;

    /// All sign-ins.
    fn sign_ins(&self) -> Stored<'_, Vec<(SignInKey, SignIn)>>;

    /// Keeps a sign-in. It is durable when this returns. `replaces` is the version that was read.
    /// `None` replaces whatever is there, as a new sign-in does. If the store has another version,
    /// the answer is [`StoreError::Changed`](super::StoreError::Changed) and nothing is written.
    fn put_sign_in<'a>(
        &'a self,
        key: &'a SignInKey,
        sign_in: &'a SignIn,
        replaces: Option<Version>,
    ) -> Stored<'a, Version>;

    /// Removes a sign-in, because an operator asked for it; false when there was none.
    fn remove_sign_in<'a>(&'a self, key: &'a SignInKey) -> Stored<'a, bool>;

    /// All device passwords that were added and not revoked, even if somebody without the state key
    /// has written into the database since.
    fn device_passwords(&self) -> Stored<'_, Vec<DevicePassword>>;

    /// Keeps a new device password.
    fn add_device_password<'a>(&'a self, password: &'a DevicePassword) -> Stored<'a, ()>;

    /// Removes a device password; false when there is none with this id.
    fn revoke_device_password<'a>(&'a self, id: &'a DevicePasswordId) -> Stored<'a, bool>;

    /// Notes when and from where a device password was used last.
    fn note_use<'a>(&'a self, id: &'a DevicePasswordId, last_use: LastUse) -> Stored<'a, ()>;

    /// A number that differs from an earlier one when device passwords or sign-ins may have
    /// changed, also by another process. Cheap enough to ask every few seconds. [`Store::note_use`]
    /// does not count.
    fn revision(&self) -> Stored<'_, u64>;

    /// Takes the right to exchange the refresh token of a sign-in: for `life` (at most ten
    /// minutes), or until [`Store::release`]. `None`: another task has it, in this process or in
    /// another one. Read the sign-in again a little later, because it will have changed.
    fn lease_sign_in<'a>(&'a self, key: &'a SignInKey, life: Duration) -> Stored<'a, Option<Lease>>;

    /// Takes the right to add device passwords to an account, so that no other is added between the
    /// caller's look and its change. It ends as the lease of a sign-in does. `None`: another task
    /// has it.
    fn lease_device_passwords<'a>(&'a self, login: &'a MailAddress, life: Duration) -> Stored<'a, Option<Lease>> {
        // No sign-in has an empty authority.
        let (authority, tenant, client_id) = <(String, String, String)>::default();
        let key = SignInKey { login: login.clone(), authority, tenant, client_id };
        Box::pin(async move { self.lease_sign_in(&key, life).await })
    }

    /// Releases a lease. If it has ended meanwhile, its present holder keeps it.
    fn release<'a>(&'a self, lease: &'a Lease) -> Stored<'a, ()>;

    /// The counts of one of the [`BUCKETS`](super::BUCKETS), and the version for
    /// [`Store::put_counts`] (`None`: there is no record yet). A record that cannot be opened
    /// counts as empty and may be replaced, because it only guards a budget.
    fn counts(&self, bucket: u16) -> Stored<'_, (Counts, Option<Version>)>;

    /// Replaces the counts of a bucket. They are durable when this returns. If the store has
    /// another version, the answer is [`StoreError::Changed`](super::StoreError::Changed) and
    /// nothing is written. The revision does not change.
    fn put_counts<'a>(&'a self, bucket: u16, counts: &'a Counts, replaces: Option<Version>) -> Stored<'a, Version>;

    /// One of the records of devices ([`device_bucket`](super::device_bucket),
    /// [`STRANGERS`](super::STRANGERS)), and the version for [`Store::put_devices`] (`None`: there
    /// is no record yet). A record that cannot be opened counts as empty and may be replaced.
    fn devices(&self, bucket: u16) -> Stored<'_, (Vec<Device>, Option<Version>)>;

    /// Replaces a record of devices, as [`Store::put_counts`] does one of counts.
    fn put_devices<'a>(&'a self, bucket: u16, devices: &'a [Device], replaces: Option<Version>) -> Stored<'a, Version>;

    /// How often the store was found emptied by somebody else while it was open.
    fn emptied(&self) -> u64 {
        0
    }

    /// True when other replicas use this store as well.
    fn is_shared(&self) -> bool {
        self.shared_tokens().is_some()
    }

    /// The access tokens that replicas share; `None`: there are no replicas.
    fn shared_tokens(&self) -> Option<&dyn SharedTokens> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tempfile::TempDir;

    use super::*;
    use crate::sample::{device_password, directory, key, sign_in};
    use crate::{Guess, MemoryStore, StoreError, open};
    use gatepost_config::{State, StateKey};
    use gatepost_core::clock::UnixTime;

    /// The store in memory and one on a disk, which promise the same.
    struct Stores {
        all: [(&'static str, Arc<dyn Store>); 2],
        _directory: TempDir,
    }

    impl Stores {
        async fn new() -> Self {
            let directory = directory();
            let key = StateKey::File(directory.path().join("state.key"));
            let on_disk = open(&State::Sqlite { directory: directory.path().to_owned(), key }).await.unwrap();
            Self { all: [("memory", Arc::new(MemoryStore::default())), ("disk", on_disk)], _directory: directory }
        }
    }

    #[tokio::test]
    async fn each_change_of_the_sign_ins_gives_another_revision() {
        let stores = Stores::new().await;
        for (name, store) in &stores.all {
            let mut revision = store.revision().await.unwrap();
            for login in ["a@b", "c@d"] {
                store.put_sign_in(&key(login), &sign_in(login), None).await.unwrap();
                let next = store.revision().await.unwrap();
                assert_ne!(next, revision, "{name}");
                revision = next;
            }
            assert!(store.remove_sign_in(&key("a@b")).await.unwrap(), "{name}");
            let next = store.revision().await.unwrap();
            assert_ne!(next, revision, "{name}");
            assert!(!store.remove_sign_in(&key("a@b")).await.unwrap(), "{name}: there is none any more");
            assert_eq!(store.revision().await.unwrap(), next, "{name}");
            let left = store.sign_ins().await.unwrap();
            assert_eq!(left.into_iter().map(|(key, _)| key).collect::<Vec<_>>(), [key("c@d")], "{name}");
        }
    }

    #[tokio::test]
    async fn a_device_password_counts_until_it_is_revoked() {
        let stores = Stores::new().await;
        for (name, store) in &stores.all {
            let [one, mut two] = ["aaaaaaaa", "bbbbbbbb"].map(device_password);
            let mut revision = store.revision().await.unwrap();
            for password in [&one, &two] {
                store.add_device_password(password).await.unwrap();
                let next = store.revision().await.unwrap();
                assert_ne!(next, revision, "{name}");
                revision = next;
            }
            let last_use = LastUse { at: UnixTime(2), from: "192.0.2.7".parse().unwrap() };
            store.note_use(&two.id, last_use).await.unwrap();
            two.last_use = Some(last_use);
            assert_eq!(store.device_passwords().await.unwrap(), [one.clone(), two.clone()], "{name}");
            assert!(!store.revoke_device_password(&DevicePasswordId("cccccccc".into())).await.unwrap(), "{name}");
            assert_eq!(store.revision().await.unwrap(), revision, "{name}: a use or nothing at all was noted");
            assert!(store.revoke_device_password(&one.id).await.unwrap(), "{name}");
            assert_ne!(store.revision().await.unwrap(), revision, "{name}");
            assert_eq!(store.device_passwords().await.unwrap(), [two], "{name}");
            // The use of a revoked password does not bring it back.
            store.note_use(&one.id, last_use).await.unwrap();
            assert_eq!(store.device_passwords().await.unwrap().len(), 1, "{name}");
        }
    }

    #[tokio::test]
    async fn counts_are_replaced_only_by_whoever_read_the_latest() {
        let stores = Stores::new().await;
        let counts = |id| Counts {
            guesses: vec![Guess { user: [3; 16], id, at: UnixTime(1), familiar: true }],
            key: [4; 16],
            ..Counts::default()
        };
        for (name, store) in &stores.all {
            let revision = store.revision().await.unwrap();
            assert_eq!(store.counts(7).await.unwrap(), (Counts::default(), None), "{name}");
            let first = store.put_counts(7, &counts(1), None).await.unwrap();
            assert_eq!(store.put_counts(7, &counts(9), None).await, Err(StoreError::Changed), "{name}");
            let second = store.put_counts(7, &counts(2), Some(first)).await.unwrap();
            assert_eq!(store.put_counts(7, &counts(9), Some(first)).await, Err(StoreError::Changed), "{name}");
            assert_eq!(store.counts(7).await.unwrap(), (counts(2), Some(second)), "{name}");
            assert_eq!(store.counts(8).await.unwrap(), (Counts::default(), None), "{name}");
            assert_eq!(store.revision().await.unwrap(), revision, "{name}");
        }
    }

    #[tokio::test]
    async fn devices_are_replaced_only_by_whoever_read_the_latest() {
        let stores = Stores::new().await;
        let devices = |logins| {
            let mut device = crate::sample::device();
            device.logins = logins;
            vec![device]
        };
        for (name, store) in &stores.all {
            assert_eq!(store.devices(7).await.unwrap(), (Vec::new(), None), "{name}");
            let first = store.put_devices(7, &devices(1), None).await.unwrap();
            assert_eq!(store.put_devices(7, &devices(9), None).await, Err(StoreError::Changed), "{name}");
            let second = store.put_devices(7, &devices(2), Some(first)).await.unwrap();
            assert_eq!(store.put_devices(7, &devices(9), Some(first)).await, Err(StoreError::Changed), "{name}");
            assert_eq!(store.devices(7).await.unwrap(), (devices(2), Some(second)), "{name}");
            assert_eq!(store.devices(8).await.unwrap(), (Vec::new(), None), "{name}");
        }
    }

    #[tokio::test]
    async fn a_lease_has_one_holder_at_a_time() {
        let stores = Stores::new().await;
        let (minute, ended) = (Duration::from_secs(60), Duration::ZERO);
        for (name, store) in &stores.all {
            let late = store.lease_sign_in(&key("a@b"), ended).await.unwrap().unwrap();
            let held = store.lease_sign_in(&key("a@b"), minute).await.unwrap().unwrap();
            let other = store.lease_sign_in(&key("c@d"), minute).await.unwrap().unwrap();
            // A holder that comes too late takes nothing from the present one.
            store.release(&late).await.unwrap();
            assert_eq!(store.lease_sign_in(&key("a@b"), minute).await, Ok(None), "{name}");
            store.release(&held).await.unwrap();
            assert!(store.lease_sign_in(&key("a@b"), minute).await.unwrap().is_some(), "{name}");
            assert_eq!(store.lease_sign_in(&key("c@d"), minute).await, Ok(None), "{name}");
            store.release(&other).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_store_of_one_process_shares_nothing() {
        let stores = Stores::new().await;
        for (name, store) in &stores.all {
            assert!(!store.is_shared() && store.shared_tokens().is_none(), "{name}");
            assert_eq!(store.emptied(), 0, "{name}: nobody has emptied it");
        }
    }
}
