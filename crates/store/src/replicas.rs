//! Access tokens that replicas share, so that one request to Entra serves them all.

use std::sync::Arc;
use std::time::Duration;

use super::outcome::{Lease, Stored};
use gatepost_core::clock::UnixTime;
use gatepost_core::secret::{AccessToken, Password};
use gatepost_core::tuple_key::TupleKey;

/// Whose token. The password is part of it: who presents another one asks for something else, and finds nothing.
#[derive(Clone, Copy, Debug)]
pub struct SharedKey<'a> {
    /// What makes it this token and no other.
    pub token: &'a TupleKey,
    /// What earned it (`grant: password`).
    pub password: Option<&'a Password>,
}

/// A token as another replica left it.
#[derive(Clone, Debug)]
pub struct SharedToken {
    /// The token.
    pub access_token: Arc<AccessToken>,
    /// When it was asked for, by the clock of whoever asked.
    pub requested_at: UnixTime,
    /// When it ends, by the same clock.
    pub expires_at: UnixTime,
}

/// What replicas share while it lives. All of it may vanish at any time; nothing of it is waited for long.
pub trait SharedTokens: Send + Sync {
    /// The token, if a replica has left one.
    fn token<'a>(&'a self, key: SharedKey<'a>) -> Stored<'a, Option<SharedToken>>;

    /// Leaves a token, for `life` at most.
    fn leave<'a>(&'a self, key: SharedKey<'a>, token: &'a SharedToken, life: Duration) -> Stored<'a, ()>;

    /// Takes a token away, because Entra no longer accepts what earned it.
    fn forget<'a>(&'a self, key: SharedKey<'a>) -> Stored<'a, ()>;

    /// The right to ask Entra for the token: for `life`, or until it is given back with [`super::Store::release`]. `None`:
    /// another replica has it.
    fn lease_request<'a>(&'a self, key: SharedKey<'a>, life: Duration) -> Stored<'a, Option<Lease>>;

    /// Prolongs a lease; false when it has ended and another replica has it.
    fn prolong<'a>(&'a self, lease: &'a Lease, life: Duration) -> Stored<'a, bool>;
}
