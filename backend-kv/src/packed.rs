//! Entries of an index lie together, many in one value of the engine.
//!
//! What one step changes in an index are mostly neighbors: the jobs that many callers create, claim
//! or finish at once are next to each other in each of them. An engine takes one value of half a
//! kilobyte for little more than one of no bytes, so it is handed a few of these instead of hundreds.
//!
//! A range that is packed is cut into leaves. A leaf is one entry of the engine. Its key is the least
//! that may be in it, and its value holds the entries from there up to the key of the next leaf. Below
//! all other leaves of a range is the one whose key is the first byte alone, so that every key has a
//! leaf where it belongs. A leaf without entries is not kept: what belongs there then belongs to the
//! leaf before.
//!
//! [`Unpacked`] shows the map as if nothing were packed, and says what to write so that it changes.
//! Nobody else knows of leaves; [`crate::leaf`] has what is in one.

use std::iter::Peekable;
use std::vec;

use itertools::Itertools as _;
use jobstore_core::{Order, Result};

use crate::engine::{Changes, Each, Entries, View, show};
use crate::glance::Source;
use crate::key;
use crate::leaf::{self, Changed, Entry, Reader};

/// Whether the entries of a range are packed.
///
/// Jobs and texts are large by themselves. Ids and unique keys come in no order, so neighbors seldom
/// change together, and they are looked for one by one.
fn is_packed(range: u8) -> bool {
    matches!(
        range,
        key::BY_STATUS
            | key::BY_NAME
            | key::DUE
            | key::DUE_BY_NAME
            | key::WAITING
            | key::ENDED
            | key::LEASE
    )
}

/// The range of a key, when it is packed.
fn packed_range(key: &[u8]) -> Option<u8> {
    key.first().copied().filter(|range| is_packed(*range))
}

/// The map of an engine as if nothing were packed.
pub(crate) struct Unpacked<'a>(Box<dyn View + 'a>);

impl<'a> Unpacked<'a> {
    /// Shows what there is.
    ///
    /// # Errors
    ///
    /// What the engine brings about.
    pub(crate) fn of(source: &'a dyn Source) -> Result<Self> {
        source.view().map(Self)
    }

    #[cfg(test)]
    pub(crate) fn new(view: impl View + 'a) -> Self {
        Self(Box::new(view))
    }

    /// What the engine is to write so that this map changes so.
    ///
    /// # Errors
    ///
    /// What the engine brings about.
    pub(crate) fn pack(&self, changes: Changes) -> Result<Changes> {
        let mut packed = Vec::with_capacity(changes.len());
        let mut changes = changes.into_iter().peekable();
        while let Some((key, _)) = changes.peek() {
            let Some(range) = packed_range(key) else {
                packed.extend(changes.next());
                continue;
            };
            let (leaf, found) = match self.leaf_of(range, key)? {
                Some((leaf, value)) => (leaf, Some(value)),
                None => (vec![range], None),
            };
            let next = self.leaf_after(range, key)?;
            let inside = changes.peeking_take_while(|(key, _)| match &next {
                Some(next) => key < next,
                None => key.first() == Some(&range),
            });
            let old = found.as_deref().unwrap_or_default();
            let old = Reader::new(&leaf, old, next.as_deref());
            let Some(changed) = Changed::by(inside, &leaf, old) else {
                continue;
            };
            if changed.is_empty() {
                packed.extend(found.map(|_| (leaf, None)));
                continue;
            }
            let leaves = leaf::cut(leaf, changed);
            packed.extend(leaves.into_iter().map(|(key, value)| (key, Some(value))));
        }
        Ok(packed.into_iter().collect())
    }

    /// The leaf where a key belongs.
    fn leaf_of(&self, range: u8, key: &[u8]) -> Result<Option<Entry>> {
        let to = key::after(key.to_vec());
        let mut leaves = self.0.range(&[range], &to, Order::Descending)?;
        leaves.next().transpose()
    }

    /// The key of the leaf after the one where a key belongs.
    fn leaf_after(&self, range: u8, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let from = key::after(key.to_vec());
        let mut leaves = self.0.range(&from, &[range + 1], Order::Ascending)?;
        let next = leaves.next().transpose()?;
        Ok(next.map(|(key, _)| key))
    }
}

