//! The capabilities for a POP3 client (RFC 2449): the upstream's list with Gatepost's own login
//! methods.

use crate::mail::Capabilities;
use crate::mail::machine::Context;

/// What Exchange Online announces, used until capabilities have been learned.
pub fn exchange_online() -> Capabilities {
    Capabilities(["TOP", "UIDL", "SASL XOAUTH2"].map(str::to_owned).into())
}

/// The capabilities of a maildrop that Gatepost serves itself.
pub(super) const MAILDROP: [&str; 3] = ["TOP", "UIDL", "EXPIRE NEVER"];

/// What is announced for such a maildrop.
pub fn maildrop() -> Capabilities {
    Capabilities(MAILDROP.map(str::to_owned).into())
}

/// Capabilities that hold after the login and need nothing before it. What is announced before the
/// login must be true after it (RFC 2449 §5). Left out on purpose, besides everything about logging
/// in: `UTF8` and `LANG`, whose commands come before the login and never reach the upstream, and
/// `LOGIN-DELAY`, on which the upstream does not decide.
const RELAYED: [&str; 4] = ["TOP", "UIDL", "PIPELINING", "EXPIRE"];

fn relayed(line: &str) -> bool {
    let name = line.split(' ').next().unwrap_or_default();
    // Printable characters only, so that an announcement cannot become a second line.
    line.bytes().all(|b| matches!(b, b' '..=b'~')) && RELAYED.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Writes the reply to CAPA.
pub(super) fn list(context: &mut Context) {
    let announced = context.announced(exchange_online);
    context.reply(format_args!("+OK Capability list follows"));
    for line in announced.0.iter().filter(|line| relayed(line)) {
        context.reply(format_args!("{line}"));
    }
    context.reply(format_args!("RESP-CODES"));
    context.reply(format_args!("AUTH-RESP-CODE"));
    if context.offers_login() {
        context.reply(format_args!("USER"));
        let mechanisms = context.settings().client_tokens.announced_names();
        context.reply(format_args!("SASL {mechanisms}"));
    }
    if context.offers_starttls() {
        context.reply(format_args!("STLS"));
    }
    context.reply(format_args!("IMPLEMENTATION Gatepost"));
    context.reply(format_args!("."));
}

/// Writes the reply to AUTH without a mechanism, which clients use since RFC 1734.
pub(super) fn mechanisms(context: &mut Context) {
    context.reply(format_args!("+OK Mechanisms follow"));
    if context.offers_login() {
        for mechanism in context.settings().client_tokens.announced() {
            context.reply(format_args!("{}", mechanism.name()));
        }
    }
    context.reply(format_args!("."));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_holds_through_a_relay_passes() {
        for line in ["TOP", "uidl", "PIPELINING", "EXPIRE NEVER"] {
            assert!(relayed(line), "{line}");
        }
        for line in
            ["SASL PLAIN", "USER", "STLS", "UTF8 USER", "LANG", "X-THING", "TOP\r\nSTLS", "IMPLEMENTATION x", ""]
        {
            assert!(!relayed(line), "{line:?}");
        }
    }
}
