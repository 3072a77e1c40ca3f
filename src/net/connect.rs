//! HTTP CONNECT through the corporate proxy (RFC 9110 §9.3.6): bytes in, an event and bytes out; no sockets, no clock.
//!
//! The proxy resolves the destination's name. Any 2xx opens the tunnel at the octet behind the blank line; what came with
//! it is handed out, because a server that greets first may have spoken already. Nothing of a refusal but its status line
//! and the schemes it offers is kept, and a redirect is never followed. A proxy that was told a password may repeat it
//! anywhere, so of such a one only the status and well-known schemes are kept.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::config::ProxyAuthentication;
use crate::failure::Actor;
use crate::proto::reply::escaped;

/// Longest head of all replies together, in octets.
const HEAD_OCTETS: usize = 16 * 1_024;
/// Most header fields in one head; large proxies send about twenty.
const FIELDS: usize = 128;
/// Most interim replies (1xx) before the final one.
const INTERIM_REPLIES: u8 = 8;
/// How a status line begins.
const VERSION: &[u8] = b"HTTP/1.";
/// Octets of something other than HTTP that are waited for, and kept.
const EXCERPT_OCTETS: usize = 64;
/// Longest reason phrase kept, in octets.
const REASON_OCTETS: usize = 128;
/// Most authentication schemes kept, and the longest name among them, in octets.
const SCHEMES: usize = 8;
const SCHEME_OCTETS: usize = 32;
/// Schemes that proxies ask for (the IANA registry, and Microsoft's NTLM).
const WELL_KNOWN_SCHEMES: [&str; 5] = ["Basic", "Bearer", "Digest", "Negotiate", "NTLM"];

/// The handshake with the proxy, up to the tunnel.
pub struct Connect {
    /// `host:port` in authority form.
    destination: String,
    /// A secret was sent with the request.
    authenticated: bool,
    input: Vec<u8>,
    output: Vec<u8>,
    event: Option<ConnectEvent>,
    state: State,
}

/// What the handshake waits for. Schemes with several rounds on one connection get their states beside `Reply`.
enum State {
    Reply {
        /// Interim replies that have been skipped.
        interim: u8,
        /// Octets of their heads.
        octets: usize,
        /// Octets of whole lines that are known to be no complete head.
        partial: usize,
    },
    Ended,
}

/// How a handshake ends.
#[derive(Debug)]
pub enum ConnectEvent {
    /// Both sides may speak.
    Tunnel {
        /// What the destination has said already. It is not protected by anything, so before a TLS handshake that the
        /// client begins it must be empty.
        leftovers: Vec<u8>,
    },
    /// There is no tunnel: close.
    Failed(ConnectError),
}

