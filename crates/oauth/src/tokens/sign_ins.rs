//! The sign-ins that this process has used, and the state of each.

use std::sync::Arc;

use crate::token_key;
use crate::tokens::outcome::FetchFailure;
use crate::tokens::scope;
use gatepost_config::{Account, Config, Resource};
use gatepost_core::account::MailAddress;
use gatepost_core::bounded_map::SharedMap;
use gatepost_core::clock::Moment;
use gatepost_core::tuple_key::TupleKey;
use gatepost_store::{SignInKey, Version};

/// Most sign-ins remembered. The one that was used first is dropped first, and is added again at
/// its next use.
const ENTRIES: usize = 100_000;

/// Number of parts, each with its own lock.
const PARTS: usize = 16;

/// Who needs a token, and for what.
#[derive(Clone, Debug)]
pub struct TokenSubject {
    /// The account.
    pub account: Arc<Account>,
    /// The address that logs in.
    pub login: MailAddress,
    /// What the token is for: one refresh token gives one for each resource.
    pub resource: Resource,
}

impl TokenSubject {
    pub(super) fn key(&self) -> SignInKey {
        key(&self.account, &self.login)
    }

    pub(super) fn scope(&self, config: &Config) -> Arc<str> {
        scope::of(&self.account, self.resource, config).into()
    }

    pub(super) fn tenant(&self) -> &str {
        self.account.application.issuer.tenant_of(&self.login)
    }

    pub(super) fn token_key(&self, scope: &str) -> TupleKey {
        token_key::of_sign_in(&self.account.application, self.tenant(), scope, &self.login)
    }
}

/// The key of the sign-in of `login` in the store.
pub fn key(account: &Account, login: &MailAddress) -> SignInKey {
    let application = &account.application;
    SignInKey {
        login: login.clone(),
        authority: application.issuer.authority().as_str().to_owned(),
        tenant: application.issuer.tenant_of(login).to_owned(),
        client_id: application.client_id.clone(),
    }
}

/// What this process knows about one sign-in that it has used.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) whose: TokenSubject,
    /// Key of its access token in the cache.
    pub(super) token_key: TupleKey,
    /// `tid` and `oid`.
    pub(super) person: (String, String),
    /// A refusal that asking again would not change: the version of its record, and when it
    /// expires.
    pub(super) standing: Option<(Version, Moment, Arc<FetchFailure>)>,
}

/// The sign-ins that this process has used, one entry for each resource.
#[derive(Debug)]
pub(super) struct SignIns(SharedMap<(SignInKey, Resource), Known>);

impl Default for SignIns {
    fn default() -> Self {
        Self(SharedMap::new(ENTRIES, PARTS))
    }
}

impl SignIns {
    pub(super) fn standing(
        &self,
        key: &SignInKey,
        resource: Resource,
        version: Version,
        now: Moment,
    ) -> Option<Arc<FetchFailure>> {
        let key = (key.clone(), resource);
        let known = self.0.part(&key);
        let (of, until, setback) = known.peek(&key)?.standing.as_ref()?;
        (*of == version && now < *until).then(|| Arc::clone(setback))
    }

    /// The directory (`tid`) of the person whose sign-in was used last.
    pub(super) fn directory(&self, key: SignInKey, resource: Resource) -> Option<String> {
        let key = (key, resource);
        Some(self.0.part(&key).peek(&key)?.person.0.clone())
    }

    pub(super) fn put(&self, key: &SignInKey, known: Known) {
        let key = (key.clone(), known.whose.resource);
        self.0.part(&key).insert(key, known);
    }

    /// Keeps the sign-ins for which `of` returns true. It is given the address and the account that
    /// it was used for.
    pub(super) fn keep(&self, of: impl Fn(&MailAddress, &Account) -> bool) {
        self.0.retain(|(key, _), known| of(&key.login, &known.whose.account));
    }

    pub(super) fn remove(&self, key: &(SignInKey, Resource)) {
        self.0.part(key).remove(key);
    }

    pub(super) fn all(&self) -> Vec<((SignInKey, Resource), Known)> {
        let mut all = Vec::new();
        for part in self.0.parts() {
            all.extend(part.iter().map(|(key, known)| (key.clone(), known.clone())));
        }
        all
    }
}
