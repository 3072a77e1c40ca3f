//! Records what happens to connections and logins, once for all consumers: the log, the counters,
//! and the status page.
//!
//! `Journal::accepted` makes a session live. While the returned [`SessionGuard`] is kept, the
//! session is listed and counted, and an operator can end it. `Journal::ended` records how it
//! ended.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::{MissedTickBehavior, interval};

use crate::session::connection_info::{ConnectionInfo, SessionUser};
use crate::session::registry::{SessionEntry, SessionGuard, SessionRegistry};
use gatepost_core::account::MailAddress;
use gatepost_core::cause::Cause;
use gatepost_core::clock::{Clock, UnixTime};
use gatepost_core::failure::{Failure, Refusal};
use gatepost_core::protocol::Protocol;
use gatepost_proto::mail::smtp::Reply;
use gatepost_telemetry::audit::{Audit, Entry};
use gatepost_telemetry::history::{History, Minute, Totals};
use gatepost_telemetry::metrics::{Metrics, Sent, Throttle, Way};
use gatepost_telemetry::recent::{Recent, Recently, Scene};

/// Writes a log line about a connection. The fields that identify it come first and are the same in
/// every line, because people search for them.
macro_rules! tell {
    ($level:ident, $subject:expr, by $whose:expr, $($rest:tt)+) => {
        tell!($level, $subject, account = &*$whose.account, device = $whose.device(), $($rest)+)
    };
    ($level:ident, $subject:expr, $($rest:tt)+) => {
        tracing::$level!(
            session = &*$subject.session,
            listener = &*$subject.listener,
            peer = %$subject.peer,
            $($rest)+
        )
    };
}

/// The one place that is told of every decision about a client.
#[derive(Debug)]
pub struct Journal {
    clock: Clock,
    metrics: Arc<Metrics>,
    sessions: Arc<SessionRegistry>,
    failures: Recently,
    history: History,
    audit: Option<Audit>,
}

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
    /// It was not sent.
    Refused,
    /// The outcome is unknown.
    Unknown,
}

/// A message that Gatepost took itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    /// `smtp`, `graph` or `none`.
    pub(super) way: &'static str,
    /// The rule of `trusted_senders` that let it in.
    pub(super) trusted: Option<IpNet>,
    /// The mailbox that sends it, when it is not the session's.
    pub(super) mailbox: Option<&'a MailAddress>,
    /// How many recipients were accepted.
    pub(super) recipients: usize,
    /// Its length.
    pub(super) octets: u64,
    /// The reply to the client.
    pub(super) reply: &'a Reply,
    /// What happened, unless it was only a refusal by Microsoft.
    pub(super) failure: Option<&'a Failure>,
    /// What is worth knowing about a message that was sent; empty otherwise.
    pub(super) remark: &'a str,
}

