//! Gets a token for a login: from the cache, or by a single request for all who wait. For
//! `grant: password` that request also checks the password.

use std::sync::Arc;
use std::time::Duration;

use crate::aadsts::Class;
use crate::cache::{Found, Need};
use crate::fetch_error::FetchError;
use crate::grant::{GrantRequest, TokenRequest};
use crate::managed_identity::IdentityError;
use crate::single_flight::Flight;
use crate::token::Token;
use crate::tokens::guard::Attempt;
use crate::tokens::manager::TokenManager;
use crate::tokens::outcome::{
    FetchFailure, FetchKey, FetchedToken, Outcome, class, code, is_news, login_name, obtain, tell,
};
use crate::tokens::replicas::Turn;
use crate::tokens::user::User;
use crate::tokens::{explain, scope};
use crate::{audience, token_key};
use gatepost_config::{Account, Cloud, Issuer, Resource};
use gatepost_core::account::MailAddress;
use gatepost_core::clock::Moment;
use gatepost_core::failure::Failure;
use gatepost_core::jitter;
use gatepost_core::secret::Password;
use gatepost_core::source::Source;

/// AADSTS50196, "the same request too often", needs a longer pause than a lock-out.
const LOOP_DETECTED: (u32, Duration) = (50196, Duration::from_secs(300));

/// After this time a refused password is tried again if the guard lets it: a new password, policy or
/// permission takes about a minute to arrive in all of Entra.
const TRIED_AGAIN: Duration = Duration::from_secs(120);

/// A user's login with `grant: password`.
#[derive(Clone, Copy, Debug)]
pub struct UserLogin<'a> {
    /// The account.
    pub account: &'a Account,
    /// The address that logs in.
    pub address: &'a MailAddress,
    /// The password that Entra checks.
    pub password: &'a Password,
    /// The source of the client's connection.
    pub source: Source,
    /// What the token is for.
    pub resource: Resource,
    /// The least remaining lifetime that the token should have.
    pub min_token_lifetime: Duration,
}

/// The data of a [`UserLogin`], owned by the task that asks Entra.
struct UserFetch {
    ask: TokenRequest,
    attempt: Attempt,
    need: Need,
    seen: Option<Token>,
}

impl TokenManager {
    /// The token that `login` may use, if its password is right. Ends within `limits.token_total`.
    ///
    /// # Errors
    /// A [`Failure`] that holds what the client is told, and what happened for the log.
    ///
    /// # Cancel safety
    /// May be dropped at any time: work that others wait for goes on.
    pub async fn user_token(self: &Arc<Self>, login: UserLogin<'_>) -> Result<FetchedToken, Failure> {
        let application = &login.account.application;
        let scope = &*scope::of(login.account, login.resource, &self.config.get()).into_owned();
        let need = Need { margin: login.account.token_expiry_margin, min_token_lifetime: login.min_token_lifetime };
        let tenant = application.issuer.tenant_of(login.address);
        let key = token_key::of_user(application, tenant, scope, login.address);
        let proof = self.prove(&key, login.password)?;
        let now = self.clock.now();
        let found = self.cache.look(&key, Some(&proof), need, now);
        self.metrics.token_looked_up(matches!(found, Found::Usable(..)));
        let attempt = Attempt {
            user: User::named(login.account, login.address),
            proof,
            source: login.source,
            proved: !matches!(found, Found::Nothing),
            // Only Entra checks passwords.
            cloud: application.issuer.cloud().unwrap_or(Cloud::Worldwide),
        };
        if !attempt.proved && self.is_refused(&attempt, now) {
            let code = self.refused_with(&attempt, now);
            return Err(explain::refused_before(code, login.address.as_str(), tenant));
        }
        let fly = |seen: Option<&Token>| {
            self.flights.join(FetchKey::User(proof), || {
                let ask = TokenRequest {
                    application: Arc::clone(application),
                    tenant: tenant.into(),
                    scope: scope.into(),
                    grant: GrantRequest::Password {
                        username: login.address.clone(),
                        password: Arc::new(Password::new(login.password.expose().to_owned())),
                    },
                };
                Arc::clone(self).run_user_fetch(UserFetch { ask, attempt: attempt.clone(), need, seen: seen.cloned() })
            })
        };
        obtain(&found, key, self.source.total(), fly).await
    }

