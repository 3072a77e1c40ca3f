//! Remembers addresses that did not answer. They are tried last, for a time that grows with each
//! failure, but are never excluded.

use std::net::SocketAddr;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use gatepost_core::bounded_map::BoundedMap;

use gatepost_core::clock::{Clock, Moment};
use gatepost_core::jitter;

/// How long an address that did not answer is avoided at first. The time doubles with each further
/// failure.
const AVOIDED: Duration = Duration::from_secs(30);

/// The longest time for which an address is avoided.
const AVOIDED_AT_MOST: Duration = Duration::from_secs(10 * 60);

/// How long other logins still avoid an address whose time is over, while one login tries it.
const TRIAL: Duration = Duration::from_secs(5);

/// Addresses remembered; each name of the configuration has a few. For a new one the address that
/// failed first is removed.
const ENTRIES: usize = 1_024;

/// Remembers the addresses that did not answer.
pub(super) struct UnhealthyAddresses {
    clock: Clock,
    entries: Mutex<BoundedMap<SocketAddr, Dead>>,
}

struct Dead {
    until: Moment,
    /// How long it was avoided last, without the jitter.
    avoided: Duration,
}

impl UnhealthyAddresses {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, entries: Mutex::new(BoundedMap::new(ENTRIES)) }
    }

    fn entries(&self) -> MutexGuard<'_, BoundedMap<SocketAddr, Dead>> {
        self.entries.lock()
    }

    /// Sorts the dead addresses behind the others, and otherwise keeps the order. If all are dead,
    /// the order does not change. An address whose time is over keeps its position again, for one
    /// caller.
    pub(super) fn order(&self, addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
        let now = self.clock.now();
        let mut entries = self.entries();
        let (mut order, dead): (Vec<_>, Vec<_>) =
            addresses.into_iter().partition(|address| match entries.peek_mut(address) {
                None => true,
                Some(dead) if dead.until <= now => {
                    dead.until = now.after(TRIAL);
                    true
                }
                Some(_) => false,
            });
        order.extend(dead);
        order
    }

    /// Notes that an address did not answer, or was so slow that another one overtook it.
    pub(super) fn mark_dead(&self, address: SocketAddr) {
        let now = self.clock.now();
        let mut entries = self.entries();
        if entries.is_full() && entries.peek(&address).is_none() {
            entries.remove_oldest_while(|_, dead| dead.until <= now);
        }
        let dead = entries.get_or_insert_with(address, || Dead { until: now, avoided: Duration::ZERO });
        // Several connections may have been trying it at once. They count as one observation.
        if dead.avoided.is_zero() || dead.until <= now.after(TRIAL) {
            dead.avoided = (dead.avoided * 2).clamp(AVOIDED, AVOIDED_AT_MOST);
            // Up to a quarter more, so that the addresses of one outage do not all come back at
            // once.
            dead.until = now.after(dead.avoided + dead.avoided / 4 * (jitter::random() % 256) as u32 / 255);
        }
    }

    /// Notes that an address answered.
    pub(super) fn mark_alive(&self, address: SocketAddr) {
        self.entries().remove(&address);
    }

    /// Forgets everything, because the network may be another one now.
    pub(super) fn forget(&self) {
        self.entries().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 993))
    }

    fn four() -> Vec<SocketAddr> {
        (1..=4).map(address).collect()
    }

    fn dead_one() -> (Clock, UnhealthyAddresses) {
        let clock = Clock::manual();
        let dead = UnhealthyAddresses::new(clock.clone());
        dead.mark_dead(address(1));
        (clock, dead)
    }

    #[test]
    fn the_dead_come_last_and_all_dead_are_all_tried() {
        let (_, dead) = dead_one();
        assert_eq!(dead.order(four()), [2, 3, 4, 1].map(address));
        for last in 2..=4 {
            dead.mark_dead(address(last));
        }
        assert_eq!(dead.order(four()), four());
        dead.mark_alive(address(3));
        assert_eq!(dead.order(four()), [3, 1, 2, 4].map(address));
        dead.forget();
        assert_eq!(dead.order(four()), four());
    }

    #[test]
    fn it_is_tried_again_by_one_at_a_time() {
        let (clock, dead) = dead_one();
        clock.advance(AVOIDED - Duration::from_millis(1));
        assert_eq!(dead.order(four())[3], address(1));
        clock.advance(AVOIDED / 4 + Duration::from_millis(1));
        assert_eq!(dead.order(four())[0], address(1));
        assert_eq!(dead.order(four())[3], address(1), "one is trying it");
        // That one never reported, because its login was abandoned.
        clock.advance(TRIAL);
        assert_eq!(dead.order(four())[0], address(1));
    }

    #[test]
    fn the_time_doubles_up_to_its_bound_and_life_resets_it() {
        let (clock, dead) = dead_one();
        let mut times = Vec::new();
        for _ in 0..7 {
            // Several reports at once count once.
            dead.mark_dead(address(1));
            let mut waited = Duration::ZERO;
            while dead.order(four())[0] != address(1) {
                clock.advance(Duration::from_secs(1));
                waited += Duration::from_secs(1);
            }
            times.push(waited.as_secs());
            dead.mark_dead(address(1));
        }
        for (time, least) in times.iter().zip([30, 60, 120, 240, 480, 600, 600]) {
            assert!((least..=least + least / 4 + 1).contains(time), "{times:?}");
        }
        dead.mark_alive(address(1));
        dead.mark_dead(address(1));
        clock.advance(AVOIDED + AVOIDED / 4);
        assert_eq!(dead.order(four())[0], address(1));
    }

    #[test]
    fn its_memory_is_bounded() {
        let (clock, dead) = dead_one();
        for port in 1..=2_000 {
            dead.mark_dead(SocketAddr::from(([192, 0, 2, 9], port)));
        }
        assert_eq!(dead.entries().len(), ENTRIES);
        clock.advance(AVOIDED_AT_MOST);
        dead.mark_dead(address(4));
        assert_eq!(dead.entries().len(), 1);
    }
}
