//! The POP3 client side towards Microsoft or another provider until the login there has succeeded (RFC 1939, RFC 5034,
//! XOAUTH2).
//!
//! Only the answer to a STAT behind the login counts as success, because Exchange accepts a login
//! for a mailbox that it then cannot open.
//!
//! The token is sent in two lines, unless the server is known to want one. Exchange closes the connection on an initial response, and
//! RFC 5034 §4 limits the AUTH command to 255 octets, which a token exceeds.

use std::mem;

use super::response::{self, Response};
use crate::mail::reply::{self, Script, Wire};
use crate::mail::{Capabilities, UpstreamFailure, UpstreamFailureKind, UpstreamSettings};

/// The machine; used through [`crate::mail::UpstreamSide`].
pub struct Pop3 {
    wire: Wire,
    starttls: bool,
    state: State,
}

enum State {
    Greeting,
    Stls,
    Handshake,
    Capa,
    /// The lines of the CAPA reply so far.
    CapaList(Vec<Vec<u8>>),
    Auth,
    Response {
        /// The content of the failure challenge, once there was one.
        challenge: Option<Challenge>,
    },
    /// The login was accepted; waits for the mailbox to answer STAT.
    Probe,
    Ended,
}

struct Challenge {
    status: Option<String>,
}

impl Pop3 {
    /// Creates a machine that waits for the greeting.
    pub fn new(settings: UpstreamSettings) -> Self {
        Self { wire: Wire::new(&settings), starttls: settings.starttls, state: State::Greeting }
    }

    fn sign_in(&mut self) -> State {
        if self.wire.response().is_some() {
            let auth = format!("AUTH {}", self.wire.mechanism());
            if self.wire.exchange().pop3_in_one_line {
                self.wire.send_response(&format!("{auth} "));
                return State::Response { challenge: None };
            }
            self.wire.send(&auth);
            State::Auth
        } else {
            self.wire.send("CAPA");
            State::Capa
        }
    }

    fn learned(&mut self, list: &[Vec<u8>]) -> State {
        self.wire.send("QUIT");
        self.wire.learned(reply::capabilities(list.iter().map(Vec::as_slice)));
        State::Ended
    }

    fn on_reply(&mut self, state: State, line: &[u8]) -> Result<State, UpstreamFailure> {
        use UpstreamFailureKind as Kind;
        let Some(response) = response::parse(line) else { return Err(self.wire.failure(Kind::Protocol, line)) };
        match (state, response) {
            // STLS is required, so CAPA is not needed to see whether it is listed: a server without
            // it refuses the command.
            (State::Greeting, Response::Ok) if self.starttls => {
                self.wire.send("STLS");
                Ok(State::Stls)
            }
            (State::Greeting, Response::Ok) => Ok(self.sign_in()),
            (State::Greeting, Response::Err { code }) => Err(self.refused(code, Kind::Unavailable, line)),
            (State::Stls, Response::Ok) => self.wire.start_tls().map(|()| State::Handshake),
            (State::Stls, _) => Err(self.wire.failure(Kind::NoStartTls, line)),
            (State::Capa, Response::Ok) => Ok(State::CapaList(Vec::new())),
            // RFC 2449 §5: a server without CAPA has no capabilities to announce.
            (State::Capa, Response::Err { code: None }) => Ok(self.learned(&[])),
            (State::Capa, Response::Err { code }) => Err(self.refused(code, Kind::Protocol, line)),
            (State::Auth, Response::Challenge(_)) => {
                self.wire.send_response("");
                Ok(State::Response { challenge: None })
            }
            (State::Auth, Response::Err { code }) => Err(self.refused(code, Kind::NoXoauth2, line)),
            (State::Response { challenge: None }, Response::Ok) => {
                self.wire.send("STAT");
                Ok(State::Probe)
            }
            (State::Probe, Response::Ok) => {
                self.wire.authenticated(Capabilities::default());
                Ok(State::Ended)
            }
            (State::Probe, Response::Err { code }) => {
                let kind = match kind_of_refusal(code, line, Kind::MailboxNotConnected) {
                    kind @ (Kind::Limit | Kind::Unavailable | Kind::Disabled) => kind,
                    // The token was accepted, and STAT is a command of every server.
                    _ => Kind::MailboxNotConnected,
                };
                Err(self.wire.failure(kind, line))
            }
            (State::Response { challenge: None }, Response::Challenge(text)) => {
                self.wire.acknowledge();
                Ok(State::Response { challenge: Some(Challenge { status: reply::challenge_status(text) }) })
            }
            (State::Response { challenge }, Response::Err { code }) => {
                let is_first = challenge.is_none();
                let status = challenge.and_then(|challenge| challenge.status);
                let words = reply::after_challenge(status.as_deref(), line);
                let kind = match kind_of_refusal(code, line, Kind::TokenRefused) {
                    Kind::Protocol if is_first => self.wire.not_understood(),
                    kind => kind,
                };
                Err(self.wire.failure(kind, &words))
            }
            _ => Err(self.wire.failure(Kind::Protocol, line)),
        }
    }

