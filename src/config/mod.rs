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
use crate::http::rules::{GraphRules, HttpService};
use crate::proto::MailProtocol;
use crate::protocol::Protocol;
use crate::sasl::ClientTokens;
use crate::secret::{RedisPassword, StateKeyText};

mod accounts;
mod admin;
pub mod certificate;
mod check;
pub mod cloud;
mod credential;
mod entra;
mod files;
mod forward_proxy;
mod http;
mod limits;
mod listeners;
pub mod load;
mod no_proxy;
pub mod password_hash;
pub mod penalties;
mod pkcs12;
pub mod problem;
mod proxy;
mod proxy_authentication;
mod raw;
mod reader;
mod render;
mod secrets;
pub mod server_identity;
mod state;
mod submission;
mod unproved;
pub(crate) mod value;

pub use admin::{Admin, AdminToken};
pub use files::Files;
pub use limits::PasswordBudget;
pub use submission::{Deliver, SenderRule, Submission, TrustedSender};
pub use unproved::Unproved;

pub use credential::{ClientCertificate, Credential, IdentityEndpoint, ManagedIdentity, NotedSecret, Renewable};
pub(crate) use secrets::line as secret_line;

#[cfg(feature = "pac")]
pub use proxy::PacLocation;
pub use proxy::{Exempt, ForwardProxy, NoProxy, ProxyChoice, ProxyScheme, ProxyServer};

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

/// A bound address with its protocol, its TLS mode, and where its logins go.
#[derive(Clone, Debug, PartialEq)]
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
    /// From these addresses each connection begins with a PROXY header (v1 or v2), which is believed.
    pub proxy_protocol_from: Vec<IpNet>,
    /// A bare LF ends a line too.
    pub bare_lf: bool,
    /// Old devices are borne with: what they get wrong is understood where that harms nobody.
    pub legacy: bool,
    /// What becomes of clients that bring a token of their own; over HTTP nobody does.
    pub client_tokens: ClientTokens,
    /// What becomes of those who log in.
    pub serves: Serves,
}

impl Listener {
    /// The mail server to which its logins go, or its messages may go.
    pub fn mail_server(&self) -> Option<&Upstream> {
        match &self.serves {
            Serves::Relay(upstream) => Some(upstream),
            Serves::Submission(submission) => submission.smtp.as_ref(),
            Serves::Maildrop(_) | Serves::Http(_) => None,
        }
    }

    /// What Gatepost asks for a token for, on behalf of who logs in here. The first one is what a login needs at once.
    pub fn resources(&self) -> &'static [Resource] {
        match &self.serves {
            Serves::Relay(_) => &[Resource::Exchange],
            Serves::Maildrop(_) => &[Resource::Graph],
            Serves::Submission(Submission { deliver, .. }) => match deliver {
                Deliver::Smtp => &[Resource::Exchange],
                Deliver::Graph => &[Resource::Graph],
                Deliver::Auto => &[Resource::Exchange, Resource::Graph],
            },
            Serves::Http(Http { service, .. }) => match service {
                HttpService::Ews => &[Resource::Exchange],
                HttpService::Graph => &[Resource::Graph],
            },
        }
    }

    /// Where it leads to, for people: host and port.
    pub fn destination(&self) -> String {
        match &self.serves {
            Serves::Relay(upstream) => authority(&upstream.host, upstream.port),
            Serves::Submission(Submission { smtp: Some(smtp), .. }) => authority(&smtp.host, smtp.port),
            Serves::Submission(Submission { graph: origin, .. })
            | Serves::Maildrop(origin)
            | Serves::Http(Http { origin, .. }) => origin.to_string(),
        }
    }
}

