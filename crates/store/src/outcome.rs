//! What the calls of a store return: outcomes, record versions and leases.

use std::future::Future;
use std::pin::Pin;

/// The future that a call of a [`Store`](super::Store) returns.
pub type Stored<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Why a call failed. No error says anything about a password or a refresh token.
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

/// Identifies one state of a record: every change gives another version. Versions can only be
/// compared for equality.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Version(pub u64);

/// A right that only one holder has at a time. It expires by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub(super) name: [u8; 32],
    pub(super) holder: [u8; 16],
}
