//! What the limits say about penalties: plain data, which the penalties of sources are counted by.

use std::time::Duration;

/// Most that [`Rules::spraying_accounts`] may be: more accounts are not told apart.
pub const MOST_SPRAYING_ACCOUNTS: usize = 31;

/// What is a penalty, how high it is, and from when on it counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// Above it connections are closed, until nothing is left.
    pub threshold: Duration,
    /// Most that a source can gather.
    pub cap: Duration,
    /// A password that was not presented by this source before, and is wrong.
    pub wrong_password: Duration,
    /// A connection that ends without a login having been tried.
    pub no_login: Duration,
    /// A deadline before the login has passed.
    pub timeout: Duration,
    /// What no mail program sends.
    pub garbage: Duration,
    /// An HTTP request.
    pub http: Duration,
    /// Whatever it sent, a session broke off inside of Gatepost.
    pub panic: Duration,
    /// More than [`Rules::spraying_accounts`] accounts within ten minutes at which logins failed.
    pub spraying: Duration,
    /// So many may be misspelt or left with an old password.
    pub spraying_accounts: usize,
    /// Most sources remembered, of each family; those with the least are forgotten first.
    pub sources: usize,
}

impl Default for Rules {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            threshold: seconds(15),
            cap: seconds(600),
            wrong_password: seconds(5),
            no_login: seconds(1),
            timeout: seconds(10),
            garbage: seconds(10),
            http: seconds(30),
            panic: seconds(90),
            spraying: seconds(120),
            spraying_accounts: 10,
            sources: 65_536,
        }
    }
}
