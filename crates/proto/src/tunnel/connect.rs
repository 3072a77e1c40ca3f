//! HTTP CONNECT through the corporate proxy (RFC 9110 §9.3.6): octets in, events and octets out,
//! with no sockets or clock.
//!
//! The proxy resolves the destination's name. Any 2xx opens the tunnel at the octet after the blank
//! line. Octets that arrived with the reply are passed on, because a server that greets first may
//! have sent some already. A 407 for the configured scheme is answered at most three times, on the
//! same connection if the proxy leaves it open. The caller provides the answers. Of a refusal only
//! the status line and the offered schemes are kept, and a redirect is never followed. A proxy that
//! received credentials may repeat them anywhere, so only the status and well-known schemes are
//! kept then.

use std::net::Ipv6Addr;

use gatepost_core::escape::escaped;
use gatepost_core::secret::ProxyAuthorization;

use super::error::HEAD_OCTETS;
pub use super::error::{ConnectError, ConnectErrorKind};
use super::reply::{self, Body};
pub use super::scheme::{AuthenticationError, Challenge, Scheme};

/// Most header fields in one head. Large proxies send about twenty.
const FIELDS: usize = 128;
/// Most interim replies (1xx) before the final one.
const INTERIM_REPLIES: u8 = 8;
/// Most challenges answered. The schemes need one or two; one more is for a connection that was
/// closed in between.
const ROUNDS: u8 = 3;
/// Most connections for one tunnel, because one may be closed in between.
const CONNECTIONS: u8 = 3;
/// The beginning of a status line.
const VERSION: &[u8] = b"HTTP/1.";
/// Octets that are awaited and kept if the reply is not HTTP.
const EXCERPT_OCTETS: usize = 64;
/// Longest reason phrase kept, in octets.
const REASON_OCTETS: usize = 128;

/// The handshake with the proxy, until the tunnel is open.
///
/// The caller writes what [`Connect::poll_output`] gives, handles [`Connect::poll_event`], and
/// reads only if there is neither.
pub struct Connect {
    /// `host:port` in authority form.
    destination: String,
    scheme: Option<Scheme>,
    /// Whether credentials were sent.
    authenticated: bool,
    /// Number of challenges with a 407.
    rounds: u8,
    /// Number of connections, the present one included.
    connections: u8,
    /// Whether a reply has arrived on the present connection.
    reused: bool,
    input: Vec<u8>,
    output: Vec<u8>,
    event: Option<ConnectEvent>,
    state: State,
    /// Octets of heads searched or parsed so far. Octets examined twice count twice.
    #[cfg(test)]
    examined: usize,
}

/// What the handshake is waiting for.
enum State {
    /// The authenticator's answer, for the next request.
    Answer {
        reconnect: bool,
        refused: ConnectErrorKind,
    },
    /// The authenticator's confirmation that the proxy is the right one.
    Verdict {
        leftovers: Vec<u8>,
    },
    /// The head of a reply.
    Reply(Head),
    /// The end of the body of a 407.
    Body {
        body: Body,
        challenge: Challenge,
        refused: ConnectErrorKind,
    },
    /// A new connection, for a request with this authorization.
    Connection(Option<ProxyAuthorization>),
    Ended,
}

/// How much of the head of a reply has been read.
#[derive(Default)]
struct Head {
    /// Interim replies that were skipped.
    interim: u8,
    /// Octets of the heads of those.
    octets: usize,
    /// Octets that were searched for line ends.
    searched: usize,
    /// Start of the next line.
    line: usize,
    /// The status line has arrived and is valid.
    begun: bool,
}

/// What the handshake needs, or its result.
#[derive(Debug)]
pub enum ConnectEvent {
    /// Compute the answer, and pass it to [`Connect::handle_answer`].
    Challenge(Challenge),
    /// Close this connection, open a new one to the same proxy, and call
    /// [`Connect::handle_connected`].
    Reconnect,
    /// The tunnel is open.
    Tunnel {
        /// What the destination has sent already. It is not protected, so it must be empty before a
        /// TLS handshake that the client begins.
        leftovers: Vec<u8>,
    },
    /// There is no tunnel: close the connection.
    Failed(ConnectError),
}

