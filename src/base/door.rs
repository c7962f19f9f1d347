//! Who stands at the door: peers that have cost something, and haven't shown yet that they mean it.
//!
//! In: who comes, from where. Out: who has to give way for it. Nobody is refused: a flood pushes itself out, and whoever means it is through
//! the door long before its turn to give way comes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use super::lock;
use super::source::Source;

/// How many may stand at the door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Places {
    /// In all, at least 1.
    all: usize,
    /// From one address, of IPv6 from one /64, at least 1. Not counted from this machine itself.
    per_source: usize,
}

impl Places {
    /// `all` of them, a quarter of which may be taken from one address.
    pub(crate) const fn new(all: usize) -> Self {
        Self { all, per_source: all.div_ceil(4) }
    }

    /// As many as come, so many of them from one address.
    pub(crate) const fn of_each(per_source: usize) -> Self {
        Self { all: usize::MAX, per_source }
    }
}

#[derive(Debug)]
struct Waiting<K> {
    source: Option<Source>,
    key: K,
}

/// `K`: by what somebody is told to give way.
#[derive(Debug)]
struct Line<K> {
    places: Places,
    /// In the order in which they came.
    waiting: BTreeMap<u64, Waiting<K>>,
    of_source: BTreeMap<Option<Source>, BTreeSet<u64>>,
    next: u64,
}

impl<K> Line<K> {
    fn come(&mut self, source: Option<Source>, key: K) -> (u64, Option<K>) {
        let from_there = self.of_source.get(&source).map_or(0, BTreeSet::len);
        let crowded = from_there >= self.places.per_source && source.is_some_and(|source| !source.is_local());
        let gives_way = if crowded {
            self.oldest_of(source)
        } else if self.waiting.len() >= self.places.all {
            self.oldest_of_the_most()
        } else {
            None
        };
        let gone = gives_way.and_then(|number| self.leave(number));
        let number = self.next;
        self.next += 1;
        self.waiting.insert(number, Waiting { source, key });
        self.of_source.entry(source).or_default().insert(number);
        (number, gone)
    }

    fn leave(&mut self, number: u64) -> Option<K> {
        let Waiting { source, key } = self.waiting.remove(&number)?;
        if let Some(numbers) = self.of_source.get_mut(&source) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.of_source.remove(&source);
            }
        }
        Some(key)
    }

    fn oldest_of(&self, source: Option<Source>) -> Option<u64> {
        self.of_source.get(&source)?.first().copied()
    }

    /// Of those sources that have the most there, the one who has been there for longest.
    fn oldest_of_the_most(&self) -> Option<u64> {
        let most = self.of_source.values().map(BTreeSet::len).max()?;
        self.of_source.values().filter(|numbers| numbers.len() == most).filter_map(|numbers| numbers.first()).min().copied()
    }
}

/// The door. Cheap to clone.
#[derive(Debug)]
pub(crate) struct Door<K>(Arc<Mutex<Line<K>>>);

impl<K> Clone for Door<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K> Door<K> {
    pub(crate) fn new(places: Places) -> Self {
        let places = Places { all: places.all.max(1), per_source: places.per_source.max(1) };
        let line = Line { places, waiting: BTreeMap::new(), of_source: BTreeMap::new(), next: 0 };
        Self(Arc::new(Mutex::new(line)))
    }

    /// Somebody comes. Gives its place, to be dropped when it is through or goes, and who has to give way for it: by then that one has no
    /// place any more. Where nobody knows from where it comes, only the bound for all counts.
    pub(crate) fn come(&self, from: Option<IpAddr>, key: K) -> (AtDoor<K>, Option<K>) {
        let (number, gone) = lock(&self.0).come(from.map(Source::of), key);
        (AtDoor { door: self.clone(), number }, gone)
    }

    /// How many stand there.
    pub(crate) fn len(&self) -> usize {
        lock(&self.0).waiting.len()
    }
}

/// A place at the door.
#[derive(Debug)]
pub(crate) struct AtDoor<K> {
    door: Door<K>,
    number: u64,
}