    /// The request for the token with which the account's application opens `mailbox`. An
    /// application of Entra has one token in the tenant of `address` for all mailboxes, a service
    /// account one for each.
    pub(super) fn application_request(
        &self,
        account: &Account,
        address: &MailAddress,
        mailbox: &MailAddress,
        resource: Resource,
    ) -> TokenRequest {
        TokenRequest {
            application: Arc::clone(&account.application),
            tenant: account.application.issuer.tenant_of(address).into(),
            scope: scope::of(account, resource, &self.config.get()).into(),
            grant: match account.application.issuer {
                Issuer::Entra(_) => GrantRequest::ClientCredentials,
                Issuer::Provider(_) => GrantRequest::ServiceAccount { mailbox: mailbox.clone() },
            },
        }
    }

    /// The token with which the account's application opens `mailbox`. The caller must have checked
    /// the client's password, and that `address` may open the mailbox.
    ///
    /// # Errors
    /// A [`Failure`] that says why there is none.
    ///
    /// # Cancel safety
    /// As [`TokenManager::user_token`].
    pub async fn application_token(
        self: &Arc<Self>,
        account: &Account,
        address: &MailAddress,
        mailbox: &MailAddress,
        resource: Resource,
        min_token_lifetime: Duration,
    ) -> Result<FetchedToken, Failure> {
        let ask = self.application_request(account, address, mailbox, resource);
        let need = Need { margin: account.token_expiry_margin, min_token_lifetime };
        let key = ask.key();
        let found = self.cache.look(&key, None, need, self.clock.now());
        self.metrics.token_looked_up(matches!(found, Found::Usable(..)));
        obtain(&found, key, self.source.total(), |seen| self.fly_for_application(&ask, seen)).await
    }

    /// Renews the tokens of applications in use before they expire.
    pub(super) fn renew_applications(self: &Arc<Self>) {
        let config = self.config.get();
        for (ask, token) in self.cache.due(self.clock.now()) {
            // A request that was in progress during a reload may have left a token of an
            // application that is gone.
            if config.accounts.has_application(&ask.application) {
                self.fly_for_application(&ask, Some(&token));
            }
        }
    }

    pub(super) fn fly_for_application(self: &Arc<Self>, ask: &TokenRequest, seen: Option<&Token>) -> Flight<Outcome> {
        self.flights.join(FetchKey::Application(ask.key()), || {
            Arc::clone(self).run_application_fetch(ask.clone(), seen.cloned())
        })
    }

