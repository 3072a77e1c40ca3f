//! What outlives the process: sign-ins with their refresh tokens, device passwords, and how often passwords were guessed.
//!
//! [`Store`] is what the rest of the program sees, and [`open`] makes one. Values are sealed by the implementation that
//! writes them somewhere; they are plain only in memory. Every call ends within a deadline of the implementation's own.
//!
//! `sealed` puts two things together: `records`, what a database does (`sqlite`, `redis`), and `seal`, how a record is
//! closed and opened; `register` sees to it that what was revoked stays so. `key` and `files` see to the state key and to
//! who may read what. Around it `durable` keeps in memory what a database did not take.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::account::MailAddress;
use crate::clock::UnixTime;
use crate::secret::RefreshToken;

pub mod device_password;
mod durable;
#[cfg(test)]
pub(crate) mod faulty;
mod files;
mod guesses;
mod key;
mod memory;
mod open;
mod plain;
mod records;
mod redis;
mod register;
mod rotate;
#[cfg(test)]
mod sample;
mod seal;
mod sealed;
mod shared_tokens;
mod sqlite;

pub use device_password::{DevicePassword, DevicePasswordId, LastUse, Verifier};
pub use durable::Durable;
pub use files::FileProblem;
pub use guesses::{BUCKETS, Counts, Familiar, Guess, Person};
pub use key::KeyProblem;
pub use memory::MemoryStore;
pub use open::{OpenError, open};
pub use rotate::{RotateError, Rotation, rotate_key};
pub use shared_tokens::{SharedKey, SharedToken, SharedTokens};
pub use sqlite::SqliteProblem;

/// What a call of a [`Store`] comes to.
pub type Stored<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Why the store did not do what it was asked. None of them says anything about a password or a refresh token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, or does not answer in time.
    #[error("the store does not answer: {0}")]
    Unavailable(String),
    /// It answered, but did not keep what it was given (no space, read-only, broken).
    #[error("the store did not keep it: {0}")]
    NotKept(String),
    /// A record cannot be opened: another key, or damage.
    #[error("a record cannot be opened: {0}")]
    Sealed(String),
    /// Somebody else changed the record since it was read.
    #[error("the record was changed by somebody else meanwhile")]
    Changed,
}

/// Whose sign-in: one account at one application.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SignInKey {
    /// The address that logs in.
    pub login: MailAddress,
    /// Base of the token endpoint.
    pub authority: String,
    /// The tenant as configured.
    pub tenant: String,
    /// The application that was consented to.
    pub client_id: String,
}

/// A person's sign-in, and the refresh token that it gave.
#[derive(Debug)]
pub struct SignIn {
    /// The newest one.
    pub refresh_token: RefreshToken,
    /// `tid` of the ID token: the directory id.
    pub tenant_id: String,
    /// `oid` of the ID token: who signed in, whatever the name becomes.
    pub object_id: String,
    /// `preferred_username` of the ID token.
    pub username: String,
    /// What was consented to.
    pub scope: String,
    /// When the person signed in.
    pub signed_in_at: UnixTime,
    /// When the refresh token was last exchanged for a newer one.
    pub rotated_at: UnixTime,
    /// Entra refused the refresh token for good: a person must sign in again. The token is kept all the same.
    pub refused: Option<SignInRefused>,
}

impl SignIn {
    /// A copy, for the one who reads.
    fn copy(&self) -> Self {
        Self {
            refresh_token: RefreshToken::new(self.refresh_token.expose().to_owned()),
            tenant_id: self.tenant_id.clone(),
            object_id: self.object_id.clone(),
            username: self.username.clone(),
            scope: self.scope.clone(),
            ..*self
        }
    }
}

/// Entra's last word about a refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignInRefused {
    /// When.
    pub at: UnixTime,
    /// The AADSTS number, when there was one.
    pub code: Option<u32>,
}

/// Names one state of a record: after any change it is another one. Only equality means anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Version(pub u64);

/// The right to do something that only one may do at a time. It ends by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    name: [u8; 32],
    holder: [u8; 16],
}