/// What becomes of those who log in at a listener.
#[derive(Clone, Debug, PartialEq)]
pub enum Serves {
    /// After the login bytes are relayed to a mail server.
    Relay(Upstream),
    /// SMTP: Gatepost takes each message itself and hands it on (`deliver: graph`, `deliver: auto`, `trusted_senders`,
    /// `legacy`).
    Submission(Submission),
    /// POP3: the mailbox is read through Microsoft Graph (`upstream: graph`).
    Maildrop(Origin),
    /// EWS or Microsoft Graph over HTTP Basic.
    Http(Http),
}

/// EWS or Microsoft Graph behind a listener.
#[derive(Clone, Debug, PartialEq)]
pub struct Http {
    /// Which.
    pub service: HttpService,
    /// The one server to which requests go.
    pub origin: Origin,
    /// Names under which clients know the listener, besides those of its certificate (`hosts`).
    pub hosts: Vec<String>,
    /// What is served of Graph.
    pub graph: GraphRules,
}

/// An HTTPS server of Microsoft.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Host name or address to connect to; the forward proxy resolves it, if there is one.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The name that its certificate must carry, and that requests name as their host.
    pub name: String,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&authority(&self.host, self.port))
    }
}

/// Host and port; an IPv6 address stands in brackets.
fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// Exchange Online: IMAP, POP3, SMTP AUTH and EWS.
    Exchange,
    /// Microsoft Graph.
    Graph,
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
    pub protocol: MailProtocol,
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
#[derive(Debug, Default, PartialEq)]
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

    /// Whether some entry asks for its tokens as this application.
    pub fn has_application(&self, application: &Application) -> bool {
        self.entries.iter().any(|entry| *entry.application == *application)
    }

    /// The entry for a login, and the address that signs in with it: for an alias that of its entry, else the login.
    /// `None` when no entry fits, when a short name fits only `*`, when a name that Entra is to judge is not ASCII, or when the
    /// domain, which is to name the tenant, is none.
    pub fn find(&self, login: &LoginName) -> Option<(Arc<Account>, MailAddress)> {
        let entry = |place: &usize| self.entries.get(*place);
        if let Some(entry) = self.by_name.get(login).and_then(entry)
            && let LoginPattern::Address(address) = &entry.pattern
        {
            return Some((Arc::clone(entry), address.clone()));
        }
        let address = MailAddress::try_from(login.clone()).ok()?;
        let entry = self.by_domain.get(address.domain()).or(self.any.as_ref()).and_then(entry)?;
        // Entra's user names are ASCII, and what it folds into one (full-width letters, accents) has no budget of its own.
        if entry.grant == Grant::Password && !address.as_str().is_ascii() {
            return None;
        }
        // The domain gets into a URL and into the names of tokens.
        let names_tenant = entry.application.tenant != Tenant::OfLogin || entra::is_domain(address.domain());
        names_tenant.then(|| (Arc::clone(entry), address))
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

impl fmt::Display for LoginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Domain(domain) => write!(f, "*@{domain}"),
            Self::Any => f.write_str("*"),
        }
    }
}

/// A configured mailbox, or a set of them, with grant and policy.
#[derive(Debug, PartialEq)]
pub struct Account {
    /// Whom it is for.
    pub pattern: LoginPattern,
    /// Short names for devices; only with [`LoginPattern::Address`].
    pub aliases: Vec<LoginName>,
    /// How a token is had.
    pub grant: Grant,
    /// Argon2id PHC strings of the passwords that Gatepost itself proves, besides the device passwords of the store;
    /// checked for form and for strength. None with [`Grant::Password`].
    pub passwords: Vec<String>,
    /// The Entra application that asks for it.
    pub application: Arc<Application>,
    /// The configured scope (v1.0: resource); `None` means the default of cloud and grant.
    pub scope: Option<String>,
    /// The XOAUTH2 user, when it is not the login.
    pub mailbox: Option<MailAddress>,
    /// Who signs in for it, when it is not the login: a shared mailbox has no sign-in of its own. Only with
    /// [`LoginPattern::Address`] and a grant that [`Grant::is_sign_in`].
    pub signs_in_as: Option<MailAddress>,
    /// A token with less life left is not used for a new login.
    pub token_expiry_margin: Duration,
}

