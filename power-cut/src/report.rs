//! What came of it.

use std::fmt;

/// The figures of a run.
#[derive(Debug)]
pub(crate) struct Report {
    store: String,
    pub(crate) cycles: u64,
    pub(crate) acknowledged: u64,
    failed: u64,
}

impl Report {
    pub(crate) fn new(store: &str) -> Self {
        Self {
            store: store.to_owned(),
            cycles: 0,
            acknowledged: 0,
            failed: 0,
        }
    }

    /// Tells what was wrong after a cycle, and counts it.
    pub(crate) fn failed(&mut self, cycle: u32, failures: &[String]) {
        self.failed += 1;
        eprintln!("{}: cycle {cycle}: {} failures", self.store, failures.len());
        for failure in failures.iter().take(20) {
            eprintln!("  {failure}");
        }
    }

    pub(crate) fn is_success(&self) -> bool {
        self.failed == 0 && self.acknowledged > 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} power cuts, {} acknowledged changes, {} cuts that broke a promise",
            self.store, self.cycles, self.acknowledged, self.failed
        )
    }
}
