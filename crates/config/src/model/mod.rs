//! The model of the configuration for the rest of the program. It is plain data that is already
//! checked; other modules read it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::finding::Finding;
use super::problem::Problems;
use account::{Account, AccountWithoutPassword, Accounts, LoginPattern};
use admin::Admin;
use forward_proxy::ForwardProxy;
use gatepost_core::account::MailAddress;
use gatepost_core::server_name::ServerName;
use limits::Limits;
use listener::Listener;
use log::{Confine, Log};
use queue::Queue;
use state::State;
use submission::Sendmail;
use trust::Trust;

pub(super) mod account;
pub(super) mod admin;
pub(super) mod credential;
pub(super) mod forward_proxy;
pub(super) mod issuer;
pub(super) mod limits;
pub(super) mod listener;
pub(super) mod log;
pub(super) mod mailboxes;
pub(super) mod no_proxy;
pub(super) mod preset;
pub(super) mod queue;
pub(super) mod sending;
pub(super) mod server;
pub(super) mod state;
pub(super) mod submission;
pub(super) mod trust;

/// The whole configuration, checked.
#[derive(Debug, PartialEq)]
pub struct Config {
    /// The listeners, at least one.
    pub listeners: Vec<Listener>,
    /// The accounts that may log in.
    pub accounts: Accounts,
    /// Accounts that need a device password in the store: [`Config::unproved_accounts`].
    pub unproved: Vec<AccountWithoutPassword>,
    /// The corporate proxy, for mail and token requests alike. `None`: direct connections.
    pub forward_proxy: Option<Arc<ForwardProxy>>,
    /// The certificates to trust at upstreams.
    pub trust: Trust,
    /// Where data that outlives the process is kept.
    pub state: State,
    /// How long a device is listed after it connected last; `None`: devices are not listed.
    pub devices: Option<Duration>,
    /// Where the messages wait that listeners with a queue have accepted. There may be some even if no
    /// listener has a queue any more. `None`: there is no place for a queue.
    pub queue: Option<Queue>,
    /// The directory for large messages on their way to Microsoft Graph: that of the state. `None`: no
    /// listener needs one.
    pub spool: Option<PathBuf>,
    /// Every bound and deadline.
    pub limits: Limits,
    /// The settings of the log.
    pub log: Log,
    /// The status page and endpoints for the administrator.
    pub admin: Admin,
    /// The socket of `gatepost sendmail`.
    pub sendmail: Option<Sendmail>,
    /// The name in greetings and EHLO. `None`: that of the machine.
    pub server_name: Option<ServerName>,
    /// Whether the process confines itself.
    pub confinement: Confine,
    /// Every file that the configuration was read from: its own, certificates, keys, secrets. Some
    /// are read again while serving.
    pub files: Vec<PathBuf>,
    /// Whether some secret is the output of a command.
    pub runs_commands: bool,
    /// Notes about working but notable settings, one sentence each (another authority, a readable
    /// secret, …).
    pub notes: Vec<String>,
    /// What is well-formed, and will not work or may not, in the order of the file.
    pub findings: Vec<Finding>,
}

impl Config {
    /// Whether a listener takes messages into the queue.
    pub fn has_queue(&self) -> bool {
        self.listeners.iter().any(Listener::has_queue)
    }

    /// The problem that remains when only these `logins` have device passwords.
    pub fn unproved_accounts<'a>(&self, logins: impl IntoIterator<Item = &'a MailAddress>) -> Option<Problems> {
        let found = logins.into_iter().filter_map(|login| self.accounts.find(login.as_login()));
        let proved: Vec<Arc<Account>> = found.map(|(account, _)| account).collect();
        let has_one = |pattern: &LoginPattern| proved.iter().any(|account| account.pattern == *pattern);
        let open = self.unproved.iter().filter(|unproved| !has_one(&unproved.pattern));
        Problems::new(open.map(|unproved| unproved.problem.clone()).collect())
    }
}
