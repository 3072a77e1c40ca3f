//! Replies in the middle of a transaction, when a message cannot be sent.

use std::io;

use crate::graph::{LARGE_OCTETS, MESSAGE_OCTETS, NotSent};
use crate::session::mail_refusal::MailRefusal;
use gatepost_config::{TrustedSender, TrustedSource};
use gatepost_core::cause::Cause;
use gatepost_core::escape::escaped;
use gatepost_core::failure::{Actor, Failure, Refusal};
use gatepost_core::system_error::Plain;
use gatepost_proto::mail::smtp::Reply;
use gatepost_proto::mime::MimeError;
use gatepost_store::queue::QueueError;

/// How much is shown of an address that a client names, in bytes (RFC 5321 §4.5.3.1).
const SHOWN: usize = 320;

/// Why a command or a message is refused.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    /// The reply to the client.
    pub(super) reply: Reply,
    /// The failure for the log.
    pub(super) failure: Failure,
}

impl Refused {
    /// Refuses for a failure.
    pub(super) fn of(failure: Failure, session: &str) -> Self {
        Self { reply: reply(&failure, session), failure }
    }
}

/// Returns the reply for a failure on the connection to Microsoft. Only a missing right is
/// permanent. If the password is no longer right, ending the session makes the client ask for it
/// again.
fn reply(failure: &Failure, session: &str) -> Reply {
    let (code, status) = match failure.refusal {
        Refusal::InvalidCredentials => (421, [7, 0]),
        Refusal::NotAuthorized => (550, [7, 1]),
        Refusal::ContactAdmin => (451, [7, 0]),
        Refusal::Unavailable => (451, [4, 1]),
        Refusal::Limit => (450, [3, 2]),
        Refusal::ServerBug => (451, [3, 0]),
    };
    Reply::new(code, status, format_args!("{} (session {session})", failure.refusal.words()))
}

/// The reply when the service stops.
pub(super) fn stopping() -> Reply {
    Reply::new(421, [3, 2], "The service is stopping, try again later")
}

/// The reply when the configuration no longer trusts the client's address.
pub(super) fn not_trusted() -> Reply {
    Reply::new(421, [3, 2], "This device is trusted no longer")
}

/// The service stops while a message waits for its turn.
pub(super) fn while_stopping() -> Refused {
    let failure = Failure::new(Cause::Draining, "message refused, because Gatepost is stopping");
    Refused { reply: stopping(), failure: failure.to_do("the client retries") }
}

/// The configuration no longer trusts the client's address while a message waits for its turn.
pub(super) fn while_not_trusted() -> Refused {
    let failure =
        Failure::new(Cause::NotTrusted, "message refused, because the rule that let its sender in was removed");
    Refused { reply: not_trusted(), failure }
}

/// The device sends more messages than its rule allows.
pub(super) fn too_many(most: u32) -> Refused {
    let failure = Failure::new(
        Cause::SendingLimit,
        format!("message refused, because the device sends more than {most} messages in a minute"),
    )
    .by(Actor::GatepostAdmin)
    .to_do("raise `messages_per_minute` of its rule, or find out why it sends so many");
    let reply = Reply::new(450, [7, 1], format_args!("More than {most} messages in a minute, try again later"));
    Refused { reply, failure }
}

/// Too many messages are collected for Graph.
pub(super) fn no_room() -> Refused {
    let failure =
        Failure::new(Cause::UpstreamUnavailable, "message delayed, because too many wait for Microsoft Graph")
            .answered(Refusal::Limit)
            .to_do("the client retries. If this recurs, let clients send fewer messages at once");
    Refused { reply: Reply::new(451, [3, 2], "Too many messages at once, try again later"), failure }
}

/// Returns what the client of a rule is.
fn whom(rule: &TrustedSender) -> &'static str {
    match rule.from {
        TrustedSource::Network(_) => "device",
        TrustedSource::User(_) => "user",
    }
}

/// A program sends to a name without a domain, and the configuration has no address for those.
pub(super) fn local_recipient(recipient: &str) -> Refused {
    let recipient = escaped(recipient.as_bytes(), SHOWN);
    let failure = Failure::new(
        Cause::RecipientNotAllowed,
        format!("recipient `{recipient}` refused, because there are no mailboxes on this machine"),
    )
    .by(Actor::GatepostAdmin)
    .to_do("set `sendmail.local_mail_to`, or name an address in the program, such as MAILTO in a crontab");
    let text =
        format_args!("No mailbox <{recipient}> on this machine. Name an address, or set `sendmail.local_mail_to`");
    Refused { reply: Reply::new(550, [1, 1], text), failure }
}

