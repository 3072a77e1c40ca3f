//! Microsoft's servers as destinations of listeners, and the resources of tokens.

use std::fmt;

use gatepost_core::protocol::MailProtocol;
use gatepost_proto::mail::TokenExchange;

/// An HTTPS server of Microsoft.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Host name or address to connect to; the forward proxy resolves it, if there is one.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The name that its certificate must carry, and that requests send as host name.
    pub name: String,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&authority(&self.host, self.port))
    }
}

/// Host and port, with an IPv6 address in brackets.
pub(super) fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The servers of High Volume Email (HVE) (Microsoft, "Manage high volume emails"). The first is the
/// current one, the other will be closed.
pub(crate) const HIGH_VOLUME: [&str; 2] = ["smtp.hve.mx.microsoft", "smtp-hve.office365.com"];

/// The resource of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// Exchange Online: IMAP, POP3, SMTP AUTH and EWS. For another provider, its mail servers.
    Exchange,
    /// Microsoft Graph.
    Graph,
}

/// A mail server of Microsoft or of another provider.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Upstream {
    /// The protocol.
    pub protocol: MailProtocol,
    /// Host name or address to connect to; the forward proxy resolves it, if there is one.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Implicit TLS, or STARTTLS.
    pub tls: UpstreamTls,
    /// The name that its certificate must carry.
    pub name: String,
    /// How it takes tokens.
    pub exchange: TokenExchange,
}

impl Upstream {
    /// Whether it is a server of High Volume Email, which differs from others in its accounts, its
    /// permission, and the life that a token must have left.
    pub fn is_high_volume(&self) -> bool {
        HIGH_VOLUME.contains(&self.name.as_str())
    }
}

/// TLS with an upstream; there is no "none".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamTls {
    /// From the first byte.
    Implicit,
    /// After STARTTLS, which is required.
    StartTls,
}
