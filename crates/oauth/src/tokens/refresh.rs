//! Gets a token by a person's sign-in. The stored refresh token is exchanged once for all who wait.
//! The new refresh token is durable before its access token is used.
//!
//! No error of Entra or the store loses a refresh token. A final refusal marks it. Only a new
//! sign-in or an operator replaces or removes it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::aadsts::Class;
use crate::cache::{Found, Need};
use crate::fetch_error::FetchError;
use crate::grant::{GrantRequest, TokenRequest};
use crate::single_flight::Flight;
use crate::token::Token;
use crate::tokens::manager::TokenManager;
use crate::tokens::outcome::{self, FetchFailure, FetchKey, FetchedToken, Outcome};
use crate::tokens::replicas::Turn;
use crate::tokens::sign_ins::{Known, TokenSubject};
use crate::tokens::{explain, scope};
use gatepost_config::LoginPattern;
use gatepost_core::account::MailAddress;
use gatepost_core::cause::Cause;
use gatepost_core::failure::Failure;
use gatepost_core::jitter;
use gatepost_core::secret::RefreshToken;
use gatepost_core::tuple_key::TupleKey;
use gatepost_store::{Lease, SignIn, SignInKey, SignInRefused, StoreError, Version};

/// How long after a refusal a refresh token is tried again.
const REFUSED: Duration = Duration::from_secs(3600);

/// A refresh token that was not used for this long is exchanged without a login, because Entra
/// forgets it after 90 days (Microsoft, "Refresh tokens in the Microsoft identity platform").
const UNUSED: Duration = Duration::from_secs(14 * 24 * 3600);

/// Longer than any exchange. After that a process that held the lease has died.
const LEASE: Duration = Duration::from_secs(60);
/// How long a login waits for another process that holds the lease, and how often it looks.
const LEASE_WAIT: Duration = Duration::from_secs(10);
const LEASE_POLL: Duration = Duration::from_millis(50);

/// Any remaining lifetime will do.
const ANY: Need = Need { margin: Duration::ZERO, min_token_lifetime: Duration::ZERO };

/// How often a record is read again that others keep changing.
const TRIES: usize = 3;

/// AADSTS65001: somebody has to consent to the requested permissions.
const CONSENT_NEEDED: u32 = 65001;
/// A sign-in as the store has it now, and whose it is.
struct Current<'a> {
    whose: &'a TokenSubject,
    key: &'a SignInKey,
    token_key: &'a TupleKey,
    record: SignIn,
    version: Version,
}

impl Current<'_> {
    fn known(&self) -> Known {
        Known {
            whose: self.whose.clone(),
            token_key: self.token_key.clone(),
            person: person(&self.record),
            standing: None,
        }
    }

    fn ask(&self, scope: &Arc<str>) -> TokenRequest {
        TokenRequest {
            application: Arc::clone(&self.whose.account.application),
            tenant: self.whose.tenant().into(),
            scope: Arc::clone(scope),
            grant: GrantRequest::RefreshToken {
                login: self.whose.login.clone(),
                refresh_token: Arc::new(copy(&self.record.refresh_token)),
            },
        }
    }
}

/// Which record counts after a write.
enum Kept {
    /// The record that was written.
    Ours,
    /// The record of another process.
    Theirs,
}

impl TokenManager {
    /// The token that a sign-in gives to `whose.login`. The caller must have checked the client's
    /// password before.
    ///
    /// # Errors
    /// A [`Failure`] that says why there is none, and whether a person must sign in.
    ///
    /// # Cancel safety
    /// As [`TokenManager::user_token`].
    pub async fn sign_in_token(
        self: &Arc<Self>,
        whose: TokenSubject,
        min_token_lifetime: Duration,
    ) -> Result<FetchedToken, Failure> {
        let scope = whose.scope(&self.config.get());
        let need = Need { margin: whose.account.token_expiry_margin, min_token_lifetime };
        let key = whose.token_key(&scope);
        let found = self.cache.look(&key, None, need, self.clock.now());
        self.metrics.token_looked_up(matches!(found, Found::Usable(..)));
        let fly = |seen: Option<&Token>| self.fly_for_sign_in(whose.clone(), Arc::clone(&scope), seen.cloned());
        outcome::obtain(&found, key, self.source.total(), fly).await
    }

