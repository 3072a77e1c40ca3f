//! The limits for penalties of sources: plain data.

use std::time::Duration;

/// Most that [`Rules::spraying_accounts`] may be, because no more accounts are distinguished.
pub const MOST_SPRAYING_ACCOUNTS: usize = 31;

/// The rules for penalties: their reasons, their size, and their effect.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// Above it the source's connections are closed, until its penalty is zero.
    pub threshold: Duration,
    /// Most penalty of a source.
    pub cap: Duration,
    /// Penalty for a wrong password that this source did not present before.
    pub wrong_password: Duration,
    /// Penalty for a connection that ends without a login attempt.
    pub no_login: Duration,
    /// Penalty for a missed deadline before the login.
    pub timeout: Duration,
    /// Penalty for input that no mail program sends.
    pub garbage: Duration,
    /// Penalty for an HTTP request.
    pub http: Duration,
    /// Penalty for a session that a bug in Gatepost ended, whatever the client sent.
    pub panic: Duration,
    /// Penalty for failed logins at more than [`Rules::spraying_accounts`] accounts within ten
    /// minutes.
    pub spraying: Duration,
    /// How many accounts may be misspelled or have an old password.
    pub spraying_accounts: usize,
    /// Most sources remembered, of each family. Those with the least penalty are forgotten first.
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
