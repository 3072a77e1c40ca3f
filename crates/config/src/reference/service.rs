//! The keys of `state`, `admin`, `log` and `trust`.

use std::time::Duration;

use super::credential::{FILE, PATH, SECRET, SOURCE, STATE_KEY, TEXT, USER};
use super::kind::IfAbsent::{Means, Nothing, Required, Value};
use super::kind::{Block, Form, Group, Key, Kind};
use super::network::{ADDRESS, BIND, HOST, RECIPIENT_DOMAIN};

const DAY: Duration = Duration::from_secs(24 * 3_600);

const REDIS: &Form = &Form { what: "`redis://` or `rediss://` URL", pattern: "^\\s*rediss?:" };

const LOCAL_USER: &Form = &Form { what: "user of this machine, or `*`", pattern: "^(\\*|[^\\s:*]+)$" };

/// The section `state`.
pub(super) const STATE: &Block = &Block {
    path: "state",
    meaning: "Where sign-ins and device passwords are kept, encrypted. Without this section and without a state directory, \
              Gatepost keeps nothing, which is enough for `grant: password`.",
    groups: &[Group {
        title: "",
        keys: &[
            Key::new(
                "directory",
                Kind::Text(PATH),
                Means("`$STATE_DIRECTORY`, or `/var/lib/gatepost` if it is writable"),
                "Directory for Gatepost alone: mode 0700, files 0600. Gatepost creates it.",
            ),
            Key::new(
                "store",
                Kind::Either(&[Kind::Word(&["sqlite"]), Kind::Text(REDIS), Kind::Block(SOURCE)]),
                Value("sqlite"),
                "`sqlite`: a file in `directory`. A Redis URL such as `redis://user:password@host:6379/0`: a store that \
                 replicas share.",
            ),
            Key::new(
                "key",
                STATE_KEY,
                Means("the systemd credential `gatepost.state.key`, or `state.key` in `directory`"),
                "Key that encrypts the store. Gatepost creates a missing file if there is no store yet. Back it up.",
            ),
            Key::new(
                "devices",
                Kind::Either(&[Kind::Word(&["off"]), Kind::Time(DAY, DAY.saturating_mul(90))]),
                Value("30d"),
                "How long `gatepost devices` lists a client after it connected last. `off`: nothing is noted.",
            ),
        ],
    }],
    one_of: &[],
};

/// The section `admin`.
pub(super) const ADMIN: &Block = &Block {
    path: "admin",
    meaning: "For administrators: the status and sign-in page at `/`, the endpoints `/livez`, `/readyz` and `/metrics`, and \
              the control socket.",
    groups: &[Group {
        title: "",
        keys: &[
            Key::new(
                "bind",
                Kind::OneOrMore(&Kind::Text(BIND)),
                Means("no page"),
                "Address and port of the page, such as `127.0.0.1:9180`. Other addresses than loopback need `certificate`, \
                 `private_key` and `token`.",
            ),
            Key::new(
                "socket",
                Kind::Either(&[Kind::Word(&["none"]), Kind::Text(PATH)]),
                Means("`gatepost.sock` in `$RUNTIME_DIRECTORY` or `state.directory`"),
                "Control socket, for `gatepost status`, `reload`, `account unlock` and `run --take-over`.",
            ),
            Key::new(
                "token",
                SECRET,
                Nothing,
                "Password of the page: at least 22 random characters, such as from `openssl rand -base64 24`.",
            ),
            Key::new("certificate", FILE, Nothing, "Certificate chain of the page in PEM."),
            Key::new("private_key", FILE, Nothing, "Private key of the certificate in PEM."),
            Key::new(
                "hosts",
                Kind::OneOrMore(&Kind::Text(HOST)),
                Value("[]"),
                "Host names under which browsers open the page, besides `localhost` and the address of `bind`.",
            ),
            Key::new(
                "open_metrics",
                Kind::Truth,
                Means("`true` on loopback, otherwise `false`"),
                "Whether `/metrics` can be read without the token.",
            ),
        ],
    }],
    one_of: &[],
};

