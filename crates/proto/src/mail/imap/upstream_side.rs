//! The IMAP client side towards Microsoft or another provider until the login there has succeeded (RFC 9051, RFC 4959,
//! XOAUTH2).
//!
//! With implicit TLS: the greeting, `AUTHENTICATE XOAUTH2` with initial response, and then in one
//! write `CAPABILITY` and a harmless probe. Only the answer to the probe counts as success.
//! Exchange accepts a login for a mailbox that it then cannot open, and says so only at the next
//! command ("User is authenticated but not connected").

use std::mem;

use super::response::{self, Response, Status, StatusResponse};
use crate::mail::reply::{self, Script, Wire};
use crate::mail::{Capabilities, UpstreamFailure, UpstreamFailureKind, UpstreamSettings};

/// The machine; used through [`crate::mail::UpstreamSide`].
pub struct Imap {
    wire: Wire,
    starttls: bool,
    state: State,
    /// What has been announced since TLS is on; `None` if nothing was.
    announced: Option<Capabilities>,
    /// The next line continues a response that is not needed, after its literal.
    inside_data: bool,
    commands: u32,
}

enum State {
    Greeting,
    /// Asked before STARTTLS whether it is offered.
    StartTlsCapability(Command),
    StartTls(Command),
    Handshake,
    /// Asked before the login, or to learn the capabilities.
    Capability(Command),
    /// Sent `AUTHENTICATE XOAUTH2` without initial response.
    Authenticate(Command),
    Response {
        command: Command,
        /// The content of the failure challenge, once there was one.
        challenge: Option<Challenge>,
    },
    /// The login was accepted; waits for the mailbox to answer.
    Probe {
        /// The CAPABILITY command, until it is answered.
        capability: Option<Command>,
        probe: Command,
    },
    /// The probe was refused, either as a command or because of the mailbox. NOOP is sent next,
    /// because it cannot be refused as a command.
    SecondProbe(Command),
    Ended,
}

struct Challenge {
    status: Option<String>,
}

/// A command that has been sent.
#[derive(Clone, Copy)]
struct Command(u32);

impl Command {
    fn tag(self) -> String {
        format!("G{}", self.0)
    }
}

impl Imap {
    /// Creates a machine that waits for the greeting.
    pub fn new(settings: UpstreamSettings) -> Self {
        Self {
            wire: Wire::new(&settings),
            starttls: settings.starttls,
            state: State::Greeting,
            announced: None,
            inside_data: false,
            commands: 0,
        }
    }

    fn command(&mut self, text: &str) -> Command {
        self.commands += 1;
        let command = Command(self.commands);
        self.wire.send(&format!("{} {text}", command.tag()));
        command
    }

    /// Continues after the greeting if TLS is on already.
    fn begin(&mut self, announced: Option<&[u8]>) -> Result<State, UpstreamFailure> {
        self.announced = announced.map(list);
        if self.announced.is_some() {
            self.sign_in()
        } else if self.wire.response().is_some() {
            // CAPABILITY would cost a round trip: Exchange greets without a list and accepts an
            // initial response.
            Ok(self.authenticate(true))
        } else {
            Ok(State::Capability(self.command("CAPABILITY")))
        }
    }

    /// Continues after a capability list.
    fn sign_in(&mut self) -> Result<State, UpstreamFailure> {
        let announced = self.announced.clone().unwrap_or_default();
        if self.wire.response().is_none() {
            self.command("LOGOUT");
            self.wire.learned(announced);
            Ok(State::Ended)
        } else if has(&announced, &format!("AUTH={}", self.wire.mechanism())) {
            Ok(self.authenticate(has(&announced, "SASL-IR")))
        } else {
            Err(self.wire.failure(UpstreamFailureKind::NoXoauth2, announced.0.join(" ").as_bytes()))
        }
    }

    fn authenticate(&mut self, initial_response: bool) -> State {
        if initial_response {
            self.commands += 1;
            let command = Command(self.commands);
            let prefix = format!("{} AUTHENTICATE {} ", command.tag(), self.wire.mechanism());
            self.wire.send_response(&prefix);
            State::Response { command, challenge: None }
        } else {
            State::Authenticate(self.command(&format!("AUTHENTICATE {}", self.wire.mechanism())))
        }
    }

    fn probe(&mut self, announced: Option<&[u8]>) -> State {
        self.announced = announced.map(list);
        let capability = announced.is_none().then(|| self.command("CAPABILITY"));
        let namespace = self.announced.as_ref().is_none_or(|announced| has(announced, "NAMESPACE"));
        let probe = self.command(if namespace { "NAMESPACE" } else { "LIST \"\" \"\"" });
        State::Probe { capability, probe }
    }

