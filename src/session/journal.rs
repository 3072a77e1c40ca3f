//! What happens to connections and logins, told once to everybody who wants to know: the log, and whoever counts or shows.
//!
//! `Journal::accepted` makes a session live: it is listed, counted and can be ended by an operator as long as the [`SessionGuard`]
//! that it gives is kept. `Journal::ended` writes down how it ended.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::{MissedTickBehavior, interval};

use crate::session::connection_info::{ConnectionInfo, SessionUser};
use crate::session::registry::{SessionEntry, SessionGuard, SessionRegistry};
use gatepost_core::cause::Cause;
use gatepost_core::clock::{Clock, UnixTime};
use gatepost_core::failure::{Failure, Refusal};
use gatepost_core::protocol::Protocol;
use gatepost_proto::mail::smtp::Reply;
use gatepost_telemetry::audit::{Audit, Entry};
use gatepost_telemetry::history::{History, Minute, Totals};
use gatepost_telemetry::metrics::{Metrics, Sent, Throttle, Way};
use gatepost_telemetry::recent::{Recent, Recently, Scene};

/// Writes a line about a connection. Who it is about comes first, the same in every line: what a person searches for.
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

/// How much went through a session, and how it ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    /// Why.
    pub(super) cause: Cause,
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
    /// Nothing has happened. Decisions, ends of sessions and acts of administrators also go to `audit`.
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

    /// The configuration was read again: what was taken over, or why nothing was.
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

    /// Writes an entry about a session into the audit log.
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

    /// What is counted.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// A login succeeded; `token` says where its token comes from (`cached`, `fetched`, `of the client`). The session is
    /// live as long as the result is kept.
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
            "login accepted"
        );
        let entry = Entry { event: "login", outcome: "accepted", ..Entry::default() };
        self.record(protocol, subject, &whose.account, whose.device(), entry);
        self.sessions.begin(protocol, subject, whose, self.clock.unix_time())
    }

    /// A login was refused. `account` is what may be shown of the user name.
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
    pub(super) fn closed(&self, subject: &ConnectionInfo, cause: Cause, text: &str) {
        self.metrics.closed(cause);
        tell!(debug, subject, outcome = "closed", cause = cause.name(), "connection closed before a login: {text}");
    }

    /// A connection was closed before a word was said on it; whoever decided that has written the line.
    pub(super) fn turned_away(&self, cause: Cause) {
        self.metrics.closed(cause);
    }

    /// A message has come to its end.
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
        let outcome = match message.outcome {
            Outcome::Sent => Sent::Accepted,
            Outcome::Refused if message.reply.class() == 4 => Sent::Deferred,
            Outcome::Refused => Sent::Refused,
            Outcome::Unknown => Sent::Unknown,
        };
        self.metrics.message(way, outcome);
        if let Some(failure) = message.failure {
            self.failed(protocol, subject, &whose.account, failure);
        }
        macro_rules! line {
            ($level:ident, $outcome:literal, $text:literal) => {
                tell!($level, subject, by whose,
                    trusted = message.trusted.map(display),
                    way = message.way,
                    outcome = $outcome,
                    cause = message.failure.map(|failure| failure.cause.name()),
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
    pub(super) fn flawed(&self, subject: &ConnectionInfo, whose: &SessionUser, cause: Cause, text: &str) {
        tell!(warn, subject, by whose,
            outcome = "not-sent",
            cause = cause.name(),
            "{text}"
        );
    }

    /// Something did not work within a session, which goes on if it can.
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
            actor = failure.actor.name(),
            "the session is degraded: {failure}"
        );
    }

    /// A session ended that had logged in, and is live no longer.
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

    /// An administrator has done something on the page: `done` is a fixed word, `account` whom it concerns.
    pub(crate) fn act(&self, done: &'static str, account: &str, message: &str) {
        self.act_by("page", done, account, message);
    }

    /// The same, done by somebody else.
    pub(crate) fn act_by(&self, by: &str, done: &'static str, account: &str, message: &str) {
        tracing::info!(account, done, by, "{message}");
        if let Some(audit) = &self.audit {
            audit.record(&Entry { event: "admin", outcome: done, account, by, message, ..Entry::default() });
        }
    }

    /// Tells a live session to end, because an operator wants it; false when there is none of this id.
    pub fn end_session(&self, id: &str) -> bool {
        let accounts = self.sessions.end(id);
        for account in &accounts {
            self.act("session-ended", account, &format!("the session {id} is ended"));
        }
        !accounts.is_empty()
    }

    /// The sessions that are live, the oldest first.
    pub fn sessions(&self) -> Vec<Arc<SessionEntry>> {
        let mut sessions = self.sessions.all();
        sessions.sort_by(|a, b| (a.since, &a.id).cmp(&(b.since, &b.id)));
        sessions
    }

    /// The failures of late, the latest first.
    pub fn failures(&self) -> Vec<Recent> {
        self.failures.all()
    }

    /// What happened in the last hours, the oldest minute first.
    pub fn history(&self) -> Vec<Minute> {
        let (totals, sessions) = self.totals();
        self.history.minutes(totals, sessions)
    }

    /// Octets of all sessions so far, to Microsoft and from there.
    pub fn traffic(&self) -> (u64, u64) {
        self.sessions.traffic().iter().fold((0, 0), |(sent, received), (_, more)| {
            (u64::saturating_add(sent, more.0), u64::saturating_add(received, more.1))
        })
    }

    /// Writes down each minute, until it is dropped.
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

    /// LoggedInAs what is only added up when somebody looks up to date.
    pub(crate) fn add_up(&self) {
        for (protocol, octets) in self.sessions.traffic() {
            self.metrics.relayed(protocol, octets);
        }
    }

    /// Remembers a failure, and who asked to be left alone by it.
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

/// Kept while a connection is served: a fault of Gatepost's that ends it is counted, and told once.
pub(super) struct Watch<'a>(pub(super) &'a Journal);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.metrics.panicked();
            tracing::error!(
                cause = Cause::InternalError.name(),
                "a fault of Gatepost ended one session, and no other; Gatepost's developers: the lines before this one say where"
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
        let whose = SessionUser { account: "alice@contoso.example".into(), device: None };
        for (cause, by) in [
            (Cause::UpstreamLimit, "exchange"),
            (Cause::MailboxOccupied, "gatepost"),
            (Cause::Throttled, "graph"),
            (Cause::UpstreamBroke, "nobody"),
        ] {
            let failure = Failure {
                refusal: Refusal::Unavailable,
                actor: Actor::Microsoft,
                cause,
                message: "no".into(),
                remedy: "wait".into(),
                delay: false,
            };
            journal.degraded(Protocol::Pop3, &subject, &whose, &failure);
            let counted = format!("gatepost_throttled_total{{by=\"{by}\"}} 1\n");
            assert_eq!(journal.metrics().text().contains(&counted), by != "nobody", "{cause}");
        }
    }
}