/// A recipient is outside the domains of the rule that trusts the device.
pub(super) fn outside(recipient: &str, domain: &str, rule: &TrustedSender) -> Refused {
    let (recipient, domain) = (escaped(recipient.as_bytes(), SHOWN), escaped(domain.as_bytes(), SHOWN));
    let message = format!(
        "recipient `{recipient}` refused, because the rule for {} in `{}` does not have its domain",
        rule.from,
        rule.from.key()
    );
    let failure = Failure::new(Cause::RecipientNotAllowed, message)
        .to_do(format!("if the device may send there, add `{domain}` to `recipient_domains` of that rule"));
    Refused {
        reply: Reply::new(550, [7, 1], format_args!("This {} may not send to <{recipient}>", whom(rule))),
        failure,
    }
}

/// The message cannot be put into the queue.
pub(super) fn not_queued(error: &QueueError) -> Refused {
    let (cause, reply) = match error {
        QueueError::Full(_) => (Cause::QueueFull, Reply::new(452, [3, 1], "The queue is full, try again later")),
        QueueError::Damaged(_) | QueueError::Store(_) => {
            (Cause::QueueUnavailable, Reply::new(451, [3, 0], "The queue does not work for now, try again later"))
        }
    };
    Refused { reply, failure: Failure::new(cause, format!("message not queued: {error}")) }
}

/// The message is larger than Graph takes, also as a draft if those are allowed.
pub(super) fn too_large_for_graph(drafts: bool) -> Refused {
    let most = if drafts { LARGE_OCTETS } else { MESSAGE_OCTETS };
    let words = format_args!("The message is too large. Microsoft Graph takes at most {most} bytes");
    let message = format!("message refused, because it has more than the {most} bytes that Microsoft Graph takes");
    let failure = Failure::new(Cause::MessageTooLarge, message);
    let failure = if drafts { failure.to_do("send smaller messages") } else { failure };
    Refused { reply: Reply::new(552, [3, 4], words), failure }
}

/// The message is too large for Graph as it is, and a draft cannot hold all of it.
pub(super) fn unfit(why: &str) -> Refused {
    let NotSent { reply, failure, .. } = NotSent::not_a_draft(why);
    Refused { reply, failure }
}

/// The temporary file of a large message cannot be written.
pub(super) fn not_spooled(error: &io::Error) -> Refused {
    let failure = Failure::new(
        Cause::SpoolFailed,
        format!("message refused, because its temporary file cannot be written: {}", Plain(error)),
    );
    Refused { reply: Reply::new(452, [3, 1], "No room for the message, try again later"), failure }
}

/// The header of the message cannot be read.
pub(super) fn unreadable(flaw: &MimeError) -> Refused {
    let failure = Failure::new(Cause::MalformedMessage, format!("message refused, because it {flaw}"))
        .to_do("correct the header of the message");
    Refused { reply: Reply::new(554, [6, 0], format_args!("The message {flaw}")), failure }
}

/// Exchange Online refused a command or a message.
pub(super) fn by_exchange(refusal: MailRefusal<'_>) -> Refused {
    Refused { reply: refusal.reply.clone(), failure: refusal.failure() }
}

/// The connection broke before the end of the message, so it was not sent.
pub(super) fn broke(error: &io::Error) -> Refused {
    let error = Plain(error);
    let reply =
        Reply::new(451, [4, 1], format_args!("The connection to Microsoft broke, the message was not sent: {error}"));
    let message = format!("message not sent, because the connection to Exchange Online broke: {error}");
    Refused { reply, failure: Failure::new(Cause::UpstreamBroke, message) }
}

/// The connection broke earlier.
pub(super) fn lost() -> Refused {
    let message = "message not sent, because the connection to Exchange Online broke";
    Refused {
        reply: Reply::new(451, [4, 1], "The connection to Microsoft broke, send the message again"),
        failure: Failure::new(Cause::UpstreamBroke, message),
    }
}

/// The connection broke between the end of the message and its reply.
pub(super) fn unknown(error: &io::Error) -> NotSent {
    NotSent::outcome_unknown(Actor::Nobody, &format!("there was no reply to the end of the message: {}", Plain(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_connection_is_told_without_the_number_of_the_error() {
        let error = io::Error::from_raw_os_error(104);
        let (broke, unknown) = (broke(&error), unknown(&error));
        for told in [broke.reply.to_string(), broke.failure.message, unknown.reply.to_string(), unknown.failure.message]
        {
            assert!(!told.contains("os error"), "{told}");
        }
    }
}
