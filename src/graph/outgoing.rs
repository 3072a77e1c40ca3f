//! Turns an SMTP transaction into a message for `sendMail`. Graph has no envelope: recipients come
//! from the header. So the header is made to name exactly the recipients of the envelope.

use std::collections::HashSet;

use hyper::body::Bytes;

use super::body::Base64;
use super::loss;
use super::not_sent::NotSent;
use gatepost_core::account::MailAddress;
use gatepost_core::cause::Cause;
use gatepost_core::failure::Failure;
use gatepost_oauth::endpoint::guid;
use gatepost_proto::mail::smtp::{Envelope, Reply};
use gatepost_proto::mime::{self, Address, AddressError, Head, MimeError};

/// Longest message: 4 MB of base64 are the longest request (Microsoft, "user: sendMail").
pub const MESSAGE_OCTETS: usize = 3_000_000;

/// Longest Message-ID that is looked for. RFC 5322 §2.1.1 lets no line be longer.
const MESSAGE_ID_OCTETS: usize = 998;

/// A message as Graph gets it.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) message: Base64,
    /// Its recipients, each once.
    pub(super) recipients: Vec<Address>,
    /// Its Message-ID; `None` if it has one that cannot be searched for.
    pub(super) message_id: Option<String>,
    /// What was changed, for the log: empty, or the end of a sentence.
    pub(super) changed: String,
    /// What its recipients do not get.
    pub(super) loss: Option<Failure>,
}

/// Checks a message, and changes its header where Graph would send it to others than the envelope
/// names, or could not read it; see [`mime::address_to`] and [`Head::parse`]. A message without
/// Message-ID gets one. The body is not changed.
///
/// The envelope's sender is not checked: Graph has no field for it, and reports of failed delivery
/// go to the mailbox.
///
/// # Errors
/// The reply says what is wrong, and is permanent.
pub(super) fn prepare(mailbox: &MailAddress, envelope: &Envelope, message: &Bytes) -> Result<Outgoing, NotSent> {
    if message.len() > MESSAGE_OCTETS {
        return Err(too_large());
    }
    let message = &with_quoted_names(message);
    mime::check_lines(message).map_err(|flaw| malformed(&flaw))?;
    let head = Head::parse(message).map_err(|flaw| malformed(&flaw))?;
    let AddressedHead { octets, recipients, message_id, changed } = address(mailbox, envelope, &head)?;
    let message = match octets {
        None => Base64([message.clone(), Bytes::new()]),
        Some(octets) => Base64([octets.into(), message.slice(head.body()..)]),
    };
    if message.len() > MESSAGE_OCTETS {
        return Err(too_large());
    }
    Ok(Outgoing { message, recipients, message_id, changed, loss: loss::of(&head) })
}

/// A header that names exactly the recipients of the envelope.
#[derive(Debug)]
pub(super) struct AddressedHead {
    /// `None` if the header stays as it is.
    pub(super) octets: Option<Vec<u8>>,
    /// See [`Outgoing`].
    pub(super) recipients: Vec<Address>,
    pub(super) message_id: Option<String>,
    pub(super) changed: String,
}

/// Makes a header name the recipients of the envelope. A message without Message-ID gets one.
///
/// # Errors
/// The reply says what is wrong, and is permanent.
pub(super) fn address(mailbox: &MailAddress, envelope: &Envelope, head: &Head<'_>) -> Result<AddressedHead, NotSent> {
    let mut recipients = Vec::new();
    let mut known = HashSet::new();
    for recipient in &envelope.recipients {
        let address = Address::parse(recipient).map_err(bad_recipient)?;
        if known.insert(address.clone()) {
            recipients.push(address);
        }
    }
    let (mut changes, set_aside) = mime::address_to(head, &recipients);
    let message_id = match head.named("Message-ID").next() {
        Some(field) => searchable(head.value(field)),
        None => {
            let id = format!("<{}@{}>", guid(), mailbox.domain());
            changes.push((0..0, format!("Message-ID: {id}\r\n").into_bytes()));
            Some(id)
        }
    };
    let octets = (!changes.is_empty() || head.is_mended()).then(|| head.edited(changes));
    Ok(AddressedHead { octets, recipients, message_id, changed: changed(head.is_mended(), &set_aside) })
}

/// Says what was changed.
fn changed(is_mended: bool, set_aside: &[&str]) -> String {
    let mended = is_mended.then(|| "the header was given a clear begin and end".to_owned());
    let aside = set_aside.iter().map(|name| {
        format!("{name} was set aside, because it cannot be read for certain or names others than the transaction")
    });
    mended.into_iter().chain(aside).collect::<Vec<_>>().join(", ")
}

/// The Message-ID, if it is one word that Graph may be asked for.
pub(crate) fn searchable(value: &[u8]) -> Option<String> {
    let id = str::from_utf8(value.trim_ascii()).ok()?;
    let is_word = (1..=MESSAGE_ID_OCTETS).contains(&id.len()) && id.bytes().all(|octet| octet.is_ascii_graphic());
    is_word.then(|| id.to_owned())
}

/// The message with quotes around display names that Graph would take for a second address.
fn with_quoted_names(message: &Bytes) -> Bytes {
    // What is wrong with another header is said where it is read for its recipients.
    let Ok(head) = Head::parse(message) else { return message.clone() };
    let Some(mut quoted) = mime::sender::quote_names(&head) else { return message.clone() };
    quoted.extend_from_slice(message.get(head.body()..).unwrap_or_default());
    quoted.into()
}

