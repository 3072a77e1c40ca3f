//! Turns the header of a message into a draft for Graph (Microsoft, "Create message").

use serde_json::{Value, json};

use crate::graph::loss;
use gatepost_core::failure::Failure;
use gatepost_proto::mime::{AddressList, Head, MimeError, sender, words};

/// Most fields of a program's own, which Graph takes only if they begin with `x-`.
const CUSTOM_FIELDS: usize = 5;
/// Longest of them, in characters.
const CUSTOM_CHARS: usize = 900;

/// A property by which a draft is found of which Graph did not tell the id. Nobody sees it.
pub(super) const MARK: &str = "String {8f0b6a52-3c1d-4e7a-9d54-b1c7a2e6f903} Name GatepostDraft";

/// The text of a message.
pub(super) struct Text {
    pub(super) is_html: bool,
    pub(super) content: String,
}

/// A draft without its files.
#[derive(Debug)]
pub(super) struct DraftFields {
    /// The content of the request.
    pub(super) json: String,
    /// What the recipients do not get.
    pub(super) loss: Option<Failure>,
}

/// Creates the draft for a header whose To, Cc and Bcc name the recipients plainly. It can be found
/// by its `mark`.
///
/// # Errors
/// [`MimeError`] if it is not certain who the message is from.
pub(super) fn draft(
    head: &Head<'_>,
    text: &Text,
    message_id: Option<&str>,
    mark: &str,
) -> Result<DraftFields, MimeError> {
    let custom = custom_fields(head);
    let mut draft = json!({
        "subject": field(head, "Subject").unwrap_or_default(),
        "body": {"contentType": if text.is_html { "html" } else { "text" }, "content": text.content},
        "toRecipients": people(head, "To"),
        "ccRecipients": people(head, "Cc"),
        "bccRecipients": people(head, "Bcc"),
        "replyTo": people(head, "Reply-To"),
        "importance": importance(head),
        "internetMessageHeaders":
            custom.iter().map(|(name, value)| json!({"name": name, "value": value})).collect::<Vec<_>>(),
        "singleValueExtendedProperties": [{"id": MARK, "value": mark}],
    });
    sender::from(head)?;
    // Without an author, Graph takes the mailbox. Without a Message-ID, it makes one.
    let from = people(head, "From").into_iter().next().map(|from| ("from", from));
    let id = message_id.map(|id| ("internetMessageId", json!(id)));
    if let Some(draft) = draft.as_object_mut() {
        draft.extend(from.into_iter().chain(id).map(|(name, value)| (name.to_owned(), value)));
    }
    let kept: Vec<_> = custom.iter().map(|(name, _)| name.as_str()).collect();
    Ok(DraftFields { json: draft.to_string(), loss: loss::of_draft(head, &kept, &lost_parts(head)) })
}

