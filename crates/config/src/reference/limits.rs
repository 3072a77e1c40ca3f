//! The keys of `limits`.

use std::time::Duration;

use super::super::penalties::MOST_SPRAYING_ACCOUNTS;
use super::kind::IfAbsent::{Means, Value};
use super::kind::{Block, Group, Key, Kind};

/// Shortest deadline that makes sense on a network.
const SHORTEST: Duration = Duration::from_millis(100);
const HOUR: Duration = seconds(3_600);
const DAY: Duration = seconds(24 * 3_600);
const WEEK: Duration = seconds(7 * 24 * 3_600);

const KIB: u64 = 1_024;
const MIB: u64 = 1_024 * KIB;

/// A limit of the protocol machines may be raised to this multiple of its default. Input before a
/// login is not trusted, and memory is calculated with these limits.
const FACTOR: u64 = 4;

const fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

/// The section `limits`.
pub(super) const LIMITS: &Block = &Block {
    path: "limits",
    meaning: "Limits and deadlines. Times end in `ms`, `s`, `m`, `h` or `d`. Sizes end in `B`, `KiB`, `MiB` or `GiB`. Counts \
              have no unit.",
    groups: &[
        Group { title: "Connections", keys: CONNECTIONS },
        Group {
            title: "Penalties of sources that misbehave before a login. They run down second by second, and loopback is exempt",
            keys: PENALTIES,
        },
        Group { title: "Before the login", keys: BEFORE_LOGIN },
        Group { title: "Towards Microsoft 365", keys: UPSTREAM },
        Group { title: "Messages that Gatepost itself takes", keys: MESSAGES },
        Group { title: "EWS and Graph listeners", keys: HTTP },
        Group { title: "Tokens", keys: TOKENS },
        Group { title: "Passwords", keys: PASSWORDS },
        Group { title: "Sessions", keys: SESSIONS },
    ],
    one_of: &[],
};

const CONNECTIONS: &[Key] = &[
    Key::new("connections", Kind::Count(1, 1_000_000), Value("20000"), "Connections in all."),
    Key::new(
        "connections_per_source",
        Kind::Count(1, 1_000_000),
        Value("2000"),
        "Connections from one IPv4 address or IPv6 /64. Loopback is exempt.",
    ),
    Key::new(
        "pre_auth_connections",
        Kind::Count(2, 100_000),
        Value("512"),
        "Connections that have not logged in. Above half of it, some are refused at random. Loopback is exempt.",
    ),
    Key::new(
        "pre_auth_connections_per_source",
        Kind::Count(1, 100_000),
        Value("20"),
        "Connections from one source that have not logged in. Loopback is exempt.",
    ),
];

const PENALTIES: &[Key] = &[
    Key::new(
        "penalty_threshold",
        Kind::Time(Duration::ZERO, DAY),
        Value("15s"),
        "Penalty above which connections of the source are closed until it is zero. An IPv6 /48 has eight times as \
         much. The value of `penalty_cap` turns blocking off.",
    ),
    Key::new("penalty_cap", Kind::Time(Duration::ZERO, DAY), Value("10m"), "Highest penalty of a source."),
    Key::new(
        "penalty_wrong_password",
        Kind::Time(Duration::ZERO, HOUR),
        Value("5s"),
        "Penalty for a wrong password or an unknown account. The same login again costs nothing.",
    ),
    Key::new(
        "penalty_no_login",
        Kind::Time(Duration::ZERO, HOUR),
        Value("1s"),
        "Penalty for a connection that ends without a login attempt.",
    ),
    Key::new(
        "penalty_timeout",
        Kind::Time(Duration::ZERO, HOUR),
        Value("10s"),
        "Penalty for a missed deadline before the login.",
    ),
    Key::new(
        "penalty_garbage",
        Kind::Time(Duration::ZERO, HOUR),
        Value("10s"),
        "Penalty for input that no mail client sends.",
    ),
    Key::new(
        "penalty_http",
        Kind::Time(Duration::ZERO, HOUR),
        Value("30s"),
        "Penalty for an HTTP request to a mail listener, as scanners and browsers send it.",
    ),
    Key::new(
        "penalty_panic",
        Kind::Time(Duration::ZERO, HOUR),
        Value("90s"),
        "Penalty for a session that a bug in Gatepost ended.",
    ),
    Key::new(
        "penalty_spraying",
        Kind::Time(Duration::ZERO, HOUR),
        Value("2m"),
        "Penalty for failed logins at more than `spraying_accounts` accounts within ten minutes.",
    ),
    Key::new(
        "spraying_accounts",
        Kind::Count(1, MOST_SPRAYING_ACCOUNTS as u64),
        Value("10"),
        "Accounts at which logins of one source may fail within ten minutes.",
    ),
    Key::new(
        "penalty_sources",
        Kind::Count(1_000, 1_000_000),
        Value("65536"),
        "Sources remembered, for IPv4 and IPv6 each. Those with the lowest penalty are forgotten first.",
    ),
];

