//! Replies in the middle of a transaction, when a message cannot be sent.

use std::io;

use crate::graph::{MESSAGE_OCTETS, NotSent};
use gatepost_core::failure::{Actor, Failure, Refusal};
use gatepost_proto::mail::smtp::Reply;

/// Why a command or a message is refused.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    /// The reply to the client.
    pub(super) reply: Reply,
    /// The failure for the log, unless the reply says everything.
    pub(super) failure: Option<Failure>,
}

impl Refused {
    /// Refuses for a failure.
    pub(super) fn of(failure: Failure, session: &str) -> Self {
        Self { reply: reply(&failure, session), failure: Some(failure) }
    }
}

impl From<Reply> for Refused {
    fn from(reply: Reply) -> Self {
        Self { reply, failure: None }
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

/// The service stops.
pub(super) fn stopping() -> Reply {
    Reply::new(421, [3, 2], "The service is stopping, try again later")
}

/// The configuration no longer trusts the client's address.
pub(super) fn not_trusted() -> Reply {
    Reply::new(421, [3, 2], "This device is trusted no longer")
}

/// The message is larger than Graph takes.
pub(super) fn too_large_for_graph() -> Reply {
    let words = format_args!("The message is too large. Microsoft Graph takes at most {MESSAGE_OCTETS} bytes");
    Reply::new(552, [3, 4], words)
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
    NotSent::outcome_unknown(Actor::Nobody, &format!("there was no reply to the end of the message: {error}"))
}
