//! SOCKS version 5 (RFC 1928) with user name and password (RFC 1929): octets in, an event and
//! octets out, with no sockets or clock.
//!
//! The proxy resolves the destination's name. Each message has a fixed length or states its own, at
//! most 262 octets. Octets after the last message are passed on, because a server that greets first
//! may have sent some already. Of the proxy's messages only the codes are kept, and the first octet
//! of a message that is not SOCKS.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use zeroize::Zeroizing;

use crate::tunnel::credentials::ProxyAuthentication;
use gatepost_core::escape::escaped;
use gatepost_core::secret::ProxyPassword;

/// RFC 1928 §3.
const VERSION: u8 = 5;
/// Authentication methods, RFC 1928 §3.
const NO_AUTHENTICATION: u8 = 0;
const USERNAME_PASSWORD: u8 = 2;
const NO_ACCEPTABLE_METHOD: u8 = 0xFF;
/// RFC 1929 §2.
const SUBNEGOTIATION_VERSION: u8 = 1;
/// The command and the address types, RFC 1928 §4.
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const DOMAIN_NAME: u8 = 3;
const IPV6: u8 = 4;
/// Longest user name, password and host name, in octets, because each has a length of one octet.
const FIELD_OCTETS: usize = 255;

/// The handshake with the proxy, until the tunnel is open.
pub struct Socks<'a> {
    /// `host:port`, for messages.
    destination: String,
    /// Address and port, encoded for the request.
    address: Vec<u8>,
    credentials: Option<(&'a str, &'a ProxyPassword)>,
    input: Vec<u8>,
    output: Vec<u8>,
    event: Option<SocksEvent>,
    state: State,
}

/// What the handshake is waiting for.
#[derive(Clone, Copy)]
enum State {
    /// The method that the proxy chooses (RFC 1928 §3).
    Method,
    /// The proxy's answer to user name and password (RFC 1929 §2).
    Verdict,
    /// The proxy's answer to the request (RFC 1928 §6).
    Reply,
    Ended,
}

/// The result of a handshake.
#[derive(Debug)]
pub enum SocksEvent {
    /// The tunnel is open.
    Tunnel {
        /// What the destination has sent already. It is not protected, so it must be empty before a
        /// TLS handshake that the client begins.
        leftovers: Vec<u8>,
    },
    /// There is no tunnel: close the connection.
    Failed(SocksError),
}

/// Why there is no tunnel. `Display` says what happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocksError {
    /// `host:port`.
    pub destination: String,
    /// What happened.
    pub kind: SocksErrorKind,
}

/// Kinds of [`SocksError`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocksErrorKind {
    /// The proxy accepts none of the offered methods.
    Method {
        /// Whether user name and password were offered.
        offered_password: bool,
    },
    /// User name and password are wrong.
    Credentials,
    /// The proxy refuses to connect or cannot, with the code of RFC 1928 §6.
    Refused(u8),
    /// A message is not SOCKS 5, with the octet that shows it.
    NotSocks(u8),
    /// The proxy closed the connection before the end.
    Closed,
    /// The destination is neither a host name nor an address, so nothing was sent.
    Destination,
    /// User name or password is empty or longer than 255 octets, so nothing was sent.
    Unsendable,
}

/// The meaning of a code of RFC 1928 §6.
fn meaning(code: u8) -> &'static str {
    match code {
        1 => "general failure",
        2 => "not allowed by its rules",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused",
        6 => "TTL expired",
        7 => "command not supported",
        8 => "address type not supported",
        _ => "unassigned",
    }
}

