//! Reads which mailboxes an account opens, and what it may send as: the keys `mailboxes` and
//! `sender`.

use super::model::mailboxes::Mailboxes;
use super::model::sending::{SenderRule, Sending};
use super::reader::Section;
use super::setting::Setting;
use super::value::{self, wrong};
use gatepost_core::account::MailAddress;

/// Most mailboxes that one account may list.
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
    Some(Sending { sender: read_sender(section).optional()? })
}

/// Reads `sender` of a listener or an account.
pub(super) fn read_sender(section: &Section<'_>) -> Setting<SenderRule> {
    let words = [("free", SenderRule::Free), ("forced", SenderRule::Forced), ("checked", SenderRule::Checked)];
    Setting::read(section, "sender", |node| node.read(|text| value::choice(text, &words)))
}
