//! Secrets, files and their sources.

use std::time::Duration;

use super::kind::IfAbsent::{Means, Nothing, Required, Value};
use super::kind::{Block, Form, Group, Key, Kind};

/// Any text.
pub(super) const TEXT: &Form = &Form { what: "text", pattern: "" };

/// The path of a file.
pub(super) const PATH: &Form = &Form { what: "path", pattern: "" };

/// What a client writes as its user name.
pub(super) const USER: &Form = &Form { what: "user name", pattern: "" };

/// A path, or a file that systemd hands over.
pub(super) const FILE: Kind = Kind::Either(&[Kind::Text(PATH), Kind::Block(CREDENTIAL)]);

/// A secret.
pub(super) const SECRET: Kind = Kind::Either(&[Kind::Text(TEXT), Kind::Block(SOURCE)]);

/// A secret of an application, which may expire.
pub(super) const CLIENT_SECRET: Kind =
    Kind::Either(&[Kind::Word(&["none"]), Kind::OneOrMore(&Kind::Either(&[Kind::Text(TEXT), Kind::Block(EXPIRING)]))]);

/// A certificate of an application.
pub(super) const CLIENT_CERTIFICATE: Kind = Kind::OneOrMore(&Kind::Block(CERTIFICATE));

/// The key of the store.
pub(super) const STATE_KEY: Kind = Kind::Block(KEY);

const NAME: &Form = &Form { what: "name of a credential", pattern: "^[A-Za-z0-9._@-]{1,255}$" };
const VARIABLE: &Form = &Form { what: "name of an environment variable", pattern: "" };
const DATE: &Form = &Form { what: "date", pattern: "^[0-9]{4}-[0-9]{2}-[0-9]{2}$" };

const OBJECT_ID: &Form = &Form {
    what: "object ID",
    pattern: "^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$",
};
const HTTPS: &Form = &Form { what: "https URL", pattern: "^https:" };

const DAY: Duration = Duration::from_secs(24 * 3_600);

const SOURCES: &[&str] = &["env", "file", "credential", "command"];

const SOURCE_KEYS: &[Key] = &[
    Key::new(
        "env",
        Kind::Text(VARIABLE),
        Nothing,
        "Environment variable that holds the secret. Programs of `command` do not see it.",
    ),
    Key::new("file", Kind::Text(PATH), Nothing, "File that holds the secret as one line of text."),
    NAMED,
    Key::new(
        "command",
        Kind::List(&Kind::Text(TEXT)),
        Nothing,
        "Program and arguments. The secret is what the program writes to standard output within 10 seconds.",
    ),
];

const NAMED: Key = Key::new(
    "credential",
    Kind::Text(NAME),
    Nothing,
    "Credential of systemd, which the unit names in `LoadCredentialEncrypted=` or `LoadCredential=`.",
);

/// Where a secret comes from.
pub(super) const SOURCE: &Block = &Block {
    path: "SECRET",
    meaning: "Where a secret comes from. Write exactly one source, or the secret itself in place of the section. On the \
              command line, Gatepost accepts no secret.",
    groups: &[Group { title: "", keys: SOURCE_KEYS }],
    one_of: SOURCES,
};

const EXPIRING: &Block = &Block {
    path: "SECRET of `client_secret`",
    meaning: "Where the secret of an application comes from. Write exactly one source.",
    groups: &[
        Group { title: "", keys: SOURCE_KEYS },
        Group {
            title: "Expiry",
            keys: &[Key::new(
                "expires",
                Kind::Text(DATE),
                Nothing,
                "Day on which the secret expires, as Entra shows it. Gatepost reminds you daily from 30 days before.",
            )],
        },
    ],
    one_of: SOURCES,
};

const KEY: &Block = &Block {
    path: "state.key",
    meaning: "Where the key comes from that encrypts the store: 32 bytes in base64, such as from `openssl rand -base64 32`. \
              During `gatepost state rotate-key` there are two lines, the new key first.",
    groups: &[Group { title: "", keys: SOURCE_KEYS }],
    one_of: SOURCES,
};

const CREDENTIAL: &Block = &Block {
    path: "FILE",
    meaning: "A file that systemd hands over. Write it in place of a path.",
    groups: &[Group { title: "", keys: &[NAMED] }],
    one_of: &["credential"],
};

const CERTIFICATE: &Block = &Block {
    path: "client_certificate",
    meaning: "A certificate with an RSA key that is uploaded to the application in Entra. Gatepost reads the files again \
              when they change.",
    groups: &[Group {
        title: "",
        keys: &[
            Key::new(
                "certificate",
                FILE,
                Required,
                "Certificate in PEM, or a PKCS#12 file (`.pfx`) that also holds the key.",
            ),
            Key::new(
                "private_key",
                FILE,
                Means("in the file of `certificate`"),
                "Private key in PEM, also encrypted (PKCS#8).",
            ),
            Key::new("password", SECRET, Nothing, "Password of the private key or of the PKCS#12 file."),
            Key::new(
                "algorithm",
                Kind::Word(&["PS256", "RS256"]),
                Value("PS256"),
                "Signature of the assertion. `RS256` is for registrations that know the certificate by its SHA-1 thumbprint.",
            ),
            Key::new(
                "renew",
                Kind::Time(DAY, DAY.saturating_mul(180)),
                Nothing,
                "How long before its end Gatepost renews the certificate by itself, through Microsoft Graph. The files must \
                 be PEM without a password, in a directory that Gatepost can write into.",
            ),
            Key::new(
                "object_id",
                Kind::Text(OBJECT_ID),
                Nothing,
                "Object ID of the application in App registrations, for `renew`. Without it the application needs \
                 `Application.Read.All`.",
            ),
            Key::new("graph", Kind::Text(HTTPS), Means("by `cloud`"), "Address of Microsoft Graph, for `renew`."),
        ],
    }],
    one_of: &[],
};
