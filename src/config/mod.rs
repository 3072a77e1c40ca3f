//! The configuration, checked: what the rest of the program works with.
//!
//! [`load`] reads file, environment and flags, `raw` keeps what was written with its places, `check` turns that into
//! [`Config`] and collects every [`problem::Problem`] on the way. A value of these types needs no further check.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use url::Url;

use crate::account::{LoginName, MailAddress};
use crate::proto::Protocol;
use crate::secret::{ClientSecret, ProxyPassword};

mod accounts;
mod check;
mod entra;
mod forward_proxy;
mod limits;
mod listeners;
pub mod load;
mod no_proxy;
pub mod problem;
mod proxy_authentication;
mod raw;
mod reader;
mod render;
mod secrets;
mod value;

/// Everything, checked.
#[derive(Debug)]
pub struct Config {
    /// At least one.
    pub listeners: Vec<Listener>,
    /// Who may log in.
    pub accounts: Accounts,
    /// The corporate proxy, for mail and token requests alike. `None`: straight.
    pub forward_proxy: Option<ForwardProxy>,
    /// Whom to trust upstream.
    pub trust: Trust,
    /// Every bound and deadline.
    pub limits: Limits,
    /// Where log lines go.
    pub log: Log,
    /// Things that work but that the operator should know, one sentence each (another authority, a readable secret, …).
    pub notes: Vec<String>,
}

/// A bound address with its protocol, its TLS mode, and where its logins go.
#[derive(Clone, Debug)]
pub struct Listener {
    /// As in the configuration; appears in the log.
    pub name: Arc<str>,
    /// What is spoken.
    pub protocol: Protocol,
    /// At least one.
    pub bind: Vec<SocketAddr>,
    /// Towards the client.
    pub tls: ListenerTls,
    /// Who may connect; never empty.
    pub allow_from: Vec<IpNet>,
    /// From where a login without TLS is accepted, besides loopback.
    pub allow_plaintext_from: Vec<IpNet>,
    /// A bare LF ends a line too.
    pub bare_lf: bool,
    /// Where logins go.
    pub upstream: Upstream,
}

/// TLS towards the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenerTls {
    /// Never.
    None,
    /// On demand.
    StartTls(Identity),
    /// From the first byte (RFC 8314).
    Implicit(Identity),
}

/// A server certificate and its key, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// PKCS#8, PKCS#1 or SEC 1.
    pub private_key: PathBuf,
}

/// A mail server of Microsoft.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Upstream {
    /// What is spoken.
    pub protocol: Protocol,
    /// Host name or address to connect to; the forward proxy resolves it, if there is one.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Implicit TLS, or STARTTLS.
    pub tls: UpstreamTls,
    /// The name that its certificate must carry.
    pub name: String,
}

/// TLS towards an upstream; there is no "none".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamTls {
    /// From the first byte.
    Implicit,
    /// After STARTTLS, which is demanded.
    StartTls,
}

/// Who may log in: the most specific entry wins (address or alias, then domain, then `*`).
#[derive(Debug, Default)]
pub struct Accounts {
    entries: Vec<Arc<Account>>,
    /// Places in `entries` by address and alias, and by domain: a login is found as fast among thousands as among few.
    by_name: HashMap<LoginName, usize>,
    by_domain: HashMap<String, usize>,
    any: Option<usize>,
}

impl Accounts {
    /// In the order of the configuration. The patterns and aliases are unique (the check sees to it); of two that are
    /// not, the first one counts.
    pub fn new(entries: Vec<Arc<Account>>) -> Self {
        let (mut by_name, mut by_domain, mut any) = (HashMap::new(), HashMap::new(), None);
        for (place, entry) in entries.iter().enumerate() {
            match &entry.pattern {
                LoginPattern::Address(address) => {
                    for name in std::iter::once(address.as_login()).chain(&entry.aliases) {
                        by_name.entry(name.clone()).or_insert(place);
                    }
                }
                LoginPattern::Domain(domain) => {
                    by_domain.entry(domain.clone()).or_insert(place);
                }
                LoginPattern::Any => {
                    any.get_or_insert(place);
                }
            }
        }
        Self { entries, by_name, by_domain, any }
    }

