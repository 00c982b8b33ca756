//! What came of it.

use std::fmt;
use std::time::Instant;

use serde_json::{Value, json};

use crate::{By, Store};

/// The figures of a run.
#[derive(Debug)]
pub(crate) struct Report {
    store: Store,
    by: By,
    start: Instant,
    pub(crate) cycles: u64,
    acknowledged: u64,
    /// Cycles in which nothing was acknowledged, which prove little.
    silent: u64,
    failed: u64,
}

impl Report {
    pub(crate) fn new(store: Store, by: By) -> Self {
        Self {
            store,
            by,
            start: Instant::now(),
            cycles: 0,
            acknowledged: 0,
            silent: 0,
            failed: 0,
        }
    }

    /// Counts a cycle, and what was promised in it.
    pub(crate) fn ended(&mut self, acknowledged: u64) {
        self.cycles += 1;
        self.acknowledged += acknowledged;
        self.silent += u64::from(acknowledged == 0);
    }

    /// Tells some of what was wrong after the latest cycle, and counts it.
    pub(crate) fn failed(&mut self, failures: &[String]) {
        self.failed += 1;
        let (store, cycle) = (self.store.scheme(), self.cycles);
        eprintln!("{store}: cycle {cycle}: {} failures", failures.len());
        for failure in failures.iter().take(10) {
            eprintln!("  {failure}");
        }
    }

    pub(crate) fn has_failures(&self) -> bool {
        self.failed > 0
    }

    /// Whether anything was promised that could have been broken.
    pub(crate) fn is_telling(&self) -> bool {
        self.acknowledged > 0
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "cycles": self.cycles,
            "acknowledged": self.acknowledged,
            "silent": self.silent,
            "failed": self.failed,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.by {
            By::Kill => "kills",
            By::Power => "power cuts",
        };
        let (store, cycles, acknowledged) = (self.store.scheme(), self.cycles, self.acknowledged);
        write!(
            f,
            "{store}: {cycles} {what}, {acknowledged} acknowledged changes, "
        )?;
        write!(f, "{} that broke a promise", self.failed)?;
        if self.silent > 0 {
            write!(f, ", {} before anything was acknowledged", self.silent)?;
        }
        write!(f, ", in {:.1} s", self.start.elapsed().as_secs_f64())
    }
}
