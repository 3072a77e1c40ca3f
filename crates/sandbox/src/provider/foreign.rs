//! Tokens that arrived where they must never be seen: at another provider than the one that gave
//! them, or for a mailbox of another one.

use parking_lot::Mutex;

use super::Provider;
use crate::mode::Service;

/// How many are remembered.
const ENTRIES: usize = 10_000;

/// A token, of access or of refresh, that arrived where it must never be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignToken {
    /// The provider that gave it.
    pub of: Provider,
    /// The provider at which it arrived.
    pub at: Provider,
    /// The service for mail at which it arrived; `None` is the token service.
    pub service: Option<Service>,
    /// The mailbox that it should open (as presented, folded); empty at a token service.
    pub mailbox: String,
}

/// All of them, in order.
#[derive(Default)]
pub(crate) struct ForeignTokens(Mutex<Vec<ForeignToken>>);

impl ForeignTokens {
    pub(crate) fn record(&self, token: ForeignToken) {
        let mut all = self.0.lock();
        if all.len() < ENTRIES {
            all.push(token);
        }
    }

    pub(crate) fn all(&self) -> Vec<ForeignToken> {
        self.0.lock().clone()
    }
}
