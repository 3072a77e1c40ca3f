//! Gets a token from Entra although the cache may have one: only a new one says what Entra permits
//! now. It replaces the cached one, so that logins profit from it.

use std::sync::Arc;

use crate::cache::{Found, Need};
use crate::token::Token;
use crate::tokens::explain;
use crate::tokens::manager::TokenManager;
use crate::tokens::outcome::{FetchKey, FetchedToken, TokenOrigin};
use crate::tokens::sign_ins::TokenSubject;
use gatepost_config::{Account, Resource};
use gatepost_core::account::MailAddress;
use gatepost_core::failure::Failure;
use gatepost_core::tuple_key::TupleKey;

/// Any lifetime will do.
const ANY: Need = Need { margin: std::time::Duration::ZERO, min_token_lifetime: std::time::Duration::ZERO };

impl TokenManager {
    /// Returns a token with which the account's application opens `mailbox`, which Entra or another
    /// provider has issued for this call or for another that waits for the same. A refusal that is
    /// remembered does not count.
    ///
    /// # Errors
    /// A [`Failure`] that says why there is none, even if a cached token is still valid.
    ///
    /// # Cancel safety
    /// As [`TokenManager::user_token`].
    pub async fn fresh_application_token(
        self: &Arc<Self>,
        account: &Account,
        address: &MailAddress,
        mailbox: &MailAddress,
        resource: Resource,
    ) -> Result<FetchedToken, Failure> {
        let ask = self.application_request(account, address, mailbox, resource);
        let key = ask.key();
        self.standing.forget(&FetchKey::Application(key.clone()));
        let seen = self.seen(&key);
        let outcome = self.fly_for_application(&ask, seen.as_ref()).result().await;
        finished(outcome, key)
    }

    /// Like [`TokenManager::fresh_application_token`], for an account for which a person has signed
    /// in. A sign-in that Entra refused within the last hour is refused from memory.
    ///
    /// # Errors
    /// A [`Failure`] that says why there is none.
    ///
    /// # Cancel safety
    /// As [`TokenManager::user_token`].
    pub async fn fresh_sign_in_token(self: &Arc<Self>, whose: TokenSubject) -> Result<FetchedToken, Failure> {
        let scope = whose.scope(&self.config.get());
        let key = whose.token_key(&scope);
        let seen = self.seen(&key);
        let outcome = self.fly_for_sign_in(whose, scope, seen).result().await;
        finished(outcome, key)
    }

    fn seen(&self, key: &TupleKey) -> Option<Token> {
        match self.cache.look(key, None, ANY, self.clock.now()) {
            Found::Usable(token, _) => Some(token),
            Found::Proved | Found::Nothing => None,
        }
    }
}

fn finished(outcome: Option<crate::tokens::outcome::Outcome>, key: TupleKey) -> Result<FetchedToken, Failure> {
    match outcome {
        Some(Ok(token)) => Ok(FetchedToken { token, origin: TokenOrigin::Fetched, key }),
        Some(Err(failed)) => Err(failed.failure.clone()),
        None => Err(explain::own_fault()),
    }
}