    /// All entries, in the order of the configuration.
    pub fn entries(&self) -> &[Arc<Account>] {
        &self.entries
    }

    /// The entry for a login, and the address that signs in with it: for an alias that of its entry, else the login.
    /// `None` when no entry fits, or when a short name fits only `*`.
    pub fn find(&self, login: &LoginName) -> Option<(Arc<Account>, MailAddress)> {
        let entry = |place: &usize| self.entries.get(*place);
        if let Some(entry) = self.by_name.get(login).and_then(entry)
            && let LoginPattern::Address(address) = &entry.pattern
        {
            return Some((Arc::clone(entry), address.clone()));
        }
        let address = MailAddress::try_from(login.clone()).ok()?;
        let place = self.by_domain.get(address.domain()).or(self.any.as_ref())?;
        entry(place).map(|entry| (Arc::clone(entry), address))
    }
}

/// Whom an [`Account`] is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginPattern {
    /// One address.
    Address(MailAddress),
    /// `*@domain`; the domain, folded.
    Domain(String),
    /// `*`.
    Any,
}

/// A configured mailbox, or a set of them, with grant and policy.
#[derive(Debug)]
pub struct Account {
    /// Whom it is for.
    pub pattern: LoginPattern,
    /// Short names for devices; only with [`LoginPattern::Address`].
    pub aliases: Vec<LoginName>,
    /// How a token is had.
    pub grant: Grant,
    /// The Entra application that asks for it.
    pub application: Arc<Application>,
    /// The configured scope (v1.0: resource); `None` means the default of cloud and grant.
    pub scope: Option<String>,
    /// The XOAUTH2 user, when it is not the login.
    pub mailbox: Option<MailAddress>,
    /// A token with less life left is not used for a new login.
    pub token_expiry_margin: Duration,
}

/// How an account gets its token, and with it what proves the client.
#[derive(Debug)]
pub enum Grant {
    /// ROPC (RFC 6749 §4.3): Entra proves the password.
    Password,
    /// RFC 6749 §4.4: Gatepost proves the password, against one of these.
    ClientCredentials {
        /// Argon2id PHC strings, checked for form and for strength; at least one.
        passwords: Vec<String>,
    },
}

/// An Entra application in a tenant.
#[derive(Debug)]
pub struct Application {
    /// Base of the token endpoint, with `https` and a trailing slash.
    pub authority: Url,
    /// Directory id or verified domain.
    pub tenant: String,
    /// Application (client) id.
    pub client_id: String,
    /// For confidential clients.
    pub client_secret: Option<ClientSecret>,
    /// Which national cloud: decides the default scopes and the endpoint version.
    pub cloud: Cloud,
}

/// Microsoft's clouds (Microsoft, "National clouds").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cloud {
    /// Also GCC.
    Worldwide,
    /// GCC High.
    UsGovGccHigh,
    /// Department of Defense.
    UsGovDod,
    /// 21Vianet; tokens come from the v1.0 endpoint with `resource`.
    China,
}

/// The corporate proxy.
#[derive(Debug)]
pub struct ForwardProxy {
    /// At least one; tried in this order.
    pub servers: Vec<ProxyServer>,
    /// What they want. Nobody else is shown it.
    pub authentication: ProxyAuthentication,
    /// Destinations that are reached straight.
    pub no_proxy: NoProxy,
}

/// Where a proxy listens. `Display` gives its URL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProxyServer {
    /// How it is spoken to.
    pub scheme: ProxyScheme,
    /// Host name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for ProxyServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, host, port } = self;
        match host.contains(':') {
            true => write!(f, "{}://[{host}]:{port}", scheme.name()),
            false => write!(f, "{}://{host}:{port}", scheme.name()),
        }
    }
}

