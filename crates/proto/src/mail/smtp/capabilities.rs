//! The reply to EHLO: the upstream's keywords with Gatepost's own login methods.

use crate::mail::Capabilities;
use crate::mail::machine::Context;

/// What Exchange Online announces, used until capabilities have been learned.
pub fn exchange_online() -> Capabilities {
    let keywords = [
        "SIZE 157286400",
        "PIPELINING",
        "DSN",
        "ENHANCEDSTATUSCODES",
        "AUTH LOGIN XOAUTH2",
        "8BITMIME",
        "BINARYMIME",
        "CHUNKING",
        "SMTPUTF8",
    ];
    Capabilities(keywords.map(str::to_owned).into())
}

/// Extensions that consist only of commands and data between client and upstream. Left out on
/// purpose, besides everything about logging in: `XCLIENT` and `XFORWARD`, with which a client
/// would act for another host, and every unknown name. The name of the upstream is no keyword
/// either.
const RELAYED: [&str; 15] = [
    "SIZE",
    "PIPELINING",
    "DSN",
    "8BITMIME",
    "BINARYMIME",
    "CHUNKING",
    "SMTPUTF8",
    "DELIVERBY",
    "FUTURERELEASE",
    "MT-PRIORITY",
    "LIMITS",
    "REQUIRETLS",
    "NO-SOLICITING",
    "BURL",
    "HELP",
];

/// The form in drafts before RFC 2554. Some old programs look for nothing else.
pub(super) const OLD_AUTH: &str = "AUTH=LOGIN PLAIN";

fn relayed(line: &str) -> bool {
    let keyword = line.split(' ').next().unwrap_or_default();
    // Printable characters only, so that an announcement cannot become a second line.
    line.bytes().all(|b| matches!(b, b' '..=b'~')) && RELAYED.iter().any(|known| keyword.eq_ignore_ascii_case(known))
}

/// Writes the reply to EHLO.
pub(super) fn list(context: &mut Context) {
    let announced = context.announced(exchange_online);
    let server_name = context.settings().server_name.clone();
    context.reply(format_args!("250-{server_name}"));
    for line in announced.0.iter().filter(|line| relayed(line)) {
        context.reply(format_args!("250-{line}"));
    }
    if context.offers_starttls() {
        context.reply(format_args!("250-STARTTLS"));
    }
    if context.offers_login() {
        let mechanisms = context.settings().client_tokens.announced_names();
        context.reply(format_args!("250-AUTH {mechanisms}"));
        if context.settings().legacy {
            context.reply(format_args!("250-{OLD_AUTH}"));
        }
    }
    context.reply(format_args!("250 ENHANCEDSTATUSCODES"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_works_through_a_relay_passes() {
        for line in ["SIZE 157286400", "size", "8BITMIME", "CHUNKING", "LIMITS RCPTMAX=100"] {
            assert!(relayed(line), "{line}");
        }
        for line in ["AUTH XOAUTH2", "AUTH=LOGIN", "STARTTLS", "XCLIENT NAME", "X-EXPS", "ETRN", "DSN\r\n535 x", ""] {
            assert!(!relayed(line), "{line:?}");
        }
    }
}
