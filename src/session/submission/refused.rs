//! What a client is told in the middle of a transaction when its message cannot go out.

use std::io;

use gatepost_core::cause::Cause;
use gatepost_core::failure::{Actor, Failure, Refusal};
use gatepost_proto::mail::smtp::Reply;

/// The reply for a failure on the way to Microsoft. Nothing but a missing right is permanent, and a password that is no
/// longer right is asked for again by ending the session.
pub(super) fn reply(failure: &Failure, session: &str) -> Reply {
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

/// The connection broke before the end of the message: it has not gone out.
pub(super) fn broke(error: &io::Error) -> Reply {
    Reply::new(451, [4, 2], format_args!("The connection to Microsoft broke, the message was not sent: {error}"))
}

/// The same, some time ago.
pub(super) fn lost() -> Reply {
    Reply::new(451, [4, 2], "The connection to Microsoft broke, send the message again")
}

/// The connection broke between the end of the message and the word on it. The client tries again: a message that comes
/// twice is better than one that does not come.
pub(super) fn unknown(error: &io::Error) -> (Reply, Failure) {
    let reply = Reply::new(451, [4, 2], "Microsoft did not say what became of the message");
    let failure = Failure {
        refusal: Refusal::Unavailable,
        actor: Actor::Microsoft,
        cause: Cause::OutcomeUnknown,
        message: format!("outcome unknown: the message was sent, but there was no reply to it: {error}"),
        remedy: "the client sends it again, and it may arrive twice".into(),
        delay: false,
    };
    (reply, failure)
}