    fn refused(&self, code: Option<&[u8]>, usual: UpstreamFailureKind, line: &[u8]) -> UpstreamFailure {
        self.wire.failure(kind_of_refusal(code, line, usual), line)
    }
}

impl Script for Pop3 {
    fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    fn on_line(&mut self, line: &[u8]) -> Result<(), UpstreamFailure> {
        self.state = match mem::replace(&mut self.state, State::Ended) {
            State::CapaList(mut list) => match response::listed(line) {
                Some(entry) => {
                    list.push(entry.to_vec());
                    State::CapaList(list)
                }
                None => self.learned(&list),
            },
            state => self.on_reply(state, line)?,
        };
        Ok(())
    }

    fn on_tls(&mut self) {
        // RFC 2595 §4: what was received before is void, and there is no second greeting.
        self.state = self.sign_in();
    }
}

/// The class of a refusal: RFC 3206 and RFC 2449 codes first, then the text.
fn kind_of_refusal(code: Option<&[u8]>, line: &[u8], usual: UpstreamFailureKind) -> UpstreamFailureKind {
    const CODES: [(&str, UpstreamFailureKind); 5] = [
        ("AUTH", UpstreamFailureKind::TokenRefused),
        ("SYS/TEMP", UpstreamFailureKind::Unavailable),
        ("SYS/PERM", UpstreamFailureKind::Disabled),
        ("IN-USE", UpstreamFailureKind::Limit),
        ("LOGIN-DELAY", UpstreamFailureKind::Limit),
    ];
    let of_code = |code: &[u8]| CODES.iter().find(|(name, _)| code.eq_ignore_ascii_case(name.as_bytes()));
    let known = code.and_then(of_code).map(|(_, kind)| *kind);
    known.or_else(|| reply::kind_of_words(line)).unwrap_or(usual)
}

#[cfg(test)]
mod tests {
    use super::UpstreamFailureKind as Kind;
    use crate::mail::Goal;
    use crate::mail::reply::transcript::{NOT_UNDERSTOOD, Outcome, bearer, play};
    use gatepost_core::protocol::MailProtocol;

    fn sign_in(starttls: bool, conversation: &str) -> Outcome {
        play(MailProtocol::Pop3, starttls, &Goal::Authenticate(bearer()), conversation)
    }

    fn learn(starttls: bool, conversation: &str) -> Outcome {
        play(MailProtocol::Pop3, starttls, &Goal::Learn, conversation)
    }

    #[test]
    fn exchange_takes_two_lines() {
        let outcome = sign_in(
            false,
            "S: +OK The Microsoft Exchange POP3 service is ready. [TQBXAEgA]
             C: AUTH XOAUTH2
             S: +
             C: {response}
             S: +OK User successfully authenticated.
             C: STAT
             S: +OK 2 28
             S: +OK leftover",
        );
        assert_eq!(outcome, Outcome::Authenticated { announced: vec![], leftovers: "+OK leftover\r\n".into() });
    }

    #[test]
    fn refusals() {
        let sent = "S: +OK ready\nC: AUTH XOAUTH2\nS: + \nC: {response}\n";
        for (answer, kind) in [
            ("-ERR Authentication failure: unknown user name or bad password.", Kind::TokenRefused),
            ("-ERR [AUTH] temporarily", Kind::TokenRefused),
            ("-ERR [SYS/TEMP] later", Kind::Unavailable),
            ("-ERR [SYS/PERM] never", Kind::Disabled),
            ("-ERR [IN-USE] locked", Kind::Limit),
            ("-ERR [LOGIN-DELAY] minimum time between polls", Kind::Limit),
            ("-ERR Server Unavailable. 21", Kind::Unavailable),
            ("-ERR Protocol error. Connection is closed. 10", NOT_UNDERSTOOD),
            ("220 what", Kind::Protocol),
        ] {
            assert_eq!(sign_in(false, &format!("{sent}S: {answer}")).kind(), kind, "{answer}");
        }
        assert_eq!(sign_in(false, &format!("{sent}EOF")).kind(), Kind::Closed);
        let challenged = format!("{sent}S: + eyJzdGF0dXMiOiI0MDEifQ==\nC:\n");
        assert_eq!(
            sign_in(false, &format!("{challenged}S: -ERR no")),
            Outcome::Failed(Kind::TokenRefused, "challenge with status 401, then: -ERR no".into())
        );
        assert_eq!(sign_in(false, &format!("{challenged}S: +")).kind(), Kind::Protocol);
        assert_eq!(sign_in(false, &format!("{challenged}S: +OK")).kind(), Kind::Protocol);
    }

