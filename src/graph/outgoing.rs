//! Turns an SMTP transaction into a message for `sendMail`. Graph has no envelope: recipients come
//! from the header. So the header is made to name exactly the recipients of the envelope.

use std::collections::HashSet;

use hyper::body::Bytes;

use super::body::Base64;
use super::not_sent::NotSent;
use gatepost_core::cause::Cause;
use gatepost_core::failure::Actor;
use gatepost_proto::mail::smtp::{Envelope, Reply};
use gatepost_proto::mime::{self, Address, AddressError, Head, MimeError};

/// Longest message: 4 MB of base64 are the longest request (Microsoft, "user: sendMail").
pub const MESSAGE_OCTETS: usize = 3_000_000;

/// Checks a message, and changes its header where Graph would send it to others than the envelope
/// names, or could not read it; see [`mime::address_to`] and [`Head::parse`]. The
/// body is not changed.
///
/// The envelope's sender is not checked: Graph has no field for it, and reports of failed delivery
/// go to the mailbox.
///
/// # Errors
/// The reply says what is wrong, and is permanent.
pub(super) fn prepare(envelope: &Envelope, message: &Bytes) -> Result<Base64, NotSent> {
    if message.len() > MESSAGE_OCTETS {
        return Err(too_large());
    }
    mime::check_lines(message).map_err(|flaw| malformed(&flaw))?;
    let head = Head::parse(message).map_err(|flaw| malformed(&flaw))?;
    let mut recipients = Vec::new();
    let mut known = HashSet::new();
    for recipient in &envelope.recipients {
        let address = Address::parse(recipient).map_err(bad_recipient)?;
        if known.insert(address.clone()) {
            recipients.push(address);
        }
    }
    let (changes, _) = mime::address_to(&head, &recipients);
    let message = match changes.is_empty() && !head.is_mended() {
        true => Base64([message.clone(), Bytes::new()]),
        false => Base64([head.edited(changes).into(), message.slice(head.body()..)]),
    };
    if message.len() > MESSAGE_OCTETS { Err(too_large()) } else { Ok(message) }
}

pub(super) fn too_large() -> NotSent {
    NotSent::new(
        Reply::new(552, [3, 4], format_args!("Message too large: Microsoft Graph takes {MESSAGE_OCTETS} octets")),
        Actor::Client,
        Cause::MessageTooLarge,
        format!("the message is larger than Microsoft Graph takes, which is {MESSAGE_OCTETS} octets"),
        "send smaller attachments, or have `deliver: smtp` for this listener, where 150 MB go through",
    )
}

fn malformed(flaw: &MimeError) -> NotSent {
    NotSent::new(
        Reply::new(554, [6, 0], format_args!("Message not sent: it {flaw}")),
        Actor::Client,
        Cause::MalformedMessage,
        format!("the message {flaw}"),
        "correct the program that writes it",
    )
}

fn bad_recipient(why: AddressError) -> NotSent {
    NotSent::new(
        Reply::new(550, [1, 3], format_args!("A recipient is not of the form local@domain: {why}")),
        Actor::Client,
        Cause::BadRecipient,
        format!("a recipient of the transaction is not of the form local@domain: {why}"),
        "write the whole address",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(recipients: &[&str], message: &str) -> Result<String, String> {
        let recipients = recipients.iter().map(ToString::to_string).collect();
        let envelope = Envelope { recipients, ..Envelope::default() };
        match prepare(&envelope, &message.to_owned().into()) {
            Ok(Base64(parts)) => Ok(String::from_utf8(parts.concat()).unwrap()),
            Err(not_sent) => Err(not_sent.reply.to_string()),
        }
    }

    #[test]
    fn a_message_that_names_its_recipients_stays_as_it_is() {
        let message = "From: f@x\r\nTo: A@x\r\nCc: B <\"b\"@X>\r\n\r\nText\r\n";
        assert_eq!(prepared(&["b@x", "a@x", "a@X"], message).unwrap(), message);
    }

    #[test]
    fn recipients_that_only_the_envelope_names_get_a_blind_copy() {
        let message = "To: a@x\r\n\r\nText\r\n";
        let sent = prepared(&["a@x", "c@x", "b@x", "C@x"], message).unwrap();
        assert_eq!(sent, format!("Bcc: c@x,\r\n b@x\r\n{message}"));
    }

    #[test]
    fn nobody_gets_a_message_that_was_not_for_them_and_all_others_do() {
        let sent = prepared(&["a@x"], "To: a@x, b@x\r\nBcc: c@x\r\n\r\nText\r\n").unwrap();
        assert_eq!(sent, "Bcc: a@x\r\nX-Original-To: a@x, b@x\r\n\r\nText\r\n");
    }

    #[test]
    fn text_without_a_header_gets_one() {
        let sent = prepared(&["a@x"], "Hello Anna:\r\n\r\nText\r\n").unwrap();
        assert_eq!(sent, "Bcc: a@x\r\n\r\nHello Anna:\r\n\r\nText\r\n");
    }

    #[test]
    fn what_has_no_one_meaning_is_not_sent() {
        for (recipients, message, begins) in [
            (["a@x"], "To: a@x\r\n\r\nbare\nLF\r\n", "554 5.6.0 Message not sent: it has a bare CR or LF"),
            (["a@x"], "To: a@x\r\n\r\nNUL\0\r\n", "554 5.6.0 Message not sent: it has a NUL"),
            (["postmaster"], "To: a@x\r\n\r\n", "550 5.1.3 "),
        ] {
            let reply = prepared(&recipients, message).unwrap_err();
            assert!(reply.starts_with(begins), "{reply}");
        }
    }

    #[test]
    fn the_bound_counts_what_is_put_in() {
        let message = |length: usize| {
            let start = "To: a@x\r\n\r\n";
            format!("{start}{}", "x".repeat(length - start.len()))
        };
        assert!(prepared(&["a@x"], &message(MESSAGE_OCTETS)).is_ok());
        assert!(prepared(&["a@x"], &message(MESSAGE_OCTETS + 1)).unwrap_err().starts_with("552 5.3.4 "));
        assert!(prepared(&["a@x", "b@x"], &message(MESSAGE_OCTETS)).unwrap_err().starts_with("552 5.3.4 "));
    }
}
