//! Turns an SMTP transaction into a message for `sendMail`. Graph has no envelope: recipients come
//! from the header. So the header must name exactly the recipients of the envelope, or the message
//! is not sent.

use std::collections::HashSet;

use hyper::body::Bytes;

use super::body::Base64;
use super::not_sent::NotSent;
use gatepost_core::cause::Cause;
use gatepost_core::failure::Actor;
use gatepost_proto::mail::smtp::{Envelope, Reply};
use gatepost_proto::mime::{self, Address, AddressError, Head, MimeError, Recipients};

/// Longest message: 4 MB of base64 are the longest request (Microsoft, "user: sendMail").
pub const MESSAGE_OCTETS: usize = 3_000_000;

/// Checks a message, and adds those who are only in the envelope to its Bcc field. Nothing else is
/// changed. Exchange removes that field on delivery.
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
    let named = Recipients::of(&head).map_err(|flaw| malformed(&flaw))?;

    let mut addressed = Vec::new();
    let mut known = HashSet::new();
    for recipient in &envelope.recipients {
        let address = Address::parse(recipient).map_err(bad_recipient)?;
        if known.insert(address.clone()) {
            addressed.push(address);
        }
    }
    let strangers = named.all().filter(|address| !known.contains(*address)).count();
    if strangers > 0 {
        return Err(names_others(strangers));
    }
    // Recipients that Graph may not find in the header are added once more.
    let certain: HashSet<_> = named.certain.iter().collect();
    let unnamed: Vec<_> = addressed.iter().filter(|address| !certain.contains(address)).collect();
    let (at, octets) = named.blind_copies(&unnamed).map_or((0, Vec::new()), |new| (new.at, new.octets));
    let message = Base64([message.slice(..at), octets.into(), message.slice(at..)]);
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
        "have the program that writes it corrected; what Microsoft Graph might understand otherwise is not sent through it",
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

fn names_others(strangers: usize) -> NotSent {
    let people = if strangers == 1 { "1 address".to_owned() } else { format!("{strangers} addresses") };
    let reply = format_args!(
        "To, Cc and Bcc name {people} that this transaction has no RCPT for, and Microsoft Graph would send there too; \
         send to all in one transaction, or have deliver: smtp"
    );
    NotSent::new(
        Reply::new(550, [6, 0], reply),
        Actor::Client,
        Cause::NamesOthers,
        format!(
            "the header names {people} that the transaction is not addressed to; Microsoft Graph knows no envelope, and \
             would send there too"
        ),
        "let the program send one message to all its recipients at once; if it cannot, have `deliver: smtp` for this listener",
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
    fn whom_only_the_envelope_names_gets_a_blind_copy() {
        let message = "To: a@x\r\n\r\nText\r\n";
        assert_eq!(
            prepared(&["a@x", "c@x", "b@x", "C@x"], message).unwrap(),
            format!("Bcc: c@x,\r\n b@x\r\n{message}")
        );
        let message = "To: undisclosed-recipients:;\r\n\r\n";
        assert_eq!(prepared(&["a@x"], message).unwrap(), format!("Bcc: a@x\r\n{message}"));
    }

    #[test]
    fn whom_a_reader_might_miss_gets_a_blind_copy_too() {
        let message = "To: a@x; b@x\r\n\r\n";
        assert_eq!(prepared(&["a@x", "b@x"], message).unwrap(), format!("Bcc: a@x,\r\n b@x\r\n{message}"));
    }

    #[test]
    fn nobody_gets_a_message_that_was_not_for_them() {
        let reply = prepared(&["a@x"], "To: a@x, b@x\r\nBcc: c@x\r\n\r\n").unwrap_err();
        assert!(reply.starts_with("550 5.6.0 To, Cc and Bcc name 2 addresses"), "{reply}");
        assert!(prepared(&["a@x"], "To: a@x; b@x\r\n\r\n").unwrap_err().starts_with("550 5.6.0 "));
    }

    #[test]
    fn what_cannot_be_sent_as_it_is_is_not_sent() {
        for (recipients, message, begins) in [
            (["a@x"], "To: root\r\n\r\n", "554 5.6.0 Message not sent: it has a To field"),
            (["a@x"], "Hello\r\n", "554 5.6.0 Message not sent: it begins with a line"),
            (["a@x"], "To: a@x\r\n\r\nbare\nLF\r\n", "554 5.6.0 Message not sent: it has a bare CR or LF"),
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
