//! The answer of a forward proxy to CONNECT.

use gatepost::config::ProxyAuthentication;
use gatepost::net::connect::{Connect, ConnectErrorKind, ConnectEvent};
use gatepost::secret::ProxyPassword;

use super::recipe::{Recipe, Trace};

/// Flags: 0 Basic authentication, 1 the proxy closes at the end.
pub fn check(data: &[u8]) {
    if let Some(recipe) = Recipe::read(data) {
        let whole = run(&recipe, false);
        whole.assert_same(&run(&recipe, true));
    }
}

fn run(recipe: &Recipe<'_>, split: bool) -> Trace {
    let authentication = if recipe.flag(0) {
        ProxyAuthentication::Basic { username: "svc-mail".into(), password: ProxyPassword::new("s3cret".into()) }
    } else {
        ProxyAuthentication::None
    };
    let mut machine = Connect::new("outlook.office365.com", 993, &authentication).expect("a host");
    let mut trace = Trace::default();
    trace.sent(machine.poll_output());
    let mut chunks = recipe.chunks(split);
    let mut rest = recipe.body;
    let mut event = None;
    while event.is_none() && !rest.is_empty() {
        let (chunk, behind) = chunks.cut(rest);
        machine.handle_input(chunk);
        rest = behind;
        event = machine.poll_event();
    }
    if event.is_none() && recipe.flag(1) {
        machine.handle_eof();
        event = machine.poll_event();
        assert!(event.is_some(), "a close that nobody is told of");
    }
    match event {
        None => return trace,
        Some(ConnectEvent::Tunnel { leftovers }) => {
            trace.events.push("tunnel".into());
            trace.leftovers = leftovers;
            trace.leftovers.extend_from_slice(rest);
            assert!(recipe.body.ends_with(&trace.leftovers), "octets behind the head were lost");
            let head = &recipe.body[..recipe.body.len() - trace.leftovers.len()];
            assert!(head.ends_with(b"\n\r\n") || head.ends_with(b"\n\n"), "the head does not end here");
        }
        Some(ConnectEvent::Failed(error)) => {
            for text in [error.to_string(), error.remedy().into_owned(), format!("{:?}", error.actor())] {
                assert!(text.len() <= 1_024 && text.bytes().all(|octet| (0x20..0x7f).contains(&octet)), "{text:?}");
            }
            if let ConnectErrorKind::Refused { status, schemes, .. } = &error.kind {
                assert!(!(200..300).contains(status) && schemes.len() <= 8);
            }
            trace.events.push(format!("{error:?} {}", error.permanent()));
        }
    }
    machine.handle_eof();
    assert!(machine.poll_event().is_none() && machine.poll_output().is_none(), "it went on after the end");
    trace
}