/// Why there is no tunnel. `Display` tells what happened.
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
    /// A status other than 2xx.
    Refused {
        /// 300 to 599, or 101.
        status: u16,
        /// The reason phrase: escaped, at most 128 octets; empty when the request carried a password.
        reason: String,
        /// Names in `Proxy-Authenticate`, in their order, at most 8; only well-known ones when the request carried a
        /// password.
        schemes: Vec<String>,
        /// The request carried a password.
        authenticated: bool,
    },
    /// Not HTTP/1; its first octets, escaped; empty when the request carried a password.
    NotHttp(String),
    /// A head over 16 KiB, over 128 fields, or too many interim replies.
    TooLong,
    /// It closed the connection in the middle.
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
    /// The same question will get the same answer until somebody changes something.
    pub fn permanent(&self) -> bool {
        match &self.kind {
            ConnectErrorKind::Refused { status, .. } => !matches!(status, 408 | 425 | 429 | 500 | 502..=504 | 506..),
            ConnectErrorKind::NotHttp(_) | ConnectErrorKind::Destination => true,
            ConnectErrorKind::TooLong | ConnectErrorKind::Closed => false,
        }
    }

    /// Who must act.
    pub fn actor(&self) -> Actor {
        match &self.kind {
            ConnectErrorKind::Refused { status: 407, schemes, .. } if offers_basic(schemes) => Actor::Operator,
            ConnectErrorKind::NotHttp(_) | ConnectErrorKind::Destination => Actor::Operator,
            _ => Actor::Network,
        }
    }

    /// The next step, one sentence without full stop.
    pub fn remedy(&self) -> Cow<'static, str> {
        let destination = &self.destination;
        match &self.kind {
            ConnectErrorKind::Refused { status: 407, schemes, authenticated, .. } => {
                of_authentication(schemes, *authenticated)
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

fn offers_basic(schemes: &[String]) -> bool {
    schemes.iter().any(|scheme| scheme.eq_ignore_ascii_case("Basic"))
}

fn of_authentication(schemes: &[String], authenticated: bool) -> Cow<'static, str> {
    let offered = schemes.iter().map(|scheme| format!("`{scheme}`")).collect::<Vec<_>>().join(", ");
    if offered.is_empty() {
        return "ask which authentication the proxy wants: it names none".into();
    }
    match (offers_basic(schemes), authenticated) {
        (true, true) => "correct `forward_proxy.username` and `forward_proxy.password`: the proxy refused them".into(),
        (true, false) => format!(
            "set `forward_proxy.authentication: basic` with `forward_proxy.username` and `forward_proxy.password`; the proxy offers {offered}"
        )
        .into(),
        (false, _) => format!(
            "ask for Basic authentication, or for this host to pass without any; the proxy offers {offered}, which `forward_proxy.authentication` cannot do"
        )
        .into(),
    }
}

impl Connect {
    /// Asks the proxy for a tunnel to `host` (a name, or an address without brackets) and `port`.
    /// Basic credentials go with the first request (RFC 7617 §2.2): they are meant for this proxy anyway.
    ///
    /// # Errors
    /// [`ConnectErrorKind::Destination`], so that nothing but a host can get into the request.
    pub fn new(host: &str, port: u16, authentication: &ProxyAuthentication) -> Result<Self, ConnectError> {
        let parsed = match host.parse::<Ipv6Addr>() {
            Ok(address) => Ok(url::Host::Ipv6(address)),
            Err(_) => url::Host::parse(host),
        };
        let Ok(host) = parsed else {
            let destination = escaped(format!("{host}:{port}").as_bytes(), 256);
            return Err(ConnectError { destination, kind: ConnectErrorKind::Destination });
        };
        let destination = format!("{host}:{port}");
        let mut output = format!(
            "CONNECT {destination} HTTP/1.1\r\nHost: {destination}\r\nUser-Agent: Gatepost/{}\r\n",
            env!("CARGO_PKG_VERSION")
        )
        .into_bytes();
        let authenticated = match authentication {
            ProxyAuthentication::None => false,
            ProxyAuthentication::Basic { username, password } => {
                let pair = Zeroizing::new([username.as_bytes(), b":", password.expose().as_bytes()].concat());
                let pair = Zeroizing::new(STANDARD.encode(&*pair));
                // Reserved at once: a buffer that grows leaves a copy of the password behind.
                output.reserve_exact(pair.len() + 64);
                output.extend_from_slice(b"Proxy-Authorization: Basic ");
                output.extend_from_slice(pair.as_bytes());
                output.extend_from_slice(b"\r\n");
                true
            }
        };
        output.extend_from_slice(b"\r\n");
        let state = State::Reply { interim: 0, octets: 0, partial: 0 };
        Ok(Self { destination, authenticated, input: Vec::new(), output, event: None, state })
    }

    /// Takes bytes from the proxy.
    pub fn handle_input(&mut self, input: &[u8]) {
        if let Some(ConnectEvent::Tunnel { leftovers }) = &mut self.event {
            leftovers.extend_from_slice(input);
            return;
        }
        if let State::Reply { .. } = self.state {
            self.input.extend_from_slice(input);
        }
        while let State::Reply { .. } = self.state {
            match self.reply() {
                Ok(true) => {}
                Ok(false) => return,
                Err(kind) => self.fail(kind),
            }
        }
    }

    /// The proxy closed its side.
    pub fn handle_eof(&mut self) {
        if let State::Reply { .. } = self.state {
            let begun = self.input.iter().zip(VERSION).all(|(a, b)| a == b);
            self.fail(if begun { ConnectErrorKind::Closed } else { not_http(&self.input, self.authenticated) });
        }
    }

    /// How it ended, once it has.
    pub fn poll_event(&mut self) -> Option<ConnectEvent> {
        self.event.take()
    }

    /// Bytes for the proxy, if any; all that there are.
    pub fn poll_output(&mut self) -> Option<Vec<u8>> {
        let output = std::mem::take(&mut self.output);
        (!output.is_empty()).then_some(output)
    }

    fn fail(&mut self, kind: ConnectErrorKind) {
        self.state = State::Ended;
        self.input = Vec::new();
        self.event = Some(ConnectEvent::Failed(ConnectError { destination: self.destination.clone(), kind }));
    }

    /// Takes one head out of the input; false when it is not complete.
    ///
    /// Only whole lines are looked at, and never more of them than the bound allows, so that the outcome does not depend on
    /// how the octets were split.
    fn reply(&mut self) -> Result<bool, ConnectErrorKind> {
        let State::Reply { interim, octets, partial } = &mut self.state else { return Ok(false) };
        let room = HEAD_OCTETS - *octets;
        let seen = &self.input[..self.input.len().min(room)];
        let lines = memchr::memrchr(b'\n', seen).map_or(0, |at| at + 1);
        if lines == 0 && seen.len() >= EXCERPT_OCTETS && !seen.starts_with(VERSION) {
            return Err(not_http(seen, self.authenticated));
        }
        let mut fields = [httparse::EMPTY_HEADER; FIELDS];
        let mut reply = httparse::Response::new(&mut fields);
        let head = match if lines > *partial { reply.parse(&seen[..lines]) } else { Ok(httparse::Status::Partial) } {
            Ok(httparse::Status::Complete(head)) => head,
            Ok(httparse::Status::Partial) if self.input.len() >= room => return Err(ConnectErrorKind::TooLong),
            Ok(httparse::Status::Partial) => {
                *partial = lines;
                return Ok(false);
            }
            Err(httparse::Error::TooManyHeaders) => return Err(ConnectErrorKind::TooLong),
            Err(_) => return Err(not_http(seen, self.authenticated)),
        };
        match reply.code.unwrap_or_default() {
            200..300 => {
                // Content-Length and Transfer-Encoding mean nothing here (RFC 9110 §9.3.6): the tunnel begins at once.
                let leftovers = self.input.split_off(head);
                self.event = Some(ConnectEvent::Tunnel { leftovers });
                self.state = State::Ended;
                Ok(true)
            }
            status @ 100..200 if status != 101 => {
                if *interim == INTERIM_REPLIES {
                    return Err(ConnectErrorKind::TooLong);
                }
                *interim += 1;
                *octets += head;
                *partial = 0;
                self.input.drain(..head);
                Ok(true)
            }
            status @ (101 | 300..600) => Err(ConnectErrorKind::Refused {
                status,
                reason: match self.authenticated {
                    true => String::new(),
                    false => escaped(reply.reason.unwrap_or_default().trim().as_bytes(), REASON_OCTETS),
                },
                schemes: schemes(reply.headers, self.authenticated),
                authenticated: self.authenticated,
            }),
            _ => Err(not_http(seen, self.authenticated)),
        }
    }
}

fn not_http(seen: &[u8], authenticated: bool) -> ConnectErrorKind {
    if authenticated {
        return ConnectErrorKind::NotHttp(String::new());
    }
    let seen = &seen[..seen.len().min(EXCERPT_OCTETS)];
    let first_line = seen.split(|b| matches!(b, b'\r' | b'\n')).next().unwrap_or_default();
    ConnectErrorKind::NotHttp(escaped(first_line, 4 * EXCERPT_OCTETS))
}

/// Names of the schemes in all `Proxy-Authenticate` fields. One field may hold several challenges, and a challenge may
/// hold commas (RFC 9110 §11.6.1): a part that is `name=…` goes on with the challenge before it.
fn schemes(fields: &[httparse::Header<'_>], well_known_only: bool) -> Vec<String> {
    let is_well_known = |name: &str| WELL_KNOWN_SCHEMES.iter().any(|known| known.eq_ignore_ascii_case(name));
    let mut names: Vec<String> = Vec::new();
    for field in fields.iter().filter(|field| field.name.eq_ignore_ascii_case("Proxy-Authenticate")) {
        let mut quoted = false;
        let mut escape = false;
        let parts = field.value.split(|b| {
            match *b {
                _ if escape => escape = false,
                b'\\' if quoted => escape = true,
                b'"' => quoted = !quoted,
                _ => {}
            }
            *b == b',' && !quoted
        });
        for part in parts {
            let part = part.trim_ascii();
            let end = part.iter().position(|b| !is_token(*b)).unwrap_or(part.len());
            let (name, rest) = part.split_at(end);
            let is_scheme = !name.is_empty()
                && name.len() <= SCHEME_OCTETS
                && (rest.is_empty() || (rest[0] == b' ' && !rest.trim_ascii_start().starts_with(b"=")));
            let name = String::from_utf8_lossy(name);
            let keep = is_scheme && (!well_known_only || is_well_known(&name));
            if keep && names.len() < SCHEMES && !names.iter().any(|known| known.eq_ignore_ascii_case(&name)) {
                names.push(name.into_owned());
            }
        }
    }
    names
}

/// RFC 9110 §5.6.2.
fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

#[cfg(test)]
mod tests;
