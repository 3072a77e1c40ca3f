//! Limits the lines of the log, so that a flood of connections cannot fill the disk, and one source
//! cannot displace the others. Dropped lines are counted, and the next line reports the count.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use parking_lot::Mutex;

use gatepost_core::clock::{Clock, Moment};
use gatepost_core::source::Source;

/// Lines in a second about one source. Loopback, which all local clients share, only has the limit
/// of [`LINES`].
pub(super) const LINES_PER_SOURCE: u32 = 100;

/// Lines in a second of one library. They name no peer, and a stranger can cause them.
pub(super) const LINES_PER_LIBRARY: u32 = 100;

/// Lines in a second in all.
pub(super) const LINES: u32 = 5_000;

/// The name of Gatepost's main crate, and the prefix of the names of its other crates.
const OURS: &str = "gatepost";
const OUR_PARTS: &str = "gatepost_";

/// Counts the lines of each second.
#[derive(Debug)]
pub(super) struct Rate {
    clock: Clock,
    start: Moment,
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    second: u64,
    lines: u32,
    /// Its size is bounded by the number of lines.
    of_source: HashMap<Source, u32>,
    /// Counts by the name of the crate.
    of_library: HashMap<&'static str, u32>,
    dropped: u64,
}

/// What to do with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Write it.
    Write,
    /// Write it, after a line that reports this many dropped lines.
    WriteAfter(u64),
    /// Drop it.
    Drop,
}

impl Rate {
    pub(super) fn new() -> Self {
        let clock = Clock::system();
        Self { start: clock.now(), clock, window: Mutex::default() }
    }

    /// Counts a line of `target`, about `peer` if it is about one.
    pub(super) fn count(&self, peer: Option<SocketAddr>, target: &'static str) -> Verdict {
        self.count_at(peer, target, self.clock.now().since(self.start))
    }

    fn count_at(&self, peer: Option<SocketAddr>, target: &'static str, elapsed: Duration) -> Verdict {
        let mut window = self.window.lock();
        let mut before = 0;
        if window.second != elapsed.as_secs() {
            before = window.dropped;
            *window = Window { second: elapsed.as_secs(), ..Window::default() };
        }
        let of_all = window.lines < LINES;
        let of_source = match peer.filter(|peer| of_all && !peer.ip().to_canonical().is_loopback()) {
            Some(peer) => {
                let lines = window.of_source.entry(Source::of(peer.ip())).or_default();
                *lines = lines.saturating_add(1);
                *lines <= LINES_PER_SOURCE
            }
            None => true,
        };
        let is_ours = |name: &str| name == OURS || name.starts_with(OUR_PARTS);
        let library = target.split("::").next().filter(|name| of_all && !is_ours(name));
        let of_library = library.is_none_or(|name| {
            let lines = window.of_library.entry(name).or_default();
            *lines = lines.saturating_add(1);
            *lines <= LINES_PER_LIBRARY
        });
        if !of_all || !of_source || !of_library {
            // The first line of a second is never dropped, because it reports the earlier drops.
            window.dropped = window.dropped.saturating_add(1);
            return Verdict::Drop;
        }
        window.lines = window.lines.saturating_add(1);
        if before > 0 { Verdict::WriteAfter(before) } else { Verdict::Write }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u16) -> Option<SocketAddr> {
        let [high, low] = n.to_be_bytes();
        Some(SocketAddr::from(([10, 0, high, low], 4_000)))
    }

    fn written(rate: &Rate, second: u64, lines: impl Iterator<Item = Option<SocketAddr>>) -> (usize, Option<u64>) {
        let mut told = None;
        let count = lines.filter(|peer| match rate.count_at(*peer, OURS, Duration::from_secs(second)) {
            Verdict::Write => true,
            Verdict::WriteAfter(dropped) => {
                assert_eq!(told.replace(dropped), None, "told once");
                true
            }
            Verdict::Drop => false,
        });
        (count.count(), told)
    }

    #[test]
    fn one_source_gets_a_hundred_lines_a_second_and_leaves_the_others_theirs() {
        let rate = Rate::new();
        assert_eq!(written(&rate, 0, (0..1_000).map(|_| peer(1))), (100, None));
        assert_eq!(written(&rate, 0, (0..50).map(|_| peer(2))), (50, None));
        assert_eq!(written(&rate, 0, (0..50).map(|_| None)), (50, None));
        assert_eq!(written(&rate, 1, (0..10).map(|_| peer(1))), (10, Some(900)));
        assert_eq!(written(&rate, 2, (0..10).map(|_| peer(1))), (10, None));
    }

    #[test]
    fn a_part_of_gatepost_is_no_library() {
        let rate = Rate::new();
        let write =
            |target| (0..1_000).filter(|_| rate.count_at(None, target, Duration::ZERO) == Verdict::Write).count();
        assert_eq!((write("gatepost_net::relay"), write("gatepost::session")), (1_000, 1_000));
        assert_eq!((write("h2::proto"), write("gatepostal")), (100, 100));
    }

    #[test]
    fn all_together_get_five_thousand_and_the_memory_is_bounded() {
        let rate = Rate::new();
        assert_eq!(written(&rate, 0, (0..60_000).map(peer)), (5_000, None));
        assert!(rate.window.lock().of_source.len() <= 5_000);
        assert_eq!(written(&rate, 7, (0..6_000).map(|_| None)), (5_000, Some(55_000)));
        assert_eq!(written(&rate, 8, std::iter::once(None)), (1, Some(1_000)));
    }
}
