//! Runs one piece of work for any number of callers who need the same result.

use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use tokio::sync::watch;

/// Work in progress, by key. A flight runs in a task of its own. If a caller goes away, even the
/// one that started it, the flight goes on for the others.
#[derive(Debug)]
pub struct SingleFlight<K: Eq + Hash, T> {
    flying: Arc<DashMap<K, watch::Receiver<Option<T>>>>,
}

impl<K: Eq + Hash, T> Default for SingleFlight<K, T> {
    fn default() -> Self {
        Self { flying: Arc::default() }
    }
}

impl<K, T> SingleFlight<K, T>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    T: Clone + Send + Sync + 'static,
{
    /// Joins the flight for `key`, or starts it with `work`. The work must store its result where
    /// the next caller looks, and must look there first. Between a caller's look and its joining
    /// another flight may have ended.
    pub fn join<F>(&self, key: K, work: impl FnOnce() -> F) -> Flight<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        match self.flying.entry(key) {
            Entry::Occupied(flight) => Flight { receiver: flight.get().clone(), is_ours: false },
            Entry::Vacant(place) => {
                let (sender, receiver) = watch::channel(None);
                let landing = Landing { flying: Arc::clone(&self.flying), key: place.key().clone() };
                place.insert(receiver.clone());
                let work = work();
                tokio::spawn(async move {
                    let result = work.await;
                    drop(landing);
                    // All receivers may be gone.
                    let _ = sender.send(Some(result));
                });
                Flight { receiver, is_ours: true }
            }
        }
    }
}

/// Removes a flight from the map when its work ends, also by a panic.
struct Landing<K: Eq + Hash, T> {
    flying: Arc<DashMap<K, watch::Receiver<Option<T>>>>,
    key: K,
}

impl<K: Eq + Hash, T> Drop for Landing<K, T> {
    fn drop(&mut self) {
        self.flying.remove(&self.key);
    }
}

/// One caller's handle to a flight. Dropping it does not stop the flight.
#[derive(Debug)]
pub struct Flight<T> {
    receiver: watch::Receiver<Option<T>>,
    is_ours: bool,
}

impl<T: Clone> Flight<T> {
    /// The result; `None` when the work panicked.
    pub async fn result(&mut self) -> Option<T> {
        self.receiver.wait_for(Option::is_some).await.ok().and_then(|result| result.clone())
    }

    /// Whether this caller started the flight.
    pub fn is_ours(&self) -> bool {
        self.is_ours
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn a_thousand_callers_cause_one_piece_of_work_that_outlives_its_leader() {
        let flights = SingleFlight::<u8, u32>::default();
        let (started, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let join = || {
            let (started, go) = (Arc::clone(&started), Arc::clone(&go));
            flights.join(1, move || async move {
                started.fetch_add(1, Ordering::Relaxed);
                go.notified().await;
                7
            })
        };
        let leader = join();
        let waiters: Vec<_> = (0..999)
            .map(|_| {
                let mut waiter = join();
                tokio::spawn(async move { waiter.result().await })
            })
            .collect();
        drop(leader);
        assert_eq!(flights.flying.len(), 1);
        go.notify_one();
        for waiter in waiters {
            assert_eq!(waiter.await.unwrap(), Some(7));
        }
        assert_eq!(started.load(Ordering::Relaxed), 1);
        assert!(flights.flying.is_empty());
    }

    #[tokio::test]
    async fn a_panic_ends_one_flight_only() {
        let flights = SingleFlight::<u8, u32>::default();
        assert_eq!(flights.join(1, || async { panic!("broken") }).result().await, None);
        assert_eq!(flights.join(1, || async { 7 }).result().await, Some(7));
    }
}
