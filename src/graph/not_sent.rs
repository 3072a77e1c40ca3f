//! A message that Microsoft has not accepted, and what the client and the log are told.

use gatepost_core::cause::Cause;
use gatepost_core::failure::{Actor, Failure, Refusal};
use gatepost_oauth::MailAccess;
use gatepost_proto::mail::smtp::Reply;

/// Microsoft has not accepted the message, or has not said so.
#[derive(Clone, Debug)]
pub struct NotSent {
    /// The reply to the client.
    pub reply: Reply,
    /// The failure for the log.
    pub failure: Failure,
    /// Whether the token was refused, before anything else was checked. With a new one the message
    /// may be sent again at once.
    pub token_refused: bool,
    /// What the token must permit for the request that failed.
    pub access: MailAccess,
}

impl NotSent {
    /// Answers `failure` with `reply`. A temporary reply makes it temporary.
    pub(super) fn new(reply: Reply, failure: Failure) -> Self {
        let failure = match (reply.class(), failure.refusal) {
            (4, refusal) if refusal != Refusal::ServerBug => failure.answered(Refusal::Unavailable),
            _ => failure,
        };
        Self { reply, failure, token_refused: false, access: MailAccess::GraphSend }
    }

    /// The message was handed over, and Microsoft did not say what became of it. The reply is
    /// temporary, because a message that arrives twice is better than one that does not arrive.
    pub fn outcome_unknown(actor: Actor, why: &str) -> Self {
        Self::new(
            Reply::new(451, [4, 2], "Microsoft did not confirm the message. It may have been sent"),
            Failure::new(Cause::OutcomeUnknown, format!("Microsoft did not confirm the message: {why}")).by(actor),
        )
    }

    /// The message is too large to be sent as it is, and a draft cannot hold all of it. `why` is the
    /// end of the sentence "the message …".
    pub fn not_a_draft(why: &str) -> Self {
        Self::new(
            Reply::new(554, [6, 1], format_args!("Too large for Microsoft Graph in one piece, and the message {why}")),
            Failure::new(
                Cause::NotADraft,
                format!(
                    "the message is too large for Microsoft Graph in one piece, and not fit to be taken apart: it {why}"
                ),
            ),
        )
    }

    /// Whether it is unknown what became of the message.
    pub fn is_outcome_unknown(&self) -> bool {
        self.failure.cause == Cause::OutcomeUnknown
    }
}
