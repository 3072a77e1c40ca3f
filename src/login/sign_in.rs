//! A token by a person's sign-in: the refresh token of the store is exchanged, once for all who wait, and the newer one
//! that comes back is durable before its access token is used.
//!
//! Nothing that Entra or the store does loses a refresh token. A final refusal marks it; only a new sign-in or an operator
//! replaces or removes it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use tokio::time::{Instant, sleep, timeout};

use crate::account::MailAddress;
use crate::clock::Moment;
use crate::config::{Account, LoginPattern};
use crate::failure::Failure;
use crate::login::tokens::{self, Errand, Obtained, Outcome, Setback};
use crate::login::{Gatekeeper, explain, scope};
use crate::oauth::Token;
use crate::oauth::aadsts::Class;
use crate::oauth::cache::{Found, Need};
use crate::oauth::flight::Flight;
use crate::oauth::grant::{Ask, GrantRequest, TokenKey};
use crate::oauth::retry::chance;
use crate::oauth::source::FetchError;
use crate::secret::RefreshToken;
use crate::store::{Lease, SignIn, SignInKey, SignInRefused, StoreError, Stored, Version};

/// A refused refresh token is tried again so rarely.
const REFUSED: Duration = Duration::from_secs(3600);

/// A refresh token that was not used for so long is exchanged without a login: Entra forgets it after 90 days (Microsoft,
/// "Refresh tokens in the Microsoft identity platform").
const UNUSED: Duration = Duration::from_secs(14 * 24 * 3600);

/// The store's own deadlines are shorter; a login does not wait longer for it.
const STORE: Duration = Duration::from_secs(5);

/// Longer than any exchange; after that a process that had the lease has died.
const LEASE: Duration = Duration::from_secs(60);
/// How long a login waits for another process that has it, and how often it looks.
const LEASE_WAIT: Duration = Duration::from_secs(10);
const LEASE_POLL: Duration = Duration::from_millis(50);

/// How often a record that others keep changing is read anew.
const TRIES: usize = 3;

/// Most sign-ins remembered besides the store.
const ENTRIES: usize = 100_000;

/// For whom a token is wanted.
#[derive(Clone, Debug)]
pub(super) struct Whose {
    pub(super) account: Arc<Account>,
    pub(super) login: MailAddress,
}

impl Whose {
    fn key(&self) -> SignInKey {
        key(&self.account, &self.login)
    }
}

/// Under which the store keeps the sign-in of `login`.
pub(crate) fn key(account: &Account, login: &MailAddress) -> SignInKey {
    let application = &account.application;
    SignInKey {
        login: login.clone(),
        authority: application.authority.as_str().to_owned(),
        tenant: application.tenant.clone(),
        client_id: application.client_id.clone(),
    }
}

/// What this process knows about one sign-in.
#[derive(Clone, Debug)]
struct Known {
    whose: Whose,
    /// Where its access token is kept.
    token_key: TokenKey,
    record: Arc<SignIn>,
    /// Of the record that is in the store.
    version: Version,
    /// `record` is newer than what is in the store.
    unsaved: bool,
    /// A refusal that asking again would not change, and until when.
    standing: Option<(Moment, Arc<Setback>)>,
}

/// The sign-ins that this process has used: a copy that is at hand when the store is not, and what the store did not take.
#[derive(Debug, Default)]
pub(super) struct SignIns {
    known: DashMap<SignInKey, Known>,
}

impl SignIns {
    /// What is newest, given what the store holds.
    fn newest(&self, key: &SignInKey, whose: &Whose, token_key: &TokenKey, stored: (SignIn, Version)) -> Known {
        let (record, version) = stored;
        if let Some(known) = self.known.get(key).filter(|known| known.version == version) {
            return known.clone();
        }
        let known = Known {
            whose: whose.clone(),
            token_key: token_key.clone(),
            record: Arc::new(record),
            version,
            unsaved: false,
            standing: None,
        };
        self.put(key, known.clone());
        known
    }

    fn put(&self, key: &SignInKey, known: Known) {
        if self.known.len() >= ENTRIES && !self.known.contains_key(key) {
            // What is in the store need not be remembered.
            self.known.retain(|_, known| known.unsaved);
        }
        self.known.insert(key.clone(), known);
    }

    fn get(&self, key: &SignInKey) -> Option<Known> {
        self.known.get(key).map(|known| known.clone())
    }

    fn forget(&self, key: &SignInKey) {
        self.known.remove(key);
    }

    fn all(&self) -> Vec<(SignInKey, Known)> {
        self.known.iter().map(|entry| (entry.key().clone(), entry.value().clone())).collect()
    }
}

