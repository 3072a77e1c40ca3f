//! Forms of addresses and names.

use super::kind::Form;

/// An address to listen on.
pub(super) const BIND: &Form = &Form { what: "address:port", pattern: ":\\+?[0-9]+$" };

/// A server.
pub(super) const HOST_PORT: &Form = &Form { what: "host:port", pattern: ":\\+?[0-9]+$" };

/// The name of a server.
pub(super) const HOST: &Form = &Form { what: "host name", pattern: "^[A-Za-z0-9._:-]+$" };

/// A network, or one address.
pub(super) const NETWORK: &Form = &Form { what: "network or address", pattern: "^[0-9A-Fa-f.:]+(/[0-9]{1,3})?$" };

/// A destination that is reached without the proxy.
pub(super) const NO_PROXY: &Form =
    &Form { what: "network, domain or host, each also with `:port`, or `*`", pattern: "^\\S+$" };

/// The address of a forward proxy.
pub(super) const PROXY: &Form = &Form { what: "URL of a proxy", pattern: "^\\s*(https?|socks5h):" };

/// A mailbox.
pub(super) const ADDRESS: &Form = &Form { what: "mail address", pattern: "@" };

/// A domain of recipients.
pub(super) const RECIPIENT_DOMAIN: &Form = &Form { what: "domain", pattern: "^@?[^\\s@]+$" };

/// A domain of mail addresses.
pub(super) const DOMAIN: &Form = &Form { what: "domain", pattern: "^[^\\s@]+$" };
