//! Callers at once: histories of what they saw, checked for linearizability against the rules.
//!
//! Two to eight callers create, claim, update, recover, delete, get and list the same few jobs,
//! while the clock moves and leases run out. Some of their calls are lost before or after they
//! happened, or dropped halfway. Each call is recorded with its beginning, its end and its reply, and
//! a checker looks for one order of all of them that the pure rules of core explain and in which
//! every call stands between its beginning and its end. If there is none, callers saw what no store
//! that does one thing after another could show.
//!
//! # What is demanded
//!
//! No more than the contract promises, call by call:
//!
//! * **create** is one step: all of the batch or none, seen by nobody in between.
//! * **update** is one step for each item, those on one job in their order. A batch is not atomic.
//! * **get** and **list** see each job in a step of its own. A list must show every job that existed
//!   and met the filter throughout, within the page's range, and no other.
//! * **delete** is one step for each job. A job that was passed over must not have been meant at some
//!   moment of the call, unless a limit was reached.
//! * **claim** with another writing call beside it, one whose outcome is unknown included, is one
//!   step for each job that it returned: the job was due, of the right name, and is nobody else's.
//!   How many come back, and that no better job was passed over, is not demanded then. An engine
//!   that skips rows that others hold locked skips them also if the other transaction is rolled back
//!   or updates the row without claiming it, and the contract forbids only that a claimer waits. The
//!   jobs must still be in the order of claiming and no more than the limit. A claim with no other
//!   writing call beside it is one step that takes exactly the first jobs.
//! * **time** is whatever the clock showed between a call's beginning and its end. That calls read
//!   the clock in the order in which they take effect is not promised.
//!
//! A call whose outcome is unknown, because it was dropped or failed with
//! [`Error::Unavailable`](jobstore_core::Error::Unavailable), may take effect at any later point, or
//! never; its items may do so one without the other. A creation is still all or nothing, but may have
//! found a unique key held that is free when somebody sees what it made. Every claim has an owner of
//! its own, so if its reply was lost, those who see its jobs later tell what it took.
//!
//! A search that is given up counts as a failure. So does a run in which nothing interesting
//! happened: see [`Sometimes`].
//!
//! [`many_jobs`] looks at what holds for any number of jobs instead of at every call.

mod check;
mod many;
mod picture;
mod record;
mod set;
mod sometimes;
mod spec;
mod steps;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::failure::{CaseResult, Failure};
use crate::run::runtime;
use crate::{Cx, Harness};

use check::Verdict;
pub use many::many_jobs;
use record::{History, Plan};
pub use sometimes::Sometimes;
use spec::{State, Step};
use steps::LostClaims;

/// So many states are tried before a search is given up; a telling history needs some hundreds.
const BUDGET: usize = 200_000;

/// Records and checks this many histories, each on a fresh store.
///
/// The environment's `JOBSTORE_HISTORIES` overrides the number, and `JOBSTORE_HISTORY_SEED` the seed
/// of the first history's plan; each further one has the next seed. What a plan's callers do is
/// decided by its seed, which of them is faster is not.
///
/// # Panics
///
/// When no order explains a history: with the seed, the calls that do not fit, and the path of a
/// picture. When the histories proved nothing, because something that is to be seen never happened.
pub fn test(harness: &dyn Harness, histories: u32) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let histories = number("JOBSTORE_HISTORIES").unwrap_or(u64::from(histories));
    let seed = number("JOBSTORE_HISTORY_SEED").unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(0, |since| since.as_micros() as u64)
    });
    let runtime = runtime();
    let mut sometimes = Sometimes::default();
    for index in 0..histories {
        let seed = seed.wrapping_add(index);
        match runtime.block_on(one(harness, seed)) {
            Ok(seen) => sometimes += seen,
            Err(failure) => panic!(
                "after {index} histories:\n{failure}\n  to see it again, perhaps after some attempts: \
                 JOBSTORE_HISTORY_SEED={seed} JOBSTORE_HISTORIES=1"
            ),
        }
    }
    let missing = sometimes.missing();
    assert!(
        missing.is_empty(),
        "{histories} histories from seed {seed} prove nothing: they never saw {}\n{sometimes}",
        missing.join(", ")
    );
    eprintln!("{sometimes}");
}