    fn succeed(&mut self) -> State {
        let announced = self.announced.take().unwrap_or_default();
        self.wire.authenticated(announced);
        State::Ended
    }

    fn on_continuation(&mut self, state: State, text: &[u8]) -> Result<State, UpstreamFailure> {
        match state {
            State::Authenticate(command) => {
                self.wire.send_response("");
                Ok(State::Response { command, challenge: None })
            }
            State::Response { command, challenge: None } => {
                self.wire.acknowledge();
                Ok(State::Response { command, challenge: Some(Challenge { status: reply::challenge_status(text) }) })
            }
            _ => Err(self.wire.failure(UpstreamFailureKind::Protocol, b"a continuation that nobody asked for")),
        }
    }

    fn on_untagged(&mut self, state: State, response: &StatusResponse<'_>) -> Result<State, UpstreamFailure> {
        let fail = |this: &Self, kind| Err(this.wire.failure(kind, response.words));
        match (state, response.status) {
            (State::Probe { .. } | State::SecondProbe(_), Status::Bye) => {
                fail(self, kind_of_refusal(response, UpstreamFailureKind::MailboxNotConnected))
            }
            (_, Status::Bye) => fail(self, kind_of_refusal(response, UpstreamFailureKind::Unavailable)),
            (State::Greeting, Status::Ok) if self.starttls => match response.capability().map(list) {
                Some(announced) => self.start_tls(&announced),
                None => Ok(State::StartTlsCapability(self.command("CAPABILITY"))),
            },
            (State::Greeting, Status::Ok) => self.begin(response.capability()),
            (State::Greeting, Status::Preauth) => fail(self, UpstreamFailureKind::Preauth),
            (State::Greeting, _) | (_, Status::Preauth) => fail(self, UpstreamFailureKind::Protocol),
            // This is only a remark; the tagged response says what it means.
            (state, _) => Ok(state),
        }
    }

    fn start_tls(&mut self, announced: &Capabilities) -> Result<State, UpstreamFailure> {
        if has(announced, "STARTTLS") {
            Ok(State::StartTls(self.command("STARTTLS")))
        } else {
            Err(self.wire.failure(UpstreamFailureKind::NoStartTls, announced.0.join(" ").as_bytes()))
        }
    }

    fn on_tagged(&mut self, state: State, response: &StatusResponse<'_>) -> Result<State, UpstreamFailure> {
        let ok = response.status == Status::Ok;
        let is = |command: &Command| response.tag == Some(command.tag().as_bytes());
        let fail = |this: &Self, kind| Err(this.wire.failure(kind, response.words));
        match state {
            State::StartTlsCapability(command) if is(&command) => {
                let announced = self.announced.take().unwrap_or_default();
                if ok { self.start_tls(&announced) } else { fail(self, UpstreamFailureKind::NoStartTls) }
            }
            State::StartTls(command) if is(&command) => {
                if ok {
                    self.wire.start_tls().map(|()| State::Handshake)
                } else {
                    fail(self, UpstreamFailureKind::NoStartTls)
                }
            }
            State::Capability(command) if is(&command) => {
                if ok && self.announced.is_some() {
                    self.sign_in()
                } else {
                    fail(self, kind_of_refusal(response, UpstreamFailureKind::Protocol))
                }
            }
            State::Authenticate(command) if is(&command) && !ok => {
                fail(self, kind_of_refusal(response, UpstreamFailureKind::NoXoauth2))
            }
            State::Response { command, challenge: None } if is(&command) && ok => Ok(self.probe(response.capability())),
            State::Response { command, challenge } if is(&command) && !ok => {
                let usual = match response.status {
                    Status::Bad => UpstreamFailureKind::Protocol,
                    _ => UpstreamFailureKind::TokenRefused,
                };
                let is_first = challenge.is_none();
                let status = challenge.and_then(|challenge| challenge.status);
                let words = reply::after_challenge(status.as_deref(), response.words);
                let kind = match kind_of_refusal(response, usual) {
                    UpstreamFailureKind::Protocol if is_first => self.wire.not_understood(),
                    kind => kind,
                };
                Err(self.wire.failure(kind, &words))
            }
            State::Probe { capability: Some(command), probe } if is(&command) => match kind_after_login(response) {
                Some(kind) => fail(self, kind),
                // Without a list the client gets none, but it is not refused for that.
                None => Ok(State::Probe { capability: None, probe }),
            },
            State::Probe { capability, probe } if is(&probe) => match (ok, kind_after_login(response)) {
                (true, _) if capability.is_none() => Ok(self.succeed()),
                (false, Some(kind)) => fail(self, kind),
                (false, None) if capability.is_none() => Ok(State::SecondProbe(self.command("NOOP"))),
                // Responses to independent commands may come in any order, but they do not here.
                _ => fail(self, UpstreamFailureKind::Protocol),
            },
            State::SecondProbe(command) if is(&command) => {
                if ok {
                    Ok(self.succeed())
                } else {
                    fail(self, kind_after_login(response).unwrap_or(UpstreamFailureKind::MailboxNotConnected))
                }
            }
            _ => fail(self, UpstreamFailureKind::Protocol),
        }
    }
}