const BEFORE_LOGIN: &[Key] = &[
    Key::new("tls_handshake", Kind::Time(SHORTEST, seconds(60)), Value("10s"), "TLS handshake with the client."),
    Key::new(
        "command",
        Kind::Time(SHORTEST, seconds(300)),
        Value("30s"),
        "Time until the first command ends, and for each further one from its first byte.",
    ),
    Key::new("pre_auth", Kind::Time(SHORTEST, seconds(600)), Value("1m"), "Time until the client sends a login."),
    Key::new("login", Kind::Time(SHORTEST, seconds(300)), Value("55s"), "Time until a login is decided."),
    Key::new(
        "failure_delay",
        Kind::Time(Duration::ZERO, seconds(30)),
        Value("2s"),
        "Delay of a refusal, plus or minus a quarter. It slows down guessing.",
    ),
    Key::new(
        "delayed_failures",
        Kind::Count(0, 100_000),
        Value("2000"),
        "Refusals delayed at once. Above it, the connection is closed instead.",
    ),
    Key::new(
        "imap_line",
        Kind::Size(512, FACTOR * 8 * KIB),
        Value("8KiB"),
        "Longest IMAP command line, without its literals.",
    ),
    Key::new("imap_literal", Kind::Size(64, FACTOR * 4 * KIB), Value("4KiB"), "Longest IMAP literal."),
    Key::new("imap_literals", Kind::Count(1, FACTOR * 4), Value("4"), "Literals in one IMAP command."),
    Key::new(
        "imap_literals_total",
        Kind::Size(64, FACTOR * 8 * KIB),
        Value("8KiB"),
        "All literals of one IMAP command together.",
    ),
    Key::new("line", Kind::Size(128, FACTOR * 512), Value("512B"), "Longest POP3 or SMTP command line."),
    Key::new(
        "sasl_line",
        Kind::Size(512, FACTOR * 12 * KIB),
        Value("12KiB"),
        "Longest line of an authentication exchange (RFC 4954 §4).",
    ),
    Key::new(
        "held",
        Kind::Size(512, FACTOR * 8 * KIB),
        Value("8KiB"),
        "Bytes behind a login that are kept until the login is decided.",
    ),
    Key::new("commands", Kind::Count(1, FACTOR * 20), Value("20"), "Commands before the login."),
    Key::new(
        "bad_commands",
        Kind::Count(1, FACTOR * 3),
        Value("3"),
        "Commands without meaning, before the connection is closed.",
    ),
    Key::new("attempts", Kind::Count(1, FACTOR * 3), Value("3"), "Failed logins, before the connection is closed."),
];

