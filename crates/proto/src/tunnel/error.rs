//! Errors of opening a tunnel.

use std::fmt;

use super::scheme::{AuthenticationError, Scheme};

/// Longest head of all replies to one request together, in octets.
pub(super) const HEAD_OCTETS: usize = 16 * 1_024;

/// Why there is no tunnel. `Display` says what happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectError {
    /// `host:port`.
    pub destination: String,
    /// What happened.
    pub kind: ConnectErrorKind,
}

/// Kinds of [`ConnectError`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectErrorKind {
    /// The proxy answered with a status other than 2xx.
    Refused {
        /// The status: 300 to 599, or 101.
        status: u16,
        /// The reason phrase: escaped, at most 128 octets; empty if a request had credentials.
        reason: String,
        /// The names in `Proxy-Authenticate` in order, at most 8; only well-known ones if a request
        /// had credentials.
        schemes: Vec<String>,
        /// The configured scheme.
        configured: Option<Scheme>,
    },
    /// The proxy's challenge could not be answered.
    Authentication(AuthenticationError),
    /// The proxy's reply is not HTTP/1. These are its first octets, escaped; empty if a request had
    /// credentials.
    NotHttp(String),
    /// The head is over 16 KiB or over 128 fields, or there were too many interim replies.
    TooLong,
    /// The proxy closed the connection before the end.
    Closed,
    /// The destination is neither a host name nor an address, so nothing was sent.
    Destination,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let destination = &self.destination;
        match &self.kind {
            ConnectErrorKind::Refused { status, reason, .. } => {
                let space = if reason.is_empty() { "" } else { " " };
                write!(f, "the proxy answered `{status}{space}{reason}` to CONNECT `{destination}`")
            }
            ConnectErrorKind::Authentication(error) => write!(f, "{error}, at CONNECT `{destination}`"),
            ConnectErrorKind::NotHttp(octets) => {
                let shown = if octets.is_empty() { String::new() } else { format!(" (`{octets}`)") };
                write!(f, "the proxy answered something other than HTTP{shown} to CONNECT `{destination}`")
            }
            ConnectErrorKind::TooLong => {
                write!(f, "the proxy answered with a head over {HEAD_OCTETS} bytes to CONNECT `{destination}`")
            }
            ConnectErrorKind::Closed => {
                write!(f, "the proxy closed the connection instead of answering to CONNECT `{destination}`")
            }
            ConnectErrorKind::Destination => {
                write!(f, "`{destination}` is no host and port that a forward proxy can be asked for")
            }
        }
    }
}

impl std::error::Error for ConnectError {}

impl ConnectError {
    /// Whether the same request will fail again until somebody changes something.
    pub fn permanent(&self) -> bool {
        match &self.kind {
            ConnectErrorKind::Refused { status, .. } => !matches!(status, 408 | 425 | 429 | 500 | 502..=504 | 506..),
            ConnectErrorKind::Authentication(error) => error.permanent(),
            ConnectErrorKind::NotHttp(_) | ConnectErrorKind::Destination => true,
            ConnectErrorKind::TooLong | ConnectErrorKind::Closed => false,
        }
    }

    /// Whether the proxy offers the configured scheme, but does not accept the credentials.
    pub fn credentials_refused(&self) -> bool {
        matches!(&self.kind, ConnectErrorKind::Refused { status: 407, schemes, configured: Some(scheme), .. }
            if possible(schemes).contains(scheme))
    }
}

/// The schemes that both the proxy offers and Gatepost supports.
fn possible(offered: &[String]) -> Vec<Scheme> {
    Scheme::ALL.into_iter().filter(|scheme| offered.iter().any(|name| scheme.is_called(name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_refused_only_where_the_proxy_offers_the_configured_scheme() {
        let refused = |status, offered: &str, configured| {
            let schemes = vec![offered.to_owned()];
            let kind = ConnectErrorKind::Refused { status, reason: String::new(), schemes, configured };
            ConnectError { destination: "a:993".into(), kind }.credentials_refused()
        };
        assert!(refused(407, "basic", Some(Scheme::Basic)) && refused(407, "NTLM", Some(Scheme::Ntlm)));
        assert!(!refused(407, "NTLM", Some(Scheme::Basic)) && !refused(407, "Basic", None));
        assert!(!refused(403, "Basic", Some(Scheme::Basic)));
    }
}
