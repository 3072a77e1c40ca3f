//! What the [`Journal`](super::journal::Journal) is told of sessions, messages and requests.

use std::time::Duration;

use gatepost_config::TrustedSource;
use gatepost_core::account::MailAddress;
use gatepost_core::cause::Cause;
use gatepost_core::failure::Failure;
use gatepost_proto::mail::smtp::Reply;

/// The traffic of a session, and how it ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    /// A short fixed word.
    pub(super) cause: Cause,
    /// Time since the connection began.
    pub(super) duration: Duration,
    /// Octets from the client to Microsoft.
    pub(super) sent: u64,
    /// Octets from Microsoft to the client.
    pub(super) received: u64,
}

/// The outcome of a message that Gatepost took itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Microsoft accepted it.
    Sent,
    /// It is durable in the queue.
    Queued,
    /// It was not sent.
    Refused,
    /// The outcome is unknown.
    Unknown,
}

/// A message that Gatepost took itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    /// `smtp`, `graph`, `queue` or `none`.
    pub(super) way: &'static str,
    /// The source of the rule that let it in without a login.
    pub(super) trusted: Option<TrustedSource>,
    /// The mailbox that sends it, when it is not the session's.
    pub(super) mailbox: Option<&'a MailAddress>,
    /// The envelope sender.
    pub(super) sender: Option<&'a str>,
    /// How many recipients were accepted.
    pub(super) recipients: usize,
    /// Its length.
    pub(super) octets: u64,
    /// The reply to the client.
    pub(super) reply: &'a Reply,
    /// What happened, unless the message was sent.
    pub(super) failure: Option<&'a Failure>,
    /// What is worth knowing about a message that was sent; empty otherwise.
    pub(super) remark: &'a str,
}

impl Message<'_> {
    /// Returns what became of it.
    pub(super) fn outcome(&self) -> Outcome {
        match self.failure {
            Some(failure) if failure.cause == Cause::OutcomeUnknown => Outcome::Unknown,
            _ if self.reply.class() == 2 && self.way == "queue" => Outcome::Queued,
            _ if self.reply.class() == 2 => Outcome::Sent,
            _ => Outcome::Refused,
        }
    }
}

/// A request of an HTTP client that was refused for another reason than its login.
#[derive(Clone, Copy, Debug)]
pub(super) struct RefusedRequest<'a> {
    /// The account, if its credentials were accepted.
    pub(super) account: Option<&'a str>,
    /// Why, and what to do.
    pub(super) failure: &'a Failure,
    /// The status of the answer.
    pub(super) status: u16,
    /// The host that the request names, if its head could be read.
    pub(super) host: Option<&'a str>,
    /// Its method, likewise.
    pub(super) method: Option<&'a str>,
    /// Its path, likewise, without the query.
    pub(super) path: Option<&'a str>,
}
