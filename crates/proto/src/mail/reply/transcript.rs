//! Runs conversations with an upstream, written as text, with the octets split in several ways.

use std::sync::Arc;

use crate::mail::{Goal, Limits, TokenExchange, UpstreamEvent, UpstreamFailureKind, UpstreamSettings, upstream_side};
use crate::sasl::Bearer;
use gatepost_core::account::MailAddress;
use gatepost_core::protocol::MailProtocol;
use gatepost_core::secret::AccessToken;

/// The token of [`bearer`].
pub(in crate::mail) const TOKEN: &str = "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJleGNoYW5nZSJ9.c2lnbmF0dXJl";

/// The class of a reply that does not understand the message with [`TOKEN`].
pub(in crate::mail) const NOT_UNDERSTOOD: UpstreamFailureKind =
    UpstreamFailureKind::TokenNotUnderstood { characters: TOKEN.len() };

pub(in crate::mail) fn bearer() -> Bearer {
    Bearer { user: MailAddress::parse("alice@contoso.com").unwrap(), token: Arc::new(AccessToken::new(TOKEN.into())) }
}

/// The result of a conversation, in a form that can be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::mail) enum Outcome {
    Unfinished,
    StartTls,
    Learned(Vec<String>),
    Authenticated { announced: Vec<String>, leftovers: String },
    Failed(UpstreamFailureKind, String),
}

impl Outcome {
    pub(in crate::mail) fn kind(&self) -> UpstreamFailureKind {
        match self {
            Self::Failed(kind, detail) => {
                assert!(detail.len() <= super::DETAIL_OCTETS && detail.bytes().all(|b| (0x20..0x7f).contains(&b)));
                *kind
            }
            other => panic!("{other:?}"),
        }
    }

    fn of(event: Option<UpstreamEvent>) -> Self {
        match event {
            None => Self::Unfinished,
            Some(UpstreamEvent::StartTls) => Self::StartTls,
            Some(UpstreamEvent::Learned(announced)) => Self::Learned(announced.0),
            Some(UpstreamEvent::Failed(failure)) => Self::Failed(failure.kind, failure.detail),
            Some(UpstreamEvent::Authenticated(proof)) => Self::Authenticated {
                announced: proof.capabilities().0.clone(),
                leftovers: String::from_utf8_lossy(&proof.into_leftovers()).into_owned(),
            },
        }
    }
}

/// Runs a conversation with one step per line. `S:` comes from the upstream (`S|` without CRLF
/// after it). `C:` must be sent to it (`{response}` stands for the XOAUTH2 response). `TLS` is an
/// expected event and the handshake after it. `EOF` is the upstream's end. Nothing else may be
/// sent. Returns the last event.
pub(in crate::mail) fn play(protocol: MailProtocol, starttls: bool, goal: &Goal, conversation: &str) -> Outcome {
    let settings = UpstreamSettings {
        exchange: TokenExchange::EXCHANGE_ONLINE,
        limits: Arc::new(Limits::default()),
        starttls,
        client_name: "gatepost.example".into(),
        goal: goal.clone(),
    };
    let whole = play_in_chunks(protocol, &settings, conversation, usize::MAX);
    for size in [1, 2, 3, 7] {
        assert_eq!(play_in_chunks(protocol, &settings, conversation, size), whole, "in chunks of {size}");
    }
    whole
}

fn play_in_chunks(protocol: MailProtocol, settings: &UpstreamSettings, conversation: &str, size: usize) -> Outcome {
    let mut machine = upstream_side(protocol, settings.clone());
    let mut pending = Vec::new();
    let mut output = String::new();
    let lines: Vec<&str> = conversation.lines().map(str::trim_start).filter(|line| !line.is_empty()).collect();
    for (at, line) in lines.iter().enumerate() {
        let (kind, text) = line.split_at(line.len().min(3));
        match kind {
            "S: " => pending.extend([text.as_bytes(), b"\r\n"].concat()),
            "S| " => pending.extend(text.as_bytes()),
            _ => {}
        }
        let more = lines.get(at + 1).is_some_and(|next| next.starts_with("S"));
        if kind.starts_with('S') && !more {
            let flight = std::mem::take(&mut pending);
            flight.chunks(size.min(flight.len())).for_each(|chunk| machine.handle_input(chunk));
        }
        output.push_str(&String::from_utf8(machine.poll_output().unwrap_or_default()).unwrap());
        match kind {
            "C: " | "C:" => {
                let expected =
                    text.replace("{response}", &crate::sasl::xoauth2::initial_response(&super::transcript::bearer()));
                let (sent, rest) = output.split_once("\r\n").unwrap_or_else(|| panic!("nothing sent for {line:?}"));
                assert_eq!(sent, expected, "{line:?}");
                output = rest.to_owned();
            }
            "TLS" => {
                assert!(matches!(machine.poll_event(), Some(UpstreamEvent::StartTls)));
                assert_eq!(output, "");
                machine.tls_established();
            }
            "EOF" => machine.handle_eof(),
            _ => {}
        }
    }
    assert_eq!(output, "", "sent, but not in the conversation");
    let outcome = Outcome::of(machine.poll_event());
    assert_eq!(Outcome::of(machine.poll_event()), Outcome::Unfinished, "nothing comes after the last event");
    outcome
}