const UPSTREAM: &[Key] = &[
    Key::new("resolve", Kind::Time(SHORTEST, seconds(60)), Value("5s"), "Name resolution."),
    Key::new("connect_attempt", Kind::Time(SHORTEST, seconds(60)), Value("5s"), "One TCP connection attempt."),
    Key::new("connect", Kind::Time(SHORTEST, seconds(120)), Value("10s"), "TCP and TLS, without a proxy."),
    Key::new(
        "connect_via_proxy",
        Kind::Time(SHORTEST, seconds(120)),
        Value("15s"),
        "TCP, CONNECT and TLS, through the forward proxy.",
    ),
    Key::new(
        "upstream_login",
        Kind::Time(SHORTEST, seconds(120)),
        Means("as `login`, at most 2m"),
        "Time from the greeting of the server to a successful login, within what is left of `login`.",
    ),
    Key::new(
        "upstream_line",
        Kind::Size(512, FACTOR * 8 * KIB),
        Value("8KiB"),
        "Longest line from the server before the login.",
    ),
    Key::new("upstream_lines", Kind::Count(8, FACTOR * 128), Value("128"), "Lines from the server before the login."),
    Key::new(
        "upstream_total",
        Kind::Size(4 * KIB, FACTOR * 64 * KIB),
        Value("64KiB"),
        "Bytes from the server before the login.",
    ),
    Key::new(
        "upstream_connects_per_second",
        Kind::Count(1, 1_000_000),
        Value("500"),
        "New connections per second. Further logins wait for up to 10 seconds, as after an outage.",
    ),
    Key::new(
        "imap_sessions_per_mailbox",
        Kind::Either(&[Kind::Count(1, 1_000_000), Kind::Word(&["none"])]),
        Value("none"),
        "IMAP sessions of one mailbox at once. `none`: as many as Exchange accepts.",
    ),
    Key::new(
        "pop3_sessions_per_mailbox",
        Kind::Either(&[Kind::Count(1, 1_000_000), Kind::Word(&["none"])]),
        Value("none"),
        "POP3 sessions of one mailbox at once. `none`: as many as Exchange accepts.",
    ),
    Key::new(
        "smtp_sessions_per_mailbox",
        Kind::Count(1, 1_000_000),
        Value("3"),
        "SMTP sessions of one mailbox at once. Above three, Exchange answers 432 4.3.2.",
    ),
    Key::new(
        "ews_requests_per_mailbox",
        Kind::Count(1, 1_000_000),
        Value("10"),
        "EWS requests of one mailbox at once. Further ones wait.",
    ),
    Key::new(
        "graph_requests_per_mailbox",
        Kind::Count(1, 1_000_000),
        Value("4"),
        "Graph requests of one mailbox at once. Microsoft allows four.",
    ),
    Key::new(
        "mailbox_wait",
        Kind::Time(Duration::ZERO, seconds(300)),
        Value("30s"),
        "Time that a login waits for another session of its mailbox to end.",
    ),
    Key::new(
        "capability_refresh",
        Kind::Time(seconds(1), WEEK),
        Value("1h"),
        "Time after which the capabilities of the server are read again.",
    ),
];

const MESSAGES: &[Key] = &[
    Key::new(
        "recipients",
        Kind::Count(1, 10_000),
        Value("1000"),
        "Recipients of a message. Exchange allows a mailbox 500 by default.",
    ),
    Key::new(
        "message",
        Kind::Size(64 * KIB, 1_024 * MIB),
        Value("150MiB"),
        "Size of a message. Exchange accepts 150 MiB at most.",
    ),
    Key::new(
        "smtp_command",
        Kind::Time(SHORTEST, HOUR),
        Value("5m"),
        "Time for the next command of the client, or the next piece of its message.",
    ),
    Key::new(
        "smtp_verdict",
        Kind::Time(SHORTEST, HOUR),
        Value("10m"),
        "Time for the answer of Exchange to a whole message. RFC 5321 asks for no less.",
    ),
    Key::new(
        "graph_messages",
        Kind::Count(1, 10_000),
        Value("100"),
        "Messages for Graph held in memory at once, up to 3 MB each.",
    ),
    // A client waits ten minutes for the reply to a message (RFC 5321 §4.5.3.2.6), a minute of which
    // may pass before.
    Key::new(
        "graph_answer",
        Kind::Time(SHORTEST, seconds(480)),
        Value("5m"),
        "Time for the answer of Graph to a message.",
    ),
    Key::new(
        "maildrop_messages",
        Kind::Count(1, 1_000_000),
        Value("50000"),
        "Messages that POP3 over Graph shows. Of a larger Inbox, it shows the oldest.",
    ),
];

const HTTP: &[Key] = &[
    Key::new(
        "http_head",
        Kind::Time(SHORTEST, seconds(60)),
        Value("10s"),
        "Time from the first byte of a request to the end of its head.",
    ),
    Key::new("http_head_size", Kind::Size(4 * KIB, 128 * KIB), Value("32KiB"), "Size of the request line and fields."),
    Key::new("http_fields", Kind::Count(16, 400), Value("100"), "Fields of a request."),
    Key::new(
        "http_idle",
        Kind::Time(SHORTEST, HOUR),
        Value("2m"),
        "Time without a byte in either direction, except while Microsoft works on a request.",
    ),
    Key::new(
        "http_answer",
        Kind::Time(SHORTEST, HOUR),
        Value("2m"),
        "Time from the end of a request to the beginning of Microsoft's answer.",
    ),
    Key::new(
        "soap_head",
        Kind::Size(4 * KIB, 4 * MIB),
        Value("256KiB"),
        "Size of an EWS request up to its SOAP body. The body is not limited.",
    ),
];

