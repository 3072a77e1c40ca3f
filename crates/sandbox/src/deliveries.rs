//! The record of what was really sent: however a client was answered, each message that left a
//! mailbox is here as often as it left.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::letter::Letter;
use super::mode::Service;

/// Entries of the record. What comes later is not recorded.
const ENTRIES: usize = 1 << 20;

/// A message that left a mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The service that took it.
    pub service: Service,
    /// The mailbox (folded).
    pub mailbox: String,
    /// Its Message-ID; empty without one.
    pub message_id: String,
    /// When, by tokio's clock, since the sandbox started.
    pub at: Duration,
}

/// All that was sent, in order.
pub(super) struct Deliveries {
    start: Instant,
    sent: Mutex<Vec<Delivery>>,
}

impl Default for Deliveries {
    fn default() -> Self {
        Self { start: Instant::now(), sent: Mutex::default() }
    }
}

impl Deliveries {
    pub(super) fn record(&self, service: Service, mailbox: &str, message: &[u8]) {
        let message_id = Letter::read(message).field("message-id").unwrap_or_default().trim().to_owned();
        let delivery = Delivery { service, mailbox: mailbox.to_lowercase(), message_id, at: self.start.elapsed() };
        let mut sent = self.sent.lock();
        if sent.len() < ENTRIES {
            sent.push(delivery);
        }
    }

    pub(super) fn all(&self) -> Vec<Delivery> {
        self.sent.lock().clone()
    }
}