impl Connect {
    /// Asks the proxy for a tunnel to `host` (a name, or an address without brackets) and `port`.
    /// Credentials are sent for `scheme` only.
    ///
    /// # Errors
    /// [`ConnectErrorKind::Destination`] if `host` is not a host, so that nothing else can get into
    /// the request.
    pub fn new(host: &str, port: u16, scheme: Option<Scheme>) -> Result<Self, ConnectError> {
        let parsed = match host.parse::<Ipv6Addr>() {
            Ok(address) => Ok(url::Host::Ipv6(address)),
            Err(_) => url::Host::parse(host),
        };
        let Ok(host) = parsed else {
            let destination = escaped(format!("{host}:{port}").as_bytes(), 256);
            return Err(ConnectError { destination, kind: ConnectErrorKind::Destination });
        };
        let mut machine = Self {
            destination: format!("{host}:{port}"),
            scheme,
            authenticated: false,
            rounds: 0,
            connections: 1,
            reused: false,
            input: Vec::new(),
            output: Vec::new(),
            event: None,
            state: State::Ended,
            #[cfg(test)]
            examined: 0,
        };
        match scheme {
            None => machine.request(None),
            Some(_) => machine.ask(Challenge::Start, false, ConnectErrorKind::Closed),
        }
        Ok(machine)
    }

    /// `host:port` as in the request.
    pub fn destination(&self) -> &str {
        &self.destination
    }

    /// Takes octets from the proxy.
    pub fn handle_input(&mut self, input: &[u8]) {
        match &mut self.state {
            State::Ended => {
                if let Some(ConnectEvent::Tunnel { leftovers }) = &mut self.event {
                    leftovers.extend_from_slice(input);
                }
                return;
            }
            State::Verdict { leftovers } => return leftovers.extend_from_slice(input),
            // Further octets of an old connection are ignored.
            State::Connection(_) | State::Answer { reconnect: true, .. } => return,
            State::Answer { .. } | State::Reply(_) | State::Body { .. } => self.input.extend_from_slice(input),
        }
        self.advance();
    }

    /// Notes that the proxy closed its side.
    pub fn handle_eof(&mut self) {
        let begun = self.input.iter().zip(VERSION).all(|(a, b)| a == b);
        match std::mem::replace(&mut self.state, State::Ended) {
            // A server may close a persistent connection at any time, even while the next request
            // is being sent. Closing may also be a refusal, so there is one more attempt, but no
            // third.
            State::Reply(_) if self.reused && self.input.is_empty() && self.connections == 1 => {
                self.ask(Challenge::Start, true, ConnectErrorKind::Closed);
            }
            State::Reply(_) if begun => self.fail(ConnectErrorKind::Closed),
            State::Reply(_) => self.fail(not_http(&self.input, self.authenticated)),
            State::Body { challenge, refused, .. } => self.challenged(challenge, true, refused),
            State::Answer { refused, .. } => self.state = State::Answer { reconnect: true, refused },
            kept @ (State::Connection(_) | State::Verdict { .. } | State::Ended) => self.state = kept,
        }
    }

    /// Takes the answer to a [`ConnectEvent::Challenge`].
    pub fn handle_answer(&mut self, answer: Result<Option<ProxyAuthorization>, AuthenticationError>) {
        match (std::mem::replace(&mut self.state, State::Ended), answer) {
            (State::Answer { refused, .. }, Err(AuthenticationError::Refused)) => self.fail(refused),
            (State::Answer { .. } | State::Verdict { .. }, Err(error)) => {
                self.fail(ConnectErrorKind::Authentication(error));
            }
            (State::Answer { reconnect: false, .. }, Ok(authorization)) => {
                self.request(authorization);
                self.advance();
            }
            (State::Answer { reconnect: true, refused }, Ok(_)) if self.connections == CONNECTIONS => {
                self.fail(refused)
            }
            (State::Answer { reconnect: true, .. }, Ok(authorization)) => {
                self.connections += 1;
                self.input = Vec::new();
                self.state = State::Connection(authorization);
                self.event = Some(ConnectEvent::Reconnect);
            }
            (State::Verdict { leftovers }, Ok(_)) => self.event = Some(ConnectEvent::Tunnel { leftovers }),
            // Nothing was asked.
            (other, _) => self.state = other,
        }
    }

