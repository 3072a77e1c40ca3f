//! Explains why a large message was not sent.

use std::io;
use std::time::Duration;

use super::part::PartError;
use super::plan::Unfit;
use crate::graph::answer::Answer;
use crate::graph::refused;
use crate::graph::{GraphError, NotSent};
use gatepost_config::Origin;
use gatepost_core::cause::Cause;
use gatepost_core::failure::{Actor, Failure};
use gatepost_core::system_error::Plain;
use gatepost_oauth::MailAccess;
use gatepost_proto::mail::smtp::Reply;

/// A request on the way of a draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Create,
    Attach,
    OpenUpload,
    Upload,
    Send,
}

impl Step {
    /// What is done, as the end of the sentence "Microsoft Graph did not …".
    fn words(self) -> &'static str {
        match self {
            Self::Create => "create the draft",
            Self::Attach => "take a file of the message",
            Self::OpenUpload => "open an upload for a file of the message",
            Self::Upload => "take a part of a file",
            Self::Send => "send the draft",
        }
    }
}

/// Explains an answer that was not the expected one.
pub(super) fn refused(step: Step, answer: &Answer) -> NotSent {
    if answer.says(&["ErrorAttachmentSizeLimitExceeded"]) {
        return refused::explain(&Answer { status: 413, ..answer.clone() }, 0);
    }
    let is_known = matches!(answer.status, 413 | 429 | 503 | 509)
        || answer.says(&["ErrorMessageSizeExceeded", "ErrorQuotaExceeded"])
        || !answer.is_graphs() && (200..500).contains(&answer.status)
        || answer.status == 401 && step != Step::Upload;
    match (step, answer.status) {
        (Step::Send, _) if may_pass(answer) => NotSent::outcome_unknown(
            Actor::Nobody,
            &format!("Microsoft Graph did not send the draft ({})", answer.words()),
        ),
        (Step::Send, _) => refused::explain(answer, 0),
        (_, 403) if !is_known && answer.is_graphs() => of_permission(refused::explain(answer, 0)),
        _ if is_known => refused::explain(answer, 0),
        (Step::Create, 400..500) if !may_pass(answer) => refused::explain(answer, 0),
        (Step::Attach | Step::OpenUpload, 400 | 405 | 422 | 501) if answer.is_graphs() => not_taken(step, answer),
        _ => not_yet(step, &answer.words()),
    }
}

/// Whether the same request may be answered otherwise a little later: one server of Exchange may not
/// know yet what another has done.
fn may_pass(answer: &Answer) -> bool {
    matches!(answer.status, 408 | 409 | 412)
        || answer.status == 404 && answer.says(&["ErrorItemNotFound", "ErrorMessageNotFound"])
}

/// Graph will never take the file.
fn not_taken(step: Step, answer: &Answer) -> NotSent {
    let word = answer.code.as_deref().map(|word| format!(" ({word})")).unwrap_or_default();
    NotSent::new(
        Reply::new(554, [6, 1], format_args!("Microsoft Graph refused a file of the message{word}")),
        Failure::new(
            Cause::MessageRefused,
            format!("the message was not sent, because Microsoft Graph did not {} ({})", step.words(), answer.words()),
        )
        .coded(answer.mark()),
    )
}

/// The application may send, but may not create drafts.
fn of_permission(not_sent: NotSent) -> NotSent {
    if not_sent.failure.cause != Cause::SendDenied {
        return not_sent;
    }
    let failure = not_sent.failure.to_do(
        "give the application `Mail.ReadWrite` for Microsoft Graph with consent, which `graph_large: draft` needs for \
         messages of more than 3 MB, and include the mailbox in its RBAC scope",
    );
    NotSent { failure, access: MailAccess::GraphDraft, ..not_sent }
}

