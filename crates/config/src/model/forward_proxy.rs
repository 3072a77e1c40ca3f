//! The corporate proxy, checked: where it is, what it wants, and what is reached without it.

use std::fmt;
#[cfg(feature = "pac")]
use std::path::PathBuf;

use url::{Host, Url};

use super::no_proxy::NoProxy;
use gatepost_proto::tunnel::credentials::ProxyAuthentication;

/// The corporate proxy.
#[derive(Debug, PartialEq)]
pub struct ForwardProxy {
    /// Who decides which proxy is taken.
    pub choice: ProxyChoice,
    /// What they want. Nobody else is shown it.
    pub authentication: ProxyAuthentication,
    /// Destinations that are reached straight.
    pub no_proxy: NoProxy,
}

/// Which proxies are tried.
#[derive(Debug, PartialEq)]
pub enum ProxyChoice {
    /// These in this order; at least one.
    Servers(Vec<ProxyServer>),
    /// Those that a script names.
    #[cfg(feature = "pac")]
    Script {
        /// Where it is.
        location: PacLocation,
        /// The proxies that may be shown the credentials: the script is not to be believed in that.
        authenticate_to: NoProxy,
    },
}

impl ProxyChoice {
    /// A script may name whatever it likes; what its SOCKS proxy cannot take, is found then.
    pub(crate) fn names_socks(&self) -> bool {
        match self {
            Self::Servers(servers) => servers.iter().any(|server| server.scheme == ProxyScheme::Socks5h),
            #[cfg(feature = "pac")]
            Self::Script { .. } => false,
        }
    }
}

/// Where a PAC script is. `Display` gives path or URL.
#[cfg(feature = "pac")]
#[derive(Clone, Debug, PartialEq)]
pub enum PacLocation {
    /// On this machine.
    File(PathBuf),
    /// On a web server that is reached straight: `http` or `https`.
    Url(Url),
}

#[cfg(feature = "pac")]
impl fmt::Display for PacLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Url(url) => url.fmt(f),
        }
    }
}

/// Where a proxy listens. `Display` gives its URL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProxyServer {
    /// How it is spoken to.
    pub scheme: ProxyScheme,
    /// Host name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for ProxyServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, host, port } = self;
        match host.contains(':') {
            true => write!(f, "{}://[{host}]:{port}", scheme.name()),
            false => write!(f, "{}://{host}:{port}", scheme.name()),
        }
    }
}

impl ProxyServer {
    /// Reads `host`, or `host:port` with an IPv6 address in brackets; without a port, the usual one. Nothing when that is no
    /// address.
    pub fn parse(scheme: ProxyScheme, address: &str) -> Option<Self> {
        // A scheme whose usual port the URL standard does not know, so that a written one is kept; nor does it read the host.
        let url = Url::parse(&format!("socks5h://{address}")).ok()?;
        let bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
        let bare = bare && url.username().is_empty() && url.password().is_none();
        let host = Host::parse(url.host_str()?).ok()?.to_string();
        let port = url.port().unwrap_or(scheme.default_port());
        let usable = bare && port != 0 && !host.is_empty();
        usable.then(|| Self { scheme, host: host.trim_matches(['[', ']']).to_owned(), port })
    }
}

/// How a proxy is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyScheme {
    /// CONNECT (RFC 9110 §9.3.6).
    Http,
    /// The same within TLS, for which the proxy's certificate must carry its name.
    Https,
    /// SOCKS version 5 (RFC 1928); the proxy resolves names.
    Socks5h,
}

impl ProxyScheme {
    /// As in a URL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Socks5h => "socks5h",
        }
    }

    /// When none is written.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
            // RFC 1928 §3.
            Self::Socks5h => 1080,
        }
    }
}
