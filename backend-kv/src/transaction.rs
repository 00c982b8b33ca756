//! A view and the changes that are to become of it.

use std::cmp::Ordering;
use std::ops::Bound::{Excluded, Included};

use jobstore_core::{Order, Result};

use crate::engine::{Changes, Engine, Entries, View};
use crate::packed::Unpacked;

/// Shows the map as it will be, and collects what makes it so.
pub(crate) struct Transaction<'a> {
    view: Unpacked<'a>,
    changes: Changes,
}

impl<'a> Transaction<'a> {
    /// Begins with what an engine holds.
    ///
    /// # Errors
    ///
    /// What the engine brings about.
    pub(crate) fn of<E: Engine>(engine: &'a E) -> Result<Self> {
        Unpacked::of(engine).map(Self::new)
    }

    pub(crate) fn new(view: Unpacked<'a>) -> Self {
        Self {
            view,
            changes: Changes::new(),
        }
    }

    pub(crate) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.changes.insert(key, Some(value));
    }

    pub(crate) fn remove(&mut self, key: Vec<u8>) {
        self.changes.insert(key, None);
    }

    pub(crate) fn changes_key(&self, key: &[u8]) -> bool {
        self.changes.contains_key(key)
    }

    /// What the engine is to write.
    ///
    /// # Errors
    ///
    /// What the engine brings about.
    pub(crate) fn into_changes(self) -> Result<Changes> {
        self.view.pack(self.changes)
    }
}

impl View for Transaction<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        match self.changes.get(key) {
            Some(change) => Ok(change.clone()),
            None => self.view.get(key),
        }
    }

    fn range<'b>(&'b self, from: &[u8], to: &[u8], order: Order) -> Result<Entries<'b>> {
        let mut stored = self.view.range(from, to, order)?.peekable();
        let changes = self
            .changes
            .range::<[u8], _>((Included(from), Excluded(to)));
        let mut changes: Box<dyn Iterator<Item = _>> = match order {
            Order::Ascending => Box::new(changes),
            Order::Descending => Box::new(changes.rev()),
        };
        let mut change = changes.next();
        Ok(Box::new(std::iter::from_fn(move || {
            loop {
                let Some((key, value)) = change else {
                    return stored.next();
                };
                match stored.peek() {
                    Some(Err(_)) => return stored.next(),
                    Some(Ok((found, _))) => {
                        let place = match order {
                            Order::Ascending => found.as_slice().cmp(key),
                            Order::Descending => key.as_slice().cmp(found),
                        };
                        match place {
                            Ordering::Less => return stored.next(),
                            // The change stands in its place.
                            Ordering::Equal => drop(stored.next()),
                            Ordering::Greater => {}
                        }
                    }
                    None => {}
                }
                change = changes.next();
                if let Some(value) = value {
                    return Some(Ok((key.clone(), value.clone())));
                }
            }
        })))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::memory::MapView;
    use crate::record;

    prop_compose! {
        fn maps()(map in proptest::collection::btree_map(
            proptest::collection::vec(0..3_u8, 0..4), 0..9_u8, 0..20,
        )) -> BTreeMap<Vec<u8>, u8> { map }
    }

    proptest! {
        #[test]
        fn a_transaction_reads_as_the_map_that_it_makes(
            stored in maps(),
            changed in maps(),
            (from, to) in (any::<[u8; 1]>(), any::<[u8; 1]>()),
        ) {
            let stored: BTreeMap<Vec<u8>, Vec<u8>> =
                stored.into_iter().map(|(key, value)| (key, vec![value])).collect();
            let mut expected = stored.clone();
            let mut transaction = Transaction::new(Unpacked::new(MapView::new(&stored)));
            for (key, value) in changed {
                if value < 3 {
                    transaction.remove(key.clone());
                    expected.remove(&key);
                } else {
                    transaction.put(key.clone(), vec![value]);
                    expected.insert(key, vec![value]);
                }
            }
            let (from, to) = ([from[0] % 4], [to[0] % 4]);
            for (from, to) in [(&from[..], &to[..]), (&[][..], &[9][..])] {
                for order in [Order::Ascending, Order::Descending] {
                    let found = record::range(&transaction, from, to, order).expect("reads");
                    let found: Vec<_> = found.map(|entry| entry.expect("reads")).collect();
                    let inside = |key: &[u8]| from <= key && key < to;
                    let mut wanted: Vec<_> =
                        expected.clone().into_iter().filter(|(key, _)| inside(key)).collect();
                    if order == Order::Descending {
                        wanted.reverse();
                    }
                    prop_assert_eq!(found, wanted);
                }
            }
            for key in expected.keys().chain(stored.keys()) {
                let found = transaction.get(key).expect("reads");
                prop_assert_eq!(found.as_ref(), expected.get(key));
            }
        }
    }
}
