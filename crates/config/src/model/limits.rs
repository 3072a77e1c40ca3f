//! All limits and deadlines, and the budget of refused passwords that follows from them.

use std::sync::Arc;
use std::time::Duration;

use super::super::penalties::Rules;
use super::issuer::Cloud;

/// The most refused passwords in two hours for which the US Government clouds' lock-out after three
/// leaves room.
const US_GOVERNMENT_BUDGET: u32 = 2;

/// All limits and deadlines outside the protocol machines. The defaults are those of
/// `proxy.example.yaml`.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Limits of the protocol machines.
    pub protocol: Arc<gatepost_proto::mail::Limits>,
    /// Connections in all.
    pub connections: usize,
    /// Connections from one source (IPv4 address, IPv6 /64); loopback is exempt.
    pub connections_per_source: usize,
    /// Connections that have not logged in; loopback is exempt. Above half of it some are refused
    /// at random.
    pub pre_auth_connections: usize,
    /// Connections from one source that have not logged in.
    pub pre_auth_connections_per_source: usize,
    /// Penalties of sources that misbehave before a login.
    pub penalties: Rules,
    /// Deadline of a TLS handshake with a client.
    pub tls_handshake: Duration,
    /// Deadline from the greeting to the end of the first command, and of each further command,
    /// counted from its first byte.
    pub command: Duration,
    /// Deadline from the greeting to a presented login. Waiting for Entra and the upstream is not
    /// counted.
    pub pre_auth: Duration,
    /// How long a refusal is delayed (± a quarter).
    pub failure_delay: Duration,
    /// Most refusals delayed at once. Above it the connection is closed instead.
    pub delayed_failures: usize,
    /// Deadline from a presented login to its decision.
    pub login: Duration,
    /// Deadline of a name resolution.
    pub resolve: Duration,
    /// Deadline of one TCP connect.
    pub connect_attempt: Duration,
    /// Deadline of TCP and TLS together, without a proxy.
    pub connect: Duration,
    /// Deadline of TCP, CONNECT and TLS together, through a proxy.
    pub connect_via_proxy: Duration,
    /// Deadline from the greeting to a successful login at the upstream, within what is left of
    /// `login`.
    pub upstream_login: Duration,
    /// New connections to upstreams in a second. A client that would wait longer than ten seconds
    /// is refused at once.
    pub upstream_connects_per_second: u32,
    /// IMAP sessions of one mailbox at once; `None`: as many as the server bears.
    pub imap_sessions_per_mailbox: Option<usize>,
    /// POP3 sessions of one mailbox at once; `None`: as many as the server bears.
    pub pop3_sessions_per_mailbox: Option<usize>,
    /// SMTP sessions of one mailbox at once.
    pub smtp_sessions_per_mailbox: usize,
    /// EWS requests of one mailbox at once.
    pub ews_requests_per_mailbox: usize,
    /// Graph requests of one mailbox at once.
    pub graph_requests_per_mailbox: usize,
    /// Most recipients of a message that Gatepost itself takes.
    pub recipients: usize,
    /// Most octets of a message that Gatepost itself takes. Microsoft Graph accepts fewer.
    pub message_bytes: usize,
    /// How long to wait for the client's next command, or a piece of its message.
    pub smtp_command: Duration,
    /// How long to wait for the upstream's reply to a whole message.
    pub smtp_verdict: Duration,
    /// Messages for Microsoft Graph that are held in memory at once.
    pub graph_messages: usize,
    /// How long Microsoft Graph may take to answer a message.
    pub graph_answer: Duration,
    /// Most messages of an Inbox that POP3 over Graph shows. If there are more, the oldest are
    /// shown.
    pub maildrop_messages: usize,
    /// Deadline from the first octet of an HTTP request to the end of its head.
    pub http_head: Duration,
    /// Most octets of an HTTP request's head.
    pub http_head_bytes: usize,
    /// Most fields in an HTTP request's head.
    pub http_fields: usize,
    /// How long an HTTP connection may be without a byte in either direction.
    pub http_idle: Duration,
    /// Deadline from an HTTP request to the beginning of Microsoft's answer.
    pub http_answer: Duration,
    /// Most octets of an EWS request up to its SOAP body.
    pub soap_head_bytes: usize,
    /// How long a login waits for another session of its mailbox to end.
    pub mailbox_wait: Duration,
    /// How often the upstream's capability list is read again.
    pub capability_refresh: Duration,
    /// Deadline of one token request.
    pub token_request: Duration,
    /// Deadline of all tries for one token, and of the wait for an Entra that is away.
    pub token_total: Duration,
    /// Token requests at once.
    pub token_requests: usize,
    /// Token requests that may wait for their turn, or for an Entra that is away.
    pub token_queue: usize,
    /// Distinct refused passwords forwarded to Entra per account in two hours since its last
    /// success.
    pub refused_passwords_per_account: u32,
    /// Refused passwords forwarded over all accounts, per minute.
    pub refused_passwords_per_minute: u32,
    /// Refused passwords forwarded over all accounts, per hour.
    pub refused_passwords_per_hour: u32,
    /// Processes that share the two budgets over all accounts. Without a shared store they also
    /// share the budget per account.
    pub replicas: u32,
    /// The index of this process among them, from 0.
    pub replica_index: u32,
    /// How long a refused password is answered locally. It doubles with each new refusal, up to a
    /// day.
    pub refused_password_memory: Duration,
    /// How long an accepted password is trusted without asking again.
    pub accepted_password_memory: Duration,
    /// Password hashes (Argon2id) computed at once.
    pub password_hashes: usize,
    /// Password checks that may wait for their turn.
    pub password_hash_queue: usize,
    /// How long a password check may wait.
    pub password_hash_wait: Duration,
    /// Most octets that the relay moves at a time.
    pub relay_buffer_bytes: usize,
    /// How long an IMAP session may be without a byte in either direction.
    pub imap_idle: Duration,
    /// How long a POP3 session may be without a byte in either direction.
    pub pop3_idle: Duration,
    /// How long an SMTP session may be without a byte in either direction; above the ten minutes
    /// that RFC 5321 §4.5.3.2.6 gives the final dot.
    pub smtp_idle: Duration,
    /// How long a session lasts after one side has ended and the other has not.
    pub half_closed: Duration,
    /// How long data may wait while the receiver takes none of it.
    pub write_stall: Duration,
    /// How long sessions may continue after SIGTERM.
    pub drain: Duration,
    /// How often the files of the configuration are checked for changes; zero: only on demand.
    pub reload_check: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            protocol: Arc::default(),
            connections: 20_000,
            connections_per_source: 2_000,
            pre_auth_connections: 512,
            pre_auth_connections_per_source: 20,
            penalties: Rules::default(),
            tls_handshake: seconds(10),
            command: seconds(30),
            pre_auth: seconds(60),
            failure_delay: seconds(2),
            delayed_failures: 2_000,
            login: seconds(55),
            resolve: seconds(5),
            connect_attempt: seconds(5),
            connect: seconds(10),
            connect_via_proxy: seconds(15),
            upstream_login: seconds(55),
            upstream_connects_per_second: 500,
            imap_sessions_per_mailbox: None,
            pop3_sessions_per_mailbox: None,
            smtp_sessions_per_mailbox: 3,
            ews_requests_per_mailbox: 10,
            graph_requests_per_mailbox: 4,
            recipients: 1_000,
            message_bytes: 150 * 1_024 * 1_024,
            smtp_command: seconds(5 * 60),
            smtp_verdict: seconds(10 * 60),
            graph_messages: 100,
            graph_answer: seconds(300),
            maildrop_messages: 50_000,
            http_head: seconds(10),
            http_head_bytes: 32 * 1_024,
            http_fields: 100,
            http_idle: seconds(120),
            http_answer: seconds(120),
            soap_head_bytes: 256 * 1_024,
            mailbox_wait: seconds(30),
            capability_refresh: seconds(3_600),
            token_request: seconds(10),
            token_total: seconds(50),
            token_requests: 64,
            token_queue: 1_000,
            refused_passwords_per_account: 8,
            refused_passwords_per_minute: 60,
            refused_passwords_per_hour: 600,
            replicas: 1,
            replica_index: 0,
            refused_password_memory: seconds(15 * 60),
            accepted_password_memory: seconds(24 * 3_600),
            password_hashes: 4,
            password_hash_queue: 64,
            password_hash_wait: seconds(5),
            relay_buffer_bytes: 256 * 1024,
            imap_idle: seconds(31 * 60),
            pop3_idle: seconds(11 * 60),
            smtp_idle: seconds(11 * 60),
            half_closed: seconds(60),
            write_stall: seconds(120),
            drain: seconds(300),
            reload_check: seconds(5),
        }
    }
}

