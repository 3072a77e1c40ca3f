//! A map with a bounded number of entries, for data that strangers can add to. When it is full, a
//! new entry replaces the oldest one, at the same cost as any other insertion.
//!
//! Entries are ordered by age. An entry becomes the youngest when it is inserted and each time it
//! is used ([`BoundedMap::get`]). An owner that only inserts therefore loses the entry inserted
//! first. An owner that uses entries loses the one unused for longest. If strangers must not
//! displace an entry, its owner asks for room first ([`BoundedMap::insert_if_room`]).
//!
//! Entries that expire carry their time in their value. While the order of those times is the order
//! of age, the expired entries are the oldest ones, and [`BoundedMap::remove_oldest_while`] looks
//! at no others.

use std::borrow::Borrow;
use std::hash::{BuildHasher as _, Hash, RandomState};

use parking_lot::{Mutex, MutexGuard};

use hashlink::LinkedHashMap;

/// A map with a maximum number of entries.
#[derive(Debug)]
pub struct BoundedMap<K, V> {
    /// The entries, oldest first. The hash is keyed because the keys come from strangers.
    entries: LinkedHashMap<K, V, RandomState>,
    most: usize,
}

impl<K: Eq + Hash, V> BoundedMap<K, V> {
    /// Creates an empty map of at most `most` entries (at least one).
    pub fn new(most: usize) -> Self {
        Self { entries: LinkedHashMap::with_hasher(RandomState::new()), most: most.max(1) }
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if the map has no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// True if the next new entry replaces the oldest one.
    pub fn is_full(&self) -> bool {
        self.entries.len() >= self.most
    }

    /// Returns a value without changing the age of its entry.
    pub fn peek<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.entries.get(key)
    }

    /// Returns a value for changing, without changing the age of its entry.
    pub fn peek_mut<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.entries.get_mut(key)
    }

    /// Returns a value and makes its entry the youngest.
    pub fn get<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.entries.to_back(key)
    }

    /// Returns a value, creating it if it is missing, and makes its entry the youngest. If the
    /// entry is new and the map is full, the oldest entry is removed.
    pub fn get_or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        self.make_room(&key);
        let mut entry = self.entries.raw_entry_mut().from_key(&key);
        if let hashlink::linked_hash_map::RawEntryMut::Occupied(entry) = &mut entry {
            entry.to_back();
        }
        entry.or_insert_with(|| (key, make())).1
    }

    /// Inserts an entry as the youngest, replacing the one with the same key if there is one. If
    /// the entry is new and the map is full, the oldest entry is removed.
    pub fn insert(&mut self, key: K, value: V) {
        self.make_room(&key);
        self.entries.insert(key, value);
    }

    /// Like [`BoundedMap::insert`], but a new entry does not replace the oldest one: if the map is
    /// full, nothing changes and the result is false.
    pub fn insert_if_room(&mut self, key: K, value: V) -> bool {
        let has_room = !self.is_full() || self.entries.contains_key(&key);
        if has_room {
            self.entries.insert(key, value);
        }
        has_room
    }

    /// Removes an entry.
    pub fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.entries.remove(key)
    }

    /// Removes the oldest entry while `over` is true for it. It looks at one entry more than it
    /// removes.
    pub fn remove_oldest_while(&mut self, mut over: impl FnMut(&K, &V) -> bool) {
        while self.entries.front().is_some_and(|(key, value)| over(key, value)) {
            self.entries.pop_front();
        }
    }

    /// Removes all entries for which `kept` is false. It looks at every entry.
    pub fn retain(&mut self, kept: impl FnMut(&K, &mut V) -> bool) {
        self.entries.retain(kept);
    }

    /// Removes all entries.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// All entries, the oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.entries.iter()
    }

    /// All entries, the oldest first, perhaps to change their values.
    pub fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = (&K, &mut V)> {
        self.entries.iter_mut()
    }

    /// Removes the oldest entry before the insertion, so that the table never grows for a moment.
    fn make_room(&mut self, key: &K) {
        if self.is_full() && !self.entries.contains_key(key) {
            self.entries.pop_front();
        }
    }
}

/// A [`BoundedMap`] for several threads, divided into parts with one lock each.
#[derive(Debug)]
pub struct SharedMap<K, V> {
    hasher: RandomState,
    first: Mutex<BoundedMap<K, V>>,
    others: Box<[Mutex<BoundedMap<K, V>>]>,
}

impl<K: Eq + Hash, V> SharedMap<K, V> {
    /// Creates an empty map with at most `most` entries in all.
    ///
    /// Each part holds an equal share of the entries and counts age for itself. With a single part,
    /// the map removes only its oldest entry. With more, one part may be full before the others
    /// are.
    pub fn new(most: usize, parts: usize) -> Self {
        let parts = parts.max(1);
        let part = || Mutex::new(BoundedMap::new(most / parts));
        Self { hasher: RandomState::new(), first: part(), others: (1..parts).map(|_| part()).collect() }
    }

