//! The model: what the rest of the program works with. Plain data that is checked already; how it is read stands beside it.

use std::path::PathBuf;
use std::sync::Arc;

use super::problem::Problems;
use crate::store::DevicePassword;
use account::{Accounts, LoginPattern, Unproved};
use admin::Admin;
use forward_proxy::ForwardProxy;
use limits::Limits;
use listener::Listener;
use log::{Confine, Log};
use state::State;
use trust::Trust;

pub mod account;
pub mod admin;
pub mod credential;
pub mod forward_proxy;
pub mod limits;
pub mod listener;
pub mod log;
pub mod no_proxy;
pub mod server;
pub mod state;
pub mod submission;
pub mod trust;

/// Everything, checked.
#[derive(Debug, PartialEq)]
pub struct Config {
    /// At least one.
    pub listeners: Vec<Listener>,
    /// Who may log in.
    pub accounts: Accounts,
    /// Accounts that need a device password in the store: [`Config::unproved_accounts`].
    pub unproved: Vec<Unproved>,
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
    /// What is wrong when `passwords` are all the device passwords that there are.
    pub fn unproved_accounts(&self, passwords: &[DevicePassword]) -> Option<Problems> {
        let has_one = |pattern: &LoginPattern| {
            passwords.iter().any(|password| {
                let account = self.accounts.find(password.login.as_login());
                account.is_some_and(|(account, _)| account.pattern == *pattern)
            })
        };
        let open = self.unproved.iter().filter(|unproved| !has_one(&unproved.pattern));
        Problems::new(open.map(|unproved| unproved.problem.clone()).collect())
    }
}