/// How a proxy is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyScheme {
    /// CONNECT (RFC 9110 §9.3.6).
    Http,
    /// The same within TLS, for which the proxy's certificate must carry its name.
    Https,
    /// SOCKS version 5 (RFC 1928); the proxy resolves names.
    Socks5h,
}

impl ProxyScheme {
    /// As in a URL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Socks5h => "socks5h",
        }
    }
}

/// How Gatepost shows itself to the proxy.
#[derive(Debug)]
pub enum ProxyAuthentication {
    /// Not at all.
    None,
    /// RFC 7617.
    Basic {
        /// No colon.
        username: String,
        /// Its password.
        password: ProxyPassword,
    },
    /// RFC 7616.
    Digest {
        /// Any text without controls.
        username: String,
        /// Its password.
        password: ProxyPassword,
    },
    /// MS-NLMP; NTLMv2 only.
    Ntlm(NtlmCredentials),
    /// RFC 4559 with Kerberos.
    #[cfg(feature = "negotiate")]
    Negotiate(Arc<NegotiateCredentials>),
}

/// Whoever signs in to the proxy by NTLM.
#[derive(Debug)]
pub struct NtlmCredentials {
    /// Without the domain; or a user principal name (`user@domain`), and then the domain is empty.
    pub username: String,
    /// NetBIOS or DNS name; may be empty.
    pub domain: String,
    /// Its password.
    pub password: ProxyPassword,
}

/// Whose Kerberos ticket the proxy is shown, and as whom the proxy must be known to the KDC.
#[cfg(feature = "negotiate")]
#[derive(Debug)]
pub struct NegotiateCredentials {
    /// `service/host`, with `@REALM` if need be, or `service@host`; by default `HTTP` at the proxy's host.
    pub service_name: Option<String>,
    /// `user` or `user@REALM`; by default that of the credential cache, or the first one of the keytab.
    pub username: Option<String>,
    /// Renews the ticket. Without it the credential cache must hold one.
    pub keytab: Option<PathBuf>,
}

/// Destinations that are reached without the proxy, besides link-local ones.
#[derive(Clone, Debug, Default)]
pub struct NoProxy {
    /// `*`: all of them.
    pub all: bool,
    /// Networks, for destinations given as addresses.
    pub networks: Vec<Exempt<IpNet>>,
    /// Names, folded, without a leading dot: the name itself and everything below it.
    pub domains: Vec<Exempt<String>>,
}

/// An entry of [`NoProxy`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exempt<T> {
    /// Network or name.
    pub what: T,
    /// With this port only.
    pub port: Option<u16>,
}

/// Whom to trust upstream. Verification itself has no switch.
#[derive(Clone, Debug)]
pub struct Trust {
    /// The platform's roots.
    pub system_roots: bool,
    /// A PEM file with more roots, and its content as read by the check.
    pub additional_ca: Option<(PathBuf, Vec<u8>)>,
    /// Roots for one server each, besides those for all.
    pub destinations: Vec<DestinationTrust>,
}

/// Whom else to trust at one server.
#[derive(Clone, Debug)]
pub struct DestinationTrust {
    /// The name that its certificate must carry, folded.
    pub host: String,
    /// A PEM file with its roots, and its content as read by the check.
    pub additional_ca: (PathBuf, Vec<u8>),
}

