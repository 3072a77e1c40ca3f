//! What an attempt to deliver a message came to, and what follows from it.

use std::time::Duration;

use crate::graph::{NotSent, Sent};
use crate::session::mail_refusal::MailRefusal;
use gatepost_core::cause::Cause;
use gatepost_core::failure::Failure;
use gatepost_proto::mail::smtp::Reply;
use gatepost_store::queue::Recipient;

/// What an attempt came to.
#[derive(Debug)]
pub(super) enum Attempted {
    /// Microsoft has it.
    Sent {
        /// `smtp` or `graph`.
        way: &'static str,
        reply: Reply,
        /// What the log says besides; empty when there is nothing to say.
        remark: String,
        /// What the recipients do not get.
        loss: Option<Failure>,
    },
    /// Microsoft has it for the other recipients, and does not take it for these.
    Part { reply: Reply, left: Vec<Recipient>, failure: Failure },
    /// The same, but nobody can tell whether Microsoft has it for the others.
    OpenPart(Failure),
    /// The mailbox cannot send for now. The message was certainly not sent.
    Paused {
        failure: Failure,
        /// The pause that Microsoft asks for.
        wait: Option<Duration>,
        /// Whether the fault may be the message's: the connection broke in the middle of it.
        is_suspect: bool,
    },
    /// Gatepost itself cannot try it now, and the mailbox is not at fault.
    Postponed(Failure),
    /// Microsoft does not take this message for now.
    Aside(Failure),
    /// Microsoft does not take this message.
    Refused(Failure),
    /// Nobody can tell whether Microsoft has it.
    Open(Failure),
    /// The message is no longer to be sent.
    Withdrawn,
    /// It was given up before anything could not be taken back, because the service stops.
    Interrupted,
    /// The message cannot be read from the disk, or what was noted about it cannot be kept.
    Unreadable(Failure),
}

impl Attempted {
    /// The mailbox cannot send, and nobody knows for how long.
    pub(super) fn paused(failure: Failure) -> Self {
        Self::Paused { failure, wait: None, is_suspect: false }
    }

    /// The connection broke in the middle of the message, and nobody knows whose fault that is.
    pub(super) fn broke(failure: Failure) -> Self {
        Self::Paused { failure, wait: None, is_suspect: true }
    }

    /// Exchange Online refused a command or the message.
    pub(super) fn refused_by_exchange(refusal: MailRefusal<'_>) -> Self {
        let (failure, reply) = (refusal.failure(), refusal.reply);
        let is_of_mailbox = match failure.cause {
            // Too many recipients are the message's own.
            Cause::SendingLimit => !reply.status().is_some_and(|status| status.ends_with(".5.3")),
            Cause::UpstreamLimit | Cause::SenderBarred | Cause::MailboxFull => true,
            _ => false,
        };
        match reply.class() {
            _ if is_of_mailbox || reply.code() == 421 || reply.suggested_pause().is_some() => {
                Self::Paused { failure, wait: reply.suggested_pause(), is_suspect: false }
            }
            4 => Self::Aside(failure),
            _ => Self::Refused(failure),
        }
    }

    /// Graph accepted the message.
    pub(super) fn sent_through_graph(Sent { reply, remark, loss }: Sent) -> Self {
        Self::Sent { way: "graph", reply, remark, loss }
    }

    /// Graph did not accept the message. `pause`: how long it wants no further request.
    pub(super) fn not_sent_through_graph(not_sent: NotSent, pause: Duration) -> Self {
        let NotSent { reply, failure, .. } = not_sent;
        let is_of_mailbox = matches!(
            failure.cause,
            Cause::SendDenied | Cause::PermissionMissing | Cause::NoMailbox | Cause::SenderBarred | Cause::TokenRefused
        );
        match reply.class() {
            _ if failure.cause == Cause::OutcomeUnknown => Self::Open(failure),
            5 if !is_of_mailbox => Self::Refused(failure),
            _ => Self::Paused { failure, wait: Some(pause).filter(|pause| !pause.is_zero()), is_suspect: false },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatepost_oauth::MailAccess;
    use gatepost_proto::mail::smtp::Stage;

    fn of_reply(code: u16, status: [u16; 2], text: &str) -> &'static str {
        let reply = Reply::new(code, status, text);
        let refusal = MailRefusal {
            stage: Stage::Content,
            reply: &reply,
            mailbox: "anna@contoso.com",
            sender: None,
            recipient: None,
        };
        match Attempted::refused_by_exchange(refusal) {
            Attempted::Paused { wait: None, .. } => "mailbox",
            Attempted::Paused { wait: Some(_), .. } => "pause",
            Attempted::Aside(_) => "aside",
            Attempted::Refused(_) => "refused",
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_reply_is_about_the_message_or_about_the_mailbox() {
        for (code, status, text, expected) in [
            (421, [3, 2], "Service not available", "mailbox"),
            (432, [3, 2], "Concurrent connections limit exceeded", "mailbox"),
            (451, [7, 500], "Server busy. Suggested Backoff Time: 5000 milliseconds", "pause"),
            (451, [3, 0], "Try again later", "aside"),
            (452, [5, 3], "Too many recipients", "aside"),
            (550, [1, 90], "Your message can't be sent because you've reached your daily limit", "mailbox"),
            (550, [1, 8], "Access denied, bad outbound sender", "mailbox"),
            (550, [7, 60], "SMTP; Client does not have permissions to send as this sender", "refused"),
            (554, [6, 0], "Message refused", "refused"),
            (552, [3, 4], "Message size exceeds fixed maximum message size", "refused"),
        ] {
            assert_eq!(of_reply(code, status, text), expected, "{code} {text}");
        }
    }

    #[test]
    fn what_graph_did_not_accept_is_about_the_message_or_about_the_mailbox() {
        let second = Duration::from_secs(1);
        let of = |cause, code, pause| {
            let failure = Failure::new(cause, "no");
            let reply = Reply::new(code, [0, 0], "no");
            let not_sent = NotSent { reply, failure, token_refused: false, access: MailAccess::GraphSend };
            match Attempted::not_sent_through_graph(not_sent, pause) {
                Attempted::Open(_) => "open",
                Attempted::Refused(_) => "refused",
                Attempted::Paused { wait: None, is_suspect: false, .. } => "mailbox",
                Attempted::Paused { wait: Some(wait), is_suspect: false, .. } if wait == second => "pause",
                other => panic!("{other:?}"),
            }
        };
        for (cause, code, pause, expected) in [
            (Cause::OutcomeUnknown, 451, second, "open"),
            (Cause::OutcomeUnknown, 554, second, "open"),
            (Cause::MessageRefused, 554, second, "refused"),
            (Cause::MessageRefused, 451, Duration::ZERO, "mailbox"),
            (Cause::Throttled, 451, second, "pause"),
            (Cause::SendDenied, 550, second, "pause"),
            (Cause::PermissionMissing, 550, Duration::ZERO, "mailbox"),
            (Cause::NoMailbox, 550, Duration::ZERO, "mailbox"),
            (Cause::SenderBarred, 550, Duration::ZERO, "mailbox"),
            (Cause::TokenRefused, 550, Duration::ZERO, "mailbox"),
        ] {
            assert_eq!(of(cause, code, pause), expected, "{cause} {code}");
        }
    }
}
