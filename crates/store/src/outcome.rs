//! What a call of a store comes to: its outcome, the version of a record, a lease.

use std::future::Future;
use std::pin::Pin;

/// What a call of a [`Store`](super::Store) comes to.
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

/// Names one state of a record: after any change it is another one. Only equality means anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Version(pub u64);

/// The right to do something that only one may do at a time. It ends by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub(super) name: [u8; 32],
    pub(super) holder: [u8; 16],
}
