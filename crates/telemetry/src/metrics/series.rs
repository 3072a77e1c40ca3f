//! Kinds of series that the library lacks: a histogram with a mean, one counter for each protocol,
//! and bounded families.

use std::hash::Hash;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
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

/// Counters of a family with a bounded number of series.
pub(super) struct Capped<L> {
    family: Family<L, Counter>,
    /// How many more series it may create.
    room: AtomicUsize,
}

impl<L: Clone + Eq + Hash> Capped<L> {
    pub(super) fn new(family: Family<L, Counter>, series: usize) -> Self {
        Self { family, room: AtomicUsize::new(series) }
    }

    /// Counts under `labels`, or under `instead` when a new series would exceed the bound.
    pub(super) fn count(&self, labels: L, instead: L) {
        if let Some(counter) = self.family.get(&labels) {
            counter.inc();
            return;
        }
        // Two calls at once may take room twice for one series; the bound still holds.
        let has_room = self.room.try_update(Ordering::Relaxed, Ordering::Relaxed, |room| room.checked_sub(1)).is_ok();
        self.family.get_or_create(if has_room { &labels } else { &instead }).inc();
    }
}
