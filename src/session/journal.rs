//! What happens to connections and logins, told once to everybody who wants to know: the log, and whoever counts or shows.

use std::sync::Arc;
use std::time::Duration;

use super::{Service, Subject, Whose};
use crate::failure::Failure;
use crate::proto::Refusal;

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