/// Explains that there was no answer of this server.
pub(super) fn no_answer(step: Step, error: &GraphError, at: &Origin, id: &str) -> NotSent {
    let explained = refused::no_answer(error, at, id);
    if step == Step::Send || error.connector().is_some() || matches!(error, GraphError::Trust(_)) {
        return explained;
    }
    not_yet(step, &format!("{} (client-request-id {id})", error.failure(at).message))
}

/// Explains that there was no answer in time.
pub(super) fn late(step: Step, at: &Origin, most: Duration, id: &str) -> NotSent {
    match step {
        Step::Send => refused::late(at, most, id),
        _ => not_yet(step, &format!("{at} did not answer within {most:?} (client-request-id {id})")),
    }
}

/// The request failed, for now. Nothing was sent, because the draft was not.
pub(super) fn not_yet(step: Step, why: &str) -> NotSent {
    NotSent::new(
        Reply::new(451, [3, 0], "Microsoft Graph failed, and the message was not sent. Try again later"),
        Failure::new(
            Cause::UpstreamFailed,
            format!("the message was not sent, because Microsoft Graph did not {} ({why})", step.words()),
        ),
    )
}

/// An upload broke, and trying to go on with it did not help.
pub(super) fn not_resumed(not_sent: NotSent) -> NotSent {
    with_finding(not_sent, "The upload could not be resumed")
}

/// The draft was found unsent, and was removed.
pub(super) fn unsent(why: &NotSent) -> NotSent {
    let why = &why.failure.message;
    NotSent::new(
        Reply::new(451, [3, 0], "Microsoft Graph did not send the message. Nothing was sent, try again later"),
        Failure::new(
            Cause::UpstreamFailed,
            format!(
                "the message was not sent, because its draft was still unsent after each request. It was removed ({why})"
            ),
        ),
    )
}

/// It is not known whether the draft was sent by an earlier request than the one that failed.
pub(super) fn open(why: NotSent) -> NotSent {
    if why.is_outcome_unknown() {
        return why;
    }
    NotSent::outcome_unknown(why.failure.actor, &why.failure.message)
}

/// There is no time for a further request, because the client does not wait longer.
/// Of its files, so many bytes were taken.
pub(super) fn too_slow(most: Duration, taken: u64, all: u64) -> NotSent {
    NotSent::new(
        Reply::new(451, [4, 1], "The message could not be passed on in time. Try again later"),
        Failure::new(
            Cause::UpstreamTimeout,
            format!(
                "the message was not sent, because Microsoft Graph took {taken} of the {all} bytes of its files within \
                 {most:?}"
            ),
        )
        .by(Actor::NetworkAdmin)
        .to_do("provide a faster line to Microsoft, or send smaller messages"),
    )
}

/// A draft cannot hold all of the message.
pub(super) fn unfit(why: &Unfit) -> NotSent {
    NotSent::not_a_draft(why)
}

/// The collected message cannot be read again.
pub(super) fn unreadable(error: &io::Error) -> NotSent {
    NotSent::new(
        Reply::new(451, [3, 0], "The message could not be read again. Try again later"),
        Failure::new(
            Cause::SpoolFailed,
            format!("the message was not sent, because its temporary file cannot be read: {}", Plain(error)),
        ),
    )
}

/// A file of the message, or its text, cannot be decoded.
pub(super) fn undecodable(what: &str, error: &PartError) -> NotSent {
    match error {
        PartError::Io(error) => unreadable(error),
        PartError::Transfer(error) => unfit(&format!("has {what} that {error}")),
    }
}

/// Adds what was found out about a message whose outcome is not known.
pub(super) fn with_finding(mut not_sent: NotSent, finding: &str) -> NotSent {
    not_sent.failure.message.push_str(&format!(". {finding}"));
    not_sent
}