/// What became of a record that was to be kept.
enum Kept {
    /// It counts: it is in the store, or in memory as long as the store does not take it.
    Ours,
    /// Another one counts.
    Theirs,
}

impl Gatekeeper {
    /// The token that somebody's sign-in gives to `whose.login`. The client's password must have been proved before.
    pub(super) async fn sign_in_token(
        self: &Arc<Self>,
        whose: Whose,
        want_life: Duration,
    ) -> Result<Obtained, Failure> {
        let scope: Arc<str> = scope::of(&whose.account, &self.config).into();
        let need = Need { margin: whose.account.token_expiry_margin, want_life };
        let key = TokenKey::of_sign_in(&whose.account.application, &scope, &whose.login);
        let found = self.cache.look(&key, None, need, self.clock.now());
        tokens::obtain(&found, key, |seen| self.fly_for_sign_in(whose, scope, seen.cloned())).await
    }

    fn fly_for_sign_in(self: &Arc<Self>, whose: Whose, scope: Arc<str>, seen: Option<Token>) -> Flight<Outcome> {
        let key = TokenKey::of_sign_in(&whose.account.application, &scope, &whose.login);
        self.flights.join(Errand::SignIn(key.clone()), || Arc::clone(self).run_sign_in_errand(whose, scope, key, seen))
    }

    async fn run_sign_in_errand(
        self: Arc<Self>,
        whose: Whose,
        scope: Arc<str>,
        token_key: TokenKey,
        seen: Option<Token>,
    ) -> Outcome {
        let any = Need { margin: Duration::ZERO, want_life: Duration::ZERO };
        // Another flight may have landed since the caller looked.
        if let Found::Usable(token, _) = self.cache.look(&token_key, None, any, self.clock.now())
            && tokens::is_news(&token, seen.as_ref())
        {
            return Ok(token);
        }
        for _ in 0..TRIES {
            if let Some(outcome) = self.refresh(&whose, &scope, &token_key).await {
                return outcome;
            }
        }
        Err(Setback::passing(explain::sign_in_unreadable(&StoreError::Changed)))
    }

    /// One exchange of the newest refresh token, while no other process does the same; nothing when another one came into
    /// the store meanwhile.
    async fn refresh(&self, whose: &Whose, scope: &Arc<str>, token_key: &TokenKey) -> Option<Outcome> {
        let key = whose.key();
        if let Err(setback) = self.exchangeable(&key, whose, token_key).await {
            return Some(Err(setback));
        }
        let lease = self.lease(&key).await;
        let outcome = match self.exchangeable(&key, whose, token_key).await {
            Ok(known) => self.exchange(&key, known, scope).await,
            Err(setback) => Some(Err(setback)),
        };
        if let Some(lease) = lease {
            // One that is not given back ends by itself.
            let _ended = in_time(self.store.release(&lease)).await;
        }
        outcome
    }

    /// The newest record, if Entra may be asked about it now.
    async fn exchangeable(&self, key: &SignInKey, whose: &Whose, token_key: &TokenKey) -> Result<Known, Arc<Setback>> {
        let known = self.look_up(key, whose, token_key).await.map_err(Setback::passing)?;
        let today = self.clock.unix_time();
        if let Some(refused) = known.record.refused.filter(|refused| today.since(refused.at) < REFUSED) {
            return Err(Setback::passing(explain::sign_in_refused_before(&whose.login, refused)));
        }
        match &known.standing {
            Some((until, setback)) if self.clock.now() < *until => Err(Arc::clone(setback)),
            _ => Ok(known),
        }
    }

    /// The right to exchange this token, which one process has at a time. Without it, when the store does not answer or
    /// another process does not come to an end, the version of the record still tells which token is the newest.
    async fn lease(&self, key: &SignInKey) -> Option<Lease> {
        let deadline = Instant::now() + LEASE_WAIT;
        loop {
            match in_time(self.store.lease_sign_in(key, LEASE)).await {
                Ok(None) if Instant::now() < deadline => sleep(LEASE_POLL).await,
                lease => return lease.ok().flatten(),
            }
        }
    }

