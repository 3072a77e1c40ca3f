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
