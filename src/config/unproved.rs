//! Accounts that nothing in the configuration proves: whether one of them stands open is known with the store.

use super::problem::{Problem, Problems};
use super::{Config, LoginPattern};
use crate::store::DevicePassword;

/// An account without passwords whose clients Entra does not prove. Without a device password everybody who reaches the
/// port would own its mailbox.
#[derive(Debug, PartialEq)]
pub struct Unproved {
    /// The account's.
    pub pattern: LoginPattern,
    /// What is wrong with it should it have no device password.
    pub problem: Problem,
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
