//! The keys of `microsoft` and `accounts`.

use std::time::Duration;

use super::credential::{CLIENT_CERTIFICATE, CLIENT_SECRET, FILE, PATH, SOURCE, TEXT, USER};
use super::kind::IfAbsent::{Means, Nothing, Required, Value};
use super::kind::{Block, Form, Group, Key, Kind};
use super::listener::SENDER;
use super::network::{ADDRESS, DOMAIN};

const GUID: &Form = &Form {
    what: "application ID",
    pattern: "^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$",
};
const TENANT: &Form = &Form {
    what: "directory ID, domain, `auto`, `organizations`, `consumers` or `common`",
    pattern: "^([^\\s.]+[.-][^\\s]+|[Aa]uto|[Oo]rganizations|[Cc]onsumers|[Cc]ommon)$",
};
const AUTHORITY: &Form = &Form { what: "https URL", pattern: "^\\s*https:" };
const SCOPE: &Form = &Form { what: "scope", pattern: "^[^\"\\\\]+$" };
const PATTERN: &Form = &Form { what: "mail address, `*@domain` or `*`", pattern: "^(\\*|[^*]*@.+|\\*@.+)$" };
const SENDING: &Form = &Form { what: "mail address or domain", pattern: "[@.]" };
const HASH: &Form = &Form { what: "hash", pattern: "^\\$argon2id\\$" };

/// Longest margin. Entra's tokens live for 60 to 90 minutes, and one must remain usable.
const LONGEST_EXPIRY_MARGIN: Duration = Duration::from_secs(50 * 60);

/// The section `microsoft`.
pub(super) const MICROSOFT: &Block = &Block {
    path: "microsoft",
    meaning: "The Entra application, and how Gatepost gets tokens. These keys are the defaults of all accounts.",
    groups: &[SHARED, Group { title: "User names", keys: NAMES }],
    one_of: &[],
};

/// An entry of `accounts`.
pub(super) const ACCOUNT: &Block = &Block {
    path: "accounts[]",
    meaning: "An account, or a pattern for several. The most specific entry counts: address or alias, then domain, then `*`. \
              Case does not matter.",
    groups: &[Group { title: "Account", keys: OWN }, SHARED],
    one_of: &[],
};

const SHARED: Group = Group {
    title: "Entra",
    keys: &[
        Key::new(
            "cloud",
            Kind::Word(&["worldwide", "us-gov-gcc-high", "us-gov-dod", "china"]),
            Value("worldwide"),
            "Cloud of the tenant. All accounts of one Gatepost are in one cloud.",
        ),
        Key::new("authority", Kind::Text(AUTHORITY), Means("by `cloud`"), "Token service."),
        Key::new(
            "tenant",
            Kind::Text(TENANT),
            Means("required, except with `managed_identity`"),
            "Directory ID or verified domain. For applications of several tenants: `auto` takes the domain of the user name, \
             `organizations` the tenant of the user. `consumers`: personal Microsoft accounts. `common`: these, and those of \
             all tenants.",
        ),
        Key::new(
            "client_id",
            Kind::Text(TEXT),
            Means("required, except with `managed_identity`"),
            "Application (client) ID in Entra, or at the provider of the account.",
        ),
        Key::new(
            "grant",
            Kind::Word(&["password", "client_credentials", "authorization_code", "device_code"]),
            Value("password"),
            "How Gatepost gets tokens. `password`: Entra checks the client's password. `client_credentials`: app-only access, \
             and Gatepost checks a device password. `authorization_code` and `device_code`: a person signs in once with \
             `gatepost login`.",
        ),
        Key::new(
            "client_secret",
            CLIENT_SECRET,
            Means("none (public client)"),
            "Secret of the application. List two to replace one. `none`: an account that inherits no credential. Set at most \
             one of the four credentials.",
        ),
        Key::new(
            "client_certificate",
            CLIENT_CERTIFICATE,
            Nothing,
            "Certificate of the application. List two to replace one.",
        ),
        Key::new(
            "federated_token_file",
            Kind::Text(PATH),
            Means("`AZURE_FEDERATED_TOKEN_FILE`, with `grant: client_credentials`"),
            "File with the token of another issuer (workload identity). Gatepost reads it again for each request.",
        ),
        Key::new(
            "managed_identity",
            Kind::Either(&[Kind::Word(&["system"]), Kind::Text(GUID)]),
            Nothing,
            "Managed identity of Azure: `system`, or the client ID of a user-assigned one. Only with \
             `grant: client_credentials`.",
        ),
        Key::new("scope", Kind::Text(SCOPE), Means("by `cloud` and `grant`"), "Scope that the token is requested for."),
        Key::new(
            "token_expiry_margin",
            Kind::Time(Duration::ZERO, LONGEST_EXPIRY_MARGIN),
            Value("5m"),
            "A token that expires within this time is not used for a new login.",
        ),
    ],
};

const NAMES: &[Key] = &[Key::new(
    "netbios_domains",
    Kind::Map(&Kind::Text(DOMAIN)),
    Value("{}"),
    "Mail domains of user names such as `CONTOSO\\anna`. Each key is the part before the backslash, such as `CONTOSO`.",
)];

const OWN: &[Key] = &[
    Key::new("login", Kind::Text(PATTERN), Required, "Mail address of the account, or a pattern."),
    Key::new(
        "provider",
        Kind::Text(TEXT),
        Means("by the domain of `login`, else `microsoft`"),
        "Entry of `providers` to which the account belongs, or `microsoft`.",
    ),
    Key::new(
        "service_account_key",
        FILE,
        Means("that of the provider"),
        "Only Google: JSON key file of the service account that acts for the mailbox, with `grant: client_credentials`.",
    ),
    Key::new(
        "aliases",
        Kind::OneOrMore(&Kind::Text(USER)),
        Value("[]"),
        "Other user names for the account, for devices with small fields. Any printable text.",
    ),
    Key::new("mailbox", Kind::Text(ADDRESS), Means("the login"), "Mailbox that is opened, if it is not the login."),
    Key::new(
        "mailboxes",
        Kind::Either(&[Kind::Word(&["*"]), Kind::OneOrMore(&Kind::Text(ADDRESS))]),
        Value("[]"),
        "Further mailboxes that a client may ask for, by a user name such as `scanner@contoso.com\\office`, or as the identity \
         to act as. `*`: Exchange decides.",
    ),
    Key::new(
        "sender",
        SENDER,
        Means("the `sender` of the listener"),
        "Rule for MAIL FROM, From and Sender of clients that log in over SMTP.",
    ),
    Key::new(
        "send_as",
        Kind::OneOrMore(&Kind::Text(SENDING)),
        Value("[]"),
        "Addresses that the account may send as, or domains for every mailbox in them. The application or user needs \
         SendAs in Exchange.",
    ),
    Key::new(
        "signs_in_as",
        Kind::Text(ADDRESS),
        Means("the login"),
        "User who signs in for the account, such as somebody with access to the shared mailbox.",
    ),
    Key::new(
        "passwords",
        Kind::OneOrMore(&PASSWORD),
        Value("[]"),
        "Hashes of passwords for the account, besides device passwords. `gatepost password hash` prints one. Not with \
         `grant: password`.",
    ),
];

/// A hash is no secret in itself, but may come from where secrets do.
const PASSWORD: Kind = Kind::Either(&[Kind::Text(HASH), Kind::Block(SOURCE)]);
