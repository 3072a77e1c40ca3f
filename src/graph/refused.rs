//! Explains an answer of Graph to a message, or the lack of one: the reply, who has to act, and
//! what to do.

use std::time::Duration;

use hyper::http;

use super::GraphError;
use super::answer::Answer;
use super::not_sent::NotSent;
use super::outgoing::SEND_LESS;
use gatepost_config::Origin;
use gatepost_core::cause::Cause;
use gatepost_core::failure::Actor;
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
        return NotSent::outcome_unknown(Actor::Microsoft, &format!("Microsoft Graph failed ({})", answer.words()));
    }
    let Verdict { reply: (code, status, text), actor, cause, remedy } = verdict(answer, octets);
    let word = answer.code.as_deref().map(|word| format!(" ({word})")).unwrap_or_default();
    let mut not_sent = NotSent::new(
        Reply::new(code, status, format_args!("{text}{word}")),
        actor,
        cause,
        format!("the message was not sent: {text} ({})", answer.words()),
        remedy,
    );
    not_sent.token_refused = answer.status == 401;
    not_sent
}

struct Verdict {
    reply: (u16, [u16; 2], &'static str),
    actor: Actor,
    cause: Cause,
    remedy: &'static str,
}

fn verdict(answer: &Answer, octets: usize) -> Verdict {
    const WAIT: &str = "the client tries again";
    let verdict = |reply, actor, cause, remedy| Verdict { reply, actor, cause, remedy };
    // The mailbox may have a limit of its own, so no number is told.
    let too_large = || {
        let reply = (552, [3, 4], "The message is larger than Microsoft Graph takes from this mailbox");
        verdict(reply, Actor::Client, Cause::MessageTooLarge, SEND_LESS)
    };
    match answer.status {
        413 => too_large(),
        400..500 if answer.says(&["ErrorMessageSizeExceeded", "ErrorMimeContentTooBig"]) => too_large(),
        200..300 if octets > SILENTLY_DROPPED_OCTETS => too_large(),
        401 => verdict(
            (451, [7, 0], "Microsoft Graph did not accept the access token"),
            Actor::TenantAdministrator,
            Cause::TokenRefused,
            "should it last, check that the token is for Microsoft Graph (`scope`), and that no Conditional Access policy bars this machine",
        ),
        400..500 if answer.says(&["ErrorMimeContentInvalidBase64String", "ErrorMimeContentInvalid"]) => verdict(
            (554, [6, 0], "Microsoft Graph cannot read the message"),
            Actor::Developers,
            Cause::MessageNotUnderstood,
            "report it with the message's header, and have `deliver: smtp` for this listener until it is mended",
        ),
        400..500 if answer.says(&["ErrorInvalidRecipients"]) => verdict(
            (550, [1, 3], "Microsoft Graph found no valid recipient, or an invalid one"),
            Actor::Client,
            Cause::InvalidRecipients,
            "correct the addresses",
        ),
        400..500 if answer.says(&["ErrorSendAsDenied", "ErrorCannotSendOnBehalf"]) => verdict(
            (550, [7, 1], "The mailbox may not send as the address in From"),
            Actor::TenantAdministrator,
            Cause::SendAsDenied,
            "let From be the mailbox's own address, or grant it Send As: `Add-RecipientPermission -AccessRights SendAs`",
        ),
        400..500 if answer.says(&["ErrorQuotaExceeded"]) => verdict(
            (452, [2, 2], "The mailbox is full"),
            Actor::Client,
            Cause::MailboxFull,
            "make room in the mailbox, whose Sent Items keep a copy of each message",
        ),
        400..500 if answer.says(&["ErrorExceededMessageLimit", "ErrorMessageThrottled"]) => verdict(
            (450, [7, 1], "The mailbox has sent as much as it may for now"),
            Actor::Client,
            Cause::SendingLimit,
            "send less, or wait: Microsoft lets a mailbox address 10,000 recipients in 24 hours",
        ),
        400..500 if answer.says(&["ErrorAccountSuspend", "ErrorAccountSuspendShowTierUpgrade"]) => verdict(
            (550, [1, 8], "Microsoft has barred the mailbox from sending"),
            Actor::TenantAdministrator,
            Cause::SenderBarred,
            "find out what was sent from it, and take it off the restricted entities in Microsoft Defender",
        ),
        429 => verdict(
            (451, [3, 2], "Microsoft Graph takes no more requests for this mailbox at the moment"),
            Actor::Microsoft,
            Cause::Throttled,
            WAIT,
        ),
        503 | 509 => verdict(
            (451, [3, 2], "Microsoft Graph is not available for now"),
            Actor::Microsoft,
            Cause::UpstreamUnavailable,
            WAIT,
        ),
        400..500 if !answer.is_graphs() => verdict(
            (451, [3, 0], "Something on the way to Microsoft Graph refused the request"),
            Actor::Network,
            Cause::NotGraph,
            "have the proxy's or firewall's administrator permit POST to Microsoft Graph for this host",
        ),
        403 => verdict(
            (550, [7, 1], "Microsoft Graph does not let the application send from this mailbox"),
            Actor::TenantAdministrator,
            Cause::SendDenied,
            "check that the application has the permission `Mail.Send` for Microsoft Graph with consent (for a shared mailbox also \
             `Mail.Send.Shared`), and that its RBAC scope or access policy includes the mailbox",
        ),
        404 => verdict(
            (550, [1, 8], "The mailbox is not one of Exchange Online"),
            Actor::TenantAdministrator,
            Cause::NoMailbox,
            "check that the address is the user principal name of a mailbox in Exchange Online with a licence; another one goes into \
             `mailbox` of the account",
        ),
        400..500 => verdict(
            (554, [6, 0], "Microsoft Graph refused the message"),
            Actor::Client,
            Cause::MessageRefused,
            "look at Microsoft's words; should they not help, have `deliver: smtp` for this listener",
        ),
        _ => verdict(
            (451, [3, 0], "Something answered that is not as Microsoft Graph answers"),
            Actor::Network,
            Cause::NotGraph,
            "find out which device on the way answers in its place; should it be Microsoft, have `deliver: smtp` for this listener",
        ),
    }
}

/// No request is made for this mailbox for this long.
pub(super) fn quiet(left: Duration) -> NotSent {
    let seconds = left.as_secs().max(1);
    NotSent::new(
        Reply::new(451, [3, 2], "Microsoft Graph takes no more requests for this mailbox at the moment"),
        Actor::Microsoft,
        Cause::Throttled,
        format!("the message was not sent: Microsoft Graph wants no requests for this mailbox for another {seconds} s"),
        "the client tries again",
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
        },
    }
}

