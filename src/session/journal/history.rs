//! What the journal knows of the past: the history of the last hours, and the octets of all sessions.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::Journal;
use gatepost_core::protocol::Protocol;
use gatepost_telemetry::history::{Minute, Totals};

impl Journal {
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
