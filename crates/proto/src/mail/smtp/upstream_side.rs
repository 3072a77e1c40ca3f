//! The submission client side towards Microsoft or another provider until the login there has succeeded (RFC 5321, RFC
//! 3207, RFC 4954, XOAUTH2).
//!
//! `AUTH` is sent alone, and the response in a line of its own: a command has at most 512
//! octets, but a response line may have 12,288 (RFC 4954 §4).

use std::mem;
use std::sync::Arc;

use super::reply::Reply;
use super::response::Replies;
use crate::mail::reply::{self, Script, Wire};
use crate::mail::{Capabilities, UpstreamFailure, UpstreamFailureKind, UpstreamSettings};

/// The machine; used through [`crate::mail::UpstreamSide`].
pub struct Smtp {
    wire: Wire,
    starttls: bool,
    client_name: Arc<str>,
    replies: Replies,
    state: State,
}

enum State {
    Greeting,
    /// EHLO without TLS, before STARTTLS. Nothing of its reply is kept.
    ClearEhlo,
    StartTls,
    Handshake,
    Ehlo,
    Auth(Capabilities),
    Response {
        announced: Capabilities,
        /// The content of the failure challenge, once there was one.
        challenge: Option<Challenge>,
    },
    Ended,
}

struct Challenge {
    status: Option<String>,
}

impl Smtp {
    /// Creates a machine that waits for the greeting.
    pub fn new(settings: UpstreamSettings) -> Self {
        Self {
            wire: Wire::new(&settings),
            starttls: settings.starttls,
            client_name: settings.client_name,
            replies: Replies::default(),
            state: State::Greeting,
        }
    }

    fn ehlo(&mut self) {
        let line = format!("EHLO {}", self.client_name);
        self.wire.send(&line);
    }

    fn on_reply(&mut self, state: State, reply: &Reply) -> Result<State, UpstreamFailure> {
        use UpstreamFailureKind as Kind;
        match (state, reply.code) {
            (State::Greeting, 220) => {
                self.ehlo();
                Ok(if self.starttls { State::ClearEhlo } else { State::Ehlo })
            }
            // A greeting with 554 means that this server gives no service now.
            (State::Greeting, 554) => Err(self.refused(reply, Kind::Unavailable)),
            (State::ClearEhlo, 250) => {
                if !announced(reply).0.iter().any(|entry| entry.eq_ignore_ascii_case("STARTTLS")) {
                    return Err(self.wire.failure(Kind::NoStartTls, &reply.words()));
                }
                self.wire.send("STARTTLS");
                Ok(State::StartTls)
            }
            (State::StartTls, 220) => self.wire.start_tls().map(|()| State::Handshake),
            (State::StartTls, _) => Err(self.wire.failure(Kind::NoStartTls, &reply.words())),
            (State::Ehlo, 250) => {
                let announced = announced(reply);
                if self.wire.response().is_none() {
                    self.wire.send("QUIT");
                    self.wire.learned(announced);
                    Ok(State::Ended)
                } else if offers(&announced, self.wire.mechanism()) {
                    self.wire.send(&format!("AUTH {}", self.wire.mechanism()));
                    Ok(State::Auth(announced))
                } else {
                    Err(self.wire.failure(Kind::NoXoauth2, &reply.words()))
                }
            }
            (State::Auth(announced), 334) => {
                self.wire.send_response("");
                Ok(State::Response { announced, challenge: None })
            }
            (State::Response { announced, challenge: None }, 235) => {
                self.wire.authenticated(announced);
                Ok(State::Ended)
            }
            (State::Response { announced, challenge: None }, 334) => {
                self.wire.acknowledge();
                let text = reply.texts.first().map_or(&b""[..], |text| text.trim_ascii());
                let challenge = Some(Challenge { status: reply::challenge_status(text) });
                Ok(State::Response { announced, challenge })
            }
            (State::Response { challenge, .. }, _) => {
                let is_first = challenge.is_none();
                let status = challenge.and_then(|challenge| challenge.status);
                let words = reply::after_challenge(status.as_deref(), &reply.words());
                let kind = match (kind_of_refusal(reply), reply.code) {
                    (Kind::Protocol, 500 | 501) if is_first => self.wire.not_understood(),
                    (kind, _) => kind,
                };
                Err(self.wire.failure(kind, &words))
            }
            (State::Auth(_), _) => Err(self.refused(reply, kind_of_refusal(reply))),
            // "5.5.4 Invalid domain name" of Exchange, and what other servers say to such a name.
            (State::ClearEhlo | State::Ehlo, 501 | 504 | 553) => Err(self.refused(reply, Kind::NameRefused)),
            (_, _) if reply.class() == 4 => Err(self.refused(reply, kind_of_refusal(reply))),
            _ => Err(self.refused(reply, Kind::Protocol)),
        }
    }

