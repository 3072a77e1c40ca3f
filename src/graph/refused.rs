//! Explains an answer of Graph to a message, or the lack of one: the reply, who has to act, and
//! what to do.

use std::time::Duration;

use hyper::http;

use super::GraphError;
use super::answer::Answer;
use super::not_sent::NotSent;
use gatepost_config::Origin;
use gatepost_core::cause::Cause;
use gatepost_core::failure::{Actor, Failure};
use gatepost_oauth::MailAccess;
use gatepost_proto::mail::smtp::Reply;

/// Above this size, Graph was seen to answer 200 and send nothing.
const SILENTLY_DROPPED_OCTETS: usize = 2_000_000;

/// Whether the status asks for fewer requests. Its `Retry-After` then applies to the whole mailbox.
pub(super) fn throttles(status: u16) -> bool {
    matches!(status, 429 | 503 | 504 | 509)
}

/// Whether the status, with a `Retry-After`, says that the message was not processed.
pub(super) fn not_looked_at(status: u16) -> bool {
    matches!(status, 429 | 503)
}

/// Whether the status leaves open what became of the message: Graph failed somewhere, or a gateway
/// stopped waiting and may have passed it on.
fn leaves_outcome_open(status: u16) -> bool {
    (500..600).contains(&status) && !matches!(status, 503 | 509)
}

/// Explains an answer other than 202. `octets` is the length of the message.
pub(super) fn explain(answer: &Answer, octets: usize) -> NotSent {
    if leaves_outcome_open(answer.status) {
        return NotSent::outcome_unknown(Actor::Nobody, &format!("Microsoft Graph failed ({})", answer.words()));
    }
    let Verdict { reply: (code, status, text), cause } = verdict(answer, octets);
    let word = answer.code.as_deref().map(|word| format!(" ({word})")).unwrap_or_default();
    let mut not_sent = NotSent::new(
        Reply::new(code, status, format_args!("{text}{word}")),
        Failure::new(cause, format!("{text} ({})", answer.words())).coded(answer.mark()),
    );
    not_sent.token_refused = answer.status == 401;
    not_sent
}