/// The section `sendmail`.
pub(super) const SENDMAIL: &Block = &Block {
    path: "sendmail",
    meaning: "Mail of scripts, cron and other programs on this machine. They call `gatepost sendmail`, and the service sends \
              their messages as one account, without a login.",
    groups: &[Group {
        title: "",
        keys: &[
            Key::new(
                "listener",
                Kind::Text(TEXT),
                Means("the only SMTP listener"),
                "SMTP listener through which the messages leave, with its destination and its queue.",
            ),
            Key::new(
                "login",
                Kind::Text(USER),
                Required,
                "Account that the programs send as, or an alias of it. Its grant must not be `password`.",
            ),
            Key::new(
                "users",
                Kind::OneOrMore(&Kind::Text(LOCAL_USER)),
                Value("[]"),
                "Users of this machine whose programs may send, by name or number, besides root and the user of the service. \
                 `\"*\"`: every user. With others than these two, the systemd unit needs the drop-in `sendmail.conf`.",
            ),
            Key::new(
                "local_mail_to",
                Kind::Text(ADDRESS),
                Means("such mail is refused"),
                "Address that gets the mail for names without a domain, such as `root`, and for `localhost`.",
            ),
            Key::new(
                "sender",
                Kind::Word(&["forced", "checked"]),
                Value("forced"),
                "Rule for MAIL FROM, From and Sender, as with the key `sender` of a listener.",
            ),
            Key::new(
                "recipient_domains",
                Kind::OneOrMore(&Kind::Text(RECIPIENT_DOMAIN)),
                Means("all domains"),
                "Domains that the programs may send to.",
            ),
            Key::new(
                "messages_per_minute",
                Kind::Count(1, 10_000),
                Value("30"),
                "Messages that the programs of one user, and all of one mailbox, may send in a minute. A further one waits for \
                 up to a minute.",
            ),
            Key::new(
                "socket",
                Kind::Text(PATH),
                Means("`sendmail.sock` in `$RUNTIME_DIRECTORY` or `/run/gatepost`"),
                "Unix socket of the command. Another path than the default must be told to programs in \
                 `GATEPOST_SENDMAIL_SOCKET`. A change needs a restart.",
            ),
        ],
    }],
    one_of: &[],
};

/// The section `log`.
pub(super) const LOG: &Block = &Block {
    path: "log",
    meaning: "The log, which goes to standard error or to systemd's journal.",
    groups: &[Group {
        title: "",
        keys: &[
            Key::new(
                "format",
                Kind::Word(&["text", "json", "journal"]),
                Value("text"),
                "`json`: one object per line. `journal`: to systemd's journal, with each field as `GATEPOST_…`.",
            ),
            Key::new(
                "level",
                Kind::Word(&["error", "warn", "info", "debug", "trace"]),
                Value("info"),
                "Least important level that is logged.",
            ),
            Key::new(
                "audit",
                Kind::Either(&[Kind::Word(&["none", "journal"]), Kind::Block(AUDIT)]),
                Value("none"),
                "Audit log: one JSON object for each login decision, end of a session and administrative act. `journal`: to \
                 systemd's journal.",
            ),
        ],
    }],
    one_of: &[],
};

const AUDIT: &Block = &Block {
    path: "log.audit",
    meaning: "An audit log in a file. If logrotate moves the file, Gatepost creates it again.",
    groups: &[Group { title: "", keys: &[Key::new("file", Kind::Text(PATH), Required, "File of the audit log.")] }],
    one_of: &[],
};

/// The section `trust`.
pub(super) const TRUST: &Block = &Block {
    path: "trust",
    meaning: "Certificate authorities that are trusted for servers. Verification cannot be turned off.",
    groups: &[Group {
        title: "",
        keys: &[
            Key::new(
                "system_roots",
                Kind::Truth,
                Value("true"),
                "Whether the authorities of the operating system are trusted.",
            ),
            Key::new(
                "additional_ca",
                FILE,
                Nothing,
                "PEM file with further authorities, such as that of a proxy that inspects TLS.",
            ),
            Key::new(
                "destinations",
                Kind::List(&Kind::Block(DESTINATION)),
                Value("[]"),
                "Authorities that are trusted for one server only.",
            ),
        ],
    }],
    one_of: &[],
};

const DESTINATION: &Block = &Block {
    path: "trust.destinations[]",
    meaning: "Authorities for one server.",
    groups: &[Group {
        title: "",
        keys: &[
            Key::new("host", Kind::Text(HOST), Required, "Name in the certificate of the server."),
            Key::new("additional_ca", FILE, Required, "PEM file with the authorities."),
        ],
    }],
    one_of: &[],
};
