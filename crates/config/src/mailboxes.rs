//! Reads which mailboxes an account opens, and what it may send as: the keys `mailboxes`, `sender`
//! and `send_as`.

use super::model::account::{Grant, LoginPattern};
use super::model::mailboxes::Mailboxes;
use super::model::sending::{SendAs, SenderRule, Sending};
use super::reader::Section;
use super::setting::Setting;
use super::value::{self, ValueError, quoted, wrong};
use gatepost_core::account::MailAddress;

/// Most mailboxes that one account may list, for each purpose.
const MAILBOXES: usize = 1_024;

/// Reads `mailboxes`.
pub(super) fn read(section: &Section<'_>) -> Option<Mailboxes> {
    let Some(node) = section.get("mailboxes") else { return Some(Mailboxes::default()) };
    if node.as_text() == Some("*") {
        return Some(Mailboxes::Any);
    }
    if node.items().len() > MAILBOXES {
        node.problem(format!("there are more than {MAILBOXES} mailboxes"), "remove some, or write `\"*\"`");
        return None;
    }
    let mailbox = |text: &str| {
        MailAddress::parse(text)
            .or_else(|error| wrong(error.to_string(), "write an address, or only `\"*\"` for every mailbox"))
    };
    node.read_each(mailbox).map(Mailboxes::Listed)
}

/// Reads what an account may send as.
pub(super) fn read_sending(section: &Section<'_>) -> Option<Sending> {
    let (sender, send_as) = (read_sender(section).optional(), read_send_as(section));
    Some(Sending { sender: sender?, send_as: send_as? })
}

enum Entry {
    Address(MailAddress),
    Domain(String),
}

fn read_send_as(section: &Section<'_>) -> Option<SendAs> {
    let mut send_as = SendAs::default();
    let Some(node) = section.get("send_as") else { return Some(send_as) };
    if node.items().len() > MAILBOXES {
        node.problem(format!("there are more than {MAILBOXES} entries"), "name their domains instead");
        return None;
    }
    for entry in node.read_each(entry)? {
        match entry {
            Entry::Address(address) => send_as.addresses.push(address),
            Entry::Domain(domain) => send_as.domains.push(domain),
        }
    }
    Some(send_as)
}

/// An address, or a domain with or without `@` before it.
fn entry(text: &str) -> Result<Entry, ValueError> {
    let domain = if text.contains('@') { text.strip_prefix('@') } else { Some(text) };
    let read = match domain {
        None => MailAddress::parse(text).map(Entry::Address).ok(),
        Some(domain) if domain.contains('.') && domain.split('.').all(|label| !label.is_empty()) => {
            MailAddress::parse(&format!("x@{domain}")).map(|address| Entry::Domain(address.domain().to_owned())).ok()
        }
        Some(_) => None,
    };
    match read {
        Some(entry) => Ok(entry),
        None => wrong(
            format!("{} is neither an address nor a domain", quoted(text)),
            "write mailboxes such as `sales@contoso.com`, or a domain such as `contoso.com` for all in it",
        ),
    }
}

/// Notes what `send_as` of an account opens, and what it needs to work.
pub(super) fn note_send_as(section: &Section<'_>, pattern: &LoginPattern, grant: Grant, send_as: &SendAs) {
    if send_as.is_empty() {
        return;
    }
    if grant.is_of_user() {
        section.context().note(format!(
            "the account `{pattern}` has `send_as`, and its token is a user's: that works only for mailboxes to which Exchange \
             gives the user Full Access and SendAs, and through Microsoft Graph only with `Mail.Send.Shared`"
        ));
    } else if !send_as.domains.is_empty() {
        section.context().note(format!(
            "each client of the account `{pattern}` may send as every mailbox of {} that the application may use",
            send_as.domains.iter().map(|domain| quoted(domain)).collect::<Vec<_>>().join(" and ")
        ));
    }
}

/// Reads `sender` of a listener or an account.
pub(super) fn read_sender(section: &Section<'_>) -> Setting<SenderRule> {
    let words = [("free", SenderRule::Free), ("forced", SenderRule::Forced), ("checked", SenderRule::Checked)];
    Setting::read(section, "sender", |node| node.read(|text| value::choice(text, &words)))
}
