//! Tells the log, the metrics and the status page what became of the messages of the queue.

use std::time::Duration;

use super::attempt::Attempt;
use crate::session::journal::Journal;
use crate::session::severity::Severity;
use gatepost_config::value::show_duration;
use gatepost_core::failure::{Actor, Failure};
use gatepost_core::protocol::Protocol;
use gatepost_proto::mail::smtp::Reply;
use gatepost_telemetry::metrics::{QueueOutcome, Sent, Way};

/// What a line is about.
#[derive(Clone, Copy)]
pub(super) struct Telling<'a> {
    pub(super) journal: &'a Journal,
    pub(super) attempt: &'a Attempt<'a>,
}

/// What happened to a message that was not sent, with the failure.
#[derive(Clone, Copy)]
pub(super) enum Fate {
    /// It is tried again after this time.
    Delayed(Duration),
    /// It waits for a person.
    Failed,
    /// It is looked for after this time.
    Looked(Duration),
    /// It waits for a person, and may have been sent.
    Unknown,
}

/// Writes a line about a message of the queue.
macro_rules! line {
    ($level:ident, $telling:expr, $outcome:expr, $failure:expr, $($rest:tt)+) => {{
        let Attempt { entry, message, .. } = $telling.attempt;
        let failure: Option<&Failure> = $failure;
        tracing::$level!(
            queue_id = entry.id.0,
            listener = &*message.listener,
            account = &*message.login,
            mailbox = &*message.mailbox,
            peer = &*message.device,
            outcome = $outcome,
            cause = failure.map(|failure| failure.cause.name()),
            code = failure.and_then(|failure| failure.code.as_deref()),
            action_by = failure.map(|failure| failure.actor.name()),
            recipients = message.recipients.len(),
            bytes = entry.bytes,
            attempts = entry.attempts.saturating_add(1),
            $($rest)+
        )
    }};
}

impl Telling<'_> {
    /// Microsoft has the message.
    pub(super) fn sent(&self, way: &'static str, reply: &Reply, remark: &str, waited: Duration) {
        let metrics = self.journal.metrics();
        metrics.queue.outcome(QueueOutcome::Sent);
        metrics.message(if way == "graph" { Way::Graph } else { Way::Smtp }, Sent::Accepted);
        let id = self.attempt.entry.id;
        let remark = if remark.is_empty() { String::new() } else { format!(": {remark}") };
        line!(
            info,
            self,
            "sent",
            None,
            way,
            reply = %reply,
            waited_s = waited.as_secs(),
            "queued message {id} sent{remark}"
        );
    }

    /// The message was found in Sent Items.
    pub(super) fn found(&self) {
        self.journal.metrics().queue.outcome(QueueOutcome::Sent);
        let id = self.attempt.entry.id;
        line!(info, self, "sent", None, "queued message {id} was sent: its copy is in Sent Items");
    }

    /// The recipients do not get all of the message.
    pub(super) fn loss(&self, loss: &Failure) {
        self.journal.failed(Protocol::Smtp, &self.attempt.subject(), &self.attempt.message.login, loss);
        let id = self.attempt.entry.id;
        line!(info, self, "degraded", Some(loss), "queued message {id} lost fields: {loss}");
    }

    /// The message was not sent, or nobody can tell. Returns the failure as it was told.
    pub(super) fn not_sent(&self, failure: Failure, fate: Fate) -> Failure {
        let id = self.attempt.entry.id;
        let metrics = self.journal.metrics();
        let failure = advised(failure, fate, id.0);
        metrics.mail_refused(failure.cause);
        self.journal.failed(Protocol::Smtp, &self.attempt.subject(), &self.attempt.message.login, &failure);
        let (outcome, counted, what) = match fate {
            Fate::Delayed(wait) => {
                ("delayed", QueueOutcome::Retried, format!("delayed, next try in {}", show_duration(rounded(wait))))
            }
            Fate::Failed => ("failed", QueueOutcome::Failed, "failed".to_owned()),
            Fate::Looked(wait) => {
                let wait = show_duration(rounded(wait));
                ("looking", QueueOutcome::Retried, format!("may have been sent, next look into Sent Items in {wait}"))
            }
            Fate::Unknown => ("unknown", QueueOutcome::Unknown, "may have been sent".to_owned()),
        };
        metrics.queue.outcome(counted);
        let severity = match fate {
            // A person must act.
            Fate::Failed | Fate::Unknown => Severity::Warn,
            Fate::Delayed(_) | Fate::Looked(_) if failure.actor == Actor::Nobody => Severity::Info,
            Fate::Delayed(_) | Fate::Looked(_) => Severity::from(&failure),
        };
        match severity {
            Severity::Info => line!(info, self, outcome, Some(&failure), "queued message {id} {what}: {failure}"),
            Severity::Warn => line!(warn, self, outcome, Some(&failure), "queued message {id} {what}: {failure}"),
            Severity::Error => line!(error, self, outcome, Some(&failure), "queued message {id} {what}: {failure}"),
        }
        failure
    }
}

