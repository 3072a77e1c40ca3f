//! Why there is no connection to an upstream, straight or through a forward proxy.

use std::io;

#[cfg(feature = "pac")]
use super::pac::PacError;
use crate::tls::TrustError;
use gatepost_config::ProxyServer;
use gatepost_proto::tunnel::connect::ConnectError;
use gatepost_proto::tunnel::socks::SocksError;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name has no address, or nobody could say in time.
    #[error("resolve `{host}`")]
    Resolve {
        /// The name.
        host: String,
        /// The resolver's words.
        source: io::Error,
    },
    /// No address answered. The last error stands for all.
    #[error("connect to `{host}:{port}` ({tried} tried)")]
    Connect {
        /// The name.
        host: String,
        /// TCP port.
        port: u16,
        /// How many addresses.
        tried: usize,
        /// The last error.
        source: io::Error,
    },
    /// The forward proxy cannot be reached.
    #[error("connect to the forward proxy `{proxy}`")]
    ProxyUnreachable {
        /// Which.
        proxy: ProxyServer,
        /// Why.
        source: Box<DialError>,
    },
    /// The roots that would verify the proxy's certificate cannot be read.
    #[error("read the trusted certificates for the forward proxy")]
    ProxyTrust(#[source] TrustError),
    /// TLS with the forward proxy could not be set up.
    #[error("set up TLS with the forward proxy `{proxy}`")]
    ProxyTls {
        /// Which.
        proxy: ProxyServer,
        /// With the [`rustls::Error`] inside, when TLS refused something.
        source: io::Error,
    },
    /// The forward proxy was reached, and would not or could not connect.
    #[error(transparent)]
    Proxy(ConnectError),
    /// Nobody knows which proxy to take.
    #[cfg(feature = "pac")]
    #[error(transparent)]
    Pac(#[from] PacError),
    /// The same of a SOCKS proxy.
    #[error(transparent)]
    Socks(SocksError),
    /// The connection to the forward proxy broke before the tunnel stood, or it did not answer in time.
    #[error("wait for the answer of the forward proxy `{proxy}` for `{target}`")]
    ProxyBroke {
        /// Which.
        proxy: ProxyServer,
        /// Host and port that were asked for.
        target: String,
        /// How.
        source: io::Error,
    },
}

pub(super) fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer in time")
}
