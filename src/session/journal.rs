//! Records what happens to connections and logins, once for all consumers: the log, the counters,
//! and the status page.
//!
//! `Journal::accepted` makes a session live. While the returned [`SessionGuard`] is kept, the
//! session is listed and counted, and an operator can end it. `Journal::ended` records how it
//! ended.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::session::connection_info::{ConnectionInfo, SessionUser};
use crate::session::devices::DeviceLog;
use crate::session::incident::{Ending, Message, Outcome, RefusedRequest};
use crate::session::registry::{SessionEntry, SessionGuard, SessionRegistry};
use crate::session::repeats::Repeats;
use crate::session::severity::Severity;
use gatepost_config::TrustedSource;
use gatepost_core::cause::Cause;
use gatepost_core::clock::{Clock, UnixTime};
use gatepost_core::failure::Failure;
use gatepost_core::protocol::Protocol;
use gatepost_core::source::Source;
use gatepost_proto::mail::smtp::Reply;
use gatepost_telemetry::audit::{Audit, Entry};
use gatepost_telemetry::history::History;
use gatepost_telemetry::metrics::{Metrics, Sent, Throttle, Way};
use gatepost_telemetry::recent::{Recent, Recently, Scene};

mod history;
mod queue;

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

/// Writes a line about a failure, at the level that follows who must act.
macro_rules! tell_of {
    ($failure:expr, $($rest:tt)+) => {
        match Severity::from($failure) {
            Severity::Info => tell!(info, $($rest)+),
            Severity::Warn => tell!(warn, $($rest)+),
            Severity::Error => tell!(error, $($rest)+),
        }
    };
}

/// How long a connection that fails before its login is not logged again for the same source,
/// listener and cause.
const CONNECTION_TOLD: Duration = Duration::from_secs(3_600);

/// How long a request that Microsoft refuses is not logged again for the same account, listener and
/// cause.
const REQUEST_TOLD: Duration = Duration::from_secs(60);

/// The one place that is told of every decision about a client.
#[derive(Debug)]
pub struct Journal {
    clock: Clock,
    metrics: Arc<Metrics>,
    sessions: Arc<SessionRegistry>,
    failures: Recently,
    history: History,
    devices: DeviceLog,
    audit: Option<Audit>,
    connections_told: Repeats<(Source, Arc<str>, Cause)>,
    requests_told: Repeats<(String, Arc<str>, Cause)>,
    /// When the queue last failed, and why.
    queue_failure: Mutex<Option<(Instant, String)>>,
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
            devices: DeviceLog::default(),
            audit,
            connections_told: Repeats::new(CONNECTION_TOLD),
            requests_told: Repeats::new(REQUEST_TOLD),
            queue_failure: Mutex::default(),
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