/// The failure with a remedy for a message whose client has gone.
fn advised(failure: Failure, fate: Fate, id: u64) -> Failure {
    match (fate, failure.actor) {
        (Fate::Unknown, _) => failure.by(Actor::GatepostAdmin).to_do(format!(
            "ask a recipient whether the message came. If not, run `gatepost queue retry {id}`, otherwise \
             `gatepost queue discard {id}`"
        )),
        (Fate::Looked(_), _) => failure.by(Actor::Nobody).to_do("Gatepost looks again"),
        (Fate::Delayed(_), Actor::Nobody) => {
            failure.to_do("Gatepost tries again. If this lasts over an hour, check Microsoft 365 service health")
        }
        (Fate::Failed, Actor::Nobody) => failure
            .by(Actor::GatepostAdmin)
            .to_do(format!("run `gatepost queue retry {id}` when Microsoft 365 works again")),
        _ => failure,
    }
}

/// A time without fractions of a second.
fn rounded(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs().max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatepost_core::cause::Cause;

    #[test]
    fn who_must_act_depends_on_what_became_of_the_message() {
        let advice = |fate, cause| {
            let failure = advised(Failure::new(cause, "no"), fate, 7);
            (failure.actor, failure.remedy.into_owned())
        };
        let (passing, lasting) = (Cause::UpstreamUnavailable, Cause::SendDenied);
        let (later, looks) = (Fate::Delayed(Duration::ZERO), Fate::Looked(Duration::ZERO));
        let (actor, remedy) = advice(Fate::Unknown, passing);
        assert_eq!(actor, Actor::GatepostAdmin);
        assert!(remedy.ends_with("`gatepost queue retry 7`, otherwise `gatepost queue discard 7`"), "{remedy}");
        assert_eq!(advice(looks, lasting), (Actor::Nobody, "Gatepost looks again".into()));
        let (actor, remedy) = advice(later, passing);
        assert!(actor == Actor::Nobody && remedy.starts_with("Gatepost tries again. "), "{remedy}");
        let (actor, remedy) = advice(Fate::Failed, passing);
        assert_eq!(actor, Actor::GatepostAdmin);
        assert_eq!(remedy, "run `gatepost queue retry 7` when Microsoft 365 works again");
        let own = Failure::new(lasting, "no");
        for fate in [later, Fate::Failed] {
            assert_eq!(advice(fate, lasting), (own.actor, own.remedy.clone().into_owned()));
        }
    }

    #[test]
    fn a_wait_is_told_in_whole_seconds_and_never_as_none() {
        for (millis, seconds) in [(0, 1), (999, 1), (1_999, 1), (2_000, 2)] {
            assert_eq!(rounded(Duration::from_millis(millis)), Duration::from_secs(seconds));
        }
    }
}
