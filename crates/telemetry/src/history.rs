//! The events of each minute in the last six hours: enough for small plots, in about 20 KiB.

use std::collections::VecDeque;

use parking_lot::Mutex;

/// Minutes kept.
pub const MINUTES: usize = 360;

/// Counts since the start. The counts of a minute are the difference of two of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Logins that were accepted.
    pub accepted: u64,
    /// Logins that were refused.
    pub refused: u64,
    /// Octets of sessions, both ways.
    pub bytes: u64,
    /// Token requests, and microseconds that they took together.
    pub token: (u64, u64),
    /// Logins at mail servers, and microseconds that they took together.
    pub connect: (u64, u64),
}

/// The counts of one minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Minute {
    /// Logins that were accepted.
    pub accepted: u32,
    /// Logins that were refused.
    pub refused: u32,
    /// Octets of sessions, both ways.
    pub bytes: u64,
    /// The mean time of a token request, in milliseconds; `None` when there was none.
    pub token: Option<u32>,
    /// The mean time of a login at a mail server, in milliseconds.
    pub connect: Option<u32>,
    /// Sessions at the end of the minute.
    pub sessions: u32,
}

/// The last [`MINUTES`] minutes.
#[derive(Debug, Default)]
pub struct History(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    last: Totals,
    minutes: VecDeque<Minute>,
}

impl History {
    /// Adds the minute that has just ended.
    pub fn tick(&self, totals: Totals, sessions: u64) {
        let mut kept = self.0.lock();
        if kept.minutes.len() >= MINUTES {
            kept.minutes.pop_front();
        }
        let before = std::mem::replace(&mut kept.last, totals);
        let minute = difference(totals, before, sessions);
        kept.minutes.push_back(minute);
    }

    /// The minutes, oldest first. The last one is the current, incomplete minute.
    pub fn minutes(&self, totals: Totals, sessions: u64) -> Vec<Minute> {
        let kept = self.0.lock();
        let present = difference(totals, kept.last, sessions);
        kept.minutes.iter().copied().chain([present]).collect()
    }
}

fn difference(now: Totals, before: Totals, sessions: u64) -> Minute {
    let small = |now: u64, before: u64| u32::try_from(now.saturating_sub(before)).unwrap_or(u32::MAX);
    let mean = |now: (u64, u64), before: (u64, u64)| {
        let count = now.0.saturating_sub(before.0);
        let micros = now.1.saturating_sub(before.1);
        micros.checked_div(count).map(|mean| u32::try_from(mean / 1_000).unwrap_or(u32::MAX))
    };
    Minute {
        accepted: small(now.accepted, before.accepted),
        refused: small(now.refused, before.refused),
        bytes: now.bytes.saturating_sub(before.bytes),
        token: mean(now.token, before.token),
        connect: mean(now.connect, before.connect),
        sessions: u32::try_from(sessions).unwrap_or(u32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_are_differences_and_the_present_one_is_shown() {
        let history = History::default();
        let at = |accepted, token| Totals { accepted, bytes: accepted * 1_000, token, ..Totals::default() };
        history.tick(at(3, (2, 30_000)), 5);
        history.tick(at(3, (2, 30_000)), 4);
        let minutes = history.minutes(at(10, (3, 130_000)), 6);
        let seen: Vec<_> = minutes.iter().map(|m| (m.accepted, m.bytes, m.token, m.sessions)).collect();
        assert_eq!(seen, [(3, 3_000, Some(15), 5), (0, 0, None, 4), (7, 7_000, Some(100), 6)]);
    }

    #[test]
    fn six_hours_fit_into_twenty_kibibytes() {
        let history = History::default();
        for minute in 0..10_000 {
            history.tick(Totals { accepted: minute, ..Totals::default() }, 1);
        }
        assert_eq!(history.minutes(Totals::default(), 1).len(), MINUTES + 1);
        assert!(MINUTES * size_of::<Minute>() <= 20 * 1_024);
    }
}
