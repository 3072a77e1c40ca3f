//! Limits the connections to the page. A new connection always finds a place.
//!
//! When all places are taken, the source with the most of them loses its oldest one. So a stranger
//! who sends nothing, or sends slowly, displaces only himself. He cannot displace a probe of
//! `/livez` or the administrator, however many connections he opens.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;

use gatepost_core::source::Source;

/// Most connections at once. A browser opens six.
const PLACES: usize = 64;
/// Most connections that are not evicted, because a session has sent a request on them.
const KEPT: usize = 32;

/// All places.
#[derive(Clone, Default)]
pub(super) struct Places(Arc<Mutex<Taken>>);

#[derive(Default)]
struct Taken {
    next: u64,
    /// Ordered by age, the oldest first.
    places: BTreeMap<u64, Occupant>,
}

struct Occupant {
    source: Option<Source>,
    kept: bool,
    leave: CancellationToken,
}

/// The place of one connection. Dropping it frees the place.
pub(super) struct Place {
    places: Places,
    number: u64,
    /// The source of the connection; `None` on the Unix socket.
    pub(super) source: Option<Source>,
    leave: CancellationToken,
}

impl Places {
    /// Returns a place for a new connection, evicting another one if necessary.
    pub(super) fn take(&self, source: Option<Source>) -> Place {
        let leave = CancellationToken::new();
        let mut taken = self.taken();
        if taken.places.len() >= PLACES {
            taken.push_out();
        }
        let number = taken.next;
        taken.next += 1;
        taken.places.insert(number, Occupant { source, kept: false, leave: leave.clone() });
        Place { places: self.clone(), number, source, leave }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.lock()
    }
}

impl Taken {
    fn push_out(&mut self) {
        let mut counts: HashMap<Option<Source>, usize> = HashMap::new();
        for occupant in self.places.values() {
            *counts.entry(occupant.source).or_default() += 1;
        }
        let oldest_first = self.places.iter().filter(|(_, occupant)| !occupant.kept);
        // Of equals the last one counts, which is the oldest.
        let least = oldest_first.rev().max_by_key(|(_, occupant)| counts.get(&occupant.source));
        let least = least.map(|(number, _)| *number);
        if let Some(occupant) = least.and_then(|number| self.places.remove(&number)) {
            occupant.leave.cancel();
        }
    }
}

impl Place {
    /// Keeps the connection from being evicted, because a session has sent a request on it.
    pub(super) fn keep(&self) {
        let mut taken = self.places.taken();
        let kept = taken.places.values().filter(|occupant| occupant.kept).count();
        if kept < KEPT
            && let Some(occupant) = taken.places.get_mut(&self.number)
        {
            occupant.kept = true;
        }
    }

    /// Waits until the place is taken by another connection.
    pub(super) async fn lost(&self) {
        self.leave.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken().places.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(number: u32) -> Option<Source> {
        Some(Source::Ipv4(number))
    }

    fn is_lost(place: &Place) -> bool {
        place.leave.is_cancelled()
    }

    #[test]
    fn the_source_with_the_most_loses_its_oldest() {
        let places = Places::default();
        let lonely = places.take(source(1));
        let crowd: Vec<Place> = (1..PLACES).map(|_| places.take(source(2))).collect();
        let newcomer = places.take(source(3));
        assert!(is_lost(&crowd[0]) && !is_lost(&crowd[1]) && !is_lost(&lonely) && !is_lost(&newcomer));
        drop(newcomer);
        let newcomer = places.take(source(3));
        assert!(!is_lost(&crowd[1]), "a place was free");
        drop((lonely, crowd, newcomer));
        assert!(places.taken().places.is_empty());
    }

    #[test]
    fn of_many_sources_the_one_that_came_first_goes_and_a_newcomer_lasts() {
        let places = Places::default();
        let strangers: Vec<Place> = (0..1_000).map(|number| places.take(source(number))).collect();
        let probe = places.take(source(5_000));
        let more: Vec<Place> = (0..PLACES as u32 - 1).map(|number| places.take(source(6_000 + number))).collect();
        assert!(strangers.iter().all(is_lost) && !is_lost(&probe) && !more.iter().any(is_lost));
        assert_eq!(places.taken().places.len(), PLACES);
    }

    #[test]
    fn sessions_keep_their_places_and_leave_some_to_others() {
        let places = Places::default();
        let sessions: Vec<Place> = (0..PLACES)
            .map(|_| {
                let place = places.take(source(1));
                place.keep();
                place
            })
            .collect();
        let others: Vec<Place> = (0..1_000).map(|_| places.take(source(1))).collect();
        assert_eq!(sessions.iter().filter(|place| !is_lost(place)).count(), KEPT);
        assert!(others.last().is_some_and(|last| !is_lost(last)));
        assert_eq!(places.taken().places.len(), PLACES);
    }
}