    /// Notes that the new connection of a [`ConnectEvent::Reconnect`] is open.
    pub fn handle_connected(&mut self) {
        if let State::Connection(authorization) = &mut self.state {
            let authorization = authorization.take();
            self.reused = false;
            self.request(authorization);
        }
    }

    /// The next event, if any.
    pub fn poll_event(&mut self) -> Option<ConnectEvent> {
        self.event.take()
    }

    /// All pending octets for the proxy, if any. They may hold credentials.
    pub fn poll_output(&mut self) -> Option<Vec<u8>> {
        let output = std::mem::take(&mut self.output);
        (!output.is_empty()).then_some(output)
    }

    fn request(&mut self, authorization: Option<ProxyAuthorization>) {
        let Self { destination, scheme, .. } = self;
        // Some proxies close after each reply unless this nonstandard field asks them not to.
        let keep = if scheme.is_some_and(Scheme::has_rounds) { "Proxy-Connection: Keep-Alive\r\n" } else { "" };
        let fields = [
            "CONNECT ",
            destination,
            " HTTP/1.1\r\nHost: ",
            destination,
            concat!("\r\nUser-Agent: Gatepost/", env!("CARGO_PKG_VERSION"), "\r\n"),
            keep,
            if authorization.is_some() { "Proxy-Authorization: " } else { "" },
            authorization.as_ref().map_or("", ProxyAuthorization::expose),
            if authorization.is_some() { "\r\n\r\n" } else { "\r\n" },
        ];
        // Concatenated at once, because a buffer that grows leaves a copy of the credentials
        // behind.
        self.output = fields.concat().into_bytes();
        self.authenticated |= authorization.is_some();
        self.state = State::Reply(Head::default());
    }

    fn ask(&mut self, challenge: Challenge, reconnect: bool, refused: ConnectErrorKind) {
        self.state = State::Answer { reconnect, refused };
        self.event = Some(ConnectEvent::Challenge(challenge));
    }

    /// Handles a 407 that has been read as far as possible.
    fn challenged(&mut self, challenge: Challenge, closed: bool, refused: ConnectErrorKind) {
        // If a scheme is bound to its connection and its handshake has begun, a new connection
        // means a new beginning. After an empty challenge the handshake has not begun.
        let bound = self.scheme.is_some_and(Scheme::is_bound_to_connection);
        let begun = matches!(&challenge, Challenge::Continue(parameters) if !parameters.is_empty());
        let challenge = if closed && bound && begun { Challenge::Start } else { challenge };
        self.ask(challenge, closed, refused);
    }

    fn fail(&mut self, kind: ConnectErrorKind) {
        self.state = State::Ended;
        self.input = Vec::new();
        self.event = Some(ConnectEvent::Failed(ConnectError { destination: self.destination.clone(), kind }));
    }

    /// Processes the input as far as possible.
    fn advance(&mut self) {
        loop {
            match &mut self.state {
                State::Reply(_) => match self.reply() {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(kind) => self.fail(kind),
                },
                State::Body { body, .. } => {
                    let Some(done) = body.skip(&mut self.input) else { return self.leave_body(true) };
                    return if done {
                        self.leave_body(false)
                    };
                }
                State::Answer { .. } | State::Verdict { .. } | State::Connection(_) | State::Ended => return,
            }
        }
    }

    fn leave_body(&mut self, closed: bool) {
        if let State::Body { challenge, refused, .. } = std::mem::replace(&mut self.state, State::Ended) {
            self.challenged(challenge, closed, refused);
        }
    }