    async fn run_user_fetch(self: Arc<Self>, fetch: UserFetch) -> Outcome {
        let UserFetch { ask, mut attempt, need, seen } = fetch;
        let (key, proof, now) = (ask.key(), attempt.proof, self.clock.now());
        // Another flight may have ended since the caller looked.
        match self.cache.look(&key, Some(&proof), need, now) {
            Found::Usable(token, _) if is_news(&token, seen.as_ref()) => return Ok(token),
            Found::Usable(..) | Found::Proved => attempt.proved = true,
            Found::Nothing if self.is_refused(&attempt, now) => {
                let code = self.refused_with(&attempt, now);
                return Err(FetchFailure::refusal(explain::refused_before(code, login_name(&ask), &ask.tenant)));
            }
            Found::Nothing => attempt.proved = false,
        }
        let user = attempt.user;
        let standing_key = FetchKey::User(proof);
        if let Some(setback) = self.standing.get(&standing_key, now) {
            return Err(setback);
        }
        let holding = match self.turn(&ask, need, seen.as_ref(), |_| true).await {
            Turn::Shared(token) => {
                self.cache.insert(&ask, Some(proof), token.clone(), self.clock.now(), jitter::fraction());
                self.refused.forget(&proof);
                return Ok(token);
            }
            Turn::Ours(holding) => holding,
        };
        let mut patience = self.source.patience(&ask, seen.is_none());
        // The guard counts only what is on its way to Entra, not what waits.
        let (permit, fetched) = loop {
            let turn = match patience.turn().await {
                Ok(turn) => turn,
                Err(error) => break (None, Err(error)),
            };
            let guard = Arc::clone(&self.guard);
            let permit = guard.permit(attempt.clone(), login_name(&ask), self.clock.now()).await;
            let permit = permit.map_err(FetchFailure::passing)?;
            let fetched = match self.source.send(&ask, turn).await {
                Ok(issued) => Ok(issued.token),
                Err(error) => match patience.after(error) {
                    Ok(()) => continue,
                    Err(error) => Err(error),
                },
            };
            break (Some(permit), fetched);
        };
        let now = self.clock.now();
        let error = match fetched {
            Ok(token) => {
                self.cache.insert(&ask, Some(proof), token.clone(), now, jitter::fraction());
                holding.leave(&token);
                self.refused.forget(&proof);
                let person = audience::person(&token.access_token);
                if let Some(permit) = permit {
                    permit.accepted(person.map(|oid| User::person(&ask.application, &oid)), now);
                }
                return Ok(token);
            }
            Err(error) => error,
        };
        let setback = FetchFailure::of(&error, &ask);
        tell(&ask, &error, &setback, seen.is_none());
        match class(&error) {
            Some(Class::WrongPassword) => {
                let code = code(&error).and_then(|code| usize::try_from(code).ok());
                self.refused.add_noting(proof, user, code, now);
                if permit.is_some_and(|permit| permit.refused(now)) {
                    tracing::warn!(
                        login = login_name(&ask),
                        "so many wrong passwords were refused that no more are forwarded to Entra for this account"
                    );
                }
            }
            Some(Class::Locked) => {
                if let Some(permit) = permit {
                    permit.locked(now, rest(&error));
                }
            }
            _ => drop(permit),
        }
        if class(&error).is_some_and(Class::concerns_user) {
            self.cache.reject(&key, &proof);
            holding.forget();
        }
        self.keep_standing(standing_key, &error, &setback, now);
        Err(setback)
    }

    async fn run_application_fetch(self: Arc<Self>, ask: TokenRequest, seen: Option<Token>) -> Outcome {
        let (key, now) = (ask.key(), self.clock.now());
        let any = Need { margin: Duration::ZERO, min_token_lifetime: Duration::ZERO };
        // Another flight may have ended since the caller looked.
        if let Found::Usable(token, _) = self.cache.look(&key, None, any, now)
            && is_news(&token, seen.as_ref())
        {
            return Ok(token);
        }
        let wanted = FetchKey::Application(key);
        if let Some(setback) = self.standing.get(&wanted, now) {
            return Err(setback);
        }
        let holding = match self.turn(&ask, any, seen.as_ref(), |_| true).await {
            Turn::Shared(token) => {
                self.cache.insert(&ask, None, token.clone(), self.clock.now(), jitter::fraction());
                return Ok(token);
            }
            Turn::Ours(holding) => holding,
        };
        let fetched = self.source.fetch(&ask, seen.is_none()).await;
        let now = self.clock.now();
        match fetched {
            Ok(token) => {
                self.cache.insert(&ask, None, token.clone(), now, jitter::fraction());
                holding.leave(&token);
                Ok(token)
            }
            Err(error) => {
                // No password is in question, so the cached token stays in use until it expires.
                let setback = FetchFailure::sparing(&error, explain::of(&error, &ask));
                tell(&ask, &error, &setback, seen.is_none());
                self.keep_standing(wanted, &error, &setback, now);
                Err(setback)
            }
        }
    }

    /// Whether the password is refused from memory.
    fn is_refused(&self, attempt: &Attempt, now: Moment) -> bool {
        let age = self.refused.age(&attempt.proof, now);
        age.is_some_and(|age| age < TRIED_AGAIN || !self.guard.tries_again(attempt, now))
    }

    /// Entra's code of the refusal in memory.
    fn refused_with(&self, attempt: &Attempt, now: Moment) -> Option<u32> {
        self.refused.note(&attempt.proof, now)?.and_then(|code| u32::try_from(code).ok())
    }