    pub(super) fn fly_for_sign_in(
        self: &Arc<Self>,
        whose: TokenSubject,
        scope: Arc<str>,
        seen: Option<Token>,
    ) -> Flight<Outcome> {
        let key = whose.token_key(&scope);
        self.flights.join(FetchKey::SignIn(key.clone()), || Arc::clone(self).run_sign_in_fetch(whose, scope, key, seen))
    }

    async fn run_sign_in_fetch(
        self: Arc<Self>,
        whose: TokenSubject,
        scope: Arc<str>,
        token_key: TupleKey,
        seen: Option<Token>,
    ) -> Outcome {
        // Another flight may have ended since the caller looked.
        if let Found::Usable(token, _) = self.cache.look(&token_key, None, ANY, self.clock.now())
            && outcome::is_news(&token, seen.as_ref())
        {
            return Ok(token);
        }
        let key = whose.key();
        let current = self.exchangeable(&key, &whose, &token_key).await?;
        let ask = current.ask(&scope);
        // A token that another replica got by an earlier sign-in may be another person's.
        let since_sign_in = self.clock.unix_time().since(current.record.signed_in_at);
        let is_of_this_sign_in = |token: &Token| self.clock.now().since(token.requested_at) <= since_sign_in;
        let holding = match self.turn(&ask, ANY, seen.as_ref(), is_of_this_sign_in).await {
            Turn::Shared(token) => {
                self.sign_ins.put(&key, current.known());
                self.cache.insert(&ask, None, token.clone(), self.clock.now(), jitter::fraction());
                return Ok(token);
            }
            Turn::Ours(holding) => holding,
        };
        let lease = self.lease(&key).await;
        let outcome = self.refresh(&key, &whose, &scope, &token_key, seen.is_none()).await;
        if let Some(lease) = lease {
            // A lease that is not released expires by itself.
            let _ended = self.store.release(&lease).await;
        }
        match &outcome {
            Ok(token) => holding.leave(token),
            Err(setback) if setback.failure.cause == Cause::SignInNeeded => holding.forget(),
            Err(_) => {}
        }
        outcome
    }

    /// Exchanges the newest refresh token. Repeats this when another one came into the store
    /// meanwhile.
    async fn refresh(
        &self,
        key: &SignInKey,
        whose: &TokenSubject,
        scope: &Arc<str>,
        token_key: &TupleKey,
        waits: bool,
    ) -> Outcome {
        for _ in 0..TRIES {
            let current = self.exchangeable(key, whose, token_key).await?;
            if let Some(outcome) = self.exchange(current, scope, waits).await {
                return outcome;
            }
        }
        Err(FetchFailure::passing(explain::sign_in_unreadable(&StoreError::Changed)))
    }