    /// Locks the part to which `key` belongs.
    pub fn part<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> MutexGuard<'_, BoundedMap<K, V>>
    where
        K: Borrow<Q>,
    {
        let part = match self.others.len() {
            0 => &self.first,
            others => {
                let at = self.hasher.hash_one(key) % (others as u64 + 1);
                usize::try_from(at).ok().and_then(|at| self.others.get(at)).unwrap_or(&self.first)
            }
        };
        locked(part)
    }

    /// Locks all parts, one at a time.
    pub fn parts(&self) -> impl Iterator<Item = MutexGuard<'_, BoundedMap<K, V>>> {
        std::iter::once(&self.first).chain(&self.others).map(locked)
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.parts().map(|part| part.len()).sum()
    }

    /// True if the map has no entries.
    pub fn is_empty(&self) -> bool {
        self.parts().all(|part| part.is_empty())
    }

    /// Removes all entries for which `kept` is false. It looks at every entry.
    pub fn retain(&self, mut kept: impl FnMut(&K, &mut V) -> bool) {
        self.parts().for_each(|mut part| part.retain(&mut kept));
    }
}

fn locked<T>(part: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is complete, even if a thread panicked.
    part.lock()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::hash::Hasher;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::clock::{Clock, Moment};

    fn keys<V>(map: &BoundedMap<u32, V>) -> Vec<u32> {
        map.iter().map(|(key, _)| *key).collect()
    }

    fn filled(most: usize) -> BoundedMap<u32, u32> {
        let mut map = BoundedMap::new(most);
        (0..most as u32).for_each(|key| map.insert(key, key));
        map
    }

    #[test]
    fn the_bound_holds_and_the_oldest_gives_way() {
        let mut map = filled(3);
        assert!(map.is_full());
        map.insert(3, 3);
        assert_eq!(keys(&map), [1, 2, 3]);
        map.insert(1, 10);
        assert_eq!(keys(&map), [2, 3, 1], "inserted again, nobody gives way");
        assert_eq!(*map.get_or_insert_with(4, || 40), 40);
        assert_eq!(keys(&map), [3, 1, 4]);
        assert_eq!(map.remove(&1), Some(10));
        assert_eq!((map.len(), map.is_full()), (2, false));
        map.clear();
        assert!(map.is_empty());
    }

    #[test]
    fn a_use_makes_young_and_a_look_does_not() {
        let mut map = filled(3);
        assert_eq!(map.peek(&0), Some(&0));
        assert_eq!(map.peek_mut(&1), Some(&mut 1));
        assert_eq!(keys(&map), [0, 1, 2]);
        assert_eq!(map.get(&0), Some(&mut 0));
        assert_eq!(*map.get_or_insert_with(1, || 10), 1, "it is there already");
        assert_eq!(keys(&map), [2, 0, 1]);
        map.insert(3, 3);
        assert_eq!(keys(&map), [0, 1, 3]);
    }

    #[test]
    fn who_asks_for_room_makes_nobody_give_way() {
        let mut map = filled(2);
        assert!(!map.insert_if_room(2, 2));
        assert_eq!(keys(&map), [0, 1]);
        assert!(map.insert_if_room(0, 10));
        assert_eq!(keys(&map), [1, 0]);
        map.remove(&1);
        assert!(map.insert_if_room(2, 2));
        assert_eq!(keys(&map), [0, 2]);
    }

    #[test]
    fn what_has_expired_is_removed_without_a_look_at_the_rest() {
        let (clock, mut map) = (Clock::manual(), BoundedMap::<u32, Moment>::new(100));
        for key in 0..100 {
            map.insert(key, clock.now());
            clock.advance(Duration::from_secs(1));
        }
        let mut looks = 0;
        map.remove_oldest_while(|_, inserted| {
            looks += 1;
            clock.now().since(*inserted) > Duration::from_secs(90)
        });
        assert_eq!((looks, map.len()), (11, 90));
    }

    thread_local!(static STEPS: Cell<usize> = const { Cell::new(0) });

    /// Counts whatever is done with it.
    struct Counted(u32);

    impl Hash for Counted {
        fn hash<H: Hasher>(&self, state: &mut H) {
            STEPS.set(STEPS.get() + 1);
            self.0.hash(state);
        }
    }

    impl PartialEq for Counted {
        fn eq(&self, other: &Self) -> bool {
            STEPS.set(STEPS.get() + 1);
            self.0 == other.0
        }
    }

    impl Eq for Counted {}

    impl Drop for Counted {
        fn drop(&mut self) {
            STEPS.set(STEPS.get() + 1);
        }
    }

    #[test]
    fn a_full_map_takes_a_new_entry_with_the_same_work_whatever_its_size() {
        for most in [16, 1_024, 65_536] {
            let mut map = BoundedMap::new(most);
            (0..most as u32).for_each(|key| map.insert(Counted(key), ()));
            STEPS.set(0);
            // So often that the table has put itself in order several times.
            let times = 8 * most as u32;
            for key in 0..times {
                map.insert(Counted(most as u32 + key), ());
            }
            assert_eq!(map.len(), most);
            let each = STEPS.get() / times as usize;
            assert!(each <= 8, "{each} steps each in a map of {most}");
        }
    }

    #[test]
    fn the_parts_are_one_map_and_hold_no_more_than_it_may() {
        for parts in [1, 16] {
            let map = SharedMap::new(1_000, parts);
            assert!(map.is_empty());
            for key in 0..100_u32 {
                map.part(&key).insert(key, key);
            }
            assert_eq!(map.len(), 100);
            assert!((0..100).all(|key| map.part(&key).peek(&key) == Some(&key)));
            map.retain(|key, _| key % 2 == 0);
            assert_eq!((map.len(), map.parts().map(|part| part.iter().count()).sum()), (50, 50));
            for key in 0..10_000 {
                map.part(&key).insert(key, key);
            }
            assert!((900..=1_000).contains(&map.len()), "{}", map.len());
            assert_eq!(map.part(&9_999).peek(&9_999), Some(&9_999));
        }
    }

    /// What can be done with a map.
    #[derive(Clone, Debug)]
    enum Step {
        Insert(u8, u32),
        InsertIfRoom(u8, u32),
        GetOrInsert(u8, u32),
        Get(u8),
        PeekMut(u8, u32),
        Remove(u8),
        RemoveOldestWhileBelow(u32),
        RetainEven,
    }

    fn step() -> impl Strategy<Value = Step> {
        let (key, value) = (0..24_u8, 0..1_000_u32);
        prop_oneof![
            4 => (key.clone(), value.clone()).prop_map(|(key, value)| Step::Insert(key, value)),
            2 => (key.clone(), value.clone()).prop_map(|(key, value)| Step::InsertIfRoom(key, value)),
            3 => (key.clone(), value.clone()).prop_map(|(key, value)| Step::GetOrInsert(key, value)),
            3 => key.clone().prop_map(Step::Get),
            1 => (key.clone(), value).prop_map(|(key, value)| Step::PeekMut(key, value)),
            2 => key.prop_map(Step::Remove),
            1 => (0..200_u32).prop_map(Step::RemoveOldestWhileBelow),
            1 => Just(Step::RetainEven),
        ]
    }

    /// A list, the oldest entry first, that does the same the slow way.
    struct Naive {
        most: usize,
        entries: Vec<(u8, u32)>,
    }

    impl Naive {
        fn take(&mut self, key: u8) -> Option<u32> {
            let at = self.entries.iter().position(|entry| entry.0 == key)?;
            Some(self.entries.remove(at).1)
        }

        fn insert(&mut self, key: u8, value: u32) {
            self.take(key);
            if self.entries.len() == self.most {
                self.entries.remove(0);
            }
            self.entries.push((key, value));
        }
    }

    proptest! {
        #[test]
        fn it_does_what_a_list_does(most in 1..12_usize, steps in proptest::collection::vec(step(), 0..200)) {
            let (mut map, mut naive) = (BoundedMap::new(most), Naive { most, entries: Vec::new() });
            for step in steps {
                match step {
                    Step::Insert(key, value) => {
                        map.insert(key, value);
                        naive.insert(key, value);
                    }
                    Step::InsertIfRoom(key, value) => {
                        let known = naive.entries.iter().any(|entry| entry.0 == key);
                        let has_room = known || naive.entries.len() < most;
                        prop_assert_eq!(map.insert_if_room(key, value), has_room);
                        if has_room {
                            naive.insert(key, value);
                        }
                    }
                    Step::GetOrInsert(key, value) => {
                        let kept = naive.take(key).unwrap_or(value);
                        naive.insert(key, kept);
                        prop_assert_eq!(*map.get_or_insert_with(key, || value), kept);
                    }
                    Step::Get(key) => {
                        let found = naive.take(key);
                        prop_assert_eq!(map.get(&key).copied(), found);
                        found.into_iter().for_each(|value| naive.insert(key, value));
                    }
                    Step::PeekMut(key, value) => {
                        let known = naive.entries.iter_mut().find(|entry| entry.0 == key).map(|entry| &mut entry.1);
                        prop_assert_eq!(map.peek(&key).copied(), known.as_deref().copied());
                        known.into_iter().zip(map.peek_mut(&key)).for_each(|(one, other)| (*one, *other) = (value, value));
                    }
                    Step::Remove(key) => prop_assert_eq!(map.remove(&key), naive.take(key)),
                    Step::RemoveOldestWhileBelow(bound) => {
                        map.remove_oldest_while(|_, value| *value < bound);
                        let over = naive.entries.iter().take_while(|entry| entry.1 < bound).count();
                        naive.entries.drain(..over);
                    }
                    Step::RetainEven => {
                        map.retain(|_, value| *value % 2 == 0);
                        naive.entries.retain(|entry| entry.1 % 2 == 0);
                    }
                }
                prop_assert_eq!(map.iter().map(|(key, value)| (*key, *value)).collect::<Vec<_>>(), naive.entries.clone());
                prop_assert!(map.len() <= most && map.is_full() == (map.len() == most));
            }
        }
    }
}
