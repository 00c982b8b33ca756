//! What apalis does alike on both engines.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use apalis::prelude::{BoxDynError, Data, Filter, TaskId};
use jobstore_peers_harness::{BATCH, Handled, Operation};
use serde_json::Value;

/// How often an idle worker looks for jobs.
pub const POLL: Duration = Duration::from_millis(10);

/// What it can do.
pub const OPERATIONS: [Operation; 8] = [
    Operation::Create1,
    Operation::Create16,
    Operation::Create64,
    Operation::CreateBatch,
    Operation::Work,
    Operation::FirstPage,
    Operation::DeepPage,
    Operation::PickUp,
];

/// The handler.
///
/// # Errors
///
/// Never.
pub async fn mail(
    _mail: Value,
    id: TaskId,
    handled: Data<Arc<Handled>>,
) -> Result<(), BoxDynError> {
    handled.one(id);
    Ok(())
}

/// Which page of its lists was turned to, counted from 1.
#[derive(Debug, Default)]
pub struct Page(AtomicU32);

impl Page {
    /// Turns to the page behind `behind` jobs.
    pub fn turn_to(&self, behind: usize) {
        let page = u32::try_from(behind / BATCH).expect("fewer jobs than that");
        self.0.store(page + 1, Ordering::Relaxed);
    }

    /// The request for it.
    pub fn filter(&self) -> Filter {
        Filter {
            status: None,
            page: self.0.load(Ordering::Relaxed),
            page_size: Some(BATCH as u32),
        }
    }
}
