//! The keys of `providers`.

use std::time::Duration;

use super::credential::{CLIENT_SECRET, FILE, TEXT};
use super::kind::IfAbsent::{Means, Nothing, Value};
use super::kind::{Block, Form, Group, Key, Kind};
use super::network::{DOMAIN, HOST_PORT};

const HTTPS: &Form = &Form { what: "https URL", pattern: "^\\s*https:" };
const SCOPE: &Form = &Form { what: "scope", pattern: "^[^\"\\\\]+$" };

/// An entry of `providers`.
pub(super) const PROVIDER: &Block = &Block {
    path: "providers.NAME",
    meaning: "A provider of mail other than Microsoft. `google`, `yahoo`, `aol` and `fastmail` have all addresses already, and \
              need `client_id` and `client_secret` only. Any other name is a server of your own choice.",
    groups: &[
        Group {
            title: "Application",
            keys: &[
                Key::new(
                    "client_id",
                    Kind::Text(TEXT),
                    Means("required, except with `service_account_key`"),
                    "ID of the application at the provider.",
                ),
                Key::new(
                    "client_secret",
                    CLIENT_SECRET,
                    Means("none (public client)"),
                    "Secret of the application. List two to replace one.",
                ),
                Key::new(
                    "service_account_key",
                    FILE,
                    Nothing,
                    "Only `google`: JSON key file of a service account with domain-wide delegation, for accounts with `grant: \
                     client_credentials`. Gatepost reads the file again when it changes.",
                ),
                Key::new(
                    "grant",
                    Kind::Word(&["authorization_code", "device_code", "client_credentials"]),
                    Value("authorization_code"),
                    "How Gatepost gets tokens. `authorization_code` and `device_code`: a person signs in once with `gatepost \
                     login`. `client_credentials`: a service account acts for the mailbox, and nobody signs in.",
                ),
                Key::new(
                    "scope",
                    Kind::Text(SCOPE),
                    Means("by the preset"),
                    "What the person consents to. A service account asks for it without `openid`, `email` and `profile`.",
                ),
                Key::new(
                    "token_expiry_margin",
                    Kind::Time(Duration::ZERO, Duration::from_secs(50 * 60)),
                    Value("5m"),
                    "A token that expires within this time is not used for a new login.",
                ),
                Key::new(
                    "domains",
                    Kind::OneOrMore(&Kind::Text(DOMAIN)),
                    Means("by the preset"),
                    "Mail domains whose accounts belong to the provider, unless they have a `provider` of their own.",
                ),
            ],
        },
        Group {
            title: "Addresses",
            keys: &[
                Key::new(
                    "authorize_url",
                    Kind::Text(HTTPS),
                    Means("by the preset"),
                    "Authorization endpoint, which a browser opens.",
                ),
                Key::new("token_url", Kind::Text(HTTPS), Means("by the preset, else required"), "Token endpoint."),
                Key::new(
                    "device_url",
                    Kind::Text(HTTPS),
                    Nothing,
                    "Device authorization endpoint, for `grant: device_code`.",
                ),
                Key::new(
                    "revoke_url",
                    Kind::Text(HTTPS),
                    Means("by the preset"),
                    "Revocation endpoint, for `gatepost logout`.",
                ),
                Key::new(
                    "issuer",
                    Kind::Text(HTTPS),
                    Means("by the preset, else nothing"),
                    "Issuer of the provider's ID tokens. With it Gatepost checks at the sign-in that it is the right person, \
                     which needs `openid` and `email` in `scope`.",
                ),
                Key::new("hosts", Kind::Block(HOSTS), Means("by the preset"), "Mail servers."),
            ],
        },
        Group {
            title: "Manners",
            keys: &[
                Key::new(
                    "client_authentication",
                    Kind::Word(&["post", "basic"]),
                    Value("post"),
                    "How `client_secret` is sent: as a field of the form, or by HTTP Basic.",
                ),
                Key::new("pkce", Kind::Truth, Value("true"), "Whether a code challenge is sent (RFC 7636)."),
                Key::new(
                    "sasl",
                    Kind::Word(&["xoauth2", "oauthbearer"]),
                    Means("by the preset, else `xoauth2`"),
                    "How the mail servers take tokens.",
                ),
                Key::new(
                    "pop3_lines",
                    Kind::Count(1, 2),
                    Means("by the preset, else 2"),
                    "Whether the POP3 server takes the token in the line of AUTH (1), or in a line of its own (2).",
                ),
            ],
        },
    ],
    one_of: &[],
};

const TLS: Kind = Kind::Word(&["implicit", "starttls"]);
const BY_PORT: super::kind::IfAbsent = Means("by the port");

const HOSTS: &Block = &Block {
    path: "providers.NAME.hosts",
    meaning: "The mail servers of the provider. A protocol without one is not served for its accounts.",
    groups: &[Group {
        title: "",
        keys: &[
            Key::new("imap", Kind::Text(HOST_PORT), Means("by the preset"), "IMAP server, with its port."),
            Key::new("pop3", Kind::Text(HOST_PORT), Means("by the preset"), "POP3 server, with its port."),
            Key::new("smtp", Kind::Text(HOST_PORT), Means("by the preset"), "SMTP submission server, with its port."),
            Key::new("imap_tls", TLS, BY_PORT, "TLS from the first byte, or by STARTTLS."),
            Key::new("pop3_tls", TLS, BY_PORT, "The same for POP3."),
            Key::new("smtp_tls", TLS, BY_PORT, "The same for SMTP."),
        ],
    }],
    one_of: &[],
};
