//! The server that a mail client sees.

use std::sync::{Arc, LazyLock};

use gatepost_core::failure::Refusal;
use gatepost_core::protocol::MailProtocol;
use gatepost_proto::mail::{Capabilities, ClientEvent, ClientSettings, ClientSide, CloseReason, Limits, client_side};
use gatepost_proto::sasl::{self, ClientTokens, Credentials};

use super::recipe::{Recipe, Trace};

/// Small, so that small inputs reach them.
static LIMITS: LazyLock<Arc<Limits>> = LazyLock::new(|| {
    Arc::new(Limits {
        imap_line_bytes: 300,
        imap_literal_bytes: 64,
        imap_literals_bytes: 128,
        line_bytes: 100,
        sasl_line_bytes: 400,
        held_bytes: 64,
        ..Limits::default()
    })
});

static ANNOUNCED: LazyLock<Arc<Capabilities>> = LazyLock::new(|| {
    let entries = ["IMAP4rev1", "IDLE", "STARTTLS", "AUTH=XOAUTH2", "UIDL", "SASL XOAUTH2", "SIZE 100", "8BITMIME"];
    Arc::new(Capabilities(entries.map(String::from).to_vec()))
});

const REFUSALS: [Refusal; 6] = [
    Refusal::InvalidCredentials,
    Refusal::NotAuthorized,
    Refusal::ContactAdmin,
    Refusal::Unavailable,
    Refusal::Limit,
    Refusal::ServerBug,
];

/// Flags: 0 STARTTLS, 1 implicit TLS, 2 login in the clear, 3 bare LF, 4 decide late, 5 trusted, 7
/// legacy. A bit of the decisions per login: accepted or refused.
pub fn check(protocol: MailProtocol, data: &[u8]) {
    if let Some(recipe) = Recipe::read(data) {
        let whole = run(protocol, &recipe, false);
        whole.assert_same(&run(protocol, &recipe, true));
    }
}

fn run(protocol: MailProtocol, recipe: &Recipe<'_>, split: bool) -> Trace {
    let implicit_tls = recipe.flag(1);
    let settings = ClientSettings {
        limits: LIMITS.clone(),
        announced: ANNOUNCED.clone(),
        starttls: recipe.flag(0),
        implicit_tls,
        plaintext_login: recipe.flag(2),
        client_tokens: if recipe.flag(6) { ClientTokens::Refuse } else { ClientTokens::Announce },
        bare_lf: recipe.flag(3),
        legacy: recipe.flag(7),
        trusted: recipe.flag(5),
        server_name: "gatepost.example".into(),
        session_id: "7f3a".into(),
    };
    let mut run = Run {
        machine: client_side(protocol, settings),
        decisions: recipe.decisions,
        logins: 0,
        tls: implicit_tls,
        plaintext_login: recipe.flag(2),
        trace: Trace::default(),
    };
    run.trace.sent(run.machine.poll_output());
    let mut chunks = recipe.chunks(split);
    let mut flights = recipe.flights();
    while let Some(mut rest) = flights.next() {
        let mut pending = false;
        while !rest.is_empty() {
            let (chunk, behind) = chunks.cut(rest);
            assert!(run.machine.wants_input(), "it stopped listening without an event");
            run.machine.handle_input(chunk);
            rest = behind;
            // While a login is being decided the client may go on sending.
            pending = pending || run.event(rest);
            if run.over() {
                return run.trace;
            }
            while pending && !(split && recipe.flag(4) && !rest.is_empty() && run.machine.wants_input()) {
                if run.decide() {
                    return run.hand_on(rest, flights);
                }
                pending = run.event(rest);
                if run.over() {
                    return run.trace;
                }
            }
            // Perhaps from behind a login that was refused.
            if run.trace.events.last().is_some_and(|event| event == "Submission") {
                return run.hand_on(rest, flights);
            }
        }
    }
    run.trace
}

struct Run {
    machine: Box<dyn ClientSide>,
    decisions: u8,
    logins: u32,
    tls: bool,
    plaintext_login: bool,
    trace: Trace,
}

impl Run {
    fn over(&self) -> bool {
        self.trace.raced || self.trace.events.last().is_some_and(|event| event.starts_with("Close"))
    }

    /// Does what the events ask for; true when a login is to be decided.
    fn event(&mut self, rest: &[u8]) -> bool {
        loop {
            self.trace.sent(self.machine.poll_output());
            let Some(event) = self.machine.poll_event() else { return false };
            match event {
                ClientEvent::StartTls => {
                    assert!(!self.tls, "TLS within TLS");
                    if rest.is_empty() {
                        self.tls = true;
                        self.machine.tls_established();
                    } else {
                        self.trace.raced = true;
                        self.machine.handle_input(rest);
                        let event = self.machine.poll_event();
                        assert!(
                            matches!(event, Some(ClientEvent::Close(CloseReason::BytesBehindStartTls))),
                            "{event:?}"
                        );
                        self.trace.events.push(format!("{:?}", event.expect("just matched")));
                        return false;
                    }
                }
                ClientEvent::Login(credentials) => {
                    assert!(self.tls || self.plaintext_login, "a login in the clear");
                    self.trace.events.push(told(&credentials));
                    self.logins += 1;
                    return true;
                }
                ClientEvent::Submission => {
                    self.trace.events.push("Submission".into());
                    assert!(self.machine.poll_event().is_none() && !self.machine.wants_input());
                    return false;
                }
                ClientEvent::Rejected(why) => {
                    self.trace.events.push(format!("{why:?}"));
                    self.machine.resume();
                }
                ClientEvent::Close(why) => {
                    self.trace.events.push(format!("Close({why:?})"));
                    self.trace.sent(self.machine.poll_output());
                    assert!(self.machine.poll_event().is_none() && self.machine.poll_output().is_none());
                    assert!(!self.machine.wants_input());
                    return false;
                }
            }
        }
    }

    /// What is left for whoever takes over.
    fn hand_on<'a>(mut self, rest: &[u8], flights: impl Iterator<Item = &'a [u8]>) -> Trace {
        self.trace.leftovers = self.machine.take_leftovers();
        self.trace.leftovers.extend_from_slice(rest);
        flights.for_each(|flight| self.trace.leftovers.extend_from_slice(flight));
        self.trace
    }

    /// True when the login was accepted.
    fn decide(&mut self) -> bool {
        assert!(self.machine.poll_event().is_none(), "an event before the decision");
        let accepted = self.decisions & (1 << (self.logins % 8)) != 0;
        if accepted {
            self.machine.accept(&ANNOUNCED);
            self.trace.sent(self.machine.poll_output());
            assert!(self.machine.poll_event().is_none() && !self.machine.wants_input());
        } else {
            self.machine.refuse(REFUSALS[(self.logins as usize + usize::from(self.decisions)) % REFUSALS.len()]);
        }
        accepted
    }
}

/// Credentials with everything in them, checked.
fn told(credentials: &Credentials) -> String {
    match credentials {
        Credentials::Password { password, .. } => {
            let text = password.expose();
            assert!(!text.is_empty() && text.len() <= 1_024 && !text.contains(['\r', '\n', '\0', '\u{1}']));
            format!("{credentials:?} {text:?}")
        }
        Credentials::Token(bearer) => {
            assert!(sasl::is_b64token(bearer.token.expose()));
            format!("{credentials:?} {:?}", bearer.token.expose())
        }
    }
}