impl fmt::Display for SocksError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let destination = &self.destination;
        match &self.kind {
            SocksErrorKind::Method { offered_password: true } => write!(
                f,
                "the SOCKS proxy takes neither no authentication nor a password, before it was asked for `{destination}`"
            ),
            SocksErrorKind::Method { offered_password: false } => {
                write!(f, "the SOCKS proxy wants authentication, before it was asked for `{destination}`")
            }
            SocksErrorKind::Credentials => {
                write!(f, "the SOCKS proxy refused user name and password, before it was asked for `{destination}`")
            }
            SocksErrorKind::Refused(code) => {
                write!(f, "the SOCKS proxy answered `{code}` ({}) to the request for `{destination}`", meaning(*code))
            }
            SocksErrorKind::NotSocks(octet) => write!(
                f,
                "the SOCKS proxy did not answer in SOCKS 5 (byte 0x{octet:02x}), before it was asked for `{destination}`"
            ),
            SocksErrorKind::Closed => {
                write!(f, "the SOCKS proxy closed the connection instead of opening one to `{destination}`")
            }
            SocksErrorKind::Destination => {
                write!(f, "`{destination}` is no host and port that a SOCKS proxy can be asked for")
            }
            SocksErrorKind::Unsendable => {
                write!(
                    f,
                    "the proxy's user name or password is empty or over {FIELD_OCTETS} bytes, which SOCKS cannot carry"
                )
            }
        }
    }
}

impl std::error::Error for SocksError {}

impl SocksError {
    /// Whether the same request will fail again until somebody changes something.
    pub fn permanent(&self) -> bool {
        match &self.kind {
            SocksErrorKind::Refused(code) => !matches!(code, 1 | 3..=6),
            SocksErrorKind::Closed => false,
            _ => true,
        }
    }
}

impl<'a> Socks<'a> {
    /// Asks the proxy for a tunnel to `host` (a name, or an address without brackets) and `port`.
    /// Credentials are sent only if the proxy asks for them.
    ///
    /// # Errors
    /// [`SocksErrorKind::Destination`] if `host` is not a host, so that nothing else can get into
    /// the request, and [`SocksErrorKind::Unsendable`].
    pub fn new(host: &str, port: u16, authentication: &'a ProxyAuthentication) -> Result<Self, SocksError> {
        let parsed = match host.parse::<Ipv6Addr>() {
            Ok(address) => Ok(url::Host::Ipv6(address)),
            Err(_) => url::Host::parse(host),
        };
        let fail = |kind| Err(SocksError { destination: escaped(format!("{host}:{port}").as_bytes(), 256), kind });
        let Ok(parsed) = parsed else { return fail(SocksErrorKind::Destination) };
        let Some(mut address) = address_of(&parsed) else { return fail(SocksErrorKind::Destination) };
        address.extend_from_slice(&port.to_be_bytes());
        let credentials = match authentication {
            ProxyAuthentication::Basic { username, password } => Some((username.as_str(), password)),
            _ => None,
        };
        let fits = |text: &str| (1..=FIELD_OCTETS).contains(&text.len());
        if credentials.is_some_and(|(username, password)| !fits(username) || !fits(password.expose())) {
            return fail(SocksErrorKind::Unsendable);
        }
        let output = match credentials {
            None => vec![VERSION, 1, NO_AUTHENTICATION],
            Some(_) => vec![VERSION, 2, NO_AUTHENTICATION, USERNAME_PASSWORD],
        };
        Ok(Self {
            destination: format!("{parsed}:{port}"),
            address,
            credentials,
            input: Vec::new(),
            output,
            event: None,
            state: State::Method,
        })
    }

    /// Takes octets from the proxy.
    pub fn handle_input(&mut self, input: &[u8]) {
        if let Some(SocksEvent::Tunnel { leftovers }) = &mut self.event {
            leftovers.extend_from_slice(input);
            return;
        }
        if !matches!(self.state, State::Ended) {
            self.input.extend_from_slice(input);
        }
        while let Some(result) = self.step() {
            if let Err(kind) = result {
                self.fail(kind);
            }
        }
    }

    /// Notes that the proxy closed its side.
    pub fn handle_eof(&mut self) {
        if !matches!(self.state, State::Ended) {
            self.fail(SocksErrorKind::Closed);
        }
    }

    /// The result, once there is one.
    pub fn poll_event(&mut self) -> Option<SocksEvent> {
        self.event.take()
    }

    /// All pending octets for the proxy, if any. They may hold the password.
    pub fn poll_output(&mut self) -> Option<Vec<u8>> {
        let output = std::mem::take(&mut self.output);
        (!output.is_empty()).then_some(output)
    }

