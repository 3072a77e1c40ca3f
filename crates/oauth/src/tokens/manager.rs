//! The token manager. It holds the cache, the requests in progress, the refusals, and the sign-ins
//! in use.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;

use crate::cache::{CONFIRMATION, Need, TokenCache};
use crate::endpoint::TokenEndpoint;
use crate::expiry::{self, CredentialEnd, Expiry};
use crate::grant::{GrantRequest, TokenRequest};
use crate::password_digest::{PasswordDigest, PasswordDigestKey};
use crate::single_flight::SingleFlight;
use crate::source::TokenSource;
use crate::token::Token;
use crate::token_key;
use crate::tokens::guard::AttemptGuard;
use crate::tokens::outcome::{FetchKey, NegativeCache, Outcome};
use crate::tokens::rejected::RefusedPasswords;
use crate::tokens::replicas::{Sharing, Turn};
use crate::tokens::sign_ins::{self, SignIns};
use crate::tokens::user::User;
use crate::tokens::{explain, scope};
use gatepost_config::{Account, Accounts, Application, Config, Entra, Grant, Resource, Tenant};
use gatepost_core::account::MailAddress;
use gatepost_core::clock::Clock;
use gatepost_core::failure::Failure;
use gatepost_core::reloadable::Reloadable;
use gatepost_core::secret::Password;
use gatepost_core::tuple_key::TupleKey;
use gatepost_store::Store;
use gatepost_telemetry::metrics::Metrics;

/// A refused password is never answered from memory for longer.
const LONGEST_REFUSED_MEMORY: Duration = Duration::from_secs(24 * 3600);

/// A cached token, as the administrator sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenView {
    /// What it is for.
    pub resource: Resource,
    /// How long ago it was fetched.
    pub age: Duration,
    /// How long it is still valid.
    pub left: Duration,
}

/// Gets tokens, keeps them, renews them before they expire, and forgets them.
///
/// The caller decides who may have a token, except where Entra itself checks the password
/// ([`user_token`](Self::user_token)). There an [`AttemptGuard`] decides whether Entra may be
/// asked.
pub struct TokenManager {
    pub(super) config: Reloadable<Config>,
    pub(super) clock: Clock,
    pub(super) source: TokenSource,
    pub(super) cache: TokenCache,
    pub(super) flights: SingleFlight<FetchKey, Outcome>,
    pub(super) refused: RefusedPasswords,
    pub(super) standing: NegativeCache,
    pub(super) guard: Arc<dyn AttemptGuard>,
    /// Created at its first use: gathering the first randomness takes a while, and a start should
    /// not wait for it.
    proof_key: OnceLock<Option<PasswordDigestKey>>,
    pub(super) sign_ins: SignIns,
    pub(super) store: Arc<dyn Store>,
    sharing: Sharing,
    pub(super) metrics: Arc<Metrics>,
}

impl TokenManager {
    /// Gets tokens for the accounts of `config` from `endpoint`, by the sign-ins of `store` where a
    /// person has signed in. `guard` is asked before a password goes to Entra.
    pub fn new(
        config: Arc<Config>,
        endpoint: Arc<dyn TokenEndpoint>,
        store: Arc<dyn Store>,
        clock: Clock,
        metrics: Arc<Metrics>,
        guard: Arc<dyn AttemptGuard>,
    ) -> Arc<Self> {
        let limits = &config.limits;
        Arc::new(Self {
            source: TokenSource::new(endpoint, clock.clone(), limits).with_metrics(Arc::clone(&metrics)),
            cache: TokenCache::new(limits.accepted_password_memory),
            flights: SingleFlight::default(),
            refused: RefusedPasswords::new(limits.refused_password_memory, LONGEST_REFUSED_MEMORY),
            standing: NegativeCache::default(),
            guard,
            proof_key: OnceLock::new(),
            sign_ins: SignIns::default(),
            sharing: Sharing::new(Arc::clone(&store), clock.clone(), limits.token_total),
            store,
            config: Reloadable::new(config),
            clock,
            metrics,
        })
    }

    /// Uses the accounts and limits of `config` from now on, and gets tokens from `endpoint`. An
    /// account that has changed, or is gone, loses its tokens and the passwords that Entra has
    /// accepted for it. Refused passwords are tried again, if their budget allows.
    pub fn reconfigure(&self, config: Arc<Config>, endpoint: Arc<dyn TokenEndpoint>) {
        let limits = &config.limits;
        self.source.adjust(endpoint, limits);
        self.cache.adjust(limits.accepted_password_memory);
        self.refused.adjust(limits.refused_password_memory);
        self.refused.clear();
        self.sharing.adjust(limits.token_total);
        let former = self.config.set(Arc::clone(&config));
        let (before, after) = (&former.accounts, &config.accounts);
        if before == after {
            return;
        }
        self.cache.keep(|ask| after.has_application(&ask.application), |login| is_as_it_was(login, before, after));
        self.sign_ins.keep(|login, account| found(login, after).is_some_and(|now| *now == *account));
        self.standing.clear();
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        self.config.get()
    }

    /// Returns a receiver of every later configuration.
    pub fn changes(&self) -> watch::Receiver<Arc<Config>> {
        self.config.changes()
    }