impl Script for Imap {
    fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    fn on_line(&mut self, line: &[u8]) -> Result<(), UpstreamFailure> {
        if mem::take(&mut self.inside_data) {
            self.on_literal(response::literal(line));
            return Ok(());
        }
        let state = mem::replace(&mut self.state, State::Ended);
        self.state = match response::parse(line) {
            Some(Response::Status(response)) if response.tag.is_some() => self.on_tagged(state, &response)?,
            Some(Response::Status(response)) => self.on_untagged(state, &response)?,
            Some(Response::Continuation(text)) => self.on_continuation(state, text)?,
            None => return Err(self.wire.failure(UpstreamFailureKind::Protocol, line)),
            _ if matches!(state, State::Greeting) => {
                return Err(self.wire.failure(UpstreamFailureKind::Protocol, line));
            }
            Some(Response::Capability(text)) => {
                // Only an answer to our own command counts: an unasked list before a login says
                // nothing about after it.
                if state.asked_capability() {
                    self.announced = Some(list(text));
                }
                state
            }
            Some(Response::Data { literal }) => {
                self.on_literal(literal);
                state
            }
        };
        Ok(())
    }

    fn on_tls(&mut self) {
        self.announced = None;
        // RFC 9051 §6.2.1: earlier announcements are void, and there is no second greeting.
        self.state = State::Capability(self.command("CAPABILITY"));
    }
}

impl Imap {
    fn on_literal(&mut self, literal: Option<usize>) {
        if let Some(octets) = literal {
            self.wire.skip(octets);
            self.inside_data = true;
        }
    }
}

impl State {
    fn asked_capability(&self) -> bool {
        matches!(self, Self::StartTlsCapability(_) | Self::Capability(_) | Self::Probe { capability: Some(_), .. })
    }
}

fn list(text: &[u8]) -> Capabilities {
    reply::capabilities(text.split(|b| *b == b' '))
}

fn has(announced: &Capabilities, name: &str) -> bool {
    announced.0.iter().any(|entry| entry.eq_ignore_ascii_case(name))
}

/// The class of a refusal: RFC 5530 codes first, then the text.
fn kind_of_refusal(response: &StatusResponse<'_>, usual: UpstreamFailureKind) -> UpstreamFailureKind {
    kind_of_code(response).or_else(|| reply::kind_of_words(response.words)).unwrap_or(usual)
}

/// Why the mailbox does not answer, if the response says so. An unknown or disabled command says
/// nothing about it.
fn kind_after_login(response: &StatusResponse<'_>) -> Option<UpstreamFailureKind> {
    if response.status == Status::Ok {
        return None;
    }
    let of_mailbox = |kind: &UpstreamFailureKind| {
        use UpstreamFailureKind::{Limit, MailboxNotConnected, Unavailable};
        matches!(kind, MailboxNotConnected | Limit | Unavailable)
    };
    kind_of_code(response).or_else(|| reply::kind_of_words(response.words).filter(of_mailbox))
}

fn kind_of_code(response: &StatusResponse<'_>) -> Option<UpstreamFailureKind> {
    const CODES: [(&str, UpstreamFailureKind); 10] = [
        ("UNAVAILABLE", UpstreamFailureKind::Unavailable),
        ("SERVERBUG", UpstreamFailureKind::Unavailable),
        ("LIMIT", UpstreamFailureKind::Limit),
        ("INUSE", UpstreamFailureKind::Limit),
        ("CONTACTADMIN", UpstreamFailureKind::Disabled),
        ("NOPERM", UpstreamFailureKind::Disabled),
        ("PRIVACYREQUIRED", UpstreamFailureKind::Disabled),
        ("AUTHENTICATIONFAILED", UpstreamFailureKind::TokenRefused),
        ("AUTHORIZATIONFAILED", UpstreamFailureKind::TokenRefused),
        ("EXPIRED", UpstreamFailureKind::TokenRefused),
    ];
    CODES.iter().find(|(code, _)| response.has_code(code)).map(|(_, kind)| *kind)
}

#[cfg(test)]
mod tests;
