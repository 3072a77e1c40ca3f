//! The checked settings of the corporate proxy: its address, its authentication, and the
//! destinations that are reached without it.

use std::fmt;
#[cfg(feature = "pac")]
use std::path::PathBuf;

use url::{Host, Url};

use super::no_proxy::NoProxy;
use gatepost_proto::tunnel::credentials::ProxyAuthentication;

/// The corporate proxy.
#[derive(Debug, PartialEq)]
pub struct ForwardProxy {
    /// The proxies that are tried.
    pub choice: ProxyChoice,
    /// The authentication at the proxy. It is sent to no other server. `None`: its password was not
    /// read, because a command does not need it.
    pub authentication: Option<ProxyAuthentication>,
    /// Destinations that are reached directly.
    pub no_proxy: NoProxy,
}

/// Which proxies are tried.
#[derive(Debug, PartialEq)]
pub enum ProxyChoice {
    /// These proxies in this order; at least one.
    Servers(Vec<ProxyServer>),
    /// The proxies that a PAC script names.
    #[cfg(feature = "pac")]
    Script {
        /// The script's location.
        location: PacLocation,
        /// The proxies that may get the credentials, because the script is not trusted to decide
        /// that.
        authenticate_to: NoProxy,
    },
}

impl ProxyChoice {
    /// Whether a SOCKS proxy is configured. A script may name any proxy, so an authentication that
    /// its SOCKS proxy cannot take is found only then.
    pub(crate) fn names_socks(&self) -> bool {
        match self {
            Self::Servers(servers) => servers.iter().any(|server| server.scheme == ProxyScheme::Socks5h),
            #[cfg(feature = "pac")]
            Self::Script { .. } => false,
        }
    }
}

/// The location of a PAC script. `Display` gives path or URL.
#[cfg(feature = "pac")]
#[derive(Clone, Debug, PartialEq)]
pub enum PacLocation {
    /// A file on this machine.
    File(PathBuf),
    /// A web server that is reached directly: `http` or `https`.
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

/// The address of a proxy. `Display` gives its URL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProxyServer {
    /// The protocol of the proxy.
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
    /// Reads `host`, or `host:port` with an IPv6 address in brackets. The default port is that of
    /// the scheme. `None` when this is not an address.
    pub fn parse(scheme: ProxyScheme, address: &str) -> Option<Self> {
        // The URL standard knows no usual port of this scheme, so that a written one is kept. Nor
        // does it parse the host.
        let url = Url::parse(&format!("socks5h://{address}")).ok()?;
        let bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
        let bare = bare && url.username().is_empty() && url.password().is_none();
        let host = Host::parse(url.host_str()?).ok()?.to_string();
        let port = url.port().unwrap_or(scheme.default_port());
        let usable = bare && port != 0 && !host.is_empty();
        usable.then(|| Self { scheme, host: host.trim_matches(['[', ']']).to_owned(), port })
    }
}

/// The protocol of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyScheme {
    /// CONNECT (RFC 9110 §9.3.6).
    Http,
    /// CONNECT within TLS. The proxy's certificate must carry the proxy's name.
    Https,
    /// SOCKS version 5 (RFC 1928); the proxy resolves names.
    Socks5h,
}

impl ProxyScheme {
    /// The scheme, as in a URL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Socks5h => "socks5h",
        }
    }

    /// The port when none is written.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
            // RFC 1928 §3.
            Self::Socks5h => 1080,
        }
    }
}