/// How an account gets its token, and with it what proves the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// ROPC (RFC 6749 §4.3): Entra proves the password.
    Password,
    /// RFC 6749 §4.4: the application signs in as itself, and Gatepost proves the client's password.
    ClientCredentials,
    /// RFC 6749 §4.1: a person signs in once, in a browser, and Gatepost proves the client's password.
    AuthorizationCode,
    /// RFC 8628: the same, with a browser on another device.
    DeviceCode,
}

impl Grant {
    /// The token is a user's, not the application's own.
    pub fn is_of_user(self) -> bool {
        !matches!(self, Self::ClientCredentials)
    }

    /// A person signs in once with `gatepost login`, and from then on a refresh token stands for it.
    pub fn is_sign_in(self) -> bool {
        matches!(self, Self::AuthorizationCode | Self::DeviceCode)
    }
}

/// An Entra application in a tenant, or a managed identity.
#[derive(Debug, PartialEq)]
pub struct Application {
    /// Base of the token endpoint, with `https` and a trailing slash.
    pub authority: Url,
    /// Where it signs in, or lets users sign in; empty with a managed identity.
    pub tenant: Tenant,
    /// Application (client) id; of a managed identity its own, or `system`.
    pub client_id: String,
    /// How it proves itself.
    pub credential: Arc<Credential>,
    /// Which national cloud: decides the default scopes and the endpoint version.
    pub cloud: Cloud,
}

/// The tenant of a token request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tenant {
    /// A directory id or a verified domain, folded.
    Named(String),
    /// `organizations`: whichever the user belongs to. Not for an application that signs in as itself.
    Organizations,
    /// `auto`: the domain of the login. Only with [`LoginPattern::Any`]; elsewhere the domain is known.
    OfLogin,
}

impl From<&str> for Tenant {
    /// A directory id or a domain, folded and checked.
    fn from(name: &str) -> Self {
        Self::Named(name.to_owned())
    }
}

impl Tenant {
    /// What stands for it in URLs and in the names of tokens when `login` signs in.
    pub fn of<'a>(&'a self, login: &'a MailAddress) -> &'a str {
        match self {
            Self::Named(name) => name,
            Self::Organizations => "organizations",
            Self::OfLogin => login.domain(),
        }
    }
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

/// Whom to trust upstream. Verification itself has no switch.
#[derive(Clone, Debug, PartialEq)]
pub struct Trust {
    /// The platform's roots.
    pub system_roots: bool,
    /// A PEM file with more roots, and its content as read by the check.
    pub additional_ca: Option<(PathBuf, Vec<u8>)>,
    /// Roots for one server each, besides those for all.
    pub destinations: Vec<DestinationTrust>,
}

/// Whom else to trust at one server.
#[derive(Clone, Debug, PartialEq)]
pub struct DestinationTrust {
    /// The name that its certificate must carry, folded.
    pub host: String,
    /// A PEM file with its roots, and its content as read by the check.
    pub additional_ca: (PathBuf, Vec<u8>),
}

/// Where sign-ins and device passwords are kept.
#[derive(Debug, PartialEq)]
pub enum State {
    /// Nowhere: they are gone with the process.
    Memory,
    /// In a database file of this machine.
    Sqlite {
        /// Belongs to Gatepost alone (mode 0700).
        directory: PathBuf,
        /// What seals it.
        key: StateKey,
    },
    /// In a Redis that replicas share.
    Redis {
        /// Which.
        server: Arc<RedisServer>,
        /// What seals it; the same for all replicas.
        key: StateKey,
    },
}

/// Where the state key comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum StateKey {
    /// A file of Gatepost's own (mode 0600), made when both it and the store are absent.
    File(PathBuf),
    /// A file that somebody else provides: a systemd credential.
    Credential(PathBuf),
    /// The key, as the environment held it at the start.
    Literal(Arc<StateKeyText>),
    /// Something that writes it.
    Command {
        /// Program and arguments.
        command: Vec<String>,
        /// Environment variables that hold other secrets, and that it does not get to see.
        hidden: Vec<String>,
    },
}

