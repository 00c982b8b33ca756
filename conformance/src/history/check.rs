//! Whether some order of operations explains what callers saw.
//!
//! The algorithm is Wing and Gong's with Lowe's cache: take an operation that began before every
//! other one left had returned, see whether its reply fits the state, and go on from the state it
//! makes; on a dead end, go back. What was tried is remembered as the set of operations left (a
//! bitset) and a hash of what they find in the state, since nothing else decides what is left to
//! explain. Four things keep the search small, and none of them loses an order:
//!
//! * **Operations that have nothing to do with each other are explained apart.** What is left falls
//!   into groups between which no two operations conflict, and linearizability is local: there is an
//!   order for all if there is one for each. So a dead end in one group is not tried again with every
//!   order of another.
//! * **Of operations that may be swapped only one order is tried.** Whatever has yet to begin comes
//!   after the operation that returned first, so it is enough to go on with that one or with one that
//!   it depends on, directly or through others.
//! * **What changes nothing is taken at once** where it fits, and never taken back: it stands in
//!   nobody's way.
//! * **What is unknown is taken only where it is needed.** An operation without a reply never
//!   returns, so it may come at any later point or never. It is taken only directly before one whose
//!   reply does not fit without it. One that is in nobody's way there can come later as well: either
//!   the operation after it changes nothing, or it says all of what it made of the thing, or they
//!   change different things. That does not hold for what two creations ask for, an id or a unique
//!   key: the one that is put off until somebody sees what it made may find it taken by the other.
//!   So an unknown operation that has to do with such a thing is tried wherever it may come.
//!
//! A state is given up as soon as some reply can no longer be explained, whatever comes before it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;

use super::set::Set;

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

    /// Whether it may be too late for it once its effect is seen, because others want the same thing.
    fn is_contended(&self) -> bool {
        false
    }

    /// Whether the order of the two may matter.
    fn conflicts(&self, other: &Self) -> bool;

    /// What tells states apart for these operations.
    fn key<'a>(state: &Self::State, operations: impl Iterator<Item = &'a Self>) -> u128
    where
        Self: 'a;

    /// Which of these operations, by its place among them, has a reply that fits in no order of
    /// them; none when in doubt.
    fn hopeless<'a>(
        _state: &Self::State,
        _operations: impl Iterator<Item = &'a Self> + Clone,
    ) -> Option<usize>
    where
        Self: 'a,
    {
        None
    }
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
        /// How many operations that have to do with these fit before.
        explained: usize,
    },
    /// The search was given up.
    TimedOut,
}

/// Looks for an order, trying at most so many states; tells how many it tried.
pub(super) fn check<O: Operation>(
    operations: &[O],
    start: &O::State,
    budget: usize,
) -> (Verdict, usize) {
    search(Search::new(operations, budget), start)
}

/// As [`check`], but takes what is unknown wherever it fits: slower, and by fewer arguments right.
pub(super) fn check_slowly<O: Operation>(
    operations: &[O],
    start: &O::State,
    budget: usize,
) -> (Verdict, usize) {
    let slow = Search {
        unknown_anywhere: true,
        ..Search::new(operations, budget)
    };
    search(slow, start)
}

fn search<O: Operation>(mut search: Search<'_, O>, start: &O::State) -> (Verdict, usize) {
    let operations = search.operations;
    let mut all = Set::new(operations.len());
    (0..operations.len()).for_each(|index| all.insert(index));
    let verdict = match search.explain_apart(&all, start) {
        Ok(()) => Verdict::Linearizable,
        Err(End::Stuck(stuck)) => Verdict::Not {
            stuck: stuck.next.clone(),
            explained: stuck.explained,
        },
        Err(End::GivenUp) => Verdict::TimedOut,
    };
    (verdict, search.tried)
}

/// Why a part of a history was not explained.
#[derive(Clone)]
enum End {
    Stuck(Rc<Stuck>),
    GivenUp,
}

/// How far the longest order came.
struct Stuck {
    explained: usize,
    next: Vec<usize>,
}

/// What came of going on with an operation.
enum Tried {
    Explained,
    Stuck,
    /// Its reply does not fit the state.
    Misfit,
}

struct Search<'a, O> {
    operations: &'a [O],
    /// For each operation, those whose order to it may matter.
    conflicts: Vec<Set>,
    /// What was found out: the operations left, and the key of the state.
    known: HashMap<(Set, u128), Result<(), Rc<Stuck>>>,
    tried: usize,
    budget: usize,
    unknown_anywhere: bool,
}

