//! The messages of a SOCKS proxy.

use gatepost_core::secret::ProxyPassword;
use gatepost_proto::tunnel::credentials::ProxyAuthentication;
use gatepost_proto::tunnel::socks::{Socks, SocksEvent};

use super::recipe::{Recipe, Trace};

/// Flags: 0 user name and password, 1 the proxy closes at the end.
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
    let mut machine = Socks::new("outlook.office365.com", 993, &authentication).expect("a host");
    let mut trace = Trace::default();
    assert!(machine.poll_output().is_some_and(|greeting| greeting.starts_with(&[5])));
    let mut chunks = recipe.chunks(split);
    let mut rest = recipe.body;
    let mut event = None;
    let mut sent = Vec::new();
    while event.is_none() && !rest.is_empty() {
        let (chunk, behind) = chunks.cut(rest);
        machine.handle_input(chunk);
        rest = behind;
        event = machine.poll_event();
        sent.extend(machine.poll_output().unwrap_or_default());
    }
    let told = sent.windows(6).any(|part| part == b"s3cret");
    assert!(!told || (recipe.flag(0) && recipe.body.starts_with(&[5, 2])), "a password that nobody asked for");
    if event.is_none() && recipe.flag(1) {
        machine.handle_eof();
        event = machine.poll_event();
        assert!(event.is_some(), "a close that nobody is told of");
    }
    match event {
        None => return trace,
        Some(SocksEvent::Tunnel { leftovers }) => {
            trace.events.push("tunnel".into());
            trace.leftovers = leftovers;
            trace.leftovers.extend_from_slice(rest);
            assert!(recipe.body.ends_with(&trace.leftovers), "octets behind the reply were lost");
            assert!(sent.ends_with(&993_u16.to_be_bytes()), "a tunnel that was not asked for");
        }
        Some(SocksEvent::Failed(error)) => {
            let text = error.to_string();
            assert!(text.len() <= 1_024 && text.bytes().all(|octet| (0x20..0x7f).contains(&octet)), "{text:?}");
            trace.events.push(format!("{error:?} {}", error.permanent()));
        }
    }
    machine.handle_eof();
    assert!(machine.poll_event().is_none() && machine.poll_output().is_none(), "it went on after the end");
    trace
}
