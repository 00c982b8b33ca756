//! The search, on registers whose answers are known.

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

    fn key<'a>(state: &u8, _: impl Iterator<Item = &'a Self>) -> u128 {
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
    check(&operations, &0, 10_000).0
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
    assert_eq!(check(&forwards, &0, 100).0, Verdict::Linearizable);
    let backwards = [op(Some(1), Swap(0, 1)), op(None, Swap(1, 2))];
    assert_ne!(check(&backwards, &0, 100).0, Verdict::Linearizable);
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