impl Limits {
    /// The budget of an account in `cloud`, over all replicas.
    pub fn password_budget(&self, cloud: Cloud) -> PasswordBudget {
        let total = match cloud {
            Cloud::UsGovGccHigh | Cloud::UsGovDod => self.refused_passwords_per_account.min(US_GOVERNMENT_BUDGET),
            Cloud::Worldwide | Cloud::China => self.refused_passwords_per_account,
        };
        PasswordBudget { total, unfamiliar: (total.saturating_mul(5) / 8).max(1).min(total) }
    }
}

/// Refused passwords of one account that may be forwarded to Entra in two hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordBudget {
    /// All of them.
    pub total: u32,
    /// Those from sources where no login for this account ever succeeded.
    pub unfamiliar: u32,
}

impl PasswordBudget {
    /// How long until one more password fits; `None`: it fits now. `held` are the passwords that
    /// count already: whether each is familiar, and how long it still counts.
    pub fn wait(self, familiar: bool, held: impl Iterator<Item = (bool, Duration)> + Clone) -> Option<Duration> {
        let least = |counts: &dyn Fn(bool) -> bool, places: u32| {
            let mut left: Vec<Duration> = held.clone().filter(|(of, _)| counts(*of)).map(|(_, left)| left).collect();
            left.sort_unstable();
            // One more fits when all but `places - 1` of them are gone.
            let too_many = (left.len() + 1).checked_sub(usize::try_from(places).unwrap_or(usize::MAX))?;
            too_many.checked_sub(1).map(|last| left.get(last).copied().unwrap_or_default())
        };
        let of_all = least(&|_| true, self.total);
        let of_strangers = if familiar { None } else { least(&|of| !of, self.unfamiliar) };
        of_all.max(of_strangers)
    }
}