    /// Remembers a refusal that asking again would not change. A wrong password is remembered
    /// longer, elsewhere ([`RefusedPasswords`](super::rejected::RefusedPasswords)).
    fn keep_standing(&self, wanted: FetchKey, error: &FetchError, setback: &Arc<FetchFailure>, now: Moment) {
        let stands = match error {
            FetchError::Refused(error) => !matches!(error.class, Class::WrongPassword | Class::Temporary),
            FetchError::WrongAudience(_) | FetchError::Identity(IdentityError::Refused { .. }) => true,
            _ => false,
        };
        if stands {
            self.standing.add(wanted, Arc::clone(setback), now);
        }
    }
}

fn rest(error: &FetchError) -> Duration {
    match error {
        FetchError::Refused(error) if error.code == Some(LOOP_DETECTED.0) => LOOP_DETECTED.1,
        _ => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::fake::FakeEndpoint;
    use crate::tokens::tests;
    use gatepost_config::{Accounts, Grant, LoginPattern};
    use gatepost_core::account::LoginName;
    use gatepost_core::clock::Clock;
    use gatepost_core::tuple_key::TupleKey;
    use gatepost_store::MemoryStore;

    #[tokio::test]
    async fn a_caller_who_looked_before_another_flight_landed_gets_what_it_brought() {
        let (entra, clock) = (FakeEndpoint::with_password("right"), Clock::manual());
        let pattern = LoginPattern::Domain("contoso.example".into());
        let everybody = Arc::new(tests::account(pattern, Grant::Password, &tests::application()));
        let tokens = tests::manager(Accounts::new(vec![everybody]), &entra, Arc::new(MemoryStore::default()), &clock);
        let config = tokens.config();
        let (account, address) = config.accounts.find(&LoginName::parse("alice@contoso.example").unwrap()).unwrap();
        let password = Arc::new(Password::new("right".into()));
        let user = TokenRequest {
            application: Arc::clone(&account.application),
            tenant: account.application.issuer.tenant_of(&address).into(),
            scope: scope::of(&account, Resource::Exchange, &config).into(),
            grant: GrantRequest::Password { username: address, password: Arc::clone(&password) },
        };
        let application = TokenRequest { grant: GrantRequest::ClientCredentials, ..user.clone() };
        let fetch = |seen: Option<&Token>| UserFetch {
            ask: user.clone(),
            attempt: Attempt {
                user: User::of(&TupleKey::encode(["alice"])),
                proof: tokens.prove(&user.key(), &password).unwrap(),
                source: Source::of(IpAddr::from([192, 0, 2, 1])),
                proved: false,
                cloud: Cloud::Worldwide,
            },
            need: Need { margin: Duration::ZERO, min_token_lifetime: Duration::ZERO },
            seen: seen.cloned(),
        };
        let tokens = || Arc::clone(&tokens);
        let first = tokens().run_user_fetch(fetch(None)).await.unwrap();
        assert!(tokens().run_user_fetch(fetch(None)).await.unwrap().is(&first));
        assert_eq!(entra.count(), 1);
        assert!(
            !tokens().run_user_fetch(fetch(Some(&first))).await.unwrap().is(&first),
            "the client that has seen it wants another"
        );

        // A password that another flight found to be wrong is not sent again.
        for _ in 0..2 {
            let wrong = Arc::new(Password::new("wrong".into()));
            let proof = tokens().prove(&user.key(), &wrong).unwrap();
            let attempt = Attempt { proof, ..fetch(None).attempt };
            let grant = GrantRequest::Password { username: tests::address("alice@contoso.example"), password: wrong };
            let ask = TokenRequest { grant, ..user.clone() };
            assert!(tokens().run_user_fetch(UserFetch { ask, attempt, ..fetch(None) }).await.is_err());
            assert_eq!(entra.count(), 3);
        }

        let first = tokens().run_application_fetch(application.clone(), None).await.unwrap();
        assert!(tokens().run_application_fetch(application.clone(), None).await.unwrap().is(&first));
        assert!(!tokens().run_application_fetch(application, Some(first.clone())).await.unwrap().is(&first));
        assert_eq!(entra.count(), 5);
    }
}