impl<'a, O: Operation> Search<'a, O> {
    fn new(operations: &'a [O], budget: usize) -> Self {
        let conflicts = operations.iter().map(|one| {
            let mut row = Set::new(operations.len());
            for (index, other) in operations.iter().enumerate() {
                if one.conflicts(other) {
                    row.insert(index);
                }
            }
            row
        });
        Self {
            operations,
            conflicts: conflicts.collect(),
            known: HashMap::new(),
            tried: 0,
            budget,
            unknown_anywhere: false,
        }
    }

    fn is_required(&self, index: usize) -> bool {
        self.operations[index].returned().is_some()
    }

    fn count(&mut self) -> Result<(), End> {
        self.tried += 1;
        match self.tried > self.budget {
            true => Err(End::GivenUp),
            false => Ok(()),
        }
    }

    /// Explains each group of operations that have to do with each other.
    fn explain_apart(&mut self, left: &Set, state: &O::State) -> Result<(), End> {
        let mut rest = left.clone();
        for first in left.iter() {
            if !rest.contains(first) {
                continue;
            }
            let group = self.bound_to(first, &rest);
            rest = rest.without(&group);
            if group.iter().any(|index| self.is_required(index)) {
                self.explain(&group, state)?;
            }
        }
        Ok(())
    }

    /// Explains a group of operations.
    fn explain(&mut self, group: &Set, state: &O::State) -> Result<(), End> {
        let mut left = group.clone();
        let ready = self.take_what_changes_nothing(&mut left, state);
        let Some(first) = ready.iter().copied().find(|index| self.is_required(*index)) else {
            return Ok(());
        };
        let key = (left.clone(), O::key(state, self.members(&left)));
        let required = |set: &Set| set.iter().filter(|index| self.is_required(*index)).count();
        let seen = required(group) - required(&left);
        let further = |stuck: &Rc<Stuck>| match seen {
            0 => End::Stuck(Rc::clone(stuck)),
            _ => End::Stuck(Rc::new(Stuck {
                explained: seen + stuck.explained,
                next: stuck.next.clone(),
            })),
        };
        if let Some(known) = self.known.get(&key) {
            return known.clone().map_err(|stuck| further(&stuck));
        }
        let hopeless =
            O::hopeless(state, self.members(&left)).and_then(|place| left.iter().nth(place));
        self.count()?;
        let mut ready_set = Set::new(self.operations.len());
        ready.iter().for_each(|index| ready_set.insert(*index));
        let bound = self.bound_to(first, &ready_set);
        let next = ready.iter().copied();
        let next: Vec<usize> = next
            .filter(|index| bound.contains(*index) && self.is_required(*index))
            .collect();
        let found = match hopeless {
            Some(index) => Err(Rc::new(Stuck {
                explained: 0,
                next: vec![index],
            })),
            None => self.go_on(&left, state, &next, &bound)?,
        };
        self.known.insert(key, found.clone());
        found.map_err(|stuck| further(&stuck))
    }

    /// Tries each of the next operations: first as things are, then after some of the unknown ones.
    fn go_on(
        &mut self,
        left: &Set,
        state: &O::State,
        next: &[usize],
        ready: &Set,
    ) -> Result<Result<(), Rc<Stuck>>, End> {
        let mut best = Stuck {
            explained: 0,
            next: next.to_vec(),
        };
        let mut misfits = Vec::new();
        for &index in next {
            match self.try_one(index, left, state, &mut best)? {
                Tried::Explained => return Ok(Ok(())),
                Tried::Stuck => {}
                Tried::Misfit => misfits.push(index),
            }
        }
        for index in ready.iter() {
            let anywhere = self.unknown_anywhere || self.operations[index].is_contended();
            if anywhere
                && !self.is_required(index)
                && let Tried::Explained = self.try_one(index, left, state, &mut best)?
            {
                return Ok(Ok(()));
            }
        }
        for index in misfits {
            for (left, state) in self.ways_to(index, left, state, ready)? {
                if let Tried::Explained = self.try_one(index, &left, &state, &mut best)? {
                    return Ok(Ok(()));
                }
            }
        }
        Ok(Err(Rc::new(best)))
    }

