//! One token request for all replicas. The holder of the lease asks Entra and leaves the token in
//! the shared store. If replicas share no store, or it is unreachable, every process asks for
//! itself.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::cache::LEAST_LIFE;
use crate::grant::{GrantRequest, TokenRequest};
use crate::token::Token;
use gatepost_core::clock::Clock;
use gatepost_core::reloadable::Reloadable;
use gatepost_core::secret::Password;
use gatepost_core::tuple_key::TupleKey;
use gatepost_store::{Lease, SharedKey, SharedToken, Store};

/// Lifetime of a lease. A replica that dies with one delays the others for this long.
const LEASE: Duration = Duration::from_secs(5);

/// How often a lease is prolonged while its holder waits for Entra.
const PROLONG: Duration = Duration::from_millis(1_500);

/// How often a replica looks whether the token is there.
const POLL: Duration = Duration::from_millis(50);

/// Shares tokens with the other replicas.
pub(super) struct Sharing {
    store: Arc<dyn Store>,
    clock: Clock,
    patience: Reloadable<Duration>,
}

/// What a replica may do now.
pub(super) enum Turn {
    /// Use the token that another replica has fetched.
    Shared(Token),
    /// Ask Entra.
    Ours(Holding),
}

/// The right to ask Entra. Dropping it releases the lease.
pub(super) struct Holding(Option<Held>);

struct Held {
    store: Arc<dyn Store>,
    clock: Clock,
    key: OwnedKey,
    lease: Lease,
    prolonging: JoinHandle<()>,
}

struct OwnedKey {
    token: TupleKey,
    password: Option<Arc<Password>>,
}

impl OwnedKey {
    fn of(ask: &TokenRequest) -> Self {
        let password = match &ask.grant {
            GrantRequest::Password { password, .. } => Some(Arc::clone(password)),
            // Clients that use these tokens are authenticated elsewhere.
            _ => None,
        };
        Self { token: ask.key(), password }
    }

    fn shared(&self) -> SharedKey<'_> {
        SharedKey { token: &self.token, password: self.password.as_deref() }
    }
}

impl Sharing {
    /// Shares through `store`, and waits at most `patience` for another replica.
    pub(super) fn new(store: Arc<dyn Store>, clock: Clock, patience: Duration) -> Self {
        Self { store, clock, patience: Reloadable::new(patience) }
    }

    /// Changes the longest wait.
    pub(super) fn adjust(&self, patience: Duration) {
        self.patience.set(patience);
    }

    /// Waits until another replica has left a token that is `wanted`, or until it is this replica's
    /// turn to ask for one.
    pub(super) async fn turn(&self, ask: &TokenRequest, wanted: impl Fn(&Token) -> bool) -> Turn {
        let alone = Turn::Ours(Holding(None));
        let Some(tokens) = self.store.shared_tokens() else { return alone };
        let (key, give_up) = (OwnedKey::of(ask), Instant::now() + *self.patience.get());
        let mut lease = None;
        loop {
            let found = match tokens.token(key.shared()).await {
                Ok(found) => found.map(|token| self.here(token)),
                Err(_away) => return alone,
            };
            if let Some(token) = found.filter(|token| token.remaining(self.clock.now()) >= LEAST_LIFE && wanted(token))
            {
                if let Some(lease) = lease {
                    drop(self.hold(key, lease));
                }
                return Turn::Shared(token);
            }
            // A token may have been left between the look and the lease. So there is another look
            // with the lease held.
            if let Some(lease) = lease {
                return Turn::Ours(self.hold(key, lease));
            }
            match tokens.lease_request(key.shared(), LEASE).await {
                Ok(Some(ours)) => lease = Some(ours),
                Ok(None) if Instant::now() < give_up => sleep(POLL).await,
                Ok(None) | Err(_) => return alone,
            }
        }
    }

    fn hold(&self, key: OwnedKey, lease: Lease) -> Holding {
        let (store, held) = (Arc::clone(&self.store), lease.clone());
        let prolonging = tokio::spawn(async move {
            let Some(tokens) = store.shared_tokens() else { return };
            loop {
                sleep(PROLONG).await;
                // While the store is away nobody else can take the lease either.
                if let Ok(false) = tokens.prolong(&held, LEASE).await {
                    return;
                }
            }
        });
        Holding(Some(Held { store: Arc::clone(&self.store), clock: self.clock.clone(), key, lease, prolonging }))
    }

    /// Converts a token to this process's clock. The replicas' clocks agree, except for less than
    /// the margin that a token has anyway.
    fn here(&self, token: SharedToken) -> Token {
        let (now, time) = (self.clock.now(), self.clock.unix_time());
        Token {
            access_token: token.access_token,
            requested_at: now.before(time.since(token.requested_at)),
            expires_at: now.after(token.expires_at.since(time)),
        }
    }
}

impl Holding {
    /// Leaves Entra's token for the other replicas. No login waits for that.
    pub(super) fn leave(mut self, token: &Token) {
        let Some(held) = self.0.take() else { return };
        let (now, time) = (held.clock.now(), held.clock.unix_time());
        let life = token.remaining(now);
        let shared = SharedToken {
            access_token: Arc::clone(&token.access_token),
            requested_at: time.before(now.since(token.requested_at)),
            expires_at: time.after(life),
        };
        held.end(Some((shared, life)));
    }

    /// Removes a shared token, because Entra refused the password or sign-in that earned it.
    pub(super) fn forget(&self) {
        let Some(Held { store, key, .. }) = &self.0 else { return };
        let (store, key) = (Arc::clone(store), OwnedKey { token: key.token.clone(), password: key.password.clone() });
        tokio::spawn(async move {
            if let Some(tokens) = store.shared_tokens()
                && let Err(error) = tokens.forget(key.shared()).await
            {
                tracing::debug!("a token that replicas share could not be taken away: {error}");
            }
        });
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        if let Some(held) = self.0.take() {
            held.end(None);
        }
    }
}

impl Held {
    /// Leaves a token, if there is one, and then releases the lease.
    fn end(self, left: Option<(SharedToken, Duration)>) {
        // Without a runtime the process is ending, and the lease expires by itself.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            if let (Some((token, life)), Some(tokens)) = (&left, self.store.shared_tokens())
                && let Err(error) = tokens.leave(self.key.shared(), token, *life).await
            {
                tracing::debug!("a token could not be left for other replicas: {error}");
            }
            self.prolonging.abort();
            if let Err(error) = self.store.release(&self.lease).await {
                tracing::debug!("a lease could not be given back, and ends by itself: {error}");
            }
        });
    }
}

#[cfg(test)]
mod tests;
