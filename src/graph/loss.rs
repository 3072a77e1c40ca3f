//! Says which fields of a message Graph drops. It stores a message and builds a new one from it,
//! and of many fields only their meaning to Outlook is left.

use gatepost_core::cause::Cause;
use gatepost_core::escape::escaped;
use gatepost_core::failure::Failure;
use gatepost_proto::mime::Head;

/// Most fields that are named, and the longest name.
const NAMED: usize = 10;
const NAME_OCTETS: usize = 60;

/// Fields beginning with `X-` that say which program wrote the message, or how urgent it is.
/// Nothing depends on the first, and the second has its own place in Exchange.
const NO_LOSS: [&str; 4] = ["x-mailer", "x-mimeole", "x-priority", "x-msmail-priority"];

/// Fields that only a message keeps that is sent as it is.
const DROPPED_OF_DRAFTS: [&str; 8] = [
    "in-reply-to",
    "references",
    "disposition-notification-to",
    "return-receipt-to",
    "sensitivity",
    "sender",
    "comments",
    "keywords",
];

/// Returns what the recipients of the message do not get, as a failure for the log: fields that
/// guard against loops of automatic answers, fields of mailing lists, and those of the sender's own
/// programs.
pub(super) fn of(head: &Head<'_>) -> Option<Failure> {
    named(head, &[], is_dropped)
}

/// Returns what the recipients of a draft do not get, of which these fields are kept and of others
/// these parts lost.
pub(super) fn of_draft(head: &Head<'_>, kept: &[&str], parts: &[&str]) -> Option<Failure> {
    named(head, parts, |name| {
        let is = |words: &[&str]| words.iter().any(|word| word.as_bytes().eq_ignore_ascii_case(name));
        let is_resent = name.get(..7).is_some_and(|begin| begin.eq_ignore_ascii_case(b"resent-"));
        (is_dropped(name) || is_resent || is(&DROPPED_OF_DRAFTS)) && !is(kept)
    })
}

fn named(head: &Head<'_>, parts: &[&str], is_dropped: impl Fn(&[u8]) -> bool) -> Option<Failure> {
    let mut lost: Vec<String> = parts.iter().map(|&part| part.to_owned()).collect();
    for name in head.fields().iter().map(|field| head.name(field)).filter(|name| is_dropped(name)) {
        let name = escaped(name, NAME_OCTETS);
        if lost.len() < NAMED && !lost.contains(&name) {
            lost.push(name);
        }
    }
    (!lost.is_empty()).then(|| {
        Failure::new(Cause::FieldsDropped, format!("Microsoft Graph drops fields of the message: {}", lost.join(", ")))
    })
}

fn is_dropped(name: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    let is = |words: &[&str]| words.iter().any(|word| word.as_bytes() == name);
    is(&["auto-submitted", "precedence"]) || name.starts_with(b"list-") || is_custom(&name)
}

/// Whether a field is one of a program's own, on which others may depend.
pub(super) fn is_custom(name: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    name.starts_with(b"x-") && !NO_LOSS.iter().any(|word| word.as_bytes() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_programs_rely_on_are_named_once_each() {
        let lost = |header: &str| of(&Head::parse(header.as_bytes()).unwrap()).map(|failure| failure.message);
        let dropped = "Microsoft Graph drops fields of the message: ";
        assert_eq!(
            lost(
                "Subject: s\r\nAUTO-Submitted: auto-replied\r\nList-Id: <l>\r\nPrecedence: bulk\r\nX-Loop: a\r\nX-Loop: b\r\n\r\n"
            ),
            Some(format!("{dropped}AUTO-Submitted, List-Id, Precedence, X-Loop"))
        );
        assert_eq!(lost("From: a@x\r\nX-Mailer: m\r\nX-Priority: 3\r\nReply-To: b@x\r\n\r\nX-Loop: body\r\n"), None);
        let many: String = (0..20).map(|number| format!("X-{number}: y\r\n")).collect();
        assert_eq!(lost(&many).unwrap().matches("X-").count(), NAMED);
    }
}
