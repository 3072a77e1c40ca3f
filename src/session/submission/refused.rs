//! Replies in the middle of a transaction, when a message cannot be sent.

use std::io;

use crate::graph::NotSent;
use gatepost_core::failure::{Actor, Failure, Refusal};
use gatepost_proto::mail::smtp::Reply;

/// Returns the reply for a failure on the connection to Microsoft. Only a missing right is
/// permanent. If the password is no longer right, ending the session makes the client ask for it
/// again.
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

/// The connection broke before the end of the message, so it was not sent.
pub(super) fn broke(error: &io::Error) -> Reply {
    Reply::new(451, [4, 2], format_args!("The connection to Microsoft broke, the message was not sent: {error}"))
}

/// The connection broke earlier.
pub(super) fn lost() -> Reply {
    Reply::new(451, [4, 2], "The connection to Microsoft broke, send the message again")
}

/// The connection broke between the end of the message and its reply.
pub(super) fn unknown(error: &io::Error) -> NotSent {
    NotSent::outcome_unknown(Actor::Microsoft, &format!("there was no reply to the end of the message: {error}"))
}
