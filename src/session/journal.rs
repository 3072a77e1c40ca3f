//! What happens to connections and logins, told once to everybody who wants to know: the log, and whoever counts or shows.
//!
//! [`Journal::accepted`] makes a session live: it is listed, counted and can be ended by an operator as long as the [`Live`]
//! that it gives is kept. [`Journal::ended`] writes down how it ended.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::live::{Live, LiveSession, Register};
use super::{Service, Subject, Whose};
use crate::clock::Clock;
use crate::failure::Failure;
use crate::proto::Refusal;
use crate::protocol::Protocol;
use crate::telemetry::history::{History, Minute, Totals};
use crate::telemetry::metrics::{Metrics, Throttle};
use crate::telemetry::recent::{Recent, Recently, Scene};

/// The word for a session that an operator ended.
pub(super) const ENDED_BY_OPERATOR: &str = "ended-by-operator";

/// The one place that is told of every decision about a client.
#[derive(Debug)]
pub struct Journal {
    clock: Clock,
    metrics: Arc<Metrics>,
    sessions: Arc<Register>,
    failures: Recently,
    history: History,
}

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
        let metrics = Arc::new(Metrics::new());
        Arc::new(Self {
            clock: Clock::system(),
            sessions: Register::new(Arc::clone(&metrics)),
            metrics,
            failures: Recently::default(),
            history: History::default(),
        })
    }

    /// What is counted.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// A login succeeded; `token` says where its token comes from (`cached`, `fetched`, `of the client`). The session is
    /// live as long as the result is kept.
    pub(super) fn accepted(&self, service: &Service, subject: &Subject, whose: &Whose, token: &'static str) -> Live {
        let protocol = service.listener.protocol;
        self.metrics.login_accepted(protocol);
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
        self.sessions.begin(protocol, subject, whose, self.clock.unix_time())
    }

    /// A login was refused. `account` is what may be shown of the user name.
    pub(super) fn refused(&self, service: &Service, subject: &Subject, account: &str, failure: &Failure) {
        let protocol = service.listener.protocol;
        self.metrics.login_refused(protocol, failure.cause);
        match failure.cause {
            "upstream-limit" => self.metrics.throttled(Throttle::Exchange),
            "mailbox-occupied" | "crowded" => self.metrics.throttled(Throttle::Gatepost),
            _ => {}
        }
        let scene = Scene { session: &subject.session, listener: &subject.listener, protocol, peer: subject.peer };
        self.failures.add(scene, account, failure, self.clock.unix_time());
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
        self.metrics.closed(cause);
        tracing::debug!(
            session = &*subject.session,
            listener = &*subject.listener,
            peer = %subject.peer,
            outcome = "closed",
            cause,
            "connection closed before a login: {text}"
        );
    }

    /// A connection was closed before a word was said on it; whoever decided that has written the line.
    pub(super) fn turned_away(&self, cause: &'static str) {
        self.metrics.closed(cause);
    }

    /// A session ended that had logged in.
    pub(super) fn ended(&self, service: &Service, subject: &Subject, whose: &Whose, ending: Ending) {
        self.metrics.closed(ending.cause);
        self.sessions.settle(service.listener.protocol, &subject.session, ending.sent, ending.received);
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

    /// Tells a live session to end, because an operator wants it; false when there is none of this id.
    pub fn end_session(&self, id: &str) -> bool {
        let Some(session) = self.sessions.end(id) else { return false };
        tracing::info!(session = id, account = &*session.account, "an operator ends the session");
        true
    }

    /// The sessions that are live, the oldest first.
    pub fn sessions(&self) -> Vec<Arc<LiveSession>> {
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

    /// Brings what is only added up when somebody looks up to date.
    pub(crate) fn add_up(&self) {
        for (protocol, octets) in self.sessions.traffic() {
            self.metrics.relayed(protocol, octets);
        }
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
                cause = "own-fault",
                "a fault of Gatepost ended one session, and no other; Gatepost's developers: the lines before this one say where"
            );
        }
    }
}