/// Says in the failure that a draft could not be removed.
pub(super) fn with_remaining_draft(mut not_sent: NotSent, id: &str) -> NotSent {
    not_sent.failure.message.push_str(&format!(". The draft `{id}` is still in the mailbox, and is removed later"));
    if not_sent.failure.actor == Actor::Nobody {
        not_sent.failure.remedy = "the client retries. If the draft remains in Drafts, delete it".into();
    }
    not_sent
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, code: &str) -> Answer {
        let code = Some(code.to_owned()).filter(|code| !code.is_empty());
        Answer { status, code, request_id: Some("0a1b".to_owned()), ..Answer::default() }
    }

    #[test]
    fn before_the_draft_is_sent_every_outcome_is_known() {
        for step in [Step::Create, Step::Attach, Step::OpenUpload, Step::Upload] {
            for status in [500, 502, 504] {
                let not_sent = refused(step, &answer(status, ""));
                assert!(!not_sent.is_outcome_unknown() && not_sent.reply.class() == 4, "{step:?} {status}");
            }
        }
        for (status, code) in [(504, ""), (404, "ErrorItemNotFound"), (408, ""), (409, ""), (412, "")] {
            assert!(refused(Step::Send, &answer(status, code)).is_outcome_unknown(), "{status}");
        }
    }

    #[test]
    fn each_step_has_its_replies() {
        for (step, status, code, reply, cause) in [
            (Step::Create, 403, "ErrorAccessDenied", "550 5.7.1", "send-denied"),
            (Step::OpenUpload, 403, "ErrorAccessDenied", "550 5.7.1", "send-denied"),
            (Step::Create, 404, "ErrorInvalidUser", "550 5.1.8", "no-mailbox"),
            (Step::Create, 400, "ErrorInvalidRecipients", "550 5.1.3", "invalid-recipients"),
            (Step::Attach, 404, "ErrorItemNotFound", "451 4.3.0", "upstream-failed"),
            (Step::Upload, 416, "InvalidRange", "451 4.3.0", "upstream-failed"),
            (Step::Upload, 401, "InvalidAuthenticationToken", "451 4.3.0", "upstream-failed"),
            (Step::OpenUpload, 401, "InvalidAuthenticationToken", "451 4.7.0", "token-refused"),
            (Step::Create, 404, "ErrorItemNotFound", "451 4.3.0", "upstream-failed"),
            (Step::Create, 409, "ErrorIrresolvableConflict", "451 4.3.0", "upstream-failed"),
            (Step::Send, 404, "MailboxNotEnabledForRESTAPI", "550 5.1.8", "no-mailbox"),
            (Step::Attach, 400, "ErrorInvalidProperty", "554 5.6.1", "message-refused"),
            (Step::OpenUpload, 501, "NotImplemented", "554 5.6.1", "message-refused"),
            (Step::OpenUpload, 405, "UnsupportedMethod", "554 5.6.1", "message-refused"),
            (Step::Attach, 409, "ErrorIrresolvableConflict", "451 4.3.0", "upstream-failed"),
            (Step::Upload, 400, "InvalidRange", "451 4.3.0", "upstream-failed"),
            (Step::Attach, 413, "", "552 5.3.4", "message-too-large"),
            (Step::OpenUpload, 400, "ErrorAttachmentSizeLimitExceeded", "552 5.3.4", "message-too-large"),
            (Step::Upload, 429, "ApplicationThrottled", "451 4.3.2", "throttled"),
            (Step::Attach, 403, "ErrorQuotaExceeded", "452 4.2.2", "mailbox-full"),
            (Step::Send, 403, "ErrorSendAsDenied", "550 5.7.1", "send-as-denied"),
        ] {
            let not_sent = refused(step, &answer(status, code));
            assert!(not_sent.reply.to_string().starts_with(reply), "{step:?} {status} {code}: {}", not_sent.reply);
            assert_eq!(not_sent.failure.cause.name(), cause, "{step:?} {status} {code}");
        }
        let denied = refused(Step::Create, &answer(403, "ErrorAccessDenied"));
        assert_eq!(denied.access, MailAccess::GraphDraft);
        assert!(denied.failure.remedy.contains("Mail.ReadWrite"));
    }
}