/// What a draft does not keep of fields that it has.
fn lost_parts(head: &Head<'_>) -> Vec<&'static str> {
    let unreadable = |name| head.named(name).any(|field| AddressList::parse(head.value(field)).is_err());
    [
        (people(head, "From").len() > 1, "all authors in From but the first"),
        (unreadable("Reply-To"), "an unreadable Reply-To"),
    ]
    .into_iter()
    .filter_map(|(is_lost, part)| is_lost.then_some(part))
    .collect()
}

/// The text of a field.
fn field(head: &Head<'_>, name: &str) -> Option<String> {
    head.named(name).next().map(|field| words::text(head.value(field)))
}

/// Those whom a field names, with their names. One that cannot be read names nobody.
fn people(head: &Head<'_>, name: &str) -> Vec<Value> {
    let mut people = Vec::new();
    for value in head.named(name).map(|field| head.value(field)) {
        let Ok(AddressList { addresses, names, .. }) = AddressList::parse(value) else { continue };
        for (address, name) in addresses.iter().zip(names) {
            let address = address.as_str();
            let email = match name.and_then(|name| value.get(name)) {
                Some(name) => json!({"address": address, "name": words::text(&unquoted(name))}),
                None => json!({"address": address}),
            };
            people.push(json!({"emailAddress": email}));
        }
    }
    people
}

/// A display name without its quotes.
fn unquoted(name: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(name.len());
    let mut octets = name.iter().copied();
    while let Some(octet) = octets.next() {
        match octet {
            b'"' => {}
            b'\\' => text.extend(octets.next()),
            octet => text.push(octet),
        }
    }
    text
}

fn importance(head: &Head<'_>) -> &'static str {
    let word = |name| field(head, name).unwrap_or_default().to_ascii_lowercase();
    match (word("Importance").as_str(), word("X-Priority").bytes().next(), word("X-MSMail-Priority").as_str()) {
        ("high", ..) | ("", Some(b'1' | b'2'), _) | ("", None, "high") => "high",
        ("low", ..) | ("", Some(b'4' | b'5'), _) | ("", None, "low") => "low",
        _ => "normal",
    }
}

/// The first fields of a program's own.
fn custom_fields(head: &Head<'_>) -> Vec<(String, String)> {
    let custom = head.fields().iter().filter_map(|field| {
        let name = std::str::from_utf8(head.name(field)).ok()?;
        let is_name = name.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
        let value = words::text(head.value(field));
        let fits = (1..=CUSTOM_CHARS).contains(&value.chars().count()) && !value.chars().any(char::is_control);
        (is_name && fits && loss::is_custom(name.as_bytes())).then(|| (name.to_owned(), value))
    });
    custom.take(CUSTOM_FIELDS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drafted(header: &str) -> (Value, Option<String>) {
        let text = Text { is_html: false, content: "Hello".into() };
        let head = Head::parse(header.as_bytes()).unwrap();
        let DraftFields { json, loss } = draft(&head, &text, Some("<1@x>"), "mark").unwrap();
        (serde_json::from_str(&json).unwrap(), loss.map(|loss| loss.message))
    }

    #[test]
    fn the_header_becomes_a_draft() {
        let (draft, loss) = drafted(
            "From: \"Scanner, 2nd \\\"floor\\\"\" <scan@x>\r\nTo: =?utf-8?B?SsO8cmdlbg==?= <j@x>, b@x\r\nCc: Team: c@x;\r\n\
             Bcc: d@x\r\nReply-To: help@x\r\nSubject: =?iso-8859-1?Q?=DCbersicht?=\r\n 7\r\nX-Priority: 1 (Highest)\r\n\
             X-Device: 7\r\nDate: Mon, 23 Nov 2026 09:00:00 +0000\r\n\r\n",
        );
        let person = |address: &str| json!({"emailAddress": {"address": address}});
        let expected = json!({
            "subject": "\u{dc}bersicht 7",
            "body": {"contentType": "text", "content": "Hello"},
            "from": {"emailAddress": {"address": "scan@x", "name": "Scanner, 2nd \"floor\""}},
            "toRecipients": [{"emailAddress": {"address": "j@x", "name": "J\u{fc}rgen"}}, person("b@x")],
            "ccRecipients": [person("c@x")],
            "bccRecipients": [person("d@x")],
            "replyTo": [person("help@x")],
            "importance": "high",
            "internetMessageId": "<1@x>",
            "internetMessageHeaders": [{"name": "X-Device", "value": "7"}],
            "singleValueExtendedProperties": [{"id": MARK, "value": "mark"}],
        });
        assert_eq!((draft, loss), (expected, None));
    }

    #[test]
    fn five_fields_of_a_program_are_kept_and_the_others_named() {
        let many: String = (0..7).map(|number| format!("X-{number}: y\r\n")).collect();
        let (draft, loss) =
            drafted(&format!("{many}X-Mailer: m\r\nIn-Reply-To: <0@x>\r\nAuto-Submitted: auto-generated\r\n\r\n"));
        assert_eq!(draft["internetMessageHeaders"].as_array().unwrap().len(), 5);
        assert_eq!(loss.unwrap(), "Microsoft Graph drops fields of the message: X-5, X-6, In-Reply-To, Auto-Submitted");
        let (draft, _) = drafted("Subject: s\r\nImportance: Low\r\nX-Empty:\r\n\r\n");
        assert_eq!((&draft["importance"], &draft["from"]), (&json!("low"), &Value::Null));
        assert_eq!(draft["internetMessageHeaders"], json!([]));
    }

    #[test]
    fn what_a_draft_has_no_place_for_is_named() {
        let (draft, loss) = drafted(
            "From: a@x, b@x\r\nSender: c@x\r\nReply-To: \"open <d@x>\r\nResent-From: e@x\r\nComments: c\r\n\
             Keywords: k\r\n\r\n",
        );
        assert_eq!(draft["from"]["emailAddress"]["address"], "a@x");
        assert_eq!(
            loss.unwrap(),
            "Microsoft Graph drops fields of the message: all authors in From but the first, an unreadable \
             Reply-To, Sender, Resent-From, Comments, Keywords"
        );
    }

    #[test]
    fn two_authors_that_nobody_can_tell_apart_are_refused() {
        let text = Text { is_html: true, content: String::new() };
        let head = Head::parse(b"From: a@x\r\nFrom: b@x\r\n\r\n").unwrap();
        assert_eq!(draft(&head, &text, None, "").unwrap_err(), MimeError::Repeated("From"));
    }
}