/// There was no answer in time.
pub(super) fn late(graph: &Origin, most: Duration, id: &str) -> NotSent {
    let why = format!("{graph} did not answer within {most:?} (client-request-id {id})");
    NotSent::outcome_unknown(Actor::Microsoft, &why)
}

/// The request could not be made.
pub(super) fn defect(error: &http::Error) -> NotSent {
    NotSent::new(
        Reply::new(451, [3, 0], "Internal error"),
        Actor::Developers,
        Cause::RequestNotMade,
        format!("the request for Microsoft Graph could not be made: {error}"),
        "report it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatepost_core::failure::Failure;

    fn replied(status: u16, code: &str) -> NotSent {
        let code = Some(code.to_owned()).filter(|code| !code.is_empty());
        let request_id = Some("0a1b".to_owned());
        explain(&Answer { status, code, request_id, ..Answer::default() }, 1_000)
    }

    #[test]
    fn each_answer_has_its_reply() {
        for (status, code, reply, actor) in [
            (400, "ErrorMimeContentInvalidBase64String", "554 5.6.0", Actor::Developers),
            (400, "ErrorInvalidRecipients", "550 5.1.3", Actor::Client),
            (400, "ErrorSendAsDenied", "550 5.7.1", Actor::TenantAdministrator),
            (400, "ErrorMessageSizeExceeded", "552 5.3.4", Actor::Client),
            (400, "ErrorOther", "554 5.6.0", Actor::Client),
            (401, "InvalidAuthenticationToken", "451 4.7.0", Actor::TenantAdministrator),
            (403, "ErrorAccessDenied", "550 5.7.1", Actor::TenantAdministrator),
            (403, "Authorization_RequestDenied", "550 5.7.1", Actor::TenantAdministrator),
            (403, "ErrorSendAsDenied", "550 5.7.1", Actor::TenantAdministrator),
            (403, "ErrorQuotaExceeded", "452 4.2.2", Actor::Client),
            (429, "ErrorExceededMessageLimit", "450 4.7.1", Actor::Client),
            (404, "MailboxNotEnabledForRESTAPI", "550 5.1.8", Actor::TenantAdministrator),
            (404, "ErrorInvalidUser", "550 5.1.8", Actor::TenantAdministrator),
            (413, "", "552 5.3.4", Actor::Client),
            (429, "ApplicationThrottled", "451 4.3.2", Actor::Microsoft),
            (500, "ErrorInternalServerError", "451 4.4.2", Actor::Microsoft),
            (502, "", "451 4.4.2", Actor::Microsoft),
            (503, "", "451 4.3.2", Actor::Microsoft),
            (504, "", "451 4.4.2", Actor::Microsoft),
            (509, "", "451 4.3.2", Actor::Microsoft),
            (200, "", "451 4.3.0", Actor::Network),
            (302, "", "451 4.3.0", Actor::Network),
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