    async fn exchange(&self, key: &SignInKey, known: Known, scope: &Arc<str>) -> Option<Outcome> {
        let whose = &known.whose;
        let ask = Ask {
            application: Arc::clone(&whose.account.application),
            scope: Arc::clone(scope),
            grant: GrantRequest::RefreshToken {
                login: whose.login.clone(),
                refresh_token: Arc::new(copy(&known.record.refresh_token)),
            },
        };
        match self.source.issue(&ask).await {
            Ok(issued) => {
                if issued.refresh_token.is_some() || known.record.refused.is_some() {
                    let refresh_token = issued.refresh_token.unwrap_or_else(|| copy(&known.record.refresh_token));
                    let renewed = SignIn {
                        refresh_token,
                        scope: scope.to_string(),
                        rotated_at: self.clock.unix_time(),
                        refused: None,
                        ..copied(&known.record)
                    };
                    if let Kept::Theirs = self.keep(key, &known, renewed).await {
                        return None;
                    }
                }
                self.cache.insert(&ask, None, issued.token.clone(), self.clock.now(), chance());
                Some(Ok(issued.token))
            }
            Err(error) => self.not_refreshed(key, known, &ask, error).await.map(Err),
        }
    }

    /// Remembers a refusal; nothing when it was of a token that is not the newest any longer.
    async fn not_refreshed(&self, key: &SignInKey, known: Known, ask: &Ask, error: FetchError) -> Option<Arc<Setback>> {
        let setback = Setback::passing(explain::refresh(&error, &key.login));
        match &error {
            FetchError::Refused(refused) if explain::ends_sign_in(refused) => {
                let refused = SignInRefused { at: self.clock.unix_time(), code: refused.code };
                let marked = SignIn { refused: Some(refused), ..copied(&known.record) };
                if let Kept::Theirs = self.keep(key, &known, marked).await {
                    return None;
                }
                tracing::warn!(
                    login = key.login.as_str(),
                    client_id = key.client_id,
                    cause = setback.failure.cause,
                    code = refused.code,
                    failure = %setback.failure,
                    "a person must sign in again"
                );
                return Some(setback);
            }
            _ => tokens::tell(ask, &error, &setback),
        }
        if tokens::class(&error).is_some_and(|class| class != Class::Temporary) {
            let until = self.clock.now().after(tokens::STANDING);
            self.sign_ins.put(key, Known { standing: Some((until, Arc::clone(&setback))), ..known });
        }
        Some(setback)
    }

    /// The newest record, from the store if it answers, else as this process knows it.
    async fn look_up(&self, key: &SignInKey, whose: &Whose, token_key: &TokenKey) -> Result<Known, Failure> {
        match in_time(self.store.sign_in(key)).await {
            Ok(Some(stored)) => Ok(self.sign_ins.newest(key, whose, token_key, stored)),
            Ok(None) => {
                self.sign_ins.forget(key);
                Err(explain::nobody_signed_in(&key.login))
            }
            Err(error) => {
                let known = self.sign_ins.get(key).ok_or_else(|| explain::sign_in_unreadable(&error))?;
                tracing::warn!(
                    login = key.login.as_str(),
                    "the store does not give the sign-in, the one in memory is used: {error}; whoever runs Gatepost: mend the store under `state`"
                );
                Ok(known)
            }
        }
    }

    /// Puts a record in the place of the one that `before` holds. When somebody else has replaced that one, the newer of
    /// the two counts; a store that fails does not keep the new one from being used.
    async fn keep(&self, key: &SignInKey, before: &Known, record: SignIn) -> Kept {
        let mut known = Known { record: Arc::new(record), unsaved: false, standing: None, ..before.clone() };
        for _ in 0..TRIES {
            match in_time(self.store.put_sign_in(key, &known.record, Some(known.version))).await {
                Ok(version) => {
                    self.sign_ins.put(key, Known { version, ..known });
                    return Kept::Ours;
                }
                Err(StoreError::Changed) => match in_time(self.store.sign_in(key)).await {
                    Ok(Some((theirs, version))) if is_newer(&known.record, &theirs, &before.record) => {
                        known.version = version;
                    }
                    Ok(_) => return Kept::Theirs,
                    Err(error) => return self.keep_in_memory(key, known, &error),
                },
                Err(error) => return self.keep_in_memory(key, known, &error),
            }
        }
        Kept::Theirs
    }

    fn keep_in_memory(&self, key: &SignInKey, known: Known, error: &StoreError) -> Kept {
        tracing::error!(
            login = key.login.as_str(),
            "the store did not take the newest refresh token, it stays in memory and is offered again: {error}; whoever runs Gatepost: mend the store under `state`"
        );
        self.sign_ins.put(key, Known { unsaved: true, ..known });
        Kept::Ours
    }

