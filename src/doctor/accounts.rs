//! The accounts that are examined, and the applications that they share.

use std::sync::Arc;

use super::order::Order;
use super::step::{Section, Step};
use gatepost_config::{Account, Application, Config, Credential, LoginPattern, Tenant};
use gatepost_core::account::MailAddress;
use gatepost_core::failure::Actor;

/// Most accounts that are examined in one run.
const MOST: usize = 500;

/// An account that is examined.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) account: Arc<Account>,
    /// The address that logs in; `None` for a pattern that stands for many.
    pub(super) login: Option<MailAddress>,
    /// The name for people.
    pub(super) name: String,
    /// The tenant of its tokens; `None` when that depends on the login.
    pub(super) tenant: Option<String>,
}

/// The accounts that get their tokens by one application in one tenant.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) application: Arc<Application>,
    pub(super) tenant: Option<String>,
    /// Places in the list of subjects.
    pub(super) members: Vec<usize>,
}

impl Group {
    /// The application for people.
    pub(super) fn name(&self) -> String {
        match &*self.application.credential {
            Credential::ManagedIdentity(_) => format!("managed identity {}", self.application.client_id),
            _ => self.application.client_id.clone(),
        }
    }

    /// Whether Entra, and not the platform or another provider, gives its tokens.
    pub(super) fn is_of_entra(&self) -> bool {
        self.application.issuer.entra().is_some()
            && !matches!(*self.application.credential, Credential::ManagedIdentity(_))
    }
}

/// Returns the accounts to examine, and what is to be said of those that are left out.
pub(super) fn subjects(config: &Config, order: &Order) -> (Vec<Subject>, Option<Step>) {
    if let Some(name) = &order.login {
        return match config.accounts.find(name) {
            Some((account, login)) => (vec![Subject::of(account, Some(login))], None),
            None => {
                let remedy = format!("correct the name, or add an entry with `login: {name}` under `accounts`");
                let text = format!("no account or alias matches {name}");
                (Vec::new(), Some(Step::problem(Section::Configuration, "", text, (Actor::GatepostAdmin, remedy))))
            }
        };
    }
    let entries = config.accounts.entries();
    let of_entry = |account: &Arc<Account>| {
        let login = match &account.pattern {
            LoginPattern::Address(address) => Some(address.clone()),
            LoginPattern::Domain(_) | LoginPattern::Any => None,
        };
        Subject::of(Arc::clone(account), login)
    };
    let subjects: Vec<Subject> = entries.iter().take(MOST).map(of_entry).collect();
    let left = entries.len().saturating_sub(subjects.len());
    let text = format!("{left} more accounts: name one to examine it, such as `gatepost doctor LOGIN`");
    (subjects, (left > 0).then(|| Step::skipped(Section::Configuration, "", text)))
}

impl Subject {
    fn of(account: Arc<Account>, login: Option<MailAddress>) -> Self {
        let name = login.as_ref().map_or_else(|| account.pattern.to_string(), ToString::to_string);
        let tenant = match (account.application.issuer.entra().map(|entra| &entra.tenant), &login) {
            (None, _) => Some(String::new()),
            (Some(tenant), Some(login)) => Some(tenant.of(login).to_owned()),
            (Some(Tenant::OfLogin), None) => None,
            (Some(tenant), None) => Some(tenant.name().to_owned()),
        };
        Self { account, login, name, tenant }
    }
}

/// Groups the accounts by application and tenant.
pub(super) fn groups(subjects: &[Subject]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (place, subject) in subjects.iter().enumerate() {
        let application = &subject.account.application;
        let same = |group: &&mut Group| *group.application == **application && group.tenant == subject.tenant;
        match groups.iter_mut().find(same) {
            Some(group) => group.members.push(place),
            None => groups.push(Group {
                application: Arc::clone(application),
                tenant: subject.tenant.clone(),
                members: vec![place],
            }),
        }
    }
    groups
}