    fn refused(&self, reply: &Reply, kind: UpstreamFailureKind) -> UpstreamFailure {
        self.wire.failure(kind, &reply.words())
    }
}

impl Script for Smtp {
    fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    fn on_line(&mut self, line: &[u8]) -> Result<(), UpstreamFailure> {
        let Ok(reply) = self.replies.take(line) else {
            return Err(self.wire.failure(UpstreamFailureKind::Protocol, line));
        };
        if let Some(reply) = reply {
            let state = mem::replace(&mut self.state, State::Ended);
            self.state = self.on_reply(state, &reply)?;
        }
        Ok(())
    }

    fn on_tls(&mut self) {
        // RFC 3207 §4.2: what was received before is void, and there is no second greeting.
        self.replies = Replies::default();
        self.ehlo();
        self.state = State::Ehlo;
    }
}

/// The keywords of an EHLO reply; its first line is a greeting.
fn announced(reply: &Reply) -> Capabilities {
    reply::capabilities(reply.texts.iter().skip(1).map(Vec::as_slice))
}

fn offers(announced: &Capabilities, wanted: &str) -> bool {
    announced.0.iter().any(|entry| {
        let mut words = entry.split([' ', '=']);
        words.next().is_some_and(|keyword| keyword.eq_ignore_ascii_case("AUTH"))
            && words.any(|mechanism| mechanism.eq_ignore_ascii_case(wanted))
    })
}

/// The class of a refused login, from RFC 4954 §6 and the replies of Exchange.
fn kind_of_refusal(reply: &Reply) -> UpstreamFailureKind {
    use UpstreamFailureKind as Kind;
    let of_words = reply::kind_of_words(&reply.words());
    match reply.code {
        432 => Kind::Limit,
        _ if reply.class() == 4 && of_words == Some(Kind::Limit) => Kind::Limit,
        _ if reply.class() == 4 => Kind::Unavailable,
        // Policy: SMTP AUTH is off for mailbox or tenant, security defaults, Conditional Access;
        // Basic is gone.
        530 | 534 | 550 | 554 => Kind::Disabled,
        535 if reply.has_enhanced("5.7.139") => Kind::Disabled,
        535 => Kind::TokenRefused,
        // High Volume Email wants a token that lives for some minutes more.
        501 if reply.has_enhanced("5.5.127") => Kind::TokenRefused,
        502 | 504 => Kind::NoXoauth2,
        _ => Kind::Protocol,
    }
}

#[cfg(test)]
mod tests {
    use super::UpstreamFailureKind as Kind;
    use crate::mail::Goal;
    use crate::mail::reply::transcript::{NOT_UNDERSTOOD, Outcome, bearer, play};
    use gatepost_core::protocol::MailProtocol;

    fn sign_in(starttls: bool, conversation: &str) -> Outcome {
        play(MailProtocol::Smtp, starttls, &Goal::Authenticate(bearer()), conversation)
    }

    fn learn(starttls: bool, conversation: &str) -> Outcome {
        play(MailProtocol::Smtp, starttls, &Goal::Learn, conversation)
    }

    const SECURED: &str = "S: 220 AM3PR05CA0094.outlook.office365.com Microsoft ESMTP MAIL Service ready
         C: EHLO gatepost.example
         S: 250-AM3PR05CA0094.outlook.office365.com Hello [192.0.2.7]
         S: 250-AUTH XOAUTH2 EVIL
         S: 250 STARTTLS
         C: STARTTLS
         S: 220 2.0.0 SMTP server ready
         TLS
         C: EHLO gatepost.example
         S: 250-AM3PR05CA0094.outlook.office365.com Hello [192.0.2.7]
         S: 250-SIZE 157286400
         S: 250 AUTH LOGIN XOAUTH2
         ";

    #[test]
    fn exchange() {
        let announced = vec!["SIZE 157286400".into(), "AUTH LOGIN XOAUTH2".into()];
        for challenge in ["334", "334 "] {
            let login = format!(
                "C: AUTH XOAUTH2
                 S: {challenge}
                 C: {{response}}
                 S: 235 2.7.0 Authentication successful
                 S: 250 leftover"
            );
            assert_eq!(
                sign_in(true, &format!("{SECURED}{login}")),
                Outcome::Authenticated { announced: announced.clone(), leftovers: "250 leftover\r\n".into() }
            );
        }
        assert_eq!(learn(true, &format!("{SECURED}C: QUIT")), Outcome::Learned(announced));
    }