    /// Records a step of the renewal of an application's certificate, or why it failed.
    pub(crate) fn renewal(&self, outcome: &'static str, cause: Option<Cause>, message: &str) {
        if let Some(audit) = &self.audit {
            audit.record(&Entry { event: "credential", outcome, cause, by: "renewal", message, ..Entry::default() });
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

    /// Returns what is noted of devices.
    pub(crate) fn devices(&self) -> &DeviceLog {
        &self.devices
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
        self.devices.logged_in(protocol, subject, &whose.account, self.clock.unix_time());
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

    /// Records a refused login. `account` is what may be shown of the user name, and `login` the
    /// address of the account that it belongs to, or else the same.
    pub(super) fn refused(
        &self,
        protocol: Protocol,
        subject: &ConnectionInfo,
        (account, login): (&str, &str),
        failure: &Failure,
    ) {
        self.metrics.login_refused(protocol, failure.cause);
        self.failed_as(protocol, subject, (account, login), failure);
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
        tell_of!(
            failure,
            subject,
            account,
            outcome = "refused",
            cause = failure.cause.name(),
            code = failure.code.as_deref(),
            action_by = failure.actor.name(),
            "login refused: {failure}"
        );
    }

    /// Records a request that Gatepost refused. The client was told the session's id. How many lines
    /// there are about one source is limited by the log.
    pub(super) fn request_refused(&self, protocol: Protocol, subject: &ConnectionInfo, request: &RefusedRequest<'_>) {
        let &RefusedRequest { account, failure, status, host, method, path } = request;
        self.metrics.request_refused(protocol, failure.cause);
        self.failed(protocol, subject, account.unwrap_or_default(), failure);
        tell_of!(
            failure,
            subject,
            account,
            outcome = "refused",
            cause = failure.cause.name(),
            code = failure.code.as_deref(),
            action_by = failure.actor.name(),
            status,
            host,
            method,
            path,
            "request refused: {failure}"
        );
    }

    /// Records a request of `account` that Microsoft answered with an error, which was passed on. A
    /// repetition within a minute is only counted.
    pub(super) fn request_failed(
        &self,
        protocol: Protocol,
        subject: &ConnectionInfo,
        account: &str,
        failure: &Failure,
    ) {
        self.metrics.request_refused(protocol, failure.cause);
        self.failed(protocol, subject, account, failure);
        let fact = (account.to_owned(), Arc::clone(&subject.listener), failure.cause);
        if self.requests_told.is_news(fact, self.clock.now()) {
            tell_of!(
                failure,
                subject,
                account,
                outcome = "failed",
                cause = failure.cause.name(),
                code = failure.code.as_deref(),
                action_by = failure.actor.name(),
                "request failed: {failure}"
            );
        }
    }

    /// Records a connection that ended without a login. Most of these are probes and scanners, so
    /// the line is at debug level.
    pub(super) fn closed(&self, subject: &ConnectionInfo, cause: Cause, text: &str) {
        self.metrics.closed(cause);
        tell!(debug, subject, outcome = "closed", cause = cause.name(), "connection closed before a login: {text}");
    }

    /// Records a connection that ended without a login, and will do so until somebody changes a
    /// setting. The same of one source is logged once an hour, because scanners do it too.
    pub(super) fn unfit(&self, protocol: Protocol, subject: &ConnectionInfo, failure: &Failure) {
        let fact = (Source::of(subject.peer.ip()), Arc::clone(&subject.listener), failure.cause);
        let is_news = self.connections_told.is_news(fact, self.clock.now());
        self.turned_away(protocol, subject, failure, is_news);
        if !is_news {
            tell!(
                debug,
                subject,
                outcome = "closed",
                cause = failure.cause.name(),
                code = failure.code.as_deref(),
                "connection closed again: {failure}"
            );
        }
    }

    /// Counts and shows a connection that was closed before its login, and logs it if it is `news`.
    pub(super) fn turned_away(&self, protocol: Protocol, subject: &ConnectionInfo, failure: &Failure, news: bool) {
        self.metrics.closed(failure.cause);
        self.failed(protocol, subject, "", failure);
        if news {
            self.tell_closed(subject, failure);
        }
    }

    /// Logs that a connection is closed. The caller counts it.
    pub(super) fn tell_closed(&self, subject: &ConnectionInfo, failure: &Failure) {
        tell_of!(
            failure,
            subject,
            outcome = "closed",
            cause = failure.cause.name(),
            code = failure.code.as_deref(),
            action_by = failure.actor.name(),
            "connection closed: {failure}"
        );
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
            Outcome::Sent | Outcome::Queued => Sent::Accepted,
            Outcome::Refused if message.reply.class() == 4 => Sent::Deferred,
            Outcome::Refused => Sent::Refused,
            Outcome::Unknown => Sent::Unknown,
        };
        // What became of a message in the queue is told later.
        if message.outcome() != Outcome::Queued {
            self.metrics.message(way, outcome);
        }
        if matches!(message.outcome(), Outcome::Sent | Outcome::Queued) {
            self.passed(protocol, subject, &whose.account, message.sender);
        }
        if let Some(failure) = message.failure {
            self.metrics.mail_refused(failure.cause);
            self.failed(protocol, subject, &whose.account, failure);
        }
        let more = match message.failure {
            Some(failure) => format!(": {failure}"),
            None if message.remark.is_empty() => String::new(),
            None => format!(": {}", message.remark),
        };
        let (outcome, what) = match message.outcome() {
            Outcome::Sent => ("sent", "message sent"),
            Outcome::Queued => ("queued", "message queued"),
            Outcome::Refused => ("not-sent", "message not sent"),
            Outcome::Unknown => ("unknown", "message status unknown"),
        };
        // The failure says itself what became of the message.
        let what = if message.failure.is_some_and(|failure| failure.message.starts_with("message ")) {
            more.trim_start_matches(": ").to_owned()
        } else {
            format!("{what}{more}")
        };
        macro_rules! line {
            ($level:ident) => {
                tell!($level, subject, by whose,
                    trusted = message.trusted.map(display),
                    way = message.way,
                    outcome,
                    cause = message.failure.map(|failure| failure.cause.name()),
                    code = message.failure.and_then(|failure| failure.code.as_deref()),
                    action_by = message.failure.map(|failure| failure.actor.name()),
                    recipients = message.recipients,
                    bytes = message.octets,
                    mailbox = message.mailbox.map(display),
                    reply = %message.reply,
                    "{what}"
                )
            };
        }
        match message.failure.map_or(Severity::Info, Severity::from) {
            Severity::Info => line!(info),
            Severity::Warn => line!(warn),
            Severity::Error => line!(error),
        }
    }

    /// Records that a command of a mail transaction was refused, by Microsoft or by a rule.
    pub(super) fn command_refused(
        &self,
        subject: &ConnectionInfo,
        whose: &SessionUser,
        trusted: Option<TrustedSource>,
        reply: &Reply,
        failure: &Failure,
    ) {
        self.mail_refused(subject, whose, failure);
        let message = &failure.message;
        let what = if message.starts_with("message ") || message.starts_with("recipient ") {
            failure.to_string()
        } else {
            format!("message or recipient refused: {failure}")
        };
        tell_of!(failure, subject, by whose,
            trusted = trusted.map(display),
            outcome = "not-sent",
            cause = failure.cause.name(),
            code = failure.code.as_deref(),
            action_by = failure.actor.name(),
            reply = %reply,
            "{what}"
        );
    }

    /// Records that a message was refused for its content.
    pub(super) fn flawed(&self, subject: &ConnectionInfo, whose: &SessionUser, failure: &Failure) {
        self.mail_refused(subject, whose, failure);
        tell_of!(failure, subject, by whose,
            outcome = "not-sent",
            cause = failure.cause.name(),
            code = failure.code.as_deref(),
            action_by = failure.actor.name(),
            "{failure}"
        );
    }

    /// Counts and shows a refused sender, recipient or message without a line in the log.
    pub(super) fn mail_refused(&self, subject: &ConnectionInfo, whose: &SessionUser, failure: &Failure) {
        self.metrics.mail_refused(failure.cause);
        self.failed(Protocol::Smtp, subject, &whose.account, failure);
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
        tell_of!(
            failure,
            subject,
            account = &*whose.account,
            outcome = "degraded",
            cause = failure.cause.name(),
            code = failure.code.as_deref(),
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

    /// Notes a message that passed a session and that Microsoft has accepted.
    pub(super) fn passed(&self, protocol: Protocol, subject: &ConnectionInfo, account: &str, sender: Option<&str>) {
        self.devices.sent(protocol, subject, account, sender, self.clock.unix_time());
    }

    /// Remembers a failure, and counts it if it was a throttling.
    pub(super) fn failed(&self, protocol: Protocol, subject: &ConnectionInfo, account: &str, failure: &Failure) {
        self.failed_as(protocol, subject, (account, account), failure);
    }

    /// Remembers a failure, and counts it if it was a throttling. `login` is the account of the
    /// device, where `account` is the name that it used.
    fn failed_as(
        &self,
        protocol: Protocol,
        subject: &ConnectionInfo,
        (account, login): (&str, &str),
        failure: &Failure,
    ) {
        match failure.cause {
            Cause::UpstreamLimit => self.metrics.throttled(Throttle::Exchange),
            Cause::MailboxOccupied | Cause::ConnectQueueFull => self.metrics.throttled(Throttle::Gatepost),
            Cause::Throttled if protocol == Protocol::Ews => self.metrics.throttled(Throttle::Ews),
            Cause::Throttled => self.metrics.throttled(Throttle::Graph),
            _ => {}
        }
        let scene = Scene { session: &subject.session, listener: &subject.listener, protocol, peer: subject.peer };
        let now = self.clock.unix_time();
        self.failures.add(scene, account, failure, now);
        self.devices.failed(protocol, subject, login, failure, now);
    }
}

/// Kept while a connection is served. A fault of Gatepost that ends the connection is counted, and
/// logged once.
pub(super) struct Watch(pub(super) Arc<Journal>);

impl Drop for Watch {
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
mod tests;