/// What outlives the process.
pub trait Store: Send + Sync {
    /// The sign-in of an account, and the version to give back when it is replaced.
    fn sign_in<'a>(&'a self, key: &'a SignInKey) -> Stored<'a, Option<(SignIn, Version)>>;

    /// All sign-ins.
    fn sign_ins(&self) -> Stored<'_, Vec<(SignInKey, SignIn)>>;

    /// Keeps a sign-in. It is durable when this returns. `replaces` is the version that was read (`None`: whatever is
    /// there is replaced, as a new sign-in does); with another version in the store the answer is
    /// [`StoreError::Changed`] and nothing is written.
    fn put_sign_in<'a>(
        &'a self,
        key: &'a SignInKey,
        sign_in: &'a SignIn,
        replaces: Option<Version>,
    ) -> Stored<'a, Version>;

    /// Removes a sign-in, because an operator asked for it; false when there was none.
    fn remove_sign_in<'a>(&'a self, key: &'a SignInKey) -> Stored<'a, bool>;

    /// All device passwords that were added and not revoked, whatever somebody without the state key has written into the
    /// database since.
    fn device_passwords(&self) -> Stored<'_, Vec<DevicePassword>>;

    /// Keeps a new device password.
    fn add_device_password<'a>(&'a self, password: &'a DevicePassword) -> Stored<'a, ()>;

    /// Removes a device password; false when there is none with this id.
    fn revoke_device_password<'a>(&'a self, id: &'a DevicePasswordId) -> Stored<'a, bool>;

    /// Notes when and from where a device password was used last.
    fn note_use<'a>(&'a self, id: &'a DevicePasswordId, last_use: LastUse) -> Stored<'a, ()>;

    /// A number that differs from an earlier one when device passwords or sign-ins may have changed, also by another
    /// process. Cheap enough to ask every few seconds. [`Store::note_use`] does not count.
    fn revision(&self) -> Stored<'_, u64>;

    /// The right to exchange the refresh token of a sign-in: for `life` (at most ten minutes), or until it is given back with
    /// [`Store::release`]. `None`: somebody else has it, here or in another process; look at the sign-in again a little
    /// later, because it will have changed.
    fn lease_sign_in<'a>(&'a self, key: &'a SignInKey, life: Duration) -> Stored<'a, Option<Lease>>;

    /// The right to add device passwords to an account, so that what was looked up holds until one is added. It ends as the
    /// lease of a sign-in does; `None`: somebody else adds one.
    fn lease_device_passwords<'a>(&'a self, login: &'a MailAddress, life: Duration) -> Stored<'a, Option<Lease>> {
        // No sign-in has an empty authority.
        let (authority, tenant, client_id) = <(String, String, String)>::default();
        let key = SignInKey { login: login.clone(), authority, tenant, client_id };
        Box::pin(async move { self.lease_sign_in(&key, life).await })
    }

    /// Gives a lease back; one that has ended meanwhile is left to whoever has it now.
    fn release<'a>(&'a self, lease: &'a Lease) -> Stored<'a, ()>;

    /// What is counted in one of the [`BUCKETS`], and the version to give back when it is replaced (`None`: there is no
    /// record yet). A record that cannot be opened holds nothing and may be replaced: it guards a budget and nothing else.
    fn counts(&self, bucket: u16) -> Stored<'_, (Counts, Option<Version>)>;

    /// Replaces what is counted in a bucket, durably when this returns; with another version in the store the answer is
    /// [`StoreError::Changed`] and nothing is written. It does not count as a revision.
    fn put_counts<'a>(&'a self, bucket: u16, counts: &'a Counts, replaces: Option<Version>) -> Stored<'a, Version>;

    /// How often the store was found emptied by somebody else while it was open.
    fn emptied(&self) -> u64 {
        0
    }

    /// True when other replicas keep their things here as well.
    fn is_shared(&self) -> bool {
        self.shared_tokens().is_some()
    }

    /// The access tokens that replicas share; `None`: there are no replicas.
    fn shared_tokens(&self) -> Option<&dyn SharedTokens> {
        None
    }
}