    /// The token source. A person's sign-in uses it too, so that the same bounds apply to all
    /// requests.
    pub fn source(&self) -> &TokenSource {
        &self.source
    }

    /// Drops a token that the upstream refused, so that the next login fetches another. It stays if
    /// another one was replaced within five minutes, because then the token is not the cause.
    /// Returns true when trying again at once makes sense.
    pub fn replace(&self, key: &TupleKey, token: &Token) -> bool {
        self.cache.replace(key, token, self.clock.now())
    }

    /// Forgets which passwords Entra refused to `user`, and clears the negative cache.
    pub fn forget_refusals(&self, user: User) {
        self.refused.forget_all(user);
        self.standing.clear();
    }

    /// The cached tokens of an account for `login`.
    pub fn at_hand(&self, account: &Account, login: &MailAddress) -> Vec<TokenView> {
        let config = self.config.get();
        let application = &account.application;
        let tenant = application.issuer.tenant_of(login);
        let now = self.clock.now();
        let at_hand = |resource| {
            let scope = scope::of(account, resource, &config);
            let key = match account.grant {
                Grant::Password => token_key::of_user(application, tenant, &scope, login),
                Grant::ClientCredentials => {
                    self.application_request(account, login, account.own_mailbox(login), resource).key()
                }
                Grant::AuthorizationCode | Grant::DeviceCode => {
                    token_key::of_sign_in(application, tenant, &scope, login)
                }
            };
            let (requested_at, expires_at) = self.cache.times(&key)?;
            Some(TokenView { resource, age: now.since(requested_at), left: expires_at.since(now) })
        };
        [Resource::Exchange, Resource::Graph].into_iter().filter_map(at_hand).collect()
    }

    /// Whether a personal Microsoft account has signed in for `login`, as far as its token was used by
    /// this process.
    pub fn is_personal(&self, account: &Account, login: &MailAddress, resource: Resource) -> bool {
        match account.application.issuer.entra().map(|entra| &entra.tenant) {
            Some(Tenant::Consumers) => true,
            Some(Tenant::Common) => {
                let directory = self.sign_ins.directory(sign_ins::key(account, login), resource);
                directory.as_deref() == Some(Entra::PERSONAL_ACCOUNTS)
            }
            _ => false,
        }
    }

    /// The certificates and secrets of all applications whose expiry is known, the nearest first.
    pub async fn expiries(&self) -> Vec<Expiry> {
        let config = self.config.get();
        let accounts = config.accounts.entries();
        let mut applications: Vec<_> = accounts.iter().map(|account| Arc::clone(&account.application)).collect();
        // Neighbors mostly share an application, so this keeps the list short with thousands of
        // accounts.
        applications.dedup_by(|a, b| Arc::ptr_eq(a, b));
        expiry::list(self.source.credentials(), &applications).await
    }

    /// The secrets or certificates of an application with their ends.
    pub async fn ends(&self, application: &Application) -> Vec<CredentialEnd> {
        expiry::ends(self.source.credentials(), application).await
    }

    /// Forgets what is out of date.
    pub fn sweep(&self) {
        let now = self.clock.now();
        self.cache.sweep(now);
        self.refused.sweep(now);
        self.standing.sweep(now);
    }

    /// Returns the digest of a password for `tuple`, by which it is compared from then on.
    ///
    /// # Errors
    /// A [`Failure`] when the system gives no randomness.
    pub fn prove(&self, tuple: &TupleKey, password: &Password) -> Result<PasswordDigest, Failure> {
        Ok(self.proof_key()?.prove(tuple, password))
    }

    /// The key of all password digests of this process.
    ///
    /// # Errors
    /// A [`Failure`] when the system gives no randomness.
    pub fn proof_key(&self) -> Result<&PasswordDigestKey, Failure> {
        self.proof_key.get_or_init(|| PasswordDigestKey::generate().ok()).as_ref().ok_or_else(explain::own_fault)
    }

    /// Returns a token that another replica has fetched, or the turn to fetch one. Such a token
    /// must be newer than what was `seen` here, and `fits` must accept it.
    pub(super) async fn turn(
        &self,
        ask: &TokenRequest,
        need: Need,
        seen: Option<&Token>,
        fits: impl Fn(&Token) -> bool,
    ) -> Turn {
        let refused = self.cache.refused(&ask.key());
        let wanted = |token: &Token| {
            let now = self.clock.now();
            let confirmed = now.since(token.requested_at) < CONFIRMATION;
            let known = [seen, refused.as_ref()].into_iter().flatten();
            token.remaining(now) >= need.least(token.lifetime())
                && (confirmed || !matches!(ask.grant, GrantRequest::Password { .. }))
                && fits(token)
                && known.into_iter().all(|known| known.access_token.expose() != token.access_token.expose())
        };
        self.sharing.turn(ask, wanted).await
    }
}

impl std::fmt::Debug for TokenManager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenManager").finish_non_exhaustive()
    }
}

fn found(login: &MailAddress, accounts: &Accounts) -> Option<Arc<Account>> {
    accounts.find(login.as_login()).map(|(account, _)| account)
}

fn is_as_it_was(login: &MailAddress, before: &Accounts, after: &Accounts) -> bool {
    found(login, after).is_some_and(|now| found(login, before).is_some_and(|former| former == now))
}

#[cfg(test)]
mod tests;