impl<K> Drop for AtDoor<K> {
    fn drop(&mut self) {
        drop(lock(&self.door.0).leave(self.number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(all: usize, per_source: usize) -> Door<u32> {
        Door::new(Places { all, per_source })
    }

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn a_flood_from_one_address_pushes_itself_out() {
        let door = door(100, 3);
        let honest = door.come(address("192.0.2.1"), 1000);
        let mut flood = Vec::new();
        for number in 0..500 {
            let (place, gone) = door.come(address("192.0.2.2"), number);
            assert_eq!(gone, number.checked_sub(3));
            flood.push(place);
        }
        assert_eq!((honest.1, door.len()), (None, 4));
        drop(flood);
        assert_eq!(door.len(), 1);
    }

    #[test]
    fn one_that_is_through_or_gone_leaves_its_place() {
        let door = door(100, 2);
        let places: Vec<_> = (0..2).map(|number| door.come(address("192.0.2.1"), number).0).collect();
        drop(places);
        let (_first, gone) = door.come(address("192.0.2.1"), 2);
        assert_eq!(gone, None);
    }

    #[test]
    fn a_subscriber_has_all_addresses_of_its_network() {
        for (a, b, same) in [
            ("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", true),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
            ("::ffff:192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
        ] {
            let door = door(100, 1);
            let _a = door.come(address(a), 1);
            assert_eq!(door.come(address(b), 2).1.is_some(), same, "{a} {b}");
        }
    }

    #[test]
    fn from_this_machine_as_many_come_as_there_are_places() {
        for local in ["127.0.0.1", "::1", "127.3.2.1", "::ffff:127.0.0.1"] {
            let door = door(8, 2);
            let mut places: Vec<_> = (0..8).map(|number| door.come(address(local), number)).collect();
            assert!(places.iter().all(|(_, gone)| gone.is_none()), "{local}");
            places.push(door.come(address("192.0.2.1"), 100));
            assert_eq!(places[8].1, Some(0), "{local}");
        }
    }

    #[test]
    fn where_all_places_are_taken_who_has_the_most_loses_the_oldest() {
        let door = door(6, 4);
        let mut places = Vec::new();
        for (number, from) in ["192.0.2.1", "192.0.2.2", "192.0.2.2", "192.0.2.3", "192.0.2.3", "192.0.2.4"].into_iter().enumerate() {
            places.push(door.come(address(from), number as u32));
        }
        assert!(places.iter().all(|(_, gone)| gone.is_none()));
        // Of the two that have two each, the older one; then the other one.
        for (from, gives_way) in [("192.0.2.5", 1), ("192.0.2.6", 3), ("192.0.2.7", 0)] {
            places.push(door.come(address(from), 100));
            assert_eq!(places.last().unwrap().1, Some(gives_way));
        }
        assert_eq!(door.len(), 6);
    }

    #[test]
    fn of_whom_nobody_knows_from_where_only_all_count() {
        let door = door(4, 1);
        let places: Vec<_> = (0..5).map(|number| door.come(None, number)).collect();
        assert_eq!(places.iter().map(|(_, gone)| *gone).collect::<Vec<_>>(), [None, None, None, None, Some(0)]);
    }

    proptest::proptest! {
        #[test]
        fn the_bounds_hold(steps in proptest::collection::vec((0u8..6, proptest::bool::ANY), 1..300), all in 1usize..12, per_source in 1usize..6) {
            let door = door(all, per_source);
            let mut held: Vec<(u32, u8, AtDoor<u32>)> = Vec::new();
            for (number, (from, leaves)) in steps.into_iter().enumerate() {
                if leaves && !held.is_empty() {
                    held.swap_remove(number % held.len());
                } else {
                    let (place, gone) = door.come(address(&format!("192.0.2.{from}")), number as u32);
                    held.retain(|(key, ..)| Some(*key) != gone);
                    held.push((number as u32, from, place));
                }
                proptest::prop_assert_eq!(door.len(), held.len());
                proptest::prop_assert!(held.len() <= all);
                for from in 0..6 {
                    proptest::prop_assert!(held.iter().filter(|(_, source, _)| *source == from).count() <= per_source);
                }
            }
        }
    }
}