    /// The newest record, if Entra may be asked about it now.
    async fn exchangeable<'a>(
        &self,
        key: &'a SignInKey,
        whose: &'a TokenSubject,
        token_key: &'a TupleKey,
    ) -> Result<Current<'a>, Arc<FetchFailure>> {
        let stored = self.store.sign_in(key).await;
        let stored = stored.map_err(|error| FetchFailure::passing(explain::sign_in_unreadable(&error)))?;
        let Some((record, version)) = stored else {
            return Err(FetchFailure::passing(explain::nobody_signed_in(&key.login)));
        };
        if let Some(refused) = record.refused.filter(|refused| self.clock.unix_time().since(refused.at) < REFUSED) {
            let title = whose.account.application.issuer.title();
            return Err(FetchFailure::passing(explain::sign_in_refused_before(&key.login, refused, title)));
        }
        if let Some(setback) = self.sign_ins.standing(key, whose.resource, version, self.clock.now()) {
            return Err(setback);
        }
        Ok(Current { whose, key, token_key, record, version })
    }

    /// Takes the right to exchange this token, which one process has at a time. There is none when
    /// the store does not answer or another process takes too long. Then the version of the record
    /// still tells which token is the newest.
    async fn lease(&self, key: &SignInKey) -> Option<Lease> {
        let deadline = Instant::now() + LEASE_WAIT;
        loop {
            match self.store.lease_sign_in(key, LEASE).await {
                Ok(None) if Instant::now() < deadline => sleep(LEASE_POLL).await,
                lease => return lease.ok().flatten(),
            }
        }
    }

    /// Does one exchange. Returns `None` when its result does not count any longer.
    async fn exchange(&self, current: Current<'_>, scope: &Arc<str>, waits: bool) -> Option<Outcome> {
        let ask = current.ask(scope);
        match self.source.issue(&ask, waits).await {
            Ok(issued) => {
                if issued.refresh_token.is_some() || current.record.refused.is_some() {
                    let refresh_token = issued.refresh_token.unwrap_or_else(|| copy(&current.record.refresh_token));
                    let renewed = SignIn {
                        refresh_token,
                        scope: scope.to_string(),
                        rotated_at: self.clock.unix_time(),
                        refused: None,
                        ..copied(&current.record)
                    };
                    if let Kept::Theirs = self.keep(&current, renewed).await {
                        return None;
                    }
                }
                self.sign_ins.put(current.key, current.known());
                self.cache.insert(&ask, None, issued.token.clone(), self.clock.now(), jitter::fraction());
                Some(Ok(issued.token))
            }
            Err(error) => self.not_exchanged(current, &ask, error, waits).await.map(Err),
        }
    }

    /// Remembers a refusal. Returns `None` when it was of a token that is no longer the newest.
    async fn not_exchanged(
        &self,
        current: Current<'_>,
        ask: &TokenRequest,
        error: FetchError,
        waits: bool,
    ) -> Option<Arc<FetchFailure>> {
        let login = &current.key.login;
        let setback = FetchFailure::sparing(&error, explain::refresh(&error, login, ask));
        if let FetchError::Refused(refused) = &error
            && explain::ends_sign_in(refused)
            // A person who has not consented to one resource may still use the other.
            && (current.whose.resource == scope::of_sign_in(&self.config.get()) || refused.code != Some(CONSENT_NEEDED))
        {
            let mark = SignInRefused { at: self.clock.unix_time(), code: refused.code };
            let marked = SignIn { refused: Some(mark), ..copied(&current.record) };
            if let Kept::Theirs = self.keep(&current, marked).await {
                return None;
            }
            tracing::warn!(
                login = login.as_str(),
                client_id = current.key.client_id,
                cause = setback.failure.cause.name(),
                code = refused.code,
                failure = %setback.failure,
                "a person must sign in again"
            );
            return Some(setback);
        }
        outcome::tell(ask, &error, &setback, waits);
        if outcome::class(&error).is_some_and(|class| class != Class::Temporary) {
            let until = self.clock.now().after(outcome::STANDING);
            let standing = Some((current.version, until, Arc::clone(&setback)));
            self.sign_ins.put(current.key, Known { standing, ..current.known() });
        }
        Some(setback)
    }

    /// Replaces the record that `current` holds. If another process has replaced it already, the
    /// newer of the two counts. If the store fails, the new record is used all the same: it stays
    /// in memory and is written again later ([`RetryingStore`](gatepost_store::RetryingStore)).
    async fn keep(&self, current: &Current<'_>, record: SignIn) -> Kept {
        let mut version = current.version;
        for _ in 0..TRIES {
            match self.store.put_sign_in(current.key, &record, Some(version)).await {
                Ok(_) => return Kept::Ours,
                Err(StoreError::Changed) => match self.store.sign_in(current.key).await {
                    Ok(Some((theirs, of_theirs))) if is_newer(&record, &theirs, &current.record) => version = of_theirs,
                    _ => return Kept::Theirs,
                },
                Err(error) => {
                    tracing::warn!(
                        login = current.key.login.as_str(),
                        "the newest refresh token is used although it is not durable: {error}. Gatepost admin: mend \
                         the store under `state`"
                    );
                    return Kept::Ours;
                }
            }
        }
        Kept::Theirs
    }

    /// Renews tokens in use before they expire.
    pub(super) fn renew_sign_ins(self: &Arc<Self>) {
        let config = self.config.get();
        for (_, known) in self.sign_ins.all() {
            if let Some(token) = self.cache.due_at(&known.token_key, self.clock.now()) {
                let scope = known.whose.scope(&config);
                self.fly_for_sign_in(known.whose, scope, Some(token));
            }
        }
    }

    /// Follows changes by other processes. A sign-in that was removed, or replaced by another
    /// person's, is no longer served from memory.
    pub(super) async fn follow_sign_ins(&self, last_revision: &mut Option<u64>) {
        let Ok(revision) = self.store.revision().await else { return };
        if last_revision.replace(revision) == Some(revision) {
            return;
        }
        for (key, known) in self.sign_ins.all() {
            let Ok(stored) = self.store.sign_in(&key.0).await else { return };
            if stored.is_none_or(|(record, _)| person(&record) != known.person) {
                self.sign_ins.remove(&key);
                self.cache.forget(&known.token_key);
                tracing::info!(login = key.0.login.as_str(), "the sign-in is gone, or is another person's");
            }
        }
    }

    /// Uses each refresh token that was not used for long, so that Entra does not forget it. Logs
    /// for which addresses somebody must sign in. `told` holds those that were logged.
    pub(super) async fn keep_sign_ins_alive(self: &Arc<Self>, told: &mut HashSet<SignInKey>) {
        let config = self.config.get();
        let accounts = &config.accounts;
        if !accounts.entries().iter().any(|account| account.grant.is_sign_in()) {
            return;
        }
        let Ok(stored) = self.store.sign_ins().await else { return };
        let mut stored: HashMap<SignInKey, SignIn> = stored.into_iter().collect();
        let of_patterns = stored.keys().map(|key| key.login.clone());
        let of_addresses = accounts.entries().iter().filter_map(|account| match &account.pattern {
            LoginPattern::Address(login) => Some(login.clone()),
            LoginPattern::Domain(_) | LoginPattern::Any => None,
        });
        let logins: BTreeSet<MailAddress> = of_patterns.chain(of_addresses).collect();
        for login in logins {
            let Some((account, login)) = accounts.find(login.as_login()).filter(|(found, _)| found.grant.is_sign_in())
            else {
                continue;
            };
            let whose = TokenSubject { account, login, resource: scope::of_sign_in(&config) };
            let key = whose.key();
            let failure = match stored.remove(&key) {
                None => explain::nobody_signed_in(&whose.login),
                Some(SignIn { refused: Some(refused), .. }) => {
                    explain::sign_in_refused_before(&whose.login, refused, whose.account.application.issuer.title())
                }
                Some(record) => {
                    told.remove(&key);
                    if self.clock.unix_time().since(record.rotated_at.max(record.signed_in_at)) >= UNUSED {
                        let scope = whose.scope(&config);
                        // The flight goes on without this task.
                        drop(self.fly_for_sign_in(whose, scope, None));
                    }
                    continue;
                }
            };
            if told.insert(key) {
                tracing::warn!(
                    login = whose.login.as_str(),
                    cause = failure.cause.name(),
                    "logins will be refused: {failure}"
                );
            }
        }
    }
}

/// Whether `ours` counts, of two records that replaced `before`. A new sign-in always counts.
/// Within the same sign-in the token that was fetched last counts.
fn is_newer(ours: &SignIn, theirs: &SignIn, before: &SignIn) -> bool {
    let same_sign_in = theirs.signed_in_at == ours.signed_in_at && person(theirs) == person(ours);
    // A mark on a token that they have exchanged meanwhile says nothing about theirs.
    let marks_an_old_one = ours.refused.is_some() && theirs.refresh_token.expose() != before.refresh_token.expose();
    same_sign_in && !marks_an_old_one && theirs.rotated_at <= ours.rotated_at
}

fn person(record: &SignIn) -> (String, String) {
    (record.tenant_id.clone(), record.object_id.clone())
}

fn copy(refresh_token: &RefreshToken) -> RefreshToken {
    RefreshToken::new(refresh_token.expose().to_owned())
}

fn copied(record: &SignIn) -> SignIn {
    SignIn {
        refresh_token: copy(&record.refresh_token),
        tenant_id: record.tenant_id.clone(),
        object_id: record.object_id.clone(),
        username: record.username.clone(),
        scope: record.scope.clone(),
        ..*record
    }
}

#[cfg(test)]
mod tests;
