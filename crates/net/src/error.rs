//! Errors of connecting to an upstream, directly or through a forward proxy.

use std::io;

#[cfg(feature = "pac")]
use super::pac::PacError;
use crate::tls::TrustError;
use gatepost_config::ProxyServer;
use gatepost_proto::tunnel::connect::ConnectError;
use gatepost_proto::tunnel::socks::SocksError;

/// Why a connection could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name has no address, or the resolver did not answer in time.
    #[error("resolve `{host}`")]
    Resolve {
        /// The name.
        host: String,
        /// The error of the resolver.
        source: io::Error,
    },
    /// No address could be connected to. Only the last error is kept.
    #[error("connect to `{host}:{port}` ({tried} tried)")]
    Connect {
        /// The name.
        host: String,
        /// TCP port.
        port: u16,
        /// How many addresses were tried.
        tried: usize,
        /// The last error.
        source: io::Error,
    },
    /// The forward proxy cannot be reached.
    #[error("connect to the forward proxy `{proxy}`")]
    ProxyUnreachable {
        /// The proxy.
        proxy: ProxyServer,
        /// Why it cannot be reached.
        source: Box<DialError>,
    },
    /// The roots that verify the proxy's certificate cannot be read.
    #[error("read the trusted certificates for the forward proxy")]
    ProxyTrust(#[source] TrustError),
    /// TLS with the forward proxy could not be set up.
    #[error("set up TLS with the forward proxy `{proxy}`")]
    ProxyTls {
        /// The proxy.
        proxy: ProxyServer,
        /// The error, with a [`rustls::Error`] inside if TLS refused something.
        source: io::Error,
    },
    /// The forward proxy was reached, but refused to connect or could not.
    #[error(transparent)]
    Proxy(ConnectError),
    /// The PAC script does not say which proxy to use.
    #[cfg(feature = "pac")]
    #[error(transparent)]
    Pac(#[from] PacError),
    /// A SOCKS proxy was reached, but refused to connect or could not.
    #[error(transparent)]
    Socks(SocksError),
    /// The connection to the forward proxy broke before the tunnel was open, or the proxy did not
    /// answer in time.
    #[error("wait for the answer of the forward proxy `{proxy}` for `{target}`")]
    ProxyBroke {
        /// The proxy.
        proxy: ProxyServer,
        /// The requested host and port.
        target: String,
        /// The error of the connection.
        source: io::Error,
    },
}

pub(super) fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer in time")
}
