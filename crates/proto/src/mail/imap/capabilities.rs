//! The capabilities for an IMAP client, without those that cannot work through a relay. Before the
//! login they are the upstream's list with Gatepost's own login methods, after it the upstream's
//! list alone.

use crate::mail::Capabilities;
use crate::mail::machine::Context;

/// What Exchange Online announces, used until capabilities have been learned.
pub fn exchange_online() -> Capabilities {
    let tokens =
        "IMAP4 IMAP4rev1 AUTH=XOAUTH2 LOGINDISABLED SASL-IR UIDPLUS MOVE ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+";
    Capabilities(tokens.split(' ').map(str::to_owned).collect())
}

/// Extensions that consist only of commands and data between client and upstream. An intermediary
/// must not let through names that it does not know (RFC 2971 §5). Left out on purpose, besides
/// everything about logging in:
///
/// - `COMPRESS=…`, `UNAUTHENTICATE`: they change the relayed stream, or allow another identity in
///   it;
/// - `ENABLE`, `IMAP4rev2`, and `UTF8=…`, `QRESYNC`, `UIDONLY`, which need `ENABLE`: Exchange
///   Online announces the first two and then answers wrongly;
/// - `LOGIN-REFERRALS`, `MAILBOX-REFERRALS`: they send a client to a server where it cannot log in.
#[rustfmt::skip]
const RELAYED: &[&str] = &[
    "IMAP4", "IMAP4rev1", "ACL", "APPENDLIMIT", "BINARY", "CATENATE", "CHILDREN", "CONDSTORE",
    "CREATE-SPECIAL-USE", "ESEARCH", "ESORT", "FILTERS", "ID", "IDLE", "INPROGRESS", "LANGUAGE",
    "LIST-EXTENDED", "LIST-METADATA", "LIST-MYRIGHTS", "LIST-STATUS", "LITERAL+", "LITERAL-", "METADATA",
    "METADATA-SERVER", "MOVE", "MULTIAPPEND", "MULTISEARCH", "NAMESPACE", "NOTIFY", "OBJECTID", "PARTIAL",
    "PREVIEW", "QUOTA", "QUOTASET", "REPLACE", "SAVEDATE", "SEARCH=FUZZY", "SEARCHRES", "SORT", "SORT=DISPLAY",
    "SPECIAL-USE", "STATUS=SIZE", "UIDBATCHES", "UIDPLUS", "UNSELECT", "URL-PARTIAL", "URLAUTH",
    "URLFETCH=BINARY", "WITHIN",
];

/// The same for extensions whose names have a value behind these beginnings.
#[rustfmt::skip]
const RELAYED_FAMILIES: &[&str] = &[
    "APPENDLIMIT=", "CONTEXT=", "I18NLEVEL=", "MESSAGELIMIT=", "QUOTA=RES-", "RIGHTS=", "SAVELIMIT=", "THREAD=",
];

fn relayed(token: &str) -> bool {
    let begins = |begin: &&str| token.get(..begin.len()).is_some_and(|word| word.eq_ignore_ascii_case(begin));
    let is_known = RELAYED.iter().any(|known| token.eq_ignore_ascii_case(known)) || RELAYED_FAMILIES.iter().any(begins);
    // A single word, so that an announcement cannot add anything else to a reply.
    is_known && token.bytes().all(|b| b.is_ascii_graphic() && b != b']')
}

/// What the upstream announces after the login, filtered for the client; empty if nothing is left.
pub(super) fn after_login(upstream: &Capabilities) -> String {
    let tokens: Vec<&str> = upstream.0.iter().map(String::as_str).filter(|token| relayed(token)).collect();
    tokens.join(" ")
}

/// The capabilities before the login, Gatepost's own first.
pub(super) fn before_login(context: &Context) -> String {
    let announced = context.announced(exchange_online);
    let announces = |name: &str| announced.0.iter().any(|token| token.eq_ignore_ascii_case(name));
    // Gatepost accepts both. But a client relies on what it reads here after the login, too
    // (RFC 7888 §5: never both).
    let literals = if announces("LITERAL-") && !announces("LITERAL+") { "LITERAL-" } else { "LITERAL+" };
    let mut tokens: Vec<String> = ["IMAP4rev1", "SASL-IR", literals, "ID"].map(str::to_owned).into();
    if context.offers_starttls() {
        tokens.push("STARTTLS".to_owned());
    }
    if context.offers_login() {
        let mechanisms = context.settings().client_tokens.announced();
        tokens.extend(mechanisms.iter().map(|mechanism| format!("AUTH={}", mechanism.name())));
    } else {
        tokens.push("LOGINDISABLED".to_owned());
    }
    for token in announced.0.iter().filter(|token| relayed(token)) {
        let told = |told: &String| told.eq_ignore_ascii_case(token);
        if !["LITERAL+", "LITERAL-"].contains(&token.as_str()) && !tokens.iter().any(told) {
            tokens.push(token.clone());
        }
    }
    tokens.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(upstream: &[&str]) -> String {
        after_login(&Capabilities(upstream.iter().map(|&token| token.to_owned()).collect()))
    }

    #[test]
    fn what_cannot_work_through_a_relay_is_left_out() {
        let upstream = [
            "IMAP4rev1",
            "AUTH=XOAUTH2",
            "sasl-ir",
            "LOGINDISABLED",
            "STARTTLS",
            "COMPRESS=DEFLATE",
            "UNAUTHENTICATE",
            "IMAP4rev2",
            "ENABLE",
            "UTF8=ACCEPT",
            "CLIENTACCESSRULES",
            "CLIENTNETWORKPRESENCELOCATION",
            "BACKENDAUTHENTICATE-IR",
            "XLIST",
            "X-GM-EXT-1",
            "QRESYNC",
            "idle",
            "THREAD=REFS",
            "LITERAL+",
            "NEWEXTENSION",
        ];
        assert_eq!(after(&upstream), "IMAP4rev1 idle THREAD=REFS LITERAL+");
    }

    #[test]
    fn an_announcement_cannot_become_a_reply() {
        assert_eq!(after(&["IDLE\r\n* BYE", "THREAD=A]", "THREAD=A B", "MOVE"]), "MOVE");
    }

    #[test]
    fn exchange_onlines_own_list_passes_but_for_its_login() {
        let list = exchange_online();
        assert_eq!(after_login(&list), "IMAP4 IMAP4rev1 UIDPLUS MOVE ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+");
    }
}