    /// Offers the store again what it did not take.
    pub(super) async fn save_sign_ins(&self) {
        for (key, known) in self.sign_ins.all().into_iter().filter(|(_, known)| known.unsaved) {
            match in_time(self.store.put_sign_in(&key, &known.record, Some(known.version))).await {
                Ok(version) => {
                    tracing::info!(login = key.login.as_str(), "the store has the newest refresh token again");
                    let mut entry = self.sign_ins.known.entry(key).or_insert_with(|| known.clone());
                    // A refresh may have brought a newer one meanwhile, which is offered next.
                    entry.unsaved = !Arc::ptr_eq(&entry.record, &known.record);
                    entry.version = version;
                }
                // Whatever is there is looked at before it is used.
                Err(StoreError::Changed) => {
                    let changed = self.look_up(&key, &known.whose, &known.token_key).await;
                    tracing::debug!(login = key.login.as_str(), known = changed.is_ok(), "the sign-in was replaced");
                }
                Err(error) => tracing::debug!(login = key.login.as_str(), %error, "the store still does not take it"),
            }
        }
    }

    /// Renews tokens in use ahead of their end.
    pub(super) fn renew_sign_ins(self: &Arc<Self>) {
        for (_, known) in self.sign_ins.all() {
            if let Some(token) = self.cache.due_at(&known.token_key, self.clock.now()) {
                let scope: Arc<str> = scope::of(&known.whose.account, &self.config).into();
                self.fly_for_sign_in(known.whose, scope, Some(token));
            }
        }
    }

    /// Looks after changes that another process made: whoever signed out, or was replaced by somebody else, is not served
    /// from memory any longer.
    pub(super) async fn follow_sign_ins(&self, last_revision: &mut Option<u64>) {
        let Ok(revision) = in_time(self.store.revision()).await else { return };
        if last_revision.replace(revision) == Some(revision) {
            return;
        }
        for (key, known) in self.sign_ins.all() {
            let Ok(stored) = in_time(self.store.sign_in(&key)).await else { return };
            let same = stored.as_ref().is_some_and(|(record, _)| is_same_person(record, &known.record));
            if !same {
                self.sign_ins.forget(&key);
                self.cache.forget(&known.token_key);
                tracing::info!(login = key.login.as_str(), "the sign-in is gone, or is another person's");
            }
        }
    }

    /// Uses each refresh token that nobody needed for long, so that Entra does not forget it, and says for which
    /// addresses somebody must sign in. `told` are those of whom it was said.
    pub(super) async fn keep_sign_ins_alive(self: &Arc<Self>, told: &mut HashSet<SignInKey>) {
        let accounts = &self.config.accounts;
        if !accounts.entries().iter().any(|account| account.grant.is_sign_in()) {
            return;
        }
        let Ok(stored) = in_time(self.store.sign_ins()).await else { return };
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
            let whose = Whose { account, login };
            let key = whose.key();
            let failure = match stored.remove(&key) {
                None => explain::nobody_signed_in(&whose.login),
                Some(SignIn { refused: Some(refused), .. }) => explain::sign_in_refused_before(&whose.login, refused),
                Some(record) => {
                    told.remove(&key);
                    if self.clock.unix_time().since(record.rotated_at.max(record.signed_in_at)) >= UNUSED {
                        let scope = scope::of(&whose.account, &self.config).into();
                        // The flight goes on without us.
                        drop(self.fly_for_sign_in(whose, scope, None));
                    }
                    continue;
                }
            };
            if told.insert(key) {
                tracing::warn!(
                    login = whose.login.as_str(),
                    cause = failure.cause,
                    "logins will be refused: {failure}"
                );
            }
        }
    }
}

/// Of two records that took the place of `before`: whether `ours` counts. A new sign-in always does; of one and the same
/// the token that was fetched last.
fn is_newer(ours: &SignIn, theirs: &SignIn, before: &SignIn) -> bool {
    let same_sign_in = theirs.signed_in_at == ours.signed_in_at && is_same_person(theirs, ours);
    // A mark on a token that they have exchanged meanwhile says nothing about theirs.
    let marks_an_old_one = ours.refused.is_some() && theirs.refresh_token.expose() != before.refresh_token.expose();
    same_sign_in && !marks_an_old_one && theirs.rotated_at <= ours.rotated_at
}

pub(crate) fn is_same_person(one: &SignIn, other: &SignIn) -> bool {
    one.tenant_id == other.tenant_id && one.object_id == other.object_id
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

/// What the store says, within [`STORE`].
async fn in_time<T>(call: Stored<'_, T>) -> Result<T, StoreError> {
    timeout(STORE, call).await.unwrap_or_else(|_| Err(StoreError::Unavailable("it is too slow".into())))
}

#[cfg(test)]
mod tests;
