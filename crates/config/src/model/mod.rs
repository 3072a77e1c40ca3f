//! The model: what the rest of the program works with. Plain data that is checked already; how it is read stands beside it.

use std::path::PathBuf;
use std::sync::Arc;

use super::problem::Problems;
use account::{Account, AccountWithoutPassword, Accounts, LoginPattern};
use admin::Admin;
use forward_proxy::ForwardProxy;
use gatepost_core::account::MailAddress;
use limits::Limits;
use listener::Listener;
use log::{Confine, Log};
use state::State;
use trust::Trust;

pub(super) mod account;
pub(super) mod admin;
pub(super) mod credential;
pub(super) mod forward_proxy;
pub(super) mod limits;
pub(super) mod listener;
pub(super) mod log;
pub(super) mod no_proxy;
pub(super) mod server;
pub(super) mod state;
pub(super) mod submission;
pub(super) mod trust;

/// Everything, checked.
#[derive(Debug, PartialEq)]
pub struct Config {
    /// At least one.
    pub listeners: Vec<Listener>,
    /// Who may log in.
    pub accounts: Accounts,
    /// Accounts that need a device password in the store: [`Config::unproved_accounts`].
    pub unproved: Vec<AccountWithoutPassword>,
    /// The corporate proxy, for mail and token requests alike. `None`: straight.
    pub forward_proxy: Option<Arc<ForwardProxy>>,
    /// Whom to trust upstream.
    pub trust: Trust,
    /// What outlives the process, and where.
    pub state: State,
    /// Every bound and deadline.
    pub limits: Limits,
    /// Where log lines go.
    pub log: Log,
    /// The page and endpoints for whoever runs Gatepost.
    pub admin: Admin,
    /// Whether the process confines itself.
    pub confinement: Confine,
    /// Every file that it was read from: its own, certificates, keys, secrets. Some are read again while serving.
    pub files: Vec<PathBuf>,
    /// Some secret is what a command writes.
    pub runs_commands: bool,
    /// Things that work but that the operator should know, one sentence each (another authority, a readable secret, …).
    pub notes: Vec<String>,
}

impl Config {
    /// What is wrong when there are device passwords for `logins` and for nobody else.
    pub fn unproved_accounts<'a>(&self, logins: impl IntoIterator<Item = &'a MailAddress>) -> Option<Problems> {
        let found = logins.into_iter().filter_map(|login| self.accounts.find(login.as_login()));
        let proved: Vec<Arc<Account>> = found.map(|(account, _)| account).collect();
        let has_one = |pattern: &LoginPattern| proved.iter().any(|account| account.pattern == *pattern);
        let open = self.unproved.iter().filter(|unproved| !has_one(&unproved.pattern));
        Problems::new(open.map(|unproved| unproved.problem.clone()).collect())
    }
}