struct Verdict {
    reply: (u16, [u16; 2], &'static str),
    cause: Cause,
}

fn verdict(answer: &Answer, octets: usize) -> Verdict {
    let verdict = |reply, cause| Verdict { reply, cause };
    // The mailbox may have a limit of its own, so no number is told.
    let too_large = || {
        let reply = (552, [3, 4], "The message is larger than Microsoft Graph takes from this mailbox");
        verdict(reply, Cause::MessageTooLarge)
    };
    match answer.status {
        413 => too_large(),
        400..500 if answer.says(&["ErrorMessageSizeExceeded", "ErrorMimeContentTooBig"]) => too_large(),
        200..300 if octets > SILENTLY_DROPPED_OCTETS => too_large(),
        401 => verdict((451, [7, 0], "Microsoft Graph did not accept the access token"), Cause::TokenRefused),
        400..500 if answer.says(&["ErrorMimeContentInvalidBase64String", "ErrorMimeContentInvalid"]) => {
            verdict((554, [6, 0], "Microsoft Graph cannot read the message"), Cause::MessageNotUnderstood)
        }
        400..500 if answer.says(&["ErrorInvalidRecipients"]) => verdict(
            (550, [1, 3], "Microsoft Graph found no valid recipient, or an invalid one"),
            Cause::InvalidRecipients,
        ),
        400..500 if answer.says(&["ErrorSendAsDenied", "ErrorCannotSendOnBehalf"]) => {
            verdict((550, [7, 1], "The mailbox may not send as the address in From"), Cause::SendAsDenied)
        }
        400..500 if answer.says(&["ErrorQuotaExceeded"]) => {
            verdict((452, [2, 2], "The mailbox is full"), Cause::MailboxFull)
        }
        400..500 if answer.says(&["ErrorExceededMessageLimit", "ErrorMessageThrottled"]) => {
            verdict((450, [7, 1], "The mailbox has sent as much as it may for now"), Cause::SendingLimit)
        }
        400..500 if answer.says(&["ErrorAccountSuspend", "ErrorAccountSuspendShowTierUpgrade"]) => {
            verdict((550, [1, 8], "Microsoft has blocked the mailbox from sending"), Cause::SenderBarred)
        }
        429 => verdict(
            (451, [3, 2], "Microsoft Graph takes no more requests for this mailbox at the moment"),
            Cause::Throttled,
        ),
        503 | 509 => verdict((451, [3, 2], "Microsoft Graph is not available for now"), Cause::UpstreamUnavailable),
        400..500 if !answer.is_graphs() => {
            verdict((451, [3, 0], "A device between Gatepost and Microsoft Graph refused the request"), Cause::NotGraph)
        }
        403 => verdict(
            (550, [7, 1], "Microsoft Graph does not let the application send from this mailbox"),
            Cause::SendDenied,
        ),
        404 => verdict((550, [1, 8], "The mailbox is not one of Exchange Online"), Cause::NoMailbox),
        400..500 => verdict((554, [6, 0], "Microsoft Graph refused the message"), Cause::MessageRefused),
        _ => verdict((451, [3, 0], "Something answered that is not as Microsoft Graph answers"), Cause::NotGraph),
    }
}

/// No request is made for this mailbox for this long.
pub(super) fn quiet(left: Duration) -> NotSent {
    let seconds = left.as_secs().max(1);
    NotSent::new(
        Reply::new(451, [3, 2], "Microsoft Graph takes no more requests for this mailbox at the moment"),
        Failure::new(
            Cause::Throttled,
            format!("Microsoft Graph takes no requests for this mailbox for another {seconds} s"),
        ),
    )
}

/// The message may no longer be handed over.
pub(super) fn withdrawn() -> NotSent {
    NotSent::new(
        Reply::new(451, [3, 0], "The message was withdrawn"),
        Failure::new(Cause::MessageBroke, "the message was withdrawn before it was handed over"),
    )
}

/// The request failed without an answer.
pub(super) fn no_answer(error: &GraphError, graph: &Origin, id: &str) -> NotSent {
    let failure = error.failure(graph);
    match error {
        GraphError::Exchange(_) if error.connector().is_none() => {
            NotSent::outcome_unknown(failure.actor, &format!("{} (client-request-id {id})", failure.message))
        }
        _ => NotSent {
            reply: Reply::new(451, [4, 1], "No connection to Microsoft Graph"),
            failure,
            token_refused: false,
            access: MailAccess::GraphSend,
        },
    }
}

/// There was no answer in time.
pub(super) fn late(graph: &Origin, most: Duration, id: &str) -> NotSent {
    let why = format!("{graph} did not answer within {most:?} (client-request-id {id})");
    NotSent::outcome_unknown(Actor::Nobody, &why)
}

/// The request could not be made.
pub(super) fn defect(error: &http::Error) -> NotSent {
    NotSent::new(
        Reply::new(451, [3, 0], "Internal error"),
        Failure::new(Cause::RequestNotMade, format!("the request for Microsoft Graph could not be made: {error}")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replied(status: u16, code: &str) -> NotSent {
        let code = Some(code.to_owned()).filter(|code| !code.is_empty());
        let request_id = Some("0a1b".to_owned());
        explain(&Answer { status, code, request_id, ..Answer::default() }, 1_000)
    }

    #[test]
    fn each_answer_has_its_reply() {
        for (status, code, reply, actor) in [
            (400, "ErrorMimeContentInvalidBase64String", "554 5.6.0", Actor::Bug),
            (400, "ErrorInvalidRecipients", "550 5.1.3", Actor::ClientOwner),
            (400, "ErrorSendAsDenied", "550 5.7.1", Actor::M365Admin),
            (400, "ErrorMessageSizeExceeded", "552 5.3.4", Actor::ClientOwner),
            (400, "ErrorOther", "554 5.6.0", Actor::ClientOwner),
            (401, "InvalidAuthenticationToken", "451 4.7.0", Actor::M365Admin),
            (403, "ErrorAccessDenied", "550 5.7.1", Actor::M365Admin),
            (403, "Authorization_RequestDenied", "550 5.7.1", Actor::M365Admin),
            (403, "ErrorSendAsDenied", "550 5.7.1", Actor::M365Admin),
            (403, "ErrorQuotaExceeded", "452 4.2.2", Actor::ClientOwner),
            (429, "ErrorExceededMessageLimit", "450 4.7.1", Actor::ClientOwner),
            (404, "MailboxNotEnabledForRESTAPI", "550 5.1.8", Actor::M365Admin),
            (404, "ErrorInvalidUser", "550 5.1.8", Actor::M365Admin),
            (413, "", "552 5.3.4", Actor::ClientOwner),
            (429, "ApplicationThrottled", "451 4.3.2", Actor::Nobody),
            (500, "ErrorInternalServerError", "451 4.4.2", Actor::Nobody),
            (502, "", "451 4.4.2", Actor::Nobody),
            (503, "", "451 4.3.2", Actor::Nobody),
            (504, "", "451 4.4.2", Actor::Nobody),
            (509, "", "451 4.3.2", Actor::Nobody),
            (200, "", "451 4.3.0", Actor::NetworkAdmin),
            (302, "", "451 4.3.0", Actor::NetworkAdmin),
        ] {
            let not_sent = replied(status, code);
            assert!(not_sent.reply.to_string().starts_with(reply), "{status} {code}: {}", not_sent.reply);
            assert_eq!((not_sent.failure.actor, not_sent.token_refused), (actor, status == 401), "{status} {code}");
            let Failure { message, remedy, .. } = not_sent.failure;
            assert!(message.contains(&format!("HTTP {status}")) && message.contains("request-id 0a1b"), "{message}");
            assert!(message.contains(code) && !remedy.is_empty());
        }
    }

    #[test]
    fn what_graph_did_not_say_itself_is_never_permanent() {
        for status in [400, 403, 404, 405, 407, 451] {
            let not_sent = explain(&Answer { status, ..Answer::default() }, 1_000);
            assert_eq!((not_sent.reply.class(), not_sent.failure.cause.name()), (4, "not-graph"), "{status}");
        }
    }

    #[test]
    fn a_large_message_that_is_answered_200_was_too_large() {
        let answer = Answer { status: 200, ..Answer::default() };
        assert_eq!(explain(&answer, 2_500_000).reply.code(), 552);
    }
}
