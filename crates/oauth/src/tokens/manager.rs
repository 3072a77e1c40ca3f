//! What the life of a token needs, in one place: the cache, the requests under way, what was refused, the sign-ins in use.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;

use crate::cache::{CONFIRMATION, Need, TokenCache};
use crate::endpoint::TokenEndpoint;
use crate::expiry::{self, Expiry};
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
use crate::tokens::sign_ins::SignIns;
use crate::tokens::user::User;
use crate::tokens::{explain, scope};
use gatepost_config::{Account, Accounts, Config, Grant, Resource};
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

/// A token at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenView {
    /// What it is for.
    pub resource: Resource,
    /// How long ago it was fetched.
    pub age: Duration,
    /// How long it still lasts.
    pub left: Duration,
}

/// Gets tokens, keeps them, renews them ahead of their end, and forgets them.
///
/// Who may have one is for the caller to say, except where Entra itself proves the password
/// ([`user_token`](Self::user_token)): there an [`AttemptGuard`] says whether Entra may be asked.
pub struct TokenManager {
    pub(super) config: Reloadable<Config>,
    pub(super) clock: Clock,
    pub(super) source: TokenSource,
    pub(super) cache: TokenCache,
    pub(super) flights: SingleFlight<FetchKey, Outcome>,
    pub(super) refused: RefusedPasswords,
    pub(super) standing: NegativeCache,
    pub(super) guard: Arc<dyn AttemptGuard>,
    /// Made at its first use: gathering the first randomness takes a while that a start should not wait for.
    proof_key: OnceLock<Option<PasswordDigestKey>>,
    pub(super) sign_ins: SignIns,
    pub(super) store: Arc<dyn Store>,
    sharing: Sharing,
    pub(super) metrics: Arc<Metrics>,
}

impl TokenManager {
    /// Gets tokens for the accounts of `config` from `endpoint`, by the sign-ins of `store` where a person has signed in.
    /// `guard` is asked before a password goes to Entra.
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

    /// Goes by the accounts and limits of `config` from now on, and gets tokens from `endpoint`. An account that has
    /// changed, or is gone, loses its tokens, and with them the passwords that Entra has proved for it.
    pub fn reconfigure(&self, config: Arc<Config>, endpoint: Arc<dyn TokenEndpoint>) {
        let limits = &config.limits;
        self.source.adjust(endpoint, limits);
        self.cache.adjust(limits.accepted_password_memory);
        self.refused.adjust(limits.refused_password_memory);
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

    /// The configuration that counts now.
    pub fn config(&self) -> Arc<Config> {
        self.config.get()
    }

    /// Tells of every other configuration from now on.
    pub fn changes(&self) -> watch::Receiver<Arc<Config>> {
        self.config.changes()
    }

    /// What asks for tokens: a sign-in that a person begins shares its bounds with everybody else's requests.
    pub fn source(&self) -> &TokenSource {
        &self.source
    }

    /// What `token` was used for did not take it: the next login fetches another, unless another was replaced within five
    /// minutes, because then the token is not what is wrong. True when trying again at once makes sense.
    pub fn replace(&self, key: &TupleKey, token: &Token) -> bool {
        self.cache.replace(key, token, self.clock.now())
    }

    /// Forgets which passwords Entra refused to `user`, and every refusal that stands for a while.
    pub fn forget_refusals(&self, user: User) {
        self.refused.forget_all(user);
        self.standing.clear();
    }

    /// The tokens of an account that are at hand for `login`.
    pub fn at_hand(&self, account: &Account, login: &MailAddress) -> Vec<TokenView> {
        let config = self.config.get();
        let application = &account.application;
        let tenant = application.tenant.of(login);
        let now = self.clock.now();
        let at_hand = |resource| {
            let scope = scope::of(account, resource, &config);
            let key = match account.grant {
                Grant::Password => token_key::of_user(application, tenant, &scope, login),
                Grant::ClientCredentials => token_key::of_application(application, tenant, &scope),
                Grant::AuthorizationCode | Grant::DeviceCode => {
                    token_key::of_sign_in(application, tenant, &scope, login)
                }
            };
            let (requested_at, expires_at) = self.cache.times(&key)?;
            Some(TokenView { resource, age: now.since(requested_at), left: expires_at.since(now) })
        };
        [Resource::Exchange, Resource::Graph].into_iter().filter_map(at_hand).collect()
    }

    /// The certificates and secrets of all applications whose end is known, the nearest first.
    pub async fn expiries(&self) -> Vec<Expiry> {
        let config = self.config.get();
        let accounts = config.accounts.entries();
        let mut applications: Vec<_> = accounts.iter().map(|account| Arc::clone(&account.application)).collect();
        // Neighbours mostly share one: with thousands of accounts that is what keeps it short.
        applications.dedup_by(|a, b| Arc::ptr_eq(a, b));
        expiry::list(self.source.credentials(), &applications).await
    }

    /// Forgets what is out of date.
    pub fn sweep(&self) {
        let now = self.clock.now();
        self.cache.sweep(now);
        self.refused.sweep(now);
        self.standing.sweep(now);
    }

    /// The proof of a password for `tuple`: what it is compared by from then on.
    ///
    /// # Errors
    /// A [`Failure`] when the system gives no randomness.
    pub fn prove(&self, tuple: &TupleKey, password: &Password) -> Result<PasswordDigest, Failure> {
        Ok(self.proof_key()?.prove(tuple, password))
    }

    /// The key of all proofs of this process.
    ///
    /// # Errors
    /// A [`Failure`] when the system gives no randomness.
    pub fn proof_key(&self) -> Result<&PasswordDigestKey, Failure> {
        self.proof_key.get_or_init(|| PasswordDigestKey::generate().ok()).as_ref().ok_or_else(explain::own_fault)
    }

    /// A token that another replica has fetched, when it is better than what was `seen` here and `fits`, or the turn to
    /// fetch one.
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
