//! A leaf: entries of an index that are one value of the engine.
//!
//! An entry is the number of bytes that its key shares with the key before, or with the leaf's own, the
//! rest of its key, and its value, the latter two each after their length. Numbers are varints. Where a
//! leaf is damaged, what comes before the damage is read; a check with repair makes the rest anew from
//! the jobs.

use crate::value::{push_varint, take_varint};

/// From this size on a leaf is cut when it grows: some fifteen entries.
///
/// Larger ones gain calls that change neighbors little, and cost those that change entries far from
/// each other, such as the ends of jobs that have run for long.
pub(crate) const FULL: usize = 512;

/// A key and its value.
pub(crate) type Entry = (Vec<u8>, Vec<u8>);

/// Reads the entries of a leaf, up to where it is damaged.
pub(crate) struct Reader<'a> {
    /// What follows the entry.
    rest: &'a [u8],
    /// The key of the next leaf, where what is in this one must end.
    next: Option<&'a [u8]>,
    /// Before the first entry, the leaf's.
    key: Vec<u8>,
    /// None at the end.
    value: Option<&'a [u8]>,
}

impl<'a> Reader<'a> {
    /// Stands at the first entry.
    pub(crate) fn new(leaf: &[u8], value: &'a [u8], next: Option<&'a [u8]>) -> Self {
        let mut reader = Self {
            rest: value,
            next,
            key: leaf.to_vec(),
            value: None,
        };
        reader.step(|before, key| before <= key);
        reader
    }

    /// The entry that it stands at.
    pub(crate) fn entry(&self) -> Option<(&[u8], &'a [u8])> {
        self.value.map(|value| (&*self.key, value))
    }

    pub(crate) fn advance(&mut self) {
        self.step(|before, key| before < key);
    }

    /// Goes to the next entry, if its key may follow the one before.
    fn step(&mut self, may_follow: impl Fn(&[u8], &[u8]) -> bool) {
        self.value = None;
        if self.rest.is_empty() {
            return;
        }
        self.value = self.take(may_follow);
        if self.value.is_none() {
            self.rest = &[];
            tracing::warn!(
                range = self.key.first(),
                "an index is damaged; a check of the store with repair makes it anew"
            );
        }
    }

    fn take(&mut self, may_follow: impl Fn(&[u8], &[u8]) -> bool) -> Option<&'a [u8]> {
        // All have the range's byte.
        let shared = take_length(&mut self.rest).filter(|shared| *shared > 0)?;
        let key = take_bytes(&mut self.rest)?;
        let value = take_bytes(&mut self.rest)?;
        // Out of order, or in another leaf's place, nothing would find it.
        let follows = may_follow(self.key.get(shared..)?, key);
        self.key.truncate(shared);
        self.key.extend_from_slice(key);
        let belongs = self.next.is_none_or(|next| self.key.as_slice() < next);
        (follows && belongs).then_some(value)
    }
}

fn take_length(leaf: &mut &[u8]) -> Option<usize> {
    usize::try_from(take_varint(leaf)?).ok()
}

fn take_bytes<'a>(leaf: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = take_length(leaf)?;
    let (bytes, rest) = leaf.split_at_checked(len)?;
    *leaf = rest;
    Some(bytes)
}

/// Writes the value of a leaf.
struct Writer {
    value: Vec<u8>,
    /// The last key, at first the leaf's.
    last: Vec<u8>,
}

impl Writer {
    fn new(leaf: &[u8]) -> Self {
        Self {
            value: Vec::with_capacity(2 * FULL),
            last: leaf.to_vec(),
        }
    }

    /// Adds an entry behind the others.
    fn push(&mut self, key: &[u8], value: &[u8]) {
        let shared = key.iter().zip(&self.last).take_while(|(a, b)| a == b);
        let shared = shared.count();
        push_varint(&mut self.value, shared as u64);
        for bytes in [&key[shared..], value] {
            push_varint(&mut self.value, bytes.len() as u64);
            self.value.extend_from_slice(bytes);
        }
        self.last.truncate(shared);
        self.last.extend_from_slice(&key[shared..]);
    }
}

/// What becomes of a leaf.
pub(crate) struct Changed {
    /// Its value, which may be too long.
    leaf: Vec<u8>,
    /// Whether everything new comes after everything old.
    appended: bool,
}

impl Changed {
    /// Whether no entry is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.leaf.is_empty()
    }

    /// None when nothing is other than it was.
    pub(crate) fn by(
        changes: impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)>,
        leaf: &[u8],
        mut old: Reader<'_>,
    ) -> Option<Self> {
        let mut new = Writer::new(leaf);
        let (mut differs, mut grown, mut appended) = (false, false, true);
        for (key, change) in changes {
            while let Some((before, value)) = old.entry().filter(|(before, _)| *before < &*key) {
                new.push(before, value);
                appended &= !grown;
                old.advance();
            }
            let found = old.entry().filter(|(found, _)| *found == key);
            let found = found.map(|(_, value)| value);
            differs |= found != change.as_deref();
            match (found, &change) {
                (Some(_), _) => old.advance(),
                (None, Some(_)) => grown = true,
                (None, None) => {}
            }
            if let Some(value) = change {
                new.push(&key, &value);
            }
        }
        while let Some((after, value)) = old.entry() {
            new.push(after, value);
            appended &= !grown;
            old.advance();
        }
        differs.then_some(Self {
            leaf: new.value,
            appended,
        })
    }
}

/// Cuts what became of a leaf into leaves.
///
/// Where entries are added behind the others, more will come there: the leaves before are left full.
/// Elsewhere all are left with the same room.
pub(crate) fn cut(key: Vec<u8>, changed: Changed) -> Vec<Entry> {
    let whole = changed.leaf;
    if whole.len() <= FULL {
        return vec![(key, whole)];
    }
    let size = match changed.appended {
        true => FULL,
        false => whole.len().div_ceil(whole.len().div_ceil(FULL)),
    };
    let mut leaves = Vec::new();
    let mut reader = Reader::new(&key, &whole, None);
    let mut leaf = Writer::new(&key);
    let mut start = key.clone();
    while let Some((key, value)) = reader.entry() {
        if leaf.value.len() >= size {
            let full = std::mem::replace(&mut leaf, Writer::new(key));
            leaves.push((std::mem::replace(&mut start, key.to_vec()), full.value));
        }
        leaf.push(key, value);
        reader.advance();
    }
    leaves.push((start, leaf.value));
    leaves
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_read_as_entries_in_order(
            leaf in proptest::collection::vec(0..4_u8, 1..5),
            value in proptest::collection::vec(prop_oneof![0..4_u8, any::<u8>()], 0..60),
        ) {
            let mut reader = Reader::new(&leaf, &value, None);
            let mut keys = Vec::new();
            while let Some((key, _)) = reader.entry() {
                keys.push(key.to_vec());
                reader.advance();
            }
            prop_assert!(keys.first().is_none_or(|first| leaf <= *first));
            prop_assert!(keys.is_sorted_by(|a, b| a < b));
            prop_assert!(keys.len() <= value.len());
        }
    }
}
