//! The sign-ins that this process has used, and what it knows about each.

use std::sync::Arc;

use dashmap::DashMap;

use crate::account::MailAddress;
use crate::clock::Moment;
use crate::config::{Account, Config, Resource};
use crate::oauth::grant::TokenKey;
use crate::oauth::tokens::outcome::Setback;
use crate::oauth::tokens::scope;
use crate::store::{SignInKey, Version};

/// Most sign-ins remembered.
const ENTRIES: usize = 100_000;

/// For whom a token is wanted.
#[derive(Clone, Debug)]
pub(crate) struct Whose {
    pub(crate) account: Arc<Account>,
    pub(crate) login: MailAddress,
    /// What the token is for: one refresh token gives one for each resource.
    pub(crate) resource: Resource,
}

impl Whose {
    pub(crate) fn key(&self) -> SignInKey {
        key(&self.account, &self.login)
    }

    pub(crate) fn scope(&self, config: &Config) -> Arc<str> {
        scope::of(&self.account, self.resource, config).into()
    }

    pub(crate) fn tenant(&self) -> &str {
        self.account.application.tenant.of(&self.login)
    }

    pub(crate) fn token_key(&self, scope: &str) -> TokenKey {
        TokenKey::of_sign_in(&self.account.application, self.tenant(), scope, &self.login)
    }
}

/// Under which the store keeps the sign-in of `login`.
pub(crate) fn key(account: &Account, login: &MailAddress) -> SignInKey {
    let application = &account.application;
    SignInKey {
        login: login.clone(),
        authority: application.authority.as_str().to_owned(),
        tenant: application.tenant.of(login).to_owned(),
        client_id: application.client_id.clone(),
    }
}

/// What this process knows about one sign-in that it has used.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) whose: Whose,
    /// Where its access token is kept.
    pub(crate) token_key: TokenKey,
    /// `tid` and `oid`.
    pub(crate) person: (String, String),
    /// A refusal that asking again would not change: of which record, and until when.
    pub(crate) standing: Option<(Version, Moment, Arc<Setback>)>,
}

/// The sign-ins that this process has used, each for every resource that it was used for.
#[derive(Debug, Default)]
pub(crate) struct SignIns(DashMap<(SignInKey, Resource), Known>);

impl SignIns {
    pub(crate) fn standing(
        &self,
        key: &SignInKey,
        resource: Resource,
        version: Version,
        now: Moment,
    ) -> Option<Arc<Setback>> {
        let known = self.0.get(&(key.clone(), resource))?;
        let (of, until, setback) = known.standing.as_ref()?;
        (*of == version && now < *until).then(|| Arc::clone(setback))
    }

    pub(crate) fn put(&self, key: &SignInKey, known: Known) {
        let key = (key.clone(), known.whose.resource);
        if self.0.len() >= ENTRIES && !self.0.contains_key(&key) {
            // Whoever comes back is known again.
            self.0.clear();
        }
        self.0.insert(key, known);
    }

    /// Keeps those of which this is true: of the address, and of the account that it was used for.
    pub(crate) fn keep(&self, of: impl Fn(&MailAddress, &Account) -> bool) {
        self.0.retain(|(key, _), known| of(&key.login, &known.whose.account));
    }

    pub(crate) fn remove(&self, key: &(SignInKey, Resource)) {
        self.0.remove(key);
    }

    pub(crate) fn all(&self) -> Vec<((SignInKey, Resource), Known)> {
        self.0.iter().map(|entry| (entry.key().clone(), entry.value().clone())).collect()
    }
}
