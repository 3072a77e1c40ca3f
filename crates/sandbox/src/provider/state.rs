//! What the services of one provider beside Microsoft share.

use std::collections::HashMap;
use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use parking_lot::Mutex;

use super::grants::{Grants, RefreshRules};
use super::manner::Manners;
use super::seen::Seen;
use crate::counters::LiveCounters;
use crate::mode::Modes;
use crate::smtp_fault::SmtpFaults;

/// A provider as it was started.
pub(crate) struct Started {
    /// Where its token service is, without a slash at its end.
    pub(crate) base: String,
    /// The application that [`super::ProviderHandle::sign_in`] signs in to.
    pub(crate) client_id: String,
    /// The scopes that it asks for.
    pub(crate) scopes: Vec<String>,
    /// The scope without which a token opens no mailbox.
    pub(crate) mail_scope: String,
}

/// What the services of one provider share.
pub(crate) struct ProviderState {
    started: OnceLock<Started>,
    pub(crate) grants: Grants,
    pub(crate) manners: Manners,
    pub(crate) seen: Seen,
    pub(crate) tally: LiveCounters,
    pub(crate) modes: Modes,
    pub(crate) smtp_faults: SmtpFaults,
    rules: Mutex<RefreshRules>,
    token_lifetime: Mutex<Duration>,
    /// What a person (an address) is told in place of a token: error and description.
    refusals: Mutex<HashMap<String, (String, String)>>,
}

impl ProviderState {
    pub(crate) fn new(refresh_form: &'static str, rules: RefreshRules, token_lifetime: Duration) -> Self {
        Self {
            started: OnceLock::new(),
            grants: Grants::new(refresh_form),
            manners: Manners::default(),
            seen: Seen::default(),
            tally: LiveCounters::default(),
            modes: Modes::default(),
            smtp_faults: SmtpFaults::default(),
            rules: Mutex::new(rules),
            token_lifetime: Mutex::new(token_lifetime),
            refusals: Mutex::default(),
        }
    }

    /// Takes note of the start.
    ///
    /// # Errors
    /// When the provider was started before.
    pub(crate) fn start(&self, started: Started) -> io::Result<()> {
        self.started.set(started).map_err(|_| io::Error::other("this provider was started before"))
    }

    pub(crate) fn started(&self) -> Option<&Started> {
        self.started.get()
    }

    pub(crate) fn rules(&self) -> RefreshRules {
        *self.rules.lock()
    }

    pub(crate) fn change_rules(&self, change: impl FnOnce(&mut RefreshRules)) {
        change(&mut self.rules.lock());
    }

    pub(crate) fn token_lifetime(&self) -> Duration {
        *self.token_lifetime.lock()
    }

    pub(crate) fn set_token_lifetime(&self, lifetime: Duration) {
        *self.token_lifetime.lock() = lifetime;
    }

    pub(crate) fn refusal(&self, user: &str) -> Option<(String, String)> {
        self.refusals.lock().get(&user.to_lowercase()).cloned()
    }

    pub(crate) fn set_refusal(&self, user: &str, refusal: Option<(&str, &str)>) {
        let mut refusals = self.refusals.lock();
        match refusal {
            Some((error, description)) => {
                refusals.insert(user.to_lowercase(), (error.to_owned(), description.to_owned()))
            }
            None => refusals.remove(&user.to_lowercase()),
        };
    }
}
