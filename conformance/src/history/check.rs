//! Whether some order of operations explains what callers saw.
//!
//! The algorithm is Wing and Gong's with Lowe's cache: take an operation that began before every
//! other one left had returned, see whether its reply fits the state, and go on from the state it
//! makes; on a dead end, go back. What was tried is remembered as the set of operations taken (a
//! bitset) and a hash of the state, since what is left to explain depends on nothing else.
//!
//! Two kinds of operations are special. One whose outcome is unknown never returns, so it may be
//! taken at any later point, and need not be taken at all. One that changes nothing where it fits is
//! taken at once and never taken back: it stands in nobody's way.

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

    /// The states to which it may lead, if its reply fits.
    fn apply(&self, state: &Self::State) -> Vec<Self::State>;

    /// What tells states apart.
    fn key(state: &Self::State) -> u128;
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
    let search = Search { operations };
    let mut tried: HashSet<(Vec<u64>, u128)> = HashSet::new();
    let mut best = (0, Vec::new());
    let mut stack = vec![(vec![0_u64; operations.len().div_ceil(64)], start)];
    while let Some((mut taken, state)) = stack.pop() {
        let ready = search.take_what_changes_nothing(&mut taken, &state);
        if search.is_explained(&taken) {
            return Verdict::Linearizable;
        }
        if !tried.insert((taken.clone(), O::key(&state))) {
            continue;
        }
        if tried.len() > budget {
            return Verdict::TimedOut;
        }
        let count = taken.iter().map(|word| word.count_ones()).sum::<u32>();
        if count as usize >= best.0 {
            let required = |index: &usize| operations[*index].returned().is_some();
            best = (
                count as usize,
                ready.iter().copied().filter(required).collect(),
            );
        }
        // The last pushed is tried first: what returned first, and what is unknown at last.
        for index in ready.into_iter().rev() {
            for next in operations[index].apply(&state) {
                let mut taken = taken.clone();
                set(&mut taken, index);
                stack.push((taken, next));
            }
        }
    }
    let (explained, stuck) = best;
    Verdict::Not { stuck, explained }
}

struct Search<'a, O> {
    operations: &'a [O],
}

impl<O: Operation> Search<'_, O> {
    /// Takes every operation that fits here and changes nothing; returns those that may come next,
    /// by the time they returned.
    fn take_what_changes_nothing(&self, taken: &mut [u64], state: &O::State) -> Vec<usize> {
        let key = O::key(state);
        loop {
            let ready = self.ready(taken);
            let free = ready.iter().copied().filter(|index| {
                let operation = &self.operations[*index];
                operation.returned().is_some()
                    && operation
                        .apply(state)
                        .iter()
                        .any(|next| O::key(next) == key)
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

    fn is_explained(&self, taken: &[u64]) -> bool {
        let mut operations = self.operations.iter().enumerate();
        operations.all(|(index, operation)| operation.returned().is_none() || is_set(taken, index))
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

        fn apply(&self, state: &u8) -> Vec<u8> {
            match self.does {
                Write(value) => vec![value],
                Read(value) if value == *state => vec![value],
                Swap(from, to) if from == *state => vec![to],
                Read(_) | Swap(..) => Vec::new(),
            }
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