    /// Takes one head out of the input; false if it is incomplete.
    ///
    /// The octets are searched for line ends once, and parsed when the last line has arrived. No
    /// more of them are used than the limit allows, so that the outcome does not depend on how they
    /// were split. Only the status line is checked at once, because a server that is not HTTP may
    /// send no more than one line.
    fn reply(&mut self) -> Result<bool, ConnectErrorKind> {
        let State::Reply(Head { interim, octets, searched, line, begun }) = &mut self.state else { return Ok(false) };
        let room = HEAD_OCTETS - *octets;
        let seen = &self.input[..self.input.len().min(room)];
        #[cfg(test)]
        (self.examined += seen.len() - *searched);
        let end = loop {
            let Some(at) = memchr::memchr(b'\n', &seen[*searched..]) else {
                *searched = seen.len();
                if *line == 0 && seen.len() >= EXCERPT_OCTETS && !seen.starts_with(VERSION) {
                    return Err(not_http(seen, self.authenticated));
                }
                return if self.input.len() >= room { Err(ConnectErrorKind::TooLong) } else { Ok(false) };
            };
            *searched += at + 1;
            let text = &seen[std::mem::replace(line, *searched)..*searched];
            match (*begun, matches!(text, b"\n" | b"\r\n")) {
                (true, true) => break *searched,
                (false, false) if httparse::Response::new(&mut []).parse(text).is_err() => {
                    return Err(not_http(seen, self.authenticated));
                }
                (false, false) => *begun = true,
                // A field, or an empty line before the status line, which is skipped.
                (true, false) | (false, true) => {}
            }
        };
        #[cfg(test)]
        (self.examined += end);
        let mut fields = [httparse::EMPTY_HEADER; FIELDS];
        let mut reply = httparse::Response::new(&mut fields);
        let head = match reply.parse(&seen[..end]) {
            Ok(httparse::Status::Complete(head)) => head,
            Err(httparse::Error::TooManyHeaders) => return Err(ConnectErrorKind::TooLong),
            Ok(httparse::Status::Partial) | Err(_) => return Err(not_http(seen, self.authenticated)),
        };
        match reply.code.unwrap_or_default() {
            200..300 => {
                let proof = self.scheme.and_then(|scheme| reply::last_token(reply.headers, scheme));
                // Content-Length and Transfer-Encoding have no meaning here (RFC 9110 §9.3.6): the
                // tunnel begins at once.
                let leftovers = self.input.split_off(head);
                self.input = Vec::new();
                (self.state, self.event) = match proof {
                    Some(token) => {
                        (State::Verdict { leftovers }, Some(ConnectEvent::Challenge(Challenge::Last(token))))
                    }
                    None => (State::Ended, Some(ConnectEvent::Tunnel { leftovers })),
                };
                Ok(true)
            }
            status @ 100..200 if status != 101 => {
                if *interim == INTERIM_REPLIES {
                    return Err(ConnectErrorKind::TooLong);
                }
                *interim += 1;
                *octets += head;
                (*searched, *line, *begun) = (0, 0, false);
                self.input.drain(..head);
                Ok(true)
            }
            status @ (101 | 300..600) => {
                let offers = reply::challenges(reply.headers, "Proxy-Authenticate");
                let refused = ConnectErrorKind::Refused {
                    status,
                    reason: match self.authenticated {
                        true => String::new(),
                        false => escaped(reply.reason.unwrap_or_default().trim().as_bytes(), REASON_OCTETS),
                    },
                    schemes: reply::names(&offers, self.authenticated),
                    configured: self.scheme,
                };
                let scheme = self.scheme.filter(|_| status == 407 && self.rounds < ROUNDS).ok_or(refused.clone())?;
                let offer = offers.into_iter().find(|offer| scheme.is_called(&offer.name)).ok_or(refused.clone())?;
                let challenge = Challenge::Continue(offer.parameters);
                self.rounds += 1;
                self.reused = true;
                let body = Body::of(&reply);
                self.input.drain(..head);
                match body {
                    Some(body) => self.state = State::Body { body, challenge, refused },
                    None => self.challenged(challenge, true, refused),
                }
                Ok(true)
            }
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

#[cfg(test)]
mod tests;