    #[test]
    fn refusals() {
        let sent = "S: 220 ready\nC: EHLO gatepost.example\nS: 250-x\nS: 250 AUTH=LOGIN XOAUTH2\nC: AUTH XOAUTH2\nS: 334\nC: {response}\n";
        for (answer, kind) in [
            ("535 5.7.3 Authentication unsuccessful [AM3PR05CA0094 x]", Kind::TokenRefused),
            ("535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled", Kind::Disabled),
            ("550 5.7.30 Basic authentication is not supported", Kind::Disabled),
            ("454 4.7.0 Temporary authentication failure", Kind::Unavailable),
            ("451 4.7.0 Temporary server error. Please try again later. PRX4", Kind::Unavailable),
            ("421 4.4.2 bye", Kind::Unavailable),
            ("421 4.3.2 Concurrent connections limit exceeded", Kind::Limit),
            ("432 4.3.2 Concurrent connections limit exceeded", Kind::Limit),
            ("504 5.7.4 Unrecognized authentication type", Kind::NoXoauth2),
            ("501 5.5.124 Invalid XOAUTH2 auth data", NOT_UNDERSTOOD),
            ("501 5.5.127 Invalid XOAUTH2 auth data - Token will expire soon", Kind::TokenRefused),
            ("535 5.7.142 Token will expire soon", Kind::TokenRefused),
            ("500 5.3.3 Unrecognized command", NOT_UNDERSTOOD),
            ("503 5.5.1 Bad sequence of commands", Kind::Protocol),
            ("250 2.0.0 fine", Kind::Protocol),
            ("235-a\nS: 250 b", Kind::Protocol),
            ("* OK", Kind::Protocol),
        ] {
            assert_eq!(sign_in(false, &format!("{sent}S: {answer}")).kind(), kind, "{answer}");
        }
        let challenged = format!("{sent}S: 334 eyJzdGF0dXMiOiI0MDEifQ==\nC:\n");
        assert_eq!(
            sign_in(false, &format!("{challenged}S: 535 5.7.3 no")),
            Outcome::Failed(Kind::TokenRefused, "challenge with status 401, then: 535 5.7.3 no".into())
        );
        assert_eq!(sign_in(false, &format!("{challenged}S: 334")).kind(), Kind::Protocol);
        assert_eq!(sign_in(false, &format!("{challenged}S: 235 after all")).kind(), Kind::Protocol);
    }

    #[test]
    fn greetings_and_announcements() {
        for (greeting, kind) in [
            ("421 4.3.2 busy", Kind::Unavailable),
            ("450 later", Kind::Unavailable),
            ("554 no service", Kind::Unavailable),
            ("250 hello", Kind::Protocol),
            ("+OK", Kind::Protocol),
        ] {
            assert_eq!(sign_in(false, &format!("S: {greeting}")).kind(), kind, "{greeting}");
        }
        let greeted = "S: 220-a\nS: 220 b\nC: EHLO gatepost.example\n";
        for (reply, kind) in [
            ("S: 250-x\nS: 250 AUTH LOGIN", Kind::NoXoauth2),
            ("S: 250 x AUTH XOAUTH2", Kind::NoXoauth2),
            ("S: 421 4.3.2 busy", Kind::Unavailable),
            ("S: 500 what", Kind::Protocol),
            ("S: 501 5.5.4 Invalid domain name", Kind::NameRefused),
            ("S: 504 5.5.2 need fully-qualified hostname", Kind::NameRefused),
            ("EOF", Kind::Closed),
        ] {
            assert_eq!(sign_in(false, &format!("{greeted}{reply}")).kind(), kind, "{reply}");
        }
        assert_eq!(sign_in(true, &format!("{greeted}S: 501 5.5.4 Invalid domain name")).kind(), Kind::NameRefused);
    }

    #[test]
    fn starttls_is_demanded() {
        let greeted = "S: 220 x\nC: EHLO gatepost.example\n";
        for (replies, kind) in [
            ("S: 250-x\nS: 250 AUTH XOAUTH2", Kind::NoStartTls),
            ("S: 250-x\nS: 250 STARTTLS\nC: STARTTLS\nS: 454 4.7.0 no", Kind::NoStartTls),
            ("S: 250-x\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go\nS: 250 injected", Kind::SpokeBeforeTls),
            ("S: 250-x\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go\nS| 2", Kind::SpokeBeforeTls),
        ] {
            assert_eq!(sign_in(true, &format!("{greeted}{replies}")).kind(), kind, "{replies}");
        }
    }
}