impl View for Unpacked<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let Some(range) = packed_range(key) else {
            return self.0.get(key);
        };
        let Some((leaf, value)) = self.leaf_of(range, key)? else {
            return Ok(None);
        };
        let mut reader = Reader::new(&leaf, &value, None);
        while let Some((other, value)) = reader.entry() {
            if other >= key {
                return Ok((other == key).then(|| value.to_vec()));
            }
            reader.advance();
        }
        Ok(None)
    }

    fn range<'a>(&'a self, from: &[u8], to: &[u8], order: Order) -> Result<Entries<'a>> {
        if is_apart(from, to) {
            return self.0.range(from, to, order);
        }
        let leaf = match packed_range(from) {
            Some(range) => self.leaf_of(range, from)?.map(|(leaf, _)| leaf),
            None => None,
        };
        let stored = self.0.range(leaf.as_deref().unwrap_or(from), to, order)?;
        Ok(Box::new(Entered {
            stored: stored.peekable(),
            from: from.to_vec(),
            to: to.to_vec(),
            order,
            above: None,
            inside: Vec::new().into_iter(),
        }))
    }

    fn scan(&self, from: &[u8], to: &[u8], order: Order, each: &mut Each<'_>) -> Result<()> {
        if is_apart(from, to) {
            return self.0.scan(from, to, order, each);
        }
        show(self.range(from, to, order)?, each)
    }
}

/// The entries of a range, out of what the engine has there.
struct Entered<'a> {
    stored: Peekable<Entries<'a>>,
    from: Vec<u8>,
    to: Vec<u8>,
    order: Order,
    /// On the way down, the key of what was passed last.
    above: Option<Vec<u8>>,
    /// What is left of the leaf that is being read.
    inside: vec::IntoIter<Entry>,
}

impl Entered<'_> {
    /// Reads a leaf, as far as it is in the range.
    fn enter(&mut self, leaf: Vec<u8>, value: &[u8]) {
        let next = match self.order {
            Order::Ascending => match self.stored.peek() {
                Some(Ok((next, _))) => Some(next),
                _ => None,
            },
            Order::Descending => self.above.as_ref(),
        };
        let mut inside = Vec::new();
        let mut reader = Reader::new(&leaf, value, next.map(Vec::as_slice));
        while let Some((key, value)) = reader.entry().filter(|(key, _)| *key < &*self.to) {
            if key >= &*self.from {
                inside.push((key.to_vec(), value.to_vec()));
            }
            reader.advance();
        }
        if self.order == Order::Descending {
            inside.reverse();
            self.above = Some(leaf);
        }
        self.inside = inside.into_iter();
    }
}

impl Iterator for Entered<'_> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        loop {
            if let Some(entry) = self.inside.next() {
                return Some(Ok(entry));
            }
            match self.stored.next()? {
                Ok((key, value)) if packed_range(&key).is_some() => self.enter(key, &value),
                other => return Some(other),
            }
        }
    }
}

