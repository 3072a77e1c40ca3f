//! Metrics of the queue.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::labels::{ByState, Outcome};
use super::{default, registered};

/// The states that messages of the queue can be counted in.
const STATES: [&str; 6] = ["waiting", "sending", "looking", "failed", "unknown", "sent"];

/// What became of a message of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueOutcome {
    /// Microsoft has it.
    Sent,
    /// It waits for a person, because it was refused or could not be delivered in time.
    Failed,
    /// It waits for a person, because nobody can tell whether Microsoft has it.
    Unknown,
    /// It is tried again later.
    Retried,
}

impl QueueOutcome {
    const ALL: [Self; 4] = [Self::Sent, Self::Failed, Self::Unknown, Self::Retried];

    fn label(self) -> Outcome {
        let outcome = match self {
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Retried => "retried",
        };
        Outcome { outcome }
    }
}

/// How much there is in the queue, and what became of its messages.
pub struct QueueMetrics {
    messages: Family<ByState, Gauge>,
    bytes: Gauge,
    limit: Gauge,
    oldest: Gauge,
    outcomes: Family<Outcome, Counter>,
}

impl QueueMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let r = registry;
        let messages: Family<ByState, Gauge> = registered(r, "queue_messages", "Messages in the queue", default());
        let bytes = registered(r, "queue_bytes", "Bytes of all messages in the queue", default());
        let help = "Bytes that all messages in the queue may have: `queue.size`, or 0 without a queue";
        let limit = registered(r, "queue_size_bytes", help, default());
        let help = "Age of the oldest message that waits for its delivery, in seconds";
        let oldest = registered(r, "queue_oldest_seconds", help, default());
        let help = "What became of messages in the queue: each attempt, and each that waits for a person now";
        let outcomes: Family<Outcome, Counter> = registered(r, "queue_outcomes", help, default());
        for state in STATES {
            drop(messages.get_or_create(&ByState { state }));
        }
        for outcome in QueueOutcome::ALL {
            drop(outcomes.get_or_create(&outcome.label()));
        }
        Self { messages, bytes, limit, oldest, outcomes }
    }

    /// Counts what became of a message.
    pub fn outcome(&self, outcome: QueueOutcome) {
        self.outcomes.get_or_create(&outcome.label()).inc();
    }

    /// Sets how many messages are in a state, of which there are a few fixed ones.
    pub fn messages(&self, state: &'static str, number: u64) {
        self.messages.get_or_create(&ByState { state }).set(i64::try_from(number).unwrap_or(i64::MAX));
    }

    /// Sets how many bytes there are and may be, and the age of the oldest message that waits.
    pub fn size(&self, bytes: u64, limit: u64, oldest_seconds: u64) {
        self.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.limit.set(i64::try_from(limit).unwrap_or(i64::MAX));
        self.oldest.set(i64::try_from(oldest_seconds).unwrap_or(i64::MAX));
    }
}
