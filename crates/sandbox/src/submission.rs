//! Mail on its way out of a mailbox, as Graph and EWS send it: there is no envelope, the header
//! says who gets it.

use std::sync::Arc;

use super::letter::Letter;
use super::mode::Service;
use super::state::SandboxState;
use super::store::{Flags, INBOX, Mailbox, OutboundMessage, SENT_ITEMS};
use super::{calendar, mime, random};

/// Recipients of one message.
const RECIPIENTS: usize = 500;

/// Why a message was not sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unsent {
    NoRecipients,
    /// A recipient whose address cannot be read.
    BadRecipient(String),
    TooManyRecipients,
    /// A sender as which the mailbox may not send.
    SendAsDenied(String),
    MailboxFull,
}

/// Sends a message out of `mailbox`, whose address is `owner`, and counts it.
///
/// All get the octets that were handed over, less the Bcc field; the copy in Sent Items keeps it.
pub(super) fn send(
    shared: &SandboxState,
    service: Service,
    (owner, mailbox): (&str, &Mailbox),
    message: &[u8],
    save_copy: bool,
) -> Result<(), Unsent> {
    let result = try_send(shared, service, (owner, mailbox), message, save_copy);
    shared.tally.submission(service, owner, result.is_ok());
    result
}

fn try_send(
    shared: &SandboxState,
    service: Service,
    (owner, mailbox): (&str, &Mailbox),
    message: &[u8],
    save_copy: bool,
) -> Result<(), Unsent> {
    let letter = Letter::read(message);
    let recipients = letter.recipients().map_err(Unsent::BadRecipient)?;
    if recipients.is_empty() {
        return Err(Unsent::NoRecipients);
    }
    if recipients.len() > RECIPIENTS {
        return Err(Unsent::TooManyRecipients);
    }
    let sender = letter.people("from").into_iter().next().map_or_else(|| owner.to_owned(), |from| from.address);
    if !shared.directory.may_send_as(owner, &sender) {
        return Err(Unsent::SendAsDenied(sender));
    }
    let now = shared.time.unix_seconds();
    if save_copy && mailbox.append(SENT_ITEMS, message.into(), Flags::SEEN, now).is_err() {
        return Err(Unsent::MailboxFull);
    }
    let delivered: Arc<[u8]> = without_bcc(message).into();
    let mut outside = Vec::new();
    for recipient in recipients {
        let domain = recipient.rsplit_once('@').map_or("", |(_, domain)| domain);
        if !shared.directory.is_local(domain) {
            outside.push(recipient);
            continue;
        }
        let arrived = shared
            .directory
            .mailbox(&recipient)
            .is_some_and(|mailbox| mailbox.append(INBOX, Arc::clone(&delivered), Flags::default(), now).is_ok());
        if !arrived {
            // It was accepted: what goes wrong from here on is told by mail.
            let _ = mailbox.append(INBOX, bounce(owner, &recipient, now).into(), Flags::default(), now);
        }
    }
    if !outside.is_empty() {
        shared.outbox.push(OutboundMessage { sender, recipients: outside, content: delivered });
    }
    shared.deliveries.record(service, owner, message);
    Ok(())
}

/// The message without its Bcc fields.
fn without_bcc(message: &[u8]) -> Vec<u8> {
    let (header, body) = mime::split(message);
    let mut out = Vec::with_capacity(message.len());
    let mut dropping = false;
    for line in header.split_inclusive(|&octet| octet == b'\n') {
        let name = line.split(|&octet| octet == b':').next().unwrap_or_default();
        if !matches!(line.first(), Some(b' ' | b'\t')) {
            dropping = name.len() < line.len() && name.trim_ascii().eq_ignore_ascii_case(b"bcc");
        }
        if !dropping {
            out.extend_from_slice(line);
        }
    }
    out.extend_from_slice(body);
    out
}

/// A non-delivery report (RFC 3464).
fn bounce(owner: &str, recipient: &str, now: i64) -> Vec<u8> {
    let date = calendar::message_date(now);
    let id = random::guid();
    format!(
        "Date: {date}\nFrom: Microsoft Outlook <postmaster@contoso.example>\nTo: <{owner}>\n\
         Subject: Undeliverable\nMessage-ID: <{id}@contoso.example>\nAuto-Submitted: auto-replied\nMIME-Version: 1.0\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=\"{id}\"\n\n\
         --{id}\nContent-Type: text/plain; charset=us-ascii\n\n\
         Your message to {recipient} couldn't be delivered: no such mailbox, or no room in it.\n\
         --{id}\nContent-Type: message/delivery-status\n\n\
         Reporting-MTA: dns;sandbox.outlook.office365.com\n\n\
         Final-Recipient: rfc822;{recipient}\nAction: failed\nStatus: 5.1.10\n\
         --{id}--\n"
    )
    .replace('\n', "\r\n")
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_bcc_field_is_taken_out() {
        let message =
            b"To: a@x\r\nBCC : b@x,\r\n c@x\r\nSubject: Bcc: d@x\r\n Bcc: no field\r\n\r\nBcc: body\r\n\0\xff";
        let expected = b"To: a@x\r\nSubject: Bcc: d@x\r\n Bcc: no field\r\n\r\nBcc: body\r\n\0\xff";
        assert_eq!(without_bcc(message), expected);
        for same in [&b"Bcc"[..], b"", b"no header\r\nat all", b"Bccx: a\r\n\r\n"] {
            assert_eq!(without_bcc(same), same);
        }
    }
}