/// Whether all from one key up to another is in one range that is not packed.
fn is_apart(from: &[u8], to: &[u8]) -> bool {
    let range = from.first().filter(|range| !is_packed(**range));
    range.is_some_and(|range| to <= [range + 1].as_slice())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::leaf::FULL;
    use crate::memory::MapView;

    type Map = BTreeMap<Vec<u8>, Vec<u8>>;

    fn keys() -> impl Strategy<Value = Vec<u8>> {
        let range = prop_oneof![Just(key::ID), Just(key::DUE), Just(key::DUE_BY_NAME)];
        // Some long ones, so that leaves are cut.
        let rest = (
            proptest::collection::vec(0..4_u8, 0..4),
            prop_oneof![0..3_usize, 0..300_usize],
        );
        (range, rest)
            .prop_map(|(range, (rest, times))| [&[range], &*rest, &vec![3; times]].concat())
    }

    fn changes() -> impl Strategy<Value = Changes> {
        let value = proptest::option::weighted(0.7, proptest::collection::vec(any::<u8>(), 0..12));
        proptest::collection::btree_map(keys(), value, 0..40)
    }

    fn change(map: &mut Map, changes: &Changes) {
        for (key, value) in changes {
            match value {
                Some(value) => map.insert(key.clone(), value.clone()),
                None => map.remove(key),
            };
        }
    }

    fn packed(map: &Map, changes: Changes) -> Changes {
        let view = Unpacked::new(MapView::new(map));
        view.pack(changes).expect("packs")
    }

    fn read(map: &Map, from: &[u8], to: &[u8], order: Order) -> Vec<Entry> {
        let view = Unpacked::new(MapView::new(map));
        let entries = view.range(from, to, order).expect("reads");
        entries.map(|entry| entry.expect("reads")).collect()
    }

    /// The leaves, each with the keys in it.
    fn leaves(map: &Map) -> Vec<(&[u8], Vec<Vec<u8>>)> {
        let leaves = map.iter().filter(|(key, _)| packed_range(key).is_some());
        let with_keys = leaves.map(|(leaf, value)| {
            let mut keys = Vec::new();
            let mut reader = Reader::new(leaf, value, None);
            while let Some((key, _)) = reader.entry() {
                keys.push(key.to_vec());
                reader.advance();
            }
            (&**leaf, keys)
        });
        with_keys.collect()
    }

    proptest! {
        #[test]
        fn what_is_packed_reads_as_the_map_that_it_is(
            steps in proptest::collection::vec(changes(), 1..6),
            (from, to) in (keys(), keys()),
        ) {
            let (mut map, mut expected) = (Map::new(), Map::new());
            for step in steps {
                change(&mut expected, &step);
                let step = packed(&map, step);
                change(&mut map, &step);
                let ranges = [
                    (&[][..], &[u8::MAX][..]),
                    (&[key::DUE], &[key::DUE_BY_NAME]),
                    (&from, &to),
                    (&to, &from),
                ];
                for (from, to) in ranges.into_iter().filter(|(from, to)| from < to) {
                    let mut wanted: Vec<_> = expected
                        .range::<[u8], _>((
                            std::ops::Bound::Included(from),
                            std::ops::Bound::Excluded(to),
                        ))
                        .map(|(key, value)| (key.clone(), value.clone()))
                        .collect();
                    prop_assert_eq!(&read(&map, from, to, Order::Ascending), &wanted);
                    wanted.reverse();
                    prop_assert_eq!(&read(&map, from, to, Order::Descending), &wanted);
                }
                let view = Unpacked::new(MapView::new(&map));
                for key in expected.keys().chain([&from, &to]) {
                    prop_assert_eq!(&view.get(key).expect("reads"), &expected.get(key).cloned());
                }
            }
        }

        #[test]
        fn what_is_there_already_is_not_written_again(step in changes()) {
            let mut map = Map::new();
            let mut wanted = step.clone();
            wanted.retain(|key, _| packed_range(key).is_some());
            let step = packed(&map, step);
            change(&mut map, &step);
            prop_assert_eq!(packed(&map, wanted), Changes::new());
        }

        #[test]
        fn every_leaf_has_what_belongs_there_and_not_too_much(
            steps in proptest::collection::vec(changes(), 1..6),
        ) {
            let mut map = Map::new();
            for step in steps {
                let step = packed(&map, step);
                change(&mut map, &step);
            }
            let leaves = leaves(&map);
            for (leaf, keys) in &leaves {
                prop_assert!(keys.first().is_some_and(|first| *leaf <= &**first));
                prop_assert!(keys.is_sorted_by(|a, b| a < b));
                // The last entry may be past it.
                let last = keys.last().map_or(0, Vec::len);
                prop_assert!(map[*leaf].len() < FULL + last + 20);
            }
            for pair in leaves.windows(2) {
                prop_assert!(pair[0].1.last().is_some_and(|last| &**last < pair[1].0));
            }
        }
    }

    fn key(number: u32) -> Vec<u8> {
        [&[key::ENDED][..], &number.to_be_bytes(), &[7; 20]].concat()
    }

    /// What becomes of entries that are put one by one.
    fn filled(numbers: impl IntoIterator<Item = u32>) -> Map {
        let mut map = Map::new();
        for number in numbers {
            let step = packed(&map, [(key(number), Some(vec![1; 8]))].into());
            change(&mut map, &step);
        }
        map
    }

    #[test]
    fn leaves_are_left_full_where_entries_are_added_behind_the_others() {
        let map = filled(0..1000);
        let full = map.values().rev().skip(1);
        assert!(full.clone().all(|leaf| leaf.len() >= FULL));
        assert!(full.count() > 20);
    }

    #[test]
    fn leaves_are_nearly_half_full_in_whatever_order_entries_come() {
        let numbers = (0..1000_u32).map(|number| number * 619 % 1000);
        for map in [filled((0..1000).rev()), filled(numbers)] {
            let bytes: usize = map.values().map(Vec::len).sum();
            assert!(bytes / map.len() >= FULL * 2 / 5, "{} leaves", map.len());
        }
    }

    #[test]
    fn a_leaf_without_entries_is_not_kept() {
        let map = filled(0..100);
        let gone: Changes = (0..100).map(|number| (key(number), None)).collect();
        let gone = packed(&map, gone);
        assert!(gone.values().all(Option::is_none));
        assert_eq!(gone.len(), map.len());
    }
}