impl Message<'_> {
    /// Returns what became of it.
    pub(super) fn outcome(&self) -> Outcome {
        match self.failure {
            Some(failure) if failure.cause == Cause::OutcomeUnknown => Outcome::Unknown,
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
    /// A short fixed word.
    pub(super) cause: Cause,
    /// The status of the answer.
    pub(super) status: u16,
    /// The host that the request names, if its head could be read.
    pub(super) host: Option<&'a str>,
    /// Its method, likewise.
    pub(super) method: Option<&'a str>,
    /// Its path, likewise, without the query.
    pub(super) path: Option<&'a str>,
    /// What the client was told.
    pub(super) text: &'a str,
}

impl Journal {
    /// Creates an empty journal. Decisions, ends of sessions and acts of administrators are also
    /// written to `audit`.
    pub fn new(audit: Option<Audit>) -> Arc<Self> {
        let metrics = Arc::new(Metrics::new());
        Arc::new(Self {
            clock: Clock::system(),
            sessions: SessionRegistry::new(Arc::clone(&metrics)),
            metrics,
            failures: Recently::default(),
            history: History::default(),
            audit,
        })
    }

    /// Records a reload: what was taken over, or why nothing was.
    pub fn reloaded(&self, outcome: Result<&str, &str>, at: UnixTime) {
        self.metrics.reloaded(outcome.is_ok(), at.0);
        let (outcome, message) = match outcome {
            Ok(changed) => ("reloaded", changed),
            Err(why) => ("not-reloaded", why),
        };
        if let Some(audit) = &self.audit {
            audit.record(&Entry { event: "admin", outcome, message, ..Entry::default() });
        }
    }

    /// Writes an entry about a session to the audit log.
    fn record(
        &self,
        protocol: Protocol,
        subject: &ConnectionInfo,
        account: &str,
        device: Option<impl fmt::Display>,
        entry: Entry<'_>,
    ) {
        let Some(audit) = &self.audit else { return };
        let (peer, device) = (subject.peer.to_string(), device.map_or_else(String::new, |device| device.to_string()));
        audit.record(&Entry {
            listener: &subject.listener,
            protocol: protocol.name(),
            peer: &peer,
            session: &subject.session,
            account,
            device: &device,
            ..entry
        });
    }

    /// Returns the counters.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Records a successful login; `token` says where its token comes from (`cached`, `fetched`,
    /// `of the client`). The session is live while the result is kept.
    pub(super) fn accepted(
        &self,
        protocol: Protocol,
        subject: &ConnectionInfo,
        whose: &SessionUser,
        token: &'static str,
    ) -> SessionGuard {
        self.metrics.login_accepted(protocol);
        tell!(info, subject, by whose,
            outcome = "accepted",
            token,
            mailbox = whose.mailbox.as_deref(),
            "login accepted"
        );
        let message =
            whose.mailbox.as_ref().map_or_else(String::new, |mailbox| format!("opened the mailbox `{mailbox}`"));
        let entry = Entry { event: "login", outcome: "accepted", message: &message, ..Entry::default() };
        self.record(protocol, subject, &whose.account, whose.device(), entry);
        self.sessions.begin(protocol, subject, whose, self.clock.unix_time())
    }

    /// Records a refused login. `account` is what may be shown of the user name.
    pub(super) fn refused(&self, protocol: Protocol, subject: &ConnectionInfo, account: &str, failure: &Failure) {
        self.metrics.login_refused(protocol, failure.cause);
        self.failed(protocol, subject, account, failure);
        if self.audit.is_some() {
            let message = failure.to_string();
            let entry = Entry {
                event: "login",
                outcome: "refused",
                cause: Some(failure.cause),
                message: &message,
                ..Entry::default()
            };
            self.record(protocol, subject, account, None::<&str>, entry);
        }
        macro_rules! line {
            ($level:ident) => {
                tell!(
                    $level,
                    subject,
                    account,
                    outcome = "refused",
                    cause = failure.cause.name(),
                    action_by = failure.actor.name(),
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

    /// Records a refused request. The client was told the session's id. How many lines there are
    /// about one source is limited by the log.
    pub(super) fn request_refused(&self, protocol: Protocol, subject: &ConnectionInfo, request: &RefusedRequest<'_>) {
        let &RefusedRequest { account, cause, status, host, method, path, text } = request;
        self.metrics.request_refused(protocol, cause);
        macro_rules! line {
            ($level:ident) => {
                tell!(
                    $level,
                    subject,
                    account,
                    outcome = "refused",
                    cause = cause.name(),
                    status,
                    host,
                    method,
                    path,
                    "request refused: {text}"
                )
            };
        }
        match cause {
            Cause::InternalError | Cause::RequestNotMade => line!(error),
            _ => line!(info),
        }
    }

    /// Records a connection that ended without a login. Most of these are probes and scanners, so
    /// the line is at debug level.
    pub(super) fn closed(&self, subject: &ConnectionInfo, cause: Cause, text: &str) {
        self.metrics.closed(cause);
        tell!(debug, subject, outcome = "closed", cause = cause.name(), "connection closed before a login: {text}");
    }

    /// Records a connection that ended without a login, and will do so until somebody changes a
    /// setting. `text` says what to change.
    pub(super) fn unfit(&self, subject: &ConnectionInfo, cause: Cause, text: &str) {
        self.metrics.closed(cause);
        tell!(info, subject, outcome = "closed", cause = cause.name(), "connection closed before a login: {text}");
    }

    /// Counts a connection that was closed before anything was sent. The caller has written the log
    /// line.
    pub(super) fn turned_away(&self, cause: Cause) {
        self.metrics.closed(cause);
    }

    /// Records the end of a message.
    pub(super) fn message(
        &self,
        protocol: Protocol,
        subject: &ConnectionInfo,
        whose: &SessionUser,
        message: &Message<'_>,
    ) {
        let way = match message.way {
            "smtp" => Way::Smtp,
            "graph" => Way::Graph,
            _ => Way::None,
        };
        let outcome = match message.outcome() {
            Outcome::Sent => Sent::Accepted,
            Outcome::Refused if message.reply.class() == 4 => Sent::Deferred,
            Outcome::Refused => Sent::Refused,
            Outcome::Unknown => Sent::Unknown,
        };
        self.metrics.message(way, outcome);
        if let Some(failure) = message.failure {
            self.failed(protocol, subject, &whose.account, failure);
        }
        let more = match message.failure {
            Some(failure) => format!(": {failure}"),
            None if message.remark.is_empty() => String::new(),
            None => format!(": {}", message.remark),
        };
        macro_rules! line {
            ($level:ident, $outcome:literal, $text:literal) => {
                tell!($level, subject, by whose,
                    trusted = message.trusted.map(display),
                    way = message.way,
                    outcome = $outcome,
                    cause = message.failure.map(|failure| failure.cause.name()),
                    action_by = message.failure.map(|failure| failure.actor.name()),
                    recipients = message.recipients,
                    bytes = message.octets,
                    mailbox = message.mailbox.map(display),
                    reply = %message.reply,
                    "{}{more}",
                    $text
                )
            };
        }
        match message.outcome() {
            Outcome::Sent => line!(info, "sent", "message sent"),
            Outcome::Refused => line!(warn, "not-sent", "message not sent"),
            Outcome::Unknown => line!(warn, "unknown", "message status unknown"),
        }
    }

    /// Records that a command of a mail transaction was refused, by Microsoft or by a rule.
    pub(super) fn command_refused(
        &self,
        subject: &ConnectionInfo,
        whose: &SessionUser,
        trusted: Option<IpNet>,
        reply: &Reply,
        failure: Option<&Failure>,
    ) {
        macro_rules! line {
            ($level:ident) => {
                tell!($level, subject, by whose,
                    trusted = trusted.map(display),
                    outcome = "not-sent",
                    cause = failure.map(|failure| failure.cause.name()),
                    action_by = failure.map(|failure| failure.actor.name()),
                    reply = %reply,
                    "message or recipient refused{}",
                    failure.map(|failure| format!(": {failure}")).unwrap_or_default()
                )
            };
        }
        if failure.is_some() { line!(warn) } else { line!(info) }
    }

    /// Records that a message was refused for its content.
    pub(super) fn flawed(&self, subject: &ConnectionInfo, whose: &SessionUser, cause: Cause, text: &str) {
        tell!(warn, subject, by whose,
            outcome = "not-sent",
            cause = cause.name(),
            "{text}"
        );
    }

    /// Records that something failed within a session. The session continues if it can.
    pub(super) fn degraded(
        &self,
        protocol: Protocol,
        subject: &ConnectionInfo,
        whose: &SessionUser,
        failure: &Failure,
    ) {
        self.failed(protocol, subject, &whose.account, failure);
        tell!(
            warn,
            subject,
            account = &*whose.account,
            outcome = "degraded",
            cause = failure.cause.name(),
            action_by = failure.actor.name(),
            "the session is degraded: {failure}"
        );
    }

    /// Records the end of a session that had logged in. It is no longer live.
    pub(super) fn ended(
        &self,
        protocol: Protocol,
        subject: &ConnectionInfo,
        whose: &SessionUser,
        live: SessionGuard,
        ending: Ending,
    ) {
        self.metrics.closed(ending.cause);
        live.moved(ending.sent, ending.received);
        drop(live);
        let entry = Entry {
            event: "session",
            outcome: "ended",
            cause: Some(ending.cause),
            duration_ms: Some(u64::try_from(ending.duration.as_millis()).unwrap_or(u64::MAX)),
            bytes_sent: Some(ending.sent),
            bytes_received: Some(ending.received),
            ..Entry::default()
        };
        self.record(protocol, subject, &whose.account, whose.device(), entry);
        tell!(info, subject, by whose,
            outcome = "ended",
            cause = ending.cause.name(),
            duration_ms = u64::try_from(ending.duration.as_millis()).unwrap_or(u64::MAX),
            bytes_sent = ending.sent,
            bytes_received = ending.received,
            "session ended"
        );
    }

    /// Records an act of an administrator on the page: `done` is a fixed word, `account` the
    /// account concerned.
    pub(crate) fn act(&self, done: &'static str, account: &str, message: &str) {
        self.act_by("page", done, account, message);
    }

    /// Records an act like [`Self::act`], done by means of `by`.
    pub(crate) fn act_by(&self, by: &str, done: &'static str, account: &str, message: &str) {
        tracing::info!(account, done, by, "{message}");
        if let Some(audit) = &self.audit {
            audit.record(&Entry { event: "admin", outcome: done, account, by, message, ..Entry::default() });
        }
    }

    /// Tells a live session to end, because an operator wants it. Returns false when there is none
    /// of this id.
    pub fn end_session(&self, id: &str) -> bool {
        let accounts = self.sessions.end(id);
        for account in &accounts {
            self.act("session-ended", account, &format!("the session {id} is ended"));
        }
        !accounts.is_empty()
    }

    /// Returns the live sessions, the oldest first.
    pub fn sessions(&self) -> Vec<Arc<SessionEntry>> {
        let mut sessions = self.sessions.all();
        sessions.sort_by(|a, b| (a.since, &a.id).cmp(&(b.since, &b.id)));
        sessions
    }

    /// Returns the recent failures, the latest first.
    pub fn failures(&self) -> Vec<Recent> {
        self.failures.all()
    }

    /// Returns the history of the last hours, the oldest minute first.
    pub fn history(&self) -> Vec<Minute> {
        let (totals, sessions) = self.totals();
        self.history.minutes(totals, sessions)
    }

    /// Returns the octets of all sessions so far, to Microsoft and from there.
    pub fn traffic(&self) -> (u64, u64) {
        self.sessions.traffic().iter().fold((0, 0), |(sent, received), (_, more)| {
            (u64::saturating_add(sent, more.0), u64::saturating_add(received, more.1))
        })
    }

    /// Adds each minute to the history, until it is dropped.
    pub(crate) async fn keep_history(&self) {
        let mut minutes = interval(Duration::from_secs(60));
        minutes.set_missed_tick_behavior(MissedTickBehavior::Skip);
        minutes.tick().await;
        loop {
            minutes.tick().await;
            let (totals, sessions) = self.totals();
            self.history.tick(totals, sessions);
        }
    }

    /// Updates the counters that are only added up when they are read.
    pub(crate) fn add_up(&self) {
        for (protocol, octets) in self.sessions.traffic() {
            self.metrics.relayed(protocol, octets);
        }
    }

    /// Remembers a failure, and counts it if it was a throttling.
    fn failed(&self, protocol: Protocol, subject: &ConnectionInfo, account: &str, failure: &Failure) {
        match failure.cause {
            Cause::UpstreamLimit => self.metrics.throttled(Throttle::Exchange),
            Cause::MailboxOccupied | Cause::ConnectQueueFull => self.metrics.throttled(Throttle::Gatepost),
            Cause::Throttled => self.metrics.throttled(Throttle::Graph),
            _ => {}
        }
        let scene = Scene { session: &subject.session, listener: &subject.listener, protocol, peer: subject.peer };
        self.failures.add(scene, account, failure, self.clock.unix_time());
    }

    fn totals(&self) -> (Totals, u64) {
        let (accepted, refused) = self.metrics.logins();
        let (sent, received) = self.traffic();
        let bytes = sent.saturating_add(received);
        let totals = Totals {
            accepted,
            refused,
            bytes,
            token: self.metrics.token_request.totals(),
            connect: self.metrics.upstream_connect.totals(),
        };
        (totals, Protocol::ALL.into_iter().map(|protocol| self.metrics.sessions(protocol)).sum())
    }
}

/// Kept while a connection is served. A fault of Gatepost that ends the connection is counted, and
/// logged once.
pub(super) struct Watch<'a>(pub(super) &'a Journal);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.metrics.panicked();
            tracing::error!(
                cause = Cause::InternalError.name(),
                "a fault of Gatepost ended one session, and no other. Gatepost bug: the lines before this one say where"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatepost_core::failure::Actor;

    #[test]
    fn a_failure_for_want_of_patience_is_counted_by_who_asked_for_it() {
        let journal = Journal::new(None);
        let subject = ConnectionInfo::new(&"pop3".into(), "192.0.2.7:4000".parse().unwrap());
        let whose = SessionUser::named("alice@contoso.example");
        for (cause, by) in [
            (Cause::UpstreamLimit, "exchange"),
            (Cause::MailboxOccupied, "gatepost"),
            (Cause::Throttled, "graph"),
            (Cause::UpstreamBroke, "nobody"),
        ] {
            let failure = Failure::new(cause, "no").by(Actor::Nobody);
            journal.degraded(Protocol::Pop3, &subject, &whose, &failure);
            let counted = format!("gatepost_throttled_total{{by=\"{by}\"}} 1\n");
            assert_eq!(journal.metrics().text().contains(&counted), by != "nobody", "{cause}");
        }
    }
}
