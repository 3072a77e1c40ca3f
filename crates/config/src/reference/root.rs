//! The outermost keys, and those of `forward_proxy`.

use super::credential::{FILE, SECRET, TEXT, USER};
use super::kind::IfAbsent::{Means, Nothing, Required, Value};
use super::kind::{Block, Form, Group, Key, Kind};
use super::limits::LIMITS;
use super::listener::LISTENER;
use super::microsoft::{ACCOUNT, MICROSOFT};
use super::network::{NO_PROXY, PROXY};
use super::provider::PROVIDER;
use super::queue::QUEUE;
use super::service::{ADMIN, LOG, SENDMAIL, STATE, TRUST};

const SERVER_NAME: &Form =
    &Form { what: "host name, or address in brackets", pattern: "^([A-Za-z0-9.-]*[A-Za-z0-9]|\\[[0-9A-Za-z.:]+\\])$" };
const SCRIPT: &Form = &Form { what: "URL or path of a script", pattern: "" };
const PRINCIPAL: &Form = &Form { what: "name of a service", pattern: "^[^\\s/@]+[/@]\\S+$" };

/// The whole configuration.
pub const ROOT: &Block = &Block {
    path: "",
    meaning: "Configuration of Gatepost. One listener, `microsoft.tenant` and `microsoft.client_id` are enough.",
    groups: &[Group {
        title: "",
        keys: &[
            Key::new(
                "listeners",
                Kind::Map(&Kind::Block(LISTENER)),
                Required,
                "Addresses on which clients connect, each with a name of your choice.",
            ),
            Key::new(
                "microsoft",
                Kind::Block(MICROSOFT),
                Nothing,
                "The Entra application, and how Gatepost gets tokens. Defaults of all accounts.",
            ),
            Key::new(
                "providers",
                Kind::Map(&Kind::Block(PROVIDER)),
                Value("{}"),
                "Other providers of mail: `google`, `yahoo`, `aol`, `fastmail`, or a name of your choice.",
            ),
            Key::new(
                "accounts",
                Kind::List(&Kind::Block(ACCOUNT)),
                Means("everybody whom Entra lets in"),
                "Accounts that may log in.",
            ),
            Key::new(
                "forward_proxy",
                Kind::Either(&[Kind::Word(&["none"]), Kind::Block(FORWARD_PROXY)]),
                Means("`HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`"),
                "Proxy of your network for connections to Microsoft. `none`: connect directly, whatever the environment says.",
            ),
            Key::new("trust", Kind::Block(TRUST), Nothing, "Certificate authorities that are trusted for servers."),
            Key::new(
                "state",
                Kind::Block(STATE),
                Means("`$STATE_DIRECTORY` or `/var/lib/gatepost`, if writable"),
                "Where sign-ins and device passwords are kept.",
            ),
            Key::new(
                "queue",
                Kind::Block(QUEUE),
                Nothing,
                "Messages that wait on disk, for listeners with `queue: true`.",
            ),
            Key::new("limits", Kind::Block(LIMITS), Nothing, "Limits and deadlines."),
            Key::new("admin", Kind::Block(ADMIN), Nothing, "Status page, metrics and control socket."),
            Key::new(
                "sendmail",
                Kind::Block(SENDMAIL),
                Nothing,
                "Mail of programs on this machine, by `gatepost sendmail`.",
            ),
            Key::new(
                "server_name",
                Kind::Text(SERVER_NAME),
                Means("the name of the machine"),
                "Name of Gatepost in greetings and in EHLO towards Exchange. A change needs a restart.",
            ),
            Key::new("log", Kind::Block(LOG), Nothing, "Log and audit log."),
            Key::new(
                "confinement",
                Kind::Word(&["try", "require", "off"]),
                Value("try"),
                "Sandbox on Linux: after the start, Gatepost blocks files, ports and system calls that it does not need. \
                 `require`: refuse to start if the kernel lacks a part of it.",
            ),
        ],
    }],
    one_of: &[],
};

const FORWARD_PROXY: &Block = &Block {
    path: "forward_proxy",
    meaning: "The proxy of your network, for mail connections and token requests.",
    groups: &[Group {
        title: "",
        keys: &[
            Key::new(
                "url",
                Kind::OneOrMore(&Kind::Text(PROXY)),
                Means("required, except with `pac`"),
                "Proxy: `http://` (port 80 by default), `https://` (443) or `socks5h://` (1080). A list is tried in order.",
            ),
            Key::new(
                "pac",
                Kind::Text(SCRIPT),
                Nothing,
                "Script that names the proxies, in place of `url`. Gatepost reads it again hourly. Needs a build with the \
                 feature `pac`.",
            ),
            Key::new(
                "authenticate_to",
                Kind::OneOrMore(&Kind::Text(NO_PROXY)),
                Means("required with `pac` and `authentication`"),
                "Proxies of the script that may see the credentials.",
            )
            .beside("pac"),
            Key::new(
                "authentication",
                Kind::Word(&["none", "basic", "digest", "ntlm", "negotiate"]),
                Value("none"),
                "How Gatepost authenticates to the proxy. `negotiate` (Kerberos) needs a build with the feature `negotiate`.",
            ),
            Key::new("username", Kind::Text(USER), Nothing, "User name for the proxy. With `ntlm` also `CORP\\user`."),
            Key::new("password", SECRET, Nothing, "Password for the proxy, with `basic`, `digest` and `ntlm`."),
            Key::new("domain", Kind::Text(TEXT), Nothing, "Windows domain with `ntlm`, if `username` has none."),
            Key::new(
                "keytab",
                FILE,
                Means("the Kerberos credential cache (`KRB5CCNAME`)"),
                "Keytab from which Gatepost renews the Kerberos ticket, with `negotiate`.",
            ),
            Key::new(
                "service_name",
                Kind::Text(PRINCIPAL),
                Means("`HTTP` at the host of the proxy"),
                "Kerberos principal of the proxy, with `negotiate`, such as `HTTP/proxy.corp.example`.",
            ),
            Key::new(
                "no_proxy",
                Kind::OneOrMore(&Kind::Text(NO_PROXY)),
                Value("[]"),
                "Destinations that Gatepost reaches directly: networks, domains with everything below them, or `*`.",
            ),
        ],
    }],
    one_of: &[],
};