    fn fail(&mut self, kind: SocksErrorKind) {
        self.state = State::Ended;
        self.input = Vec::new();
        // Nothing is sent after a refusal.
        self.output = Vec::new();
        self.event = Some(SocksEvent::Failed(SocksError { destination: self.destination.clone(), kind }));
    }

    /// Takes one message out of the input. `None` if it is incomplete, or if no further one is
    /// expected.
    fn step(&mut self) -> Option<Result<(), SocksErrorKind>> {
        let version = match self.state {
            State::Ended => return None,
            State::Method | State::Reply => VERSION,
            State::Verdict => SUBNEGOTIATION_VERSION,
        };
        let first = *self.input.first()?;
        // Some servers repeat the version of SOCKS in this answer, which is unambiguous all the
        // same.
        if first != version && first != VERSION {
            return Some(Err(SocksErrorKind::NotSocks(first)));
        }
        let second = *self.input.get(1)?;
        match self.state {
            State::Method => {
                self.input.drain(..2);
                Some(self.chosen(second))
            }
            State::Verdict if second == 0 => {
                self.input.drain(..2);
                self.request();
                Some(Ok(()))
            }
            State::Verdict => Some(Err(SocksErrorKind::Credentials)),
            // The address in a refusal has no meaning, and some servers leave it out.
            State::Reply if second != 0 => Some(Err(SocksErrorKind::Refused(second))),
            State::Reply => {
                let address = match *self.input.get(3)? {
                    IPV4 => 4,
                    IPV6 => 16,
                    DOMAIN_NAME => 1 + usize::from(*self.input.get(4)?),
                    other => return Some(Err(SocksErrorKind::NotSocks(other))),
                };
                let length = 4 + address + 2;
                if self.input.len() < length {
                    return None;
                }
                let leftovers = self.input.split_off(length);
                self.input = Vec::new();
                self.event = Some(SocksEvent::Tunnel { leftovers });
                self.state = State::Ended;
                Some(Ok(()))
            }
            State::Ended => None,
        }
    }

    fn chosen(&mut self, method: u8) -> Result<(), SocksErrorKind> {
        match (method, self.credentials) {
            (NO_AUTHENTICATION, _) => self.request(),
            (USERNAME_PASSWORD, Some((username, password))) => {
                let (username, password) = (username.as_bytes(), password.expose().as_bytes());
                let length = |field: &[u8]| u8::try_from(field.len()).unwrap_or(u8::MAX);
                // Concatenated at once, because a buffer that grows leaves a copy of the password
                // behind.
                self.output =
                    [&[SUBNEGOTIATION_VERSION, length(username)], username, &[length(password)], password].concat();
                self.state = State::Verdict;
            }
            (NO_ACCEPTABLE_METHOD, credentials) => {
                return Err(SocksErrorKind::Method { offered_password: credentials.is_some() });
            }
            // The method was not offered.
            _ => return Err(SocksErrorKind::NotSocks(method)),
        }
        Ok(())
    }

    fn request(&mut self) {
        // The output is empty, unless the proxy answered before it was asked.
        let before = Zeroizing::new(std::mem::take(&mut self.output));
        self.output = [&before[..], &[VERSION, CONNECT, 0], &self.address].concat();
        self.state = State::Reply;
    }
}

/// The address of RFC 1928 §5; `None` if the name is too long.
fn address_of(host: &url::Host) -> Option<Vec<u8>> {
    let octets = |kind: u8, address: IpAddr| match address {
        IpAddr::V4(address) => [&[kind][..], &address.octets()].concat(),
        IpAddr::V6(address) => [&[kind][..], &address.octets()].concat(),
    };
    Some(match host {
        url::Host::Ipv4(address) => octets(IPV4, IpAddr::V4(*address)),
        url::Host::Ipv6(address) => octets(IPV6, IpAddr::V6(*address)),
        url::Host::Domain(name) => {
            let length = u8::try_from(name.len()).ok()?;
            [&[DOMAIN_NAME, length][..], name.as_bytes()].concat()
        }
    })
}

#[cfg(test)]
mod tests;
