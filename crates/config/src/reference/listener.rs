//! The keys of a listener.

use super::credential::{FILE, USER};
use super::kind::IfAbsent::{Means, Nothing, Required, Value};
use super::kind::{Block, Form, Group, Key, Kind};
use super::network::{BIND, HOST, HOST_PORT, NETWORK, RECIPIENT_DOMAIN};
use gatepost_core::protocol::Protocol::{self, Ews, Graph, Imap, Pop3, Smtp};

const PATH_BELOW_MAILBOX: &Form =
    &Form { what: "path below the mailbox", pattern: "^(/|[A-Za-z0-9]+(/[A-Za-z0-9]+)*)$" };

const MAIL: &[Protocol] = &[Imap, Pop3, Smtp];

/// What is written for the sender of messages.
pub(super) const SENDER: Kind = Kind::Word(&["free", "forced", "checked"]);

/// A listener.
pub(super) const LISTENER: &Block = &Block {
    path: "listeners.NAME",
    meaning: "An address on which clients connect, with the protocol that they use. The name of your choice appears in the \
              log: up to 64 letters, digits, `-` and `_`.",
    groups: &[
        Group { title: "Clients", keys: CLIENTS },
        Group { title: "Microsoft 365", keys: UPSTREAM },
        Group { title: "SMTP", keys: SMTP },
        Group { title: "EWS and Graph", keys: HTTP },
    ],
    one_of: &[],
};

const CLIENTS: &[Key] = &[
    Key::new(
        "protocol",
        Kind::Word(&["imap", "pop3", "smtp", "ews", "graph"]),
        Means("the name of the listener, if it is a protocol"),
        "Protocol that clients use. Microsoft ends EWS on 1 April 2027.",
    ),
    Key::new(
        "bind",
        Kind::OneOrMore(&Kind::Text(BIND)),
        Required,
        "Address and port to listen on. `localhost` means `127.0.0.1` and `[::1]`, where the machine has both.",
    ),
    Key::new(
        "tls",
        Kind::Word(&["none", "starttls", "implicit"]),
        Value("none"),
        "Encryption towards the client. EWS and Graph listeners have no `starttls`.",
    ),
    Key::new(
        "certificate",
        FILE,
        Nothing,
        "Certificate chain in PEM, the server's certificate first. Needed with TLS. `gatepost cert` creates one for tests.",
    ),
    Key::new("private_key", FILE, Nothing, "Private key of the certificate in PEM. Needed with TLS."),
    Key::new(
        "allow_from",
        Kind::OneOrMore(&Kind::Text(NETWORK)),
        Means("`127.0.0.0/8` and `::1` if `bind` is loopback, otherwise required"),
        "Networks whose clients may connect.",
    ),
    Key::new(
        "allow_plaintext_from",
        Kind::OneOrMore(&Kind::Text(NETWORK)),
        Means("loopback with `tls: none`, otherwise nobody"),
        "Networks whose clients may log in without TLS. Anybody who can listen there learns the passwords.",
    ),
    Key::new(
        "proxy_protocol_from",
        Kind::OneOrMore(&Kind::Text(NETWORK)),
        Nothing,
        "Load balancers that send a PROXY header (v1 or v2). The addresses in the header then count everywhere, also in \
         `allow_from`.",
    ),
    Key::new(
        "client_tokens",
        Kind::Word(&["refuse", "accept", "announce"]),
        Value("accept"),
        "What happens to clients that bring a token of their own (XOAUTH2, OAUTHBEARER). Microsoft checks the token before \
         the client is let in. With `accept`, the mechanisms are not announced.",
    )
    .only(MAIL),
    Key::new(
        "bare_lf",
        Kind::Truth,
        Value("false"),
        "Whether a lone LF also ends a line, which some old devices send.",
    ),
    Key::new(
        "legacy",
        Kind::Truth,
        Value("false"),
        "Tolerance for old SMTP devices: bare LF, addresses without `<>`, blank lines, odd commands. Line ends of messages are \
         then corrected.",
    ),
];

const UPSTREAM: &[Key] = &[
    Key::new(
        "upstream",
        Kind::Either(&[Kind::Word(&["graph", "hve"]), Kind::Text(HOST_PORT)]),
        Means("by protocol and `microsoft.cloud`"),
        "Server that logins lead to. With POP3, `graph` reads the Inbox through Microsoft Graph, which needs Mail.ReadWrite. \
         With SMTP, `hve` is High Volume Email, which takes only HVE accounts.",
    ),
    Key::new(
        "upstream_tls",
        Kind::Word(&["implicit", "starttls"]),
        Means("`starttls` for SMTP, otherwise `implicit`"),
        "Encryption towards the server. The server's certificate is always verified.",
    )
    .only(MAIL),
    Key::new(
        "upstream_name",
        Kind::Text(HOST),
        Means("the host of `upstream`"),
        "Name that the certificate of the server must have.",
    ),
    Key::new(
        "graph",
        Kind::Text(HOST_PORT),
        Means("by `microsoft.cloud`"),
        "Server of Microsoft Graph. Used with `upstream: graph`, `deliver: graph` and `deliver: auto`.",
    )
    .only(&[Pop3, Smtp]),
];