fn too_large() -> NotSent {
    NotSent::new(
        Reply::new(552, [3, 4], format_args!("Message too large: Microsoft Graph takes {MESSAGE_OCTETS} bytes")),
        Failure::new(
            Cause::MessageTooLarge,
            format!("the message is larger than Microsoft Graph takes, which is {MESSAGE_OCTETS} bytes"),
        ),
    )
}

pub(super) fn malformed(flaw: &MimeError) -> NotSent {
    NotSent::new(
        Reply::new(554, [6, 0], format_args!("Message not sent: it {flaw}")),
        Failure::new(Cause::MalformedMessage, format!("the message {flaw}")),
    )
}

fn bad_recipient(why: AddressError) -> NotSent {
    NotSent::new(
        Reply::new(550, [1, 3], format_args!("A recipient is not of the form local@domain: {why}")),
        Failure::new(Cause::BadRecipient, format!("a recipient is not of the form local@domain: {why}")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "Message-ID: <1@x>\r\n";

    fn outgoing(recipients: &[&str], message: &str) -> Result<(String, Outgoing), String> {
        let recipients = recipients.iter().map(ToString::to_string).collect();
        let envelope = Envelope { recipients, ..Envelope::default() };
        let mailbox = MailAddress::parse("anna@contoso.com").unwrap();
        match prepare(&mailbox, &envelope, &message.to_owned().into()) {
            Ok(outgoing) => Ok((String::from_utf8(outgoing.message.0.concat()).unwrap(), outgoing)),
            Err(not_sent) => Err(not_sent.reply.to_string()),
        }
    }

    fn prepared(recipients: &[&str], message: &str) -> String {
        outgoing(recipients, message).unwrap().0
    }

    #[test]
    fn a_message_that_names_its_recipients_stays_as_it_is() {
        let message = format!("From: f@x\r\n{ID}To: A@x\r\nCc: B <\"b\"@X>\r\n\r\nText\r\n");
        let (sent, outgoing) = outgoing(&["b@x", "a@x", "a@X"], &message).unwrap();
        assert_eq!((sent, outgoing.changed, outgoing.message_id), (message, String::new(), Some("<1@x>".into())));
    }

    #[test]
    fn recipients_that_only_the_envelope_names_get_a_blind_copy() {
        let message = format!("{ID}To: a@x\r\n\r\nText\r\n");
        let sent = prepared(&["a@x", "c@x", "b@x", "C@x"], &message);
        assert_eq!(sent, format!("Bcc: c@x,\r\n b@x\r\n{message}"));
    }

    #[test]
    fn nobody_gets_a_message_that_was_not_for_them_and_all_others_do() {
        let (sent, outgoing) = outgoing(&["a@x"], &format!("To: a@x, b@x\r\n{ID}Bcc: c@x\r\n\r\nText\r\n")).unwrap();
        assert_eq!(sent, format!("Bcc: a@x\r\nX-Original-To: a@x, b@x\r\n{ID}\r\nText\r\n"));
        assert!(outgoing.changed.starts_with("To was set aside, because "), "{}", outgoing.changed);
    }

    #[test]
    fn text_without_a_header_gets_one() {
        let (sent, outgoing) = outgoing(&["a@x"], "Hello Anna:\r\n\r\nText\r\n").unwrap();
        let id = outgoing.message_id.unwrap();
        assert!(id.starts_with('<') && id.ends_with("@contoso.com>"), "{id}");
        assert_eq!(sent, format!("Bcc: a@x\r\nMessage-ID: {id}\r\n\r\nHello Anna:\r\n\r\nText\r\n"));
        assert_eq!(outgoing.changed, "the header was given a clear begin and end");
    }

    #[test]
    fn a_message_id_is_one_word_or_is_not_looked_for() {
        for (field, id) in [
            ("Message-ID:\r\n <a'b@x>", Some("<a'b@x>")),
            ("message-id: 12345", Some("12345")),
            ("Message-ID: <a@x> <b@x>", None),
            ("Message-ID:", None),
            ("Message-ID: <\u{fc}@x>", None),
        ] {
            let message = format!("To: a@x\r\n{field}\r\n\r\n");
            let (sent, outgoing) = outgoing(&["a@x"], &message).unwrap();
            assert_eq!((sent, outgoing.message_id.as_deref()), (message, id), "{field}");
        }
    }

    #[test]
    fn what_has_no_one_meaning_is_not_sent() {
        for (recipients, message, begins) in [
            (["a@x"], "To: a@x\r\n\r\nbare\nLF\r\n", "554 5.6.0 Message not sent: it has a bare CR or LF"),
            (["a@x"], "To: a@x\r\n\r\nNUL\0\r\n", "554 5.6.0 Message not sent: it has a NUL"),
            (["postmaster"], "To: a@x\r\n\r\n", "550 5.1.3 "),
        ] {
            let reply = outgoing(&recipients, message).unwrap_err();
            assert!(reply.starts_with(begins), "{reply}");
        }
    }

    #[test]
    fn the_bound_counts_what_is_put_in() {
        let message = |length: usize| {
            let start = format!("To: a@x\r\n{ID}\r\n");
            format!("{start}{}", "x".repeat(length - start.len()))
        };
        assert!(outgoing(&["a@x"], &message(MESSAGE_OCTETS)).is_ok());
        assert!(outgoing(&["a@x"], &message(MESSAGE_OCTETS + 1)).unwrap_err().starts_with("552 5.3.4 "));
        assert!(outgoing(&["a@x", "b@x"], &message(MESSAGE_OCTETS)).unwrap_err().starts_with("552 5.3.4 "));
    }
}
