//! What a client at one address would meet at each listener.

use std::net::IpAddr;

use super::facts::Facts;
use super::step::{Outcome, Section, Step};
use crate::session::ListenerState;
use gatepost_config::{ListenerBackend, ListenerTls, SenderRule};
use gatepost_core::failure::Actor;

const HERE: Section = Section::Clients;

pub(super) fn steps(facts: &Facts, from: IpAddr) -> Vec<Step> {
    let mut steps: Vec<Step> = facts.services.iter().map(|service| meets(service, from)).collect();
    if facts.shared.penalties.closed(from).is_some() {
        let text = format!("{from} is blocked after too many wrong passwords");
        let remedy = "correct the device's password and wait, see `limits.penalty_threshold`".to_owned();
        steps.insert(0, Step::problem(HERE, from.to_string(), text, (Actor::ClientOwner, remedy)));
    }
    steps
}

/// What a client at this address meets at a listener.
fn meets(service: &ListenerState, from: IpAddr) -> Step {
    let listener = &service.listener;
    let subject = format!("listener {}", listener.name);
    if !service.allows(from) {
        let text = format!("refuses {from}, which is not in `allow_from`");
        let remedy = format!("if it should connect, add {from} to `listeners.{}.allow_from`", listener.name);
        return Step::warning(HERE, subject, text, (Actor::GatepostAdmin, remedy));
    }
    let tls = match listener.tls {
        ListenerTls::None => "no TLS",
        ListenerTls::StartTls(_) => "STARTTLS",
        ListenerTls::Implicit(_) => "TLS from the first byte",
    };
    let plaintext = service.allows_plaintext(from);
    let mut text = format!("accepts {from} at port {}, {tls}", ports(service));
    let trusted = match &listener.serves {
        ListenerBackend::Submission(submission) => submission.trusted(from),
        _ => None,
    };
    if let Some(rule) = trusted {
        let sender = match rule.sender {
            SenderRule::Forced => "always as its own address",
            _ => "also as its other addresses",
        };
        text.push_str(&format!(", sends as {} without a login, {sender}", rule.login));
        if !rule.recipient_domains.is_empty() {
            text.push_str(&format!(", to recipients in {} alone", rule.recipient_domains.join(" and ")));
        }
    }
    match (&listener.tls, plaintext, trusted.is_some()) {
        (ListenerTls::None, false, false) => {
            text.push_str(", login refused");
            let remedy = format!(
                "give the listener a certificate, or add {from} to `listeners.{}.allow_plaintext_from`",
                listener.name
            );
            Step::warning(HERE, subject, text, (Actor::GatepostAdmin, remedy))
        }
        (ListenerTls::None, false, true) => Step::ok(HERE, subject, format!("{text}, a login is refused")),
        (ListenerTls::StartTls(_), false, _) => Step::ok(HERE, subject, format!("{text}, login only after STARTTLS")),
        (ListenerTls::StartTls(_), true, _) => Step::ok(HERE, subject, format!("{text}, login also without TLS")),
        _ => Step::without_remedy(HERE, subject, Outcome::Ok, text),
    }
}

fn ports(service: &ListenerState) -> String {
    let mut ports: Vec<u16> = service.listener.bind.iter().map(|bind| bind.port()).collect();
    ports.dedup();
    ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
}