/// Records and checks the history of one seed.
///
/// # Errors
///
/// When no order explains it, naming the calls that do not fit.
pub async fn one(harness: &dyn Harness, seed: u64) -> CaseResult<Sometimes> {
    let cx = Cx::new(harness).await?;
    let shared = harness.capabilities().shared;
    let history = record::record(&cx, &Plan::of(seed), shared).await?;
    steps::check_replies(&history).map_err(|failure| pictured(failure, &history, &[], seed))?;
    let explained = explain(&history);
    let states = explained.map_err(|(failure, steps)| pictured(failure, &history, &steps, seed))?;
    Ok(Sometimes {
        most_states: states as u64,
        ..Sometimes::of(&history)
    })
}

/// Tells how many states were tried; fails with what does not fit, and the fewest steps that show it.
fn explain(history: &History) -> Result<usize, (Failure, Vec<Step>)> {
    let mut steps = steps::steps(history, LostClaims::Seen);
    let (mut verdict, mut states) = check::check(&steps, &State::default(), BUDGET);
    let lost_claim = |event: &record::Event| {
        event.reply.is_none() && matches!(event.call, record::Call::Claim(_))
    };
    if history.events.iter().any(lost_claim) {
        for more in [LostClaims::Missed, LostClaims::Any] {
            if verdict != Verdict::Linearizable {
                steps = steps::steps(history, more);
                let (next, tried) = check::check(&steps, &State::default(), BUDGET);
                (verdict, states) = (next, states + tried);
            }
        }
    }
    match verdict {
        Verdict::Linearizable => Ok(states),
        Verdict::Not { .. } => accuse(history, steps).map_or(Ok(states), Err),
        Verdict::TimedOut => Err((undecided(), steps)),
    }
}

fn undecided() -> Failure {
    let got = format!("none in the first {BUDGET} states tried");
    Failure::new("an order that explains the history", got)
}

/// Says what does not fit, with the steps that show it; nothing if the search that relies on fewer
/// arguments finds an order all the same.
fn accuse(history: &History, steps: Vec<Step>) -> Option<(Failure, Vec<Step>)> {
    let quick = |steps: &[Step], budget| check::check(steps, &State::default(), budget).0;
    let slow = |steps: &[Step]| check::check_slowly(steps, &State::default(), BUDGET).0;
    let fails = |steps: &[Step]| matches!(quick(steps, BUDGET / 20), Verdict::Not { .. });
    let fewest = steps::shrink(steps.clone(), fails);
    let (steps, verdict, doubt) = match slow(&fewest) {
        Verdict::TimedOut => {
            let verdict = quick(&fewest, BUDGET);
            (fewest, verdict, ", as far as the quicker search tells")
        }
        // Whatever explains all of the steps explains the fewer, so the quick search was wrong.
        Verdict::Linearizable => {
            let verdict = slow(&steps);
            (steps, verdict, "")
        }
        verdict => (fewest, verdict, ""),
    };
    let Verdict::Not { stuck, explained } = verdict else {
        return (verdict == Verdict::TimedOut).then(|| (undecided(), steps));
    };
    let count = steps.len();
    let mut got = format!("none{doubt}; {explained} of {count} steps fit, then none of:");
    for step in stuck.iter().take(8).map(|index| &steps[*index]) {
        let event = &history.events[step.event];
        let (caller, does) = (event.caller, picture::step(step));
        let ids = &step.ids;
        write!(got, "\n            caller {caller}: {does}; jobs {ids:?}")
            .expect("writes to a String");
    }
    let failure = Failure::new("an order that explains the history", got);
    let stuck = stuck.into_iter().map(|index| steps[index].clone());
    Some((failure, stuck.collect()))
}

/// The failure with the path of a picture.
fn pictured(failure: Failure, history: &History, stuck: &[Step], seed: u64) -> Failure {
    let path: PathBuf = std::env::temp_dir().join(format!("jobstore-history-{seed}.html"));
    let written = std::fs::write(&path, picture::html(history, stuck, seed));
    let got = match written {
        Ok(()) => format!("{}\n   picture: {}", failure.got, path.display()),
        Err(error) => format!("{}\n   picture: cannot be written: {error}", failure.got),
    };
    Failure { got, ..failure }
}

#[cfg(test)]
mod tests;
