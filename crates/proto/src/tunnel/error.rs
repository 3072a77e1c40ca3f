//! Errors of opening a tunnel.

use std::borrow::Cow;
use std::fmt;

use super::scheme::{AuthenticationError, Scheme};
use gatepost_core::failure::Actor;

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
                write!(f, "the forward proxy answered `{status}{space}{reason}` to CONNECT `{destination}`")
            }
            ConnectErrorKind::Authentication(error) => write!(f, "{error}, at CONNECT `{destination}`"),
            ConnectErrorKind::NotHttp(octets) => {
                let shown = if octets.is_empty() { String::new() } else { format!(" (`{octets}`)") };
                write!(f, "the forward proxy answered something other than HTTP{shown} to CONNECT `{destination}`")
            }
            ConnectErrorKind::TooLong => {
                write!(f, "the forward proxy answered with a head over {HEAD_OCTETS} octets to CONNECT `{destination}`")
            }
            ConnectErrorKind::Closed => {
                write!(f, "the forward proxy closed the connection instead of answering to CONNECT `{destination}`")
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

    /// Who must act.
    pub fn actor(&self) -> Actor {
        match &self.kind {
            ConnectErrorKind::Refused { status: 407, schemes, .. } if !possible(schemes).is_empty() => {
                Actor::GatepostAdmin
            }
            ConnectErrorKind::Authentication(error) => error.actor(),
            ConnectErrorKind::NotHttp(_) | ConnectErrorKind::Destination => Actor::GatepostAdmin,
            _ => Actor::NetworkAdmin,
        }
    }

    /// The next step, one sentence without full stop.
    pub fn remedy(&self) -> Cow<'static, str> {
        let destination = &self.destination;
        match &self.kind {
            ConnectErrorKind::Refused { status: 407, schemes, configured, .. } => {
                of_authentication(schemes, *configured)
            }
            ConnectErrorKind::Refused { status: 300..400, .. } => format!(
                "ask for CONNECT to `{destination}` to be allowed for this host without the page that the proxy redirects to"
            )
            .into(),
            ConnectErrorKind::Refused { status: 408 | 425 | 429 | 500 | 502..=504 | 506.., .. } => format!(
                "check that the proxy can resolve and reach `{destination}` and has capacity; Gatepost tries again with the next login"
            )
            .into(),
            ConnectErrorKind::Refused { .. } => format!(
                "ask for CONNECT to `{destination}` to be allowed for this host; many proxies allow port 443 only"
            )
            .into(),
            ConnectErrorKind::Authentication(error) => error.remedy().into(),
            ConnectErrorKind::NotHttp(_) => {
                "check that `forward_proxy.url` names the HTTP port of the proxy, not a SOCKS, TLS or mail port".into()
            }
            ConnectErrorKind::TooLong => "look into the proxy's log: it answers with a head that no client needs".into(),
            ConnectErrorKind::Closed => {
                "look into the proxy's log: some proxies close instead of answering when the rules forbid the port".into()
            }
            ConnectErrorKind::Destination => {
                "check the `upstream` of the listener: it must be `host:port` with a host name or an address".into()
            }
        }
    }
}

/// The schemes that both the proxy offers and Gatepost supports.
fn possible(offered: &[String]) -> Vec<Scheme> {
    Scheme::ALL.into_iter().filter(|scheme| offered.iter().any(|name| scheme.is_called(name))).collect()
}

fn of_authentication(schemes: &[String], configured: Option<Scheme>) -> Cow<'static, str> {
    let list = |names: &mut dyn Iterator<Item = &str>, between: &str| {
        names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(between)
    };
    let offered = list(&mut schemes.iter().map(String::as_str), ", ");
    let possible = possible(schemes);
    match configured {
        _ if offered.is_empty() => "ask which authentication the proxy wants: it names none".into(),
        Some(Scheme::Negotiate) if possible.contains(&Scheme::Negotiate) => {
            "check that the account of the Kerberos ticket may use the proxy, that `forward_proxy.service_name` is the \
             proxy's service, and that the clocks agree: the proxy refused the ticket"
                .into()
        }
        Some(scheme) if possible.contains(&scheme) => {
            "correct `forward_proxy.username` and `forward_proxy.password`: the proxy refused them".into()
        }
        _ if possible.is_empty() => format!(
            "ask for {}, or for this host to pass without any; the proxy offers {offered}, which Gatepost cannot do",
            list(&mut Scheme::ALL.iter().map(|scheme| scheme.name()), " or "),
        )
        .into(),
        _ => format!(
            "set `forward_proxy.authentication` to {} with `forward_proxy.username` and `forward_proxy.password`; the proxy offers {offered}",
            list(&mut possible.iter().map(|scheme| scheme.key()), " or "),
        )
        .into(),
    }
}
