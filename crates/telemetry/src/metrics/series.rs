//! Kinds of series that the library lacks: a histogram with a mean, one counter for each protocol,
//! and bounded families.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;

use gatepost_core::protocol::Protocol;

/// A histogram whose mean is available without a scrape.
#[derive(Debug)]
pub struct Timing {
    pub(super) histogram: Histogram,
    count: AtomicU64,
    micros: AtomicU64,
}

impl Timing {
    pub(super) fn new(buckets: [f64; 10]) -> Self {
        Self { histogram: Histogram::new(buckets), count: AtomicU64::new(0), micros: AtomicU64::new(0) }
    }

    /// Records one duration.
    pub fn observe(&self, took: Duration) {
        self.histogram.observe(took.as_secs_f64());
        self.count.fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The number of durations, and their sum in microseconds.
    pub fn totals(&self) -> (u64, u64) {
        (self.count.load(Ordering::Relaxed), self.micros.load(Ordering::Relaxed))
    }
}

/// A metric for each protocol, usable without a lookup.
#[derive(Debug)]
pub(super) struct PerProtocol<M>(pub(super) [M; Protocol::ALL.len()]);

impl<M: Clone> PerProtocol<M> {
    pub(super) fn of(make: impl Fn(Protocol) -> M) -> Self {
        Self(Protocol::ALL.map(make))
    }

    pub(super) fn get(&self, protocol: Protocol) -> &M {
        let [imap, pop3, smtp, ews, graph] = &self.0;
        match protocol {
            Protocol::Imap => imap,
            Protocol::Pop3 => pop3,
            Protocol::Smtp => smtp,
            Protocol::Ews => ews,
            Protocol::Graph => graph,
        }
    }
}