/// Every bound and deadline outside the protocol machines, with the default of `proxy.example.yaml`.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bounds of the protocol machines.
    pub protocol: Arc<crate::proto::Limits>,
    /// Connections in all.
    pub connections: usize,
    /// Connections from one source (IPv4 address, IPv6 /64); loopback is exempt.
    pub connections_per_source: usize,
    /// Connections that have not logged in; loopback is exempt. From half of it on some are refused at random.
    pub pre_auth_connections: usize,
    /// The same from one source.
    pub pre_auth_connections_per_source: usize,
    /// TLS handshake with a client.
    pub tls_handshake: Duration,
    /// From the greeting to the end of the first command, and for each further command, counted from its first byte.
    pub command: Duration,
    /// From the greeting to a presented login; waiting for Entra and the upstream is not counted.
    pub pre_auth: Duration,
    /// A refusal is held back so long (± a quarter).
    pub failure_delay: Duration,
    /// Most refusals held back at once; over it the connection is closed instead.
    pub delayed_failures: usize,
    /// From a presented login to its decision.
    pub login: Duration,
    /// Name resolution.
    pub resolve: Duration,
    /// One TCP connect.
    pub connect_attempt: Duration,
    /// TCP and TLS together, straight.
    pub connect: Duration,
    /// TCP, CONNECT and TLS together, through a proxy.
    pub connect_via_proxy: Duration,
    /// Greeting to success at the upstream.
    pub upstream_login: Duration,
    /// New connections to upstreams in a second; who would wait longer than ten seconds is told at once.
    pub upstream_connects_per_second: u32,
    /// IMAP sessions of one mailbox at once.
    pub imap_sessions_per_mailbox: usize,
    /// The same, POP3.
    pub pop3_sessions_per_mailbox: usize,
    /// The same, SMTP.
    pub smtp_sessions_per_mailbox: usize,
    /// How long a login waits for another session of its mailbox to end.
    pub mailbox_wait: Duration,
    /// How often the upstream's capability list is learned anew.
    pub capability_refresh: Duration,
    /// One token request.
    pub token_request: Duration,
    /// All tries for one token.
    pub token_total: Duration,
    /// Token requests at once.
    pub token_requests: usize,
    /// Token requests that wait for a turn.
    pub token_queue: usize,
    /// Distinct refused passwords forwarded to Entra per account in 24 hours since its last success.
    pub refused_passwords_per_account: u32,
    /// Refused passwords forwarded over all accounts, per minute.
    pub refused_passwords_per_minute: u32,
    /// The same per hour.
    pub refused_passwords_per_hour: u32,
    /// A refused password is answered locally so long; doubles with each new refusal, up to a day.
    pub refused_password_memory: Duration,
    /// An accepted password is trusted without asking again so long.
    pub accepted_password_memory: Duration,
    /// Password hashes (Argon2id) computed at once.
    pub password_hashes: usize,
    /// Password checks that wait for a turn.
    pub password_hash_queue: usize,
    /// How long they wait.
    pub password_hash_wait: Duration,
    /// Most octets moved at a time by the relay.
    pub relay_buffer_bytes: usize,
    /// Without a byte in either direction, IMAP.
    pub imap_idle: Duration,
    /// The same, POP3.
    pub pop3_idle: Duration,
    /// The same, SMTP; above the ten minutes that RFC 5321 §4.5.3.2.6 gives the final dot.
    pub smtp_idle: Duration,
    /// One side has ended, the other has not.
    pub half_closed: Duration,
    /// Data waits, and the receiver takes none of it.
    pub write_stall: Duration,
    /// Sessions may end by themselves so long after SIGTERM.
    pub drain: Duration,
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
            upstream_login: seconds(30),
            upstream_connects_per_second: 500,
            imap_sessions_per_mailbox: 16,
            pop3_sessions_per_mailbox: 16,
            smtp_sessions_per_mailbox: 3,
            mailbox_wait: seconds(30),
            capability_refresh: seconds(3_600),
            token_request: seconds(10),
            token_total: seconds(25),
            token_requests: 64,
            token_queue: 1_000,
            refused_passwords_per_account: 8,
            refused_passwords_per_minute: 60,
            refused_passwords_per_hour: 600,
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
        }
    }
}

/// How the log is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Text or JSON.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: tracing::Level,
}

/// Forms of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object per line.
    Json,
}
