//! Whether some order of operations explains what callers saw.
//!
//! The algorithm is Wing and Gong's with Lowe's cache: take an operation that began before every
//! other one left had returned, see whether its reply fits the state, and go on from the state it
//! makes; on a dead end, go back. What was tried is remembered as the set of operations taken (a
//! bitset) and a hash of the state, since what is left to explain depends on nothing else.
//!
//! Two kinds of operations are special. One whose outcome is unknown never returns, so it may be
//! taken at any later point, and need not be taken at all. One whose reply says that it changed
//! nothing is taken at once where it fits and never taken back: it stands in nobody's way.
//!
//! Operations on different things may be swapped, so only one of their orders is tried: whatever has
//! yet to begin comes after the operation that returned first, so it is enough to go on with that
//! one or with one that it depends on, directly or through others.

use std::collections::HashSet;

/// One operation of a history, with its reply.
pub(super) trait Operation {
    /// What operations change.
    type State: Clone;

    /// When its call began: every call and return has its own number.
    fn invoked(&self) -> u64;

    /// When its call returned; none if the outcome is unknown, and it may never have happened.
    fn returned(&self) -> Option<u64>;

    /// The operation that it comes after, beside those that had returned before.
    fn after(&self) -> Option<usize>;

    /// What it may lead to, if its reply fits.
    fn apply(&self, state: &Self::State) -> Effect<Self::State>;

    /// Whether its reply says that it changed nothing.
    fn only_sees(&self) -> bool;

    /// Whether the order of the two may matter.
    fn conflicts(&self, other: &Self) -> bool;

    /// What tells states apart.
    fn key(state: &Self::State) -> u128;
}

/// Where an operation may lead.
pub(super) struct Effect<S> {
    /// Its reply fits, and it may have changed nothing.
    pub(super) same: bool,
    /// The states that it may have made.
    pub(super) changed: Vec<S>,
}

/// What a check came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Some order explains the history.
    Linearizable,
    /// No order does. The longest that explains a part of it leaves these operations, none of which
    /// fits next.
    Not {
        /// By their places in the history.
        stuck: Vec<usize>,
        /// How many fit before.
        explained: usize,
    },
    /// The search was given up.
    TimedOut,
}

/// Looks for an order, trying at most so many states.
pub(super) fn check<O: Operation>(operations: &[O], start: O::State, budget: usize) -> Verdict {
    let search = Search::new(operations);
    let mut tried: HashSet<(Vec<u64>, u128)> = HashSet::new();
    let mut best = (0, Vec::new());
    let mut stack = vec![(vec![0_u64; operations.len().div_ceil(64)], start)];
    while let Some((mut taken, state)) = stack.pop() {
        let ready = search.take_what_changes_nothing(&mut taken, &state);
        let required = |index: &usize| operations[*index].returned().is_some();
        let Some(first) = ready.iter().copied().find(required) else {
            return Verdict::Linearizable;
        };
        if !tried.insert((taken.clone(), O::key(&state))) {
            continue;
        }
        if tried.len() > budget {
            return Verdict::TimedOut;
        }
        let next = search.bound_to(first, &ready);
        let explained = taken.iter().map(|word| word.count_ones() as usize).sum();
        if explained >= best.0 {
            best = (explained, next.iter().copied().filter(required).collect());
        }
        // The last pushed is tried first: what returned first, and what is unknown at last.
        for index in next.into_iter().rev() {
            let Effect { same, changed } = operations[index].apply(&state);
            let same = (same && required(&index)).then(|| state.clone());
            for state in same.into_iter().chain(changed) {
                let mut taken = taken.clone();
                set(&mut taken, index);
                stack.push((taken, state));
            }
        }
    }
    let (explained, stuck) = best;
    Verdict::Not { stuck, explained }
}

struct Search<'a, O> {
    operations: &'a [O],
    /// For each operation, those whose order to it may matter.
    conflicts: Vec<Vec<u64>>,
}

