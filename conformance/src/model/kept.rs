//! Every program that ever failed.

use serde::Deserialize;

use super::{Step, compare};
use crate::Harness;
use crate::run::runtime;

/// A program that failed, and on what.
#[derive(Debug, Deserialize)]
pub(super) struct Kept {
    /// What was wrong with the store.
    pub(super) found: String,
    pub(super) steps: Vec<Step>,
}

/// The collection: a line for each program, in the order in which they were found.
const COLLECTION: &str = include_str!("../../programs.jsonl");

/// Every program of the collection.
pub(super) fn collection() -> impl Iterator<Item = Kept> {
    let lines = COLLECTION.lines();
    lines.map(|line| serde_json::from_str(line).expect("a test reads the whole collection"))
}

/// Leads a store through every program that ever failed on one.
///
/// # Panics
///
/// When the store and the model differ.
#[doc(hidden)]
pub fn replay_kept(harness: &dyn Harness) {
    let runtime = runtime();
    for Kept { found, steps } in collection() {
        if let Err(failure) = runtime.block_on(compare(harness, &steps)) {
            panic!(
                "store and model differ{failure}\n\non the program that found: {found}\n{}",
                super::shown(&steps)
            );
        }
    }
}