impl StateKey {
    /// The source, in words for messages.
    pub fn shown(&self) -> String {
        match self {
            Self::File(path) | Self::Credential(path) => format!("`{}`", path.display()),
            Self::Literal(_) => "the environment".to_owned(),
            Self::Command { command, .. } => format!("the output of `{}`", command.first().map_or("", String::as_str)),
        }
    }
}

/// A Redis server, or one that speaks its protocol.
#[derive(Debug, PartialEq)]
pub struct RedisServer {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Number of the database.
    pub database: u16,
    /// `None`: the default user.
    pub username: Option<String>,
    /// `None`: it asks for none.
    pub password: Option<RedisPassword>,
    /// TLS, and whom to trust; `None`: without.
    pub tls: Option<Trust>,
}

/// Every bound and deadline outside the protocol machines, with the default of `proxy.example.yaml`.
#[derive(Clone, Debug, PartialEq)]
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
    /// Penalties of sources that misbehave before a login.
    pub penalties: penalties::Rules,
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
    /// EWS requests of one mailbox at once.
    pub ews_requests_per_mailbox: usize,
    /// Graph requests of one mailbox at once.
    pub graph_requests_per_mailbox: usize,
    /// Most recipients of a message that Gatepost takes itself.
    pub recipients: usize,
    /// Most octets of such a message; what Microsoft Graph takes is less.
    pub message_bytes: usize,
    /// The client's next command, or a piece of its message, is awaited so long.
    pub smtp_command: Duration,
    /// The upstream's word on a whole message is awaited so long.
    pub smtp_verdict: Duration,
    /// Messages for Microsoft Graph that are held in memory at once.
    pub graph_messages: usize,
    /// How long Microsoft Graph may take to answer a message.
    pub graph_answer: Duration,
    /// Messages of an Inbox that POP3 out of Graph shows; of more, the oldest.
    pub maildrop_messages: usize,
    /// From the first octet of an HTTP request to the end of its head.
    pub http_head: Duration,
    /// Octets of an HTTP request's head.
    pub http_head_bytes: usize,
    /// Fields in an HTTP request's head.
    pub http_fields: usize,
    /// Without a byte in either direction, HTTP.
    pub http_idle: Duration,
    /// From an HTTP request to the beginning of Microsoft's answer.
    pub http_answer: Duration,
    /// Octets of an EWS request up to its SOAP body.
    pub soap_head_bytes: usize,
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
    /// Distinct refused passwords forwarded to Entra per account in two hours since its last success.
    pub refused_passwords_per_account: u32,
    /// Refused passwords forwarded over all accounts, per minute.
    pub refused_passwords_per_minute: u32,
    /// The same per hour.
    pub refused_passwords_per_hour: u32,
    /// Processes that share the two budgets over all accounts, and without a store that they share the one per account.
    pub replicas: u32,
    /// Which of them this one is, from 0.
    pub replica_index: u32,
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
    /// How often the files of the configuration are looked at for changes; zero: only when told to.
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
            penalties: penalties::Rules::default(),
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
            token_total: seconds(25),
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

/// Whether the process gives up what it does not need (files, servers, system calls).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Confine {
    /// As far as the system can.
    #[default]
    Try,
    /// All of it, or no start.
    Require,
    /// Not at all.
    Off,
}

/// How the log is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Text or JSON.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: tracing::Level,
    /// Where login decisions and administrative acts are recorded as well.
    pub audit: Option<AuditLog>,
}

/// Where the audit log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditLog {
    /// Lines appended to a file.
    File(PathBuf),
    /// The journal of systemd.
    Journal,
}

/// Forms of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object per line.
    Json,
}