impl<'a, O: Operation> Search<'a, O> {
    fn new(operations: &'a [O]) -> Self {
        let conflicts = operations.iter().map(|one| {
            let mut row = vec![0_u64; operations.len().div_ceil(64)];
            for (index, other) in operations.iter().enumerate() {
                if one.conflicts(other) {
                    set(&mut row, index);
                }
            }
            row
        });
        Self {
            operations,
            conflicts: conflicts.collect(),
        }
    }

    /// Takes every operation that fits here and changes nothing; returns those that may come next,
    /// by the time they returned.
    fn take_what_changes_nothing(&self, taken: &mut [u64], state: &O::State) -> Vec<usize> {
        loop {
            let ready = self.ready(taken);
            let free = ready.iter().copied().filter(|index| {
                let operation = &self.operations[*index];
                operation.only_sees()
                    && operation.returned().is_some()
                    && operation.apply(state).same
            });
            let free: Vec<usize> = free.collect();
            if free.is_empty() {
                return ready;
            }
            for index in free {
                set(taken, index);
            }
        }
    }

    /// The operations that may come next.
    fn ready(&self, taken: &[u64]) -> Vec<usize> {
        let left = || (0..self.operations.len()).filter(|index| !is_set(taken, *index));
        let horizon = left()
            .filter_map(|index| self.operations[index].returned())
            .min()
            .unwrap_or(u64::MAX);
        let mut ready: Vec<usize> = left()
            .filter(|index| {
                let operation = &self.operations[*index];
                operation.invoked() < horizon
                    && operation.after().is_none_or(|after| is_set(taken, after))
            })
            .collect();
        ready.sort_by_key(|index| self.operations[*index].returned().unwrap_or(u64::MAX));
        ready
    }

    /// Those of the ready operations whose order to the first may matter, directly or through
    /// others of them, and the first itself.
    fn bound_to(&self, first: usize, ready: &[usize]) -> Vec<usize> {
        let mut bound = vec![first];
        let mut place = 0;
        while let Some(&index) = bound.get(place) {
            let row = &self.conflicts[index];
            for other in ready {
                if is_set(row, *other) && !bound.contains(other) {
                    bound.push(*other);
                }
            }
            place += 1;
        }
        let in_order = ready.iter().copied().filter(|index| bound.contains(index));
        in_order.collect()
    }
}

fn is_set(taken: &[u64], index: usize) -> bool {
    taken[index / 64] & (1 << (index % 64)) != 0
}

