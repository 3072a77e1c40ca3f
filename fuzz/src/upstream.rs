//! The client that an upstream sees.

use std::sync::{Arc, LazyLock};

use gatepost_core::account::MailAddress;
use gatepost_core::protocol::MailProtocol;
use gatepost_core::secret::AccessToken;
use gatepost_proto::mail::{
    Capabilities, Goal, Limits, TokenExchange, UpstreamEvent, UpstreamFailureKind, UpstreamSettings, UpstreamSide,
    upstream_side,
};
use gatepost_proto::sasl::{Bearer, xoauth2};

use super::recipe::{Recipe, Trace};

const TOKEN: &str = "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJleGNoYW5nZSJ9.c2lnbmF0dXJl";

/// Small, so that small inputs reach them.
static LIMITS: LazyLock<Arc<Limits>> = LazyLock::new(|| {
    Arc::new(Limits { upstream_line_bytes: 200, upstream_lines: 24, upstream_bytes: 1_500, ..Limits::default() })
});

static BEARER: LazyLock<Bearer> = LazyLock::new(|| Bearer {
    user: MailAddress::parse("alice@contoso.com").expect("an address"),
    token: Arc::new(AccessToken::new(TOKEN.into())),
});

static RESPONSE: LazyLock<String> = LazyLock::new(|| xoauth2::initial_response(&BEARER).to_string());

/// Flags: 0 STARTTLS, 1 only learn, 2 the upstream closes at the end.
pub fn check(protocol: MailProtocol, data: &[u8]) {
    if let Some(recipe) = Recipe::read(data) {
        let whole = run(protocol, &recipe, false);
        whole.assert_same(&run(protocol, &recipe, true));
    }
}

fn run(protocol: MailProtocol, recipe: &Recipe<'_>, split: bool) -> Trace {
    let starttls = recipe.flag(0);
    let settings = UpstreamSettings {
        exchange: TokenExchange::EXCHANGE_ONLINE,
        limits: LIMITS.clone(),
        starttls,
        client_name: "gatepost.example".into(),
        goal: if recipe.flag(1) { Goal::Learn } else { Goal::Authenticate(BEARER.clone()) },
    };
    let mut run = Run {
        machine: upstream_side(protocol, settings),
        tls: !starttls,
        authenticated: false,
        learns: recipe.flag(1),
        trace: Trace::default(),
    };
    let mut chunks = recipe.chunks(split);
    let mut flights = recipe.flights();
    while let Some(mut rest) = flights.next() {
        while !rest.is_empty() {
            let (chunk, behind) = chunks.cut(rest);
            run.machine.handle_input(chunk);
            rest = behind;
            if run.events(rest) {
                if run.authenticated {
                    run.trace.leftovers.extend_from_slice(rest);
                    flights.by_ref().for_each(|flight| run.trace.leftovers.extend_from_slice(flight));
                }
                return run.trace;
            }
        }
    }
    if recipe.flag(2) {
        run.machine.handle_eof();
        assert!(run.events(&[]), "a close that nobody is told of");
    }
    run.trace
}

struct Run {
    machine: Box<dyn UpstreamSide>,
    tls: bool,
    authenticated: bool,
    learns: bool,
    trace: Trace,
}

impl Run {
    /// Does what the events ask for; true when one was the last.
    fn events(&mut self, rest: &[u8]) -> bool {
        self.output();
        match self.machine.poll_event() {
            None => return false,
            Some(UpstreamEvent::StartTls) => {
                assert!(!self.tls, "TLS within TLS");
                if rest.is_empty() {
                    self.tls = true;
                    self.machine.tls_established();
                    self.output();
                    assert!(self.machine.poll_event().is_none());
                    return false;
                }
                self.trace.raced = true;
                self.machine.handle_input(rest);
                match self.machine.poll_event() {
                    Some(UpstreamEvent::Failed(failure)) => {
                        assert_eq!(failure.kind, UpstreamFailureKind::SpokeBeforeTls);
                        self.trace.events.push(format!("{failure:?}"));
                    }
                    other => panic!("{other:?}"),
                }
            }
            Some(UpstreamEvent::Learned(capabilities)) => {
                assert!(self.tls, "learned in the clear");
                self.trace.events.push(told(&capabilities));
            }
            Some(UpstreamEvent::Authenticated(proof)) => {
                assert!(self.tls && self.sent_response(), "a proof of nothing");
                self.trace.events.push(told(proof.capabilities()));
                self.trace.leftovers = proof.into_leftovers();
                self.authenticated = true;
            }
            Some(UpstreamEvent::Failed(failure)) => {
                let detail = &failure.detail;
                assert!(detail.len() <= 1_024 && detail.bytes().all(|octet| (0x20..0x7f).contains(&octet)));
                // A machine that only learns has no token to keep out.
                let secret = detail.contains(TOKEN) || detail.contains(&*RESPONSE);
                assert!(self.learns || !secret, "the token in a detail");
                self.trace.events.push(format!("{failure:?}"));
            }
        }
        assert!(self.machine.poll_event().is_none(), "an event after the last one");
        self.machine.handle_eof();
        assert!(self.machine.poll_event().is_none() && self.machine.poll_output().is_none());
        true
    }

    fn output(&mut self) {
        self.trace.sent(self.machine.poll_output());
        assert!(self.tls || !self.sent_response(), "the token in the clear");
    }

    fn sent_response(&self) -> bool {
        self.trace.output.windows(RESPONSE.len()).any(|window| window == RESPONSE.as_bytes())
    }
}

fn told(capabilities: &Capabilities) -> String {
    let plain = |entry: &String| {
        !entry.is_empty() && entry.len() <= 512 && entry.bytes().all(|octet| (0x20..0x7f).contains(&octet))
    };
    assert!(capabilities.0.len() <= 128 && capabilities.0.iter().all(plain));
    format!("{capabilities:?}")
}