    #[test]
    fn the_mailbox_must_answer() {
        let sent = "S: +OK ready\nC: AUTH XOAUTH2\nS: + \nC: {response}\nS: +OK authenticated\nC: STAT\n";
        for (answer, kind) in [
            ("-ERR User is authenticated but not connected.", Kind::MailboxNotConnected),
            ("-ERR Protocol error. 14", Kind::MailboxNotConnected),
            ("-ERR", Kind::MailboxNotConnected),
            ("-ERR [SYS/TEMP] later", Kind::Unavailable),
            ("-ERR [IN-USE] locked", Kind::Limit),
            ("-ERR Request is throttled. Suggested Backoff Time: 89117 milliseconds", Kind::Unavailable),
            ("+ more", Kind::Protocol),
        ] {
            assert_eq!(sign_in(false, &format!("{sent}S: {answer}")).kind(), kind, "{answer}");
        }
        assert_eq!(sign_in(false, &format!("{sent}EOF")).kind(), Kind::Closed);
    }

    #[test]
    fn before_the_response() {
        let sent = "S: +OK ready\nC: AUTH XOAUTH2\n";
        assert_eq!(sign_in(false, &format!("{sent}S: -ERR Unknown AUTH mechanism")).kind(), Kind::NoXoauth2);
        assert_eq!(sign_in(false, &format!("{sent}S: -ERR [SYS/TEMP]")).kind(), Kind::Unavailable);
        assert_eq!(sign_in(false, &format!("{sent}S: +OK so soon")).kind(), Kind::Protocol);
        assert_eq!(sign_in(false, "S: -ERR go away").kind(), Kind::Unavailable);
        assert_eq!(sign_in(false, "S: * OK ready").kind(), Kind::Protocol);
        assert_eq!(sign_in(false, "S: +").kind(), Kind::Protocol);
    }

    #[test]
    fn stls_is_demanded() {
        let sent = "S: +OK ready\nC: STLS\n";
        let done = "S: +OK Begin TLS\nTLS\nC: AUTH XOAUTH2\nS: +\nC: {response}\nS: +OK\nC: STAT\nS: +OK 0 0";
        assert!(matches!(sign_in(true, &format!("{sent}{done}")), Outcome::Authenticated { .. }));
        assert_eq!(sign_in(true, &format!("{sent}S: -ERR unknown")).kind(), Kind::NoStartTls);
        assert_eq!(sign_in(true, &format!("{sent}S: +OK\nS: +OK injected")).kind(), Kind::SpokeBeforeTls);
        let list = "S: +OK\nTLS\nC: CAPA\nS: +OK\nS: TOP\nS: .\nC: QUIT";
        assert_eq!(learn(true, &format!("{sent}{list}")), Outcome::Learned(vec!["TOP".into()]));
    }

    #[test]
    fn learning() {
        let asked = "S: +OK ready\nC: CAPA\n";
        assert_eq!(
            learn(false, &format!("{asked}S: +OK\nS: TOP\nS: SASL PLAIN XOAUTH2\nS: ..x\nS: .\nC: QUIT")),
            Outcome::Learned(vec!["TOP".into(), "SASL PLAIN XOAUTH2".into(), ".x".into()])
        );
        assert_eq!(learn(false, &format!("{asked}S: -ERR unknown command\nC: QUIT")), Outcome::Learned(vec![]));
        assert_eq!(learn(false, &format!("{asked}S: -ERR [SYS/TEMP]")).kind(), Kind::Unavailable);
        let endless = "S: UIDL\n".repeat(200);
        assert_eq!(learn(false, &format!("{asked}S: +OK\n{endless}")).kind(), Kind::Protocol);
    }
}
