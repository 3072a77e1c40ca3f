//! What the token tests share: a manager without an attempt guard.

pub(super) mod moody;

use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::endpoint::TokenEndpoint;
use crate::fake::{self, FakeEndpoint};
use crate::tokens::guard::{Attempt, AttemptGuard, AttemptPermit, Permitting};
use crate::tokens::manager::TokenManager;
use crate::tokens::user::User;
use gatepost_config::{Account, Accounts, Application, Cloud, Grant, Limits, LoginPattern, Mailboxes, Sending};
use gatepost_core::account::MailAddress;
use gatepost_core::clock::{Clock, Moment};
use gatepost_store::Store;

/// Lets every password go to Entra.
struct Unguarded;

impl AttemptGuard for Unguarded {
    fn permit<'a>(self: Arc<Self>, _: Attempt, _: &'a str, _: Moment) -> Permitting<'a> {
        Box::pin(async { Ok(Box::new(Self) as Box<dyn AttemptPermit>) })
    }

    fn tries_again(&self, _: &Attempt, _: Moment) -> bool {
        false
    }
}

impl AttemptPermit for Unguarded {
    fn accepted(self: Box<Self>, _: Option<User>, _: Moment) {}

    fn refused(self: Box<Self>, _: Moment) -> bool {
        false
    }

    fn locked(self: Box<Self>, _: Moment, _: Duration) {}
}

pub(super) fn address(text: &str) -> MailAddress {
    MailAddress::parse(text).unwrap()
}

pub(crate) fn application() -> Arc<Application> {
    Arc::new(Application {
        issuer: gatepost_config::Issuer::Entra(gatepost_config::Entra {
            authority: Url::parse("https://login.example/").unwrap(),
            tenant: "contoso.example".into(),
            cloud: Cloud::Worldwide,
        }),
        client_id: "app".into(),
        credential: Arc::default(),
    })
}

pub(super) fn account(pattern: LoginPattern, grant: Grant, application: &Arc<Application>) -> Account {
    Account {
        pattern,
        aliases: Vec::new(),
        grant,
        passwords: Vec::new(),
        application: Arc::clone(application),
        scope: None,
        mailbox: None,
        mailboxes: Mailboxes::default(),
        sending: Sending::default(),
        signs_in_as: None,
        token_expiry_margin: Duration::from_secs(300),
    }
}

/// The tokens of these accounts.
pub(super) fn manager(
    accounts: Accounts,
    entra: &Arc<FakeEndpoint>,
    store: Arc<dyn Store>,
    clock: &Clock,
) -> Arc<TokenManager> {
    let config = Arc::new(fake::config(accounts, Limits::default()));
    let endpoint = Arc::clone(entra) as Arc<dyn TokenEndpoint>;
    TokenManager::new(config, endpoint, store, clock.clone(), Arc::default(), Arc::new(Unguarded))
}