const SMTP: &[Key] = &[
    Key::new(
        "deliver",
        Kind::Word(&["smtp", "graph", "auto"]),
        Value("smtp"),
        "How messages leave. `graph` needs Mail.Send and takes messages up to 3 MB, more with `graph_large`. `auto` uses Graph \
         only where SMTP AUTH or port 587 is blocked.",
    )
    .only(&[Smtp]),
    Key::new(
        "graph_large",
        Kind::Word(&["draft", "refuse"]),
        Value("refuse"),
        "What becomes of messages over 3 MB that go through Graph. `draft` sends them as drafts with attached files, up to \
         150 MB. It needs Mail.ReadWrite and `state.directory`.",
    )
    .only(&[Smtp]),
    Key::new(
        "sender",
        SENDER,
        Value("free"),
        "Rule for MAIL FROM, From and Sender of clients that log in. `free`: Exchange decides. `forced`: they become the \
         mailbox. `checked`: they must belong to the account.",
    )
    .only(&[Smtp]),
    Key::new(
        "trusted_senders",
        Kind::List(&Kind::Block(TRUSTED_SENDER)),
        Value("[]"),
        "Devices that send without a login. Give them a listener of their own with a narrow `allow_from`.",
    )
    .only(&[Smtp]),
    Key::new(
        "queue",
        Kind::Truth,
        Value("false"),
        "Whether Gatepost stores each message on disk before it accepts it, and delivers it at Microsoft's pace. Messages of \
         accounts with `grant: password` go directly.",
    )
    .only(&[Smtp]),
];

const HTTP: &[Key] = &[
    Key::new(
        "hosts",
        Kind::OneOrMore(&Kind::Text(HOST)),
        Value("[]"),
        "Further host names under which clients connect. Loopback, the address and the names in the certificate always work.",
    )
    .only(&[Ews, Graph]),
    Key::new(
        "paths",
        Kind::OneOrMore(&Kind::Text(PATH_BELOW_MAILBOX)),
        Value("[messages, mailFolders, sendMail, outlook/masterCategories]"),
        "Parts of Microsoft Graph below the mailbox that clients may use. `/` is the user itself.",
    )
    .only(&[Graph]),
    Key::new(
        "methods",
        Kind::OneOrMore(&Kind::Word(&["GET", "POST", "PATCH", "PUT", "DELETE", "HEAD"])),
        Value("[GET, POST, PATCH, PUT, DELETE]"),
        "HTTP methods that clients may use.",
    )
    .only(&[Graph]),
    Key::new(
        "other_mailboxes",
        Kind::Truth,
        Value("false"),
        "Whether a login may also open mailboxes other than its own, as far as its token allows.",
    )
    .only(&[Graph]),
];

const TRUSTED_SENDER: &Block = &Block {
    path: "listeners.NAME.trusted_senders[]",
    meaning: "A device that sends as an account without a login. If several entries match an address, the smallest network \
              counts.",
    groups: &[Group {
        title: "",
        keys: &[
            Key::new(
                "from",
                Kind::Text(NETWORK),
                Required,
                "Address or network of the device. A public network has a /24 (IPv6: /48) at most.",
            ),
            Key::new(
                "login",
                Kind::Text(USER),
                Required,
                "Account that the device sends as, or an alias of it. Its grant must not be `password`.",
            ),
            Key::new(
                "sender",
                Kind::Word(&["forced", "checked"]),
                Value("forced"),
                "Rule for MAIL FROM, From and Sender, as with the key `sender` of the listener.",
            ),
            Key::new(
                "recipient_domains",
                Kind::OneOrMore(&Kind::Text(RECIPIENT_DOMAIN)),
                Means("all domains"),
                "Domains that the device may send to.",
            ),
            Key::new(
                "messages_per_minute",
                Kind::Count(1, 10_000),
                Value("30"),
                "Messages that one address, and all devices of one mailbox, may send in a minute. The reply to a further MAIL \
                 command waits for up to a minute.",
            ),
        ],
    }],
    one_of: &[],
};
