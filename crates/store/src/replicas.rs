//! Access tokens that replicas share, so that one request to Entra serves them all.

use std::sync::Arc;
use std::time::Duration;

use super::outcome::{Lease, Stored};
use gatepost_core::clock::UnixTime;
use gatepost_core::secret::{AccessToken, Password};
use gatepost_core::tuple_key::TupleKey;

/// The key of a shared token. The password is part of it, so another password finds nothing.
#[derive(Clone, Copy, Debug)]
pub struct SharedKey<'a> {
    /// The token's key.
    pub token: &'a TupleKey,
    /// The password that earned the token (`grant: password`).
    pub password: Option<&'a Password>,
}

/// A token as another replica left it.
#[derive(Clone, Debug)]
pub struct SharedToken {
    /// The token.
    pub access_token: Arc<AccessToken>,
    /// When it was asked for, by the clock of the replica that asked.
    pub requested_at: UnixTime,
    /// When it expires, by the same clock.
    pub expires_at: UnixTime,
}

/// The shared tokens of all replicas. Any of them may vanish at any time, and no call waits long.
pub trait SharedTokens: Send + Sync {
    /// The token, if a replica has left one.
    fn token<'a>(&'a self, key: SharedKey<'a>) -> Stored<'a, Option<SharedToken>>;

    /// Stores a token, for `life` at most.
    fn leave<'a>(&'a self, key: SharedKey<'a>, token: &'a SharedToken, life: Duration) -> Stored<'a, ()>;

    /// Removes a token, because Entra no longer accepts the password or sign-in that earned it.
    fn forget<'a>(&'a self, key: SharedKey<'a>) -> Stored<'a, ()>;

    /// Takes the right to ask Entra for the token: for `life`, or until [`super::Store::release`].
    /// `None`: another replica has it.
    fn lease_request<'a>(&'a self, key: SharedKey<'a>, life: Duration) -> Stored<'a, Option<Lease>>;

    /// Prolongs a lease; false when it has ended and another replica has it.
    fn prolong<'a>(&'a self, lease: &'a Lease, life: Duration) -> Stored<'a, bool>;
}