fn set(taken: &mut [u64], index: usize) {
    taken[index / 64] |= 1 << (index % 64);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A register: written, read, or written with an unknown outcome.
    struct Op {
        invoked: u64,
        returned: Option<u64>,
        after: Option<usize>,
        does: Does,
    }

    #[derive(Clone, Copy)]
    enum Does {
        Write(u8),
        Read(u8),
        /// From one value to another; refused for any other.
        Swap(u8, u8),
    }
    use Does::{Read, Swap, Write};

    impl Operation for Op {
        type State = u8;

        fn invoked(&self) -> u64 {
            self.invoked
        }

        fn returned(&self) -> Option<u64> {
            self.returned
        }

        fn after(&self) -> Option<usize> {
            self.after
        }

        fn apply(&self, state: &u8) -> Effect<u8> {
            let next = match self.does {
                Write(value) => Some(value),
                Read(value) if value == *state => Some(value),
                Swap(from, to) if from == *state => Some(to),
                Read(_) | Swap(..) => None,
            };
            Effect {
                same: next == Some(*state),
                changed: next.into_iter().filter(|next| next != state).collect(),
            }
        }

        fn only_sees(&self) -> bool {
            matches!(self.does, Read(_))
        }

        fn conflicts(&self, _: &Self) -> bool {
            true
        }

        fn key(state: &u8) -> u128 {
            u128::from(*state)
        }
    }

    fn verdict(history: &[(u64, u64, Does)]) -> Verdict {
        let operations: Vec<Op> = history
            .iter()
            .map(|&(invoked, returned, does)| Op {
                invoked,
                returned: (returned != u64::MAX).then_some(returned),
                after: None,
                does,
            })
            .collect();
        check(&operations, 0, 10_000)
    }

    fn is_linearizable(history: &[(u64, u64, Does)]) -> bool {
        verdict(history) == Verdict::Linearizable
    }

    const NEVER: u64 = u64::MAX;

    #[test]
    fn what_overlaps_may_come_in_either_order() {
        assert!(is_linearizable(&[]));
        assert!(is_linearizable(&[(0, 3, Write(1)), (1, 2, Read(0))]));
        assert!(is_linearizable(&[(0, 3, Write(1)), (1, 2, Read(1))]));
        assert!(is_linearizable(&[
            (0, 5, Write(1)),
            (1, 4, Write(2)),
            (6, 7, Read(1))
        ]));
        assert!(is_linearizable(&[
            (0, 5, Write(1)),
            (1, 4, Write(2)),
            (6, 7, Read(2))
        ]));
    }

    #[test]
    fn what_had_returned_comes_first() {
        let stale = verdict(&[(0, 1, Write(1)), (2, 3, Read(0))]);
        let stuck = Verdict::Not {
            stuck: vec![1],
            explained: 1,
        };
        assert_eq!(stale, stuck);
        // The new value, then the old one again.
        assert!(!is_linearizable(&[
            (0, 9, Write(1)),
            (1, 2, Read(1)),
            (3, 4, Read(0))
        ]));
        // Two readers that see two writes in different orders.
        assert!(!is_linearizable(&[
            (0, 20, Write(1)),
            (1, 21, Write(2)),
            (2, 3, Read(1)),
            (4, 5, Read(2)),
            (6, 7, Read(1)),
        ]));
    }

    #[test]
    fn of_two_swaps_from_one_value_one_fits() {
        assert!(!is_linearizable(&[(0, 3, Swap(0, 1)), (1, 2, Swap(0, 2))]));
        assert!(is_linearizable(&[(0, 3, Swap(0, 1)), (1, 2, Swap(1, 2))]));
    }

    #[test]
    fn what_is_unknown_happens_at_any_later_point_or_never() {
        assert!(is_linearizable(&[(0, NEVER, Write(1)), (1, 2, Read(0))]));
        assert!(is_linearizable(&[
            (0, NEVER, Write(1)),
            (1, 2, Read(0)),
            (3, 4, Read(1))
        ]));
        // Not before it began, and not twice.
        assert!(!is_linearizable(&[(0, 1, Read(1)), (2, NEVER, Write(1))]));
        assert!(!is_linearizable(&[
            (0, NEVER, Write(1)),
            (1, 2, Read(1)),
            (3, 4, Write(2)),
            (5, 6, Read(1)),
        ]));
    }

    #[test]
    fn an_operation_waits_for_the_one_it_comes_after() {
        let op = |after, does| Op {
            invoked: 0,
            returned: Some(9),
            after,
            does,
        };
        let forwards = [op(None, Swap(0, 1)), op(Some(0), Swap(1, 2))];
        assert_eq!(check(&forwards, 0, 100), Verdict::Linearizable);
        let backwards = [op(Some(1), Swap(0, 1)), op(None, Swap(1, 2))];
        assert_ne!(check(&backwards, 0, 100), Verdict::Linearizable);
    }

    #[test]
    fn a_search_without_end_is_given_up() {
        let mut history: Vec<_> = (1..40)
            .map(|value| (u64::from(value), 1_000, Write(value)))
            .collect();
        history.push((1_001, 1_002, Read(99)));
        assert_eq!(verdict(&history), Verdict::TimedOut);
    }

    #[test]
    fn more_than_64_operations_are_checked() {
        let writes = (0..100_u64).map(|n| (2 * n, 2 * n + 1, Write(n as u8)));
        let mut history: Vec<_> = writes.collect();
        history.push((300, 301, Read(99)));
        assert!(is_linearizable(&history));
        history.push((302, 303, Read(98)));
        assert!(!is_linearizable(&history));
    }
}
