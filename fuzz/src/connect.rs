//! The answers of a forward proxy to CONNECT.

use gatepost_core::secret::ProxyAuthorization;
use gatepost_proto::tunnel::connect::{
    AuthenticationError, Challenge, Connect, ConnectErrorKind, ConnectEvent, Scheme,
};

use super::recipe::{Recipe, Trace};

/// Flags: 0 Basic authentication, 1 the proxy closes at the end, 2 and 3 another scheme. The
/// decisions are the authenticator's: whether it has an answer. Flights are connections.
pub fn check(data: &[u8]) {
    if let Some(recipe) = Recipe::read(data) {
        let whole = run(&recipe, false);
        whole.assert_same(&run(&recipe, true));
    }
}

fn run(recipe: &Recipe<'_>, split: bool) -> Trace {
    let scheme = match (recipe.flag(3), recipe.flag(2), recipe.flag(0)) {
        (true, true, _) => Some(Scheme::Negotiate),
        (true, false, _) => Some(Scheme::Ntlm),
        (false, true, _) => Some(Scheme::Digest),
        (false, false, basic) => basic.then_some(Scheme::Basic),
    };
    let mut machine = Connect::new("outlook.office365.com", 993, scheme).expect("a host");
    let mut trace = Trace::default();
    let mut chunks = recipe.chunks(split);
    let mut flights = recipe.flights();
    let mut flight = flights.next().unwrap_or_default();
    let mut rest = flight;
    let mut closes = recipe.flag(1);
    let (mut asked, mut connections) = (0, 1);
    loop {
        trace.sent(machine.poll_output());
        match machine.poll_event() {
            Some(ConnectEvent::Challenge(challenge)) => {
                trace.events.push(format!("{challenge:?}"));
                let refuses = recipe.decisions & (1 << (asked % 8)) != 0;
                asked += 1;
                assert!(asked <= 6, "it asks for ever");
                machine.handle_answer(match challenge {
                    Challenge::Last(_) if refuses => Err(AuthenticationError::NotProven),
                    Challenge::Continue(_) if refuses => Err(AuthenticationError::Refused),
                    Challenge::Start if refuses => Ok(None),
                    _ => Ok(Some(ProxyAuthorization::new(format!("Scheme answer-{asked}")))),
                });
            }
            Some(ConnectEvent::Reconnect) => {
                connections += 1;
                assert!(connections <= 3, "it connects for ever");
                trace.events.push("reconnect".into());
                flight = flights.next().unwrap_or_default();
                (rest, closes) = (flight, recipe.flag(1));
                machine.handle_connected();
            }
            Some(ConnectEvent::Tunnel { leftovers }) => {
                trace.events.push("tunnel".into());
                trace.leftovers = leftovers;
                trace.leftovers.extend_from_slice(rest);
                assert!(flight.ends_with(&trace.leftovers), "octets behind the head were lost");
                let head = &flight[..flight.len() - trace.leftovers.len()];
                assert!(head.ends_with(b"\n\r\n") || head.ends_with(b"\n\n"), "the head does not end here");
                break;
            }
            Some(ConnectEvent::Failed(error)) => {
                let text = error.to_string();
                assert!(text.len() <= 1_024 && text.bytes().all(|octet| (0x20..0x7f).contains(&octet)), "{text:?}");
                if let ConnectErrorKind::Refused { status, schemes, .. } = &error.kind {
                    assert!(!(200..300).contains(status) && schemes.len() <= 8);
                }
                trace.events.push(format!("{error:?} {}", error.permanent()));
                break;
            }
            None if !rest.is_empty() => {
                let (chunk, behind) = chunks.cut(rest);
                machine.handle_input(chunk);
                rest = behind;
            }
            None if closes => {
                closes = false;
                machine.handle_eof();
            }
            None => return trace,
        }
    }
    machine.handle_eof();
    assert!(machine.poll_event().is_none() && machine.poll_output().is_none(), "it went on after the end");
    trace
}