const TOKENS: &[Key] = &[
    Key::new("token_request", Kind::Time(SHORTEST, seconds(60)), Value("10s"), "One token request."),
    Key::new(
        "token_total",
        Kind::Time(SHORTEST, seconds(120)),
        Means("`login` less 5s, from 25s to 2m"),
        "All attempts for one token. An outage of Entra that is shorter costs no login.",
    ),
    Key::new("token_requests", Kind::Count(1, 1_000), Value("64"), "Token requests at once."),
    Key::new(
        "token_queue",
        Kind::Count(0, 100_000),
        Value("1000"),
        "Token requests that wait. Further ones are refused as temporary.",
    ),
];

const PASSWORDS: &[Key] = &[
    Key::new(
        "refused_passwords_per_account",
        Kind::Count(1, 100),
        Value("8"),
        "Distinct wrong passwords of one account sent to Entra within two hours of its last success. Entra locks an \
         account at ten. In the US Government clouds two are sent at most. Sources that never logged in to the \
         account get five of eight.",
    ),
    Key::new(
        "refused_passwords_per_minute",
        Kind::Count(1, 10_000),
        Value("60"),
        "Wrong passwords of all accounts sent to Entra per minute.",
    ),
    Key::new(
        "refused_passwords_per_hour",
        Kind::Count(1, 100_000),
        Value("600"),
        "Wrong passwords of all accounts sent to Entra per hour.",
    ),
    Key::new(
        "replicas",
        Kind::Count(1, 1_000),
        Value("1"),
        "Processes that share these limits. Replicas with one Redis count the wrong passwords of an account together.",
    ),
    Key::new(
        "replica_index",
        Kind::Count(0, 999),
        Value("0"),
        "Index of this process among the replicas, from 0. Needed if a share is less than one password.",
    ),
    Key::new(
        "refused_password_memory",
        Kind::Time(seconds(1), DAY),
        Value("15m"),
        "Time in which a wrong password is refused again without asking Entra. It doubles with each refusal, up to a \
         day.",
    ),
    Key::new(
        "accepted_password_memory",
        Kind::Time(seconds(1), DAY),
        Value("1d"),
        "Time in which an accepted password is trusted without asking Entra again.",
    ),
    Key::new(
        "password_hashes",
        Kind::Count(1, 64),
        Value("4"),
        "Argon2id hashes computed at once, at 19 MiB or more each.",
    ),
    Key::new("password_hash_queue", Kind::Count(0, 10_000), Value("64"), "Password checks that wait for their turn."),
    Key::new(
        "password_hash_wait",
        Kind::Time(SHORTEST, seconds(60)),
        Value("5s"),
        "Time that a password check may wait.",
    ),
];

const SESSIONS: &[Key] = &[
    Key::new(
        "relay_buffer",
        Kind::Size(4 * KIB, 4 * MIB),
        Value("256KiB"),
        "Bytes that are moved at a time. An idle session has no buffer.",
    ),
    Key::new(
        "imap_idle",
        Kind::Time(SHORTEST, DAY),
        Value("31m"),
        "Time without a byte in either direction. RFC 9051 §5.4 asks for 30 minutes at least.",
    ),
    Key::new(
        "pop3_idle",
        Kind::Time(SHORTEST, DAY),
        Value("11m"),
        "Time without a byte in either direction. RFC 1939 §3 asks for 10 minutes at least.",
    ),
    Key::new(
        "smtp_idle",
        Kind::Time(SHORTEST, DAY),
        Value("11m"),
        "Time without a byte in either direction. RFC 5321 §4.5.3.2.6 gives the reply to the final dot 10 minutes.",
    ),
    Key::new(
        "half_closed",
        Kind::Time(SHORTEST, HOUR),
        Value("1m"),
        "Time that a session lasts after one side has ended.",
    ),
    Key::new(
        "write_stall",
        Kind::Time(SHORTEST, HOUR),
        Value("2m"),
        "Time that data may wait while the receiver accepts none of it.",
    ),
    Key::new(
        "drain",
        Kind::Time(Duration::ZERO, HOUR),
        Value("5m"),
        "Time in which sessions may end by themselves after SIGTERM.",
    ),
    Key::new(
        "reload_check",
        Kind::Time(Duration::ZERO, HOUR),
        Value("5s"),
        "How often files of the configuration are checked for changes. `0s`: only SIGHUP and `gatepost reload`.",
    ),
];