    /// Goes on with an operation, if it fits; keeps the best dead end.
    fn try_one(
        &mut self,
        index: usize,
        left: &Set,
        state: &O::State,
        best: &mut Stuck,
    ) -> Result<Tried, End> {
        let Effect { same, changed } = self.operations[index].apply(state);
        // What is unknown and changed nothing need not have happened.
        let same = same && self.is_required(index);
        if !same && changed.is_empty() {
            return Ok(Tried::Misfit);
        }
        let mut left = left.clone();
        left.remove(index);
        let same = same.then(|| state.clone());
        for state in same.into_iter().chain(changed) {
            match self.explain_apart(&left, &state) {
                Ok(()) => return Ok(Tried::Explained),
                Err(End::Stuck(stuck)) if stuck.explained + 1 >= best.explained => {
                    best.explained = stuck.explained + 1;
                    best.next.clone_from(&stuck.next);
                }
                Err(End::Stuck(_)) => {}
                Err(End::GivenUp) => return Err(End::GivenUp),
            }
        }
        Ok(Tried::Stuck)
    }

    /// What is left, and the states, after the shortest sequences of unknown operations that make an
    /// operation fit.
    fn ways_to(
        &mut self,
        index: usize,
        left: &Set,
        state: &O::State,
        ready: &Set,
    ) -> Result<Vec<(Set, O::State)>, End> {
        let mut unknown = Set::new(self.operations.len());
        let optional = ready.iter().filter(|index| !self.is_required(*index));
        optional.for_each(|index| unknown.insert(index));
        unknown.insert(index);
        let mut unknown = self.bound_to(index, &unknown);
        unknown.remove(index);
        let certain = left.without(&unknown);
        let mut ways = Vec::new();
        let mut seen: HashSet<(Set, u128)> = HashSet::new();
        let mut queue = VecDeque::from([(unknown, state.clone())]);
        while let Some((unknown, state)) = queue.pop_front() {
            let mut members = unknown.clone();
            members.insert(index);
            if O::hopeless(&state, self.members(&members)).is_some() {
                continue;
            }
            for step in unknown.iter() {
                let mut unknown = unknown.clone();
                unknown.remove(step);
                for state in self.operations[step].apply(&state).changed {
                    let key = O::key(&state, self.members(left));
                    if !seen.insert((unknown.clone(), key)) {
                        continue;
                    }
                    self.count()?;
                    let Effect { same, changed } = self.operations[index].apply(&state);
                    if same || !changed.is_empty() {
                        ways.push((certain.with(&unknown), state));
                    } else {
                        queue.push_back((unknown.clone(), state));
                    }
                }
            }
        }
        Ok(ways)
    }

    fn members<'s>(&'s self, set: &'s Set) -> impl Iterator<Item = &'a O> + Clone + 's {
        set.iter().map(|index| &self.operations[index])
    }

    /// Takes every operation that fits here and changes nothing; returns those that may come next,
    /// by the time they returned.
    fn take_what_changes_nothing(&self, left: &mut Set, state: &O::State) -> Vec<usize> {
        loop {
            let ready = self.ready(left);
            let free = ready.iter().copied().filter(|index| {
                let operation = &self.operations[*index];
                self.is_required(*index) && operation.only_sees() && operation.apply(state).same
            });
            let free: Vec<usize> = free.collect();
            if free.is_empty() {
                return ready;
            }
            free.into_iter().for_each(|index| left.remove(index));
        }
    }

    /// The operations that may come next.
    fn ready(&self, left: &Set) -> Vec<usize> {
        let returned = left.iter();
        let returned = returned.filter_map(|index| self.operations[index].returned());
        let horizon = returned.min().unwrap_or(u64::MAX);
        let mut ready: Vec<usize> = left
            .iter()
            .filter(|index| {
                let operation = &self.operations[*index];
                let waits = operation.after().is_some_and(|after| left.contains(after));
                operation.invoked() < horizon && !waits
            })
            .collect();
        ready.sort_by_key(|index| self.operations[*index].returned().unwrap_or(u64::MAX));
        ready
    }

    /// Those whose order to the first may matter, directly or through others of them, and the first.
    fn bound_to(&self, first: usize, of: &Set) -> Set {
        let mut bound = Set::new(self.operations.len());
        bound.insert(first);
        let mut unvisited = vec![first];
        while let Some(index) = unvisited.pop() {
            let found = self.conflicts[index].both(of).without(&bound);
            unvisited.extend(found.iter());
            bound = bound.with(&found);
        }
        bound
    }
}

#[cfg(test)]
mod tests;
