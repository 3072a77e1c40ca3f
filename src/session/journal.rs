//! What happens to connections and logins, told once to everybody who wants to know: the log, and whoever counts or shows.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::{Service, Subject, Whose};
use crate::failure::Failure;
use crate::proto::Refusal;
use crate::proto::smtp::Reply;

/// The one place that is told of every decision about a client.
#[derive(Debug, Default)]
pub struct Journal {}

/// How much went through a session, and how it ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    /// A short fixed word.
    pub(super) cause: &'static str,
    /// Since the connection began.
    pub(super) duration: Duration,
    /// Octets from the client to Microsoft.
    pub(super) sent: u64,
    /// Octets from Microsoft to the client.
    pub(super) received: u64,
}

/// What became of a message that Gatepost took itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Microsoft accepted it.
    Sent,
    /// It did not go out.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// A message that Gatepost took itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    /// `smtp`, `graph` or `none`.
    pub(super) way: &'static str,
    /// What became of it.
    pub(super) outcome: Outcome,
    /// The rule of `trusted_senders` that let it in.
    pub(super) trusted: Option<IpNet>,
    /// How many recipients were accepted.
    pub(super) recipients: usize,
    /// Its length.
    pub(super) octets: u64,
    /// What the client was told.
    pub(super) reply: &'a Reply,
    /// What happened, when it was more than a refusal by Microsoft.
    pub(super) failure: Option<&'a Failure>,
}

impl Journal {
    /// Nothing has happened.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A login succeeded; `token` says where its token comes from (`cached`, `fetched`, `of the client`).
    pub(super) fn accepted(&self, _service: &Service, subject: &Subject, whose: &Whose, token: &'static str) {
        tracing::info!(
            session = &*subject.session,
            listener = &*subject.listener,
            peer = %subject.peer,
            account = &*whose.account,
            device = whose.device(),
            outcome = "accepted",
            token,
            "login accepted"
        );
    }

    /// A login was refused. `account` is what may be shown of the user name.
    pub(super) fn refused(&self, _service: &Service, subject: &Subject, account: &str, failure: &Failure) {
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    session = &*subject.session,
                    listener = &*subject.listener,
                    peer = %subject.peer,
                    account,
                    outcome = "refused",
                    cause = failure.cause,
                    actor = failure.actor.name(),
                    "login refused: {failure}"
                )
            };
        }
        match failure.refusal {
            Refusal::InvalidCredentials | Refusal::NotAuthorized | Refusal::Limit => line!(info),
            Refusal::Unavailable => line!(warn),
            Refusal::ContactAdmin | Refusal::ServerBug => line!(error),
        }
    }

    /// A connection ended without a login. Most of these are probes and scanners: they are worth a line only when somebody
    /// looks for one.
    pub(super) fn closed(&self, _service: &Service, subject: &Subject, cause: &'static str, text: &str) {
        tracing::debug!(
            session = &*subject.session,
            listener = &*subject.listener,
            peer = %subject.peer,
            outcome = "closed",
            cause,
            "connection closed before a login: {text}"
        );
    }

    /// A message has come to its end.
    pub(super) fn message(&self, _service: &Service, subject: &Subject, whose: &Whose, message: &Message<'_>) {
        macro_rules! line {
            ($level:ident, $outcome:literal, $text:literal) => {
                tracing::$level!(
                    session = &*subject.session,
                    listener = &*subject.listener,
                    peer = %subject.peer,
                    account = &*whose.account,
                    device = whose.device(),
                    trusted = message.trusted.map(display),
                    way = message.way,
                    outcome = $outcome,
                    cause = message.failure.map(|failure| failure.cause),
                    actor = message.failure.map(|failure| failure.actor.name()),
                    recipients = message.recipients,
                    bytes = message.octets,
                    reply = %message.reply,
                    "{}{}",
                    $text,
                    message.failure.map(|failure| format!(": {failure}")).unwrap_or_default()
                )
            };
        }
        match message.outcome {
            Outcome::Sent => line!(info, "sent", "message sent"),
            Outcome::Refused => line!(warn, "not-sent", "message not sent"),
            Outcome::Unknown => line!(warn, "unknown", "message sent, perhaps"),
        }
    }

    /// A command of a mail transaction was refused, by Microsoft or by a rule.
    pub(super) fn command_refused(
        &self,
        subject: &Subject,
        whose: &Whose,
        trusted: Option<IpNet>,
        reply: &Reply,
        failure: Option<&Failure>,
    ) {
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    session = &*subject.session,
                    listener = &*subject.listener,
                    peer = %subject.peer,
                    account = &*whose.account,
                    device = whose.device(),
                    trusted = trusted.map(display),
                    outcome = "not-sent",
                    cause = failure.map(|failure| failure.cause),
                    actor = failure.map(|failure| failure.actor.name()),
                    reply = %reply,
                    "message or recipient refused{}",
                    failure.map(|failure| format!(": {failure}")).unwrap_or_default()
                )
            };
        }
        if failure.is_some() { line!(warn) } else { line!(info) }
    }

    /// A message was refused for what it consists of.
    pub(super) fn flawed(&self, subject: &Subject, whose: &Whose, cause: &'static str, text: &str) {
        tracing::warn!(
            session = &*subject.session,
            listener = &*subject.listener,
            peer = %subject.peer,
            account = &*whose.account,
            device = whose.device(),
            outcome = "not-sent",
            cause,
            "{text}"
        );
    }

    /// Something did not work within a session, which goes on if it can.
    pub(super) fn hindered(&self, _service: &Service, subject: &Subject, whose: &Whose, failure: &Failure) {
        tracing::warn!(
            session = &*subject.session,
            listener = &*subject.listener,
            peer = %subject.peer,
            account = &*whose.account,
            outcome = "hindered",
            cause = failure.cause,
            actor = failure.actor.name(),
            "the session is hindered: {failure}"
        );
    }

    /// A session ended that had logged in.
    pub(super) fn ended(&self, _service: &Service, subject: &Subject, whose: &Whose, ending: Ending) {
        tracing::info!(
            session = &*subject.session,
            listener = &*subject.listener,
            peer = %subject.peer,
            account = &*whose.account,
            device = whose.device(),
            outcome = "ended",
            cause = ending.cause,
            duration_ms = u64::try_from(ending.duration.as_millis()).unwrap_or(u64::MAX),
            bytes_sent = ending.sent,
            bytes_received = ending.received,
            "session ended"
        );
    }
}
